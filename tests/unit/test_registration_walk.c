/* b24bg_registration: a million events at random, on a model of the portal that loses answers,
 * takes late what was given up, is changed by others, and on a task that crashes before and after
 * each commit. After each step the promises of include/b24bg_registration.h are looked at from
 * outside: the model keeps its own books and never reads those of the machine to judge it.
 */
#include "unit.h"

#include "b24bg_registration.h"

#include <inttypes.h>
#include <string.h>

#define EVENTS 1000000
#define LIFE 1000 /* events before everything begins anew with another policy */
#define NOW APR_INT64_C(1714560000000000)
#define SECOND APR_USEC_PER_SEC
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define HISTORY 64
/* ASK, UNBIND, READ_BACK, BIND, READ_BACK: nothing honest needs more at one moment. */
#define ACTIONS_AT_ONCE 6

typedef enum { ROW_NONE, ROW_OURS, ROW_FOREIGN } row_e;

typedef struct {
    row_e kind;
    unsigned key; /* 0: none of ours */
} row_t;

/* What one process holds, and what the store holds of it. */
typedef struct {
    b24bg_registration_t registration;
    unsigned live_key, next_key;
    b24bg_registration_event_e command; /* that is being carried out; COUNT: none */
} memory_t;

typedef struct {
    b24bg_registration_action_e action; /* NONE: nothing is under way */
    row_e target;                       /* of UNBIND */
    unsigned key;                       /* of BIND */
    int executed;
    b24bg_registration_event_e answer; /* of what is no get */
    row_t seen;                        /* of a get */
} flight_t;

typedef struct {
    apr_time_t now;
    b24bg_registration_policy_t policy;
    row_t portal;
    memory_t memory, store;
    flight_t flight, late; /* late: given up by the client, still on its way */
    row_t last_seen;
    unsigned keys, confirmed_key;
    apr_time_t confirmed[HISTORY]; /* newest first */
    apr_time_t commanded;          /* the last time */
    int at_once;                   /* actions since anything else happened */
} world_t;

/* What the walk has come by, so that it is seen to have been everywhere. */
static struct {
    unsigned events[B24BG_REGISTRATION_STATE_COUNT][B24BG_EVENT_COUNT];
    unsigned reasons[B24BG_BLOCKED_COUNT];
    unsigned tells[B24BG_TELL_UNBOUND + 1];
    unsigned crashes, late, cap_left, foreign_removed, forced_over_cap, settled[7];
    unsigned steps;
} seen;

static int one_in(unsigned n)
{
    return unit_random(n) == 0;
}

static int is_settled(b24bg_registration_state_e state)
{
    return state == B24BG_REGISTRATION_BOUND || state == B24BG_REGISTRATION_UNBOUND ||
           state == B24BG_REGISTRATION_BLOCKED;
}

static int is_command(b24bg_registration_event_e event)
{
    return event == B24BG_EVENT_COMMAND_BIND || event == B24BG_EVENT_COMMAND_UNBIND ||
           event == B24BG_EVENT_COMMAND_REBIND;
}

static int confirmed_within_a_day(const world_t *world)
{
    int count = 0;

    while (count < HISTORY && world->confirmed[count] &&
           world->now - world->confirmed[count] < DAY) {
        count++;
    }
    return count;
}

static void crash(world_t *world)
{
    /* What was sent may still arrive. */
    if (world->flight.action && !world->flight.executed && one_in(2)) {
        world->late = world->flight;
    }
    memset(&world->flight, 0, sizeof(world->flight));
    world->memory = world->store;
    world->memory.registration.under_way = B24BG_ACTION_NONE;
    world->memory.registration.again = 0;
    seen.crashes++;
}

/* The promises */

static void check_bind(const world_t *world, b24bg_registration_event_e event)
{
    int forced = world->memory.command == B24BG_EVENT_COMMAND_BIND ||
                 world->memory.command == B24BG_EVENT_COMMAND_REBIND;
    int over = confirmed_within_a_day(world) >= world->policy.perday;

    assert_int_equal(B24BG_EVENT_FOUND_NONE, event);
    assert_int_equal(ROW_NONE, world->last_seen.kind);
    if (over && !forced) {
        fail_msg("bind number %d of a day, of %d", confirmed_within_a_day(world) + 1,
                 world->policy.perday);
    }
    seen.forced_over_cap += (unsigned)over;
}

