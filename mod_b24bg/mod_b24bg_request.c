/* Every request from its first look to its end, what answers have in common, and the worker's URL.
 * The other URLs have files of their own. */
#include "mod_b24bg.h"

#include "b24bg_form.h"
#include "b24bg_journal.h"

#include <apr_atomic.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

APLOG_USE_MODULE(b24bg);

/* Longest page's address in the log. */
#define PAGE_LOG_LONGEST 300

#define TEXT "text/plain; charset=utf-8"
#define HTML "text/html; charset=utf-8"

/* Claiming. A request for one of our Locations needs no file: without the walk over the file
 * system it costs less than an empty handler (engineering.md section 5). Access control is
 * untouched: httpd walks the Locations before and after, and asks all its checkers. */

/* With the URL behind it, as it may be shown: httpd logs it where an access checker refuses. */
static const char no_file[] = "b24bg:";

/* Our record of a request; with the first look at it its secrets leave the request line, also when
 * an access checker refuses it later. */
static b24bg_request_t *recognise(request_rec *r, b24bg_kind_e kind)
{
    b24bg_request_t *request = apr_pcalloc(r->pool, sizeof(*request));

    request->count.kind = kind;
    ap_set_module_config(r->request_config, &b24bg_module, request);
    b24bg_hide_in_line(r, request);
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
    r->filename = apr_pstrcat(r->pool, no_file, r->unparsed_uri, NULL);
    return OK;
}

int b24bg_request_map(request_rec *r)
{
    return r->filename && strncmp(r->filename, no_file, sizeof(no_file) - 1) == 0 ? OK : DECLINED;
}

int b24bg_is_minute_over(volatile apr_uint32_t *last)
{
    apr_uint32_t now = (apr_uint32_t)apr_time_sec(apr_time_now());
    apr_uint32_t before = apr_atomic_read32(last);

    return (before == 0 || now - before >= 60) && apr_atomic_cas32(last, now, before) == before;
}

/* Answering */

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

int b24bg_answer_empty(request_rec *r)
{
    return answer(r, HTTP_OK, TEXT, "", 0);
}

/* Written here and not by httpd, whose ErrorDocument might be a redirect. */
int b24bg_refuse(request_rec *r, b24bg_request_t *request, b24bg_reason_e why, const char *field)
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
    b24bg_body_give_up(r);
    return b24bg_refuse(r, request, why, field);
}

/* After AP_FILTER_ERROR a filter has answered already. */
int b24bg_refuse_body(request_rec *r, b24bg_request_t *request, int status)
{
    const char *text = "body: it could not be read to its end\n";

    request->count.reason = B24BG_REASON_BODY_CUT;
    if (status == AP_FILTER_ERROR) {
        return status;
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "B24BG0106: the body could not be read to its end, app=%s kind=%s status=%d",
                  request->app->name, b24bg_kind_name(request->count.kind), status);
    b24bg_body_give_up(r);
    return answer(r, status, TEXT, text, strlen(text));
}

int b24bg_answer_nothing(request_rec *r)
{
    return answer(r, HTTP_NO_CONTENT, NULL, NULL, 0);
}

int b24bg_answer_options(request_rec *r, b24bg_request_t *request, const char *allow)
{
    request->count.reason = B24BG_REASON_ACCEPTED;
    b24bg_body_give_up(r);
    apr_table_setn(r->err_headers_out, "Allow", allow);
    return answer(r, HTTP_NO_CONTENT, NULL, NULL, 0);
}

int b24bg_refuse_method(request_rec *r, b24bg_request_t *request, const char *allow)
{
    apr_table_setn(r->err_headers_out, "Allow", allow);
    return refuse_unread(r, request, B24BG_REASON_METHOD, "method");
}

