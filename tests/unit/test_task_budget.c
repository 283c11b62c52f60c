/* The background task's part of the budgets: kept in the store, alerted of once, ended by a new
 * registration; and pages that are served and do not run. */
#include "task_world.h"

#include "b24bg_table_parts.h"
#include "b24bg_task_parts.h"

/* One look at all places; what is flushed is flushed. */
static void minute(void)
{
    world.now += B24BG_TASK_FLUSH_EVERY;
    step();
}

/* A portal that is known. */
static b24bg_portal_ref_t place_of(const char *member_id)
{
    b24bg_portal_id_t id = {world.app.row, member_id, 0};
    b24bg_portal_ref_t place = b24bg_table_find(world.config.table, &id);

    assert_int_not_equal(0, place.slot);
    return place;
}

static void know(const char *member_id)
{
    post(B24BG_INSTALL_EVENT, member_id, SERVER "/rest/", "app-token");
    step();
    answer(world.started - 1, 200, identity("local.1", member_id, "crm.example.com"));
    world.now += B24BG_TASK_REFRESH_EVERY;
    step();
}

static void begin_known(void)
{
    begin();
    know(MEMBER);
    place_of(MEMBER);
}

static void slow(b24bg_budget_source_e source, int loads)
{
    while (loads-- > 0) {
        b24bg_table_budget_add(world.config.table, place_of(MEMBER), source, world.now);
    }
}

static b24bg_portal_counts_t counts_of(const char *member_id)
{
    b24bg_portal_counts_t counts;

    assert_int_equal(1, b24bg_table_read_portal(world.config.table, place_of(member_id).slot,
                                                world.now, &counts));
    return counts;
}

static unsigned used(b24bg_budget_source_e source)
{
    return counts_of(MEMBER).budgets[source].used;
}

/* What the store has of a source; -1: no row. */
static int stored(b24bg_budget_source_e source)
{
    b24bg_store_t *store = open_store();
    apr_array_header_t *budgets;
    int found = -1;
    int i;

    assert_int_equal(APR_SUCCESS, b24bg_store_budgets(store, world.pool, &budgets));
    for (i = 0; i < budgets->nelts; i++) {
        const b24bg_store_budget_t *budget = &APR_ARRAY_IDX(budgets, i, b24bg_store_budget_t);
        if (strcmp(budget->source, b24bg_budget_source_name(source)) == 0) {
            assert_string_equal(MEMBER, budget->member_id);
            found = (int)budget->used;
        }
    }
    b24bg_store_close(store);
    return found;
}

/* The history, oldest first: b24bg_store_portal_event_t. */
static const apr_array_header_t *history(void)
{
    b24bg_store_t *store = open_store();
    apr_array_header_t *events;

    assert_int_equal(APR_SUCCESS, b24bg_store_events_since(store, world.pool, -1, 100, &events));
    b24bg_store_close(store);
    return events;
}

/* Its entries of kind "budget". */
static int alerts(void)
{
    const apr_array_header_t *events = history();
    int count = 0;
    int i;

    for (i = 0; i < events->nelts; i++) {
        const b24bg_store_portal_event_t *event =
            &APR_ARRAY_IDX(events, i, b24bg_store_portal_event_t);
        count += strcmp(event->what, "budget") == 0 && strcmp(event->member_id, MEMBER) == 0;
    }
    return count;
}

/* Lines of the log that have it. */
static int lines(const char *tag)
{
    const char *at = world.log;
    int count = 0;

    while ((at = strstr(at, tag)) != NULL) {
        at++;
        count++;
    }
    return count;
}

static const char *last_alert(void)
{
    const apr_array_header_t *events = history();

    return APR_ARRAY_IDX(events, events->nelts - 1, b24bg_store_portal_event_t).detail;
}

/* The machine is restarted: another table, and a task that knows only the store. */
static void lose_table(void)
{
    apr_pool_destroy(world.task_pool);
    memset(world.config.table, 0, b24bg_table_size(4));
    b24bg_table_create(world.config.table, 4, (const unsigned char *)"fedcba9876543210");
    world.app.row = b24bg_table_app(world.config.table, world.app.name);
}

