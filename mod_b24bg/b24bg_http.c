#include "b24bg_http.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* CURLOPT_QUICK_EXIT, without which a hanging name server stops every call, came with 7.87. */
#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

/* How long a set stop flag can go unseen, in milliseconds. */
#define STOP_CHECK_MS 50
/* A step of the background task and the pause behind it are shorter. If we were away for longer, it
 * was the store that held us up, and not a server. */
#define AWAY_MOST (250 * (APR_USEC_PER_SEC / 1000))
/* First size of the buffer for an answer; most answers fit. */
#define ANSWER_FIRST 4096
#define ERROR_LONGEST 200
/* All headers of an answer, those of interim answers included. */
#define HEADERS_MAX 65536

typedef struct client_t client_t;
typedef struct call_t call_t;

/* Lives in a pool of its own, which is destroyed when its callback has returned. */
struct call_t {
    client_t *client;
    apr_pool_t *pool;
    call_t *next;     /* in the queue */
    int place;        /* among the active ones, */
    apr_time_t hangs; /* from then on; by client->clock */
    CURL *easy;
    struct curl_slist *headers;
    char *body; /* of the request */
    apr_size_t body_length;
    char *answer; /* from malloc: it grows, and what is outgrown is wiped and given back */
    apr_size_t answer_length;
    apr_size_t answer_room;
    apr_size_t headers_length; /* of the answer */
    int headers_ended;
    int too_large;
    int must_finish;
    apr_interval_time_t patience; /* 0: without end */
    b24bg_http_done_cb done_cb;
    void *baton;
    char error[CURL_ERROR_SIZE];
};

struct client_t {
    b24bg_http_t face;
    apr_pool_t *pool;
    CURLM *multi;
    const volatile int *stop;
    int closed;
    call_t *active[B24BG_HTTP_CALLS_MAX];
    int active_count;
    call_t *first, **last; /* the queue */
    int queued;
    int is_answered;   /* the call whose callback is running */
    apr_time_t looked; /* after the calls; monotonic */
    apr_time_t clock;  /* goes on by AWAY_MOST at most from one look to the next */
};

static int is_stopping(const client_t *client)
{
    return client->closed || (client->stop && *client->stop);
}

/* Nobody waits for its answer any more. */
static int is_over(const call_t *call)
{
    return is_stopping(call->client) && (call->client->closed || !call->must_finish);
}

static apr_status_t status_of(CURLMcode code)
{
    return code == CURLM_OK ? APR_SUCCESS : code == CURLM_OUT_OF_MEMORY ? APR_ENOMEM : APR_EGENERAL;
}

static void wipe(char *bytes, apr_size_t length)
{
    if (bytes) {
        explicit_bzero(bytes, length);
    }
}

/* What curl calls */

static int make_room(call_t *call, apr_size_t length)
{
    apr_size_t room = call->answer_room ? call->answer_room : ANSWER_FIRST;
    char *grown;

    while (room < length) {
        room *= 2;
    }
    if (room == call->answer_room) {
        return 1;
    }
    grown = malloc(room);
    if (!grown) {
        return 0;
    }
    if (call->answer) {
        memcpy(grown, call->answer, call->answer_length);
        wipe(call->answer, call->answer_length);
        free(call->answer);
    }
    call->answer = grown;
    call->answer_room = room;
    return 1;
}

/* An answer that is cut inside its headers is a good one for curl, half a Location and all. */
static size_t take_header(char *bytes, size_t size, size_t count, void *baton)
{
    call_t *call = baton;
    apr_size_t length = size * count;

    if (length > HEADERS_MAX - call->headers_length) {
        call->too_large = 1;
        return 0;
    }
    call->headers_length += length;
    if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        call->headers_ended = 0;
    } else if (length <= 2) {
        call->headers_ended = 1;
    }
    return length;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *baton)
{
    call_t *call = baton;
    apr_size_t length = size * count;

    if (length > (apr_size_t)B24BG_HTTP_ANSWER_MAX - call->answer_length) {
        call->too_large = 1;
        return CURL_WRITEFUNC_ERROR;
    }
    if (!make_room(call, call->answer_length + length + 1)) {
        return CURL_WRITEFUNC_ERROR;
    }
    memcpy(call->answer + call->answer_length, bytes, length);
    call->answer_length += length;
    call->answer[call->answer_length] = '\0';
    return length;
}