static void check_unbind(const world_t *world, b24bg_registration_event_e event)
{
    b24bg_registration_event_e command = world->memory.command;

    switch (event) {
    case B24BG_EVENT_FOUND_STALE:
        break;
    case B24BG_EVENT_FOUND_OURS:
    case B24BG_EVENT_FOUND_NEW:
        assert_true(command == B24BG_EVENT_COMMAND_REBIND || command == B24BG_EVENT_COMMAND_UNBIND);
        break;
    case B24BG_EVENT_FOUND_FOREIGN:
        assert_int_equal(B24BG_EVENT_COMMAND_REBIND, command);
        seen.foreign_removed++;
        break;
    default:
        fail_msg("unbind in answer to event %u", event);
    }
}

static void check_leaving(const world_t *world, const b24bg_registration_t *before,
                          b24bg_registration_event_e event)
{
    if (before->state == world->memory.registration.state) {
        return;
    }
    if (before->state == B24BG_REGISTRATION_BLOCKED && event != B24BG_EVENT_INSTALLED &&
        !is_command(event)) {
        assert_int_equal(B24BG_EVENT_DUE, event);
        assert_int_equal(B24BG_BLOCKED_DAILY_CAP, before->reason);
        assert_true(confirmed_within_a_day(world) < world->policy.perday);
        seen.cap_left++;
    }
    if (before->state == B24BG_REGISTRATION_UNBOUND) {
        assert_true(is_command(event) || event == B24BG_EVENT_UNINSTALLED);
    }
}

/* Bound means that the portal showed this very key; and nothing that is not settled is forgotten.
 */
static void check_state(const world_t *world, const b24bg_registration_t *before)
{
    const b24bg_registration_t *row = &world->memory.registration;

    if (row->state == B24BG_REGISTRATION_BOUND && before->state != row->state) {
        assert_int_equal(ROW_OURS, world->last_seen.kind);
        assert_int_equal(world->memory.live_key, world->last_seen.key);
    }
    if (!is_settled(row->state) && !row->under_way && !row->due) {
        assert_true(row->state == B24BG_REGISTRATION_UNKNOWN ||
                    (row->state == B24BG_REGISTRATION_LOST && row->goal == B24BG_GOAL_KEEP));
    }
    if (is_settled(row->state) && row->reason != B24BG_BLOCKED_DAILY_CAP) {
        assert_int_equal(0, row->due);
    }
}

static void confirm(world_t *world)
{
    assert_true(world->memory.live_key > world->confirmed_key); /* a key of its own */
    world->confirmed_key = world->memory.live_key;
    memmove(world->confirmed + 1, world->confirmed, sizeof(apr_time_t) * (HISTORY - 1));
    world->confirmed[0] = world->now;
    if (world->now - world->commanded >= 2 * DAY) {
        assert_true(confirmed_within_a_day(world) <= world->policy.perday);
    }
}

/* The task */

static void begin(world_t *world, b24bg_registration_action_e action)
{
    flight_t *flight = &world->flight;

    assert_int_equal(B24BG_ACTION_NONE, flight->action); /* one at a time */
    assert_true(++world->at_once <= ACTIONS_AT_ONCE);
    memset(flight, 0, sizeof(*flight));
    flight->action = action;
    flight->target = world->last_seen.kind;
    flight->key = world->memory.next_key;
}

/* Feeds an event, commits, and begins what it says; crashes before and after the commit. */
static void feed(world_t *world, b24bg_registration_event_e event, int may_crash)
{
    b24bg_registration_t before = world->memory.registration;
    b24bg_registration_step_t step;

    if (is_command(event)) {
        world->memory.command = event;
    }
    if (event == B24BG_EVENT_FOUND_NEW) {
        world->memory.live_key = world->memory.next_key;
        world->memory.next_key = 0;
    }
    step = b24bg_registration_step(&world->memory.registration, event, world->now, &world->policy,
                                   unit_random(65536));
    seen.steps++;
    if (step.action == B24BG_ACTION_BIND) {
        check_bind(world, event);
        world->memory.next_key = ++world->keys;
    } else if (step.action == B24BG_ACTION_UNBIND) {
        check_unbind(world, event);
    }
    check_leaving(world, &before, event);
    check_state(world, &before);
    if (is_settled(world->memory.registration.state)) {
        world->memory.command = B24BG_EVENT_COUNT;
    }
    if (may_crash && one_in(100)) {
        crash(world);
        return;
    }
    world->store = world->memory;
    world->commanded = is_command(event) ? world->now : world->commanded;
    if (event == B24BG_EVENT_FOUND_NEW) {
        confirm(world);
    }
    seen.events[before.state][event]++;
    seen.tells[step.tell]++;
    seen.reasons[world->memory.registration.reason]++;
    if (step.action) {
        begin(world, step.action);
    }
    if (may_crash && one_in(100)) {
        crash(world);
    }
}

/* The portal */

