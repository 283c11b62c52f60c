/* b24bg_table_show: what the background task shows is what is read, whole or not at all. */
#include "table.h"

#include <pthread.h>
#include <signal.h>

static void assert_shown(b24bg_table_t *table, const b24bg_shown_t *expected)
{
    b24bg_shown_t shown = read_place(table, 1, NOW).shown;

    assert_int_equal(shown.has, expected->has);
    assert_int_equal(shown.state, expected->state);
    assert_int_equal(shown.reason, expected->reason);
    assert_int_equal(shown.since, expected->since);
    assert_int_equal(shown.checked, expected->checked);
    assert_int_equal(shown.due, expected->due);
    assert_int_equal(shown.noticed, expected->noticed);
    assert_int_equal(shown.rebound, expected->rebound);
}

static const b24bg_shown_t nothing;

/* Whole seconds, all of them different. */
static const b24bg_shown_t blocked = {
    1, 6, 8, NOW + 1000000, NOW + 2000000, NOW + 3000000, NOW + 4000000, NOW + 5000000};

static void test_show(void **state)
{
    b24bg_table_t *table = new_table(2);
    b24bg_portal_ref_t portal = load(table, 1, NOW);
    b24bg_shown_t shown = blocked;

    (void)state;
    assert_shown(table, &nothing);
    assert_int_equal(b24bg_table_show(table, portal, &blocked), 1);
    assert_shown(table, &blocked);
    assert_int_equal(load(table, 1, NOW).generation, portal.generation);
    shown.due = 0;
    shown.since += 999999; /* to the second */
    assert_int_equal(b24bg_table_show(table, portal, &shown), 1);
    shown.since -= 999999;
    assert_shown(table, &shown);
    assert_int_equal(b24bg_table_show(table, portal, &nothing), 1);
    assert_shown(table, &nothing);
}

/* What requests read: all but what is shown, which they would have to wait for. */
static void test_counts_alone(void **state)
{
    static const b24bg_shown_event_t event = {NOW, B24BG_SHOWN_EVENT_BOUND, 0};
    b24bg_table_t *table = new_table(2);
    b24bg_portal_ref_t portal = load(table, 1, NOW);
    b24bg_portal_counts_t counts;

    (void)state;
    b24bg_table_budget_add(table, portal, B24BG_BUDGET_BROWSER, NOW);
    assert_int_equal(b24bg_table_show(table, portal, &blocked), 1);
    assert_int_equal(b24bg_table_show_events(table, portal, &event, 1), 1);
    memset(&counts, 0xff, sizeof(counts));
    assert_int_equal(b24bg_table_read_counts(table, 1, NOW, &counts), 1);
    assert_int_equal(counts.shown.has, 0);
    assert_int_equal(counts.event_count, 0);
    assert_int_equal(counts.generation, portal.generation);
    assert_int_equal(counts.budgets[B24BG_BUDGET_BROWSER].used, 1);
    assert_int_equal(b24bg_table_read_counts(table, 2, NOW, &counts), 0);
}

static void test_show_in_a_lost_place(void **state)
{
    static const b24bg_shown_event_t event = {NOW, B24BG_SHOWN_EVENT_BOUND, 0};
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t before = load(table, 1, NOW);

    (void)state;
    load(table, 2, NOW + 1);
    assert_int_equal(b24bg_table_show(table, before, &blocked), 1);
    assert_int_equal(b24bg_table_show_events(table, before, &event, 1), 1);
    assert_int_equal(b24bg_table_show(table, (b24bg_portal_ref_t){0, 0}, &blocked), 1);
    assert_shown(table, &nothing);
    assert_int_equal(read_place(table, 1, NOW).event_count, 0);
}

/* Events */

static void test_event_names(void **state)
{
    int event;

    (void)state;
    for (event = 0; event < B24BG_SHOWN_EVENT_COUNT; event++) {
        assert_int_equal(b24bg_shown_event_by_name(b24bg_shown_event_name(event)), event);
    }
    assert_int_equal(b24bg_shown_event_by_name("installed"), B24BG_SHOWN_EVENT_INSTALLED);
    assert_int_equal(b24bg_shown_event_by_name("false-alarm"), B24BG_SHOWN_EVENT_FALSE_ALARM);
    assert_int_equal(b24bg_shown_event_by_name("token-expiring"), B24BG_SHOWN_EVENT_TOKEN_EXPIRING);
    assert_int_equal(b24bg_shown_event_by_name(""), -1);
    assert_int_equal(b24bg_shown_event_by_name("bound "), -1);
}