static int check_stop(void *baton, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                      curl_off_t up)
{
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return is_over(baton);
}

/* The server starts programs (CGI, the alert command), which have no business with our sockets. */
static curl_socket_t open_socket(void *baton, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)baton;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Starting */

/* With a scheme, without a user, https or a permitted http: what curl itself would only say when
 * it is too late to tell a wrong address from a failed call. */
static apr_status_t check_url(const char *text, int allow_http)
{
    apr_status_t status = APR_EINVAL;
    CURLU *url = curl_url();
    char *scheme = NULL;

    if (!url) {
        return APR_ENOMEM;
    }
    if (text && !curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) &&
        !curl_url_get(url, CURLUPART_SCHEME, &scheme, 0)) {
        int good = strcmp(scheme, "https") == 0 || (allow_http && strcmp(scheme, "http") == 0);
        status = good ? APR_SUCCESS : APR_EACCES;
    }
    curl_free(scheme);
    curl_url_cleanup(url);
    return status;
}

static apr_status_t check_request(const b24bg_http_request_t *request)
{
    const b24bg_http_options_t *options = request->options;

    if (!request->content_type || strpbrk(request->content_type, "\r\n") ||
        (request->length > 0 && !request->body) || options->connect_timeout <= 0 ||
        options->total_timeout <= 0) {
        return APR_EINVAL;
    }
    return check_url(request->url, options->allow_http);
}

static int add_header(call_t *call, const char *header)
{
    struct curl_slist *longer = curl_slist_append(call->headers, header);

    call->headers = longer ? longer : call->headers;
    return longer != NULL;
}

/* Rounded up: 0 would mean no limit at all. */
static long milliseconds(apr_interval_time_t time)
{
    return (long)((time + 999) / 1000);
}

#define SET(option, value)                                                                         \
    if (curl_easy_setopt(call->easy, option, value) != CURLE_OK) {                                 \
        return APR_EGENERAL;                                                                       \
    }

static apr_status_t set_limits(call_t *call, const b24bg_http_options_t *options)
{
    SET(CURLOPT_NOSIGNAL, 1L)
    SET(CURLOPT_QUICK_EXIT, 1L)
    SET(CURLOPT_PROTOCOLS_STR, options->allow_http ? "https,http" : "https")
    SET(CURLOPT_FOLLOWLOCATION, 0L)
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L)
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED)
    SET(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(options->connect_timeout))
    SET(CURLOPT_TIMEOUT_MS, milliseconds(options->total_timeout))
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)B24BG_HTTP_LOW_SPEED_BYTES)
    SET(CURLOPT_LOW_SPEED_TIME, (long)B24BG_HTTP_LOW_SPEED_SECONDS)
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)B24BG_HTTP_ANSWER_MAX)
    /* On a connection that was used before curl sends a request again by itself when the server
     * closes it. A refresh token works once, so that would lose the portal. */
    SET(CURLOPT_FRESH_CONNECT, 1L)
    SET(CURLOPT_FORBID_REUSE, 1L)
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)
    return APR_SUCCESS;
}

static apr_status_t set_route(call_t *call, const b24bg_http_options_t *options)
{
    /* An empty text, unlike none, keeps curl from looking at the environment. */
    SET(CURLOPT_PROXY, options->proxy ? options->proxy : "")
    SET(CURLOPT_NOPROXY, "")
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2)
    SET(CURLOPT_SSL_VERIFYPEER, 1L)
    SET(CURLOPT_SSL_VERIFYHOST, 2L)
    if (options->ca_file) {
        SET(CURLOPT_CAINFO, options->ca_file)
        SET(CURLOPT_CAPATH, NULL)
        SET(CURLOPT_PROXY_CAINFO, options->ca_file)
        SET(CURLOPT_PROXY_CAPATH, NULL)
    }
    return APR_SUCCESS;
}

