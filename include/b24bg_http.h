/* Outgoing HTTP calls, many at once, behind two function pointers, so that the task's tests run
 * on a fake.
 *
 * Pure. Thread: one at a time; the one that calls perform gets the callbacks. Never follows a
 * redirect, never reads a cookie, a .netrc or the environment's proxy, speaks https (http where a
 * request allows it), verifies certificates, and keeps every limit below. Never sends a request a
 * second time by itself: a refresh token works once. The program must ignore SIGPIPE (httpd does).
 */
#ifndef B24BG_HTTP_H
#define B24BG_HTTP_H

#include <apr_pools.h>
#include <apr_time.h>

/* Largest answer: placement.get with a hundred personal rows takes 60 KiB (protocol.md 4.6). */
#define B24BG_HTTP_ANSWER_MAX (1024 * 1024)
/* Calls under way at once; the rest wait their turn. A descriptor each, of the 1024 that a child
 * has where nobody has raised that. */
#define B24BG_HTTP_CALLS_MAX 128
/* A transfer slower than this for so long is over: bytes a second, seconds. At that pace no answer
 * comes within B24bgTimeout's 20 s; half of them show it. */
#define B24BG_HTTP_LOW_SPEED_BYTES 10
#define B24BG_HTTP_LOW_SPEED_SECONDS 10

/* How to call, from B24bgTimeout, B24bgProxy, B24bgCAFile, B24bgAllowHTTP, and B24BG_TASK_PATIENCE.
 */
typedef struct {
    apr_interval_time_t connect_timeout;
    apr_interval_time_t total_timeout;
    apr_interval_time_t patience; /* a call that has been under way for so long leaves its place to
                                     one that waits, and has FAILED; 0: it need not */
    const char *proxy;            /* NULL: none */
    const char *ca_file;          /* NULL: the system's */
    int allow_http;
} b24bg_http_options_t;

/* A POST. Everything is copied when it is started. */
typedef struct {
    const char *url;
    const char *content_type;
    const char *body; /* secret */
    apr_size_t length;
    const b24bg_http_options_t *options;
    int must_finish; /* shutting down waits for its answer once it is under way, and it leaves its
                        place to nobody: one that uses something up (a refresh token works once) */
} b24bg_http_request_t;

typedef enum {
    B24BG_HTTP_ANSWERED, /* there is a status; it may be any */
    B24BG_HTTP_FAILED,   /* no whole answer: network, TLS, timeout, it hung while others waited */
    B24BG_HTTP_TOO_LARGE,
    B24BG_HTTP_ABORTED /* we are shutting down */
} b24bg_http_outcome_e;

typedef struct {
    b24bg_http_outcome_e outcome;
    int status;
    const char *body; /* NUL-terminated; may hold secrets */
    apr_size_t length;
    const char *location; /* of a redirect, which is not followed; or NULL */
    const char *error;    /* what went wrong, for a log; "" when answered */
} b24bg_http_answer_t;

/* `answer` lives until the call returns. Called once for every call that was started, also when
 * the client is closed (ABORTED). May start new calls. */
typedef void (*b24bg_http_done_cb)(void *baton, const b24bg_http_answer_t *answer);

typedef struct b24bg_http_t b24bg_http_t;
struct b24bg_http_t {
    void *self;
    /* Starts a call, or queues it behind B24BG_HTTP_CALLS_MAX others; one that is started by the
     * callback of a call that was answered takes the place of that. An error means that the call
     * was not started and the callback will not come: APR_EINVAL for what is no URL, or has a user
     * in it, or a time limit of 0; APR_EACCES for a scheme that is not allowed; APR_ECONNABORTED
     * when shutting down; anything else for a setting that curl refuses. */
    apr_status_t (*start)(b24bg_http_t *http, const b24bg_http_request_t *request,
                          b24bg_http_done_cb done_cb, void *baton);
    /* Moves all calls on, and waits up to `wait` until one has finished; not at all if there is
     * none. *running: calls that are not finished. When *stop becomes non-zero (see
     * b24bg_http_create) it returns early, unless calls that must finish are under way. An error
     * ends all calls as FAILED. */
    apr_status_t (*perform)(b24bg_http_t *http, apr_interval_time_t wait, int *running);
};

/* The real one, on libcurl's multi interface. `stop` (may be NULL) is looked at while calls are
 * under way: when it is non-zero they end as ABORTED, at once; those that must finish go on while
 * perform is called, but where they were still queued. Closed with the pool, which ends all. */
apr_status_t b24bg_http_create(apr_pool_t *pool, const volatile int *stop, b24bg_http_t **http);

#endif
