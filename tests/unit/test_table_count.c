/* b24bg_table_count: beacons, loads of late, and what the background task counts and claims. What
 * requests count is in test_table.c.
 */
#include "table.h"

#include "b24bg_alert.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define MINUTE ((apr_time_t)60 * APR_USEC_PER_SEC)
/* Ten minutes are counted as one; the first of them begins here. */
#define PERIOD (10 * MINUTE)
#define BASE (NOW - NOW % PERIOD)

/* Names and counters */

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(b24bg_notice_result_name(B24BG_NOTICE_LIVE), "live");
    assert_string_equal(b24bg_notice_result_name(B24BG_NOTICE_DEAD), "dead");
    assert_string_equal(b24bg_notice_result_name(B24BG_NOTICE_UNATTRIBUTED), "unattributed");
    assert_string_equal(b24bg_rebind_result_name(B24BG_REBIND_OK), "ok");
    assert_string_equal(b24bg_rebind_result_name(B24BG_REBIND_FAILED), "failed");
    assert_string_equal(b24bg_rebind_result_name(B24BG_REBIND_BLOCKED), "blocked");
    assert_string_equal(b24bg_refresh_result_name(B24BG_REFRESH_OK), "ok");
    assert_string_equal(b24bg_refresh_result_name(B24BG_REFRESH_FAILED), "failed");
    assert_string_equal(b24bg_alerted_name(B24BG_ALERTED_HANDLED), "handled");
    assert_string_equal(b24bg_alerted_name(B24BG_ALERTED_AGAIN), "again");
    assert_string_equal(b24bg_alerted_name(B24BG_ALERTED_GIVEN_UP), "given-up");
    assert_string_equal(b24bg_alerted_name(B24BG_ALERTED_DROPPED), "dropped");
    assert_string_equal(b24bg_budget_source_name(B24BG_BUDGET_PORTAL), "portal");
    assert_string_equal(b24bg_budget_source_name(B24BG_BUDGET_BROWSER), "browser");
    assert_string_equal(b24bg_budget_source_name(B24BG_BUDGET_SERVER), "server");
}

/* Who runs alerts passes his own enumeration on. */
static void test_alerts_agree(void **state)
{
    (void)state;
    assert_int_equal((int)B24BG_ALERTED_HANDLED, (int)B24BG_ALERT_HANDLED);
    assert_int_equal((int)B24BG_ALERTED_AGAIN, (int)B24BG_ALERT_AGAIN);
    assert_int_equal((int)B24BG_ALERTED_GIVEN_UP, (int)B24BG_ALERT_GIVEN_UP);
    assert_int_equal((int)B24BG_ALERTED_DROPPED, (int)B24BG_ALERT_DROPPED);
    assert_int_equal(B24BG_ALERTED_COUNT, (int)B24BG_ALERT_DROPPED + 1);
}

static void count_times(b24bg_table_t *table, int result, int times,
                        void (*count)(b24bg_table_t *table, int result))
{
    while (times--) {
        count(table, result);
    }
}

static void one_notice(b24bg_table_t *table, int result)
{
    b24bg_table_count_notice(table, 1, (b24bg_notice_result_e)result);
}

static void one_rebind(b24bg_table_t *table, int result)
{
    b24bg_table_count_rebind(table, 1, (b24bg_rebind_result_e)result);
}

static void one_refresh(b24bg_table_t *table, int result)
{
    b24bg_table_count_refresh(table, 1, (b24bg_refresh_result_e)result);
}

/* Each goes to its own counter, in its own app. */
static void test_task_counters(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_uint64_t alerts[B24BG_ALERTED_COUNT];
    b24bg_app_counts_t expected;
    b24bg_app_counts_t counts;
    int i;

    (void)state;
    memset(&expected, 0, sizeof(expected));
    memset(&counts, 0, sizeof(counts));
    b24bg_table_app(table, "other");
    b24bg_table_app(table, "this");
    for (i = 0; i < B24BG_NOTICE_COUNT; i++) {
        count_times(table, i, 1 + i, one_notice);
        expected.notices[i] = 1 + (apr_uint64_t)i;
    }
    for (i = 0; i < B24BG_REBIND_COUNT; i++) {
        count_times(table, i, 11 + i, one_rebind);
        expected.rebinds[i] = 11 + (apr_uint64_t)i;
    }
    for (i = 0; i < B24BG_REFRESH_COUNT; i++) {
        count_times(table, i, 21 + i, one_refresh);
        expected.refreshes[i] = 21 + (apr_uint64_t)i;
    }
    for (i = 0; i < B24BG_ALERTED_COUNT; i++) {
        count_times(table, i, 31 + i, b24bg_table_count_alert);
    }
    b24bg_table_read_app(table, unit_pool, 1, &counts);
    expected.name = counts.name;
    assert_memory_equal(&counts, &expected, sizeof(counts));
    b24bg_table_read_app(table, unit_pool, 0, &counts);
    memset(&expected, 0, sizeof(expected));
    expected.name = counts.name;
    assert_memory_equal(&counts, &expected, sizeof(counts));
    b24bg_table_read_alerts(table, alerts);
    for (i = 0; i < B24BG_ALERTED_COUNT; i++) {
        assert_int_equal(alerts[i], 31 + i);
    }
}

