#include "b24bg_table_parts.h"

#include <apr_strings.h>

#include <sched.h>
#include <string.h>

/* Attempts at reading what is written just now, a yield of the processor apart. Only one that was
 * killed in the middle takes longer. */
#define READ_TRIES 100

#define NAME(id, name) name,
static const char *const event_names[] = {B24BG_EVENT_LIST(NAME)};

int b24bg_shown_event_by_name(const char *name)
{
    int event;

    for (event = 0; event < B24BG_SHOWN_EVENT_COUNT; event++) {
        if (strcmp(event_names[event], name) == 0) {
            return event;
        }
    }
    return -1;
}

const char *b24bg_shown_event_name(int event)
{
    return event_names[event];
}

/* Writing, under the lock. The version stays odd where a writer dies, until the next one. */

static void begin_show(b24bg_table_shown_t *shown)
{
    atomic_fetch_or(&shown->version, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

static void end_show(b24bg_table_shown_t *shown)
{
    shown->version++;
}

static void write_shown(b24bg_table_shown_t *to, const b24bg_shown_t *from)
{
    to->has = from->has != 0;
    to->state = (unsigned char)from->state;
    to->reason = (unsigned char)from->reason;
    to->since = b24bg_table_seconds(from->since);
    to->checked = b24bg_table_seconds(from->checked);
    to->due = b24bg_table_seconds(from->due);
    to->noticed = b24bg_table_seconds(from->noticed);
    to->rebound = b24bg_table_seconds(from->rebound);
}

void b24bg_table_show_nothing(b24bg_table_place_t *place)
{
    static const b24bg_shown_t nothing;

    begin_show(&place->shown);
    write_shown(&place->shown, &nothing);
    place->shown.event_count = 0;
    end_show(&place->shown);
}

int b24bg_table_show(b24bg_table_t *table, b24bg_portal_ref_t portal, const b24bg_shown_t *shown)
{
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_table_place_t *place;

    if (!lock) {
        return 0;
    }
    place = b24bg_table_held(table, portal);
    if (place) {
        begin_show(&place->shown);
        write_shown(&place->shown, shown);
        end_show(&place->shown);
    }
    b24bg_table_unlock(table, lock);
    return 1;
}

static int is_known_event(const b24bg_shown_event_t *event)
{
    return event->event >= 0 && event->event < B24BG_SHOWN_EVENT_COUNT;
}

static void write_events(b24bg_table_shown_t *to, const b24bg_shown_event_t *events, int count)
{
    int first = count;
    int kept = 0;

    while (first > 0 && kept < B24BG_TABLE_EVENTS) {
        kept += is_known_event(&events[--first]);
    }
    for (kept = 0; first < count; first++) {
        const b24bg_shown_event_t *from = &events[first];
        if (is_known_event(from)) {
            to->event[kept] = (unsigned char)from->event;
            to->event_at[kept] = b24bg_table_seconds(from->at);
            to->event_number[kept] =
                (apr_uint16_t)(from->number < APR_UINT16_MAX ? from->number : APR_UINT16_MAX);
            kept++;
        }
    }
    to->event_count = (unsigned char)kept;
}

int b24bg_table_show_events(b24bg_table_t *table, b24bg_portal_ref_t portal,
                            const b24bg_shown_event_t *events, int count)
{
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_table_place_t *place;

    if (!lock) {
        return 0;
    }
    place = b24bg_table_held(table, portal);
    if (place) {
        begin_show(&place->shown);
        write_events(&place->shown, events, count);
        end_show(&place->shown);
    }
    b24bg_table_unlock(table, lock);
    return 1;
}

void b24bg_table_set_health(b24bg_table_t *table, const b24bg_table_health_t *health)
{
    table->store_up = health->store_up + 1;
    table->journal_records = health->journal_records;
    table->inbox = health->inbox;
    table->leader = health->leader;
    table->last_run = health->last_run;
}

void b24bg_table_read_health(b24bg_table_t *table, b24bg_table_health_t *health)
{
    health->last_run = table->last_run;
    health->store_up = table->store_up - 1;
    health->journal_records = table->journal_records;
    health->inbox = table->inbox;
    health->leader = table->leader;
}

/* Reading */

static void read_counters(apr_uint64_t *to, b24bg_counter_t *from, apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        to[i] = b24bg_counter_read(&from[i]);
    }
}

int b24bg_table_read_app(b24bg_table_t *table, apr_pool_t *pool, int row,
                         b24bg_app_counts_t *counts)
{
    b24bg_table_app_t *app = &table->apps[row];

    if (!app->name[0]) {
        return 0;
    }
    counts->name = apr_pstrdup(pool, app->name);
    read_counters(counts->requests[0], app->requests[0], B24BG_KIND_COUNT * B24BG_VERDICT_COUNT);
    read_counters(counts->reasons, app->reasons, B24BG_REASON_COUNT);
    read_counters(&counts->repeats, &app->repeats, 1);
    read_counters(&counts->broken_options, &app->broken_options, 1);
    read_counters(counts->installs, app->installs, 2);
    read_counters(counts->notices, app->notices, B24BG_NOTICE_COUNT);
    read_counters(counts->rebinds, app->rebinds, B24BG_REBIND_COUNT);
    read_counters(counts->refreshes, app->refreshes, B24BG_REFRESH_COUNT);
    read_counters(counts->slow_loads, app->slow_loads, B24BG_BUDGET_COUNT);
    read_counters(counts->server_time, app->server_time, B24BG_SERVER_TIME_BUCKETS);
    read_counters(&counts->server_time_sum, &app->server_time_sum, 1);
    read_counters(counts->load_time, app->load_time, B24BG_LOAD_TIME_BUCKETS);
    read_counters(&counts->load_time_sum, &app->load_time_sum, 1);
    read_counters(&counts->beacons, &app->beacons, 1);
    read_counters(&counts->failed_scripts, &app->failed_scripts, 1);
    return 1;
}

void b24bg_table_read_alerts(b24bg_table_t *table, apr_uint64_t counts[B24BG_ALERTED_COUNT])
{
    read_counters(counts, table->alerts, B24BG_ALERTED_COUNT);
}

/* A copy that is whole, or nothing. */
static void copy_shown(b24bg_table_shown_t *from, b24bg_table_shown_t *to)
{
    int tries;

    for (tries = 0; tries < READ_TRIES; tries++) {
        apr_uint32_t before = atomic_load_explicit(&from->version, memory_order_acquire);
        memcpy(to, from, sizeof(*to));
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && atomic_load_explicit(&from->version, memory_order_relaxed) == before) {
            return;
        }
        sched_yield();
    }
    memset(to, 0, sizeof(*to));
}

