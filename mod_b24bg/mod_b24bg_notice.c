/* The error URL: what Bitrix24 tells when it has deleted a registration. */
#include "mod_b24bg.h"

#include "b24bg_notice.h"

#include <http_log.h>

APLOG_USE_MODULE(b24bg);

static void log_notice(request_rec *r, const b24bg_request_t *request, const b24bg_notice_t *notice)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  "B24BG0201: notice from Bitrix24, app=%s portal=- error=%s description=\"%s\"",
                  request->app->name, notice->error, notice->description);
}

/* 200 and nothing else, whatever came: what we know of a key is nobody's business. */
static int serve_notice(request_rec *r, b24bg_request_t *request)
{
    b24bg_notice_t notice;
    b24bg_notice_text_t text;
    b24bg_body_t body;
    int status = b24bg_body_read(r, (apr_size_t)request->app->max_body, &body);

    if (status != OK) {
        return b24bg_refuse_body(r, request, status);
    }
    if (body.cut) {
        b24bg_body_give_up(r);
    }
    text = (b24bg_notice_text_t){body.data, body.length, body.cut};
    if (!b24bg_notice_read(r->pool, &text, request->args, &notice)) {
        request->count.reason = B24BG_REASON_MALFORMED_NOTICE;
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "B24BG0202: no notice can be read from this request, app=%s",
                      request->app->name);
    } else if (notice.error) {
        request->count.reason = B24BG_REASON_UNKNOWN_PORTAL;
        log_notice(r, request, &notice);
    }
    return b24bg_answer_empty(r);
}

int b24bg_serve_error(request_rec *r, b24bg_request_t *request)
{
    switch (r->method_number) {
    case M_POST:
    case M_GET:
        return serve_notice(r, request);
    case M_OPTIONS:
        return b24bg_answer_options(r, request, B24BG_ALLOW);
    default:
        return b24bg_refuse_method(r, request, B24BG_ALLOW);
    }
}
