/* b24bg_http, against real servers on 127.0.0.1: plain ones that are threads of this program, and
 * one with TLS in a Python of its own. No test measures a time; what must not wait is shown by the
 * order in which calls end. */
#include "unit.h"

#include "b24bg_http.h"

#include <apr_strings.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 1024
#define REQUEST_MAX (2 * 1024 * 1024)
/* Nothing here takes as long; a test that does is stuck. */
#define PATIENCE apr_time_from_sec(60)

/* A server */

typedef struct {
    int listener;
    int port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t workers[WORKERS_MAX];
    int sockets[WORKERS_MAX];
    int connections; /* ever */
    int open;
    int most_open;
    int requests; /* ever */
    int is_released;
    int is_stopping;
    const char *location;
    char last[REQUEST_MAX]; /* the last request */
    size_t last_length;
} server_t;

typedef struct {
    server_t *server;
    int number;
} worker_t;

static int send_all(int to, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(to, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0) {
            return 0;
        }
        bytes += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static int send_text(int to, const char *text)
{
    return send_all(to, text, strlen(text));
}

static void wait_for_end(int connection)
{
    char byte;

    while (recv(connection, &byte, 1, 0) > 0) {
    }
}

/* Sends a piece every 200 ms, or as fast as it goes, until the client has had enough. */
static void repeat(int to, const char *piece, size_t length, int is_slow)
{
    struct pollfd ended = {to, POLLIN, 0};

    while (send_all(to, piece, length) && (!is_slow || poll(&ended, 1, 200) == 0)) {
    }
}

static void reset(int connection)
{
    struct linger linger = {1, 0};

    setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void wait_for_release(server_t *server)
{
    pthread_mutex_lock(&server->lock);
    while (!server->is_released && !server->is_stopping) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

#define OK_TEXT                                                                                    \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\nSet-Cookie: "      \
    "a=b\r\n\r\n{\"result\":true}"

/* Fixed answers; the connection stays open behind those that say where they end. */
static const struct {
    const char *path;
    const char *text;
    int stays_open;
} answers[] = {
    {"/ok", OK_TEXT, 1},
    {"/401", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\n{}",
     1},
    {"/407", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", 1},
    {"/500", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nOops", 1},
    {"/204", "HTTP/1.1 204 No Content\r\n\r\n", 1},
    {"/empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1},
    {"/no-length", "HTTP/1.1 200 OK\r\n\r\nabc", 0},
    {"/http10", "HTTP/1.0 200 OK\r\n\r\nabc", 0},
    {"/chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 1},
    {"/continue", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
     1},
    {"/gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 1},
    {"/truncated", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":", 0},
    {"/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 0},
    {"/half-headers", "HTTP/1.1 200 OK\r\nContent-Le", 0},
    {"/http09", "no headers at all", 0},
    {"/not-http", "SSH-2.0-OpenSSH_9.2\r\n", 0},
    {"/silent", "", 0},
    {"/large", "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n{", 1},
    {"/negative", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", 0},
    {"/beyond", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 0},
};

static int answer_fixed(int to, const char *path)
{
    size_t i;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (strcmp(path, answers[i].path) == 0) {
            return send_text(to, answers[i].text) && answers[i].stays_open;
        }
    }
    send_text(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    return 0;
}

/* A whole answer of exactly so many bytes, headers included. */
static int answer_sized(int to, size_t size)
{
    char *text = malloc(size + 64);
    int length = snprintf(text, 64, "HTTP/1.1 200 OK\r\n\r\n");

    memset(text + length, 'x', size);
    send_all(to, text, size);
    free(text);
    return 0;
}

static int answer_redirect(server_t *server, int to, int status)
{
    char text[1024];

    snprintf(text, sizeof(text), "HTTP/1.1 %d Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
             status, server->location);
    return send_text(to, text);
}

/* 1 if the connection can take another request. */
static int answer(server_t *server, int to, const char *path)
{
    if (strcmp(path, "/hang") == 0) {
        wait_for_end(to);
    } else if (strcmp(path, "/hold") == 0) {
        wait_for_release(server);
        return send_text(to, OK_TEXT);
    } else if (strcmp(path, "/reset") == 0) {
        reset(to);
    } else if (strcmp(path, "/drip") == 0) {
        send_text(to, "HTTP/1.1 200 OK\r\n\r\n");
        repeat(to, "x", 1, 1);
    } else if (strcmp(path, "/drip-headers") == 0) {
        send_text(to, "HTTP/1.1 200 OK\r\n");
        repeat(to, "x", 1, 1);
    } else if (strcmp(path, "/endless") == 0) {
        static const char piece[4096] = "{";
        send_text(to, "HTTP/1.1 200 OK\r\n\r\n");
        repeat(to, piece, sizeof(piece), 0);
    } else if (strcmp(path, "/endless-chunks") == 0) {
        send_text(to, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        repeat(to, "8\r\n01234567\r\n", 13, 0);
    } else if (strcmp(path, "/endless-headers") == 0) {
        send_text(to, "HTTP/1.1 200 OK\r\n");
        repeat(to, "X-Header: 0123456789\r\n", 22, 0);
    } else if (strcmp(path, "/endless-continue") == 0) {
        repeat(to, "HTTP/1.1 100 Continue\r\n\r\n", 25, 0);
    } else if (strncmp(path, "/size/", 6) == 0) {
        return answer_sized(to, (size_t)atol(path + 6));
    } else if (strncmp(path, "/redirect/", 10) == 0) {
        return answer_redirect(server, to, atoi(path + 10));
    } else {
        return answer_fixed(to, path);
    }
    return 0;
}

/* The length of a whole request in text, 0 if it is not whole yet. */
static size_t whole_request(const char *text, size_t length)
{
    const char *end = memmem(text, length, "\r\n\r\n", 4);
    const char *field = end ? memmem(text, (size_t)(end - text), "Content-Length: ", 16) : NULL;
    size_t whole = end ? (size_t)(end + 4 - text) + (field ? (size_t)atol(field + 16) : 0) : 0;

    return whole <= length ? whole : 0;
}

static int read_request(server_t *server, int from, char *path, size_t size)
{
    char *text = malloc(REQUEST_MAX);
    size_t length = 0;
    size_t whole = 0;
    ssize_t got = 1;

    while (!whole && length < REQUEST_MAX - 1 &&
           (got = recv(from, text + length, REQUEST_MAX - 1 - length, 0)) > 0) {
        length += (size_t)got;
        text[length] = '\0';
        whole = whole_request(text, length);
    }
    if (whole) {
        char *start = strchr(text, ' ') + 1;
        snprintf(path, size, "%.*s", (int)strcspn(start, " ?"), start);
        pthread_mutex_lock(&server->lock);
        memcpy(server->last, text, length + 1);
        server->last_length = length;
        server->requests++;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
    }
    free(text);
    return whole != 0;
}

static void *work(void *baton)
{
    worker_t *worker = baton;
    server_t *server = worker->server;
    int connection = server->sockets[worker->number];
    char path[256];

    while (read_request(server, connection, path, sizeof(path)) &&
           answer(server, connection, path)) {
    }
    pthread_mutex_lock(&server->lock);
    server->open--;
    server->sockets[worker->number] = -1;
    close(connection);
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    free(worker);
    return NULL;
}

static void add_worker(server_t *server, int connection)
{
    worker_t *worker = malloc(sizeof(*worker));

    pthread_mutex_lock(&server->lock);
    worker->server = server;
    worker->number = server->connections++;
    server->open++;
    server->most_open = server->open > server->most_open ? server->open : server->most_open;
    server->sockets[worker->number] = connection;
    pthread_create(&server->workers[worker->number], NULL, work, worker);
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void *take_connections(void *baton)
{
    server_t *server = baton;
    int connection;

    while ((connection = accept(server->listener, NULL, NULL)) >= 0) {
        if (server->connections == WORKERS_MAX) {
            abort();
        }
        add_worker(server, connection);
    }
    return NULL;
}

static apr_status_t stop_server(void *baton)
{
    server_t *server = baton;
    int i;

    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    close(server->listener);
    pthread_mutex_lock(&server->lock);
    server->is_stopping = 1;
    pthread_cond_broadcast(&server->changed);
    for (i = 0; i < server->connections; i++) {
        if (server->sockets[i] >= 0) {
            shutdown(server->sockets[i], SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&server->lock);
    for (i = 0; i < server->connections; i++) {
        pthread_join(server->workers[i], NULL);
    }
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    free(server);
    return APR_SUCCESS;
}

/* Stopped with the test. */
static server_t *start_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    server_t *server = calloc(1, sizeof(*server));

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(0, bind(server->listener, (struct sockaddr *)&address, length));
    assert_int_equal(0, listen(server->listener, WORKERS_MAX));
    getsockname(server->listener, (struct sockaddr *)&address, &length);
    server->port = ntohs(address.sin_port);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    pthread_create(&server->acceptor, NULL, take_connections, server);
    apr_pool_cleanup_register(unit_pool, server, stop_server, apr_pool_cleanup_null);
    return server;
}

static int number_of(server_t *server, const int *number)
{
    int value;

    pthread_mutex_lock(&server->lock);
    value = *number;
    pthread_mutex_unlock(&server->lock);
    return value;
}

static void release(server_t *server)
{
    pthread_mutex_lock(&server->lock);
    server->is_released = 1;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* In front of curl and libc: this program's symbols come first. */

static int setopt_count;  /* calls so far */
static int setopt_fail;   /* the one that fails; 0: none */
static long low_speed_s;  /* for CURLOPT_LOW_SPEED_TIME; 0: as asked */
static int wiped_secrets; /* wipes of memory with the text below */
#define SECRET_TEXT "the-secret-in-a-body"

#undef curl_easy_setopt
CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    static CURLcode (*real)(CURL *, CURLoption, ...);
    CURLcode result;
    va_list list;

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "curl_easy_setopt");
    }
    if (++setopt_count == setopt_fail) {
        return CURLE_UNKNOWN_OPTION;
    }
    va_start(list, option);
    if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB) {
        result = real(easy, option, va_arg(list, curl_off_t));
    } else if (option < CURLOPTTYPE_OBJECTPOINT) {
        long value = va_arg(list, long);
        result = real(easy, option,
                      option == CURLOPT_LOW_SPEED_TIME && low_speed_s ? low_speed_s : value);
    } else {
        result = real(easy, option, va_arg(list, void *));
    }
    va_end(list);
    return result;
}

/* How long a stop flag can go unseen: what curl is asked to wait for at most, in milliseconds. */
static int longest_poll;

CURLMcode curl_multi_poll(CURLM *multi, struct curl_waitfd *extra, unsigned int extra_count,
                          int timeout, int *ready)
{
    static CURLMcode (*real)(CURLM *, struct curl_waitfd *, unsigned int, int, int *);

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "curl_multi_poll");
    }
    longest_poll = timeout > longest_poll ? timeout : longest_poll;
    return real(multi, extra, extra_count, timeout, ready);
}

/* Minutes pass in a moment: added to the clock that knows no date. */
static time_t clock_ahead;

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    int result;

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    result = real(id, now);
    now->tv_sec += id == CLOCK_MONOTONIC ? clock_ahead : 0;
    return result;
}

/* glibc says that it only writes, so it goes by another name here. The second is what gcc calls
 * when it fortifies. */
void see_wipe(void *bytes, size_t length) __asm__("explicit_bzero");
void see_checked_wipe(void *bytes, size_t length, size_t room) __asm__("__explicit_bzero_chk");

void see_wipe(void *bytes, size_t length)
{
    wiped_secrets += memmem(bytes, length, SECRET_TEXT, strlen(SECRET_TEXT)) != NULL;
    memset(bytes, 0, length);
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

void see_checked_wipe(void *bytes, size_t length, size_t room)
{
    (void)room;
    see_wipe(bytes, length);
}

/* "hang.test" is a name whose server does not answer before it is let go. */
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t names_changed = PTHREAD_COND_INITIALIZER;
static int names_hanging;
static int names_released;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (host && strcmp(host, "hang.test") == 0) {
        pthread_mutex_lock(&names_lock);
        names_hanging++;
        pthread_cond_broadcast(&names_changed);
        while (!names_released) {
            pthread_cond_wait(&names_changed, &names_lock);
        }
        names_hanging--;
        pthread_cond_broadcast(&names_changed);
        pthread_mutex_unlock(&names_lock);
        return EAI_AGAIN;
    }
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    }
    return real(host, service, hints, found);
}

static int hanging_names(void)
{
    int count;

    pthread_mutex_lock(&names_lock);
    count = names_hanging;
    pthread_mutex_unlock(&names_lock);
    return count;
}

static void release_names(void)
{
    pthread_mutex_lock(&names_lock);
    names_released = 1;
    pthread_cond_broadcast(&names_changed);
    while (names_hanging) {
        pthread_cond_wait(&names_changed, &names_lock);
    }
    names_released = 0;
    pthread_mutex_unlock(&names_lock);
    usleep(100000); /* until curl's threads have tidied up behind them, for the leak checkers */
}

/* A client */

typedef struct {
    int calls; /* of the callback */
    int place; /* the first to end has 1 */
    b24bg_http_outcome_e outcome;
    int status;
    const char *body;
    apr_size_t length;
    const char *location;
    const char *error;
} end_t;

static volatile int stop_flag;
static int ended; /* calls, in this test */
static b24bg_http_options_t options;

/* They outlive the test function: calls may end with the pool. */
static end_t *new_ends(apr_size_t count)
{
    return apr_pcalloc(unit_pool, count * sizeof(end_t));
}

static void note(void *baton, const b24bg_http_answer_t *got)
{
    end_t *end = baton;

    end->calls++;
    end->place = ++ended;
    end->outcome = got->outcome;
    end->status = got->status;
    end->body = apr_pmemdup(unit_pool, got->body, got->length + 1);
    end->length = got->length;
    end->location = got->location ? apr_pstrdup(unit_pool, got->location) : NULL;
    end->error = apr_pstrdup(unit_pool, got->error);
}

static b24bg_http_t *make_client(apr_pool_t *pool)
{
    b24bg_http_t *http;

    stop_flag = 0;
    ended = 0;
    setopt_count = setopt_fail = longest_poll = 0;
    memset(&options, 0, sizeof(options));
    options.connect_timeout = PATIENCE;
    options.total_timeout = PATIENCE;
    options.allow_http = 1;
    clock_ahead = 0;
    assert_int_equal(APR_SUCCESS, b24bg_http_create(pool, &stop_flag, &http));
    return http;
}

/* It goes on when the others are aborted. */
static void start_vital(b24bg_http_t *http, const char *url, end_t *end)
{
    b24bg_http_request_t request = {url, "text/plain", "auth=x", 6, &options, 1};

    assert_int_equal(APR_SUCCESS, http->start(http, &request, note, end));
}

static apr_status_t start_url(b24bg_http_t *http, const char *url, end_t *end)
{
    b24bg_http_request_t request = {url, "application/x-www-form-urlencoded", "auth=x", 6, &options,
                                    0};

    return http->start(http, &request, note, end);
}

static const char *url_of(const server_t *server, const char *path)
{
    return apr_psprintf(unit_pool, "http://127.0.0.1:%d%s", server->port, path);
}

static void start(b24bg_http_t *http, const server_t *server, const char *path, end_t *end)
{
    assert_int_equal(APR_SUCCESS, start_url(http, url_of(server, path), end));
}

/* Until `count` calls have ended. */
static void run(b24bg_http_t *http, int count)
{
    apr_time_t latest = apr_time_now() + PATIENCE;
    int running = 1;

    while (ended < count) {
        assert_true(apr_time_now() < latest);
        assert_int_equal(APR_SUCCESS, http->perform(http, apr_time_from_sec(1), &running));
    }
}

static void run_all(b24bg_http_t *http)
{
    apr_time_t latest = apr_time_now() + PATIENCE;
    int running = 1;

    while (running) {
        assert_true(apr_time_now() < latest);
        assert_int_equal(APR_SUCCESS, http->perform(http, apr_time_from_sec(1), &running));
    }
}

/* Until the server has seen so many, while the client does its part. */
static void run_until(b24bg_http_t *http, server_t *server, const int *number, int value)
{
    apr_time_t latest = apr_time_now() + PATIENCE;
    int running;

    while (number_of(server, number) < value) {
        assert_true(apr_time_now() < latest);
        http->perform(http, 10000, &running);
    }
}

static end_t *call(b24bg_http_t *http, const server_t *server, const char *path)
{
    end_t *end = new_ends(1);

    start(http, server, path, end);
    run_all(http);
    assert_int_equal(1, end->calls);
    return end;
}

/* Answers and failures */

static const struct outcome {
    const char *name; /* the path */
    b24bg_http_outcome_e outcome;
    int status;
    const char *body;
} outcomes[] = {
    {"/ok", B24BG_HTTP_ANSWERED, 200, "{\"result\":true}"},
    {"/401", B24BG_HTTP_ANSWERED, 401, "{}"},
    {"/407", B24BG_HTTP_ANSWERED, 407, ""},
    {"/404", B24BG_HTTP_ANSWERED, 404, ""},
    {"/500", B24BG_HTTP_ANSWERED, 500, "Oops"},
    {"/204", B24BG_HTTP_ANSWERED, 204, ""},
    {"/empty", B24BG_HTTP_ANSWERED, 200, ""},
    {"/no-length", B24BG_HTTP_ANSWERED, 200, "abc"},
    {"/http10", B24BG_HTTP_ANSWERED, 200, "abc"},
    {"/chunked", B24BG_HTTP_ANSWERED, 200, "abc"},
    {"/continue", B24BG_HTTP_ANSWERED, 200, "abc"},
    {"/gzip", B24BG_HTTP_ANSWERED, 200, "abc"}, /* not asked for, so not unpacked */
    {"/truncated", B24BG_HTTP_FAILED, 0, ""},
    {"/bad-chunk", B24BG_HTTP_FAILED, 0, ""},
    {"/half-headers", B24BG_HTTP_FAILED, 0, ""},
    {"/http09", B24BG_HTTP_FAILED, 0, ""},
    {"/not-http", B24BG_HTTP_FAILED, 0, ""},
    {"/silent", B24BG_HTTP_FAILED, 0, ""},
    {"/reset", B24BG_HTTP_FAILED, 0, ""},
    {"/large", B24BG_HTTP_TOO_LARGE, 0, ""},
    {"/endless", B24BG_HTTP_TOO_LARGE, 0, ""},
    {"/endless-chunks", B24BG_HTTP_TOO_LARGE, 0, ""},
    {"/endless-headers", B24BG_HTTP_TOO_LARGE, 0, ""},
    {"/endless-continue", B24BG_HTTP_TOO_LARGE, 0, ""},
    {"/size/1048595", B24BG_HTTP_ANSWERED, 200, NULL},
    {"/size/1048596", B24BG_HTTP_TOO_LARGE, 0, ""},
};

static void outcome(void **state)
{
    const struct outcome *row = *state;
    server_t *server = start_server();
    end_t *end = call(make_client(unit_pool), server, row->name);

    assert_int_equal(row->outcome, end->outcome);
    assert_int_equal(row->status, end->status);
    if (row->body) {
        assert_int_equal(strlen(row->body), end->length);
        assert_string_equal(row->body, end->body);
    }
    assert_null(end->location);
    assert_int_equal(row->outcome == B24BG_HTTP_ANSWERED, *end->error == '\0');
    assert_int_equal(1, number_of(server, &server->requests));
}

static void odd_lengths_end(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    call(http, server, "/negative");
    call(http, server, "/beyond");
}

/* At the sizes where the buffer grows, every byte arrives. */
static void every_size(void **state)
{
    static const int sizes[] = {0, 1, 4094, 4095, 4096, 4097, 8191, 8192, 65536, 1000000};
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        end_t *end = call(http, server, apr_psprintf(unit_pool, "/size/%d", 19 + sizes[i]));
        assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
        assert_int_equal(sizes[i], end->length);
        assert_int_equal(sizes[i], strspn(end->body, "x"));
        assert_int_equal('\0', end->body[end->length]);
    }
}

static void nobody_listens(void **state)
{
    end_t *end = new_ends(1);
    int closed = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(closed, (struct sockaddr *)&address, length);
    getsockname(closed, (struct sockaddr *)&address, &length);
    start_url(http, apr_psprintf(unit_pool, "http://127.0.0.1:%d/", ntohs(address.sin_port)), end);
    run_all(http);
    close(closed);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_string_equal("Couldn't connect to server", end->error);
}

static void unknown_name(void **state)
{
    end_t *end = new_ends(1);
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    assert_int_equal(APR_SUCCESS, start_url(http, "http://nobody.invalid/", end));
    run_all(http);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_string_equal("Couldn't resolve host name", end->error);
}

/* Limits of time */

static const struct slow {
    const char *name; /* the path */
} slow[] = {{"/hang"}, {"/drip"}, {"/drip-headers"}};

static void total_timeout(void **state)
{
    const struct slow *row = *state;
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end;

    options.total_timeout = 300000;
    end = call(http, server, row->name);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_non_null(strstr(end->error, "timed out"));
}

static void low_speed(void **state)
{
    const struct slow *row = *state;
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end;

    low_speed_s = 1;
    end = call(http, server, row->name);
    low_speed_s = 0;
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_non_null(strstr(end->error, "too slow"));
}

static void stalled_handshake(void **state)
{
    end_t *end = new_ends(1);
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    options.connect_timeout = 200000;
    start_url(http, apr_psprintf(unit_pool, "https://127.0.0.1:%d/", server->port), end);
    run_all(http);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_non_null(strstr(end->error, "timeout"));
}

/* What is sent */

static int has(const server_t *server, const char *text)
{
    return memmem(server->last, server->last_length, text, strlen(text)) != NULL;
}

static void request_bytes(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    call(http, server, "/ok?x=1");
    assert_string_equal(apr_psprintf(unit_pool,
                                     "POST /ok?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: "
                                     "mod_b24bg\r\nAccept: application/json\r\nContent-Type: "
                                     "application/x-www-form-urlencoded\r\nContent-Length: "
                                     "6\r\n\r\nauth=x",
                                     server->port),
                        server->last);
}

static void bodies(void **state)
{
    static const size_t lengths[] = {0, 1, 1023, 1025, 65537, 1536 * 1024};
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        char *body = unit_copy("", 0, lengths[i]); /* ends where its memory ends */
        b24bg_http_request_t request = {
            url_of(server, "/ok"), "application/json", body, lengths[i], &options, 0};
        end_t *end = new_ends(1);
        if (lengths[i] > 2) {
            body[1] = '\0';
        }
        assert_int_equal(APR_SUCCESS, http->start(http, &request, note, end));
        run_all(http);
        assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
        assert_true(has(server, "Content-Type: application/json\r\n"));
        assert_false(has(server, "Expect"));
        assert_memory_equal(server->last + server->last_length - lengths[i], body, lengths[i]);
    }
}

static void no_body(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    b24bg_http_request_t request = {
        url_of(server, "/ok"), "application/json", NULL, 0, &options, 0};
    end_t *end = new_ends(1);

    (void)state;
    assert_int_equal(APR_SUCCESS, http->start(http, &request, note, end));
    run_all(http);
    assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
    assert_true(has(server, "Content-Length: 0\r\n"));
    assert_memory_equal("POST ", server->last, 5);
}

static void all_is_copied(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    char *url = apr_pstrdup(unit_pool, url_of(server, "/ok"));
    char type[] = "application/json";
    char body[] = "auth=x";
    b24bg_http_options_t own = options;
    b24bg_http_request_t request = {url, type, body, 6, &own, 0};
    end_t *end = new_ends(1);

    (void)state;
    assert_int_equal(APR_SUCCESS, http->start(http, &request, note, end));
    memset(url, '!', strlen(url));
    memset(type, '!', strlen(type));
    memset(body, '!', strlen(body));
    memset(&own, 0xFF, sizeof(own));
    memset(&request, 0xFF, sizeof(request));
    run_all(http);
    assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
    assert_true(has(server, "POST /ok HTTP"));
    assert_true(has(server, "application/json\r\nContent-Length: 6\r\n\r\nauth=x"));
}

static void secrets_are_wiped(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    b24bg_http_request_t request = {url_of(server, "/hang"), "application/json", SECRET_TEXT,
                                    strlen(SECRET_TEXT),     &options,           0};
    end_t *end = new_ends(2);

    (void)state;
    wiped_secrets = 0;
    assert_int_equal(APR_SUCCESS, http->start(http, &request, note, &end[0]));
    assert_int_equal(APR_SUCCESS, http->start(http, &request, note, &end[1]));
    run_until(http, server, &server->requests, 2);
    assert_int_equal(0, wiped_secrets);
    stop_flag = 1;
    run_all(http);
    assert_int_equal(2, wiped_secrets);
}

/* Nothing that the server starts gets our connections. */
static void sockets_are_closed_on_exec(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    int found = 0;
    int fd;

    (void)state;
    start(http, server, "/hang", new_ends(1));
    run_until(http, server, &server->requests, 1);
    for (fd = 0; fd < 1024; fd++) {
        struct sockaddr_in peer = {0};
        socklen_t length = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == server->port) {
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
            found++;
        }
    }
    assert_int_equal(1, found);
}

/* A request that may have been heard is not sent again: a refresh token works once. */
static void never_sent_twice(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end;

    (void)state;
    assert_int_equal(B24BG_HTTP_ANSWERED, call(http, server, "/ok")->outcome);
    assert_int_equal(B24BG_HTTP_ANSWERED, call(http, server, "/ok")->outcome);
    end = call(http, server, "/silent");
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    end = call(http, server, "/reset");
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_int_equal(4, number_of(server, &server->requests));
    assert_int_equal(4, number_of(server, &server->connections));
}

static void no_cookies(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    call(http, server, "/ok");
    call(http, server, "/ok");
    assert_false(has(server, "Cookie"));
}

static const char *folder(void)
{
    char *path = apr_psprintf(unit_pool, "%s/b24bg-http-XXXXXX",
                              getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");

    assert_non_null(mkdtemp(path));
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void no_netrc(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    const char *home = folder();
    const char *netrc = apr_pstrcat(unit_pool, home, "/.netrc", NULL);

    (void)state;
    write_file(netrc, "machine 127.0.0.1 login somebody password something\n");
    setenv("HOME", home, 1);
    call(http, server, "/401");
    assert_false(has(server, "Authorization"));
    unlink(netrc);
    rmdir(home);
}

/* Redirects */

static const struct redirect {
    const char *name;
    const char *path;
    const char *location; /* %d is the other server's port */
    const char *expected;
} redirects[] = {
    {"302", "/redirect/302", "http://127.0.0.1:%d/rest/placement.get",
     "http://127.0.0.1:%d/rest/placement.get"},
    {"301", "/redirect/301", "http://127.0.0.1:%d/", "http://127.0.0.1:%d/"},
    {"303", "/redirect/303", "http://127.0.0.1:%d/", "http://127.0.0.1:%d/"},
    {"307", "/redirect/307", "http://127.0.0.1:%d/", "http://127.0.0.1:%d/"},
    {"308", "/redirect/308", "http://127.0.0.1:%d/", "http://127.0.0.1:%d/"},
    {"without a scheme", "/redirect/302", "//127.0.0.1:%d/", "http://127.0.0.1:%d/"},
    {"another scheme", "/redirect/302", "ftp://127.0.0.1:%d/", "ftp://127.0.0.1:%d/"},
    {"a file", "/redirect/302", "file:///etc/passwd%d", "file:///etc/passwd%d"},
    {"200 has no location", "/redirect/200", "http://127.0.0.1:%d/", NULL},
};

static void redirect(void **state)
{
    const struct redirect *row = *state;
    server_t *server = start_server();
    server_t *other = start_server();
    char *location = apr_pstrdup(unit_pool, row->location);
    char *port = strstr(location, "%d");
    end_t *end;

    *port = '\0';
    server->location = apr_psprintf(unit_pool, "%s%d%s", location, other->port, port + 2);
    end = call(make_client(unit_pool), server, row->path);
    assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
    assert_int_equal(atoi(row->path + 10), end->status);
    if (row->expected) {
        const char *rest = strstr(row->expected, "%d");
        assert_string_equal(apr_psprintf(unit_pool, "%.*s%d%s", (int)(rest - row->expected),
                                         row->expected, other->port, rest + 2),
                            end->location);
    } else {
        assert_null(end->location);
    }
    assert_int_equal(0, number_of(other, &other->connections));
    assert_int_equal(1, number_of(server, &server->requests));
}

/* Proxies */

static void set_proxy_environment(const server_t *proxy)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY"};
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (proxy) {
            setenv(names[i], url_of(proxy, ""), 1);
        } else {
            unsetenv(names[i]);
        }
    }
}

static void environment_is_ignored(void **state)
{
    server_t *server = start_server();
    server_t *proxy = start_server();
    end_t *end;

    (void)state;
    set_proxy_environment(proxy);
    end = call(make_client(unit_pool), server, "/ok");
    set_proxy_environment(NULL);
    assert_int_equal(B24BG_HTTP_ANSWERED, end->outcome);
    assert_int_equal(0, number_of(proxy, &proxy->connections));
}

static void own_proxy(void **state)
{
    server_t *server = start_server();
    server_t *proxy = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    options.proxy = url_of(proxy, "");
    setenv("no_proxy", "*", 1);
    setenv("NO_PROXY", "127.0.0.1", 1);
    call(http, server, "/ok");
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    assert_int_equal(0, number_of(server, &server->connections));
    assert_int_equal(1, number_of(proxy, &proxy->connections));
    assert_true(has(proxy, apr_psprintf(unit_pool, "POST http://127.0.0.1:%d/ok ", server->port)));
}

/* https goes through a tunnel, and what the proxy says instead is not an answer. */
static void proxy_refuses(void **state)
{
    server_t *proxy = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end = new_ends(1);

    (void)state;
    options.proxy = url_of(proxy, "");
    assert_int_equal(APR_SUCCESS, start_url(http, "https://portal.test/rest/app.info", end));
    run_all(http);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_int_equal(0, end->status);
    assert_true(has(proxy, "CONNECT portal.test:443 "));
    assert_false(has(proxy, "auth=x"));
}

static const struct proxy {
    const char *name; /* the proxy */
} bad_proxies[] = {{"nonsense://user:hunter2@127.0.0.1:1"},
                   {"http://user:hunter2@127.0.0.1:1"},
                   {"http://user:hunter2@nobody.invalid"},
                   {"http://user:hunter2@[127.0.0.1"},
                   {"http://user:hunter2@127.0.0.1:99999"}};

static void proxy_password_stays_secret(void **state)
{
    const struct proxy *row = *state;
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end;

    options.proxy = row->name;
    end = call(http, server, "/ok");
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_string_not_equal("", end->error);
    assert_null(strstr(end->error, "hunter2"));
    assert_int_equal(0, number_of(server, &server->connections));
}

/* What is not started */

static const struct refused {
    const char *name; /* the URL */
    int allow_http;
    apr_status_t status;
} refused[] = {
    {"http://127.0.0.1/", 0, APR_EACCES},
    {"HTTP://127.0.0.1/", 0, APR_EACCES},
    {"ftp://127.0.0.1/", 1, APR_EACCES},
    {"file:///etc/passwd", 1, APR_EACCES},
    {"gopher://127.0.0.1/", 1, APR_EACCES},
    {"telnet://127.0.0.1/", 1, APR_EACCES},
    {"javascript://x/", 1, APR_EINVAL},
    {"", 1, APR_EINVAL},
    {NULL, 1, APR_EINVAL},
    {"/rest/", 1, APR_EINVAL},
    {"127.0.0.1", 1, APR_EINVAL},
    {"127.0.0.1/rest/", 1, APR_EINVAL},
    {"//127.0.0.1/", 1, APR_EINVAL},
    {"http://", 1, APR_EINVAL},
    {"http:127.0.0.1", 1, APR_EINVAL},
    {"http://user@127.0.0.1/", 1, APR_EINVAL},
    {"http://user:password@127.0.0.1/", 1, APR_EINVAL},
    {"http://127.0.0.1:99999/", 1, APR_EINVAL},
    {"http://127.0.0.1:x/", 1, APR_EINVAL},
    {"http://127.0.0.1 /", 1, APR_EINVAL},
    {"http://a b/", 1, APR_EINVAL},
    {"http://[::1/", 1, APR_EINVAL},
};

static void refused_url(void **state)
{
    const struct refused *row = *state;
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end = new_ends(1);

    options.allow_http = row->allow_http;
    assert_int_equal(row->status, start_url(http, row->name, end));
    run_all(http);
    assert_int_equal(0, end->calls);
}

static void refused_settings(void **state)
{
    b24bg_http_t *http = make_client(unit_pool);
    b24bg_http_request_t request = {"https://127.0.0.1/", "a/b", "", 0, &options, 0};

    (void)state;
    request.url = "https://127.0.0.1/\r\nX: y";
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    request.url = "https://127.0.0.1/";
    options.total_timeout = 0;
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    options.total_timeout = PATIENCE;
    options.connect_timeout = -1;
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    options.connect_timeout = PATIENCE;
    request.content_type = "a/b\r\nX: y";
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    request.content_type = NULL;
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    request.content_type = "a/b";
    request.length = 1;
    request.body = NULL;
    assert_int_equal(APR_EINVAL, http->start(http, &request, note, NULL));
    run_all(http);
}

/* Each setting that curl does not take stops the call before it has begun. */
static void every_setting_counts(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    int settings;
    int i;

    (void)state;
    options.ca_file = "/etc/ssl/certs/ca-certificates.crt";
    call(http, server, "/ok");
    settings = setopt_count;
    assert_true(settings > 30);
    for (i = 1; i <= settings; i++) {
        end_t *end = new_ends(1);
        setopt_count = 0;
        setopt_fail = i;
        assert_int_equal(APR_EGENERAL, start_url(http, url_of(server, "/ok"), end));
        run_all(http);
        assert_int_equal(0, end->calls);
    }
    setopt_fail = 0;
    assert_int_equal(B24BG_HTTP_ANSWERED, call(http, server, "/ok")->outcome);
    assert_int_equal(2, number_of(server, &server->requests));
}

/* Many calls */

static void hanging_server_delays_nobody(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *hanging = new_ends(3);
    end_t *quick = new_ends(10);
    int i;

    (void)state;
    start(http, server, "/hang", &hanging[0]);
    start(http, server, "/drip", &hanging[1]);
    start_url(http, apr_psprintf(unit_pool, "https://127.0.0.1:%d/", server->port), &hanging[2]);
    for (i = 0; i < 10; i++) {
        start(http, server, "/ok", &quick[i]);
    }
    run(http, 10);
    for (i = 0; i < 10; i++) {
        assert_int_equal(1, quick[i].calls);
        assert_int_equal(B24BG_HTTP_ANSWERED, quick[i].outcome);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(0, hanging[i].calls);
    }
}

/* Neither while the others work, nor when its time is over, nor when we end. */
static void hanging_names_delay_nobody(void **state)
{
    apr_pool_t *pool;
    server_t *server = start_server();
    b24bg_http_t *http;
    end_t *hanging = new_ends(3);
    end_t *quick = new_ends(10);
    int i;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    http = make_client(pool);
    assert_int_equal(APR_SUCCESS, start_url(http, "http://hang.test/", &hanging[0]));
    assert_int_equal(APR_SUCCESS, start_url(http, "http://hang.test/", &hanging[1]));
    for (i = 0; i < 10; i++) {
        start(http, server, "/ok", &quick[i]);
    }
    run(http, 10);
    assert_int_equal(0, hanging[0].calls);
    options.connect_timeout = 100000;
    assert_int_equal(APR_SUCCESS, start_url(http, "http://hang.test/", &hanging[2]));
    run(http, 11);
    assert_int_equal(B24BG_HTTP_FAILED, hanging[2].outcome);
    assert_non_null(strstr(hanging[2].error, "timed out"));
    assert_int_equal(0, hanging[0].calls);
    assert_int_equal(3, hanging_names());
    apr_pool_destroy(pool);
    assert_int_equal(B24BG_HTTP_ABORTED, hanging[0].outcome);
    assert_int_equal(B24BG_HTTP_ABORTED, hanging[1].outcome);
    assert_int_equal(3, hanging_names());
    release_names();
}

static void queue(void **state)
{
    enum { COUNT = 2 * B24BG_HTTP_CALLS_MAX + 5 };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *ends = new_ends(COUNT);
    int running;
    int i;

    (void)state;
    for (i = 0; i < COUNT; i++) {
        start(http, server, "/hold", &ends[i]);
    }
    run_until(http, server, &server->requests, B24BG_HTTP_CALLS_MAX);
    http->perform(http, 100000, &running);
    assert_int_equal(COUNT, running);
    assert_int_equal(B24BG_HTTP_CALLS_MAX, number_of(server, &server->connections));
    release(server);
    run_all(http);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(1, ends[i].calls);
        assert_int_equal(B24BG_HTTP_ANSWERED, ends[i].outcome);
    }
    assert_int_equal(COUNT, number_of(server, &server->requests));
    /* First come, first served: nobody of the last five ended before anybody of the first. */
    for (i = 0; i < 5; i++) {
        assert_true(ends[COUNT - 1 - i].place > B24BG_HTTP_CALLS_MAX);
    }
}

/* Of many that hang as many leave their places as are needed, the oldest first; who waits for
 * nobody's place may take his time. */
static void who_hangs_leaves_his_place(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *hanging = new_ends(COUNT);
    end_t *quick = new_ends(2);
    int running;
    int i;

    (void)state;
    options.patience = 1;
    start(http, server, "/hang", &hanging[0]);
    start(http, server, "/drip", &hanging[1]);
    run_until(http, server, &server->requests, 2);
    for (i = 2; i < COUNT; i++) {
        start(http, server, "/hang", &hanging[i]);
    }
    start(http, server, "/ok", &quick[0]);
    start(http, server, "/ok", &quick[1]);
    run(http, 4);
    for (i = 0; i < 2; i++) {
        assert_int_equal(B24BG_HTTP_ANSWERED, quick[i].outcome);
        assert_int_equal(1, hanging[i].calls);
        assert_int_equal(B24BG_HTTP_FAILED, hanging[i].outcome);
        assert_string_equal("it hangs, and other calls wait", hanging[i].error);
    }
    http->perform(http, 1000, &running);
    assert_int_equal(COUNT - 2, running);
    assert_int_equal(4, ended);
}

static void what_must_finish_keeps_its_place(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *ends = new_ends(COUNT + 1);
    int i;

    (void)state;
    options.patience = 1;
    for (i = 0; i < COUNT - 1; i++) {
        start_vital(http, url_of(server, "/hang"), &ends[i]);
    }
    start(http, server, "/hang", &ends[COUNT - 1]);
    start(http, server, "/ok", &ends[COUNT]);
    run(http, 2);
    assert_int_equal(B24BG_HTTP_FAILED, ends[COUNT - 1].outcome);
    assert_int_equal(B24BG_HTTP_ANSWERED, ends[COUNT].outcome);
}

/* A client that does not look does not see who answers. */
static void nobody_hangs_unseen(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *ends = new_ends(COUNT + 1);
    int i;

    (void)state;
    options.patience = PATIENCE;
    options.total_timeout = options.connect_timeout = 4 * PATIENCE;
    low_speed_s = 4 * apr_time_sec(PATIENCE);
    for (i = 0; i <= COUNT; i++) {
        start(http, server, "/hold", &ends[i]);
    }
    run_until(http, server, &server->requests, COUNT);
    clock_ahead = 2 * apr_time_sec(PATIENCE);
    release(server);
    run_all(http);
    low_speed_s = 0;
    for (i = 0; i <= COUNT; i++) {
        assert_int_equal(B24BG_HTTP_ANSWERED, ends[i].outcome);
    }
}

static void nothing_to_do(void **state)
{
    b24bg_http_t *http = make_client(unit_pool);
    int running = -1;

    (void)state;
    assert_int_equal(APR_SUCCESS, http->perform(http, PATIENCE, &running));
    assert_int_equal(0, running);
}

static void perform_returns_with_the_first(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *hanging = new_ends(1);
    end_t *quick = new_ends(1);
    int running;

    (void)state;
    start(http, server, "/hang", hanging);
    start(http, server, "/ok", quick);
    assert_int_equal(APR_SUCCESS, http->perform(http, PATIENCE, &running));
    assert_int_equal(1, running);
    assert_int_equal(1, quick->calls);
    assert_int_equal(APR_SUCCESS, http->perform(http, 0, &running));
    assert_int_equal(APR_SUCCESS, http->perform(http, -1, &running));
    assert_int_equal(1, running);
}

/* Callbacks that start calls */

typedef struct {
    b24bg_http_t *http;
    const char *url;
    int left;
    int calls;
    apr_status_t status; /* of the last start */
} chain_t;

static void next_link(void *baton, const b24bg_http_answer_t *got)
{
    chain_t *chain = baton;
    b24bg_http_request_t request = {chain->url, "application/json", "{}", 2, &options, 0};

    (void)got;
    ended++;
    chain->calls++;
    if (chain->left-- > 0) {
        chain->status = chain->http->start(chain->http, &request, next_link, chain);
    }
}

static void start_chain(chain_t *chain, b24bg_http_t *http, const server_t *server,
                        const char *path)
{
    b24bg_http_request_t request = {url_of(server, path), "application/json", "{}", 2, &options, 0};

    chain->http = http;
    chain->url = request.url;
    assert_int_equal(APR_SUCCESS, http->start(http, &request, next_link, chain));
}

static void callback_starts_another(void **state)
{
    enum { CHAINS = B24BG_HTTP_CALLS_MAX + 1, LINKS = 3 };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    chain_t *chains = apr_pcalloc(unit_pool, CHAINS * sizeof(*chains));
    int i;

    (void)state;
    for (i = 0; i < CHAINS; i++) {
        chains[i].left = LINKS;
        start_chain(&chains[i], http, server, "/ok");
    }
    run_all(http);
    for (i = 0; i < CHAINS; i++) {
        assert_int_equal(1 + LINKS, chains[i].calls);
    }
    assert_int_equal(CHAINS * (1 + LINKS), number_of(server, &server->requests));
}

/* Each answer leads on to the next call; whoever waits for a place waits for the last of them. */
static void who_is_answered_goes_on(void **state)
{
    enum { LINKS = 3 };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *vital = new_ends(B24BG_HTTP_CALLS_MAX - 1);
    end_t *waiting = new_ends(2);
    chain_t *chain = apr_pcalloc(unit_pool, sizeof(*chain));
    int i;

    (void)state;
    for (i = 0; i < B24BG_HTTP_CALLS_MAX - 1; i++) {
        start_vital(http, url_of(server, "/hang"), &vital[i]);
    }
    chain->left = LINKS;
    start_chain(chain, http, server, "/ok");
    start(http, server, "/ok", &waiting[0]);
    start(http, server, "/ok", &waiting[1]);
    run(http, 1 + LINKS + 2);
    assert_int_equal(1 + LINKS, chain->calls);
    assert_int_equal(1 + LINKS + 1, waiting[0].place);
    assert_int_equal(1 + LINKS + 2, waiting[1].place);
}

/* One that has failed is none that goes on. */
static void who_fails_stands_behind(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *vital = new_ends(B24BG_HTTP_CALLS_MAX - 1);
    end_t *waiting = new_ends(1);
    chain_t *chain = apr_pcalloc(unit_pool, sizeof(*chain));
    int i;

    (void)state;
    for (i = 0; i < B24BG_HTTP_CALLS_MAX - 1; i++) {
        start_vital(http, url_of(server, "/hang"), &vital[i]);
    }
    chain->left = 1;
    start_chain(chain, http, server, "/reset");
    start(http, server, "/ok", waiting);
    run(http, 3);
    assert_int_equal(2, waiting->place);
}

/* Ending */

typedef struct {
    server_t *server;
    int requests;
} watch_t;

static void *set_stop(void *baton)
{
    const watch_t *watch = baton;
    server_t *server = watch->server;

    pthread_mutex_lock(&server->lock);
    while (server->requests < watch->requests) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    usleep(20000);
    stop_flag = 1;
    return NULL;
}

/* One call of perform that would wait for a minute; the servers never let go. */
static void stop_ends_all(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX + 10 };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *ends = new_ends(COUNT);
    watch_t watch = {server, B24BG_HTTP_CALLS_MAX};
    pthread_t thread;
    int running = -1;
    int i;

    (void)state;
    options.total_timeout = 10 * PATIENCE;
    for (i = 0; i < COUNT; i++) {
        start(http, server, i % 2 ? "/hang" : "/drip", &ends[i]);
    }
    pthread_create(&thread, NULL, set_stop, &watch);
    while (running != 0) {
        assert_int_equal(APR_SUCCESS, http->perform(http, PATIENCE, &running));
    }
    pthread_join(thread, NULL);
    assert_true(stop_flag);
    assert_in_range(longest_poll, 1, 100);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(1, ends[i].calls);
        assert_int_equal(B24BG_HTTP_ABORTED, ends[i].outcome);
        assert_string_equal("", ends[i].body);
        assert_string_not_equal("", ends[i].error);
    }
    assert_int_equal(APR_ECONNABORTED, start_url(http, url_of(server, "/ok"), &ends[0]));
    assert_int_equal(B24BG_HTTP_CALLS_MAX, number_of(server, &server->requests));
}

