/* What the module shows of itself: the status URL, the section of mod_status, and the access-log
 * variables. The status URL is no kind of request that is counted: looking changes nothing. */
#include "mod_b24bg.h"

#include "b24bg_render.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_status.h>

#define ALLOW "GET, HEAD"
#define TEXT "text/plain; charset=utf-8"
/* No script, nothing from anywhere, and nobody else's frame. */
#define CSP                                                                                        \
    "default-src 'none'; style-src " B24BG_RENDER_STYLE                                            \
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const struct format {
    const char *name;
    const char *type;
    void (*render)(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton);
} formats[] = {
    {"html", "text/html; charset=utf-8", b24bg_render_html},
    {"json", "application/json", b24bg_render_json},
    {"prometheus", "text/plain; version=0.0.4; charset=utf-8", b24bg_render_prometheus},
    {"text", TEXT, b24bg_render_text},
};
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

/* Notes for %{...}n: spec.md section 6. Never a token, a key or an APP_SID: notes reach LogFormat
 * and whatever else reads them. */
void b24bg_status_note(request_rec *r, const b24bg_request_t *request)
{
    b24bg_verdict_e verdict = b24bg_reason(request->count.reason)->verdict;

    apr_table_setn(r->notes, "b24bg-app", request->app->name);
    apr_table_setn(r->notes, "b24bg-kind", b24bg_kind_name(request->count.kind));
    apr_table_setn(r->notes, "b24bg-verdict", b24bg_verdict_name(verdict));
    if (request->member_id) {
        apr_table_setn(r->notes, "b24bg-portal", request->member_id);
    }
    if (request->load_ms >= 0) {
        apr_table_setn(r->notes, "b24bg-load-ms", apr_itoa(r->pool, request->load_ms));
    }
}

/* The snapshot */

static void describe(b24bg_render_source_t *source, const b24bg_app_t *app, int is_listed)
{
    b24bg_render_config_t *config = &source->apps[app->row];

    config->listed = is_listed;
    config->has_client = app->rest.client_id != NULL;
    config->registers = app->rest.client_id && app->worker_url;
    config->has_secret = app->rest.client_secret != NULL;
    config->personal = app->users->nelts > 0;
    config->rebind = app->policy.rebind;
    config->silence = app->silence != 0;
    config->budget_limit = app->slow_count;
    config->slow_limit = app->slow_limit;
}

/* The default app is nobody's concern where others are configured, unless something has met it. */
static const b24bg_render_snapshot_t *take_snapshot(request_rec *r, int known_only)
{
    b24bg_render_source_t *source = apr_pcalloc(r->pool, sizeof(*source));
    int i;

    source->table = b24bg_main->table;
    source->now = apr_time_now();
    source->known_only = known_only;
    source->has_task = b24bg_main->journal != NULL;
    if (source->table) {
        describe(source, b24bg_main->default_app, b24bg_main->apps->nelts == 0);
        for (i = 0; i < b24bg_main->apps->nelts; i++) {
            describe(source, APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *), 1);
        }
    }
    return b24bg_render_snapshot(r->pool, source);
}

/* A failure is an aborted client: nothing to do. */
static void send_piece(void *baton, const char *text, apr_size_t length)
{
    ap_rwrite(text, (int)length, baton);
}

/* The URL */

static int refuse(request_rec *r, int status, const char *text)
{
    b24bg_body_give_up(r);
    r->status = status;
    ap_set_content_type_ex(r, TEXT, 1);
    ap_rputs(text, r);
    return OK;
}

/* NULL: none of ours. */
static const struct format *chosen_format(request_rec *r)
{
    const char *name = formats[0].name;
    b24bg_form_t query;
    apr_size_t i;

    if (r->args) {
        if (b24bg_form_parse(r->pool, apr_pstrdup(r->pool, r->args), strlen(r->args),
                             B24BG_FORM_LAST_WINS, &query) != B24BG_FORM_OK) {
            return NULL;
        }
        if (b24bg_form_get(query.fields, "format")) {
            name = b24bg_form_get(query.fields, "format");
        }
    }
    for (i = 0; i < FORMATS; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

int b24bg_status_handler(request_rec *r)
{
    const b24bg_render_snapshot_t *snapshot;
    const struct format *format;

    if (!b24bg_config_is_status(r->handler) || !ap_is_initial_req(r)) {
        return DECLINED;
    }
    b24bg_answer_headers(r);
    if (r->method_number != M_GET) {
        apr_table_setn(r->err_headers_out, "Allow", ALLOW);
        return refuse(r, HTTP_METHOD_NOT_ALLOWED, "method: GET and HEAD are allowed here\n");
    }
    format = chosen_format(r);
    if (!format) {
        return refuse(r, HTTP_BAD_REQUEST, "format: html, json, prometheus and text are allowed\n");
    }
    snapshot = take_snapshot(r, format->render == b24bg_render_text);
    if (format->render == b24bg_render_text && snapshot->level == B24BG_LEVEL_CRITICAL) {
        r->status = HTTP_SERVICE_UNAVAILABLE;
    }
    /* A part of what changes all the time would be a 206 that fits to nothing, and hide a 503. */
    apr_table_unset(r->headers_in, "Range");
    ap_set_content_type_ex(r, format->type, 1);
    apr_table_setn(r->headers_out, "Content-Security-Policy", CSP);
    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    format->render(snapshot, send_piece, r);
    return OK;
}

/* mod_status */

static int add_section(request_rec *r, int flags)
{
    if (!b24bg_main->server_status) {
        return DECLINED;
    }
    if (flags & AP_STATUS_SHORT) {
        b24bg_render_auto(take_snapshot(r, 1), send_piece, r);
    } else {
        b24bg_render_section(take_snapshot(r, 1), send_piece, r);
    }
    return OK;
}

void b24bg_status_register(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, add_section, NULL, NULL, APR_HOOK_MIDDLE);
}