static apr_status_t set_callbacks(call_t *call)
{
    SET(CURLOPT_PRIVATE, call)
    SET(CURLOPT_ERRORBUFFER, call->error)
    SET(CURLOPT_HEADERFUNCTION, take_header)
    SET(CURLOPT_HEADERDATA, call)
    SET(CURLOPT_WRITEFUNCTION, take_body)
    SET(CURLOPT_WRITEDATA, call)
    SET(CURLOPT_NOPROGRESS, 0L)
    SET(CURLOPT_XFERINFOFUNCTION, check_stop)
    SET(CURLOPT_XFERINFODATA, call)
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket)
    return APR_SUCCESS;
}

static apr_status_t set_request(call_t *call, const b24bg_http_request_t *request)
{
    call->body = apr_pstrmemdup(call->pool, request->length ? request->body : "", request->length);
    call->body_length = request->length;
    /* "Expect:" without a value takes curl's own away: it waits a second for nothing. */
    if (!add_header(call, "Accept: application/json") || !add_header(call, "Expect:") ||
        !add_header(call, apr_pstrcat(call->pool, "Content-Type: ", request->content_type, NULL))) {
        return APR_ENOMEM;
    }
    SET(CURLOPT_URL, request->url)
    SET(CURLOPT_POST, 1L)
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_length)
    SET(CURLOPT_POSTFIELDS, call->body)
    SET(CURLOPT_HTTPHEADER, call->headers)
    SET(CURLOPT_USERAGENT, "mod_b24bg")
    return APR_SUCCESS;
}

#undef SET

static apr_status_t close_call(void *baton)
{
    call_t *call = baton;

    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    wipe(call->body, call->body_length);
    wipe(call->answer, call->answer_length);
    free(call->answer);
    return APR_SUCCESS;
}

static apr_status_t set_up(call_t *call, const b24bg_http_request_t *request)
{
    apr_status_t status;

    call->easy = curl_easy_init();
    if (!call->easy) {
        return APR_ENOMEM;
    }
    status = set_limits(call, request->options);
    if (status == APR_SUCCESS) {
        status = set_route(call, request->options);
    }
    if (status == APR_SUCCESS) {
        status = set_callbacks(call);
    }
    return status == APR_SUCCESS ? set_request(call, request) : status;
}

/* Behind all others. What goes on where an answer has come goes on at once: behind others that hang
 * each of its steps would wait for them anew. */
static void enqueue(client_t *client, call_t *call)
{
    call_t **at = client->is_answered ? &client->first : client->last;

    call->next = *at;
    *at = call;
    if (!call->next) {
        client->last = &call->next;
    }
    client->queued++;
}

static apr_status_t start(b24bg_http_t *http, const b24bg_http_request_t *request,
                          b24bg_http_done_cb done_cb, void *baton)
{
    client_t *client = http->self;
    apr_status_t status = is_stopping(client) ? APR_ECONNABORTED : check_request(request);
    apr_pool_t *pool;
    call_t *call;

    if (status != APR_SUCCESS || (status = apr_pool_create(&pool, client->pool)) != APR_SUCCESS) {
        return status;
    }
    call = apr_pcalloc(pool, sizeof(*call));
    apr_pool_cleanup_register(pool, call, close_call, apr_pool_cleanup_null);
    call->client = client;
    call->pool = pool;
    call->must_finish = request->must_finish;
    call->patience = request->must_finish ? 0 : request->options->patience;
    call->done_cb = done_cb;
    call->baton = baton;
    status = set_up(call, request);
    if (status != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return status;
    }
    enqueue(client, call);
    return APR_SUCCESS;
}

/* Ending */

/* The call is in neither list any more, so the callback may start others. */
static void finish(call_t *call, const b24bg_http_answer_t *answer)
{
    client_t *client = call->client;

    client->is_answered = answer->outcome == B24BG_HTTP_ANSWERED;
    call->done_cb(call->baton, answer);
    client->is_answered = 0;
    apr_pool_destroy(call->pool);
}

static void give_up(call_t *call, b24bg_http_outcome_e outcome, const char *error)
{
    b24bg_http_answer_t answer = {outcome, 0, "", 0, NULL, error};

    finish(call, &answer);
}

static void take_out(call_t *call)
{
    client_t *client = call->client;
    call_t *other = client->active[--client->active_count];

    curl_multi_remove_handle(client->multi, call->easy);
    client->active[call->place] = other;
    other->place = call->place;
}

