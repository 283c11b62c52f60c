#include "b24bg_render_parts.h"

#include "b24bg_registration.h"

#include <apr_strings.h>

#include <stdlib.h>
#include <string.h>

/* Attempts at a place that changes just now. */
#define READ_TRIES 3

#define NAME(id, name) name,
static const char *const level_names[] = {B24BG_LEVEL_LIST(NAME)};

#define LEVEL(id, level) B24BG_LEVEL_##level,
static const b24bg_level_e problem_levels[] = {B24BG_PROBLEM_LIST(LEVEL)};

/* Nothing known is worse than a warning, and no news where something is known to be broken. */
static const int gravity[] = {
    [B24BG_LEVEL_OK] = 0,
    [B24BG_LEVEL_WARNING] = 1,
    [B24BG_LEVEL_UNKNOWN] = 2,
    [B24BG_LEVEL_CRITICAL] = 3,
};
_Static_assert(sizeof(gravity) / sizeof(gravity[0]) == B24BG_LEVEL_COUNT, "a gravity for each");

const char *b24bg_level_name(b24bg_level_e level)
{
    return level_names[level];
}

b24bg_level_e b24bg_problem_level(b24bg_problem_e problem)
{
    return problem_levels[problem];
}

/* Reading the table */

static apr_uint64_t all_requests(const b24bg_app_counts_t *counts)
{
    apr_uint64_t sum = 0;
    int kind;
    int verdict;

    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            sum += counts->requests[kind][verdict];
        }
    }
    return sum;
}

/* Fills by_row with pointers into snapshot->apps, which has room for all of them. What an app that
 * is not configured any more has counted is shown, but nobody looks after its portals. */
static void read_apps(b24bg_render_snapshot_t *snapshot, apr_pool_t *pool,
                      const b24bg_render_source_t *source, const b24bg_render_app_t **by_row)
{
    int row;

    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        b24bg_render_app_t app;
        if (!b24bg_table_read_app(source->table, pool, row, &app.counts)) {
            continue;
        }
        app.config = source->apps[row];
        app.requests = all_requests(&app.counts);
        if (app.config.listed || app.requests) {
            b24bg_render_app_t *added = apr_array_push(snapshot->apps);
            *added = app;
            by_row[row] = app.config.listed ? added : NULL;
        }
    }
}

static int is_uninstalled(const b24bg_portal_counts_t *counts)
{
    const b24bg_shown_t *shown = &counts->shown;

    return !counts->known && shown->has && shown->state == B24BG_REGISTRATION_BLOCKED &&
           shown->reason == B24BG_BLOCKED_UNINSTALLED;
}

static void copy_portal(apr_pool_t *pool, const b24bg_portal_counts_t *from,
                        b24bg_render_portal_t *to)
{
    memset(to, 0, sizeof(*to));
    to->member_id = apr_pstrdup(pool, from->member_id);
    to->label = from->user ? apr_psprintf(pool, "%s:%" APR_INT64_T_FMT, from->member_id, from->user)
                           : to->member_id;
    to->domain = apr_pstrdup(pool, from->domain);
    to->user = from->user;
    to->http = from->http;
    to->known = from->known;
    to->uninstalled = is_uninstalled(from);
    to->last_load = from->last_load;
    to->loads = from->loads;
    to->served = from->served;
    to->repeats = from->repeats;
    to->beacons = from->beacons;
    to->tokens = from->tokens;
    memcpy(to->budgets, from->budgets, sizeof(to->budgets));
    to->best = b24bg_budget_best(to->budgets);
    to->shown = from->shown;
    to->event_count = from->event_count;
    to->events =
        apr_pmemdup(pool, from->events, (apr_size_t)from->event_count * sizeof(from->events[0]));
}

/* A personal place that is not known any more is of no registration and of no portal. */
static int is_shown(const b24bg_portal_counts_t *counts, const b24bg_render_source_t *source)
{
    return counts->known || is_uninstalled(counts) || (!counts->user && !source->known_only);
}