static void start_again(void)
{
    start_task("after the restart");
    world.now += B24BG_TASK_LEASE + B24BG_TASK_LEASE_EVERY;
    step();
    step();
}

static void restart_machine(void)
{
    lose_table();
    start_again();
}

/* Kept */

static void a_load_before_the_old_windows_are_back(void **state)
{
    b24bg_portal_id_t id = {0, MEMBER, 0};

    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 9);
    minute();
    lose_table();
    id.app = world.app.row;
    b24bg_table_portal(world.config.table, &id, "crm.example.com", world.now);
    slow(B24BG_BUDGET_BROWSER, 1);
    start_again();
    assert_int_equal(10, used(B24BG_BUDGET_BROWSER));
    start_task("another process");
    step();
    assert_int_equal(10, used(B24BG_BUDGET_BROWSER));
    end();
}

/* As another process does it, which is ahead of ours. */
static void know_in_table(const char *member_id)
{
    b24bg_known_portal_t portal = {{world.app.row, member_id, 0},
                                   "https://crm.example.com",
                                   "app-token",
                                   world.now,
                                   1,
                                   1,
                                   world.now};

    assert_int_equal(1, b24bg_table_know(world.config.table, &portal));
}

static void nothing_is_written_before_the_old_windows_are_back(void **state)
{
    apr_uint64_t lock;

    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 9);
    minute();
    lose_table();
    know_in_table(MEMBER);
    slow(B24BG_BUDGET_BROWSER, 1);
    lock = b24bg_table_lock(world.config.table); /* keeps the task from reading the store */
    start_task("held up");
    minute();
    apr_pool_destroy(world.task_pool);
    b24bg_table_unlock(world.config.table, lock);
    assert_int_equal(9, stored(B24BG_BUDGET_BROWSER));
    start_again();
    assert_int_equal(10, used(B24BG_BUDGET_BROWSER));
    end();
}

static void windows_survive_a_restart(void **state)
{
    apr_time_t start;

    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 3);
    slow(B24BG_BUDGET_SERVER, 2);
    start = counts_of(MEMBER).budgets[B24BG_BUDGET_BROWSER].start;
    restart_machine();
    assert_int_equal(3, used(B24BG_BUDGET_BROWSER));
    assert_int_equal(2, used(B24BG_BUDGET_SERVER));
    assert_int_equal(0, used(B24BG_BUDGET_PORTAL));
    assert_int_equal(start, counts_of(MEMBER).budgets[B24BG_BUDGET_BROWSER].start);
    slow(B24BG_BUDGET_BROWSER, 1);
    assert_int_equal(4, used(B24BG_BUDGET_BROWSER));
    end();
}

static void windows_are_written_once_a_minute(void **state)
{
    (void)state;
    begin_known();
    minute();
    assert_int_equal(-1, stored(B24BG_BUDGET_BROWSER)); /* nothing to keep */
    slow(B24BG_BUDGET_BROWSER, 3);
    world.now += B24BG_TASK_FLUSH_EVERY / 2;
    step();
    assert_int_equal(-1, stored(B24BG_BUDGET_BROWSER));
    minute();
    assert_int_equal(3, stored(B24BG_BUDGET_BROWSER));
    slow(B24BG_BUDGET_BROWSER, 1);
    minute();
    assert_int_equal(4, stored(B24BG_BUDGET_BROWSER));
    end();
}

static void a_window_that_is_over_is_put_empty(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 3);
    minute();
    world.now += B24BG_BUDGET_WINDOW;
    minute();
    assert_int_equal(0, stored(B24BG_BUDGET_BROWSER));
    restart_machine();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    end();
}

static void a_window_that_is_over_in_the_store_stays_over(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 9);
    minute();
    world.now += B24BG_BUDGET_WINDOW + apr_time_from_sec(60);
    restart_machine();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    slow(B24BG_BUDGET_BROWSER, 1);
    assert_int_equal(1, used(B24BG_BUDGET_BROWSER));
    end();
}