static void execute(world_t *world, flight_t *flight)
{
    flight->executed = 1;
    flight->answer = B24BG_EVENT_DONE;
    switch (flight->action) {
    case B24BG_ACTION_BIND:
        if (world->portal.kind == ROW_NONE) { /* else ERROR_PLACEMENT_MAX_COUNT */
            world->portal.kind = ROW_OURS;
            world->portal.key = flight->key;
        }
        break;
    case B24BG_ACTION_UNBIND:
        if (world->portal.kind == flight->target) {
            memset(&world->portal, 0, sizeof(world->portal));
        }
        break;
    default:
        flight->seen = world->portal;
        break;
    }
}

static b24bg_registration_event_e classify(const world_t *world, const row_t *row)
{
    if (row->kind == ROW_NONE) {
        return B24BG_EVENT_FOUND_NONE;
    }
    if (row->kind == ROW_FOREIGN) {
        return B24BG_EVENT_FOUND_FOREIGN;
    }
    if (row->key && row->key == world->memory.live_key) {
        return B24BG_EVENT_FOUND_OURS;
    }
    return row->key && row->key == world->memory.next_key ? B24BG_EVENT_FOUND_NEW
                                                          : B24BG_EVENT_FOUND_STALE;
}

static void answer(world_t *world, int may_crash)
{
    flight_t flight = world->flight;

    memset(&world->flight, 0, sizeof(world->flight));
    if (flight.action == B24BG_ACTION_ASK || flight.action == B24BG_ACTION_READ_BACK) {
        world->last_seen = flight.seen;
        feed(world, classify(world, &flight.seen), may_crash);
    } else {
        feed(world, flight.answer, may_crash);
    }
}

/* Something goes wrong on the way, before or after the portal has done it. */
static void fail_flight(world_t *world)
{
    static const b24bg_registration_event_e permanent[] = {
        B24BG_EVENT_NO_TOKEN, B24BG_EVENT_NOT_ADMIN, B24BG_EVENT_WRONG_APP, B24BG_EVENT_PAYMENT,
        B24BG_EVENT_REFUSED};
    flight_t flight = world->flight;

    if (!flight.executed && one_in(4)) {
        memset(&world->flight, 0, sizeof(world->flight));
        feed(world, permanent[unit_random(5)], 1);
        return;
    }
    if (!flight.executed && one_in(3)) {
        world->late = flight;
    }
    memset(&world->flight, 0, sizeof(world->flight));
    feed(world, B24BG_EVENT_AGAIN, 1);
}

static void move_flight(world_t *world)
{
    if (one_in(12)) {
        fail_flight(world);
    } else if (!world->flight.executed) {
        execute(world, &world->flight);
    } else {
        answer(world, 1);
    }
}

/* What others do */

static void delete_row(world_t *world)
{
    if (world->portal.kind == ROW_OURS) {
        memset(&world->portal, 0, sizeof(world->portal));
    }
}

static void meddle(world_t *world)
{
    switch (unit_random(4)) {
    case 0: /* another program with our HANDLER */
        if (world->portal.kind == ROW_NONE) {
            world->portal.kind = ROW_OURS;
            world->portal.key = 0;
        }
        break;
    case 1:
        world->portal.kind = ROW_FOREIGN;
        world->portal.key = 0;
        break;
    default:
        memset(&world->portal, 0, sizeof(world->portal));
        break;
    }
}

static void arrive_late(world_t *world)
{
    if (world->late.action) {
        execute(world, &world->late);
        world->late.action = B24BG_ACTION_NONE;
        seen.late++;
    }
}

static void pass_time(world_t *world)
{
    static const apr_interval_time_t spans[] = {SECOND, SECOND, 10 * SECOND, 60 * SECOND,
                                                HOUR,   HOUR,   8 * HOUR};
    apr_time_t due = world->memory.registration.due;

    if (due > world->now && one_in(2)) {
        world->now = due;
    } else {
        world->now +=
            spans[unit_random(sizeof(spans) / sizeof(spans[0]))] / 1000 * (1 + unit_random(1000));
    }
}

/* An answer that nobody waits for, as of a call that a crash has cut off. */
static void answer_nothing(const world_t *world)
{
    b24bg_registration_t row = world->memory.registration;

    if (!world->flight.action) {
        b24bg_registration_step(&row, B24BG_EVENT_FOUND_OURS + unit_random(12), world->now,
                                &world->policy, 0);
        assert_memory_equal(&world->memory.registration, &row, sizeof(row));
    }
}

