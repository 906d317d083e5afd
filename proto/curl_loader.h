/* libcurl, loaded at first use: with all that it needs it costs several megabytes of resident memory, which a process
 * that never makes a request does not have to pay.  Used by the client library and by the daemon's HTTP tasks.
 * Thread: any; loaded once. */
#ifndef SATCHEL_PROTO_CURL_LOADER_H
#define SATCHEL_PROTO_CURL_LOADER_H

#include <curl/curl.h>

struct curl_functions {
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *handle);
    void (*easy_reset)(CURL *handle);
    CURLcode (*easy_perform)(CURL *handle);
    CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd fds[], unsigned n, int timeout_ms, int *ret);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
    CURLU *(*url)(void);
    void (*url_cleanup)(CURLU *url);
    CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
    CURLUcode (*url_get)(const CURLU *url, CURLUPart part, char **ret, unsigned flags);
    void (*free)(void *text); /* what url_get returned */
};

/* NULL: it cannot be loaded, and *ret_why (static) says why. */
const struct curl_functions *curl_load(const char **ret_why);

#endif
