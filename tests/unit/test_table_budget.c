/* b24bg_table_budget: windows of slow loads by a clock that the test sets; protocol.md 2.4. */
#include "table.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

/* A whole second. */
#define START ((apr_time_t)NOW)
#define DAY 86400

static apr_time_t at(apr_int64_t seconds)
{
    return START + apr_time_from_sec(seconds);
}

/* A story is words with blanks between: p, b or s and @seconds is a slow load of this source, t5@10
 * says that the portal told 5 at second 10, r is a reset. */
static void tell(b24bg_table_t *table, b24bg_portal_ref_t portal, const char *story)
{
    static const char letters[] = "pbs";
    apr_int64_t seconds;
    unsigned count;
    char letter[2];
    int length;

    for (; *story; story += length + (story[length] == ' ')) {
        if (sscanf(story, "t%u@%" APR_INT64_T_FMT "%n", &count, &seconds, &length) == 2) {
            b24bg_table_budget_told(table, portal, count, at(seconds));
        } else if (sscanf(story, "%1[pbs]@%" APR_INT64_T_FMT "%n", letter, &seconds, &length) ==
                   2) {
            b24bg_table_budget_add(table, portal,
                                   (b24bg_budget_source_e)(strchr(letters, *letter) - letters),
                                   at(seconds));
        } else {
            assert_int_equal(*story, 'r');
            b24bg_table_budget_reset(table, portal, START);
            length = 1;
        }
    }
}

#define NONE (-1)

typedef struct {
    const char *name;
    const char *story;
    apr_int64_t now;
    unsigned used[B24BG_BUDGET_COUNT];
    apr_int64_t start[B24BG_BUDGET_COUNT]; /* NONE: no window */
    b24bg_budget_source_e best;
    apr_uint64_t slow_loads[B24BG_BUDGET_COUNT]; /* of the app */
} story_t;

#define BEST(source) B24BG_BUDGET_##source