#define MOST 60

typedef struct {
    const char *name;
    int count;   /* of events that are given */
    int strange; /* every so manieth is none of the list; 0: none */
    int first;   /* that is kept */
    int kept;
} ring_t;

static const ring_t rings[] = {
    {"none", 0, 0, 0, 0},
    {"one", 1, 0, 0, 1},
    {"all there is room for", 20, 0, 0, 20},
    {"one more", 21, 0, 1, 20},
    {"many", MOST, 0, 40, 20},
    {"each second is strange", 30, 2, 1, 15},
    {"many, and each second is strange", MOST, 2, 21, 20},
    {"all are strange", 30, 1, 0, 0},
};

static void test_events(void **state)
{
    const ring_t *row = *state;
    b24bg_shown_event_t events[MOST];
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t portal = load(table, 1, NOW);
    b24bg_portal_counts_t counts;
    int given;
    int i = 0;

    for (given = 0; given < row->count; given++) {
        events[given].at = NOW + given * APR_USEC_PER_SEC;
        events[given].event = given % B24BG_SHOWN_EVENT_COUNT;
        events[given].number = (unsigned)given * 3000;
        if (row->strange && given % row->strange == 0) {
            events[given].event = given % 4 ? -1 : B24BG_SHOWN_EVENT_COUNT;
        }
    }
    assert_int_equal(b24bg_table_show_events(table, portal, events, row->count), 1);
    counts = read_place(table, 1, NOW);
    assert_int_equal(counts.event_count, row->kept);
    for (given = row->first; given < row->count; given++) {
        if (events[given].event >= 0 && events[given].event < B24BG_SHOWN_EVENT_COUNT) {
            unsigned number = events[given].number;
            assert_int_equal(counts.events[i].at, events[given].at);
            assert_int_equal(counts.events[i].event, events[given].event);
            assert_int_equal(counts.events[i].number, number < 65535 ? number : 65535);
            i++;
        }
    }
    assert_int_equal(i, row->kept);
    assert_shown(table, &nothing);
    assert_int_equal(b24bg_table_show_events(table, portal, NULL, 0), 1);
    assert_int_equal(read_place(table, 1, NOW).event_count, 0);
}

/* Health */

static void test_health(void **state)
{
    static const b24bg_table_health_t never = {0, -1, 0, 0, 0};
    b24bg_table_health_t set = {NOW, 1, 12, 34, 1};
    b24bg_table_health_t health;
    b24bg_table_t *table = new_table(1);

    (void)state;
    memset(&health, 0, sizeof(health));
    memset(&set, 0, sizeof(set));
    b24bg_table_read_health(table, &health);
    assert_int_equal(health.last_run, never.last_run);
    assert_int_equal(health.store_up, never.store_up);
    assert_int_equal(health.leader, never.leader);
    for (set.store_up = -1; set.store_up <= 1; set.store_up++) {
        set.last_run = NOW + set.store_up;
        set.journal_records = APR_UINT64_MAX;
        set.inbox = 34;
        set.leader = set.store_up == 1;
        b24bg_table_set_health(table, &set);
        b24bg_table_read_health(table, &health);
        assert_memory_equal(&health, &set, sizeof(set));
    }
}

/* Rows that are read while they are written. Of row n everything follows from n. */

static apr_time_t time_of(unsigned n)
{
    return NOW + apr_time_from_sec((apr_time_t)n);
}

static void show_row(b24bg_table_t *table, b24bg_portal_ref_t portal, unsigned n)
{
    b24bg_shown_event_t events[B24BG_TABLE_EVENTS];
    b24bg_shown_t shown = {1,
                           (int)(n % 7),
                           (int)(n % 9),
                           time_of(n),
                           time_of(n + 1),
                           time_of(n + 2),
                           time_of(n + 3),
                           time_of(n + 4)};
    int count = 1 + (int)(n % B24BG_TABLE_EVENTS);
    int i;

    for (i = 0; i < count; i++) {
        events[i].at = time_of(n);
        events[i].event = (int)(n % B24BG_SHOWN_EVENT_COUNT);
        events[i].number = n % 60000;
    }
    b24bg_table_show(table, portal, &shown);
    b24bg_table_show_events(table, portal, events, count);
}