/* While curl is busy with data that never stops coming. */
static void stop_under_load(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    chain_t *chains = apr_pcalloc(unit_pool, 8 * sizeof(*chains));
    watch_t watch = {server, 16};
    pthread_t thread;
    int running = 1;
    int i;

    (void)state;
    for (i = 0; i < 8; i++) {
        chains[i].left = 1000000;
        start_chain(&chains[i], http, server, "/endless");
    }
    pthread_create(&thread, NULL, set_stop, &watch);
    while (running) {
        assert_int_equal(APR_SUCCESS, http->perform(http, PATIENCE, &running));
    }
    pthread_join(thread, NULL);
    for (i = 0; i < 8; i++) {
        assert_int_equal(APR_ECONNABORTED, chains[i].status);
    }
}

/* The answer comes after the stop; what comes in between to the others does not hold it up. */
static void stop_waits_for_what_must_finish(void **state)
{
    enum { COUNT = 9 };
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *ends = new_ends(COUNT);
    int running = 0;
    int i;

    (void)state;
    for (i = 0; i < COUNT; i++) {
        if (i % 3 == 1) {
            start_vital(http, url_of(server, "/hold"), &ends[i]);
        } else {
            start(http, server, "/hold", &ends[i]);
        }
    }
    run_until(http, server, &server->requests, COUNT);
    stop_flag = 1;
    assert_int_equal(APR_SUCCESS, http->perform(http, 0, &running));
    assert_int_equal(COUNT / 3, running);
    assert_int_equal(COUNT - COUNT / 3, ended);
    assert_int_equal(APR_SUCCESS, http->perform(http, 100000, &running));
    assert_int_equal(COUNT / 3, running);
    assert_int_equal(APR_ECONNABORTED, start_url(http, url_of(server, "/ok"), &ends[0]));
    release(server);
    run_all(http);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(1, ends[i].calls);
        assert_int_equal(i % 3 == 1 ? B24BG_HTTP_ANSWERED : B24BG_HTTP_ABORTED, ends[i].outcome);
    }
    assert_string_equal("{\"result\":true}", ends[1].body);
}

