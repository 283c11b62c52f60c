#include "b24bg_render_parts.h"

#include <string.h>

/* So many problems are named; a pager shows no more. */
#define PROBLEMS_NAMED 3

void b24bg_render_text(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton)
{
    b24bg_out_t out;
    int i;

    b24bg_out_begin(&out, write, baton, b24bg_out_plain);
    b24bg_out_raw(&out, b24bg_level_name(snapshot->level));
    b24bg_out_raw(&out, " ");
    for (i = 0; i < snapshot->problems->nelts && i < PROBLEMS_NAMED; i++) {
        b24bg_words_problem(&out, snapshot,
                            &APR_ARRAY_IDX(snapshot->problems, i, b24bg_render_problem_t));
        b24bg_out_raw(&out, "; ");
    }
    if (snapshot->problems->nelts > PROBLEMS_NAMED) {
        b24bg_out_number(&out, (apr_uint64_t)(snapshot->problems->nelts - PROBLEMS_NAMED));
        b24bg_out_raw(&out, " more; ");
    }
    b24bg_words_count(&out, snapshot);
    b24bg_out_raw(&out, "\n");
    b24bg_out_end(&out);
}

/* mod_status */

typedef struct {
    apr_uint64_t requests, slow_loads, notices;
} totals_t;

static totals_t add_up(const b24bg_render_snapshot_t *snapshot)
{
    totals_t totals = {0, 0, 0};
    int i;
    int j;

    for (i = 0; i < snapshot->apps->nelts; i++) {
        const b24bg_render_app_t *app = &APR_ARRAY_IDX(snapshot->apps, i, b24bg_render_app_t);
        totals.requests += app->requests;
        for (j = 0; j < B24BG_BUDGET_COUNT; j++) {
            totals.slow_loads += app->counts.slow_loads[j];
        }
        for (j = 0; j < B24BG_NOTICE_COUNT; j++) {
            totals.notices += app->counts.notices[j];
        }
    }
    return totals;
}

static void auto_line(b24bg_out_t *out, const char *key, apr_uint64_t value)
{
    b24bg_out_raw(out, key);
    b24bg_out_raw(out, ": ");
    b24bg_out_number(out, value);
    b24bg_out_raw(out, "\n");
}

void b24bg_render_auto(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton)
{
    totals_t totals = add_up(snapshot);
    b24bg_out_t out;

    b24bg_out_begin(&out, write, baton, b24bg_out_plain);
    b24bg_out_raw(&out, "B24bgLevel: ");
    b24bg_out_raw(&out, b24bg_level_name(snapshot->level));
    b24bg_out_raw(&out, "\n");
    auto_line(&out, "B24bgRegistrations", (apr_uint64_t)snapshot->registrations);
    auto_line(&out, "B24bgRegistered", (apr_uint64_t)snapshot->registered);
    auto_line(&out, "B24bgProblems", (apr_uint64_t)snapshot->problems->nelts);
    auto_line(&out, "B24bgRequests", totals.requests);
    auto_line(&out, "B24bgSlowLoads", totals.slow_loads);
    auto_line(&out, "B24bgNotices", totals.notices);
    if (snapshot->task_runs && snapshot->health.store_up >= 0) {
        auto_line(&out, "B24bgStoreUp", (apr_uint64_t)snapshot->health.store_up);
    }
    if (snapshot->task_runs) {
        auto_line(&out, "B24bgJournalRecords", snapshot->health.journal_records);
    }
    b24bg_out_end(&out);
}

void b24bg_render_section(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write,
                          void *baton)
{
    totals_t totals = add_up(snapshot);
    b24bg_out_t out;
    int i;

    b24bg_out_begin(&out, write, baton, b24bg_out_html);
    b24bg_out_raw(&out, "<hr />\n<h2>Bitrix24 background workers</h2>\n<p>");
    b24bg_out_raw(&out, b24bg_level_name(snapshot->level));
    b24bg_out_raw(&out, ": ");
    b24bg_words_count(&out, snapshot);
    b24bg_out_raw(&out, "; since the server was started ");
    b24bg_out_number(&out, totals.requests);
    b24bg_out_raw(&out, " requests, ");
    b24bg_out_number(&out, totals.slow_loads);
    b24bg_out_raw(&out, " slow loads, ");
    b24bg_out_number(&out, totals.notices);
    b24bg_out_raw(&out, " notices.</p>\n");
    for (i = 0; i < snapshot->problems->nelts && i < PROBLEMS_NAMED; i++) {
        b24bg_out_raw(&out, "<p>");
        b24bg_words_problem(&out, snapshot,
                            &APR_ARRAY_IDX(snapshot->problems, i, b24bg_render_problem_t));
        b24bg_out_raw(&out, "</p>\n");
    }
    b24bg_out_end(&out);
}
