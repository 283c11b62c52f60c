#include "b24bg_render_parts.h"

#include "b24bg_registration.h"

#include <string.h>

/* jansson would build a tree of 100,000 nodes for 1,024 portals, to be written once. */
typedef struct {
    b24bg_out_t out;
    int follows; /* something stands before, in the same brackets */
} json_t;

/* Beside printable ASCII, which is all that b24bg_out_text passes on, nothing needs \u. */
static void escape(b24bg_out_t *out, char character)
{
    if (character == '"' || character == '\\') {
        b24bg_out_char(out, '\\');
    }
    b24bg_out_char(out, character);
}

static void separate(json_t *json)
{
    if (json->follows) {
        b24bg_out_raw(&json->out, ",");
    }
    json->follows = 1;
}

/* A member's name, or NULL for an element of a list. */
static void name(json_t *json, const char *key)
{
    separate(json);
    if (key) {
        b24bg_out_raw(&json->out, "\"");
        b24bg_out_text(&json->out, key);
        b24bg_out_raw(&json->out, "\":");
    }
}

static void begin(json_t *json, const char *key, const char *bracket)
{
    name(json, key);
    b24bg_out_raw(&json->out, bracket);
    json->follows = 0;
}

static void end(json_t *json, const char *bracket)
{
    b24bg_out_raw(&json->out, bracket);
    json->follows = 1;
}

static void literal(json_t *json, const char *key, const char *text)
{
    name(json, key);
    b24bg_out_raw(&json->out, text);
}

static void boolean(json_t *json, const char *key, int value)
{
    literal(json, key, value < 0 ? "null" : value ? "true" : "false");
}

static void number(json_t *json, const char *key, apr_uint64_t value)
{
    name(json, key);
    b24bg_out_number(&json->out, value);
}

static void seconds(json_t *json, const char *key, apr_uint64_t microseconds)
{
    name(json, key);
    b24bg_out_seconds(&json->out, microseconds);
}

/* Whole seconds since 1970, null for never. */
static void moment(json_t *json, const char *key, apr_time_t at)
{
    if (at > 0) {
        number(json, key, (apr_uint64_t)apr_time_sec(at));
    } else {
        literal(json, key, "null");
    }
}

static void string(json_t *json, const char *key, const char *value)
{
    name(json, key);
    b24bg_out_raw(&json->out, "\"");
    b24bg_out_text(&json->out, value);
    b24bg_out_raw(&json->out, "\"");
}

/* Apps */

static void write_requests(json_t *json, const b24bg_app_counts_t *counts)
{
    int kind;
    int verdict;

    begin(json, "requests", "{");
    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        begin(json, b24bg_kind_name((b24bg_kind_e)kind), "{");
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            number(json, b24bg_verdict_name((b24bg_verdict_e)verdict),
                   counts->requests[kind][verdict]);
        }
        end(json, "}");
    }
    end(json, "}");
}

static void write_outcomes(json_t *json, const b24bg_app_counts_t *counts)
{
    int i;

    begin(json, "outcomes", "{");
    for (i = 0; i < B24BG_REASON_COUNT; i++) {
        number(json, b24bg_reason((b24bg_reason_e)i)->name, counts->reasons[i]);
    }
    end(json, "}");
    begin(json, "installs", "{");
    number(json, "verified", counts->installs[1]);
    number(json, "not_verified", counts->installs[0]);
    end(json, "}");
    begin(json, "notices", "{");
    for (i = 0; i < B24BG_NOTICE_COUNT; i++) {
        number(json, b24bg_notice_result_name((b24bg_notice_result_e)i), counts->notices[i]);
    }
    end(json, "}");
    begin(json, "rebinds", "{");
    for (i = 0; i < B24BG_REBIND_COUNT; i++) {
        number(json, b24bg_rebind_result_name((b24bg_rebind_result_e)i), counts->rebinds[i]);
    }
    end(json, "}");
    begin(json, "refreshes", "{");
    for (i = 0; i < B24BG_REFRESH_COUNT; i++) {
        number(json, b24bg_refresh_result_name((b24bg_refresh_result_e)i), counts->refreshes[i]);
    }
    end(json, "}");
    begin(json, "slow_loads", "{");
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        number(json, b24bg_budget_source_name((b24bg_budget_source_e)i), counts->slow_loads[i]);
    }
    end(json, "}");
}