/* What must survive a crash is on the disk before it is answered: spec.md section 4. */
apr_status_t b24bg_keep(request_rec *r, const char *text)
{
    b24bg_journal_record_t record;
    apr_status_t rv = apr_generate_random_bytes(record.id, sizeof(record.id));

    if (rv != APR_SUCCESS) {
        return rv;
    }
    record.at = r->request_time;
    record.payload = text;
    record.length = strlen(text);
    return b24bg_journal_append(b24bg_main->journal, &record, r->pool);
}

/* The worker */

/* An own page as it is at this moment, in memory that outlives the answer; where nothing is told of
 * its load it is the file, byte by byte. */
static const char *own_page(apr_pool_t *pool, b24bg_own_page_t *own, const char *tag,
                            apr_size_t *length)
{
    const char *text;

    if (own->mutex) {
        apr_thread_mutex_lock(own->mutex);
    }
    if (tag && own->page.tag_offset) {
        *length = own->page.length;
        text = b24bg_page_fill(pool, &own->page, tag);
    } else {
        *length = strlen(own->text);
        text = apr_pstrmemdup(pool, own->text, *length);
    }
    if (own->mutex) {
        apr_thread_mutex_unlock(own->mutex);
    }
    return text;
}

static const char *current_page(apr_pool_t *pool, b24bg_app_t *app, const char *tag,
                                apr_size_t *length)
{
    if (app->own_page.path) {
        return own_page(pool, &app->own_page, tag, length);
    }
    *length = app->page.length;
    return tag ? b24bg_page_fill(pool, &app->page, tag) : app->page.text;
}

/* No compression: the built-in page fits two packets as it is (B24BG_PAGE_MAX), and mod_deflate
 * would cost more than all the rest. */
int b24bg_answer_framed(request_rec *r, b24bg_request_t *request, const char *csp, const char *page,
                        apr_size_t length)
{
    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    b24bg_framing_add(r, request, csp);
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    return answer(r, HTTP_OK, HTML, page, length);
}

static int answer_page(request_rec *r, b24bg_request_t *request, const char *csp, const char *tag)
{
    apr_size_t length;
    const char *page = current_page(r->pool, request->app, tag, &length);

    return b24bg_answer_framed(r, request, csp, page, length);
}

b24bg_reason_e b24bg_form_reason(b24bg_form_result_e result)
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

/* ACCEPTED, or why this is no load of a portal we serve; *field then names the culprit. */
static b24bg_reason_e read_placement(request_rec *r, const b24bg_request_t *request,
                                     b24bg_body_t *body, b24bg_placement_t *placement,
                                     const char **field)
{
    b24bg_form_t query;
    b24bg_form_t form;
    b24bg_reason_e reason;

    reason = b24bg_form_reason(b24bg_form_parse(r->pool, request->args, strlen(request->args),
                                                B24BG_FORM_LAST_WINS, &query));
    *field = query.culprit;
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = b24bg_form_reason(
            b24bg_form_parse(r->pool, body->data, body->length, B24BG_FORM_REFUSE_TWICE, &form));
        *field = form.culprit;
    }
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = b24bg_placement_read(query.fields, form.fields, placement, field);
    }
    if (reason == B24BG_REASON_ACCEPTED &&
        !b24bg_value_patterns_fit(request->app->portals, placement->domain)) {
        *field = "DOMAIN";
        reason = B24BG_REASON_OUTSIDE;
    }
    return reason;
}

/* UNKNOWN_PORTAL and ACCEPTED are served, the first without trust; *field names the culprit of
 * any other. On ACCEPTED the page may be framed by exactly this portal. */