/* One that is still queued has used nothing up; the end of the client waits for nobody. */
static void what_must_finish_can_be_aborted(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX + 2 };
    server_t *server = start_server();
    end_t *ends = new_ends(COUNT);
    b24bg_http_t *http;
    apr_pool_t *pool;
    int running;
    int i;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    http = make_client(pool);
    for (i = 0; i < COUNT; i++) {
        start_vital(http, url_of(server, "/hang"), &ends[i]);
    }
    run_until(http, server, &server->requests, B24BG_HTTP_CALLS_MAX);
    stop_flag = 1;
    assert_int_equal(APR_SUCCESS, http->perform(http, 0, &running));
    assert_int_equal(B24BG_HTTP_CALLS_MAX, running);
    assert_int_equal(2, ended);
    assert_int_equal(B24BG_HTTP_ABORTED, ends[COUNT - 1].outcome);
    apr_pool_destroy(pool);
    assert_int_equal(COUNT, ended);
    assert_int_equal(B24BG_HTTP_ABORTED, ends[0].outcome);
}

static void no_stop_flag(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);

    (void)state;
    assert_int_equal(APR_SUCCESS, b24bg_http_create(unit_pool, NULL, &http));
    assert_int_equal(B24BG_HTTP_ANSWERED, call(http, server, "/ok")->outcome);
}

