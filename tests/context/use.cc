// The context library from C++: scopes that end with their block, also by an exception; run that is left by one.
#include <satchel/context.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>

static void check(bool holds, const char *what)
{
    if (!holds) {
        std::cerr << what << '\n';
        std::exit(1);
    }
}

static satchel_var *var;

static std::string get()
{
    void *data = nullptr;
    return satchel_get(var, &data) == SATCHEL_OK ? static_cast<const char *>(data) : "";
}

static int throws(void *)
{
    check(satchel_set_string(var, "inside", nullptr) == SATCHEL_OK, "set");
    throw std::runtime_error("out");
}

int main()
{
    check(satchel_var_string("v", nullptr, nullptr, &var) == SATCHEL_OK, "var");
    {
        SATCHEL_BIND(var, strdup("bound"));
        check(get() == "bound", "bound");
        {
            SATCHEL_BIND(var, strdup("deeper"));
            check(get() == "deeper", "deeper");
        }
        check(get() == "bound", "back");
    }
    check(get().empty(), "unbound");
    try {
        SATCHEL_BIND(var, strdup("bound"));
        throw std::runtime_error("out");
    } catch (const std::runtime_error &) {
        check(get().empty(), "an exception ends the scope");
    }
    satchel_context *ctx = satchel_context_new();
    try {
        (void)satchel_context_run(ctx, throws, nullptr, nullptr);
        check(false, "thrown through");
    } catch (const std::runtime_error &) {
        check(!satchel_context_entered(ctx) && satchel_context_len(ctx) == 1 && get().empty(), "left by an exception");
    }
    satchel_context_unref(ctx);
    satchel_var_unref(var);
    satchel_counts counts{};
    counts.struct_size = sizeof counts;
    satchel_get_counts(&counts);
    check(counts.vars == 0 && counts.values == 0 && counts.contexts == 0 && counts.pending_tokens == 0 &&
              counts.misuse == 0,
          "something is left");
    return 0;
}