static void write_histogram(json_t *json, const char *key, const b24bg_app_counts_t *counts,
                            b24bg_metric_e metric)
{
    b24bg_histogram_t histogram;
    int i;

    b24bg_render_histogram(counts, metric, &histogram);
    begin(json, key, "{");
    begin(json, "buckets", "[");
    for (i = 0; i < histogram.buckets; i++) {
        begin(json, NULL, "{");
        if (i < histogram.buckets - 1) {
            seconds(json, "up_to", (apr_uint64_t)histogram.bounds[i]);
        } else {
            literal(json, "up_to", "null");
        }
        number(json, "count", histogram.counts[i]);
        end(json, "}");
    }
    end(json, "]");
    number(json, "count", b24bg_histogram_count(&histogram));
    seconds(json, "sum", histogram.sum);
    end(json, "}");
}

static void write_app(json_t *json, const b24bg_render_app_t *app)
{
    const b24bg_app_counts_t *counts = &app->counts;

    begin(json, NULL, "{");
    string(json, "app", counts->name);
    if (app->config.budget_limit) {
        number(json, "budget_limit", (apr_uint64_t)app->config.budget_limit);
    } else {
        literal(json, "budget_limit", "null");
    }
    literal(json, "can_refresh", app->config.has_secret ? "true" : "false");
    write_requests(json, counts);
    write_outcomes(json, counts);
    number(json, "repeats", counts->repeats);
    number(json, "broken_options", counts->broken_options);
    number(json, "beacons", counts->beacons);
    number(json, "failed_scripts", counts->failed_scripts);
    write_histogram(json, "server_seconds", counts, B24BG_METRIC_SERVER_TIME);
    write_histogram(json, "load_seconds", counts, B24BG_METRIC_LOAD_TIME);
    end(json, "}");
}

/* Portals */

static void write_budget(json_t *json, const b24bg_render_portal_t *portal)
{
    int i;

    begin(json, "budget_used", "{");
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        number(json, b24bg_budget_source_name((b24bg_budget_source_e)i), portal->budgets[i].used);
    }
    end(json, "}");
    string(json, "budget_source", b24bg_budget_source_name(portal->best));
    moment(json, "budget_since", portal->budgets[portal->best].start);
}

static void write_events(json_t *json, const b24bg_render_portal_t *portal)
{
    int i;

    begin(json, "events", "[");
    for (i = 0; i < portal->event_count; i++) {
        const b24bg_shown_event_t *event = &portal->events[i];
        begin(json, NULL, "{");
        moment(json, "at", event->at);
        string(json, "event", b24bg_shown_event_name(event->event));
        if (event->event == B24BG_SHOWN_EVENT_BUDGET) {
            number(json, "number", event->number);
        } else if (event->event == B24BG_SHOWN_EVENT_BLOCKED) {
            string(json, "reason", b24bg_event_reason(event));
        }
        end(json, "}");
    }
    end(json, "]");
}

static void write_registration(json_t *json, const b24bg_render_portal_t *portal)
{
    const b24bg_shown_t *shown = &portal->shown;

    boolean(json, "registered", b24bg_render_registered(portal));
    if (shown->has) {
        string(json, "state",
               b24bg_registration_state_name((b24bg_registration_state_e)shown->state));
        string(json, "reason",
               b24bg_registration_reason_name((b24bg_registration_reason_e)shown->reason));
    } else {
        literal(json, "state", "null");
        string(json, "reason", "");
    }
    moment(json, "since", shown->since);
    moment(json, "checked", shown->checked);
    moment(json, "due", shown->due);
    moment(json, "noticed", shown->noticed);
    moment(json, "rebound", shown->rebound);
}