static void pool_ends_all(void **state)
{
    enum { COUNT = B24BG_HTTP_CALLS_MAX + 10 };
    server_t *server = start_server();
    apr_pool_t *pool;
    b24bg_http_t *http;
    end_t *ends = new_ends(COUNT);
    chain_t *chain = apr_pcalloc(unit_pool, sizeof(*chain));
    int i;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    http = make_client(pool);
    chain->left = 1;
    start_chain(chain, http, server, "/hang");
    for (i = 0; i < COUNT; i++) {
        start(http, server, "/hang", &ends[i]);
    }
    run_until(http, server, &server->requests, B24BG_HTTP_CALLS_MAX);
    apr_pool_destroy(pool);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(1, ends[i].calls);
        assert_int_equal(B24BG_HTTP_ABORTED, ends[i].outcome);
    }
    assert_int_equal(1, chain->calls);
    assert_int_equal(APR_ECONNABORTED, chain->status);
}

/* The first and the last end by themselves, the one between them with the pool. */
static void pool_ends_the_rest(void **state)
{
    server_t *server = start_server();
    apr_pool_t *pool;
    b24bg_http_t *http;
    end_t *ends = new_ends(3);

    (void)state;
    apr_pool_create(&pool, unit_pool);
    http = make_client(pool);
    start(http, server, "/ok", &ends[0]);
    start(http, server, "/hang", &ends[1]);
    start(http, server, "/hold", &ends[2]);
    run(http, 1);
    assert_int_equal(1, ends[0].place);
    release(server);
    run(http, 2);
    assert_int_equal(2, ends[2].place);
    apr_pool_destroy(pool);
    assert_int_equal(3, ends[1].place);
    assert_int_equal(B24BG_HTTP_ABORTED, ends[1].outcome);
    assert_int_equal(3, ends[0].calls + ends[1].calls + ends[2].calls);
}