/* A reload: the table has gone on counting since the store was written. */
static void the_table_knows_better_than_the_store(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 3);
    minute();
    slow(B24BG_BUDGET_BROWSER, 1);
    start_task("the new generation");
    step();
    step();
    assert_int_equal(4, used(B24BG_BUDGET_BROWSER));
    end();
}

static void another_apps_windows_are_left_alone(void **state)
{
    b24bg_store_budget_t foreign = {"elsewhere", MEMBER, 0, "browser", 7, T0};
    apr_array_header_t *budgets;
    b24bg_store_t *store;

    (void)state;
    begin_known();
    budgets = apr_array_make(world.pool, 3, sizeof(foreign));
    APR_ARRAY_PUSH(budgets, b24bg_store_budget_t) = foreign;
    foreign.app = "telephony";
    foreign.source = "of a later version";
    APR_ARRAY_PUSH(budgets, b24bg_store_budget_t) = foreign;
    foreign.source = "browser";
    foreign.member_id = OTHER; /* a portal that is not installed */
    APR_ARRAY_PUSH(budgets, b24bg_store_budget_t) = foreign;
    store = open_store();
    assert_int_equal(APR_SUCCESS, b24bg_store_budgets_put(store, budgets));
    b24bg_store_close(store);
    restart_machine();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    end();
}

/* Ended */

static void end_budget(void)
{
    b24bg_store_registration_t registration = {0};

    registration.app = "telephony";
    registration.member_id = MEMBER;
    registration.bound = world.now;
    b24bg_task_end_budget(world.task, &registration, place_of(MEMBER));
}

/* In the store at once: a process that starts before the next flush restores from there. */
static void a_new_registration_begins_with_nothing(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 10);
    b24bg_table_budget_told(world.config.table, place_of(MEMBER), 10, world.now);
    minute();
    assert_int_equal(10, stored(B24BG_BUDGET_PORTAL));
    end_budget();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    assert_int_equal(0, used(B24BG_BUDGET_PORTAL));
    assert_int_equal(0, stored(B24BG_BUDGET_BROWSER));
    assert_int_equal(0, stored(B24BG_BUDGET_PORTAL));
    start_task("a process that starts now");
    step();
    step();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    assert_int_equal(0, used(B24BG_BUDGET_PORTAL));
    end();
}

/* What another machine has put into the store. */
static void put_registration(void)
{
    b24bg_store_registration_t row = {0};
    b24bg_store_t *store = open_store();

    row.app = "telephony";
    row.member_id = MEMBER;
    row.state = "bound";
    row.reason = row.detail = row.key_hash = row.next_key_hash = row.old_key_hash = "";
    row.goal = row.binds = row.command = row.urls = "";
    row.bound = world.now;
    assert_int_equal(APR_SUCCESS, b24bg_store_registration_put(store, &row, NULL));
    b24bg_store_close(store);
}

static void put_window(int slow_loads, apr_time_t start)
{
    b24bg_store_budget_t window = {"telephony", MEMBER, 0, "browser", slow_loads, start};
    apr_array_header_t *budgets = apr_array_make(world.pool, 1, sizeof(window));
    b24bg_store_t *store = open_store();

    APR_ARRAY_PUSH(budgets, b24bg_store_budget_t) = window;
    assert_int_equal(APR_SUCCESS, b24bg_store_budgets_put(store, budgets));
    b24bg_store_close(store);
}

/* Its windows are in another table, and only the store tells that one. */
static void a_registration_by_another_machine_begins_with_nothing(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 6);
    minute();
    assert_int_equal(6, stored(B24BG_BUDGET_BROWSER));
    put_registration();
    minute();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    minute();
    assert_int_equal(0, stored(B24BG_BUDGET_BROWSER));
    end();
}

/* A machine that has not seen the bind puts its old window over the new registration's; whoever
 * starts then has nothing of it, and is warned of the new one's. */
static void an_old_window_in_the_store_is_nobodys(void **state)
{
    (void)state;
    begin_known();
    put_registration();
    lose_table();
    put_window(9, world.now - apr_time_from_sec(600));
    start_again();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    minute();
    assert_int_equal(0, stored(B24BG_BUDGET_BROWSER));
    slow(B24BG_BUDGET_BROWSER, 5);
    minute();
    assert_int_equal(1, alerts());
    end();
}

