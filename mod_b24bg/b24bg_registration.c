#include "b24bg_registration.h"

#include <string.h>

/* One step while it is being worked out. */
typedef struct {
    b24bg_registration_t *row;
    b24bg_registration_event_e event;
    apr_time_t now;
    const b24bg_registration_policy_t *policy;
    unsigned random;
    b24bg_registration_action_e answered; /* what the event answers; NONE: it is no answer */
    b24bg_registration_step_t step;
} turn_t;

/* Time */

static apr_interval_time_t longest_delay(const b24bg_registration_policy_t *policy)
{
    return policy->cap > B24BG_REGISTRATION_RETRY_LEAST ? policy->cap
                                                        : B24BG_REGISTRATION_RETRY_LEAST;
}

/* `first` for no failure; then doubled by each. Spread by up to a quarter more, so that portals
 * that were lost together do not come back together. */
static apr_interval_time_t delay(const turn_t *turn, int failures)
{
    apr_interval_time_t most = longest_delay(turn->policy);
    apr_interval_time_t first = turn->policy->first < most ? turn->policy->first : most;
    apr_interval_time_t value = first;

    if (failures && value < B24BG_REGISTRATION_RETRY_LEAST) {
        value = B24BG_REGISTRATION_RETRY_LEAST;
    }
    for (; failures > 1 && value < most; failures--) {
        value *= 2;
    }
    if (value > most - most / 5) {
        value = most - most / 5; /* a quarter more is the cap */
    }
    if (value < first) {
        value = first;
    }
    value += value / 4 * (apr_interval_time_t)(turn->random & 0xffff) / 0xffff;
    return value < most ? value : most;
}

static int perday(const b24bg_registration_policy_t *policy)
{
    if (policy->perday < 1) {
        return 1;
    }
    return policy->perday < B24BG_REGISTRATION_PERDAY_MAX ? policy->perday
                                                          : B24BG_REGISTRATION_PERDAY_MAX;
}

/* When the next bind of ours is allowed; 0: now. */
static apr_time_t capped_until(const turn_t *turn)
{
    apr_time_t oldest = turn->row->binds[perday(turn->policy) - 1];

    if (turn->row->forced || !oldest || turn->now - oldest >= B24BG_REGISTRATION_DAY) {
        return 0;
    }
    return oldest + B24BG_REGISTRATION_DAY;
}

/* A clock that was set back must not make the cap last longer than a day. */
static void correct_clock(turn_t *turn)
{
    int i;

    for (i = 0; i < B24BG_REGISTRATION_PERDAY_MAX; i++) {
        if (turn->row->binds[i] > turn->now) {
            turn->row->binds[i] = turn->now;
        }
    }
}

static void record_bind(turn_t *turn)
{
    memmove(turn->row->binds + 1, turn->row->binds,
            sizeof(turn->row->binds) - sizeof(turn->row->binds[0]));
    turn->row->binds[0] = turn->now;
}

/* What a step ends with */

static void act(turn_t *turn, b24bg_registration_action_e action)
{
    turn->row->under_way = action;
    turn->row->again = 0;
    turn->row->due = turn->now;
    turn->step.action = action;
}

static void tell(turn_t *turn, b24bg_registration_tell_e what)
{
    turn->step.tell = what;
}

/* BOUND, UNBOUND, BLOCKED: nothing is left to do. */
static void settle(turn_t *turn, b24bg_registration_state_e state, b24bg_registration_tell_e what)
{
    turn->row->state = state;
    turn->row->reason = B24BG_BLOCKED_NONE;
    turn->row->goal = B24BG_GOAL_KEEP;
    turn->row->forced = 0;
    turn->row->attempts = 0;
    turn->row->due = 0;
    tell(turn, what);
}

static void block(turn_t *turn, b24bg_registration_reason_e reason)
{
    settle(turn, B24BG_REGISTRATION_BLOCKED, B24BG_TELL_BLOCKED);
    turn->row->reason = reason;
}

/* The one blockade that ends by itself; then it goes on with what it was at. */
static void block_until(turn_t *turn, apr_time_t until)
{
    b24bg_registration_goal_e goal = turn->row->goal;

    block(turn, B24BG_BLOCKED_DAILY_CAP);
    turn->row->goal = goal;
    turn->row->due = until;
}

static void later(turn_t *turn, b24bg_registration_state_e state)
{
    turn->row->state = state;
    turn->row->attempts++;
    turn->row->due = turn->now + delay(turn, turn->row->attempts);
}