static void pool_ends_the_unstarted(void **state)
{
    server_t *server = start_server();
    apr_pool_t *pool;
    end_t *end = new_ends(1);

    (void)state;
    apr_pool_create(&pool, unit_pool);
    start(make_client(pool), server, "/ok", end);
    apr_pool_destroy(pool);
    assert_int_equal(1, end->calls);
    assert_int_equal(B24BG_HTTP_ABORTED, end->outcome);
    assert_int_equal(0, number_of(server, &server->connections));
}

/* A pool below the client's holds what callbacks need: it must still be there. */
static void pools_of_batons_live(void **state)
{
    server_t *server = start_server();
    apr_pool_t *pool;
    apr_pool_t *below;
    b24bg_http_t *http;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    apr_pool_create(&below, pool);
    http = make_client(pool);
    start(http, server, "/hang", apr_pcalloc(below, sizeof(end_t)));
    apr_pool_create(&below, pool);
    start(http, server, "/hang", apr_pcalloc(below, sizeof(end_t)));
    apr_pool_destroy(pool);
    assert_int_equal(2, ended);
}

static void two_clients(void **state)
{
    server_t *server = start_server();
    apr_pool_t *pool;
    b24bg_http_t *first = make_client(unit_pool);
    end_t *end = new_ends(1);

    (void)state;
    apr_pool_create(&pool, unit_pool);
    start(make_client(pool), server, "/hang", end);
    apr_pool_destroy(pool);
    assert_int_equal(B24BG_HTTP_ABORTED, end->outcome);
    assert_int_equal(B24BG_HTTP_ANSWERED, call(first, server, "/ok")->outcome);
}

