#include "b24bg_render_parts.h"

#include "b24bg_registration.h"

#include <string.h>

typedef const b24bg_render_snapshot_t snapshot_t;
typedef const b24bg_render_app_t app_t;
typedef const b24bg_render_portal_t portal_t;

/* No external resource and no script; without this sheet it is tables and paragraphs. Its hash is
 * B24BG_RENDER_STYLE. On narrow screens each row of a table becomes a card. */
static const char style[] =
    ":root{color-scheme:light dark;--line:#8886;--bad:#b3261e;--warn:#8a5a00;--good:#1b6e3c;"
    "--bar:#3b6fb6}\n"
    "@media(prefers-color-scheme:dark){:root{--bad:#ff8a80;--warn:#ffc96b;--good:#7ddc9d;"
    "--bar:#8ab4f8}}\n"
    "body{font:1rem/1.4 system-ui,sans-serif;margin:1rem auto;padding:0 .75rem;max-width:90rem}\n"
    "h1{font-size:1.3rem}h2{font-size:1.1rem;margin-top:2rem}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;"
    "border-bottom:1px solid var(--line)}\n"
    "th{font-weight:600}.n{text-align:right}\n"
    "small{display:block}\n"
    "th[scope=row]{overflow-wrap:break-word;min-width:10rem;max-width:22rem}\n"
    ".of{white-space:nowrap}\n"
    ".CRITICAL{color:var(--bad)}.WARNING,.UNKNOWN{color:var(--warn)}.OK{color:var(--good)}\n"
    "meter{width:6rem;height:1rem}\n"
    "svg{width:100%;max-width:40rem;height:auto}\n"
    "rect{fill:var(--bar)}rect.slow{fill:var(--bad)}svg text{fill:currentColor;font-size:7px}\n"
    "figure{margin:1rem 0}ul{padding-left:1.2rem}\n"
    "@media(max-width:52rem){\n"
    ".cards thead{position:absolute;clip-path:inset(50%)}\n"
    ".cards,.cards tbody,.cards tr,.cards th,.cards td{display:block;border:0}\n"
    ".cards tr{border:1px solid var(--line);border-radius:.4rem;margin:0 0 .8rem;padding:.4rem}\n"
    ".cards th,.cards td{padding:.2rem .4rem}\n"
    "th[scope=row]{overflow-wrap:anywhere;max-width:none}\n"
    ".cards td::before{content:attr(data-name) \" \";font-weight:600}\n"
    ".cards.counts td{display:inline-block}}\n";

/* Columns of the first screen, in its order: spec.md 4.4. */
static const char *const columns[] = {
    "Portal",    "Registered?", "Slow today", "Last load", "Last notice and rebind",
    "Token age", "Next"};
enum { PORTAL, REGISTERED, SLOW, LAST_LOAD, LAST_NOTICE, TOKEN_AGE, NEXT, COLUMNS };
_Static_assert(sizeof(columns) / sizeof(columns[0]) == COLUMNS, "a name for each column");

static void raw(b24bg_out_t *out, const char *text)
{
    b24bg_out_raw(out, text);
}

/* Nothing is the same for the server and the client but UTC. */
static void ago(b24bg_out_t *out, apr_time_t now, apr_time_t then)
{
    if (!then) {
        raw(out, "never");
        return;
    }
    raw(out, "<span title=\"");
    b24bg_words_clock(out, 0, then);
    raw(out, " UTC\">");
    b24bg_words_ago(out, now, then);
    raw(out, "</span>");
}

static void cell(b24bg_out_t *out, int column)
{
    raw(out, "<td role=\"cell\" data-name=\"");
    raw(out, columns[column]);
    raw(out, "\">");
}

static void end_cell(b24bg_out_t *out)
{
    raw(out, "</td>\n");
}

/* Several apps need their names. */
static void write_who(b24bg_out_t *out, snapshot_t *snapshot, portal_t *portal)
{
    b24bg_words_portal(out, portal);
    if (portal->http) {
        raw(out, " <small>plain http</small>");
    }
    if (snapshot->apps->nelts > 1) {
        raw(out, " <small>");
        b24bg_out_text(out, portal->app->counts.name);
        raw(out, "</small>");
    }
}