static b24bg_reason_e verify_load(request_rec *r, const b24bg_app_t *app,
                                  const b24bg_placement_t *placement, const char **csp,
                                  const char **field)
{
    b24bg_portal_id_t id = {app->row, placement->member_id, 0};
    char origin[B24BG_ORIGIN_MAX + 1];
    b24bg_portal_ref_t portal;

    if (!b24bg_main->table || app->verify == B24BG_VERIFY_OFF) {
        return B24BG_REASON_UNKNOWN_PORTAL;
    }
    portal = b24bg_table_find(b24bg_main->table, &id);
    switch (b24bg_table_trust(b24bg_main->table, portal, placement->application_token, origin)) {
    case B24BG_TRUST_PROVEN:
        *csp = apr_pstrcat(r->pool, "frame-ancestors ", origin, NULL);
        return B24BG_REASON_ACCEPTED;
    case B24BG_TRUST_BAD_TOKEN:
        *field = "APPLICATION_TOKEN";
        return B24BG_REASON_BAD_TOKEN;
    default:
        *field = "member_id";
        return app->verify == B24BG_VERIFY_STRICT ? B24BG_REASON_STRICT
                                                  : B24BG_REASON_UNKNOWN_PORTAL;
    }
}

static void log_load(request_rec *r, const b24bg_request_t *request,
                     const b24bg_placement_t *placement)
{
    const char *uri = b24bg_placement_options_uri(r->pool, placement->options);

    uri = uri ? apr_pstrmemdup(r->pool, uri, strcspn(uri, "?")) : "-";
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r,
                  "B24BG0102: load, app=%s portal=%s domain=%s repeat=%d options=%s page=\"%s\"",
                  request->app->name, placement->member_id, placement->domain,
                  request->count.is_repeat, request->count.broken_options ? "broken" : "ok",
                  b24bg_form_clean(r->pool, uri, PAGE_LOG_LONGEST));
}

static void record_load(request_rec *r, b24bg_request_t *request,
                        const b24bg_placement_t *placement)
{
    b24bg_portal_id_t id = {request->app->row, placement->member_id, placement->user};
    b24bg_table_request_t *count = &request->count;
    b24bg_table_t *table = b24bg_main->table;

    request->member_id = placement->member_id;
    count->broken_options =
        b24bg_placement_options_check(placement->options) == B24BG_OPTIONS_BROKEN;
    if (table) {
        count->portal = b24bg_table_portal(table, &id, placement->domain, r->request_time);
        count->is_repeat =
            placement->app_sid && *placement->app_sid &&
            b24bg_table_seen(table, count->app, placement->member_id, placement->app_sid);
        count->is_load = !count->is_repeat;
    }
    if (APLOGrdebug(r)) {
        log_load(r, request, placement);
    }
}

int b24bg_receive_form(request_rec *r, b24bg_request_t *request, b24bg_body_t *body, int *status)
{
    if (!b24bg_body_is_form(r)) {
        *status = refuse_unread(r, request, B24BG_REASON_NOT_FORM, "Content-Type");
        return 0;
    }
    if (b24bg_body_announced(r) > request->app->max_body) {
        *status = refuse_unread(r, request, B24BG_REASON_TOO_LARGE, "Content-Length");
        return 0;
    }
    *status = b24bg_body_read(r, (apr_size_t)request->app->max_body, body);
    if (*status != OK) {
        *status = b24bg_refuse_body(r, request, *status);
        return 0;
    }
    if (body->cut) {
        *status = refuse_unread(r, request, B24BG_REASON_TOO_LARGE, "body");
        return 0;
    }
    return 1;
}

/* POST of a portal's frame. */
static int serve_load(request_rec *r, b24bg_request_t *request)
{
    b24bg_placement_t *placement = apr_pcalloc(r->pool, sizeof(*placement));
    const char *csp = request->app->csp;
    b24bg_reason_e reason;
    const char *field;
    b24bg_body_t body;
    int status;

    if (!b24bg_receive_form(r, request, &body, &status)) {
        return status;
    }
    reason = read_placement(r, request, &body, placement, &field);
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = verify_load(r, request->app, placement, &csp, &field);
    }
    if (b24bg_reason(reason)->status != HTTP_OK) {
        return b24bg_refuse(r, request, reason, field);
    }
    request->count.reason = reason;
    record_load(r, request, placement);
    return answer_page(r, request, csp, b24bg_beacon_make(r, request));
}

static int is_beacon(const char *args)
{
    return strncmp(args, "b24bg=load", 10) == 0 && (args[10] == '\0' || args[10] == '&');
}