static void fail(turn_t *turn, b24bg_registration_state_e state)
{
    later(turn, state);
    if (turn->row->goal != B24BG_GOAL_UNBIND) {
        tell(turn, B24BG_TELL_REBIND_FAILED);
    }
}

static int settled(const b24bg_registration_t *row)
{
    return row->state == B24BG_REGISTRATION_BOUND || row->state == B24BG_REGISTRATION_UNBOUND ||
           row->state == B24BG_REGISTRATION_BLOCKED;
}

/* LOST and BINDING: the loss was told before. */
static int known_lost(const b24bg_registration_t *row)
{
    return row->state == B24BG_REGISTRATION_LOST || row->state == B24BG_REGISTRATION_BINDING;
}

/* B24bgRebind off: told once, and left as it is. */
static void leave_lost(turn_t *turn)
{
    if (!known_lost(turn->row)) {
        tell(turn, B24BG_TELL_DISABLED);
    }
    turn->row->state = B24BG_REGISTRATION_LOST;
    turn->row->attempts = 0;
    turn->row->due = 0;
}

static int may_repair(const turn_t *turn)
{
    return turn->row->goal != B24BG_GOAL_KEEP || turn->policy->rebind;
}

/* Answers to ASK and READ_BACK */

/* Our own row, too, has to go. */
static int to_take_away(const b24bg_registration_t *row)
{
    return row->goal == B24BG_GOAL_REBIND || row->goal == B24BG_GOAL_UNBIND;
}

/* UNBIND or BIND was answered well, and the portal shows otherwise. What a command has asked for
 * since is not measured by it. */
static int contradicted(const turn_t *turn)
{
    const b24bg_registration_t *row = turn->row;

    return turn->answered == B24BG_ACTION_READ_BACK &&
           (row->state == B24BG_REGISTRATION_LOST ||
            (row->state == B24BG_REGISTRATION_BINDING && !to_take_away(row)));
}

static void bind_now(turn_t *turn)
{
    if (turn->row->goal == B24BG_GOAL_REBIND) {
        turn->row->goal = B24BG_GOAL_BIND; /* nothing is left to be taken away */
    }
    turn->row->state = B24BG_REGISTRATION_BINDING;
    act(turn, B24BG_ACTION_BIND);
}

/* A loss that nobody of us caused: told, and repaired after the first delay. Where the cap is
 * reached that is found out then, so that both are told. */
static void lose(turn_t *turn)
{
    apr_interval_time_t wait = delay(turn, 0);

    tell(turn, B24BG_TELL_DISABLED);
    turn->row->attempts = 0;
    if (wait == 0 && !capped_until(turn)) {
        bind_now(turn);
        return;
    }
    turn->row->state = B24BG_REGISTRATION_LOST;
    turn->row->due = turn->now + wait;
}

static void found_none(turn_t *turn)
{
    apr_time_t until = capped_until(turn);

    if (turn->row->goal == B24BG_GOAL_UNBIND) {
        settle(turn, B24BG_REGISTRATION_UNBOUND, B24BG_TELL_UNBOUND);
    } else if (!may_repair(turn)) {
        leave_lost(turn);
    } else if (turn->row->goal == B24BG_GOAL_KEEP && !known_lost(turn->row)) {
        lose(turn);
    } else if (turn->row->state == B24BG_REGISTRATION_BINDING && contradicted(turn)) {
        fail(turn, B24BG_REGISTRATION_LOST); /* the portal took the bind and has no row */
    } else if (until) {
        block_until(turn, until);
    } else {
        bind_now(turn);
    }
}

static void take_away(turn_t *turn)
{
    turn->row->state = B24BG_REGISTRATION_SUSPECT;
    act(turn, B24BG_ACTION_UNBIND);
}

static void found_stale(turn_t *turn)
{
    apr_time_t until = capped_until(turn);

    if (!may_repair(turn)) {
        leave_lost(turn);
    } else if (contradicted(turn)) {
        fail(turn, B24BG_REGISTRATION_SUSPECT);
    } else if (turn->row->goal == B24BG_GOAL_UNBIND) {
        take_away(turn);
    } else if (until) {
        block_until(turn, until); /* before it is taken away: it may serve until then */
    } else {
        if (turn->row->goal == B24BG_GOAL_KEEP) {
            turn->row->goal = B24BG_GOAL_BIND; /* its absence is our doing, and no loss */
        }
        take_away(turn);
    }
}