static void test_claim_framing(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    assert_int_equal(b24bg_table_claim_framing(table, 0), 1);
    assert_int_equal(b24bg_table_claim_framing(table, 0), 0);
    assert_int_equal(b24bg_table_claim_framing(table, 63), 1);
    assert_int_equal(b24bg_table_claim_framing(table, 63), 0);
}

/* Loads of late */

static void load_once(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t now)
{
    b24bg_table_request_t request = accepted(portal, now);

    b24bg_table_count(table, &request);
}

typedef struct {
    const char *name;
    apr_time_t first; /* ten loads, after BASE */
    apr_time_t last;  /* one load */
    int recent;
} hour_t;

static const hour_t hours[] = {
    {"at once", 0, 0, 11},
    {"ten minutes", 0, PERIOD, 11},
    {"an hour", 0, 60 * MINUTE, 11},
    {"the sixth period to its end", 0, 70 * MINUTE - 1, 11},
    {"the seventh", 0, 70 * MINUTE, 1},
    {"an hour to the microsecond", PERIOD - 1, 70 * MINUTE - 1, 11},
    {"the same cell again", 0, 80 * MINUTE, 1},
    {"a day", 0, 24 * 60 * MINUTE, 1},
    {"clock set back an hour", 60 * MINUTE, 0, 1},
    {"clock set back a day", 24 * 60 * MINUTE, 0, 1},
};

static void test_recent(void **state)
{
    const hour_t *row = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, BASE);
    int i;

    for (i = 0; i < 10; i++) {
        load_once(table, portal, BASE + row->first);
    }
    assert_int_equal(read_place(table, 1, NOW).recent, 10);
    load_once(table, portal, BASE + row->last);
    assert_int_equal(read_place(table, 1, NOW).recent, row->recent);
}

#define MODEL_LOADS 3000

/* Random loads: at each step as many as a list of all of them says. */
static void test_recent_model(void **state)
{
    static apr_time_t times[MODEL_LOADS];
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, BASE);
    apr_time_t now = BASE;
    int i;

    (void)state;
    for (i = 0; i < MODEL_LOADS; i++) {
        apr_uint64_t expected = 0;
        int j;
        now += unit_random(100) ? (apr_time_t)unit_random(300) * APR_USEC_PER_SEC
                                : (apr_time_t)unit_random(120) * MINUTE;
        times[i] = now;
        load_once(table, portal, now);
        for (j = i; j >= 0 && times[j] / PERIOD >= now / PERIOD - 6; j--) {
            expected++;
        }
        assert_int_equal(read_place(table, 1, NOW).recent, expected);
    }
}

static void test_repeats_are_no_loads(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW);

    (void)state;
    request.is_load = 0;
    request.is_repeat = 1;
    b24bg_table_count(table, &request);
    assert_int_equal(read_place(table, 1, NOW).recent, 0);
}

#define ROUNDS 50000

static int load_often(b24bg_table_t *table, apr_uint32_t self)
{
    int i;

    (void)self;
    for (i = 0; i < ROUNDS; i++) {
        load_once(table, (b24bg_portal_ref_t){1, 2}, BASE + (i >= ROUNDS / 2) * PERIOD);
    }
    return 0;
}

static void test_processes_count(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    assert_int_equal(load(table, 1, BASE).generation, 2);
    run_children(load_often, table, 4);
    assert_int_equal(read_place(table, 1, NOW).loads, 4 * ROUNDS);
    assert_int_equal(read_place(table, 1, NOW).recent, 4 * ROUNDS);
}

static int know_recent(b24bg_table_t *table, apr_time_t last_load, apr_uint64_t recent)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "https://" DOMAIN, "", last_load, 1000, recent, 0};

    return b24bg_table_know(table, &portal);
}