/* What it counted is in the store, and other machines that started since have added theirs. */
static void what_others_have_made_of_it_is_not_added(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 3);
    minute();
    put_window(10, world.now - apr_time_from_sec(600));
    start_task("after a reload");
    step();
    step();
    assert_int_equal(3, used(B24BG_BUDGET_BROWSER));
    end();
}

static void a_budget_ends_with_the_store_down(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 10);
    minute();
    world.task_config->store_params = apr_pstrcat(world.pool, world.folder, "/none/b24bg.db", NULL);
    b24bg_task_done(world.task, APR_EGENERAL); /* what a failure of the store is followed by */
    end_budget();
    assert_int_equal(0, used(B24BG_BUDGET_BROWSER));
    assert_int_equal(10, stored(B24BG_BUDGET_BROWSER));
    world.task_config->store_params = world.db;
    minute();
    minute();
    assert_int_equal(0, stored(B24BG_BUDGET_BROWSER));
    end();
}

/* Alerted of */

static void each_number_is_alerted_of_once(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 4);
    minute();
    assert_int_equal(0, alerts());
    slow(B24BG_BUDGET_BROWSER, 1);
    minute();
    assert_int_equal(1, alerts());
    assert_string_equal("5 of 10 slow loads, counted by browser", last_alert());
    minute();
    slow(B24BG_BUDGET_BROWSER, 2);
    minute();
    assert_int_equal(1, alerts());
    slow(B24BG_BUDGET_BROWSER, 2);
    minute();
    minute();
    assert_int_equal(2, alerts());
    assert_string_equal("9 of 10 slow loads, counted by browser", last_alert());
    end();
}

static void warn_at(int first, int second, int third)
{
    apr_array_header_t *numbers = apr_array_make(world.pool, 3, sizeof(apr_int64_t));

    APR_ARRAY_PUSH(numbers, apr_int64_t) = first;
    APR_ARRAY_PUSH(numbers, apr_int64_t) = second;
    APR_ARRAY_PUSH(numbers, apr_int64_t) = third;
    world.app.budget_warn = numbers;
}

/* As a reload does: what was told of is not repeated, and what was not is not lost. */
static void the_numbers_change(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 6);
    minute();
    assert_int_equal(1, alerts());
    warn_at(2, 5, 8);
    minute();
    assert_int_equal(1, alerts());
    warn_at(8, 10, 20);
    slow(B24BG_BUDGET_BROWSER, 2);
    minute();
    assert_int_equal(2, alerts());
    end();
}

static void numbers_passed_at_once_are_one_alert(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_SERVER, 10);
    minute();
    minute();
    assert_int_equal(1, alerts());
    assert_string_equal("10 of 10 slow loads, counted by server", last_alert());
    end();
}

static void the_portals_number_is_the_one_that_counts(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 4);
    b24bg_table_budget_told(world.config.table, place_of(MEMBER), 8, world.now);
    minute();
    assert_int_equal(1, alerts());
    assert_string_equal("8 of 10 slow loads, counted by portal", last_alert());
    end();
}

/* Each line is written once: by the request that claims it, as here, or else by the task. */
static void a_number_that_no_request_reached_is_warned_of(void **state)
{
    apr_uint32_t slot;

    (void)state;
    begin_known();
    slot = place_of(MEMBER).slot;
    b24bg_table_budget_told(world.config.table, place_of(MEMBER), 6, world.now);
    minute();
    minute();
    assert_int_equal(1, lines("w B24BG0333"));
    logged("w B24BG0333: slow loads: at the next one after 10 Bitrix24 deletes the registration: "
           "app=telephony portal=" MEMBER " domain=crm.example.com user=0 used=6 source=portal\n");
    slow(B24BG_BUDGET_BROWSER, 2);
    assert_int_equal(1, b24bg_table_claim_warning(world.config.table, slot, B24BG_WARNED_BY_REQUEST,
                                                  8, world.now));
    minute();
    assert_int_equal(2, alerts());
    assert_int_equal(1, lines("w B24BG0333"));
    end();
}