static const story_t stories[] = {
    {"nothing", "", 0, {0, 0, 0}, {NONE, NONE, NONE}, BEST(SERVER), {0, 0, 0}},
    {"one", "b@5", 5, {0, 1, 0}, {NONE, 5, NONE}, BEST(BROWSER), {0, 1, 0}},
    {"sources apart", "b@5 b@6 s@7 b@8 s@9", 10, {0, 3, 2}, {NONE, 5, 7}, BEST(BROWSER), {0, 3, 2}},
    {"the server alone", "s@7 s@8", 9, {0, 0, 2}, {NONE, NONE, 7}, BEST(SERVER), {0, 0, 2}},
    {"the last second of the window",
     "b@0 b@86400",
     DAY,
     {0, 2, 0},
     {NONE, 0, NONE},
     BEST(BROWSER),
     {0, 2, 0}},
    {"the first second after it",
     "b@0 b@1 b@86401",
     DAY + 1,
     {0, 1, 0},
     {NONE, DAY + 1, NONE},
     BEST(BROWSER),
     {0, 3, 0}},
    {"not rolling",
     "b@0 b@86000 b@87000",
     87000,
     {0, 1, 0},
     {NONE, 87000, NONE},
     BEST(BROWSER),
     {0, 3, 0}},
    {"read after it is over",
     "b@0 b@1",
     DAY + 1,
     {0, 0, 0},
     {NONE, NONE, NONE},
     BEST(SERVER),
     {0, 2, 0}},
    {"the server when the browser's is over",
     "b@0 s@1000",
     DAY + 1,
     {0, 0, 1},
     {NONE, NONE, 1000},
     BEST(SERVER),
     {0, 1, 1}},
    {"another thread's clock",
     "b@100 b@99",
     98,
     {0, 2, 0},
     {NONE, 100, NONE},
     BEST(BROWSER),
     {0, 2, 0}},
    {"a clock that was set back",
     "b@200000 b@0",
     1,
     {0, 1, 0},
     {NONE, 0, NONE},
     BEST(BROWSER),
     {0, 2, 0}},
    {"told", "t3@50", 60, {3, 0, 0}, {50, NONE, NONE}, BEST(PORTAL), {3, 0, 0}},
    {"told what the browser saw begin",
     "b@10 t3@50",
     60,
     {3, 1, 0},
     {10, 10, NONE},
     BEST(PORTAL),
     {3, 1, 0}},
    {"told more", "t3@50 t7@90", 100, {7, 0, 0}, {50, NONE, NONE}, BEST(PORTAL), {7, 0, 0}},
    {"told the same", "t3@50 t3@90", 100, {3, 0, 0}, {50, NONE, NONE}, BEST(PORTAL), {3, 0, 0}},
    {"a number that falls",
     "t7@50 t2@90",
     100,
     {2, 0, 0},
     {90, NONE, NONE},
     BEST(PORTAL),
     {9, 0, 0}},
    {"one that falls at once",
     "t7@50 t2@50",
     100,
     {2, 0, 0},
     {51, NONE, NONE},
     BEST(PORTAL),
     {9, 0, 0}},
    {"told after the window",
     "t7@50 t8@90000",
     90000,
     {8, 0, 0},
     {90000, NONE, NONE},
     BEST(PORTAL),
     {15, 0, 0}},
    {"what was told gets old",
     "t7@50 b@80000",
     DAY + 51,
     {0, 1, 0},
     {NONE, 80000, NONE},
     BEST(BROWSER),
     {7, 1, 0}},
    {"told, and seen since",
     "t3@50 b@60 b@70 s@80",
     90,
     {5, 2, 1},
     {50, 60, 80},
     BEST(PORTAL),
     {3, 2, 1}},
    {"told anew", "t3@50 b@60 b@70 t4@80", 90, {4, 2, 0}, {50, 60, NONE}, BEST(PORTAL), {4, 2, 0}},
    {"told zero", "b@5 t0@50", 60, {0, 1, 0}, {5, 5, NONE}, BEST(PORTAL), {0, 1, 0}},
    {"told zero, and seen since",
     "t0@50 b@60 b@70",
     90,
     {2, 2, 0},
     {60, 60, NONE},
     BEST(PORTAL),
     {0, 2, 0}},
    {"seen where nothing is told",
     "t3@50 b@86451",
     DAY + 51,
     {0, 1, 0},
     {NONE, DAY + 51, NONE},
     BEST(BROWSER),
     {3, 1, 0}},
    {"told too much",
     "t100000@50 b@60",
     60,
     {65536, 1, 0},
     {50, 60, NONE},
     BEST(PORTAL),
     {65535, 1, 0}},
    {"reset", "b@0 s@1 t5@2 r", 3, {0, 0, 0}, {NONE, NONE, NONE}, BEST(SERVER), {5, 1, 1}},
    {"reset and on", "b@0 b@1 t5@2 r b@3", 4, {0, 1, 0}, {NONE, 3, NONE}, BEST(BROWSER), {5, 3, 0}},
};

static void test_story(void **state)
{
    const story_t *row = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    b24bg_portal_counts_t counts;
    b24bg_app_counts_t app;
    int i;

    b24bg_table_app(table, "default");
    tell(table, portal, row->story);
    counts = read_place(table, 1, at(row->now));
    b24bg_table_read_app(table, unit_pool, 0, &app);
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        assert_int_equal(counts.budgets[i].used, row->used[i]);
        assert_int_equal(counts.budgets[i].start, row->start[i] == NONE ? 0 : at(row->start[i]));
        assert_int_equal(app.slow_loads[i], row->slow_loads[i]);
    }
    assert_int_equal(b24bg_budget_best(counts.budgets), row->best);
}

typedef struct {
    const char *name;
    void (*bound)(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t since);
} maker_t;

static const maker_t makers[] = {
    {"bound here", b24bg_table_budget_reset},
    {"bound by another machine", b24bg_table_budget_bound},
};

/* Loads that the portal's pages began before the registration was made are reported for the one
 * that was there, whenever they are over: of the app, not of this budget. */
static void test_loads_older_than_the_registration(void **state)
{
    const maker_t *maker = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    b24bg_table_request_t request = accepted(portal, at(110));
    b24bg_table_beacon_t beacon = {portal, 0, 0, 0, 0, at(110), 0, 5 * APR_USEC_PER_SEC};
    b24bg_portal_counts_t counts;
    b24bg_app_counts_t app;
    int began;

    b24bg_table_app(table, "default");
    request.slow_limit = beacon.slow_limit;
    tell(table, portal, "b@0 s@1");
    maker->bound(table, portal, at(100));
    b24bg_table_budget_bound(table, portal, at(99)); /* an older one is no news */
    for (began = 97; began <= 102; began++) {
        request.server_time = beacon.load_time = at(110) - at(began);
        beacon.rendered = at(began);
        b24bg_table_count(table, &request);
        b24bg_table_count_beacon(table, &beacon);
    }
    counts = read_place(table, 1, at(110));
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(counts.budgets[B24BG_BUDGET_BROWSER].used, 3);
    assert_int_equal(counts.budgets[B24BG_BUDGET_SERVER].used, 3);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_BROWSER], 7);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_SERVER], 7);
}