static void read_shown(b24bg_table_shown_t *place, b24bg_portal_counts_t *counts)
{
    b24bg_table_shown_t shown;
    int i;

    copy_shown(place, &shown);
    counts->shown.has = shown.has;
    counts->shown.state = shown.state;
    counts->shown.reason = shown.reason;
    counts->shown.since = b24bg_table_time(shown.since);
    counts->shown.checked = b24bg_table_time(shown.checked);
    counts->shown.due = b24bg_table_time(shown.due);
    counts->shown.noticed = b24bg_table_time(shown.noticed);
    counts->shown.rebound = b24bg_table_time(shown.rebound);
    counts->event_count = shown.event_count;
    for (i = 0; i < counts->event_count; i++) {
        counts->events[i].at = b24bg_table_time(shown.event_at[i]);
        counts->events[i].event = shown.event[i];
        counts->events[i].number = shown.event_number[i];
    }
}

int b24bg_table_read_counts(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now,
                            b24bg_portal_counts_t *counts)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);
    apr_uint32_t before = atomic_load_explicit(&place->generation, memory_order_acquire);

    if (before == 0 || (before & 1)) {
        return 0;
    }
    counts->generation = before;
    counts->app = place->app;
    counts->user = place->user;
    memcpy(counts->member_id, place->member_id, B24BG_MEMBER_ID_LENGTH);
    counts->member_id[B24BG_MEMBER_ID_LENGTH] = '\0';
    memcpy(counts->domain, place->domain, sizeof(counts->domain));
    counts->http = place->http;
    counts->known = place->known;
    counts->last_load = place->last_load;
    counts->served = place->served;
    counts->loads = counts->served + place->elsewhere;
    counts->repeats = place->repeats;
    counts->recent = b24bg_table_recent(place, counts->last_load);
    counts->beacons = place->beacons;
    counts->tokens = b24bg_table_time(place->tokens);
    b24bg_table_budgets(place, now, counts->budgets);
    counts->shown.has = 0;
    counts->event_count = 0;
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&place->generation, memory_order_relaxed) == before;
}

int b24bg_table_read_portal(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now,
                            b24bg_portal_counts_t *counts)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);

    if (!b24bg_table_read_counts(table, slot, now, counts)) {
        return 0;
    }
    read_shown(&place->shown, counts);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&place->generation, memory_order_relaxed) == counts->generation;
}