static void processes_alert_once_together(void **state)
{
    b24bg_task_t *first;

    (void)state;
    begin_known();
    first = world.task;
    start_task("another process");
    slow(B24BG_BUDGET_BROWSER, 5);
    world.now += B24BG_TASK_FLUSH_EVERY;
    step();
    b24bg_task_step(first, world.now, 0);
    assert_int_equal(1, alerts());
    end();
}

static void the_next_window_is_alerted_of_again(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 5);
    minute();
    world.now += B24BG_BUDGET_WINDOW + apr_time_from_sec(1);
    slow(B24BG_BUDGET_BROWSER, 5);
    minute();
    assert_int_equal(2, alerts());
    end_budget();
    slow(B24BG_BUDGET_BROWSER, 5);
    minute();
    assert_int_equal(3, alerts());
    end();
}

static void a_restart_repeats_no_alert(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_BROWSER, 6);
    minute();
    assert_int_equal(1, alerts());
    restart_machine();
    minute();
    assert_int_equal(1, alerts());
    /* nor is it warned of by a request: that number is claimed, too */
    assert_int_equal(0, b24bg_table_claim_warning(world.config.table, place_of(MEMBER).slot,
                                                  B24BG_WARNED_BY_REQUEST, 5, world.now));
    slow(B24BG_BUDGET_BROWSER, 2);
    minute();
    assert_int_equal(2, alerts());
    end();
}

/* The server's own number is of another window than the one that counts: what it has passed says
 * nothing of that. */
static void a_source_that_does_not_count_silences_nothing(void **state)
{
    (void)state;
    begin_known();
    slow(B24BG_BUDGET_SERVER, 9);
    slow(B24BG_BUDGET_BROWSER, 2);
    minute();
    assert_int_equal(0, alerts());
    restart_machine();
    slow(B24BG_BUDGET_BROWSER, 3);
    minute();
    assert_int_equal(1, alerts());
    assert_string_equal("5 of 10 slow loads, counted by browser", last_alert());
    end();
}

/* Pages that do not run */

static void serve(const char *member_id, int loads, int weight)
{
    b24bg_table_request_t load = {0};
    b24bg_table_beacon_t beacon = {{0, 0}, 0, 0, 0, 0, 0, 0, apr_time_from_sec(5)};

    load.app = beacon.app = world.app.row;
    load.portal = beacon.portal = place_of(member_id);
    load.is_load = 1;
    load.now = beacon.now = world.now;
    while (loads-- > 0) {
        b24bg_table_count(world.config.table, &load);
    }
    for (; weight > 0; weight -= beacon.sampled ? B24BG_BEACON_SAMPLED_WEIGHT : 1) {
        beacon.sampled = weight >= B24BG_BEACON_SAMPLED_WEIGHT;
        b24bg_table_count_beacon(world.config.table, &beacon);
    }
}

static int told(void)
{
    return lines("w B24BG0330");
}

static const struct frames {
    const char *name;
    int beacons; /* B24bgBeacon: 0 off, 1 slow, 2 all */
    int loads;
    int weight; /* of the beacons that came */
    int told;
} frames[] = {
    {"off: nobody tells", 0, 5000, 0, 0},
    {"slow: none runs", 1, 2000, 0, 1},
    {"slow: too few to judge", 1, 1999, 0, 0},
    {"slow: some 5 of 20 told", 1, 2000, 500, 0},
    {"slow: 4 of 20 told", 1, 2000, 400, 1},
    {"slow: as it should be", 1, 2000, 2000, 0},
    {"all: none runs", 2, 50, 0, 1},
    {"all: too few to judge", 2, 49, 0, 0},
    {"all: half", 2, 50, 25, 0},
    {"all: less than half", 2, 50, 24, 1},
    {"all: more than were served", 2, 50, 60, 0},
};

static void begin_frames(int beacons)
{
    begin();
    world.app.beacons = beacons > 0;
    world.app.all_beacons = beacons > 1;
    know(MEMBER);
}