/* Another portal in the same place knows nothing of it. */
static void test_a_place_given_away(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_beacon_t beacon = {{0, 0}, 0,     6 * APR_USEC_PER_SEC, 0, 0,
                                   at(1),  at(1), 5 * APR_USEC_PER_SEC};

    (void)state;
    b24bg_table_app(table, "default");
    b24bg_table_budget_reset(table, load(table, 1, START), at(100));
    beacon.portal = load(table, 2, at(1));
    b24bg_table_count_beacon(table, &beacon);
    assert_int_equal(read_place(table, 1, at(1)).budgets[B24BG_BUDGET_BROWSER].used, 1);
}

/* Years of random slow loads against the rule as one would write it down. */
static void test_model(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    apr_int64_t start = -2 * DAY;
    apr_int64_t now = 0;
    unsigned used = 0;
    int i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        now += unit_random(unit_random(10) ? 20000 : 3 * DAY);
        if (now - start > DAY) {
            start = now;
            used = 0;
        }
        used++;
        b24bg_table_budget_add(table, portal, B24BG_BUDGET_BROWSER, at(now));
        assert_int_equal(read_place(table, 1, at(now)).budgets[B24BG_BUDGET_BROWSER].used, used);
    }
}

static void test_counts_stop_at_their_bound(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    int i;

    (void)state;
    for (i = 0; i < 66000; i++) {
        b24bg_table_budget_add(table, portal, B24BG_BUDGET_SERVER, START);
    }
    assert_int_equal(read_place(table, 1, START).budgets[B24BG_BUDGET_SERVER].used, 65535);
    assert_int_equal(read_place(table, 1, START).budgets[B24BG_BUDGET_SERVER].start, START);
}

/* Times long before this product are not worth a window of their own, but do no harm. */
static void test_early_clock(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, 1);

    (void)state;
    b24bg_table_budget_add(table, portal, B24BG_BUDGET_SERVER, 1);
    b24bg_table_budget_add(table, portal, B24BG_BUDGET_SERVER, 2);
    assert_int_equal(read_place(table, 1, 3).budgets[B24BG_BUDGET_SERVER].used, 2);
    assert_int_equal(read_place(table, 1, START).budgets[B24BG_BUDGET_SERVER].used, 0);
}

static void test_stale_reference(void **state)
{
    static const b24bg_budget_t budget = {5, START};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t places[] = {load(table, 1, START), {0, 0}, {2, 2}};
    b24bg_app_counts_t app;
    size_t i;
    int source;

    (void)state;
    b24bg_table_app(table, "default");
    tell(table, load(table, 2, START + 1), "b@0 t2@0 s@0");
    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        tell(table, places[i], "b@1 t9@1 s@1 r");
        b24bg_table_budget_restore(table, places[i], B24BG_BUDGET_SERVER, &budget, at(1));
    }
    b24bg_table_read_app(table, unit_pool, 0, &app);
    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        unsigned expected = source == B24BG_BUDGET_PORTAL ? 2 : 1;
        assert_int_equal(read_place(table, 1, START).budgets[source].used, expected);
        assert_int_equal(app.slow_loads[source], expected);
    }
}

