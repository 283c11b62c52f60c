/* The URLs. One short function each: read, parse, verify, answer, record. */
#include "mod_b24bg.h"

#include "b24bg_form.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <scoreboard.h>
#include <util_filter.h>

#include <jansson.h>

APLOG_USE_MODULE(b24bg);

/* What is read at once, and what a chunked body starts with; a new portal's is 533 bytes and a
 * URI in it may take kilobytes (protocol.md 1.3). */
#define READ_SIZE 8192
/* Room of a notice's description in the log: spec.md 4.2. */
#define NOTICE_LOG_LONGEST 300

#define TEXT "text/plain; charset=utf-8"
#define HTML "text/html; charset=utf-8"
#define ALLOW "GET, HEAD, POST, OPTIONS"

/* A body in memory, with a NUL behind it. */
typedef struct {
    char *data;
    apr_size_t length;
    int cut; /* it was longer than the limit */
} body_t;

/* Secrets in the URL: APP_SID in the query and the key at the end of the error URL. They must not
 * reach access logs and server-status, which show the request line. */

static void hide_last_segment(char *text)
{
    char *end = text + strcspn(text, "?");
    char *slash;

    for (slash = end; slash > text && *slash != '/'; slash--) {
    }
    if (*slash == '/' && slash + 1 < end) {
        slash[1] = '-';
        memmove(slash + 2, end, strlen(end) + 1);
    }
}