static void test_recent_from_the_store(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_counts_t portal;

    (void)state;
    assert_int_equal(know_recent(table, BASE, 77), 1);
    assert_int_equal(know_recent(table, BASE, 99), 1); /* it has some: these are no news */
    portal = read_place(table, 1, NOW);
    assert_int_equal(portal.recent, 77);
    assert_int_equal(portal.last_load, BASE);
    load_once(table, (b24bg_portal_ref_t){1, load(table, 1, NOW).generation}, BASE + 50 * MINUTE);
    assert_int_equal(read_place(table, 1, NOW).recent, 78);
    assert_int_equal(know_recent(table, BASE + 40 * MINUTE, 500), 1); /* ours is later */
    assert_int_equal(read_place(table, 1, NOW).recent, 78);
    assert_int_equal(know_recent(table, BASE + 600 * MINUTE, 500), 1); /* another machine's */
    assert_int_equal(read_place(table, 1, NOW).recent, 500);
    assert_int_equal(read_place(table, 1, NOW).last_load, BASE + 600 * MINUTE);
}

static void test_claim_silence(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, NOW);

    (void)state;
    load_once(table, portal, NOW);
    assert_int_equal(b24bg_table_is_silence_open(table, 1, NOW - 1), 0);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW - 1), 0);
    assert_int_equal(b24bg_table_is_silence_open(table, 1, NOW), 1);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW), 1);
    assert_int_equal(b24bg_table_is_silence_open(table, 1, NOW), 0);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW), 0);
    load_once(table, portal, NOW + APR_USEC_PER_SEC);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW), 0); /* it is silent no more */
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW + APR_USEC_PER_SEC), 1);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW + APR_USEC_PER_SEC), 0);
}

static void test_claim_frames(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_time_t now = NOW;

    (void)state;
    load(table, 1, NOW);
    assert_int_equal(b24bg_table_claim_frames(table, 1, now), 1);
    assert_int_equal(b24bg_table_claim_frames(table, 1, now), 0);
    now += B24BG_TABLE_FRAMES_EVERY;
    assert_int_equal(b24bg_table_claim_frames(table, 1, now - APR_USEC_PER_SEC), 0);
    assert_int_equal(b24bg_table_claim_frames(table, 1, now), 1);
    assert_int_equal(b24bg_table_claim_frames(table, 1, NOW), 1); /* the clock was set back */
    load(table, 2, NOW);
    assert_int_equal(b24bg_table_claim_frames(table, 1, NOW), 1);
}

#define SILENCES 20000

/* A process adds 1 to the loads of place 2 for each silence that it may report. */
static int claim_often(b24bg_table_t *table, apr_uint32_t self)
{
    apr_uint32_t i;

    (void)self;
    for (i = 1; i <= SILENCES; i++) {
        if (b24bg_table_claim_silence(table, i, NOW)) {
            load_once(table, (b24bg_portal_ref_t){SILENCES + 1, 2}, NOW);
        }
    }
    return 0;
}

static void test_silence_is_reported_once(void **state)
{
    b24bg_table_t *table = new_table(SILENCES + 1);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i <= SILENCES; i++) {
        load(table, i, NOW);
    }
    run_children(claim_often, table, 4);
    assert_int_equal(read_place(table, SILENCES + 1, NOW).loads, SILENCES);
}

/* Beacons */

#define LIMIT (5 * APR_USEC_PER_SEC)

typedef struct {
    const char *name;
    apr_interval_time_t time;
    int bucket; /* -1: none */
    int slow;
    apr_uint64_t sum;
} beacon_row_t;

static const beacon_row_t beacon_rows[] = {
    {"nothing", 0, 0, 0, 0},
    {"100 ms", 100000, 0, 0, 100000},
    {"just over it", 100001, 1, 0, 100001},
    {"250 ms", 250000, 1, 0, 250000},
    {"500 ms", 500000, 2, 0, 500000},
    {"1 s", 1000000, 3, 0, 1000000},
    {"1.5 s", 1500000, 4, 0, 1500000},
    {"2 s", 2000000, 5, 0, 2000000},
    {"2.5 s", 2500000, 6, 0, 2500000},
    {"3 s", 3000000, 7, 0, 3000000},
    {"4 s", 4000000, 8, 0, 4000000},
    {"the limit is not slow", LIMIT, 9, 0, LIMIT},
    {"just over the limit", LIMIT + 1, 10, 1, LIMIT + 1},
    {"7.5 s", 7500000, 10, 1, 7500000},
    {"10 s", 10000000, 11, 1, 10000000},
    {"20 s", 20000000, 12, 1, 20000000},
    {"60 s", 60000000, 13, 1, 60000000},
    {"over a minute", 60000001, 14, 1, 60000001},
    {"over ten minutes", 600000001, 14, 1, 600000000},
    {"largest", APR_INT64_MAX, 14, 1, 600000000},
    {"of scripts alone", -1, -1, 0, 0},
};

