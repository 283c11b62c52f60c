/* The error URL: what Bitrix24 tells when it has deleted a registration. */
#include "mod_b24bg.h"

#include "b24bg_notice.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(b24bg);

/* Whose a notice is, as far as its key tells. */
typedef struct {
    char key_hash[B24BG_KEY_HASH_LENGTH + 1];
    const char *member_id; /* NULL: its place in the table is changing at this moment, or the keys
                              are not there yet */
    const char *domain;
} sender_t;

/* 1 if the URL ends in a live key of this app, or in one of which that cannot be told yet: after a
 * start the store has the keys, and may be down. Then the background task finds out whose it is. */
static int find_sender(request_rec *r, const b24bg_request_t *request, sender_t *sender)
{
    b24bg_table_t *table = b24bg_main->table;
    int are_read = b24bg_table_keys_are_read(table);
    b24bg_portal_counts_t portal;
    b24bg_portal_ref_t place;

    sender->member_id = sender->domain = NULL;
    if (!b24bg_notice_key(r->uri, sender->key_hash)) {
        return 0;
    }
    if (!b24bg_table_key_find(table, sender->key_hash, &place)) {
        return !are_read && b24bg_table_claim_early_notice(table);
    }
    if (!place.slot || !b24bg_table_read_counts(table, place.slot, r->request_time, &portal)) {
        return 1;
    }
    sender->member_id = apr_pstrdup(r->pool, portal.member_id);
    sender->domain = apr_pstrdup(r->pool, portal.domain);
    return portal.app == request->app->row;
}

static void log_notice(request_rec *r, const b24bg_request_t *request, const sender_t *sender,
                       const b24bg_notice_t *notice)
{
    const char *portal = "-";

    if (sender && sender->member_id) {
        portal = apr_pstrcat(r->pool, sender->member_id, " domain=", sender->domain, NULL);
    }
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  "B24BG0201: notice from Bitrix24, app=%s portal=%s error=%s description=\"%s\"",
                  request->app->name, portal, notice->error, notice->description);
}

/* Anybody can send these; what there is to know of them fits a line a minute. */
static void log_dead(request_rec *r, const b24bg_request_t *request, const b24bg_notice_t *notice)
{
    apr_uint64_t count;

    if (b24bg_table_claim_dead_notices(b24bg_main->table, request->app->row, r->request_time,
                                       &count)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "B24BG0203: notices without a live key, nothing was changed, app=%s "
                      "count=%" APR_UINT64_T_FMT " error=%s description=\"%s\"",
                      request->app->name, count, notice->error, notice->description);
    }
}

static void log_lost(request_rec *r, const b24bg_request_t *request, apr_status_t rv)
{
    static volatile apr_uint32_t last;

    if (!b24bg_is_minute_over(&last)) {
        return;
    }
    ap_log_rerror(
        APLOG_MARK, APLOG_CRIT, rv, r,
        "B24BG0204: a notice could not be kept in \"%s\" and was answered 503, app=%s "
        "portal=%s; %s",
        b24bg_main->journal, request->app->name, request->member_id ? request->member_id : "-",
        APR_STATUS_IS_ENOSPC(rv) ? "make room there, or mend the store if 64 MiB wait for it"
                                 : "let the server's User write there");
}

/* It is on the disk before it is answered; what becomes of it is decided later. */
static int keep_notice(request_rec *r, b24bg_request_t *request, const sender_t *sender,
                       const b24bg_notice_t *notice)
{
    apr_status_t rv =
        b24bg_keep(r, b24bg_notice_encode(r->pool, request->app->name, sender->key_hash, notice));

    request->member_id = sender->member_id;
    log_notice(r, request, sender, notice);
    b24bg_table_count_notice(b24bg_main->table, request->app->row, B24BG_NOTICE_LIVE);
    if (rv != APR_SUCCESS) {
        log_lost(r, request, rv);
        return b24bg_refuse(r, request, B24BG_REASON_JOURNAL, "notice");
    }
    return b24bg_answer_empty(r);
}

static int take_notice(request_rec *r, b24bg_request_t *request, const b24bg_notice_t *notice)
{
    sender_t sender;

    if (!request->app->rest.client_id) {
        log_notice(r, request, NULL, notice);
        b24bg_table_count_notice(b24bg_main->table, request->app->row, B24BG_NOTICE_UNATTRIBUTED);
    } else if (find_sender(r, request, &sender)) {
        return keep_notice(r, request, &sender, notice);
    } else {
        b24bg_table_count_notice(b24bg_main->table, request->app->row, B24BG_NOTICE_DEAD);
        log_dead(r, request, notice);
    }
    request->count.reason = B24BG_REASON_UNKNOWN_PORTAL;
    return b24bg_answer_empty(r);
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
        return take_notice(r, request, &notice);
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