static void frames_that_never_run(void **state)
{
    const struct frames *row = *state;

    begin_frames(row->beacons);
    serve(MEMBER, row->loads, row->weight);
    minute();
    minute();
    assert_int_equal(row->told, told());
    if (row->told) {
        logged(apr_psprintf(world.pool, "portal=" MEMBER " domain=crm.example.com loads=%d ran=%d;",
                            row->loads, row->weight));
    }
    end();
}

static void it_is_told_once_an_hour(void **state)
{
    int minutes;

    (void)state;
    begin_frames(2);
    for (minutes = 0; minutes < 59; minutes++) {
        serve(MEMBER, 100, 0);
        minute();
    }
    assert_int_equal(1, told());
    apr_pool_destroy(world.task_pool); /* a reload */
    start_task("the new generation");
    step();
    for (; minutes < 60; minutes++) {
        serve(MEMBER, 100, 0);
        minute();
    }
    assert_int_equal(1, told());
    for (; minutes < 64; minutes++) {
        serve(MEMBER, 100, 0);
        minute();
    }
    assert_int_equal(2, told());
    end();
}

/* What ran before does not hide that it has ended. */
static void only_what_is_new_is_judged(void **state)
{
    (void)state;
    begin_frames(2);
    serve(MEMBER, 1000, 1000);
    minute();
    serve(MEMBER, 60, 0);
    minute();
    assert_int_equal(1, told());
    end();
}

/* After a reload that mended it, or a restart that has kept the loads and not what ran. */
static void what_was_before_the_task_is_not_judged(void **state)
{
    (void)state;
    begin_frames(2);
    serve(MEMBER, 49, 0);
    minute();
    apr_pool_destroy(world.task_pool);
    serve(MEMBER, 500, 0);
    start_task("after a reload");
    minute();
    serve(MEMBER, 50, 50);
    minute();
    assert_int_equal(0, told());
    restart_machine();
    assert_int_equal(599, counts_of(MEMBER).loads);
    assert_int_equal(0, counts_of(MEMBER).served);
    assert_int_equal(0, counts_of(MEMBER).beacons);
    serve(MEMBER, 3, 3);
    assert_int_equal(602, counts_of(MEMBER).loads);
    assert_int_equal(3, counts_of(MEMBER).served);
    assert_int_equal(3, counts_of(MEMBER).beacons);
    minute();
    assert_int_equal(0, told());
    end();
}

/* Another machine's loads come from the store; its frames tell it, not us. */
static void loads_of_another_machine_are_not_judged(void **state)
{
    apr_array_header_t *rows = apr_array_make(unit_pool, 1, sizeof(b24bg_store_portal_t));
    b24bg_store_portal_t *portal;
    b24bg_store_t *store;

    (void)state;
    begin_frames(2);
    minute();
    portal = in_store(MEMBER);
    portal->loads = 100000;
    portal->last_load = world.now;
    APR_ARRAY_PUSH(rows, b24bg_store_portal_t) = *portal;
    store = open_store();
    assert_int_equal(APR_SUCCESS, b24bg_store_portal_counts(store, rows));
    b24bg_store_close(store);
    know(MEMBER); /* changes the portal's row, which is read again then */
    assert_int_equal(100000, counts_of(MEMBER).loads);
    assert_int_equal(0, counts_of(MEMBER).served);
    serve(MEMBER, 49, 0);
    minute();
    assert_int_equal(0, told());
    serve(MEMBER, 1, 0);
    minute();
    assert_int_equal(1, told());
    logged("loads=50 ran=0;");
    end();
}

static void only_the_one_with_the_lease_tells(void **state)
{
    b24bg_task_t *first;
    apr_pool_t *first_pool;

    (void)state;
    begin_frames(2);
    first = world.task;
    first_pool = world.task_pool;
    start_task("another process");
    step();
    world.now += APR_USEC_PER_SEC;
    step();
    serve(MEMBER, 60, 0);
    world.now += APR_USEC_PER_SEC;
    step();
    assert_int_equal(0, told());
    b24bg_task_step(first, world.now, 0);
    assert_int_equal(1, told());
    apr_pool_destroy(first_pool); /* gives the lease back */
    minute();
    serve(MEMBER, 60, 0);
    minute();
    assert_int_equal(1, told()); /* the hour is not over */
    world.now += apr_time_from_sec(3600);
    serve(MEMBER, 60, 0);
    minute();
    assert_int_equal(2, told());
    end();
}