static void read_portals(b24bg_render_snapshot_t *snapshot, apr_pool_t *pool,
                         const b24bg_render_source_t *source, const b24bg_render_app_t **by_row)
{
    apr_uint32_t slot;

    for (slot = 1; slot <= snapshot->capacity; slot++) {
        b24bg_portal_counts_t counts;
        b24bg_render_portal_t *portal;
        int tries = READ_TRIES;
        int has = 0;
        while (!has && tries-- > 0) {
            has = b24bg_table_read_portal(source->table, slot, source->now, &counts);
        }
        snapshot->taken += has != 0;
        if (has && by_row[counts.app] && is_shown(&counts, source)) {
            portal = apr_array_push(snapshot->portals);
            copy_portal(pool, &counts, portal);
            portal->app = by_row[counts.app];
        }
    }
}

/* Judging */

int b24bg_render_wanted(const b24bg_render_portal_t *portal)
{
    const b24bg_shown_t *shown = &portal->shown;

    return !shown->has || !(shown->state == B24BG_REGISTRATION_UNBOUND ||
                            (shown->state == B24BG_REGISTRATION_BLOCKED &&
                             shown->reason == B24BG_BLOCKED_UNINSTALLED));
}

int b24bg_render_registered(const b24bg_render_portal_t *portal)
{
    if (!portal->known || !portal->shown.has || !portal->app->config.registers) {
        return -1;
    }
    switch (portal->shown.state) {
    case B24BG_REGISTRATION_BOUND:
        return 1;
    case B24BG_REGISTRATION_UNKNOWN:
    case B24BG_REGISTRATION_SUSPECT:
        return -1;
    default:
        return 0;
    }
}

static void add_problem(b24bg_render_snapshot_t *snapshot, b24bg_problem_e problem,
                        b24bg_render_portal_t *portal)
{
    b24bg_render_problem_t *added = apr_array_push(snapshot->problems);
    b24bg_level_e level = problem_levels[problem];

    added->problem = problem;
    added->portal = portal;
    if (portal) {
        portal->problems |= 1U << problem;
        portal->level = gravity[level] > gravity[portal->level] ? level : portal->level;
    }
    if (gravity[level] > gravity[snapshot->level]) {
        snapshot->level = level;
    }
}

static void judge_task(b24bg_render_snapshot_t *snapshot)
{
    if (!snapshot->has_task) {
        return;
    }
    if (!snapshot->health.last_run) {
        add_problem(snapshot, B24BG_PROBLEM_TASK_NEVER, NULL);
    } else if (!snapshot->task_runs) {
        add_problem(snapshot, B24BG_PROBLEM_TASK_DEAD, NULL);
    }
    if (snapshot->health.last_run && !snapshot->store_read) {
        add_problem(snapshot, B24BG_PROBLEM_STORE_UNREAD, NULL);
    }
    if (snapshot->health.last_run && snapshot->health.store_up == 0) {
        add_problem(snapshot, B24BG_PROBLEM_STORE_DOWN, NULL);
    }
}

int b24bg_render_is_row(const b24bg_render_portal_t *portal)
{
    return portal->known || portal->uninstalled;
}

/* What is left of one for all is told of as long as it is there. */
int b24bg_render_is_registration(const b24bg_render_portal_t *portal)
{
    return b24bg_render_is_row(portal) && (portal->user || !portal->app->config.personal ||
                                           (portal->shown.has && b24bg_render_wanted(portal)));
}

/* There should be one, and the module sees to it. */
static int is_expected(const b24bg_render_portal_t *portal)
{
    return portal->app->config.registers && b24bg_render_is_registration(portal) &&
           b24bg_render_wanted(portal);
}

/* There should be an answer by now. Where no row says since when, its tokens are as old as the
 * installation or younger. */