/* TLS */

static const char tls_server[] =
    "import http.server, ssl, sys\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_POST(self):\n"
    "        self.rfile.read(int(self.headers['Content-Length']))\n"
    "        self.send_response(200)\n"
    "        self.send_header('Content-Length', '2')\n"
    "        self.end_headers()\n"
    "        self.wfile.write(b'{}')\n"
    "    def log_message(self, *_):\n"
    "        pass\n"
    "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "context.load_cert_chain(sys.argv[1])\n"
    "server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
    "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
    "print(server.server_port, flush=True)\n"
    "server.serve_forever()\n";

static int tls_run(const char *const *arguments, int output, int errors)
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(output, STDOUT_FILENO);
        dup2(errors, STDERR_FILENO);
        execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    return child;
}

static void make_certificate(const char *path, const char *name)
{
    const char *arguments[] = {"openssl",
                               "req",
                               "-x509",
                               "-newkey",
                               "ec",
                               "-pkeyopt",
                               "ec_paramgen_curve:prime256v1",
                               "-nodes",
                               "-days",
                               "2",
                               "-subj",
                               "/CN=test",
                               "-addext",
                               name,
                               "-keyout",
                               path,
                               "-out",
                               apr_pstrcat(unit_pool, path, ".crt", NULL),
                               NULL};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int status;

    waitpid(tls_run(arguments, nowhere, nowhere), &status, 0);
    close(nowhere);
    assert_int_equal(0, status);
}