static void check_beacon(const beacon_row_t *row, int sampled)
{
    apr_uint64_t weight = sampled ? 100 : 1;
    b24bg_table_t *table = new_table(1);
    b24bg_table_beacon_t beacon = {load(table, 1, NOW), 1, row->time, sampled, 3, NOW, NOW, LIMIT};
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;
    int i;

    b24bg_table_app(table, "other");
    b24bg_table_app(table, "this");
    b24bg_table_count_beacon(table, &beacon);
    b24bg_table_read_app(table, unit_pool, 1, &app);
    for (i = 0; i < B24BG_LOAD_TIME_BUCKETS; i++) {
        assert_int_equal(app.load_time[i], i == row->bucket ? weight : 0);
    }
    assert_int_equal(app.load_time_sum, weight * row->sum);
    assert_int_equal(app.beacons, row->bucket >= 0);
    assert_int_equal(app.failed_scripts, 3);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_BROWSER], row->slow);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_SERVER], 0);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_PORTAL], 0);
    portal = read_place(table, 1, NOW);
    assert_int_equal(portal.beacons, row->bucket >= 0 ? weight : 0);
    assert_int_equal(portal.budgets[B24BG_BUDGET_BROWSER].used, row->slow);
    assert_int_equal(portal.loads, 0);
}

static void test_beacon(void **state)
{
    check_beacon(*state, 0);
    check_beacon(*state, 1);
}

static void test_beacon_without_place(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t places[] = {load(table, 1, NOW), {0, 0}, {2, 2}, {APR_UINT32_MAX, 2}};
    b24bg_table_beacon_t beacon = {{0, 0}, 0, LIMIT + 1, 0, 0, NOW, NOW, LIMIT};
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;
    size_t i;

    (void)state;
    b24bg_table_app(table, "default");
    load(table, 2, NOW + 1); /* has the place of the first by now */
    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        beacon.portal = places[i];
        b24bg_table_count_beacon(table, &beacon);
    }
    portal = read_place(table, 1, NOW);
    assert_int_equal(portal.beacons, 0);
    assert_int_equal(portal.budgets[B24BG_BUDGET_BROWSER].used, 0);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.beacons, 4);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_BROWSER], 4);
}

static void test_no_limit(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW);
    b24bg_table_beacon_t beacon = {request.portal, 0, 600000000, 0, 0, NOW, NOW, 0};
    b24bg_app_counts_t app;
    int i;

    (void)state;
    b24bg_table_app(table, "default");
    request.server_time = APR_INT64_MAX;
    b24bg_table_count(table, &request);
    b24bg_table_count_beacon(table, &beacon);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        assert_int_equal(app.slow_loads[i], 0);
        assert_int_equal(read_place(table, 1, NOW).budgets[i].used, 0);
    }
}

typedef struct {
    const char *name;
    apr_interval_time_t time;
    int is_load;
    int has_place;
    int slow; /* of the app */
    int used; /* in the place */
} slow_answer_t;

static const slow_answer_t slow_answers[] = {
    {"at the limit", LIMIT, 1, 1, 0, 0},        {"over it", LIMIT + 1, 1, 1, 1, 1},
    {"no load", LIMIT + 1, 0, 1, 0, 0},         {"without a place", LIMIT + 1, 1, 0, 1, 0},
    {"clock set back", -LIMIT - 1, 1, 1, 0, 0},
};

static void test_slow_answer(void **state)
{
    const slow_answer_t *row = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW);
    b24bg_app_counts_t app;

    b24bg_table_app(table, "default");
    request.is_load = row->is_load;
    request.server_time = row->time;
    request.slow_limit = LIMIT;
    if (!row->has_place) {
        request.portal.slot = 0;
    }
    b24bg_table_count(table, &request);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_SERVER], row->slow);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_BROWSER], 0);
    assert_int_equal(read_place(table, 1, NOW).budgets[B24BG_BUDGET_SERVER].used, row->used);
}

/* Tags of beacons */

#define SECOND APR_USEC_PER_SEC

static int claim(b24bg_table_t *table, apr_uint32_t number, apr_time_t rendered, apr_time_t latest)
{
    char tag[B24BG_MEMBER_ID_LENGTH + 1];

    return b24bg_table_claim_beacon(table, portal_id(tag, number), rendered, latest);
}