/* 1 if the URL is exactly that of a <Location> for notices: then there is no key behind it. */
static int has_no_key(const request_rec *r)
{
    int i;

    for (i = 0; i < b24bg_main->places->nelts; i++) {
        const b24bg_place_t *place = &APR_ARRAY_IDX(b24bg_main->places, i, b24bg_place_t);
        if (place->kind == B24BG_KIND_ERROR && place->path && strcmp(r->uri, place->path) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The request line: "POST /b24/error/<key>?... HTTP/1.1". */
static void hide_key_in_line(request_rec *r)
{
    char *line = strchr(r->the_request, ' ');

    if (line) {
        char *version = line + 1 + strcspn(line + 1, " ");
        const char *rest = apr_pstrdup(r->pool, version);
        *version = '\0';
        hide_last_segment(line);
        r->the_request = apr_pstrcat(r->pool, r->the_request, rest, NULL);
    }
}

/* What loggers and server-status show; nobody decides anything by it. */
static void hide_in_line(request_rec *r, b24bg_kind_e kind)
{
    b24bg_form_hide(r->the_request, "APP_SID");
    b24bg_form_hide(r->unparsed_uri, "APP_SID");
    if (kind == B24BG_KIND_ERROR && !has_no_key(r)) {
        hide_key_in_line(r);
        hide_last_segment(r->unparsed_uri);
    }
    if (r->connection->sbh) {
        ap_update_child_status(r->connection->sbh, SERVER_BUSY_WRITE, r);
    }
}

/* What the request is decided by: when that is done. */
static void hide_in_url(request_rec *r, b24bg_kind_e kind)
{
    if (r->args) {
        b24bg_form_hide(r->args, "APP_SID");
    }
    if (kind == B24BG_KIND_ERROR && !has_no_key(r)) {
        hide_last_segment(r->uri);
    }
}

/* Claiming. A request for one of our Locations needs no file: without the walk over the file
 * system it costs less than an empty handler (engineering.md section 5). Access control is
 * untouched: httpd walks the Locations before and after, and asks all its checkers. */

static const char no_file[] = "b24bg:";

/* Our record of a request; with the first look at it its secrets leave the request line, also when
 * an access checker refuses it later. */
static b24bg_request_t *recognise(request_rec *r, b24bg_kind_e kind)
{
    b24bg_request_t *request = apr_pcalloc(r->pool, sizeof(*request));

    request->count.kind = kind;
    ap_set_module_config(r->request_config, &b24bg_module, request);
    hide_in_line(r, kind);
    return request;
}

/* Not after a rewrite: the sections that say SetHandler were found for the URL before it. */
int b24bg_request_translate(request_rec *r)
{
    int kind;

    if (!ap_is_initial_req(r) || r->uri != r->parsed_uri.path ||
        (kind = b24bg_config_kind_here(r)) < 0) {
        return DECLINED;
    }
    recognise(r, kind);
    r->filename = apr_pstrdup(r->pool, no_file);
    return OK;
}

int b24bg_request_map(request_rec *r)
{
    return r->filename && strcmp(r->filename, no_file) == 0 ? OK : DECLINED;
}

/* Reading */

static int is_form(const request_rec *r)
{
    static const char form[] = "application/x-www-form-urlencoded";
    const char *type = apr_table_get(r->headers_in, "Content-Type");

    return type && ap_cstr_casecmpn(type, form, sizeof(form) - 1) == 0 &&
           (type[sizeof(form) - 1] == '\0' || strchr("; \t", type[sizeof(form) - 1]));
}

/* Content-Length as httpd has accepted it, or -1. */
static apr_int64_t announced_length(const request_rec *r)
{
    const char *text = apr_table_get(r->headers_in, "Content-Length");
    char *end;
    apr_int64_t length = text ? apr_strtoi64(text, &end, 10) : -1;

    return text && *end == '\0' ? length : -1;
}

/* Adds to the body up to the limit; `room` is what data has space for, its NUL apart. */
static void append(apr_pool_t *pool, body_t *body, apr_size_t *room, const char *data,
                   apr_size_t length)
{
    if (body->length + length > *room) {
        char *larger;
        *room = 2 * (body->length + length);
        larger = apr_palloc(pool, *room + 1);
        memcpy(larger, body->data, body->length);
        body->data = larger;
    }
    memcpy(body->data + body->length, data, length);
    body->length += length;
}

/* Takes one brigade into the body. *done: end of stream, or over the limit. */
static apr_status_t take(request_rec *r, apr_bucket_brigade *brigade, apr_size_t limit,
                         body_t *body, apr_size_t *room, int *done)
{
    apr_bucket *bucket;

    for (bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade) && !*done;
         bucket = APR_BUCKET_NEXT(bucket)) {
        const char *data;
        apr_size_t length;
        apr_status_t rv;
        if (APR_BUCKET_IS_EOS(bucket)) {
            *done = 1;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (body->length + length > limit) {
            length = limit - body->length;
            body->cut = *done = 1;
        }
        append(r->pool, body, room, data, length);
    }
    return APR_SUCCESS;
}

/* Reads the whole body, or up to the limit, and then body->cut is set. Returns OK, or a status as
 * a handler returns it. ap_get_client_block and ap_parse_form_data would not do: they lose
 * errors, chunked bodies and limits (engineering.md section 5). */
static int read_body(request_rec *r, apr_size_t limit, body_t *body)
{
    apr_int64_t announced = announced_length(r);
    apr_size_t room = announced < 0 ? READ_SIZE : (apr_size_t)announced;
    apr_bucket_brigade *brigade;
    int done = 0;

    room = room < limit ? room : limit;
    body->data = apr_palloc(r->pool, room + 1);
    body->length = 0;
    body->cut = 0;
    brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    while (!done) {
        apr_status_t rv =
            ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);
        if (rv == APR_SUCCESS) {
            rv = take(r, brigade, limit, body, &room, &done);
        }
        apr_brigade_cleanup(brigade);
        if (rv != APR_SUCCESS) {
            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
    }
    body->data[body->length] = '\0';
    return OK;
}

/* Answering */

/* Nobody waits for a body that will not be used: without this, httpd reads it to its end before
 * the answer leaves. */
static void give_up_on_body(request_rec *r)
{
    if (ap_request_has_body(r)) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}

static int answer(request_rec *r, int status, const char *type, const char *text, apr_size_t length)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);

    r->status = status;
    if (status != HTTP_NO_CONTENT) {
        ap_set_content_type_ex(r, type, 1);
        ap_set_content_length(r, (apr_off_t)length);
        APR_BRIGADE_INSERT_TAIL(
            brigade, apr_bucket_immortal_create(text, length, r->connection->bucket_alloc));
    }
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(r->connection->bucket_alloc));
    ap_pass_brigade(r->output_filters, brigade); /* a failure is an aborted client: nothing to do */
    return OK;
}

/* Refuses with the reason's status and a text "field: why". Written here and not by httpd, whose
 * ErrorDocument might be a redirect. */
static int refuse(request_rec *r, b24bg_request_t *request, b24bg_reason_e why, const char *field)
{
    const b24bg_reason_t *reason = b24bg_reason(why);
    const char *text = apr_psprintf(r->pool, "%s: %s\n", field, reason->text);

    request->count.reason = why;
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "B24BG0101: refused, app=%s kind=%s reason=%s field=\"%s\" status=%d",
                  request->app->name, b24bg_kind_name(request->count.kind), reason->name, field,
                  reason->status);
    return answer(r, reason->status, TEXT, text, strlen(text));
}

