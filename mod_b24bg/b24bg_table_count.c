#include "b24bg_table_parts.h"

#include <string.h>

static const apr_time_t server_time_bounds[] = B24BG_SERVER_TIME_BOUNDS;
static_assert(sizeof(server_time_bounds) / sizeof(apr_time_t) == B24BG_SERVER_TIME_BUCKETS - 1,
              "one bucket more than bounds");
static const apr_time_t load_time_bounds[] = B24BG_LOAD_TIME_BOUNDS;
static_assert(sizeof(load_time_bounds) / sizeof(apr_time_t) == B24BG_LOAD_TIME_BUCKETS - 1,
              "one bucket more than bounds");

/* Renders and tags */

static b24bg_table_set_t *set_of(b24bg_table_set_t *sets, apr_uint32_t count, apr_uint64_t mark)
{
    return &sets[(mark >> 32) * count >> 32];
}

/* The newest render goes to the front of its set and the oldest falls out. Two requests that do
 * this at once may lose one render: the price is one repeat counted as a load. */
int b24bg_table_seen(b24bg_table_t *table, int app, const char *member_id, const char *app_sid)
{
    unsigned char text[B24BG_MEMBER_ID_LENGTH + 2 + 64];
    apr_size_t length = strnlen(app_sid, 64);
    apr_uint64_t mark;
    b24bg_table_set_t *set;
    int way;

    memcpy(text, member_id, B24BG_MEMBER_ID_LENGTH);
    text[B24BG_MEMBER_ID_LENGTH] = (unsigned char)app;
    memcpy(text + B24BG_MEMBER_ID_LENGTH + 1, app_sid, length);
    mark = b24bg_table_mark(table, text, B24BG_MEMBER_ID_LENGTH + 1 + length);
    set = set_of(b24bg_table_renders(table), table->render_sets, mark);
    for (way = 0; way < B24BG_TABLE_SET_WAYS; way++) {
        if (atomic_load_explicit(&set->way[way], memory_order_relaxed) == mark) {
            return 1;
        }
    }
    for (way = B24BG_TABLE_SET_WAYS - 1; way > 0; way--) {
        atomic_store_explicit(&set->way[way],
                              atomic_load_explicit(&set->way[way - 1], memory_order_relaxed),
                              memory_order_relaxed);
    }
    atomic_store_explicit(&set->way[0], mark, memory_order_relaxed);
    return 0;
}

/* A tag's mark begins with the time of its render, and takes the place of the least in its set, the
 * first of equals, if that is less than it is. So a mark only ever makes way for a greater one: of
 * two that are the same whoever is second finds the first, or finds nothing that is less; and what
 * has made way is less than all that are there, and does not come back. What is later than any tag
 * may be was left by a clock that has been set back since: it is less than all. */
int b24bg_table_claim_beacon(b24bg_table_t *table, const char *tag, apr_time_t rendered,
                             apr_time_t latest)
{
    apr_uint64_t hash = b24bg_table_mark(table, tag, strlen(tag));
    apr_uint32_t sets = b24bg_table_tag_sets(table->render_sets);
    b24bg_table_set_t *set = set_of(b24bg_table_tags(table), sets, hash);
    apr_uint64_t mark = (apr_uint64_t)b24bg_table_seconds(rendered) << 32 | (apr_uint32_t)hash;
    apr_uint64_t ahead = ((apr_uint64_t)b24bg_table_seconds(latest) + 1) << 32;
    apr_uint64_t before;
    int oldest;

    do {
        apr_uint64_t least = mark;
        int way;
        for (way = 0, oldest = -1; way < B24BG_TABLE_SET_WAYS; way++) {
            apr_uint64_t other = b24bg_counter_read(&set->way[way]);
            if (other == mark) {
                return 0;
            }
            if ((other < ahead ? other : 0) < least) {
                least = other < ahead ? other : 0;
                before = other;
                oldest = way;
            }
        }
    } while (oldest >= 0 && !b24bg_counter_replace(&set->way[oldest], &before, mark));
    return oldest >= 0;
}

/* Loads of late: a count for each ten minutes, in the cell of the period modulo the cells. */

