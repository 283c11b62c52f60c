#include "b24bg_render_parts.h"

#include <string.h>

typedef const b24bg_render_snapshot_t snapshot_t;
typedef const b24bg_render_app_t app_t;
typedef const b24bg_render_portal_t portal_t;

/* What the list says. */
static const struct {
    const char *name;
    const char *type;
    const char *help;
} metrics[] = {
#define METRIC(id, name, type, labels, json, help) {name, type, help},
    B24BG_METRIC_LIST(METRIC)
#undef METRIC
};

/* Of a label's value: backslash, quote and line feed, which b24bg_out_text leaves none of. */
static void escape(b24bg_out_t *out, char character)
{
    if (character == '\\' || character == '"') {
        b24bg_out_char(out, '\\');
    }
    b24bg_out_char(out, character);
}

static void label(b24bg_out_t *out, const char *name, const char *value)
{
    b24bg_out_raw(out, name);
    b24bg_out_raw(out, "=\"");
    b24bg_out_text(out, value);
    b24bg_out_raw(out, "\"");
}

/* name{app="..." */
static void begin(b24bg_out_t *out, b24bg_metric_e metric, const char *suffix, app_t *app)
{
    b24bg_out_raw(out, metrics[metric].name);
    b24bg_out_raw(out, suffix);
    b24bg_out_raw(out, "{");
    label(out, "app", app->counts.name);
}

static void begin_portal(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal)
{
    begin(out, metric, "", portal->app);
    b24bg_out_raw(out, ",");
    label(out, "portal", portal->label);
}

static void more(b24bg_out_t *out, const char *name, const char *value)
{
    b24bg_out_raw(out, ",");
    label(out, name, value);
}

static void value(b24bg_out_t *out, apr_uint64_t number)
{
    b24bg_out_raw(out, "} ");
    b24bg_out_number(out, number);
    b24bg_out_raw(out, "\n");
}

/* Without labels. */
static void single(b24bg_out_t *out, b24bg_metric_e metric, int is_known, apr_uint64_t number)
{
    b24bg_out_raw(out, metrics[metric].name);
    b24bg_out_raw(out, " ");
    if (is_known) {
        b24bg_out_number(out, number);
    } else {
        b24bg_out_raw(out, "NaN");
    }
    b24bg_out_raw(out, "\n");
}

/* Metrics of an app */

static void write_requests(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    int kind;
    int verdict;

    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            begin(out, metric, "", app);
            more(out, "kind", b24bg_kind_name((b24bg_kind_e)kind));
            more(out, "verdict", b24bg_verdict_name((b24bg_verdict_e)verdict));
            value(out, app->counts.requests[kind][verdict]);
        }
    }
}

static void write_histogram(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    b24bg_histogram_t histogram;
    apr_uint64_t count = 0;
    int i;

    b24bg_render_histogram(&app->counts, metric, &histogram);
    for (i = 0; i < histogram.buckets; i++) {
        count += histogram.counts[i];
        begin(out, metric, "_bucket", app);
        b24bg_out_raw(out, ",le=\"");
        if (i < histogram.buckets - 1) {
            b24bg_out_seconds(out, (apr_uint64_t)histogram.bounds[i]);
        } else {
            b24bg_out_raw(out, "+Inf");
        }
        b24bg_out_raw(out, "\"");
        value(out, count);
    }
    begin(out, metric, "_sum", app);
    b24bg_out_raw(out, "} ");
    b24bg_out_seconds(out, histogram.sum);
    b24bg_out_raw(out, "\n");
    begin(out, metric, "_count", app);
    value(out, count);
}

static void write_slow_loads(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    int source;

    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        begin(out, metric, "", app);
        more(out, "source", b24bg_budget_source_name((b24bg_budget_source_e)source));
        value(out, app->counts.slow_loads[source]);
    }
}

static void write_budget_limit(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    if (app->config.budget_limit) {
        begin(out, metric, "", app);
        value(out, (apr_uint64_t)app->config.budget_limit);
    }
}

static void write_notices(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    int result;

    for (result = 0; result < B24BG_NOTICE_COUNT; result++) {
        begin(out, metric, "", app);
        more(out, "result", b24bg_notice_result_name((b24bg_notice_result_e)result));
        value(out, app->counts.notices[result]);
    }
}

static void write_rebinds(b24bg_out_t *out, b24bg_metric_e metric, app_t *app)
{
    int result;

    for (result = 0; result < B24BG_REBIND_COUNT; result++) {
        begin(out, metric, "", app);
        more(out, "result", b24bg_rebind_result_name((b24bg_rebind_result_e)result));
        value(out, app->counts.rebinds[result]);
    }
}

/* Metrics of a portal */

/* Anybody can make up portals, so those that are no rows must neither alert nor make
 * series; but where there is no client there are no others. */
static int is_monitored(portal_t *portal)
{
    return b24bg_render_is_row(portal) || !portal->app->config.has_client;
}

/* An uninstalled portal has no registration to lose. */
static void write_budget_used(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal,
                              apr_time_t now)
{
    int source;

    (void)now;
    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        if (portal->budgets[source].start && !portal->uninstalled) {
            begin_portal(out, metric, portal);
            more(out, "source", b24bg_budget_source_name((b24bg_budget_source_e)source));
            value(out, portal->budgets[source].used);
        }
    }
}