static int refuse_unread(request_rec *r, b24bg_request_t *request, b24bg_reason_e why,
                         const char *field)
{
    give_up_on_body(r);
    return refuse(r, request, why, field);
}

static int answer_options(request_rec *r, b24bg_request_t *request)
{
    request->count.reason = B24BG_REASON_ACCEPTED;
    apr_table_setn(r->err_headers_out, "Allow", ALLOW);
    return answer(r, HTTP_NO_CONTENT, NULL, NULL, 0);
}

static int refuse_method(request_rec *r, b24bg_request_t *request)
{
    apr_table_setn(r->err_headers_out, "Allow", ALLOW);
    return refuse_unread(r, request, B24BG_REASON_METHOD, "method");
}

/* The worker */

/* The page as it is at this moment, in memory that outlives the answer. */
static const char *current_page(apr_pool_t *pool, b24bg_app_t *app, apr_size_t *length)
{
    b24bg_own_page_t *own = &app->own_page;
    const char *text;

    if (!own->path) {
        *length = app->page_length;
        return app->page;
    }
    if (!own->mutex) {
        *length = own->length;
        return own->text;
    }
    apr_thread_mutex_lock(own->mutex);
    *length = own->length;
    text = apr_pmemdup(pool, own->text, own->length);
    apr_thread_mutex_unlock(own->mutex);
    return text;
}

/* No compression: the page fits one packet, and mod_deflate would cost more than all the rest. */
static int answer_page(request_rec *r, b24bg_request_t *request)
{
    apr_size_t length;
    const char *page = current_page(r->pool, request->app, &length);

    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    if (request->app->csp) {
        apr_table_setn(r->headers_out, "Content-Security-Policy", request->app->csp);
    }
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    return answer(r, HTTP_OK, HTML, page, length);
}

static b24bg_reason_e form_reason(b24bg_form_result_e result)
{
    switch (result) {
    case B24BG_FORM_OK:
        return B24BG_REASON_ACCEPTED;
    case B24BG_FORM_BAD_ESCAPE:
        return B24BG_REASON_BAD_ESCAPE;
    case B24BG_FORM_NUL:
        return B24BG_REASON_NUL;
    case B24BG_FORM_TWICE:
        return B24BG_REASON_FIELD_TWICE;
    case B24BG_FORM_TOO_MANY:
        break;
    }
    return B24BG_REASON_TOO_MANY_FIELDS;
}

static int is_portal_served(const b24bg_app_t *app, const char *domain)
{
    int i;

    for (i = 0; i < app->portals->nelts; i++) {
        if (b24bg_value_pattern_fits(APR_ARRAY_IDX(app->portals, i, const char *), domain)) {
            return 1;
        }
    }
    return app->portals->nelts == 0;
}

/* ACCEPTED, or why this is no load of a portal we serve; *field then names the culprit. */
static b24bg_reason_e read_placement(request_rec *r, const b24bg_app_t *app, char *args,
                                     body_t *body, b24bg_placement_t *placement, const char **field)
{
    apr_table_t *query;
    apr_table_t *fields;
    b24bg_reason_e reason;

    reason = form_reason(
        b24bg_form_parse(r->pool, args, strlen(args), B24BG_FORM_LAST_WINS, &query, field));
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = form_reason(b24bg_form_parse(r->pool, body->data, body->length,
                                              B24BG_FORM_REFUSE_TWICE, &fields, field));
    }
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = b24bg_placement_read(query, fields, placement, field);
    }
    if (reason == B24BG_REASON_ACCEPTED && !is_portal_served(app, placement->domain)) {
        *field = "DOMAIN";
        reason = B24BG_REASON_OUTSIDE;
    }
    return reason;
}