/* Through the store to another table: the same window, and it goes on. */
static void test_restore(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_t *other = new_table(1);
    b24bg_portal_ref_t portal = load(other, 1, START);
    b24bg_portal_counts_t counts;
    b24bg_app_counts_t app;
    int i;

    (void)state;
    b24bg_table_app(other, "default");
    tell(table, load(table, 1, START), "b@0 b@10 s@20 t6@30 b@40");
    counts = read_place(table, 1, at(50));
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        b24bg_table_budget_restore(other, portal, (b24bg_budget_source_e)i, &counts.budgets[i],
                                   at(50));
    }
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        b24bg_budget_t restored = read_place(other, 1, at(60)).budgets[i];
        assert_int_equal(restored.used, counts.budgets[i].used);
        assert_int_equal(restored.start, counts.budgets[i].start);
    }
    tell(other, portal, "b@70 t8@80");
    counts = read_place(other, 1, at(90));
    assert_int_equal(counts.budgets[B24BG_BUDGET_BROWSER].used, 4);
    assert_int_equal(counts.budgets[B24BG_BUDGET_PORTAL].used, 8);
    assert_int_equal(counts.budgets[B24BG_BUDGET_PORTAL].start, START);
    b24bg_table_read_app(other, unit_pool, 0, &app);
    assert_int_equal(app.slow_loads[B24BG_BUDGET_PORTAL], 1); /* 7 were counted before */
    assert_int_equal(app.slow_loads[B24BG_BUDGET_BROWSER], 1);
}

typedef struct {
    const char *name;
    b24bg_budget_source_e source;
    const char *before; /* in the table */
    unsigned stored;    /* used of the stored window, which begins at 0 */
    apr_int64_t now;
    unsigned used;
    apr_int64_t start;
} restored_t;

static const restored_t restored[] = {
    {"nothing there", BEST(SERVER), "", 9, 1000, 9, 0},
    {"nothing there nor stored", BEST(SERVER), "", 0, 1000, 0, 0},
    {"a load came first", BEST(BROWSER), "b@1000", 9, 1001, 10, 0},
    {"loads came first", BEST(SERVER), "s@1000 s@1001 s@1002", 9, 1002, 12, 0},
    {"the same window", BEST(BROWSER), "b@0 b@2", 9, 1001, 2, 0},
    {"an older one", BEST(BROWSER), "b@-5 b@2", 9, 1001, 2, -5},
    {"its own is over", BEST(BROWSER), "b@-86000", 9, 1000, 9, 0},
    {"its own is of a clock that was set back", BEST(BROWSER), "b@90000", 9, 1000, 9, 0},
    {"the stored one is over", BEST(BROWSER), "b@86000", 9, DAY + 1, 1, 86000},
    {"the stored one ends", BEST(BROWSER), "b@86000", 9, DAY, 10, 0},
    {"the portal has told", BEST(PORTAL), "t9@1000", 9, 1001, 9, 0},
    {"the portal has told more", BEST(PORTAL), "t10@1000 b@1001", 9, 1001, 11, 0},
    {"the portal has told less", BEST(PORTAL), "t2@1000", 9, 1001, 2, 1000},
};

/* Twice, as by two processes: the second time changes nothing. */
static void test_restore_and_what_is_there(void **state)
{
    const restored_t *row = *state;
    const b24bg_budget_t stored = {row->stored, START};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    b24bg_budget_t found;
    int i;

    tell(table, portal, row->before);
    for (i = 0; i < 2; i++) {
        b24bg_table_budget_restore(table, portal, row->source, &stored, at(row->now));
        found = read_place(table, 1, at(row->now)).budgets[row->source];
        assert_int_equal(found.used, row->used);
        assert_int_equal(found.start, at(row->start));
    }
}

static void test_restore_nothing(void **state)
{
    static const b24bg_budget_t none = {0, 0};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);

    (void)state;
    b24bg_table_budget_restore(table, portal, B24BG_BUDGET_BROWSER, &none, START);
    assert_int_equal(read_place(table, 1, START).budgets[B24BG_BUDGET_BROWSER].start, 0);
}

/* As three machines may find them in the store: the sum of what was counted here and what was found
 * last, until what was counted here is in the store, too. */
static void test_restore_until_it_is_told(void **state)
{
    const b24bg_budget_t stored[] = {{3, at(150)}, {1, at(100)}, {20, at(50)}};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    int source = B24BG_BUDGET_BROWSER;

    (void)state;
    tell(table, portal, "b@200 b@201 b@202 b@203 b@204 b@205");
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[0], at(210)), 1);
    assert_int_equal(read_place(table, 1, at(210)).budgets[source].used, 9);
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[1], at(210)), 1);
    assert_int_equal(read_place(table, 1, at(210)).budgets[source].used, 7);
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[1], at(210)), 0);
    b24bg_table_end_restore(table, portal);
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[2], at(210)), 0);
    assert_int_equal(read_place(table, 1, at(210)).budgets[source].used, 7);
    portal = load(table, 2, START); /* takes the place */
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[2], at(210)), 1);
}