static apr_uint32_t period_of(apr_time_t time)
{
    return (apr_uint32_t)(time / B24BG_TABLE_PERIOD);
}

static void count_recent(b24bg_table_place_t *place, apr_time_t now)
{
    apr_uint32_t period = period_of(now);
    b24bg_counter_t *cell = &place->recent[period % B24BG_TABLE_PERIODS];
    apr_uint64_t before = b24bg_counter_read(cell);
    apr_uint64_t after;

    do {
        after = (before >> 32 == period ? before : (apr_uint64_t)period << 32) + 1;
    } while (!b24bg_counter_replace(cell, &before, after));
}

apr_uint64_t b24bg_table_recent(b24bg_table_place_t *place, apr_time_t last_load)
{
    apr_uint32_t period = period_of(last_load);
    apr_uint64_t loads = 0;
    int i;

    for (i = 0; i < B24BG_TABLE_PERIODS; i++) {
        apr_uint64_t cell = b24bg_counter_read(&place->recent[i]);
        if (period - (apr_uint32_t)(cell >> 32) <= B24BG_TABLE_PERIODS_IN_HOUR) {
            loads += (apr_uint32_t)cell;
        }
    }
    return loads;
}

void b24bg_table_recent_restore(b24bg_table_place_t *place, apr_time_t last_load,
                                apr_uint64_t recent)
{
    apr_uint32_t period = period_of(last_load);
    b24bg_counter_t *cell = &place->recent[period % B24BG_TABLE_PERIODS];
    apr_uint64_t before = b24bg_counter_read(cell);

    if (recent && b24bg_table_recent(place, last_load) == 0) {
        recent = recent < APR_UINT32_MAX ? recent : APR_UINT32_MAX;
        b24bg_counter_replace(cell, &before, (apr_uint64_t)period << 32 | recent);
    }
}

int b24bg_table_is_silence_open(b24bg_table_t *table, apr_uint32_t slot, apr_time_t last_load)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);

    return place->last_load == last_load && place->silence != b24bg_table_seconds(last_load);
}

int b24bg_table_claim_silence(b24bg_table_t *table, apr_uint32_t slot, apr_time_t last_load)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);
    apr_uint32_t reported = place->silence;

    return place->last_load == last_load && reported != b24bg_table_seconds(last_load) &&
           atomic_compare_exchange_strong(&place->silence, &reported,
                                          b24bg_table_seconds(last_load));
}

/* Requests and beacons */

static int bucket_of(const apr_time_t *bounds, int buckets, apr_interval_time_t time)
{
    int bucket = 0;

    while (bucket < buckets - 1 && time > bounds[bucket]) {
        bucket++;
    }
    return bucket;
}

/* The place whose budget a load is charged to: none if another registration stood there when the
 * page was asked for. */
static b24bg_table_place_t *charged(b24bg_table_place_t *place, apr_time_t began)
{
    return place && b24bg_table_seconds(began) >= place->budget_since ? place : NULL;
}

static void count_in_place(b24bg_table_place_t *place, const b24bg_table_request_t *request)
{
    if (request->is_load) {
        b24bg_counter_add(&place->served, 1);
        atomic_store_explicit(&place->last_load, request->now, memory_order_relaxed);
        count_recent(place, request->now);
    }
    if (request->is_repeat) {
        atomic_fetch_add_explicit(&place->repeats, 1, memory_order_relaxed);
    }
}

void b24bg_table_count(b24bg_table_t *table, const b24bg_table_request_t *request)
{
    b24bg_table_app_t *app = &table->apps[request->app];
    b24bg_table_place_t *place = b24bg_table_held(table, request->portal);
    apr_interval_time_t time = request->server_time > 0 ? request->server_time : 0;
    int bucket = bucket_of(server_time_bounds, B24BG_SERVER_TIME_BUCKETS, time);

    b24bg_counter_add(&app->requests[request->kind][b24bg_reason(request->reason)->verdict], 1);
    b24bg_counter_add(&app->reasons[request->reason], 1);
    b24bg_counter_add(&app->server_time[bucket], 1);
    b24bg_counter_add(&app->server_time_sum, (apr_uint64_t)time);
    if (request->is_repeat) {
        b24bg_counter_add(&app->repeats, 1);
    }
    if (request->broken_options) {
        b24bg_counter_add(&app->broken_options, 1);
    }
    if (place) {
        count_in_place(place, request);
    }
    if (request->is_load && request->slow_limit > 0 && time > request->slow_limit) {
        place = charged(place, request->now - time);
        b24bg_table_slow(table, request->app, place, B24BG_BUDGET_SERVER, request->now);
    }
}

