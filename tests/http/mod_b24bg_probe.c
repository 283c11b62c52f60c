/* Test module: prints the shared table of mod_b24bg as text, one count a line.
 *
 * It finds the table as mod_b24bg keeps it and reads it through the public header, so what it
 * shows is what all processes share.
 */
#include "b24bg_table.h"

#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

typedef struct {
    b24bg_table_t *table;
} retained_t;

static void print_histogram(request_rec *r, const b24bg_app_counts_t *counts)
{
    static const apr_time_t bounds[] = B24BG_SERVER_TIME_BOUNDS;
    apr_uint64_t sum = 0;
    int i;

    for (i = 0; i < B24BG_SERVER_TIME_BUCKETS - 1; i++) {
        sum += counts->server_time[i];
        ap_rprintf(r, "server_seconds_bucket app=%s le=%.4f %" APR_UINT64_T_FMT "\n", counts->name,
                   (double)bounds[i] / APR_USEC_PER_SEC, sum);
    }
    sum += counts->server_time[i];
    ap_rprintf(r, "server_seconds_count app=%s %" APR_UINT64_T_FMT "\n", counts->name, sum);
}

static void print_app(request_rec *r, const b24bg_app_counts_t *counts)
{
    int kind;
    int verdict;
    int reason;

    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            ap_rprintf(r, "requests app=%s kind=%s verdict=%s %" APR_UINT64_T_FMT "\n",
                       counts->name, b24bg_kind_name(kind), b24bg_verdict_name(verdict),
                       counts->requests[kind][verdict]);
        }
    }
    for (reason = 0; reason < B24BG_REASON_COUNT; reason++) {
        ap_rprintf(r, "refusals app=%s reason=%s %" APR_UINT64_T_FMT "\n", counts->name,
                   b24bg_reason(reason)->name, counts->reasons[reason]);
    }
    ap_rprintf(r, "repeats app=%s %" APR_UINT64_T_FMT "\n", counts->name, counts->repeats);
    ap_rprintf(r, "broken_options app=%s %" APR_UINT64_T_FMT "\n", counts->name,
               counts->broken_options);
    print_histogram(r, counts);
}

static void print_portals(request_rec *r, b24bg_table_t *table)
{
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;
    apr_uint32_t known = 0;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(table); slot++) {
        if (b24bg_table_read_portal(table, slot, r->request_time, &portal) &&
            b24bg_table_read_app(table, r->pool, portal.app, &app)) {
            known++;
            ap_rprintf(r,
                       "portal app=%s member_id=%s domain=%s loads=%" APR_UINT64_T_FMT
                       " repeats=%" APR_UINT64_T_FMT " 1\n",
                       app.name, portal.member_id, portal.domain, portal.loads, portal.repeats);
        }
    }
    ap_rprintf(r, "portals %u\n", known);
}

static int handler(request_rec *r)
{
    retained_t *retained;
    b24bg_app_counts_t counts;
    int row;

    if (!r->handler || strcmp(r->handler, "b24bg-probe") != 0) {
        return DECLINED;
    }
    ap_set_content_type_ex(r, "text/plain", 1);
    retained = ap_retained_data_get("b24bg-table-" B24BG_TABLE_LAYOUT);
    if (!retained || !retained->table) {
        ap_rputs("no table\n", r);
        return OK;
    }
    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        if (b24bg_table_read_app(retained->table, r->pool, row, &counts)) {
            print_app(r, &counts);
        }
    }
    print_portals(r, retained->table);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(b24bg_probe) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL,
                                  register_hooks,          0};