/* The place's counts are those of another portal now. */
static void another_portal_takes_the_place(void **state)
{
    b24bg_portal_ref_t place;
    b24bg_portal_id_t id;
    int i;

    (void)state;
    begin_frames(2);
    serve(MEMBER, 1000, 0);
    minute();
    assert_int_equal(1, told());
    place = place_of(MEMBER);
    id = (b24bg_portal_id_t){world.app.row, MEMBER, 0};
    assert_int_equal(1, b24bg_table_unknow(world.config.table, &id));
    world.now += APR_USEC_PER_SEC;
    for (i = 1; i < 4; i++) { /* the table has 4 places; this fills the others, and then takes it */
        id.member_id = apr_psprintf(world.pool, "%032x", i + 1);
        b24bg_table_portal(world.config.table, &id, "a.example", world.now);
    }
    know(OTHER);
    assert_int_equal(place.slot, place_of(OTHER).slot);
    minute();
    serve(OTHER, 49, 0);
    minute();
    assert_int_equal(1, told());
    serve(OTHER, 1, 0);
    minute();
    assert_int_equal(2, told());
    logged("portal=" OTHER " domain=crm.example.com loads=50 ran=0;");
    end();
}

static void the_clock_is_set_back(void **state)
{
    (void)state;
    begin_frames(2);
    serve(MEMBER, 100, 0);
    minute();
    assert_int_equal(1, told());
    world.now -= apr_time_from_sec(7200);
    step();
    slow(B24BG_BUDGET_BROWSER, 3);
    serve(MEMBER, 100, 0);
    minute();
    assert_int_equal(2, told());
    assert_int_equal(3, stored(B24BG_BUDGET_BROWSER));
    end();
}

int main(void)
{
    UNIT_ADD(windows_survive_a_restart);
    UNIT_ADD(a_load_before_the_old_windows_are_back);
    UNIT_ADD(nothing_is_written_before_the_old_windows_are_back);
    UNIT_ADD(windows_are_written_once_a_minute);
    UNIT_ADD(a_window_that_is_over_is_put_empty);
    UNIT_ADD(a_window_that_is_over_in_the_store_stays_over);
    UNIT_ADD(the_table_knows_better_than_the_store);
    UNIT_ADD(another_apps_windows_are_left_alone);
    UNIT_ADD(a_new_registration_begins_with_nothing);
    UNIT_ADD(a_registration_by_another_machine_begins_with_nothing);
    UNIT_ADD(an_old_window_in_the_store_is_nobodys);
    UNIT_ADD(what_others_have_made_of_it_is_not_added);
    UNIT_ADD(a_budget_ends_with_the_store_down);
    UNIT_ADD(each_number_is_alerted_of_once);
    UNIT_ADD(the_numbers_change);
    UNIT_ADD(numbers_passed_at_once_are_one_alert);
    UNIT_ADD(the_portals_number_is_the_one_that_counts);
    UNIT_ADD(a_number_that_no_request_reached_is_warned_of);
    UNIT_ADD(processes_alert_once_together);
    UNIT_ADD(the_next_window_is_alerted_of_again);
    UNIT_ADD(a_restart_repeats_no_alert);
    UNIT_ADD(a_source_that_does_not_count_silences_nothing);
    UNIT_ADD_ROWS(frames_that_never_run, frames);
    UNIT_ADD(it_is_told_once_an_hour);
    UNIT_ADD(only_what_is_new_is_judged);
    UNIT_ADD(what_was_before_the_task_is_not_judged);
    UNIT_ADD(loads_of_another_machine_are_not_judged);
    UNIT_ADD(only_the_one_with_the_lease_tells);
    UNIT_ADD(another_portal_takes_the_place);
    UNIT_ADD(the_clock_is_set_back);
    return unit_run("task_budget");
}