/* 1 if the row is whole. Rows and events are shown one after the other, so they may be of two n. */
static int is_whole(const b24bg_portal_counts_t *counts)
{
    const b24bg_shown_t *shown = &counts->shown;
    unsigned n = (unsigned)apr_time_sec(shown->since - NOW);
    int whole =
        !shown->has || (shown->state == (int)(n % 7) && shown->reason == (int)(n % 9) &&
                        shown->checked == time_of(n + 1) && shown->due == time_of(n + 2) &&
                        shown->noticed == time_of(n + 3) && shown->rebound == time_of(n + 4));
    int i;

    n = (unsigned)apr_time_sec(counts->events[0].at - NOW);
    for (i = 0; i < counts->event_count; i++) {
        const b24bg_shown_event_t *event = &counts->events[i];
        whole = whole && event->at == time_of(n) && event->number == n % 60000 &&
                event->event == (int)(n % B24BG_SHOWN_EVENT_COUNT);
    }
    return whole &&
           (counts->event_count == 0 || counts->event_count == 1 + (int)(n % B24BG_TABLE_EVENTS));
}

typedef struct {
    b24bg_table_t *table;
    b24bg_portal_ref_t portal;
    _Atomic int done;
} shower_t;

static void *show_rows(void *data)
{
    shower_t *shower = data;
    unsigned n;

    for (n = 1; n <= 200000; n++) {
        show_row(shower->table, shower->portal, n);
    }
    shower->done = 1;
    return NULL;
}

static void test_never_torn(void **state)
{
    b24bg_table_t *table = new_table(1);
    shower_t shower = {table, load(table, 1, NOW), 0};
    unsigned changes = 0;
    unsigned torn = 0;
    apr_time_t last = 0;
    pthread_t thread;

    (void)state;
    show_row(table, shower.portal, 0);
    assert_int_equal(pthread_create(&thread, NULL, show_rows, &shower), 0);
    while (!shower.done) {
        b24bg_portal_counts_t counts = read_place(table, 1, NOW);
        torn += !is_whole(&counts);
        changes += counts.shown.since != last;
        last = counts.shown.since;
    }
    pthread_join(thread, NULL);
    assert_int_equal(torn, 0);
    assert_true(changes > 10); /* they did meet */
}

static int kill_shower(b24bg_table_t *table, b24bg_portal_ref_t portal)
{
    pid_t pid = fork();
    unsigned n;

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        for (n = 1;; n++) {
            show_row(table, portal, n);
        }
    }
    table_pause(200 + (long)unit_random(800));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return read_place(table, 1, NOW).shown.has == 0;
}

/* What a dead writer has left half-written is not shown; the next one, or the next holder of the
 * place, finds it as good as new. */
static void test_killed_writers(void **state)
{
    b24bg_table_t *table = new_table(1);
    int inside = 0;
    int round;

    (void)state;
    alarm(60);
    for (round = 0; round < 3000 && inside < 20; round++) {
        b24bg_portal_ref_t portal = load(table, (apr_uint32_t)round, NOW + round);
        b24bg_portal_counts_t counts;
        assert_int_equal(portal.slot, 1);
        show_row(table, portal, 0);
        inside += kill_shower(table, portal);
        counts = read_place(table, 1, NOW);
        assert_true(is_whole(&counts));
        if (round % 2) {
            assert_int_equal(b24bg_table_show(table, portal, &blocked), 1);
            assert_shown(table, &blocked);
        }
    }
    alarm(0);
    print_message("# %d writers killed, %d of them in the middle of a row\n", round, inside);
    assert_true(inside > 0);
}

int main(void)
{
    UNIT_ADD(test_show);
    UNIT_ADD(test_counts_alone);
    UNIT_ADD(test_show_in_a_lost_place);
    UNIT_ADD(test_event_names);
    UNIT_ADD_ROWS(test_events, rings);
    UNIT_ADD(test_health);
    UNIT_ADD(test_never_torn);
    UNIT_ADD(test_killed_writers);
    return unit_run("table_show");
}
