#include "executor/http_allow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is nobody's business to call from here (IANA's special-purpose registries, and the addresses under which clouds
 * keep their machines' credentials).  The first match counts. */
static const struct {
    uint8_t bytes[4];
    unsigned bits;
    const char *what;
} special_4[] = {
    {{127}, 8, "a loopback address"},
    {{0}, 8, "an address of this host"},
    {{169, 254}, 16, "a link-local address"},
    {{10}, 8, "a private address"},
    {{172, 16}, 12, "a private address"},
    {{192, 168}, 16, "a private address"},
    {{100, 64}, 10, "a shared (carrier) address"},
    {{168, 63, 129, 16}, 32, "a cloud's metadata address"},
    {{192, 0, 0}, 24, "a reserved address"},
    {{192, 0, 2}, 24, "a documentation address"},
    {{192, 88, 99}, 24, "a reserved address"},
    {{198, 18}, 15, "a benchmarking address"},
    {{198, 51, 100}, 24, "a documentation address"},
    {{203, 0, 113}, 24, "a documentation address"},
    {{224}, 4, "a multicast address"},
    {{240}, 4, "a reserved address"},
};

static const struct {
    uint8_t bytes[16];
    unsigned bits;
    const char *what;
} special_6[] = {
    {{[15] = 1}, 128, "a loopback address"},
    {{0}, 128, "an address of this host"},
    {{[10] = 0xff, 0xff}, 96, "an IPv4-mapped address"},
    {{0xfe, 0x80}, 10, "a link-local address"},
    {{0xfc}, 7, "a private address"},
    {{0xfe, 0xc0}, 10, "a private address"},
    {{0xff}, 8, "a multicast address"},
    {{0, 0x64, 0xff, 0x9b}, 32, "a translated (NAT64) address"},
    {{0x20, 0x02}, 16, "a tunnel's (6to4) address"},
    {{0x20, 0x01}, 23, "a reserved address"}, /* Teredo, ORCHID, benchmarking, ... */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "a documentation address"},
    {{0x3f, 0xff}, 20, "a documentation address"},
};

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) & (uint8_t)(0xff << (8 - rest))) == 0;
}

static const char *special(const uint8_t *bytes, bool six)
{
    for (size_t i = 0; !six && i < sizeof special_4 / sizeof special_4[0]; i++)
        if (same_bits(bytes, special_4[i].bytes, special_4[i].bits))
            return special_4[i].what;
    for (size_t i = 0; six && i < sizeof special_6 / sizeof special_6[0]; i++)
        if (same_bits(bytes, special_6[i].bytes, special_6[i].bits))
            return special_6[i].what;
    return six && (bytes[0] & 0xe0) != 0x20 ? "a reserved address" : NULL; /* 2000::/3 is the public one */
}

/* ---- the list ---- */

static bool read_network(const char *text, struct http_network *ret)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    if (len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    *ret = (struct http_network){0};
    ret->six = inet_pton(AF_INET6, address, ret->bytes) == 1;
    if (!ret->six && inet_pton(AF_INET, address, ret->bytes) != 1)
        return false;
    unsigned all = ret->six ? 128 : 32;
    unsigned long bits = text[len] ? strtoul(text + len + 1, NULL, 10) : all;
    ret->bits = bits < all ? (unsigned)bits : all;
    return true;
}

static size_t without_dot(const char *name, size_t len)
{
    return len > 1 && name[len - 1] == '.' ? len - 1 : len;
}

static struct http_name read_name(const char *text)
{
    struct http_name name = {.below = text[0] == '*'};
    const char *equals = strchr(text, '=');
    name.text = name.below ? text + 1 : text;
    name.len = without_dot(name.text, equals ? (size_t)(equals - name.text) : strlen(name.text));
    name.pinned = equals != NULL && read_network(equals + 1, &name.at);
    return name;
}

int http_allow_init(struct http_allow *ret, const struct config_list *list, bool exclusive)
{
    struct http_allow allow = {.networks = calloc(list->n + 1, sizeof *allow.networks),
                               .names = calloc(list->n + 1, sizeof *allow.names),
                               .exclusive = exclusive};
    if (!allow.networks || !allow.names) {
        http_allow_release(&allow);
        return -1;
    }
    for (size_t i = 0; i < list->n; i++) {
        if (read_network(list->items[i], &allow.networks[allow.n_networks]))
            allow.n_networks++;
        else
            allow.names[allow.n_names++] = read_name(list->items[i]);
    }
    *ret = allow;
    return 0;
}

void http_allow_release(struct http_allow *allow)
{
    free(allow->networks);
    free(allow->names);
    *allow = (struct http_allow){0};
}

/* ---- the question ---- */

static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

/* An IPv4 network holds the IPv4-mapped forms of its addresses, too. */
static bool holds(const struct http_network *network, const uint8_t *bytes, bool six)
{
    if (network->six == six)
        return same_bits(bytes, network->bytes, network->bits);
    return six && memcmp(bytes, mapped, sizeof mapped) == 0 &&
           same_bits(bytes + sizeof mapped, network->bytes, network->bits);
}

static bool network_named(const struct http_allow *allow, const uint8_t *bytes, bool six)
{
    for (size_t i = 0; i < allow->n_networks; i++)
        if (holds(&allow->networks[i], bytes, six))
            return true;
    return false;
}

static bool fits(const struct http_name *name, const char *host)
{
    size_t len = without_dot(host, strlen(host));
    if (name->below)
        return len > name->len && strncasecmp(host + len - name->len, name->text, name->len) == 0;
    return len == name->len && strncasecmp(host, name->text, len) == 0;
}

static bool is_loopback(const uint8_t *bytes, bool six)
{
    static const uint8_t one[16] = {[15] = 1};
    return six ? memcmp(bytes, one, sizeof one) == 0 : bytes[0] == 127;
}

static bool is_localhost(const struct http_name *name)
{
    return !name->below && name->len == 9 && strncasecmp(name->text, "localhost", 9) == 0;
}

/* Does a name of the list permit the host at that address?  what: what is special about the address, NULL: nothing. */
static bool host_named(const struct http_allow *allow, const char *host, const uint8_t *bytes, bool six,
                       const char *what)
{
    for (size_t i = 0; i < allow->n_names; i++) {
        const struct http_name *name = &allow->names[i];
        if (!fits(name, host))
            continue;
        if (name->pinned ? holds(&name->at, bytes, six) : !what || (is_localhost(name) && is_loopback(bytes, six)))
            return true;
    }
    return false;
}

const char *http_allow_refuses(const struct http_allow *allow, const char *host, const struct sockaddr *address)
{
    uint8_t bytes[16];
    bool six = address->sa_family == AF_INET6;
    if (six)
        memcpy(bytes, (const char *)address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    else if (address->sa_family == AF_INET)
        memcpy(bytes, (const char *)address + offsetof(struct sockaddr_in, sin_addr), 4);
    else
        return "not an Internet address";
    const char *what = special(bytes, six);
    if (network_named(allow, bytes, six) || host_named(allow, host, bytes, six, what))
        return NULL;
    return !what && allow->exclusive ? "not among the hosts that allow names" : what;
}