/* Every call once: those that callbacks start meanwhile stay. */
static void give_up_queued(client_t *client, b24bg_http_outcome_e outcome, const char *error)
{
    call_t *waiting = client->first;

    client->first = NULL;
    client->last = &client->first;
    client->queued = 0;
    while (waiting) {
        call_t *call = waiting;
        waiting = call->next;
        give_up(call, outcome, error);
    }
}

static void give_up_all(client_t *client, b24bg_http_outcome_e outcome, const char *error)
{
    while (client->active_count > 0) {
        call_t *call = client->active[client->active_count - 1];
        take_out(call);
        give_up(call, outcome, error);
    }
    give_up_queued(client, outcome, error);
}

/* From the end: the last one takes the place of one that is taken out. */
static void give_up_what_is_over(client_t *client)
{
    int i;

    for (i = client->active_count - 1; i >= 0; i--) {
        call_t *call = client->active[i];
        if (is_over(call)) {
            take_out(call);
            give_up(call, B24BG_HTTP_ABORTED, "shutting down");
        }
    }
    give_up_queued(client, B24BG_HTTP_ABORTED, "shutting down");
}

static b24bg_http_outcome_e outcome_of(const call_t *call, CURLcode code)
{
    if (code == CURLE_OK) {
        return call->headers_ended ? B24BG_HTTP_ANSWERED : B24BG_HTTP_FAILED;
    }
    if (call->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        return B24BG_HTTP_TOO_LARGE;
    }
    return code == CURLE_ABORTED_BY_CALLBACK ? B24BG_HTTP_ABORTED : B24BG_HTTP_FAILED;
}

/* curl's own words where they say more and cannot quote a secret: some others quote the proxy
 * with its password. */
static const char *error_of(call_t *call, CURLcode code)
{
    int detailed = code == CURLE_OPERATION_TIMEDOUT || code == CURLE_PEER_FAILED_VERIFICATION ||
                   code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CACERT_BADFILE;

    if (call->too_large) {
        return "the answer is too large";
    }
    if (code == CURLE_OK) {
        return "the answer ends inside its headers";
    }
    if (!detailed || !call->error[0]) {
        return curl_easy_strerror(code);
    }
    return b24bg_form_clean(call->pool, call->error, ERROR_LONGEST);
}

static void deliver(call_t *call, CURLcode code)
{
    b24bg_http_answer_t answer = {outcome_of(call, code), 0, "", 0, NULL, ""};
    char *location = NULL;
    long status = 0;

    if (answer.outcome == B24BG_HTTP_ANSWERED) {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(call->easy, CURLINFO_REDIRECT_URL, &location);
        answer.status = (int)status;
        answer.location = location;
        answer.body = call->answer ? call->answer : "";
        answer.length = call->answer_length;
    } else {
        answer.error = error_of(call, code);
    }
    finish(call, &answer);
}

static int deliver_finished(client_t *client)
{
    CURLMsg *message;
    int finished = 0;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        void *call = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        take_out(call);
        deliver(call, code);
        finished++;
    }
    return finished;
}

/* Moving on */

static apr_time_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

static void look(client_t *client)
{
    apr_time_t now = monotonic_now();
    apr_interval_time_t away = now - client->looked;

    client->clock += away < AWAY_MOST ? away : AWAY_MOST;
    client->looked = now;
}

/* The one that hangs longest, or NULL. */
static call_t *find_hanging(const client_t *client)
{
    apr_time_t since = client->clock;
    call_t *found = NULL;
    int i;

    for (i = 0; i < client->active_count; i++) {
        call_t *call = client->active[i];
        if (call->patience > 0 && call->hangs <= since) {
            since = call->hangs;
            found = call;
        }
    }
    return found;
}

/* Calls that hang leave their places to those that wait. How many have left? */
static int clear_places(client_t *client)
{
    int needed = client->active_count + client->queued - B24BG_HTTP_CALLS_MAX;
    int cleared = 0;
    call_t *call;

    while (cleared < needed && (call = find_hanging(client)) != NULL) {
        take_out(call);
        give_up(call, B24BG_HTTP_FAILED, "it hangs, and other calls wait");
        cleared++;
    }
    return cleared;
}