static const char *state_class(portal_t *portal)
{
    if (portal->problems & (1U << B24BG_PROBLEM_LOST | 1U << B24BG_PROBLEM_BLOCKED)) {
        return b24bg_level_name(B24BG_LEVEL_CRITICAL);
    }
    if (portal->problems & 1U << B24BG_PROBLEM_IN_DOUBT) {
        return b24bg_level_name(B24BG_LEVEL_WARNING);
    }
    return b24bg_render_registered(portal) == 1 ? b24bg_level_name(B24BG_LEVEL_OK) : "none";
}

static void write_registered(b24bg_out_t *out, snapshot_t *snapshot, portal_t *portal)
{
    int registered = b24bg_render_registered(portal);

    cell(out, REGISTERED);
    raw(out, "<span class=\"");
    raw(out, state_class(portal));
    raw(out, "\">");
    if (registered == 1) {
        raw(out, "<b>yes</b>");
    } else {
        if (b24bg_render_is_registration(portal)) {
            raw(out, portal->uninstalled || registered == 0 ? "<b>no:</b> " : "<b>?</b> ");
        }
        b24bg_words_state(out, portal);
    }
    raw(out, "</span>");
    if (portal->shown.has && (portal->uninstalled || portal->app->config.registers)) {
        raw(out, "<small>since ");
        ago(out, snapshot->now, portal->shown.since);
        raw(out, ", checked ");
        ago(out, snapshot->now, portal->shown.checked);
        raw(out, "</small>");
    }
    end_cell(out);
}

/* The problem of a row that its state does not tell of, in the cell that it is about. */
static void write_warning(b24bg_out_t *out, portal_t *portal, b24bg_problem_e problem,
                          const char *text)
{
    if (portal->problems & 1U << problem) {
        raw(out, "<small class=\"");
        raw(out, b24bg_level_name(b24bg_problem_level(problem)));
        raw(out, "\"><b>");
        raw(out, text);
        raw(out, "</b></small>");
    }
}

/* Where no source has counted any, there is none to be named. */
static void write_source(b24bg_out_t *out, portal_t *portal, const char *before)
{
    if (portal->budgets[portal->best].start) {
        raw(out, before);
        raw(out, b24bg_budget_source_name(portal->best));
    }
}

/* The bar's name is what a screen reader says before its value. */
static void write_meter(b24bg_out_t *out, portal_t *portal, apr_uint64_t limit, unsigned used)
{
    raw(out, "<meter min=\"0\" max=\"");
    b24bg_out_number(out, limit);
    raw(out, "\" low=\"");
    b24bg_out_number(out, limit / 2);
    raw(out, "\" high=\""); /* below four fifths, where the alert begins */
    b24bg_out_number(out, (limit * 4 + 4) / 5 - 1);
    raw(out, "\" optimum=\"0\" value=\"");
    b24bg_out_number(out, used < limit ? used : limit);
    raw(out, "\" aria-label=\"Slow loads of ");
    b24bg_words_portal(out, portal);
    write_source(out, portal, ", counted by the ");
    raw(out, "\">");
    b24bg_out_number(out, used); /* shown where there is no such element */
    raw(out, "</meter> ");
}

static const char *budget_warning(apr_uint64_t limit, unsigned used)
{
    if (used > limit) {
        return "over the limit: Bitrix24 deletes it";
    }
    if (used == limit) {
        return "at the limit: the next one deletes it";
    }
    return used * 5 >= limit * 4 ? "nearly used up" : "over half is used";
}