static void record_load(request_rec *r, b24bg_request_t *request,
                        const b24bg_placement_t *placement)
{
    b24bg_table_request_t *count = &request->count;
    b24bg_table_t *table = b24bg_main->table;

    request->member_id = placement->member_id;
    count->broken_options =
        b24bg_placement_options_check(placement->options) == B24BG_OPTIONS_BROKEN;
    if (table) {
        count->portal = b24bg_table_portal(table, count->app, placement->member_id,
                                           placement->domain, r->request_time);
        count->is_repeat =
            placement->app_sid && *placement->app_sid &&
            b24bg_table_seen(table, count->app, placement->member_id, placement->app_sid);
        count->is_load = !count->is_repeat;
    }
    if (APLOGrdebug(r)) {
        const char *uri = b24bg_placement_options_uri(r->pool, placement->options);
        uri = uri ? apr_pstrmemdup(r->pool, uri, strcspn(uri, "?")) : "-";
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r,
                      "B24BG0102: load, app=%s portal=%s domain=%s repeat=%d options=%s "
                      "page=\"%s\"",
                      request->app->name, placement->member_id, placement->domain, count->is_repeat,
                      count->broken_options ? "broken" : "ok",
                      b24bg_form_clean(r->pool, uri, NOTICE_LOG_LONGEST));
    }
}

/* POST of a portal's frame. */
static int serve_load(request_rec *r, b24bg_request_t *request, char *args)
{
    b24bg_placement_t *placement = apr_pcalloc(r->pool, sizeof(*placement));
    b24bg_reason_e reason;
    const char *field;
    body_t body;
    int status;

    if (!is_form(r)) {
        return refuse_unread(r, request, B24BG_REASON_NOT_FORM, "Content-Type");
    }
    if (announced_length(r) > (apr_int64_t)request->app->max_body) {
        return refuse_unread(r, request, B24BG_REASON_TOO_LARGE, "Content-Length");
    }
    status = read_body(r, request->app->max_body, &body);
    if (status != OK) {
        request->count.reason = B24BG_REASON_BODY_CUT;
        return status;
    }
    if (body.cut) {
        return refuse_unread(r, request, B24BG_REASON_TOO_LARGE, "body");
    }
    reason = read_placement(r, request->app, args, &body, placement, &field);
    if (reason != B24BG_REASON_ACCEPTED) {
        return refuse(r, request, reason, field);
    }
    request->count.reason = B24BG_REASON_UNKNOWN_PORTAL;
    record_load(r, request, placement);
    return answer_page(r, request);
}

/* A beacon whose tag is not ours changes nothing, and the page holds no tags yet. */
static int serve_beacon(request_rec *r, b24bg_request_t *request)
{
    request->count.kind = B24BG_KIND_BEACON;
    request->count.reason = B24BG_REASON_BEACON;
    give_up_on_body(r);
    return answer(r, HTTP_NO_CONTENT, NULL, NULL, 0);
}

static int is_beacon(const char *args)
{
    return strncmp(args, "b24bg=load", 10) == 0 && (args[10] == '\0' || args[10] == '&');
}

static int serve_worker(request_rec *r, b24bg_request_t *request, char *args)
{
    switch (r->method_number) {
    case M_POST:
        return is_beacon(args) ? serve_beacon(r, request) : serve_load(r, request, args);
    case M_GET: /* HEAD too; people and monitors open it to look */
        give_up_on_body(r);
        return answer_page(r, request);
    case M_OPTIONS:
        return answer_options(r, request);
    default:
        return refuse_method(r, request);
    }
}

/* Notices */

typedef struct {
    const char *error;
    const char *description;
} notice_t;

static void read_json_notice(apr_pool_t *pool, const char *text, notice_t *notice)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *error = json_string_value(json_object_get(json, "error"));
    const char *description = json_string_value(json_object_get(json, "error_description"));

    notice->error = error ? apr_pstrdup(pool, error) : NULL;
    notice->description = description ? apr_pstrdup(pool, description) : NULL;
    json_decref(json);
}

/* Takes error and description from a form; 0 if it cannot be read. */
static int read_form_notice(apr_pool_t *pool, char *text, apr_size_t length, notice_t *notice)
{
    apr_table_t *fields;
    const char *culprit;

    if (b24bg_form_parse(pool, text, length, B24BG_FORM_LAST_WINS, &fields, &culprit) !=
        B24BG_FORM_OK) {
        return 0;
    }
    if (!notice->error) {
        notice->error = b24bg_form_get(fields, "error");
        notice->description = b24bg_form_get(fields, "error_description");
    }
    return 1;
}

/* Of a body that was cut, the pairs that are whole: the code stands in front of the text. */
static void drop_cut_pair(body_t *body)
{
    while (body->length > 0 && body->data[body->length - 1] != '&') {
        body->length--;
    }
    body->data[body->length] = '\0';
}

/* Finds the notice in body or query: variants A to E of protocol.md 3.2. 0 if the body is neither
 * form nor JSON. */
