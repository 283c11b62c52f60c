/* The installation URL: pages and events of an application's life. */
#include "mod_b24bg.h"

#include "b24bg_form.h"
#include "b24bg_install.h"

#include <http_log.h>

APLOG_USE_MODULE(b24bg);

#define ALLOW "POST, OPTIONS"

static b24bg_reason_e read_install(request_rec *r, b24bg_body_t *body, b24bg_install_t *install,
                                   const char **field)
{
    b24bg_form_t form;
    b24bg_reason_e reason = b24bg_form_reason(
        b24bg_form_parse(r->pool, body->data, body->length, B24BG_FORM_REFUSE_TWICE, &form));

    *field = form.culprit;
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = b24bg_install_read(r->pool, form.fields, install, field);
    }
    return reason;
}

/* Any client can cause it as often as he likes, so once a minute. */
static void log_lost_install(request_rec *r, const b24bg_request_t *request, apr_status_t rv)
{
    static volatile apr_uint32_t last;

    if (!b24bg_is_minute_over(&last)) {
        return;
    }
    ap_log_rerror(APLOG_MARK, APLOG_CRIT, rv, r,
                  "B24BG0104: an installation could not be kept in \"%s\" and was answered 503, "
                  "app=%s portal=%s; %s, then install again",
                  b24bg_main->journal, request->app->name, request->member_id,
                  APR_STATUS_IS_ENOSPC(rv)
                      ? "make room there, or mend the store if 64 MiB wait for it"
                      : "let the server's User write there");
}

/* An installation is on the disk before it is answered; who it comes from is found out later. */
static int take_install(request_rec *r, b24bg_request_t *request)
{
    b24bg_install_t install;
    b24bg_reason_e reason;
    const char *field;
    apr_status_t rv;
    b24bg_body_t body;
    int status;

    if (!b24bg_receive_form(r, request, &body, &status)) {
        return status;
    }
    reason = read_install(r, &body, &install, &field);
    if (reason != B24BG_REASON_ACCEPTED) {
        return b24bg_refuse(r, request, reason, field);
    }
    if (install.kind == B24BG_INSTALL_OTHER) {
        request->count.reason = B24BG_REASON_EVENT_IGNORED;
        return b24bg_answer_empty(r);
    }
    request->member_id = install.member_id;
    rv = b24bg_keep(r, b24bg_install_encode(r->pool, request->app->name, &install));
    if (rv != APR_SUCCESS) {
        log_lost_install(r, request, rv);
        return b24bg_refuse(r, request, B24BG_REASON_JOURNAL, "installation");
    }
    if (install.kind == B24BG_INSTALL_PAGE) {
        return b24bg_answer_framed(r, request, request->app->csp, request->app->install_page,
                                   request->app->install_page_length);
    }
    return b24bg_answer_empty(r);
}

int b24bg_serve_install(request_rec *r, b24bg_request_t *request)
{
    switch (r->method_number) {
    case M_POST:
        return take_install(r, request);
    case M_OPTIONS:
        return b24bg_answer_options(r, request, ALLOW);
    default:
        return b24bg_refuse_method(r, request, ALLOW);
    }
}