void b24bg_table_count_beacon(b24bg_table_t *table, const b24bg_table_beacon_t *beacon)
{
    b24bg_table_app_t *app = &table->apps[beacon->app];
    b24bg_table_place_t *place = b24bg_table_held(table, beacon->portal);
    apr_interval_time_t time =
        beacon->load_time < B24BG_LOAD_TIME_MAX ? beacon->load_time : B24BG_LOAD_TIME_MAX;
    apr_uint64_t weight = beacon->sampled ? B24BG_BEACON_SAMPLED_WEIGHT : 1;
    int bucket = bucket_of(load_time_bounds, B24BG_LOAD_TIME_BUCKETS, time);

    b24bg_counter_add(&app->failed_scripts, (apr_uint64_t)beacon->failed_scripts);
    if (time < 0) {
        return;
    }
    b24bg_counter_add(&app->beacons, 1);
    b24bg_counter_add(&app->load_time[bucket], weight);
    b24bg_counter_add(&app->load_time_sum, weight * (apr_uint64_t)time);
    if (place) {
        b24bg_counter_add(&place->beacons, weight);
    }
    if (beacon->slow_limit > 0 && time > beacon->slow_limit) {
        place = charged(place, beacon->rendered);
        b24bg_table_slow(table, beacon->app, place, B24BG_BUDGET_BROWSER, beacon->now);
    }
}

/* What the background task does, and what is told once */

void b24bg_table_count_install(b24bg_table_t *table, int app, int verified)
{
    b24bg_counter_add(&table->apps[app].installs[verified], 1);
}

void b24bg_table_count_notice(b24bg_table_t *table, int app, b24bg_notice_result_e result)
{
    b24bg_counter_add(&table->apps[app].notices[result], 1);
}

void b24bg_table_count_rebind(b24bg_table_t *table, int app, b24bg_rebind_result_e result)
{
    b24bg_counter_add(&table->apps[app].rebinds[result], 1);
}

void b24bg_table_count_refresh(b24bg_table_t *table, int app, b24bg_refresh_result_e result)
{
    b24bg_counter_add(&table->apps[app].refreshes[result], 1);
}

void b24bg_table_count_alert(b24bg_table_t *table, int result)
{
    b24bg_counter_add(&table->alerts[result], 1);
}

int b24bg_table_claim_dead_notices(b24bg_table_t *table, int app, apr_time_t now,
                                   apr_uint64_t *count)
{
    b24bg_table_app_t *row = &table->apps[app];
    apr_int64_t before = atomic_load_explicit(&row->dead_told, memory_order_relaxed);
    apr_uint64_t total;

    /* A clock that was set back must not silence it for longer. */
    if ((before && now >= before && now - before < B24BG_TABLE_DEAD_EVERY) ||
        !atomic_compare_exchange_strong(&row->dead_told, &before, now)) {
        return 0;
    }
    total = atomic_load_explicit(&row->notices[B24BG_NOTICE_DEAD], memory_order_relaxed);
    *count = total - atomic_exchange(&row->dead_told_of, total);
    return 1;
}

int b24bg_table_claim_framing(b24bg_table_t *table, int app)
{
    _Atomic apr_uint32_t *claimed = &table->apps[app].framing_claimed;

    return !atomic_load_explicit(claimed, memory_order_relaxed) && !atomic_exchange(claimed, 1);
}

int b24bg_table_claim_frames(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);
    apr_uint32_t told = place->frames_told;
    apr_time_t before = b24bg_table_time(told);

    /* A clock that was set back must not silence it for longer. */
    return !(before && now >= before && now - before < B24BG_TABLE_FRAMES_EVERY) &&
           atomic_compare_exchange_strong(&place->frames_told, &told, b24bg_table_seconds(now));
}