/* Whoever has not seen yet that it was bound again may have put the old window there. */
static void test_restore_a_window_of_the_old_registration(void **state)
{
    const b24bg_budget_t stored[] = {{9, at(99)}, {2, at(100)}};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    int source = B24BG_BUDGET_BROWSER;

    (void)state;
    b24bg_table_budget_bound(table, portal, at(100));
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[0], at(210)), 0);
    assert_int_equal(read_place(table, 1, at(210)).budgets[source].used, 0);
    assert_int_equal(b24bg_table_budget_restore(table, portal, source, &stored[1], at(210)), 1);
    assert_int_equal(read_place(table, 1, at(210)).budgets[source].used, 2);
}

static void test_bound_elsewhere(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    b24bg_portal_counts_t counts;

    (void)state;
    tell(table, portal, "s@10 s@11 b@20 b@21");
    b24bg_table_budget_bound(table, portal, 0);
    b24bg_table_budget_bound(table, portal, at(10));
    assert_int_equal(read_place(table, 1, at(30)).budgets[B24BG_BUDGET_SERVER].used, 2);
    b24bg_table_budget_bound(table, portal, at(20));
    counts = read_place(table, 1, at(30));
    assert_int_equal(counts.budgets[B24BG_BUDGET_SERVER].used, 0);
    assert_int_equal(counts.budgets[B24BG_BUDGET_BROWSER].used, 2);
}

/* Warnings */

typedef struct {
    const char *name;
    const char *before; /* the number is claimed at `now` when this has happened, */
    apr_int64_t now;
    const char *after; /* and again at `again` after this */
    apr_int64_t again;
    int first;
    int second;
} warning_t;

static const warning_t warnings[] = {
    {"once", "b@0", 1, "b@2", 3, 1, 0},
    {"no window", "", 1, "", 2, 0, 0},
    {"a window that is over", "b@0", DAY + 1, "b@86402", DAY + 3, 0, 1},
    {"the next window", "b@0", 1, "b@86401", DAY + 2, 1, 1},
    {"to the end of the window", "b@0", 1, "b@86400", DAY, 1, 0},
    {"after a reset", "b@0", 1, "r b@2", 3, 1, 1},
    {"after a reset at once", "b@0", 0, "r b@0", 0, 1, 1},
    {"a number that fell", "t5@0", 1, "t1@2", 3, 1, 1},
    {"a number that fell at once", "t5@0", 0, "t1@0", 0, 1, 1},
    {"a number that grew", "t5@0", 1, "t6@2", 3, 1, 0},
    {"the portal's number for the browser's", "b@0", 1, "t6@2", 3, 1, 0},
    {"the browser's for the server's", "s@0", 1, "b@2", 3, 1, 1},
    {"the server goes on beside the browser", "b@0", 1, "s@2", 3, 1, 0},
    {"the server's next window beside the browser's", "s@0 b@80000", 80001, "s@90000", 90001, 1, 0},
    {"the browser's next window beside the server's", "b@0 s@80000", 80001, "b@90000", 90001, 1, 1},
    {"the server when the browser's is over", "b@0 s@80000", 80001, "", 90000, 1, 1},
};

static int claim(b24bg_table_t *table, int who, unsigned number, apr_int64_t now)
{
    return b24bg_table_claim_warning(table, 1, (b24bg_warned_e)who, number, at(now));
}

static void test_warning(void **state)
{
    const warning_t *row = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, START);
    int who;

    tell(table, portal, row->before);
    for (who = 0; who < 2; who++) {
        assert_int_equal(claim(table, who, 5, row->now), row->first);
        assert_int_equal(claim(table, who, 5, row->now), 0);
    }
    tell(table, portal, row->after);
    for (who = 1; who >= 0; who--) {
        assert_int_equal(claim(table, who, 5, row->again), row->second);
    }
}

static void test_numbers(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    tell(table, load(table, 1, START), "b@0");
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 0, 1), 0);
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 5, 1), 1);
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 2, 1), 0);
    assert_int_equal(claim(table, B24BG_WARNED_BY_TASK, 2, 1), 1);
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 8, 1), 1);
    assert_int_equal(claim(table, B24BG_WARNED_BY_TASK, 8, 1), 1);
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 1000000, 1), 1);
    assert_int_equal(claim(table, B24BG_WARNED_BY_REQUEST, 65535, 1), 0);
}