static void write_slow(b24bg_out_t *out, portal_t *portal)
{
    apr_uint64_t limit = (apr_uint64_t)portal->app->config.budget_limit;
    unsigned used = portal->budgets[portal->best].used;
    int source;

    cell(out, SLOW);
    if (limit) {
        write_meter(out, portal, limit, used);
    }
    raw(out, "<span class=\"of\">");
    b24bg_out_number(out, used);
    if (limit) {
        raw(out, " of ");
        b24bg_out_number(out, limit);
    }
    raw(out, "</span>");
    write_source(out, portal, ", by ");
    write_warning(out, portal, B24BG_PROBLEM_BUDGET, budget_warning(limit, used));
    for (source = (int)portal->best + 1; source < B24BG_BUDGET_COUNT; source++) {
        if (portal->budgets[source].start) {
            raw(out, "<small>");
            raw(out, b24bg_budget_source_name((b24bg_budget_source_e)source));
            raw(out, ": ");
            b24bg_out_number(out, portal->budgets[source].used);
            raw(out, "</small>");
        }
    }
    end_cell(out);
}

static void write_last(b24bg_out_t *out, snapshot_t *snapshot, portal_t *portal)
{
    cell(out, LAST_LOAD);
    ago(out, snapshot->now, portal->last_load);
    end_cell(out);
    cell(out, LAST_NOTICE);
    raw(out, "notice ");
    ago(out, snapshot->now, portal->shown.noticed);
    raw(out, ", rebind ");
    ago(out, snapshot->now, portal->shown.rebound);
    end_cell(out);
    cell(out, TOKEN_AGE);
    if (portal->tokens) {
        b24bg_words_span(out, snapshot->now - portal->tokens);
    } else {
        raw(out, "no token");
    }
    write_warning(out, portal, B24BG_PROBLEM_TOKEN, "not refreshed for long");
    if (portal->app->config.registers && !portal->app->config.has_secret) {
        raw(out, "<small>cannot be refreshed: B24bgClient has no secret</small>");
    }
    end_cell(out);
}

static void write_events(b24bg_out_t *out, snapshot_t *snapshot, portal_t *portal)
{
    int i;

    if (!portal->event_count) {
        return;
    }
    raw(out, "<details><summary>last ");
    b24bg_out_number(out, (apr_uint64_t)portal->event_count);
    raw(out, portal->event_count == 1 ? " event" : " events");
    raw(out, "</summary><ul>\n");
    for (i = 0; i < portal->event_count; i++) {
        raw(out, "<li>");
        b24bg_words_clock(out, snapshot->now, portal->events[i].at);
        raw(out, " ");
        b24bg_words_event(out, &portal->events[i]);
        raw(out, "</li>\n");
    }
    raw(out, "</ul></details>");
}

static void write_portal(b24bg_out_t *out, snapshot_t *snapshot, portal_t *portal)
{
    raw(out, "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\" title=\"");
    b24bg_out_text(out, portal->label);
    raw(out, "\">");
    write_who(out, snapshot, portal);
    raw(out, "</th>\n");
    write_registered(out, snapshot, portal);
    write_slow(out, portal);
    write_last(out, snapshot, portal);
    cell(out, NEXT);
    b24bg_words_next(out, snapshot, portal);
    write_events(out, snapshot, portal);
    end_cell(out);
    raw(out, "</tr>\n");
}

/* Sections */