static int waits_long(const b24bg_render_snapshot_t *snapshot, const b24bg_render_portal_t *portal)
{
    apr_time_t since = portal->shown.since ? portal->shown.since : portal->tokens;

    return snapshot->now - since > B24BG_RENDER_ASKED;
}

static void judge_registration(b24bg_render_snapshot_t *snapshot, b24bg_render_portal_t *portal)
{
    if (!portal->app->config.registers) {
        return;
    }
    if (!portal->shown.has) {
        if (b24bg_render_is_registration(portal) && waits_long(snapshot, portal)) {
            add_problem(snapshot, B24BG_PROBLEM_IN_DOUBT, portal);
        }
        return;
    }
    switch (portal->shown.state) {
    case B24BG_REGISTRATION_LOST:
        add_problem(snapshot, B24BG_PROBLEM_LOST, portal);
        break;
    case B24BG_REGISTRATION_BLOCKED:
        if (portal->shown.reason != B24BG_BLOCKED_UNINSTALLED) {
            add_problem(snapshot, B24BG_PROBLEM_BLOCKED, portal);
        }
        break;
    case B24BG_REGISTRATION_SUSPECT:
    case B24BG_REGISTRATION_BINDING:
        add_problem(snapshot, B24BG_PROBLEM_IN_DOUBT, portal);
        break;
    case B24BG_REGISTRATION_UNKNOWN:
        if (waits_long(snapshot, portal)) {
            add_problem(snapshot, B24BG_PROBLEM_IN_DOUBT, portal);
        }
        break;
    default:
        break;
    }
}

static void judge_portal(b24bg_render_snapshot_t *snapshot, b24bg_render_portal_t *portal)
{
    apr_int64_t limit = portal->app->config.budget_limit;

    snapshot->rows += b24bg_render_is_row(portal);
    if (portal->known) {
        snapshot->registrations += is_expected(portal);
        snapshot->registered += is_expected(portal) && b24bg_render_registered(portal) == 1;
    }
    if (portal->known) {
        judge_registration(snapshot, portal);
        if (limit && 2 * (apr_int64_t)portal->budgets[portal->best].used > limit) {
            add_problem(snapshot, B24BG_PROBLEM_BUDGET, portal);
        }
        if (!portal->user && portal->tokens &&
            snapshot->now - portal->tokens > B24BG_RENDER_TOKEN_OLD) {
            add_problem(snapshot, B24BG_PROBLEM_TOKEN, portal);
        }
    }
}

/* Putting in order */

static int compare_numbers(apr_int64_t one, apr_int64_t other)
{
    return (one > other) - (one < other);
}

/* By how much of its budget each has used; the counts are small, products do not overflow. */
static int compare_budgets(const b24bg_render_portal_t *one, const b24bg_render_portal_t *other)
{
    apr_int64_t limit = one->app->config.budget_limit;
    apr_int64_t other_limit = other->app->config.budget_limit;

    return compare_numbers((apr_int64_t)other->budgets[other->best].used * limit,
                           (apr_int64_t)one->budgets[one->best].used * other_limit);
}

static int compare_portals(const void *first, const void *second)
{
    const b24bg_render_portal_t *one = first;
    const b24bg_render_portal_t *other = second;
    int order = b24bg_render_is_row(other) - b24bg_render_is_row(one);

    if (order == 0 && !b24bg_render_is_row(one)) {
        order = compare_numbers(other->last_load, one->last_load);
    }
    if (order == 0) {
        order = gravity[other->level] - gravity[one->level];
    }
    if (order == 0) {
        order = compare_budgets(one, other);
    }
    if (order == 0) {
        order = strcmp(one->app->counts.name, other->app->counts.name);
    }
    if (order == 0) {
        order = strcmp(one->domain, other->domain);
    }
    return order ? order : compare_numbers(one->user, other->user);
}