static void write_registered(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal,
                             apr_time_t now)
{
    int registered = b24bg_render_wanted(portal) ? b24bg_render_registered(portal) : -1;

    (void)now;
    if (b24bg_render_is_row(portal) && !b24bg_render_is_registration(portal)) {
        return;
    }
    begin_portal(out, metric, portal);
    b24bg_out_raw(out, registered < 0 ? "} NaN\n" : registered ? "} 1\n" : "} 0\n");
}

static void write_last_load(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal,
                            apr_time_t now)
{
    (void)now;
    if (portal->last_load) {
        begin_portal(out, metric, portal);
        b24bg_out_raw(out, "} ");
        b24bg_out_seconds(out, (apr_uint64_t)portal->last_load);
        b24bg_out_raw(out, "\n");
    }
}

/* One pair of tokens is a portal's, whatever registrations it has. */
static void write_token_age(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal,
                            apr_time_t now)
{
    if (portal->tokens && !portal->user) {
        begin_portal(out, metric, portal);
        value(out, now > portal->tokens ? (apr_uint64_t)apr_time_sec(now - portal->tokens) : 0);
    }
}

/* Metrics of the server */

/* Where there is no background task there is neither store nor journal. */
static void write_journal(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot)
{
    if (snapshot->has_task) {
        single(out, metric, snapshot->task_runs, snapshot->health.journal_records);
    }
}

static void write_store_up(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot)
{
    if (snapshot->has_task) {
        single(out, metric, snapshot->task_runs && snapshot->health.store_up >= 0,
               snapshot->health.store_up == 1);
    }
}

static void write_places(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot)
{
    single(out, metric, 1, snapshot->taken);
}

static void write_alerts(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot)
{
    int result;

    for (result = 0; result < B24BG_ALERTED_COUNT; result++) {
        b24bg_out_raw(out, metrics[metric].name);
        b24bg_out_raw(out, "{");
        label(out, "result", b24bg_alerted_name((b24bg_alerted_e)result));
        value(out, snapshot->alerts[result]);
    }
}

/* One of the three for each metric. */
static const struct {
    void (*app)(b24bg_out_t *out, b24bg_metric_e metric, app_t *app);
    void (*portal)(b24bg_out_t *out, b24bg_metric_e metric, portal_t *portal, apr_time_t now);
    void (*server)(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot);
} writers[] = {
    [B24BG_METRIC_REQUESTS] = {write_requests, NULL, NULL},
    [B24BG_METRIC_SERVER_TIME] = {write_histogram, NULL, NULL},
    [B24BG_METRIC_LOAD_TIME] = {write_histogram, NULL, NULL},
    [B24BG_METRIC_SLOW_LOADS] = {write_slow_loads, NULL, NULL},
    [B24BG_METRIC_BUDGET_USED] = {NULL, write_budget_used, NULL},
    [B24BG_METRIC_BUDGET_LIMIT] = {write_budget_limit, NULL, NULL},
    [B24BG_METRIC_REGISTERED] = {NULL, write_registered, NULL},
    [B24BG_METRIC_LAST_LOAD] = {NULL, write_last_load, NULL},
    [B24BG_METRIC_NOTICES] = {write_notices, NULL, NULL},
    [B24BG_METRIC_REBINDS] = {write_rebinds, NULL, NULL},
    [B24BG_METRIC_TOKEN_AGE] = {NULL, write_token_age, NULL},
    [B24BG_METRIC_JOURNAL] = {NULL, NULL, write_journal},
    [B24BG_METRIC_STORE_UP] = {NULL, NULL, write_store_up},
    [B24BG_METRIC_PORTALS] = {NULL, NULL, write_places},
    [B24BG_METRIC_ALERTS] = {NULL, NULL, write_alerts},
};
_Static_assert(sizeof(writers) / sizeof(writers[0]) == B24BG_METRIC_COUNT,
               "a writer for each metric");

static void write_metric(b24bg_out_t *out, b24bg_metric_e metric, snapshot_t *snapshot)
{
    int i;

    b24bg_out_raw(out, "# HELP ");
    b24bg_out_raw(out, metrics[metric].name);
    b24bg_out_raw(out, " ");
    b24bg_out_raw(out, metrics[metric].help);
    b24bg_out_raw(out, "\n# TYPE ");
    b24bg_out_raw(out, metrics[metric].name);
    b24bg_out_raw(out, " ");
    b24bg_out_raw(out, metrics[metric].type);
    b24bg_out_raw(out, "\n");
    if (writers[metric].server) {
        writers[metric].server(out, metric, snapshot);
    }
    for (i = 0; writers[metric].app && i < snapshot->apps->nelts; i++) {
        writers[metric].app(out, metric, &APR_ARRAY_IDX(snapshot->apps, i, b24bg_render_app_t));
    }
    for (i = 0; writers[metric].portal && i < snapshot->portals->nelts; i++) {
        portal_t *portal = &APR_ARRAY_IDX(snapshot->portals, i, b24bg_render_portal_t);
        if (is_monitored(portal)) {
            writers[metric].portal(out, metric, portal, snapshot->now);
        }
    }
}

void b24bg_render_prometheus(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write,
                             void *baton)
{
    b24bg_out_t out;
    int metric;

    b24bg_out_begin(&out, write, baton, escape);
    for (metric = 0; metric < B24BG_METRIC_COUNT; metric++) {
        write_metric(&out, (b24bg_metric_e)metric, snapshot);
    }
    b24bg_out_end(&out);
}