static void write_head(b24bg_out_t *out, snapshot_t *snapshot)
{
    raw(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    raw(out, b24bg_level_name(snapshot->level));
    raw(out, " - Bitrix24 background workers</title>\n<style>");
    raw(out, style);
    raw(out, "</style>\n</head>\n<body>\n<h1>Bitrix24 background workers: <span class=\"");
    raw(out, b24bg_level_name(snapshot->level));
    raw(out, "\">");
    raw(out, b24bg_level_name(snapshot->level));
    raw(out, "</span></h1>\n<p>");
    b24bg_words_count(out, snapshot);
    raw(out, ". As of ");
    b24bg_words_clock(out, 0, snapshot->now);
    raw(out, "; all times are UTC.</p>\n");
}

/* What is about the server. What is about a portal stands in its row. */
static void write_problems(b24bg_out_t *out, snapshot_t *snapshot)
{
    int i;

    for (i = 0; i < snapshot->problems->nelts; i++) {
        const b24bg_render_problem_t *problem =
            &APR_ARRAY_IDX(snapshot->problems, i, b24bg_render_problem_t);
        if (!problem->portal) {
            raw(out, "<p role=\"alert\" class=\"");
            raw(out, b24bg_level_name(b24bg_problem_level(problem->problem)));
            raw(out, "\"><b>");
            raw(out, b24bg_level_name(b24bg_problem_level(problem->problem)));
            raw(out, ": ");
            b24bg_words_problem(out, snapshot, problem);
            raw(out, ".</b></p>\n");
        }
    }
}

static void write_no_portals(b24bg_out_t *out, snapshot_t *snapshot)
{
    raw(out, "<p>No portal is known");
    if (!snapshot->has_task) {
        raw(out, ". That needs an app with a B24bgClient.");
    } else if (!snapshot->store_read) {
        raw(out, " yet: the store was not read since the server was started.");
    } else {
        raw(out, ". One is as soon as it has installed the application at the install URL.");
    }
    raw(out, "</p>\n");
}

static void write_portals(b24bg_out_t *out, snapshot_t *snapshot)
{
    int i;

    raw(out, "<h2>Portals</h2>\n");
    if (!snapshot->rows) {
        write_no_portals(out, snapshot);
        return;
    }
    raw(out, "<table class=\"cards\" role=\"table\">\n<thead role=\"rowgroup\"><tr role=\"row\">");
    for (i = 0; i < COLUMNS; i++) {
        raw(out, "<th role=\"columnheader\" scope=\"col\">");
        raw(out, columns[i]);
        raw(out, "</th>");
    }
    raw(out, "</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for (i = 0; i < snapshot->rows; i++) {
        write_portal(out, snapshot, &APR_ARRAY_IDX(snapshot->portals, i, b24bg_render_portal_t));
    }
    raw(out, "</tbody>\n</table>\n");
}

/* Anybody can make these up. */
static void write_unknown(b24bg_out_t *out, snapshot_t *snapshot)
{
    int count = snapshot->portals->nelts - snapshot->rows;
    int i;

    if (!count) {
        return;
    }
    raw(out, "<h2>Other portals, not installed here</h2>\n<p>");
    b24bg_out_number(out, (apr_uint64_t)count);
    raw(out,
        count > B24BG_RENDER_UNKNOWN_SHOWN ? " of them; the last ones:</p>\n" : " of them:</p>\n");
    raw(out, "<table>\n<thead><tr><th scope=\"col\">It says it is</th><th scope=\"col\">Last load"
             "</th><th scope=\"col\" class=\"n\">Loads</th></tr></thead>\n<tbody>\n");
    for (i = 0; i < count && i < B24BG_RENDER_UNKNOWN_SHOWN; i++) {
        portal_t *portal =
            &APR_ARRAY_IDX(snapshot->portals, snapshot->rows + i, b24bg_render_portal_t);
        raw(out, "<tr><th scope=\"row\" title=\"");
        b24bg_out_text(out, portal->label);
        raw(out, "\">");
        write_who(out, snapshot, portal);
        raw(out, "</th><td>");
        ago(out, snapshot->now, portal->last_load);
        raw(out, "</td><td class=\"n\">");
        b24bg_out_number(out, portal->loads);
        raw(out, "</td></tr>\n");
    }
    raw(out, "</tbody>\n</table>\n");
}

/* Histograms: a bar for each bucket, 20 units wide, at most 80 high. */
#define BAR_WIDTH 20
#define BAR_HEIGHT 80

/* What is drawn, and how it is called. */
typedef struct {
    b24bg_metric_e metric;
    b24bg_budget_source_e source; /* who counts the slow ones */
    const char *title;
    const char *unit; /* of the buckets' names below a second; " s" of all others */
} chart_t;

static const chart_t charts[] = {
    {B24BG_METRIC_LOAD_TIME, B24BG_BUDGET_BROWSER, "Seconds until load in the browser", NULL},
    {B24BG_METRIC_SERVER_TIME, B24BG_BUDGET_SERVER, "Milliseconds in the server", " ms"},
};

/* In the picture, which has no room, the unit of the title is left out. */
static void bucket_name(b24bg_out_t *out, const chart_t *chart, const b24bg_histogram_t *histogram,
                        int bucket, int is_picture)
{
    apr_uint64_t bound;

    if (bucket == histogram->buckets - 1) {
        b24bg_out_text(out, "more");
        return;
    }
    bound = (apr_uint64_t)histogram->bounds[bucket];
    if (chart->unit && bound < APR_USEC_PER_SEC) {
        b24bg_out_seconds(out, bound * 1000);
        b24bg_out_text(out, is_picture ? "" : chart->unit);
    } else {
        b24bg_out_seconds(out, bound);
        b24bg_out_text(out, is_picture && !chart->unit ? "" : " s");
    }
}

static apr_uint64_t highest(const b24bg_histogram_t *histogram)
{
    apr_uint64_t most = 1;
    int i;

    for (i = 0; i < histogram->buckets; i++) {
        most = histogram->counts[i] > most ? histogram->counts[i] : most;
    }
    return most;
}

/* A bucket all of whose times are over the limit. */
static int is_slow(const b24bg_histogram_t *histogram, int bucket, apr_interval_time_t limit)
{
    return limit && bucket > 0 && histogram->bounds[bucket - 1] >= limit;
}

static void write_bar(b24bg_out_t *out, const chart_t *chart, const b24bg_histogram_t *histogram,
                      int bucket, int slow)
{
    double share = (double)histogram->counts[bucket] / (double)highest(histogram);
    unsigned height = (unsigned)(share * BAR_HEIGHT + 0.5);

    if (!height && histogram->counts[bucket]) {
        height = 1; /* a single one is what matters here */
    }
    raw(out, slow ? "<rect class=\"slow\" x=\"" : "<rect x=\"");
    b24bg_out_number(out, (apr_uint64_t)(bucket * BAR_WIDTH + 2));
    raw(out, "\" y=\"");
    b24bg_out_number(out, BAR_HEIGHT - height);
    raw(out, "\" width=\"16\" height=\"");
    b24bg_out_number(out, height);
    raw(out, "\"></rect><text x=\"");
    b24bg_out_number(out, (apr_uint64_t)(bucket * BAR_WIDTH + BAR_WIDTH / 2));
    raw(out, "\" y=\"90\" text-anchor=\"middle\">");
    bucket_name(out, chart, histogram, bucket, 1);
    raw(out, "</text>\n");
}

static void write_numbers(b24bg_out_t *out, const chart_t *chart,
                          const b24bg_histogram_t *histogram)
{
    int i;

    raw(out, "<details><summary>The numbers</summary><table><thead><tr><th scope=\"col\">Up to</th>"
             "<th scope=\"col\" class=\"n\">Count</th></tr></thead>\n<tbody>\n");
    for (i = 0; i < histogram->buckets; i++) {
        raw(out, "<tr><th scope=\"row\">");
        bucket_name(out, chart, histogram, i, 0);
        raw(out, "</th><td class=\"n\">");
        b24bg_out_number(out, histogram->counts[i]);
        raw(out, "</td></tr>\n");
    }
    raw(out, "</tbody></table></details>\n");
}

static void write_histogram(b24bg_out_t *out, app_t *app, const chart_t *chart)
{
    apr_interval_time_t limit = app->config.slow_limit;
    b24bg_histogram_t histogram;
    int i;

    b24bg_render_histogram(&app->counts, chart->metric, &histogram);
    raw(out, "<figure><figcaption>");
    raw(out, chart->title);
    raw(out, ", ");
    b24bg_out_text(out, app->counts.name);
    raw(out, ": ");
    b24bg_out_number(out, b24bg_histogram_count(&histogram));
    if (limit) {
        raw(out, ", slow loads (over ");
        b24bg_out_seconds(out, (apr_uint64_t)limit);
        raw(out, " s): ");
        b24bg_out_number(out, app->counts.slow_loads[chart->source]);
    }
    raw(out, "</figcaption>\n<svg viewBox=\"0 0 300 94\" role=\"img\" aria-label=\"");
    raw(out, chart->title);
    raw(out, " of app ");
    b24bg_out_text(out, app->counts.name);
    raw(out, ", a bar for each range; the numbers follow\">\n");
    for (i = 0; i < histogram.buckets; i++) {
        write_bar(out, chart, &histogram, i, is_slow(&histogram, i, limit));
    }
    raw(out, "</svg>\n");
    write_numbers(out, chart, &histogram);
    raw(out, "</figure>\n");
}

static void write_histograms(b24bg_out_t *out, snapshot_t *snapshot)
{
    int i;

    raw(out, "<h2>Load times</h2>\n");
    for (i = 0; i < snapshot->apps->nelts; i++) {
        app_t *app = &APR_ARRAY_IDX(snapshot->apps, i, b24bg_render_app_t);
        write_histogram(out, app, &charts[0]);
        write_histogram(out, app, &charts[1]);
    }
}

static void write_requests(b24bg_out_t *out, app_t *app)
{
    int kind;
    int verdict;

    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        raw(out, "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">");
        b24bg_out_text(out, app->counts.name);
        raw(out, " ");
        raw(out, b24bg_kind_name((b24bg_kind_e)kind));
        raw(out, "</th>");
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            raw(out, "<td role=\"cell\" class=\"n\" data-name=\"");
            raw(out, b24bg_verdict_name((b24bg_verdict_e)verdict));
            raw(out, "\">");
            b24bg_out_number(out, app->counts.requests[kind][verdict]);
            raw(out, "</td>");
        }
        raw(out, "</tr>\n");
    }
}