static int serve_worker(request_rec *r, b24bg_request_t *request)
{
    switch (r->method_number) {
    case M_POST:
        return is_beacon(request->args) ? b24bg_serve_beacon(r, request) : serve_load(r, request);
    case M_GET: /* HEAD too; people and monitors open it to look */
        b24bg_body_give_up(r);
        request->is_look = 1;
        return answer_page(r, request, request->app->csp, NULL);
    case M_OPTIONS:
        return b24bg_answer_options(r, request, B24BG_ALLOW);
    default:
        return b24bg_refuse_method(r, request, B24BG_ALLOW);
    }
}

/* Every request */

void b24bg_answer_headers(request_rec *r)
{
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->err_headers_out, "X-Content-Type-Options", "nosniff");
}

static b24bg_request_t *begin(request_rec *r, b24bg_kind_e kind, b24bg_app_t *app)
{
    b24bg_request_t *request = ap_get_module_config(r->request_config, &b24bg_module);

    if (!request) {
        request = recognise(r, kind);
    }
    request->app = app;
    request->args = apr_pstrdup(r->pool, r->args ? r->args : "");
    request->handled = 1;
    request->load_ms = -1;
    request->count.app = app->row;
    request->count.kind = kind;
    request->count.reason = B24BG_REASON_ACCEPTED;
    request->count.slow_limit = app->slow_limit;
    b24bg_answer_headers(r);
    return request;
}

/* Errors that httpd words itself, an access checker's or a filter's, start with no headers. */
void b24bg_request_error(request_rec *r)
{
    if (ap_get_module_config(r->request_config, &b24bg_module) || b24bg_config_is_status_here(r)) {
        b24bg_answer_headers(r);
    }
}

/* What the check of the configuration could not see, in an .htaccess file for one. */
static void log_misconfigured(request_rec *r, const b24bg_app_t *app)
{
    static volatile apr_uint32_t last;

    if (b24bg_is_minute_over(&last)) {
        ap_log_rerror(APLOG_MARK, APLOG_CRIT, 0, r, "B24BG0103: %s cannot be served: %s",
                      r->filename,
                      app ? "its app has no B24bgClient, so nobody could be verified"
                          : "this server knows several apps; name one with B24bgUse");
    }
}

int b24bg_request_handler(request_rec *r)
{
    const b24bg_location_t *location = ap_get_module_config(r->per_dir_config, &b24bg_module);
    int kind = b24bg_config_kind(r->handler);
    b24bg_request_t *request;
    b24bg_app_t *app;

    if (kind < 0 || !ap_is_initial_req(r)) {
        return DECLINED;
    }
    app = b24bg_config_app(r->server, location);
    if (!app || (kind == B24BG_KIND_INSTALL && !app->rest.client_id)) {
        log_misconfigured(r, app);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    request = begin(r, kind, app);
    switch (kind) {
    case B24BG_KIND_WORKER:
        return serve_worker(r, request);
    case B24BG_KIND_INSTALL:
        return b24bg_serve_install(r, request);
    default:
        return b24bg_serve_error(r, request);
    }
}

/* Runs when the last byte was handed to the network, or the client has gone; before the loggers,
 * which then find the notes and no secrets. */
int b24bg_request_finish(request_rec *r)
{
    b24bg_request_t *request = ap_get_module_config(r->request_config, &b24bg_module);

    if (!request) {
        return DECLINED;
    }
    b24bg_hide_in_url(r, request);
    if (!request->handled) {
        return DECLINED;
    }
    request->handled = 0;
    b24bg_status_note(r, request);
    if (b24bg_main->table && !request->is_look) {
        request->count.now = apr_time_now();
        request->count.server_time = request->count.now - r->request_time;
        b24bg_table_count(b24bg_main->table, &request->count);
        if (request->count.is_load && request->count.server_time > request->app->slow_limit) {
            b24bg_budget_warn(r, request->app, request->count.portal);
        }
    }
    return DECLINED;
}
