/* What the pages tell of their own load, and what it means for the budget. */
#include "mod_b24bg.h"

#include "b24bg_beacon.h"

#include <apr_atomic.h>
#include <http_log.h>

#include <assert.h>

APLOG_USE_MODULE(b24bg);

static_assert(B24BG_LOAD_TIME_MAX == apr_time_from_msec(B24BG_BEACON_MS_MAX),
              "what a beacon tells at most is what the table counts at most");

/* Renders of one second differ by it; every process starts elsewhere. */
static apr_uint32_t next_nonce(void)
{
    static volatile apr_uint32_t last;
    apr_uint32_t first;

    if (apr_atomic_read32(&last) == 0 &&
        apr_generate_random_bytes((unsigned char *)&first, sizeof(first)) == APR_SUCCESS) {
        apr_atomic_cas32(&last, first, 0);
    }
    return apr_atomic_inc32(&last);
}

const char *b24bg_beacon_make(request_rec *r, const b24bg_request_t *request)
{
    b24bg_beacon_subject_t subject;
    char *tag;

    if (request->app->beacon == B24BG_PAGE_BEACON_OFF || !request->count.portal.slot) {
        return NULL;
    }
    subject.app = request->app->row;
    subject.slot = request->count.portal.slot;
    subject.generation = request->count.portal.generation;
    subject.rendered = r->request_time;
    subject.nonce = next_nonce();
    tag = apr_palloc(r->pool, B24BG_BEACON_TAG_LENGTH);
    b24bg_beacon_tag(b24bg_table_key(b24bg_main->table), &subject, tag);
    return tag;
}

/* A page sends one of its load, and one of its scripts if some failed: each counts once. */
static int is_new(const b24bg_beacon_report_t *report, const b24bg_beacon_subject_t *subject)
{
    char text[B24BG_BEACON_TAG_LENGTH + 2];

    memcpy(text + 1, report->tag, B24BG_BEACON_TAG_LENGTH + 1);
    text[0] = report->load_ms < 0 ? 's' : 'l';
    return b24bg_table_claim_beacon(b24bg_main->table, text, subject->rendered,
                                    apr_time_now() + B24BG_BEACON_AHEAD_MAX);
}

/* The page draws itself only where it would not tell of its load otherwise; a beacon that says so
 * of another load would have it count a hundred times. */
static int is_sample(const b24bg_app_t *app, const b24bg_beacon_report_t *report)
{
    return report->sampled && report->load_ms <= app->page.told_over;
}

static void count(request_rec *r, b24bg_request_t *request, const b24bg_beacon_report_t *report,
                  const b24bg_beacon_subject_t *subject)
{
    b24bg_table_beacon_t beacon = {{0, 0}, 0, 0, 0, 0, 0, 0, 0};

    beacon.portal.slot = subject->slot;
    beacon.portal.generation = subject->generation;
    beacon.app = request->app->row;
    beacon.load_time = report->load_ms < 0 ? -1 : apr_time_from_msec(report->load_ms);
    beacon.sampled = is_sample(request->app, report);
    beacon.failed_scripts = report->failed;
    beacon.now = apr_time_now();
    beacon.rendered = subject->rendered;
    beacon.slow_limit = request->app->slow_limit;
    request->load_ms = report->load_ms;
    request->count.reason = B24BG_REASON_ACCEPTED;
    b24bg_table_count_beacon(b24bg_main->table, &beacon);
    b24bg_budget_warn(r, request->app, beacon.portal);
}

/* 204 whatever it says: spec.md 4.1. */
int b24bg_serve_beacon(request_rec *r, b24bg_request_t *request)
{
    b24bg_beacon_report_t report;
    b24bg_beacon_subject_t subject;
    b24bg_body_t body;
    int status;

    request->count.kind = B24BG_KIND_BEACON;
    request->count.reason = B24BG_REASON_BEACON;
    if (b24bg_body_announced(r) > B24BG_BEACON_MAX) {
        b24bg_body_give_up(r);
        return b24bg_answer_nothing(r);
    }
    status = b24bg_body_read(r, B24BG_BEACON_MAX, &body);
    if (status != OK) {
        return b24bg_refuse_body(r, request, status);
    }
    if (body.cut) {
        b24bg_body_give_up(r);
    } else if (b24bg_main->table && request->app->beacon != B24BG_PAGE_BEACON_OFF &&
               b24bg_beacon_read(body.data, body.length, &report) &&
               b24bg_beacon_check(b24bg_table_key(b24bg_main->table), request->app->row, report.tag,
                                  apr_time_now(), &subject) &&
               is_new(&report, &subject)) {
        count(r, request, &report, &subject);
    }
    return b24bg_answer_nothing(r);
}

/* Budget */

/* Where there is a client, what a portal that nobody knows claims is worth no warning: anybody
 * could make up one and fill the log. One line, however many numbers were passed at once. */
void b24bg_budget_warn(request_rec *r, const b24bg_app_t *app, b24bg_portal_ref_t place)
{
    b24bg_portal_counts_t portal;
    apr_time_t now = apr_time_now();
    unsigned number;

    if (!place.slot || !b24bg_table_read_counts(b24bg_main->table, place.slot, now, &portal) ||
        portal.app != app->row || portal.generation != place.generation ||
        (app->rest.client_id && !portal.known)) {
        return;
    }
    number = b24bg_budget_reached(app->budget_warn,
                                  portal.budgets[b24bg_budget_best(portal.budgets)].used);
    if (b24bg_table_claim_warning(b24bg_main->table, place.slot, B24BG_WARNED_BY_REQUEST, number,
                                  now)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "B24BG0108: %s",
                      b24bg_budget_warning(r->pool, app->name, app->slow_count, &portal));
    }
}