static int read_notice(apr_pool_t *pool, char *args, body_t *body, notice_t *notice)
{
    const char *start = body->data + strspn(body->data, " \t\r\n\xEF\xBB\xBF");

    notice->error = notice->description = NULL;
    if (*start == '{') {
        read_json_notice(pool, start, notice);
        return notice->error != NULL;
    }
    if (body->cut) {
        drop_cut_pair(body);
    }
    return read_form_notice(pool, body->data, body->length, notice) &&
           read_form_notice(pool, args, strlen(args), notice);
}

static void log_notice(request_rec *r, const b24bg_request_t *request, const notice_t *notice)
{
    const char *error = b24bg_form_clean(r->pool, notice->error, NOTICE_LOG_LONGEST);
    const char *description = notice->description ? notice->description : "";

    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  "B24BG0201: notice from Bitrix24, app=%s portal=- error=%s description=\"%s\"",
                  request->app->name, error,
                  b24bg_form_clean(r->pool, description, NOTICE_LOG_LONGEST - strlen(error)));
}

/* 200 and nothing else, whatever came: what we know of a key is nobody's business. */
static int serve_notice(request_rec *r, b24bg_request_t *request, char *args)
{
    notice_t notice;
    body_t body;
    int status = read_body(r, request->app->max_body, &body);

    if (status != OK) {
        request->count.reason = B24BG_REASON_BODY_CUT;
        return status;
    }
    if (body.cut) {
        give_up_on_body(r);
    }
    if (!read_notice(r->pool, args, &body, &notice)) {
        request->count.reason = B24BG_REASON_MALFORMED_NOTICE;
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "B24BG0202: no notice can be read from this request, app=%s",
                      request->app->name);
    } else if (notice.error) {
        request->count.reason = B24BG_REASON_UNKNOWN_PORTAL;
        log_notice(r, request, &notice);
    }
    return answer(r, HTTP_OK, TEXT, "", 0);
}

static int serve_error(request_rec *r, b24bg_request_t *request, char *args)
{
    switch (r->method_number) {
    case M_POST:
    case M_GET:
        return serve_notice(r, request, args);
    case M_OPTIONS:
        return answer_options(r, request);
    default:
        return refuse_method(r, request);
    }
}

/* Every request */

static b24bg_request_t *begin(request_rec *r, b24bg_kind_e kind, b24bg_app_t *app)
{
    b24bg_request_t *request = ap_get_module_config(r->request_config, &b24bg_module);

    if (!request) {
        request = recognise(r, kind);
    }
    request->app = app;
    request->handled = 1;
    request->count.app = app->row;
    request->count.kind = kind;
    request->count.reason = B24BG_REASON_ACCEPTED;
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->err_headers_out, "X-Content-Type-Options", "nosniff");
    return request;
}

int b24bg_request_handler(request_rec *r)
{
    const b24bg_location_t *location = ap_get_module_config(r->per_dir_config, &b24bg_module);
    int kind = b24bg_config_kind(r->handler);
    b24bg_request_t *request;
    b24bg_app_t *app;
    char *args;

    if (kind < 0 || !ap_is_initial_req(r)) {
        return DECLINED;
    }
    app = b24bg_config_app(r->server, location);
    if (!app) {
        ap_log_rerror(APLOG_MARK, APLOG_CRIT, 0, r,
                      "B24BG0103: this server knows several apps; name the one to serve with "
                      "B24bgUse");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    request = begin(r, kind, app);
    args = apr_pstrdup(r->pool, r->args ? r->args : "");
    return kind == B24BG_KIND_WORKER ? serve_worker(r, request, args)
                                     : serve_error(r, request, args);
}

/* Runs when the last byte was handed to the network, or the client has gone; before the loggers,
 * which then find the notes and no secrets. */
int b24bg_request_finish(request_rec *r)
{
    b24bg_request_t *request = ap_get_module_config(r->request_config, &b24bg_module);

    if (!request) {
        return DECLINED;
    }
    hide_in_url(r, request->count.kind);
    if (!request->handled) {
        return DECLINED;
    }
    request->handled = 0;
    b24bg_status_note(r, request);
    if (b24bg_main->table) {
        request->count.now = apr_time_now();
        request->count.server_time = request->count.now - r->request_time;
        b24bg_table_count(b24bg_main->table, &request->count);
    }
    return DECLINED;
}