static void test_claim_beacon(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    assert_int_equal(b24bg_table_claim_beacon(table, "l1", NOW, NOW), 1);
    assert_int_equal(b24bg_table_claim_beacon(table, "l1", NOW, NOW), 0);
    assert_int_equal(b24bg_table_claim_beacon(table, "s1", NOW, NOW), 1);
    assert_int_equal(b24bg_table_claim_beacon(table, "l2", NOW - 600 * SECOND, NOW), 1);
    assert_int_equal(b24bg_table_claim_beacon(table, "l3", NOW + 60 * SECOND, NOW + 60 * SECOND),
                     1);
    assert_int_equal(b24bg_table_claim_beacon(table, "l3", NOW + 60 * SECOND, NOW + 60 * SECOND),
                     0);
    assert_int_equal(b24bg_table_claim_beacon(table, "l1", NOW, NOW), 0);
}

#define TAGS 20000

/* However many come meanwhile, and whatever renders: a tag that is forgotten is not taken for a new
 * one. */
static void test_forgotten_tags(void **state)
{
    b24bg_table_t *table = new_table(1);
    char id[B24BG_MEMBER_ID_LENGTH + 1];
    char sid[B24BG_MEMBER_ID_LENGTH + 1];
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < TAGS; i++) {
        assert_int_equal(claim(table, i, NOW + i * SECOND / 50, NOW + i * SECOND / 50), 1);
        b24bg_table_seen(table, 0, portal_id(id, 1), portal_id(sid, i));
    }
    for (i = 0; i < TAGS; i++) {
        assert_int_equal(claim(table, i, NOW + i * SECOND / 50, NOW + TAGS * SECOND / 50), 0);
    }
}

/* Five a second, each up to a minute late, as slow loads are: all count, and each once. */
static void test_late_tags(void **state)
{
    b24bg_table_t *table = new_table(1024);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < TAGS; i++) {
        apr_time_t now = NOW + i * SECOND / 5;
        apr_time_t rendered = now - (apr_time_t)unit_random(60 * SECOND);
        assert_int_equal(claim(table, i, rendered, now), 1);
        assert_int_equal(claim(table, i, rendered, now), 0);
    }
}

/* What was counted before a clock was set back keeps nothing out that is counted since. */
static void test_tags_of_the_future(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < TAGS; i++) {
        claim(table, i, NOW + 3600 * SECOND, NOW + 3600 * SECOND);
    }
    for (i = 0; i < 100; i++) {
        assert_int_equal(claim(table, TAGS + i, NOW, NOW), 1);
        assert_int_equal(claim(table, TAGS + i, NOW, NOW), 0);
    }
}

#define RACES 300000

static struct {
    b24bg_table_t *table;
    _Atomic apr_uint32_t arrived;
    _Atomic apr_uint32_t won;
} race;

/* Two threads, each waiting for the other before each tag. */
static void *claim_in_thread(void *data)
{
    apr_uint32_t i;

    for (i = 0; i < RACES; i++) {
        apr_time_t now = NOW + i * SECOND / 100;
        int turns = 0;
        race.arrived++;
        while (race.arrived < 2 * (i + 1)) {
            if (++turns > 1000) {
                sched_yield();
            }
        }
        race.won += (apr_uint32_t)claim(race.table, i, now, now);
    }
    return data;
}

static void test_tags_at_once(void **state)
{
    pthread_t threads[2];
    int i;

    (void)state;
    race.table = new_table(1024);
    for (i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, claim_in_thread, NULL), 0);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(race.won, RACES);
}

int main(void)
{
    UNIT_ADD(test_names);
    UNIT_ADD(test_alerts_agree);
    UNIT_ADD(test_task_counters);
    UNIT_ADD(test_claim_framing);
    UNIT_ADD_ROWS(test_recent, hours);
    UNIT_ADD(test_recent_model);
    UNIT_ADD(test_repeats_are_no_loads);
    UNIT_ADD(test_processes_count);
    UNIT_ADD(test_recent_from_the_store);
    UNIT_ADD(test_claim_silence);
    UNIT_ADD(test_claim_frames);
    UNIT_ADD(test_silence_is_reported_once);
    UNIT_ADD_ROWS(test_beacon, beacon_rows);
    UNIT_ADD(test_beacon_without_place);
    UNIT_ADD(test_no_limit);
    UNIT_ADD_ROWS(test_slow_answer, slow_answers);
    UNIT_ADD(test_claim_beacon);
    UNIT_ADD(test_forgotten_tags);
    UNIT_ADD(test_late_tags);
    UNIT_ADD(test_tags_of_the_future);
    UNIT_ADD(test_tags_at_once);
    return unit_run("table_count");
}