static void outside(world_t *world)
{
    unsigned dice = unit_random(100);

    world->at_once = 0;
    if (dice < 30) {
        pass_time(world);
    } else if (dice < 50) {
        delete_row(world);
        feed(world, B24BG_EVENT_NOTICE, 1);
    } else if (dice < 60) {
        feed(world, B24BG_EVENT_SILENCE, 1);
    } else if (dice < 75) {
        feed(world, B24BG_EVENT_DUE, 1);
    } else if (dice < 79) {
        meddle(world);
    } else if (dice < 82) {
        delete_row(world);
    } else if (dice < 86) {
        arrive_late(world);
    } else if (dice < 95) {
        feed(world, B24BG_EVENT_INSTALLED, 1);
    } else if (dice < 96) {
        memset(&world->portal, 0, sizeof(world->portal));
        feed(world, B24BG_EVENT_UNINSTALLED, 1);
    } else if (dice < 97) {
        world->policy.rebind = !one_in(4);
    } else if (dice < 98) {
        answer_nothing(world);
    } else {
        feed(world, B24BG_EVENT_COMMAND_BIND + unit_random(3), 1);
    }
}

/* From now on nobody meddles and the portal answers; what is it when all is quiet? */
static void settle(world_t world)
{
    b24bg_registration_t *row = &world.memory.registration;
    b24bg_registration_state_e state;
    int moves = 0;

    feed(&world, B24BG_EVENT_NOTICE, 0);
    while (world.flight.action || row->due ||
           b24bg_registration_is_due(row, world.now, &world.policy)) {
        assert_true(++moves < 100);
        world.at_once = 0;
        if (world.flight.action) {
            execute(&world, &world.flight);
            answer(&world, 0);
        } else {
            world.now = row->due > world.now ? row->due : world.now;
            feed(&world, B24BG_EVENT_DUE, 0);
        }
    }
    state = row->state;
    seen.settled[state]++;
    switch (state) {
    case B24BG_REGISTRATION_BOUND:
        assert_int_equal(ROW_OURS, world.portal.kind);
        assert_int_equal(world.memory.live_key, world.portal.key);
        break;
    case B24BG_REGISTRATION_LOST:
        assert_false(world.policy.rebind);
        break;
    case B24BG_REGISTRATION_BLOCKED:
        assert_int_not_equal(B24BG_BLOCKED_DAILY_CAP, row->reason);
        break;
    default:
        assert_int_equal(B24BG_REGISTRATION_UNBOUND, state);
        break;
    }
}

static void live(void)
{
    static const apr_interval_time_t firsts[] = {0, 0, SECOND, 60 * SECOND, HOUR};
    world_t world = {.now = NOW};
    unsigned end = seen.steps + LIFE;
    unsigned count = 0;

    world.policy.rebind = 1;
    world.policy.first = firsts[unit_random(5)];
    world.policy.cap = 6 * HOUR;
    world.policy.perday = 1 + (int)unit_random(5);
    world.memory.command = B24BG_EVENT_COUNT;
    world.store = world.memory;
    while (seen.steps < end) {
        if (world.flight.action && !one_in(4)) {
            move_flight(&world);
        } else {
            outside(&world);
        }
        if (++count % 50 == 0) {
            unsigned steps = seen.steps;
            settle(world);
            seen.steps = steps; /* a look ahead is not walked */
        }
    }
}

/* Where an event cannot be met, the table of test_registration.c says what it would do. */
static void check_visits(void)
{
    unsigned state, i;

    for (state = 0; state < B24BG_REGISTRATION_STATE_COUNT; state++) {
        for (i = 0; i < B24BG_EVENT_FOUND_OURS; i++) {
            assert_true(seen.events[state][i] > 10);
        }
    }
    for (i = B24BG_EVENT_FOUND_OURS; i < B24BG_EVENT_COUNT; i++) {
        assert_true(seen.events[B24BG_REGISTRATION_SUSPECT][i] > 100);
        assert_true(i == B24BG_EVENT_FOUND_OURS ||
                    seen.events[B24BG_REGISTRATION_BINDING][i] > 100);
    }
    for (i = 0; i < B24BG_BLOCKED_COUNT; i++) {
        assert_true(seen.reasons[i] > 100);
    }
    for (i = 0; i <= B24BG_TELL_UNBOUND; i++) {
        assert_true(seen.tells[i] > 100);
    }
    assert_true(seen.crashes > 1000 && seen.late > 1000 && seen.cap_left > 100 &&
                seen.foreign_removed > 100 && seen.forced_over_cap > 100);
    assert_true(seen.settled[B24BG_REGISTRATION_BOUND] > 1000 &&
                seen.settled[B24BG_REGISTRATION_BLOCKED] > 1000 &&
                seen.settled[B24BG_REGISTRATION_UNBOUND] > 100 &&
                seen.settled[B24BG_REGISTRATION_LOST] > 100);
}

static void a_million_events(void **state)
{
    (void)state;
    while (seen.steps < EVENTS) {
        live();
    }
    check_visits();
}

int main(void)
{
    UNIT_ADD(a_million_events);
    return unit_run("registration_walk");
}