static void write_portal(json_t *json, const b24bg_render_snapshot_t *snapshot,
                         const b24bg_render_portal_t *portal)
{
    begin(json, NULL, "{");
    string(json, "app", portal->app->counts.name);
    string(json, "portal", portal->label);
    string(json, "member_id", portal->member_id);
    number(json, "user", (apr_uint64_t)portal->user);
    string(json, "domain", portal->domain);
    boolean(json, "known", portal->known);
    string(json, "level", b24bg_level_name(portal->level));
    write_registration(json, portal);
    write_budget(json, portal);
    moment(json, "last_load", portal->last_load);
    number(json, "loads", portal->loads);
    number(json, "served", portal->served);
    number(json, "repeats", portal->repeats);
    number(json, "beacons", portal->beacons);
    if (portal->tokens && snapshot->now >= portal->tokens) {
        number(json, "token_age", (apr_uint64_t)apr_time_sec(snapshot->now - portal->tokens));
    } else {
        literal(json, "token_age", "null");
    }
    begin(json, "next", "\"");
    b24bg_words_next(&json->out, snapshot, portal);
    end(json, "\"");
    write_events(json, portal);
    end(json, "}");
}

/* The whole */

static void write_health(json_t *json, const b24bg_render_snapshot_t *snapshot)
{
    const char *task = "none";

    if (snapshot->has_task) {
        task = snapshot->task_runs ? "running" : snapshot->health.last_run ? "dead" : "never";
    }
    begin(json, "health", "{");
    string(json, "task", task);
    moment(json, "last_run", snapshot->health.last_run);
    boolean(json, "leader", snapshot->health.leader);
    if (snapshot->task_runs) {
        boolean(json, "store_up", snapshot->health.store_up);
        number(json, "journal_records", snapshot->health.journal_records);
        number(json, "inbox", snapshot->health.inbox);
    } else {
        literal(json, "store_up", "null");
        literal(json, "journal_records", "null");
        literal(json, "inbox", "null");
    }
    end(json, "}");
}

static void write_problems(json_t *json, const b24bg_render_snapshot_t *snapshot)
{
    int i;

    begin(json, "problems", "[");
    for (i = 0; i < snapshot->problems->nelts; i++) {
        const b24bg_render_problem_t *problem =
            &APR_ARRAY_IDX(snapshot->problems, i, b24bg_render_problem_t);
        begin(json, NULL, "{");
        string(json, "level", b24bg_level_name(b24bg_problem_level(problem->problem)));
        begin(json, "text", "\"");
        b24bg_words_problem(&json->out, snapshot, problem);
        end(json, "\"");
        end(json, "}");
    }
    end(json, "]");
}

static void write_server(json_t *json, const b24bg_render_snapshot_t *snapshot)
{
    int i;

    begin(json, "places", "{");
    number(json, "taken", snapshot->taken);
    number(json, "all", snapshot->capacity);
    end(json, "}");
    begin(json, "alerts", "{");
    for (i = 0; i < B24BG_ALERTED_COUNT; i++) {
        number(json, b24bg_alerted_name((b24bg_alerted_e)i), snapshot->alerts[i]);
    }
    end(json, "}");
}

void b24bg_render_json(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton)
{
    json_t json;
    int i;

    b24bg_out_begin(&json.out, write, baton, escape);
    json.follows = 0;
    begin(&json, NULL, "{");
    number(&json, "time", (apr_uint64_t)apr_time_sec(snapshot->now));
    string(&json, "level", b24bg_level_name(snapshot->level));
    write_problems(&json, snapshot);
    write_health(&json, snapshot);
    write_server(&json, snapshot);
    begin(&json, "apps", "[");
    for (i = 0; i < snapshot->apps->nelts; i++) {
        write_app(&json, &APR_ARRAY_IDX(snapshot->apps, i, b24bg_render_app_t));
    }
    end(&json, "]");
    begin(&json, "portals", "[");
    for (i = 0; i < snapshot->portals->nelts; i++) {
        write_portal(&json, snapshot, &APR_ARRAY_IDX(snapshot->portals, i, b24bg_render_portal_t));
    }
    end(&json, "]");
    end(&json, "}\n");
    b24bg_out_end(&json.out);
}