static void become_bound(turn_t *turn)
{
    b24bg_registration_t *row = turn->row;
    b24bg_registration_tell_e what = B24BG_TELL_BOUND;

    if (row->state == B24BG_REGISTRATION_BINDING || turn->event == B24BG_EVENT_FOUND_NEW) {
        what = row->was_bound ? B24BG_TELL_REBOUND : B24BG_TELL_BOUND;
    } else if (row->state == B24BG_REGISTRATION_SUSPECT && row->goal == B24BG_GOAL_KEEP) {
        what = B24BG_TELL_FALSE_ALARM;
    }
    row->was_bound = 1;
    settle(turn, B24BG_REGISTRATION_BOUND, what);
}

static void found_ours(turn_t *turn)
{
    if (!to_take_away(turn->row)) {
        become_bound(turn);
    } else if (contradicted(turn)) {
        fail(turn, B24BG_REGISTRATION_SUSPECT);
    } else {
        take_away(turn);
    }
}

static void found_foreign(turn_t *turn)
{
    if (turn->row->goal == B24BG_GOAL_UNBIND) {
        settle(turn, B24BG_REGISTRATION_UNBOUND, B24BG_TELL_UNBOUND);
    } else if (turn->row->goal == B24BG_GOAL_REBIND && !contradicted(turn)) {
        take_away(turn);
    } else {
        block(turn, B24BG_BLOCKED_FOREIGN_HANDLER); /* removed once by command, it was put back */
    }
}

/* Answers to BIND and UNBIND, and to any */

static void done(turn_t *turn)
{
    if (turn->answered == B24BG_ACTION_UNBIND) {
        turn->row->state = B24BG_REGISTRATION_LOST;
    }
    act(turn, B24BG_ACTION_READ_BACK);
}

/* Where nothing is known to be lost, the first question in vain is told, and one that stays so. */
static void again(turn_t *turn)
{
    b24bg_registration_t *row = turn->row;

    if (known_lost(row) || turn->answered == B24BG_ACTION_UNBIND) {
        fail(turn, row->state);
        return;
    }
    later(turn, row->state);
    if (row->attempts == 1) {
        tell(turn, B24BG_TELL_UNREACHABLE);
    } else if (row->attempts % B24BG_REGISTRATION_TOLD_EVERY == 0) {
        tell(turn, B24BG_TELL_REBIND_FAILED);
    }
}

/* What comes from outside */

/* UNKNOWN stays until it is known, BINDING because what was sent is still to be read back. */
static void doubt(b24bg_registration_t *row)
{
    if (row->state != B24BG_REGISTRATION_UNKNOWN && row->state != B24BG_REGISTRATION_BINDING) {
        row->state = B24BG_REGISTRATION_SUSPECT;
    }
}

/* Asks now, or once more when what is under way is answered. */
static void start(turn_t *turn, b24bg_registration_goal_e goal)
{
    b24bg_registration_t *row = turn->row;

    row->goal = goal;
    row->attempts = 0;
    row->reason = B24BG_BLOCKED_NONE;
    doubt(row);
    if (row->under_way) {
        row->again = 1;
        row->due = turn->now;
    } else {
        act(turn, B24BG_ACTION_ASK);
    }
}

/* Never weakens what a command has asked for. */
static void installed(turn_t *turn)
{
    if (turn->row->state != B24BG_REGISTRATION_UNBOUND) {
        start(turn, turn->row->goal == B24BG_GOAL_KEEP ? B24BG_GOAL_BIND : turn->row->goal);
    }
}

static void uninstalled(turn_t *turn)
{
    b24bg_registration_reason_e reason = turn->row->reason;

    block(turn, B24BG_BLOCKED_UNINSTALLED);
    turn->row->was_bound = 0;
    if (reason == B24BG_BLOCKED_UNINSTALLED) {
        tell(turn, B24BG_TELL_NOTHING);
    }
}

/* NOTICE, SILENCE. What is SUSPECT, LOST or BINDING is going to be asked about when it is due; a
 * notice says that a portal that could not be asked is there again, and is worth not to wait. */