typedef struct {
    pid_t child;
    int port;
    const char *folder;
    const char *both; /* certificate and key */
    const char *certificate;
} tls_t;

static void start_tls(tls_t *tls, const char *name)
{
    char line[32] = "";
    int pipe_ends[2];
    const char *arguments[] = {"/usr/bin/python3", "-I", "-c", tls_server, NULL, NULL};

    tls->folder = folder();
    tls->both = apr_pstrcat(unit_pool, tls->folder, "/both", NULL);
    tls->certificate = apr_pstrcat(unit_pool, tls->both, ".crt", NULL);
    make_certificate(tls->both, name);
    assert_int_equal(
        0, system(apr_pstrcat(unit_pool, "cat ", tls->certificate, " >>", tls->both, NULL)));
    arguments[4] = tls->both;
    assert_int_equal(0, pipe(pipe_ends));
    tls->child = tls_run(arguments, pipe_ends[1], STDERR_FILENO);
    close(pipe_ends[1]);
    assert_true(read(pipe_ends[0], line, sizeof(line) - 1) > 0);
    close(pipe_ends[0]);
    tls->port = atoi(line);
}

static void stop_tls(const tls_t *tls)
{
    kill(tls->child, SIGKILL);
    waitpid(tls->child, NULL, 0);
    unlink(tls->both);
    unlink(tls->certificate);
    rmdir(tls->folder);
}