static void write_counts(b24bg_out_t *out, snapshot_t *snapshot)
{
    int i;

    raw(out, "<h2>Requests since the server was started</h2>\n<table class=\"cards counts\" "
             "role=\"table\">\n"
             "<thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" "
             "scope=\"col\">What</th>");
    for (i = 0; i < B24BG_VERDICT_COUNT; i++) {
        raw(out, "<th role=\"columnheader\" scope=\"col\" class=\"n\">");
        raw(out, b24bg_verdict_name((b24bg_verdict_e)i));
        raw(out, "</th>");
    }
    raw(out, "</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for (i = 0; i < snapshot->apps->nelts; i++) {
        write_requests(out, &APR_ARRAY_IDX(snapshot->apps, i, b24bg_render_app_t));
    }
    raw(out, "</tbody>\n</table>\n");
}

static void health_row(b24bg_out_t *out, const char *name)
{
    raw(out, "<tr><th scope=\"row\">");
    raw(out, name);
    raw(out, "</th><td>");
}

static void write_health(b24bg_out_t *out, snapshot_t *snapshot)
{
    const b24bg_table_health_t *health = &snapshot->health;

    raw(out, "<h2>In the background</h2>\n");
    if (!snapshot->has_task) {
        raw(out, "<p>Nothing: no app has a B24bgClient.</p>\n");
        return;
    }
    raw(out, "<table>\n<tbody>\n");
    health_row(out, "Last run");
    ago(out, snapshot->now, health->last_run);
    raw(out, "</td></tr>\n");
    health_row(out, "Store");
    raw(out, health->store_up < 0 ? "not tried yet" : health->store_up ? "up" : "down");
    raw(out, "</td></tr>\n");
    health_row(out, "Journal: records that wait");
    b24bg_out_number(out, health->journal_records);
    raw(out, "</td></tr>\n");
    health_row(out, "Store: messages that wait");
    b24bg_out_number(out, health->inbox);
    raw(out, "</td></tr>\n");
    health_row(out, "Works on what comes in");
    raw(out, health->leader ? "this machine" : "another machine, or none");
    raw(out, "</td></tr>\n</tbody>\n</table>\n");
}

void b24bg_render_html(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton)
{
    b24bg_out_t out;

    b24bg_out_begin(&out, write, baton, b24bg_out_html);
    write_head(&out, snapshot);
    write_problems(&out, snapshot);
    write_portals(&out, snapshot);
    write_histograms(&out, snapshot);
    write_counts(&out, snapshot);
    write_health(&out, snapshot);
    write_unknown(&out, snapshot);
    raw(&out, "</body>\n</html>\n");
    b24bg_out_end(&out);
}