static void suspect(turn_t *turn)
{
    b24bg_registration_t *row = turn->row;

    if (row->state == B24BG_REGISTRATION_UNBOUND || row->state == B24BG_REGISTRATION_BLOCKED) {
        return;
    }
    if (row->under_way) {
        row->again = 1;
    } else if (row->state == B24BG_REGISTRATION_BOUND ||
               (row->state == B24BG_REGISTRATION_UNKNOWN && !row->due) ||
               (row->state == B24BG_REGISTRATION_SUSPECT && turn->event == B24BG_EVENT_NOTICE)) {
        doubt(row);
        act(turn, B24BG_ACTION_ASK);
    }
}

static void due(turn_t *turn)
{
    if (!b24bg_registration_is_due(turn->row, turn->now, turn->policy)) {
        return;
    }
    if (turn->row->state == B24BG_REGISTRATION_BLOCKED) {
        turn->row->state = B24BG_REGISTRATION_LOST;
        turn->row->reason = B24BG_BLOCKED_NONE;
    }
    act(turn, B24BG_ACTION_ASK);
}

static void command_bind(turn_t *turn)
{
    turn->row->forced = 1;
    start(turn, B24BG_GOAL_BIND);
}

static void command_unbind(turn_t *turn)
{
    turn->row->forced = 0;
    start(turn, B24BG_GOAL_UNBIND);
}

static void command_rebind(turn_t *turn)
{
    turn->row->forced = 1;
    start(turn, B24BG_GOAL_REBIND);
}

/* The machine: what an event answers, as bits of actions (0: it comes from outside), and what it
 * does, or why it blocks. */
#define BIT(action) (1u << B24BG_ACTION_##action)
#define GET (BIT(ASK) | BIT(READ_BACK))
#define CHANGE (BIT(UNBIND) | BIT(BIND))

static const struct {
    void (*take)(turn_t *turn);
    unsigned answers;
    b24bg_registration_reason_e reason;
} rules[] = {
    [B24BG_EVENT_INSTALLED] = {installed, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_UNINSTALLED] = {uninstalled, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_NOTICE] = {suspect, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_SILENCE] = {suspect, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_DUE] = {due, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_COMMAND_BIND] = {command_bind, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_COMMAND_UNBIND] = {command_unbind, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_COMMAND_REBIND] = {command_rebind, 0, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_FOUND_OURS] = {found_ours, GET, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_FOUND_NEW] = {found_ours, GET, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_FOUND_STALE] = {found_stale, GET, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_FOUND_NONE] = {found_none, GET, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_FOUND_FOREIGN] = {found_foreign, GET, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_DONE] = {done, CHANGE, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_AGAIN] = {again, GET | CHANGE, B24BG_BLOCKED_NONE},
    [B24BG_EVENT_NO_TOKEN] = {NULL, GET | CHANGE, B24BG_BLOCKED_NO_TOKEN},
    [B24BG_EVENT_NOT_ADMIN] = {NULL, GET | CHANGE, B24BG_BLOCKED_NOT_ADMIN},
    [B24BG_EVENT_WRONG_APP] = {NULL, GET | CHANGE, B24BG_BLOCKED_WRONG_APP},
    [B24BG_EVENT_PAYMENT] = {NULL, GET | CHANGE, B24BG_BLOCKED_PAYMENT},
    [B24BG_EVENT_REFUSED] = {NULL, GET | CHANGE, B24BG_BLOCKED_REFUSED},
};
_Static_assert(sizeof(rules) / sizeof(rules[0]) == B24BG_EVENT_COUNT, "an event has no rule");

/* An answer that may be older than a notice, an installation or a command is not acted on. AGAIN
 * and DONE are: a get follows them in any case. */
static void take_answer(turn_t *turn)
{
    b24bg_registration_t *row = turn->row;
    int once_more =
        row->again && turn->event != B24BG_EVENT_AGAIN && turn->event != B24BG_EVENT_DONE;

    turn->answered = row->under_way;
    row->under_way = B24BG_ACTION_NONE;
    row->again = 0;
    if (turn->event == B24BG_EVENT_FOUND_NEW) {
        record_bind(turn);
    }
    if (settled(row)) {
        return;
    }
    if (once_more) {
        act(turn,
            turn->answered == B24BG_ACTION_READ_BACK ? B24BG_ACTION_READ_BACK : B24BG_ACTION_ASK);
    } else if (rules[turn->event].reason) {
        block(turn, rules[turn->event].reason);
    } else {
        rules[turn->event].take(turn);
    }
}