static CURLMcode admit(client_t *client)
{
    CURLMcode code = CURLM_OK;

    while (client->first && client->active_count < B24BG_HTTP_CALLS_MAX && code == CURLM_OK) {
        call_t *call = client->first;
        code = curl_multi_add_handle(client->multi, call->easy);
        if (code == CURLM_OK) {
            client->first = call->next;
            client->last = client->first ? client->last : &client->first;
            client->queued--;
            call->hangs = client->clock + call->patience;
            call->place = client->active_count++;
            client->active[call->place] = call;
        }
    }
    return code;
}

/* Until a call has finished, nothing is left to wait for, or the time is over. */
static CURLMcode move_on(client_t *client, apr_time_t end)
{
    CURLMcode code = CURLM_OK;
    int finished = 0;

    while (code == CURLM_OK && !finished) {
        apr_interval_time_t left = end - monotonic_now();
        int running;
        if (is_stopping(client)) {
            give_up_what_is_over(client);
        }
        look(client);
        code = admit(client);
        if (code == CURLM_OK) {
            code = curl_multi_perform(client->multi, &running);
        }
        finished = deliver_finished(client);
        finished += clear_places(client);
        if (code != CURLM_OK || finished || client->active_count == 0 || left <= 0) {
            break;
        }
        left = milliseconds(left);
        code = curl_multi_poll(client->multi, NULL, 0,
                               left < STOP_CHECK_MS ? (int)left : STOP_CHECK_MS, NULL);
    }
    return code;
}

static apr_status_t perform(b24bg_http_t *http, apr_interval_time_t wait, int *running)
{
    client_t *client = http->self;
    CURLMcode code = move_on(client, monotonic_now() + wait);

    if (is_stopping(client)) {
        give_up_what_is_over(client);
    }
    if (code != CURLM_OK) {
        give_up_all(client, B24BG_HTTP_FAILED, curl_multi_strerror(code));
    }
    *running = client->active_count + client->queued;
    return status_of(code);
}

/* Opening and closing */

static apr_status_t close_client(void *baton)
{
    client_t *client = baton;

    client->closed = 1;
    give_up_all(client, B24BG_HTTP_ABORTED, "shutting down");
    curl_multi_cleanup(client->multi);
    curl_global_cleanup();
    return APR_SUCCESS;
}

/* A name server that hangs must hold up neither the other calls nor our end, so curl leaves its
 * resolver threads behind (CURLOPT_QUICK_EXIT). They run its code when they come back: it may not
 * be unloaded with us. A curl that is linked in statically needs no pin, so failing is fine. */
static void pin_curl(void)
{
    static const char *(*const strerror_of)(CURLcode) = curl_easy_strerror;
    const void *address;
    Dl_info info;

    memcpy(&address, &strerror_of, sizeof(address));
    if (dladdr(address, &info) && info.dli_fname) {
        dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

/* Counted by curl, so that ours and other modules' do not meet. */
static apr_status_t init_curl(void)
{
    const int needed = CURL_VERSION_THREADSAFE | CURL_VERSION_ASYNCHDNS | CURL_VERSION_SSL;

    if ((curl_version_info(CURLVERSION_NOW)->features & needed) != needed) {
        return APR_ENOTIMPL;
    }
    pin_curl();
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? APR_SUCCESS : APR_EINIT;
}

apr_status_t b24bg_http_create(apr_pool_t *pool, const volatile int *stop, b24bg_http_t **http)
{
    apr_status_t status = init_curl();
    client_t *client;

    if (status != APR_SUCCESS) {
        return status;
    }
    client = apr_pcalloc(pool, sizeof(*client));
    client->face.self = client;
    client->face.start = start;
    client->face.perform = perform;
    client->pool = pool;
    client->stop = stop;
    client->last = &client->first;
    client->multi = curl_multi_init();
    if (!client->multi) {
        curl_global_cleanup();
        return APR_ENOMEM;
    }
    /* Before the pools of the calls, which are below this one. */
    apr_pool_pre_cleanup_register(pool, client, close_client);
    *http = &client->face;
    return APR_SUCCESS;
}