static const struct tls_case {
    const char *name;
    const char *alternative; /* the certificate's name */
    int trusted;
    b24bg_http_outcome_e outcome;
    const char *error;
} tls_cases[] = {
    {"trusted", "subjectAltName=IP:127.0.0.1", 1, B24BG_HTTP_ANSWERED, ""},
    {"self-signed", "subjectAltName=IP:127.0.0.1", 0, B24BG_HTTP_FAILED, "self-signed"},
    {"of another", "subjectAltName=DNS:portal.test", 1, B24BG_HTTP_FAILED,
     "certificate subject name"},
};

static void tls(void **state)
{
    const struct tls_case *row = *state;
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end = new_ends(1);
    tls_t server;

    start_tls(&server, row->alternative);
    options.allow_http = 0;
    options.ca_file = row->trusted ? server.certificate : NULL;
    assert_int_equal(
        APR_SUCCESS,
        start_url(http, apr_psprintf(unit_pool, "https://127.0.0.1:%d/", server.port), end));
    run_all(http);
    stop_tls(&server);
    assert_int_equal(row->outcome, end->outcome);
    assert_non_null(strstr(end->error, row->error));
}

static void missing_ca_file(void **state)
{
    server_t *server = start_server();
    b24bg_http_t *http = make_client(unit_pool);
    end_t *end = new_ends(1);

    (void)state;
    options.ca_file = "/nonexistent/ca.pem";
    start_url(http, apr_psprintf(unit_pool, "https://127.0.0.1:%d/", server->port), end);
    run_all(http);
    assert_int_equal(B24BG_HTTP_FAILED, end->outcome);
    assert_non_null(strstr(end->error, "/nonexistent/ca.pem"));
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    UNIT_ADD_ROWS(outcome, outcomes);
    UNIT_ADD(odd_lengths_end);
    UNIT_ADD(every_size);
    UNIT_ADD(nobody_listens);
    UNIT_ADD(unknown_name);
    UNIT_ADD_ROWS(total_timeout, slow);
    UNIT_ADD_ROWS(low_speed, slow);
    UNIT_ADD(stalled_handshake);
    UNIT_ADD(request_bytes);
    UNIT_ADD(bodies);
    UNIT_ADD(no_body);
    UNIT_ADD(all_is_copied);
    UNIT_ADD(secrets_are_wiped);
    UNIT_ADD(sockets_are_closed_on_exec);
    UNIT_ADD(never_sent_twice);
    UNIT_ADD(no_cookies);
    UNIT_ADD(no_netrc);
    UNIT_ADD_ROWS(redirect, redirects);
    UNIT_ADD(environment_is_ignored);
    UNIT_ADD(own_proxy);
    UNIT_ADD(proxy_refuses);
    UNIT_ADD_ROWS(proxy_password_stays_secret, bad_proxies);
    UNIT_ADD_ROWS(refused_url, refused);
    UNIT_ADD(refused_settings);
    UNIT_ADD(every_setting_counts);
    UNIT_ADD(hanging_server_delays_nobody);
    UNIT_ADD(hanging_names_delay_nobody);
    UNIT_ADD(queue);
    UNIT_ADD(who_hangs_leaves_his_place);
    UNIT_ADD(what_must_finish_keeps_its_place);
    UNIT_ADD(nobody_hangs_unseen);
    UNIT_ADD(nothing_to_do);
    UNIT_ADD(perform_returns_with_the_first);
    UNIT_ADD(callback_starts_another);
    UNIT_ADD(who_is_answered_goes_on);
    UNIT_ADD(who_fails_stands_behind);
    UNIT_ADD(stop_ends_all);
    UNIT_ADD(stop_under_load);
    UNIT_ADD(stop_waits_for_what_must_finish);
    UNIT_ADD(what_must_finish_can_be_aborted);
    UNIT_ADD(no_stop_flag);
    UNIT_ADD(pool_ends_all);
    UNIT_ADD(pool_ends_the_rest);
    UNIT_ADD(pool_ends_the_unstarted);
    UNIT_ADD(pools_of_batons_live);
    UNIT_ADD(two_clients);
    UNIT_ADD_ROWS(tls, tls_cases);
    UNIT_ADD(missing_ca_file);
    return unit_run("http");
}