static void test_reached(void **state)
{
    static const unsigned expected[] = {0, 0, 2, 2, 2, 5, 5, 5, 5};
    apr_array_header_t *numbers = apr_array_make(unit_pool, 2, sizeof(apr_int64_t));
    unsigned used;

    (void)state;
    assert_int_equal(b24bg_budget_reached(numbers, 9), 0);
    APR_ARRAY_PUSH(numbers, apr_int64_t) = 2;
    APR_ARRAY_PUSH(numbers, apr_int64_t) = 5;
    APR_ARRAY_PUSH(numbers, apr_int64_t) = 1000000;
    for (used = 0; used < 9; used++) {
        assert_int_equal(b24bg_budget_reached(numbers, used), expected[used]);
    }
}

#define WINDOWS 5000
#define RACERS 2

typedef struct {
    b24bg_table_t *table;
    _Atomic apr_uint32_t *arrived; /* racers, at all starts so far */
    apr_uint32_t won[WINDOWS][32];
} racer_t;

/* They race for no longer than it takes to wake a thread, so they wait without sleeping, unless the
 * other one does. */
static void start_together(racer_t *racer, apr_uint32_t window)
{
    int spins = 0;

    (*racer->arrived)++;
    while (*racer->arrived < (window + 1) * RACERS) {
        if (++spins > 10000) {
            sched_yield();
        }
    }
}

/* Claims in one place after the other, each with a window of its own. */
static void *race(void *data)
{
    racer_t *racer = data;
    apr_uint32_t window;
    int i;

    for (window = 0; window < WINDOWS; window++) {
        b24bg_portal_ref_t portal = {window + 1, 2};
        start_together(racer, window);
        b24bg_table_budget_add(racer->table, portal, B24BG_BUDGET_BROWSER, at(0));
        for (i = 0; i < 64; i++) {
            racer->won[window][i % 32] += (apr_uint32_t)b24bg_table_claim_warning(
                racer->table, window + 1, (b24bg_warned_e)(i % 2), (unsigned)i / 2 % 16 + 1, at(0));
        }
    }
    return NULL;
}

/* Exactly one may warn of each threshold in each window, and no slow load is lost. */
static void test_threads(void **state)
{
    static racer_t racers[RACERS];
    _Atomic apr_uint32_t arrived = 0;
    b24bg_table_t *table = new_table(WINDOWS);
    pthread_t threads[RACERS];
    apr_uint32_t window;
    int i;

    (void)state;
    for (window = 0; window < WINDOWS; window++) {
        load(table, window, START);
    }
    for (i = 0; i < RACERS; i++) {
        racers[i].table = table;
        racers[i].arrived = &arrived;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (window = 0; window < WINDOWS; window++) {
        b24bg_portal_counts_t counts = read_place(table, window + 1, START);
        for (i = 0; i < 32; i++) {
            assert_int_equal(racers[0].won[window][i] + racers[1].won[window][i], 1);
        }
        assert_int_equal(counts.budgets[B24BG_BUDGET_BROWSER].used, RACERS);
    }
}

int main(void)
{
    UNIT_ADD_ROWS(test_story, stories);
    UNIT_ADD_ROWS(test_loads_older_than_the_registration, makers);
    UNIT_ADD(test_a_place_given_away);
    UNIT_ADD(test_model);
    UNIT_ADD(test_counts_stop_at_their_bound);
    UNIT_ADD(test_early_clock);
    UNIT_ADD(test_stale_reference);
    UNIT_ADD(test_restore);
    UNIT_ADD_ROWS(test_restore_and_what_is_there, restored);
    UNIT_ADD(test_restore_nothing);
    UNIT_ADD(test_restore_until_it_is_told);
    UNIT_ADD(test_restore_a_window_of_the_old_registration);
    UNIT_ADD(test_bound_elsewhere);
    UNIT_ADD_ROWS(test_warning, warnings);
    UNIT_ADD(test_numbers);
    UNIT_ADD(test_reached);
    UNIT_ADD(test_threads);
    return unit_run("table_budget");
}