static int compare_problems(const void *first, const void *second)
{
    const b24bg_render_problem_t *one = first;
    const b24bg_render_problem_t *other = second;
    int order = gravity[problem_levels[other->problem]] - gravity[problem_levels[one->problem]];

    if (order == 0) {
        order = (int)one->problem - (int)other->problem;
    }
    if (order == 0 && one->portal && other->portal) {
        order = compare_portals(one->portal, other->portal);
    }
    return order;
}

static void sort(apr_array_header_t *array, int (*compare)(const void *, const void *))
{
    qsort(array->elts, (size_t)array->nelts, (size_t)array->elt_size, compare);
}

/* Problems point to portals, so those are judged once to be put in order, and again in their
 * places. */
static void judge(b24bg_render_snapshot_t *snapshot)
{
    int pass;
    int i;

    for (pass = 0; pass < 2; pass++) {
        snapshot->problems->nelts = 0;
        snapshot->rows = snapshot->registrations = snapshot->registered = 0;
        judge_task(snapshot);
        for (i = 0; i < snapshot->portals->nelts; i++) {
            judge_portal(snapshot, &APR_ARRAY_IDX(snapshot->portals, i, b24bg_render_portal_t));
        }
        if (pass == 0) {
            sort(snapshot->portals, compare_portals);
        }
    }
    sort(snapshot->problems, compare_problems);
}

b24bg_render_snapshot_t *b24bg_render_snapshot(apr_pool_t *pool,
                                               const b24bg_render_source_t *source)
{
    const b24bg_render_app_t *by_row[B24BG_TABLE_APPS_MAX] = {NULL};
    b24bg_render_snapshot_t *snapshot = apr_pcalloc(pool, sizeof(*snapshot));

    snapshot->now = source->now;
    snapshot->has_task = source->has_task;
    snapshot->health.store_up = -1;
    snapshot->apps = apr_array_make(pool, B24BG_TABLE_APPS_MAX, sizeof(b24bg_render_app_t));
    snapshot->portals = apr_array_make(pool, 64, sizeof(b24bg_render_portal_t));
    snapshot->problems = apr_array_make(pool, 8, sizeof(b24bg_render_problem_t));
    if (source->table) {
        snapshot->capacity = b24bg_table_capacity(source->table);
        read_apps(snapshot, pool, source, by_row);
        read_portals(snapshot, pool, source, by_row);
        b24bg_table_read_health(source->table, &snapshot->health);
        b24bg_table_read_alerts(source->table, snapshot->alerts);
        /* Keys are read last: portals and registrations are there by then. */
        snapshot->store_read = b24bg_table_keys_are_read(source->table);
    }
    /* The clock may have been set back since. */
    snapshot->task_runs = source->has_task && snapshot->health.last_run &&
                          source->now - snapshot->health.last_run <= B24BG_RENDER_DEAD &&
                          snapshot->health.last_run - source->now <= B24BG_RENDER_DEAD;
    judge(snapshot);
    return snapshot;
}

/* Histograms */

void b24bg_render_histogram(const b24bg_app_counts_t *counts, b24bg_metric_e metric,
                            b24bg_histogram_t *histogram)
{
    static const apr_time_t server_bounds[] = B24BG_SERVER_TIME_BOUNDS;
    static const apr_time_t load_bounds[] = B24BG_LOAD_TIME_BOUNDS;

    if (metric == B24BG_METRIC_SERVER_TIME) {
        histogram->bounds = server_bounds;
        histogram->counts = counts->server_time;
        histogram->buckets = B24BG_SERVER_TIME_BUCKETS;
        histogram->sum = counts->server_time_sum;
    } else {
        histogram->bounds = load_bounds;
        histogram->counts = counts->load_time;
        histogram->buckets = B24BG_LOAD_TIME_BUCKETS;
        histogram->sum = counts->load_time_sum;
    }
}

apr_uint64_t b24bg_histogram_count(const b24bg_histogram_t *histogram)
{
    apr_uint64_t count = 0;
    int i;

    for (i = 0; i < histogram->buckets; i++) {
        count += histogram->counts[i];
    }
    return count;
}