b24bg_registration_step_t b24bg_registration_step(b24bg_registration_t *registration,
                                                  b24bg_registration_event_e event, apr_time_t now,
                                                  const b24bg_registration_policy_t *policy,
                                                  unsigned random)
{
    turn_t turn = {
        .row = registration, .event = event, .now = now, .policy = policy, .random = random};

    correct_clock(&turn);
    if (!rules[event].answers) {
        rules[event].take(&turn);
    } else if (rules[event].answers & (1u << registration->under_way)) {
        take_answer(&turn);
    }
    return turn.step;
}

/* Is there anything to go on with? A `due` that a settled row has by mistake must not poll. */
static int unfinished(const b24bg_registration_t *row, const b24bg_registration_policy_t *policy)
{
    switch (row->state) {
    case B24BG_REGISTRATION_UNKNOWN:
        return row->due != 0;
    case B24BG_REGISTRATION_SUSPECT:
    case B24BG_REGISTRATION_BINDING:
        return 1;
    case B24BG_REGISTRATION_LOST:
        return row->due || row->goal != B24BG_GOAL_KEEP || policy->rebind;
    case B24BG_REGISTRATION_BLOCKED:
        return row->reason == B24BG_BLOCKED_DAILY_CAP;
    default:
        return 0;
    }
}

int b24bg_registration_is_due(const b24bg_registration_t *registration, apr_time_t now,
                              const b24bg_registration_policy_t *policy)
{
    apr_interval_time_t longest = registration->reason == B24BG_BLOCKED_DAILY_CAP
                                      ? B24BG_REGISTRATION_DAY
                                      : longest_delay(policy);

    if (registration->under_way || !unfinished(registration, policy)) {
        return 0;
    }
    return now >= registration->due || registration->due - now > longest;
}

/* Names */

#define NAME(id, name) name,
static const char *const state_names[] = {B24BG_REGISTRATION_STATES(NAME)};
static const char *const reason_names[] = {B24BG_REGISTRATION_REASONS(NAME)};
static const char *const goal_names[] = {B24BG_REGISTRATION_GOALS(NAME)};

static int by_name(const char *const *names, int count, const char *name)
{
    int i;

    for (i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *b24bg_registration_state_name(b24bg_registration_state_e state)
{
    return state_names[state];
}

const char *b24bg_registration_reason_name(b24bg_registration_reason_e reason)
{
    return reason_names[reason];
}

const char *b24bg_registration_goal_name(b24bg_registration_goal_e goal)
{
    return goal_names[goal];
}

static const char *const remedies[] = {
    [B24BG_BLOCKED_NONE] = "",
    [B24BG_BLOCKED_NO_TOKEN] = "install the application again",
    [B24BG_BLOCKED_NOT_ADMIN] =
        "let an administrator of the portal install the application again, or give its user the "
        "right back and use b24bgctl bind",
    [B24BG_BLOCKED_WRONG_APP] = "compare B24bgClient and the application's scope (placement) with "
                                "Bitrix24, then install the application again",
    [B24BG_BLOCKED_PAYMENT] = "the portal's plan or subscription is over; when it is paid, use "
                              "b24bgctl bind",
    [B24BG_BLOCKED_DAILY_CAP] = "it was lost too often in a day: find out why loads are slow; it "
                                "goes on by itself a day after the first bind, and b24bgctl bind "
                                "registers it now, once",
    [B24BG_BLOCKED_UNINSTALLED] = "no action is needed; installing the application again ends it",
    [B24BG_BLOCKED_FOREIGN_HANDLER] =
        "another handler of this application is registered; b24bgctl rebind takes it away",
    [B24BG_BLOCKED_REFUSED] = "mend what the portal refuses, then b24bgctl bind",
};
_Static_assert(sizeof(remedies) / sizeof(remedies[0]) == B24BG_BLOCKED_COUNT,
               "a remedy for each reason");

const char *b24bg_registration_remedy(b24bg_registration_reason_e reason)
{
    return remedies[reason];
}

int b24bg_registration_state_by_name(const char *name)
{
    return by_name(state_names, B24BG_REGISTRATION_STATE_COUNT, name);
}

int b24bg_registration_reason_by_name(const char *name)
{
    return by_name(reason_names, B24BG_BLOCKED_COUNT, name);
}

int b24bg_registration_goal_by_name(const char *name)
{
    return by_name(goal_names, B24BG_GOAL_COUNT, name);
}
