/* b24bg_registration: every combination of what can be against a table that is written down here a
 * second time, and delays, the daily cap and crashes by the clock. A million events at random are
 * in test_registration_walk.c.
 */
#include "unit.h"

#include "b24bg_registration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
/* Any moment; microseconds since 1970. */
#define NOW APR_INT64_C(1714560000000000)
#define SECOND APR_USEC_PER_SEC
#define HOUR (3600 * SECOND)
#define DAY B24BG_REGISTRATION_DAY

/* The complete table. A row holds for the combinations that all of its sets contain; an empty set
 * is all of them. Every combination must have exactly one row, every row at least one combination.
 * The rows that name a group are rules for combinations that cannot come up or mean nothing; they
 * are decided all the same. */

#define IN(value) (1u << (value))

enum {
    UNKNOWN = IN(B24BG_REGISTRATION_UNKNOWN),
    BOUND = IN(B24BG_REGISTRATION_BOUND),
    SUSPECT = IN(B24BG_REGISTRATION_SUSPECT),
    LOST = IN(B24BG_REGISTRATION_LOST),
    BINDING = IN(B24BG_REGISTRATION_BINDING),
    UNBOUND = IN(B24BG_REGISTRATION_UNBOUND),
    BLOCKED = IN(B24BG_REGISTRATION_BLOCKED),
    OPEN = UNKNOWN | SUSPECT | LOST | BINDING,
    SETTLED = BOUND | UNBOUND | BLOCKED,
};

enum {
    NOTHING = IN(B24BG_ACTION_NONE),
    ASK = IN(B24BG_ACTION_ASK),
    READ_BACK = IN(B24BG_ACTION_READ_BACK),
    UNBIND = IN(B24BG_ACTION_UNBIND),
    BIND = IN(B24BG_ACTION_BIND),
    GET = ASK | READ_BACK,
    CHANGE = UNBIND | BIND,
    ANYTHING = GET | CHANGE,
};

enum {
    INSTALLED = IN(B24BG_EVENT_INSTALLED),
    UNINSTALLED = IN(B24BG_EVENT_UNINSTALLED),
    SILENCE = IN(B24BG_EVENT_SILENCE),
    NOTICE = IN(B24BG_EVENT_NOTICE) | SILENCE,
    DUE = IN(B24BG_EVENT_DUE),
    COMMAND_BIND = IN(B24BG_EVENT_COMMAND_BIND),
    COMMAND_UNBIND = IN(B24BG_EVENT_COMMAND_UNBIND),
    COMMAND_REBIND = IN(B24BG_EVENT_COMMAND_REBIND),
    OURS = IN(B24BG_EVENT_FOUND_OURS),
    NEW = IN(B24BG_EVENT_FOUND_NEW),
    STALE = IN(B24BG_EVENT_FOUND_STALE),
    NONE = IN(B24BG_EVENT_FOUND_NONE),
    FOREIGN = IN(B24BG_EVENT_FOUND_FOREIGN),
    FOUND = OURS | NEW | STALE | NONE | FOREIGN,
    DONE = IN(B24BG_EVENT_DONE),
    AGAIN = IN(B24BG_EVENT_AGAIN),
    NO_TOKEN = IN(B24BG_EVENT_NO_TOKEN),
    NOT_ADMIN = IN(B24BG_EVENT_NOT_ADMIN),
    WRONG_APP = IN(B24BG_EVENT_WRONG_APP),
    PAYMENT = IN(B24BG_EVENT_PAYMENT),
    REFUSED = IN(B24BG_EVENT_REFUSED),
    PERMANENT = NO_TOKEN | NOT_ADMIN | WRONG_APP | PAYMENT | REFUSED,
};

enum {
    TO_KEEP = IN(B24BG_GOAL_KEEP),
    TO_BIND = IN(B24BG_GOAL_BIND),
    TO_REBIND = IN(B24BG_GOAL_REBIND),
    TO_UNBIND = IN(B24BG_GOAL_UNBIND),
    TO_HAVE = TO_KEEP | TO_BIND,
    TO_REMOVE = TO_REBIND | TO_UNBIND,
};

enum {
    NO = IN(0),
    YES = IN(1),
};

/* A row says how it differs from what its macros say. */
#pragma GCC diagnostic ignored "-Woverride-init"

/* What `due` is, before and after. */
enum { UNSET, PAST, AHEAD, FAR_AHEAD, DUE_KINDS };
enum { SAME_DUE, NO_DUE, DUE_NOW, AFTER_FIRST, AFTER_FAILURE, AFTER_DAY };

enum { SAME = -1 }; /* as it was */

/* One combination. */
typedef struct {
    unsigned state, under_way, event, goal, again, rebind, stopped, first, was_bound, due, reason;
    int forced, capped; /* stopped: capped and not forced */
} combination_t;

typedef struct {
    const char *name;
    unsigned state, under_way, event, goal, again, rebind, stopped, first, was_bound, due, reason;
    struct {
        int state, goal, reason, forced;
        b24bg_registration_action_e action;
        b24bg_registration_tell_e tell;
        int due;
        enum { UNCHANGED, ENDED } under_way; /* an action that is said takes its place */
        int again;
    } then;
} rule_t;

#define TO(id) .state = B24BG_REGISTRATION_##id
#define STAY .state = SAME
#define AS_BEFORE .goal = SAME, .reason = SAME, .forced = SAME, .again = SAME
#define DO(id) .action = B24BG_ACTION_##id, .due = DUE_NOW
#define SAY(id) .tell = B24BG_TELL_##id
/* The same work goes on. */
#define ON .goal = SAME, .reason = SAME, .forced = SAME, .under_way = ENDED
#define TURN_TO(id) .goal = B24BG_GOAL_##id, .reason = SAME, .forced = SAME, .under_way = ENDED
/* It is over. */
#define END .goal = B24BG_GOAL_KEEP, .reason = 0, .forced = 0, .under_way = ENDED, .due = NO_DUE
#define BLOCK(id)                                                                                  \
    TO(BLOCKED), SAY(BLOCKED), .goal = B24BG_GOAL_KEEP, .reason = B24BG_BLOCKED_##id, .forced = 0, \
                               .under_way = ENDED, .due = NO_DUE
#define CAP                                                                                        \
    TO(BLOCKED), SAY(BLOCKED), .goal = SAME, .reason = B24BG_BLOCKED_DAILY_CAP, .forced = 0,       \
                               .under_way = ENDED, .due = AFTER_DAY

static const rule_t rules[] = {
    /* Groups */
    {.name = "group: get answers what is no get",
     .under_way = NOTHING | CHANGE,
     .event = FOUND,
     .then = {STAY, AS_BEFORE}},
    {.name = "group: done answers what is no change",
     .under_way = NOTHING | GET,
     .event = DONE,
     .then = {STAY, AS_BEFORE}},
    {.name = "group: failure of nothing",
     .under_way = NOTHING,
     .event = AGAIN | PERMANENT,
     .then = {STAY, AS_BEFORE}},
    {.name = "group: settled, get answered",
     .state = SETTLED,
     .under_way = GET,
     .event = FOUND,
     .then = {STAY, ON}},
    {.name = "group: settled, change answered",
     .state = SETTLED,
     .under_way = CHANGE,
     .event = DONE,
     .then = {STAY, ON}},
    {.name = "group: settled, failure answered",
     .state = SETTLED,
     .under_way = ANYTHING,
     .event = AGAIN | PERMANENT,
     .then = {STAY, ON}},
    {.name = "group: answer to ask may be too old",
     .state = OPEN,
     .under_way = ASK,
     .event = FOUND,
     .again = YES,
     .then = {STAY, ON, DO(ASK)}},
    {.name = "group: answer to read back may be too old",
     .state = OPEN,
     .under_way = READ_BACK,
     .event = FOUND,
     .again = YES,
     .then = {STAY, ON, DO(READ_BACK)}},
    {.name = "group: refusal may be too old",
     .state = OPEN,
     .under_way = ASK | CHANGE,
     .event = PERMANENT,
     .again = YES,
     .then = {STAY, ON, DO(ASK)}},
    {.name = "group: refusal to read back may be too old",
     .state = OPEN,
     .under_way = READ_BACK,
     .event = PERMANENT,
     .again = YES,
     .then = {STAY, ON, DO(READ_BACK)}},

    /* From outside */
    {.name = "unbound stays so", .state = UNBOUND, .event = INSTALLED, .then = {STAY, AS_BEFORE}},
    {.name = "installed, never asked or to be read back",
     .state = UNKNOWN | BINDING,
     .under_way = NOTHING,
     .event = INSTALLED,
     .goal = TO_HAVE,
     .then = {STAY, TURN_TO(BIND), DO(ASK), .reason = 0}},
    {.name = "installed",
     .state = BOUND | SUSPECT | LOST | BLOCKED,
     .under_way = NOTHING,
     .event = INSTALLED,
     .goal = TO_HAVE,
     .then = {TO(SUSPECT), TURN_TO(BIND), DO(ASK), .reason = 0}},
    {.name = "installed while a command works, never asked or to be read back",
     .state = UNKNOWN | BINDING,
     .under_way = NOTHING,
     .event = INSTALLED,
     .goal = TO_REMOVE,
     .then = {STAY, ON, DO(ASK), .reason = 0}},
    {.name = "installed while a command works",
     .state = BOUND | SUSPECT | LOST | BLOCKED,
     .under_way = NOTHING,
     .event = INSTALLED,
     .goal = TO_REMOVE,
     .then = {TO(SUSPECT), ON, DO(ASK), .reason = 0}},
    {.name = "installed during an action, never asked or to be read back",
     .state = UNKNOWN | BINDING,
     .under_way = ANYTHING,
     .event = INSTALLED,
     .goal = TO_HAVE,
     .then = {STAY, AS_BEFORE, .goal = B24BG_GOAL_BIND, .reason = 0, .due = DUE_NOW, .again = 1}},
    {.name = "installed during an action",
     .state = BOUND | SUSPECT | LOST | BLOCKED,
     .under_way = ANYTHING,
     .event = INSTALLED,
     .goal = TO_HAVE,
     .then = {TO(SUSPECT), AS_BEFORE, .goal = B24BG_GOAL_BIND, .reason = 0, .due = DUE_NOW,
              .again = 1}},
    {.name = "installed during a command's action, never asked or to be read back",
     .state = UNKNOWN | BINDING,
     .under_way = ANYTHING,
     .event = INSTALLED,
     .goal = TO_REMOVE,
     .then = {STAY, AS_BEFORE, .reason = 0, .due = DUE_NOW, .again = 1}},
    {.name = "installed during a command's action",
     .state = BOUND | SUSPECT | LOST | BLOCKED,
     .under_way = ANYTHING,
     .event = INSTALLED,
     .goal = TO_REMOVE,
     .then = {TO(SUSPECT), AS_BEFORE, .reason = 0, .due = DUE_NOW, .again = 1}},
    {.name = "uninstalled",
     .event = UNINSTALLED,
     .reason = ~IN(B24BG_BLOCKED_UNINSTALLED),
     .then = {BLOCK(UNINSTALLED), .under_way = UNCHANGED, .again = SAME}},
    {.name = "uninstalled again",
     .event = UNINSTALLED,
     .reason = IN(B24BG_BLOCKED_UNINSTALLED),
     .then = {BLOCK(UNINSTALLED), .under_way = UNCHANGED, .again = SAME, .tell = 0}},
    {.name = "notice, no work",
     .state = UNBOUND | BLOCKED,
     .event = NOTICE,
     .then = {STAY, AS_BEFORE}},
    {.name = "notice during an action",
     .state = OPEN | BOUND,
     .under_way = ANYTHING,
     .event = NOTICE,
     .then = {STAY, AS_BEFORE, .again = 1}},
    {.name = "notice",
     .state = BOUND,
     .under_way = NOTHING,
     .event = NOTICE,
     .then = {TO(SUSPECT), ON, DO(ASK)}},
    {.name = "notice, never asked",
     .state = UNKNOWN,
     .under_way = NOTHING,
     .event = NOTICE,
     .due = IN(UNSET),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "notice, the first question waits",
     .state = UNKNOWN,
     .under_way = NOTHING,
     .event = NOTICE,
     .due = ~IN(UNSET),
     .then = {STAY, AS_BEFORE}},
    {.name = "notice, to be asked anyhow",
     .state = LOST | BINDING,
     .under_way = NOTHING,
     .event = NOTICE,
     .then = {STAY, AS_BEFORE}},
    {.name = "silence, to be asked anyhow",
     .state = SUSPECT,
     .under_way = NOTHING,
     .event = SILENCE,
     .then = {STAY, AS_BEFORE}},
    {.name = "notice, the next question waits",
     .state = SUSPECT,
     .under_way = NOTHING,
     .event = IN(B24BG_EVENT_NOTICE),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due during an action",
     .under_way = ANYTHING,
     .event = DUE,
     .then = {STAY, AS_BEFORE}},
    {.name = "due before its time",
     .state = OPEN | BLOCKED,
     .under_way = NOTHING,
     .event = DUE,
     .due = IN(AHEAD),
     .then = {STAY, AS_BEFORE}},
    {.name = "due, no work",
     .state = BOUND | UNBOUND,
     .under_way = NOTHING,
     .event = DUE,
     .then = {STAY, AS_BEFORE}},
    {.name = "due, never installed",
     .state = UNKNOWN,
     .under_way = NOTHING,
     .event = DUE,
     .due = IN(UNSET),
     .then = {STAY, AS_BEFORE}},
    {.name = "due, the first question",
     .state = UNKNOWN,
     .under_way = NOTHING,
     .event = DUE,
     .due = IN(PAST) | IN(FAR_AHEAD),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due after a crash or a wait",
     .state = SUSPECT | BINDING,
     .under_way = NOTHING,
     .event = DUE,
     .due = ~IN(AHEAD),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due, lost",
     .state = LOST,
     .under_way = NOTHING,
     .event = DUE,
     .due = IN(PAST) | IN(FAR_AHEAD),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due, lost, rebind is on again",
     .state = LOST,
     .under_way = NOTHING,
     .event = DUE,
     .rebind = YES,
     .due = IN(UNSET),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due, lost, rebind is off",
     .state = LOST,
     .under_way = NOTHING,
     .event = DUE,
     .goal = TO_KEEP,
     .rebind = NO,
     .due = IN(UNSET),
     .then = {STAY, AS_BEFORE}},
    {.name = "due, lost, rebind is off, a command works",
     .state = LOST,
     .under_way = NOTHING,
     .event = DUE,
     .goal = ~TO_KEEP,
     .rebind = NO,
     .due = IN(UNSET),
     .then = {STAY, ON, DO(ASK)}},
    {.name = "due, blocked for good",
     .state = BLOCKED,
     .under_way = NOTHING,
     .event = DUE,
     .due = ~IN(AHEAD),
     .reason = ~IN(B24BG_BLOCKED_DAILY_CAP),
     .then = {STAY, AS_BEFORE}},
    {.name = "due, a day after the oldest bind",
     .state = BLOCKED,
     .under_way = NOTHING,
     .event = DUE,
     .due = ~IN(AHEAD),
     .reason = IN(B24BG_BLOCKED_DAILY_CAP),
     .then = {TO(LOST), ON, DO(ASK), .reason = 0}},

#define COMMAND(label, event_id, goal_id, force)                                                   \
    {.name = label ", never asked or to be read back",                                             \
     .state = UNKNOWN | BINDING,                                                                   \
     .under_way = NOTHING,                                                                         \
     .event = event_id,                                                                            \
     .then = {STAY, TURN_TO(goal_id), DO(ASK), .reason = 0, .forced = force}},                     \
        {.name = label,                                                                            \
         .state = BOUND | SUSPECT | LOST | UNBOUND | BLOCKED,                                      \
         .under_way = NOTHING,                                                                     \
         .event = event_id,                                                                        \
         .then = {TO(SUSPECT), TURN_TO(goal_id), DO(ASK), .reason = 0, .forced = force}},          \
        {.name = label " during an action, never asked or to be read back",                        \
         .state = UNKNOWN | BINDING,                                                               \
         .under_way = ANYTHING,                                                                    \
         .event = event_id,                                                                        \
         .then = {STAY, .goal = B24BG_GOAL_##goal_id, .forced = force, .due = DUE_NOW,             \
                  .again = 1}},                                                                    \
    {                                                                                              \
        .name = label " during an action", .state = BOUND | SUSPECT | LOST | UNBOUND | BLOCKED,    \
        .under_way = ANYTHING, .event = event_id,                                                  \
        .then = {TO(SUSPECT), .goal = B24BG_GOAL_##goal_id, .forced = force, .due = DUE_NOW,       \
                 .again = 1},                                                                      \
    }
    COMMAND("command bind", COMMAND_BIND, BIND, 1),
    COMMAND("command unbind", COMMAND_UNBIND, UNBIND, 0),
    COMMAND("command rebind", COMMAND_REBIND, REBIND, 1),

    /* Failures */
    {.name = "cannot ask, not known to be lost",
     .state = UNKNOWN | SUSPECT,
     .under_way = GET | BIND,
     .event = AGAIN,
     .then = {STAY, ON, .due = AFTER_FAILURE}},
    {.name = "cannot take away what is to be replaced",
     .state = UNKNOWN | SUSPECT,
     .under_way = UNBIND,
     .event = AGAIN,
     .goal = ~TO_UNBIND,
     .then = {STAY, ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "cannot take away",
     .state = UNKNOWN | SUSPECT,
     .under_way = UNBIND,
     .event = AGAIN,
     .goal = TO_UNBIND,
     .then = {STAY, ON, .due = AFTER_FAILURE}},
    {.name = "cannot bind what is lost",
     .state = LOST | BINDING,
     .under_way = ANYTHING,
     .event = AGAIN,
     .goal = ~TO_UNBIND,
     .then = {STAY, ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "cannot see that it is away",
     .state = LOST | BINDING,
     .under_way = ANYTHING,
     .event = AGAIN,
     .goal = TO_UNBIND,
     .then = {STAY, ON, .due = AFTER_FAILURE}},
#define BLOCKS(label, id)                                                                          \
    {                                                                                              \
        .name = label, .state = OPEN, .under_way = ANYTHING, .event = id, .again = NO, .then = {   \
            BLOCK(id)                                                                              \
        }                                                                                          \
    }
    BLOCKS("no token", NO_TOKEN),
    BLOCKS("not an administrator", NOT_ADMIN),
    BLOCKS("wrong app", WRONG_APP),
    BLOCKS("payment", PAYMENT),
    BLOCKS("refused", REFUSED),

    /* Answers to a change */
    {.name = "bound, to be read back",
     .state = OPEN,
     .under_way = BIND,
     .event = DONE,
     .then = {STAY, ON, DO(READ_BACK)}},
    {.name = "taken away, to be read back",
     .state = OPEN,
     .under_way = UNBIND,
     .event = DONE,
     .then = {TO(LOST), ON, DO(READ_BACK)}},

    /* It is there */
    {.name = "bind confirmed, the first",
     .state = OPEN,
     .under_way = GET,
     .event = NEW,
     .goal = TO_HAVE,
     .again = NO,
     .was_bound = NO,
     .then = {TO(BOUND), END, SAY(BOUND)}},
    {.name = "bind confirmed",
     .state = OPEN,
     .under_way = GET,
     .event = NEW,
     .goal = TO_HAVE,
     .again = NO,
     .was_bound = YES,
     .then = {TO(BOUND), END, SAY(REBOUND)}},
    {.name = "bind confirmed before, the first",
     .state = BINDING,
     .under_way = GET,
     .event = OURS,
     .goal = TO_HAVE,
     .again = NO,
     .was_bound = NO,
     .then = {TO(BOUND), END, SAY(BOUND)}},
    {.name = "bind confirmed before",
     .state = BINDING,
     .under_way = GET,
     .event = OURS,
     .goal = TO_HAVE,
     .again = NO,
     .was_bound = YES,
     .then = {TO(BOUND), END, SAY(REBOUND)}},
    {.name = "false alarm",
     .state = SUSPECT,
     .under_way = GET,
     .event = OURS,
     .goal = TO_KEEP,
     .again = NO,
     .then = {TO(BOUND), END, SAY(FALSE_ALARM)}},
    {.name = "found bound, as a command or an installation wants it",
     .state = SUSPECT,
     .under_way = GET,
     .event = OURS,
     .goal = TO_BIND,
     .again = NO,
     .then = {TO(BOUND), END, SAY(BOUND)}},
    {.name = "found bound",
     .state = UNKNOWN | LOST,
     .under_way = GET,
     .event = OURS,
     .goal = TO_HAVE,
     .again = NO,
     .then = {TO(BOUND), END, SAY(BOUND)}},
    {.name = "found bound, to be taken away",
     .state = UNKNOWN | SUSPECT | BINDING,
     .under_way = GET,
     .event = OURS | NEW,
     .goal = TO_REMOVE,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
    {.name = "found bound after a wait, to be taken away",
     .state = LOST,
     .under_way = ASK,
     .event = OURS | NEW,
     .goal = TO_REMOVE,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
    {.name = "taken away and still there, to be replaced",
     .state = LOST,
     .under_way = READ_BACK,
     .event = OURS | NEW,
     .goal = TO_REBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "taken away and still there",
     .state = LOST,
     .under_way = READ_BACK,
     .event = OURS | NEW,
     .goal = TO_UNBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE}},

    /* It is not there */
    {.name = "is away",
     .state = OPEN,
     .under_way = GET,
     .event = NONE | FOREIGN,
     .goal = TO_UNBIND,
     .again = NO,
     .then = {TO(UNBOUND), END, SAY(UNBOUND)}},
    {.name = "loss confirmed, rebind is off",
     .state = UNKNOWN | SUSPECT,
     .under_way = GET,
     .event = NONE | STALE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = NO,
     .then = {TO(LOST), ON, .due = NO_DUE, SAY(DISABLED)}},
    {.name = "known to be lost, rebind is off",
     .state = LOST | BINDING,
     .under_way = GET,
     .event = NONE | STALE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = NO,
     .then = {TO(LOST), ON, .due = NO_DUE}},
    {.name = "loss confirmed, waits",
     .state = UNKNOWN | SUSPECT,
     .under_way = GET,
     .event = NONE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = YES,
     .first = YES,
     .then = {TO(LOST), ON, .due = AFTER_FIRST, SAY(DISABLED)}},
    {.name = "loss confirmed, cap reached",
     .state = UNKNOWN | SUSPECT,
     .under_way = GET,
     .event = NONE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = YES,
     .stopped = YES,
     .first = NO,
     .then = {TO(LOST), ON, .due = DUE_NOW, SAY(DISABLED)}},
    {.name = "loss confirmed, first is 0",
     .state = UNKNOWN | SUSPECT,
     .under_way = GET,
     .event = NONE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = YES,
     .stopped = NO,
     .first = NO,
     .then = {TO(BINDING), ON, DO(BIND), SAY(DISABLED)}},
    {.name = "bound and not there, kept",
     .state = BINDING,
     .under_way = READ_BACK,
     .event = NONE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = YES,
     .then = {TO(LOST), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "bound and not there",
     .state = BINDING,
     .under_way = READ_BACK,
     .event = NONE,
     .goal = TO_BIND,
     .again = NO,
     .then = {TO(LOST), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
#define BINDS(label, states, action, goals, rebinds, ...)                                          \
    {.name = label,                                                                                \
     .state = states,                                                                              \
     .under_way = action,                                                                          \
     .event = NONE,                                                                                \
     .goal = goals,                                                                                \
     .again = NO,                                                                                  \
     .rebind = rebinds,                                                                            \
     .stopped = NO,                                                                                \
     .then = {TO(BINDING), __VA_ARGS__, DO(BIND)}},                                                \
    {                                                                                              \
        .name = label ", cap reached", .state = states, .under_way = action, .event = NONE,        \
        .goal = goals, .again = NO, .rebind = rebinds, .stopped = YES, .then = {CAP},              \
    }
    BINDS("lost, to be bound", LOST, GET, TO_KEEP, YES, ON),
    BINDS("bind got lost", BINDING, ASK, TO_KEEP, YES, ON),
    BINDS("not there, to be bound", UNKNOWN | SUSPECT | LOST, GET, TO_BIND, 0, ON),
    BINDS("bind got lost, to be bound", BINDING, ASK, TO_BIND, 0, ON),
    BINDS("not there, to be bound anew", OPEN, GET, TO_REBIND, 0, TURN_TO(BIND)),

    /* Something else is there */
    {.name = "another key after a change, kept",
     .state = LOST | BINDING,
     .under_way = READ_BACK,
     .event = STALE,
     .goal = TO_KEEP,
     .again = NO,
     .rebind = YES,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "another key after a change",
     .state = LOST | BINDING,
     .under_way = READ_BACK,
     .event = STALE,
     .goal = TO_BIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "taken away and another key, to be replaced",
     .state = LOST,
     .under_way = READ_BACK,
     .event = STALE,
     .goal = TO_REBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE, SAY(REBIND_FAILED)}},
    {.name = "taken away and another key",
     .state = LOST,
     .under_way = READ_BACK,
     .event = STALE,
     .goal = TO_UNBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, .due = AFTER_FAILURE}},
    {.name = "another key, to be taken away",
     .state = UNKNOWN | SUSPECT | BINDING,
     .under_way = GET,
     .event = STALE,
     .goal = TO_UNBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
    {.name = "another key after a wait, to be taken away",
     .state = LOST,
     .under_way = ASK,
     .event = STALE,
     .goal = TO_UNBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
#define REPLACES(label, states, action, goals, rebinds, ...)                                       \
    {.name = label,                                                                                \
     .state = states,                                                                              \
     .under_way = action,                                                                          \
     .event = STALE,                                                                               \
     .goal = goals,                                                                                \
     .again = NO,                                                                                  \
     .rebind = rebinds,                                                                            \
     .stopped = NO,                                                                                \
     .then = {TO(SUSPECT), __VA_ARGS__, DO(UNBIND)}},                                              \
    {                                                                                              \
        .name = label ", cap reached", .state = states, .under_way = action, .event = STALE,       \
        .goal = goals, .again = NO, .rebind = rebinds, .stopped = YES, .then = {CAP},              \
    }
    REPLACES("another key, kept", UNKNOWN | SUSPECT, GET, TO_KEEP, YES, TURN_TO(BIND)),
    REPLACES("another key after a wait, kept", LOST | BINDING, ASK, TO_KEEP, YES, TURN_TO(BIND)),
    REPLACES("another key", UNKNOWN | SUSPECT, GET, TO_BIND, 0, ON),
    REPLACES("another key after a wait", LOST | BINDING, ASK, TO_BIND, 0, ON),
    REPLACES("another key, command", UNKNOWN | SUSPECT | BINDING, GET, TO_REBIND, 0, ON),
    REPLACES("another key after a wait, command", LOST, ASK, TO_REBIND, 0, ON),
    {.name = "foreign handler",
     .state = OPEN,
     .under_way = GET,
     .event = FOREIGN,
     .goal = TO_HAVE,
     .again = NO,
     .then = {BLOCK(FOREIGN_HANDLER)}},
    {.name = "foreign handler, removed by command",
     .state = UNKNOWN | SUSPECT | BINDING,
     .under_way = GET,
     .event = FOREIGN,
     .goal = TO_REBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
    {.name = "foreign handler after a wait, removed by command",
     .state = LOST,
     .under_way = ASK,
     .event = FOREIGN,
     .goal = TO_REBIND,
     .again = NO,
     .then = {TO(SUSPECT), ON, DO(UNBIND)}},
    {.name = "foreign handler put back",
     .state = LOST,
     .under_way = READ_BACK,
     .event = FOREIGN,
     .goal = TO_REBIND,
     .again = NO,
     .then = {BLOCK(FOREIGN_HANDLER)}},
};

static int has(unsigned set, unsigned value)
{
    return !set || (set & IN(value));
}

static int holds(const rule_t *rule, const combination_t *c)
{
    return has(rule->event, c->event) && has(rule->state, c->state) &&
           has(rule->under_way, c->under_way) && has(rule->goal, c->goal) &&
           has(rule->again, c->again) && has(rule->rebind, c->rebind) &&
           has(rule->stopped, c->stopped) && has(rule->first, c->first) &&
           has(rule->was_bound, c->was_bound) && has(rule->due, c->due) &&
           has(rule->reason, c->reason);
}

/* The part of a combination that most rows do not look at. */
#define MINOR_COMBINATIONS (DUE_KINDS * 2 * 2 * 2 * 2 * 2 * 2)

static void set_minor(combination_t *c, unsigned number)
{
    c->due = number % DUE_KINDS;
    number /= DUE_KINDS;
    c->again = number & 1;
    c->rebind = number >> 1 & 1;
    c->capped = number >> 2 & 1;
    c->forced = number >> 3 & 1;
    c->first = number >> 4 & 1;
    c->was_bound = number >> 5 & 1;
    c->stopped = c->capped && !c->forced;
}

static const unsigned blocked_reasons[] = {B24BG_BLOCKED_DAILY_CAP, B24BG_BLOCKED_UNINSTALLED,
                                           B24BG_BLOCKED_NO_TOKEN};

typedef void (*visit_cb)(const rule_t *rule, const combination_t *c);

static int visit_minor(const rule_t *rule, combination_t *c, visit_cb visit)
{
    unsigned reasons = c->state == B24BG_REGISTRATION_BLOCKED ? COUNT_OF(blocked_reasons) : 1;
    unsigned i;
    int count = 0;

    for (i = 0; i < reasons * MINOR_COMBINATIONS; i++) {
        set_minor(c, i / reasons);
        c->reason = c->state == B24BG_REGISTRATION_BLOCKED ? blocked_reasons[i % reasons]
                                                           : B24BG_BLOCKED_NONE;
        if (holds(rule, c)) {
            visit(rule, c);
            count++;
        }
    }
    return count;
}

/* Every combination that the rule holds for; how many there are. */
static int visit_all(const rule_t *rule, visit_cb visit)
{
    combination_t c;
    int count = 0;

    for (c.event = 0; c.event < B24BG_EVENT_COUNT; c.event++) {
        for (c.state = 0; c.state < B24BG_REGISTRATION_STATE_COUNT; c.state++) {
            for (c.under_way = 0; c.under_way < B24BG_ACTION_COUNT; c.under_way++) {
                for (c.goal = 0; c.goal < B24BG_GOAL_COUNT; c.goal++) {
                    if (has(rule->event, c.event) && has(rule->state, c.state) &&
                        has(rule->under_way, c.under_way) && has(rule->goal, c.goal)) {
                        count += visit_minor(rule, &c, visit);
                    }
                }
            }
        }
    }
    return count;
}

static const char *describe(const combination_t *c)
{
    static char text[256];

    snprintf(text, sizeof(text),
             "state=%s under_way=%u event=%u goal=%s due=%u again=%u rebind=%u stopped=%u first=%u "
             "was_bound=%u reason=%s",
             b24bg_registration_state_name(c->state), c->under_way, c->event,
             b24bg_registration_goal_name(c->goal), c->due, c->again, c->rebind, c->stopped,
             c->first, c->was_bound, b24bg_registration_reason_name(c->reason));
    return text;
}

#define OLDEST (NOW - DAY + HOUR)

static void set_policy(const combination_t *c, b24bg_registration_policy_t *policy)
{
    policy->rebind = (int)c->rebind;
    policy->first = c->first ? 60 * SECOND : 0;
    policy->cap = 6 * HOUR;
    policy->perday = 2;
}

static void set_row(const combination_t *c, b24bg_registration_t *row)
{
    static const apr_time_t due[] = {0, NOW, NOW + HOUR, NOW + 3 * DAY};

    memset(row, 0, sizeof(*row));
    row->state = c->state;
    row->reason = c->reason;
    row->goal = c->goal;
    row->was_bound = (int)c->was_bound;
    row->forced = c->forced;
    row->attempts = 1;
    row->due = due[c->due];
    row->binds[0] = NOW - HOUR;
    row->binds[1] = c->capped ? OLDEST : NOW - DAY;
    row->under_way = c->under_way;
    row->again = (int)c->again;
}

static void expect(const combination_t *c, const char *what, apr_int64_t expected, apr_int64_t got)
{
    if (expected != got) {
        fail_msg("%s: %s is %" PRId64 ", not %" PRId64, describe(c), what, (int64_t)got,
                 (int64_t)expected);
    }
}

static void expect_due(const rule_t *rule, const combination_t *c, const b24bg_registration_t *then,
                       apr_time_t before)
{
    const apr_time_t due[] = {
        [SAME_DUE] = before,
        [NO_DUE] = 0,
        [DUE_NOW] = NOW,
        [AFTER_FIRST] = NOW + 60 * SECOND,
        [AFTER_FAILURE] = NOW + (c->first ? 120 : 4) * SECOND, /* the second in a row */
        [AFTER_DAY] = OLDEST + DAY,
    };

    expect(c, "due", due[rule->then.due], then->due);
}

/* Failures in a row: counted, or forgotten when something new begins or it is over. */
static void expect_attempts(const rule_t *rule, const combination_t *c, int got)
{
    int anew = has(INSTALLED | COMMAND_BIND | COMMAND_UNBIND | COMMAND_REBIND, c->event) &&
               rule->then.due == DUE_NOW;
    int over = rule->then.due == NO_DUE || rule->then.due == AFTER_DAY ||
               rule->then.tell == B24BG_TELL_DISABLED;

    expect(c, "attempts", rule->then.due == AFTER_FAILURE ? 2 : anew || over ? 0 : 1, got);
}

static void expect_rest(const rule_t *rule, const combination_t *c,
                        const b24bg_registration_t *before, const b24bg_registration_t *then)
{
    int confirmed = c->event == B24BG_EVENT_FOUND_NEW && has(GET, c->under_way);
    int was_bound = then->state == B24BG_REGISTRATION_BOUND && before->state != then->state
                        ? 1
                        : c->event != B24BG_EVENT_UNINSTALLED && before->was_bound;

    expect_attempts(rule, c, then->attempts);
    expect(c, "was_bound", was_bound, then->was_bound);
    expect(c, "newest bind", confirmed ? NOW : before->binds[0], then->binds[0]);
    expect(c, "next bind", before->binds[confirmed ? 0 : 1], then->binds[1]);
    expect(c, "last bind", confirmed ? before->binds[1] : 0, then->binds[2]);
}

#define OR(expected, before) ((expected) == SAME ? (apr_int64_t)(before) : (expected))

static void check(const rule_t *rule, const combination_t *c)
{
    b24bg_registration_policy_t policy;
    b24bg_registration_t before, then;
    b24bg_registration_step_t step;
    apr_int64_t under_way = rule->then.under_way == ENDED ? B24BG_ACTION_NONE : c->under_way;

    set_policy(c, &policy);
    set_row(c, &before);
    then = before;
    step = b24bg_registration_step(&then, c->event, NOW, &policy, 0);
    expect(c, "state", OR(rule->then.state, before.state), then.state);
    expect(c, "reason", OR(rule->then.reason, before.reason), then.reason);
    expect(c, "goal", OR(rule->then.goal, before.goal), then.goal);
    expect(c, "forced", OR(rule->then.forced, before.forced), then.forced);
    expect(c, "again", OR(rule->then.again, before.again), then.again);
    expect(c, "action", rule->then.action, step.action);
    expect(c, "tell", rule->then.tell, step.tell);
    expect(c, "under_way", rule->then.action ? rule->then.action : under_way, then.under_way);
    expect_due(rule, c, &then, before.due);
    expect_rest(rule, c, &before, &then);
}

static void table(void **state)
{
    const rule_t *rule = *state;

    assert_true(visit_all(rule, check) > 0);
}

static void count_rules(const rule_t *all, const combination_t *c)
{
    const rule_t *found = NULL;
    size_t i;

    (void)all;
    for (i = 0; i < COUNT_OF(rules); i++) {
        if (!holds(&rules[i], c)) {
            continue;
        }
        if (found) {
            fail_msg("%s: both \"%s\" and \"%s\"", describe(c), found->name, rules[i].name);
        }
        found = &rules[i];
    }
    if (!found) {
        fail_msg("%s: no rule", describe(c));
    }
}

static void table_is_complete(void **state)
{
    static const rule_t all;

    (void)state;
    assert_true(visit_all(&all, count_rules) >
                B24BG_EVENT_COUNT * B24BG_REGISTRATION_STATE_COUNT * B24BG_ACTION_COUNT);
}

/* Scenarios: a fake clock, and each event with the action that it must lead to */

static b24bg_registration_policy_t policy_of(apr_interval_time_t first, apr_interval_time_t cap,
                                             int perday)
{
    b24bg_registration_policy_t policy = {1, first, cap, perday};

    return policy;
}

static void feed(b24bg_registration_t *row, b24bg_registration_event_e event, apr_time_t now,
                 const b24bg_registration_policy_t *policy, b24bg_registration_action_e action)
{
    b24bg_registration_step_t step = b24bg_registration_step(row, event, now, policy, 0);

    assert_int_equal(action, step.action);
}

/* What is left of it in the store. */
static void crash(b24bg_registration_t *row)
{
    row->under_way = B24BG_ACTION_NONE;
    row->again = 0;
}

/* From a notice to BOUND, with a first delay of 0. */
static void repair(b24bg_registration_t *row, apr_time_t now,
                   const b24bg_registration_policy_t *policy)
{
    feed(row, B24BG_EVENT_NOTICE, now, policy, B24BG_ACTION_ASK);
    feed(row, B24BG_EVENT_FOUND_NONE, now, policy, B24BG_ACTION_BIND);
    feed(row, B24BG_EVENT_DONE, now, policy, B24BG_ACTION_READ_BACK);
    feed(row, B24BG_EVENT_FOUND_NEW, now, policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_BOUND, row->state);
    assert_int_equal(now, row->binds[0]);
}

static b24bg_registration_t bound(void)
{
    b24bg_registration_t row = {.state = B24BG_REGISTRATION_BOUND, .was_bound = 1};

    return row;
}

static void install(void **state)
{
    b24bg_registration_policy_t policy = policy_of(60 * SECOND, 6 * HOUR, 4);
    b24bg_registration_t row = {0};

    (void)state;
    assert_false(b24bg_registration_is_due(&row, NOW, &policy));
    feed(&row, B24BG_EVENT_INSTALLED, NOW, &policy, B24BG_ACTION_ASK);
    assert_int_equal(B24BG_REGISTRATION_UNKNOWN, row.state);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
    assert_int_equal(B24BG_REGISTRATION_BINDING, row.state);
    feed(&row, B24BG_EVENT_DONE, NOW, &policy, B24BG_ACTION_READ_BACK);
    feed(&row, B24BG_EVENT_FOUND_NEW, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_BOUND, row.state);
}

static void first_delay(void **state)
{
    b24bg_registration_policy_t policy = policy_of(60 * SECOND, 6 * HOUR, 4);
    b24bg_registration_t row = bound();

    (void)state;
    feed(&row, B24BG_EVENT_NOTICE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_LOST, row.state);
    feed(&row, B24BG_EVENT_DUE, NOW + 60 * SECOND - 1, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW + 60 * SECOND, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + 61 * SECOND, &policy, B24BG_ACTION_BIND);
}

static const struct backoff {
    const char *name;
    apr_interval_time_t first, cap;
    unsigned random;
    apr_interval_time_t delays[8]; /* after 0, 1, 2, ... failures */
} backoffs[] = {
    {"doubled up to the cap, less what is for spreading",
     60 * SECOND,
     1000 * SECOND,
     0,
     {60 * SECOND, 60 * SECOND, 120 * SECOND, 240 * SECOND, 480 * SECOND, 800 * SECOND,
      800 * SECOND, 800 * SECOND}},
    {"spread by a quarter more, never over the cap",
     60 * SECOND,
     1000 * SECOND,
     65535,
     {75 * SECOND, 75 * SECOND, 150 * SECOND, 300 * SECOND, 600 * SECOND, 1000 * SECOND,
      1000 * SECOND, 1000 * SECOND}},
    {"first is 0",
     0,
     20 * SECOND,
     0,
     {0, 2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND, 16 * SECOND, 16 * SECOND, 16 * SECOND}},
    {"first is 0, spread",
     0,
     20 * SECOND,
     65535,
     {0, 2500000, 5 * SECOND, 10 * SECOND, 20 * SECOND, 20 * SECOND, 20 * SECOND, 20 * SECOND}},
    {"first is the cap",
     60 * SECOND,
     60 * SECOND,
     65535,
     {60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND,
      60 * SECOND}},
    {"first over the cap",
     HOUR,
     60 * SECOND,
     0,
     {60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND,
      60 * SECOND}},
    {"a cap of 0 is no loop",
     0,
     0,
     65535,
     {0, 2 * SECOND, 2 * SECOND, 2 * SECOND, 2 * SECOND, 2 * SECOND, 2 * SECOND, 2 * SECOND}},
    {"random over its range",
     60 * SECOND,
     1000 * SECOND,
     0x12340000,
     {60 * SECOND, 60 * SECOND, 120 * SECOND, 240 * SECOND, 480 * SECOND, 800 * SECOND,
      800 * SECOND, 800 * SECOND}},
};

static void backoff(void **state)
{
    const struct backoff *test = *state;
    b24bg_registration_policy_t policy = policy_of(test->first, test->cap, 4);
    b24bg_registration_t row = bound();
    apr_time_t now = NOW;
    size_t i;

    feed(&row, B24BG_EVENT_NOTICE, now, &policy, B24BG_ACTION_ASK);
    b24bg_registration_step(&row, B24BG_EVENT_FOUND_NONE, now, &policy, test->random);
    assert_int_equal(test->delays[0], row.due - now);
    for (i = 1; i < COUNT_OF(test->delays); i++) {
        now = row.due;
        if (row.under_way == B24BG_ACTION_NONE) {
            feed(&row, B24BG_EVENT_DUE, now, &policy, B24BG_ACTION_ASK);
            feed(&row, B24BG_EVENT_FOUND_NONE, now, &policy, B24BG_ACTION_BIND);
        }
        now += SECOND;
        b24bg_registration_step(&row, B24BG_EVENT_AGAIN, now, &policy, test->random);
        assert_int_equal(B24BG_REGISTRATION_BINDING, row.state);
        assert_int_equal(test->delays[i], row.due - now);
    }
}

static void no_overflow_after_ages_of_failures(void **state)
{
    b24bg_registration_policy_t policy = policy_of(60 * SECOND, 365 * DAY, 4);
    b24bg_registration_t row = bound();
    apr_time_t now = NOW;
    int i;

    (void)state;
    feed(&row, B24BG_EVENT_NOTICE, now, &policy, B24BG_ACTION_ASK);
    for (i = 0; i < 1000; i++) {
        b24bg_registration_step(&row, B24BG_EVENT_AGAIN, now, &policy, 65535);
        assert_in_range(row.due - now, 60 * SECOND, 365 * DAY);
        now = row.due;
        feed(&row, B24BG_EVENT_DUE, now, &policy, B24BG_ACTION_ASK);
    }
}

/* The portal takes the bind and shows nothing: each round waits longer, and none is hurried. */
static void bind_without_effect(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 4);
    b24bg_registration_t row = bound();
    apr_time_t now = NOW;
    int i;

    (void)state;
    feed(&row, B24BG_EVENT_NOTICE, now, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, now, &policy, B24BG_ACTION_BIND);
    for (i = 0; i < 5; i++) {
        feed(&row, B24BG_EVENT_DONE, now, &policy, B24BG_ACTION_READ_BACK);
        feed(&row, B24BG_EVENT_FOUND_NONE, now, &policy, B24BG_ACTION_NONE);
        assert_int_equal(2 * SECOND << i, row.due - now);
        now = row.due;
        feed(&row, B24BG_EVENT_DUE, now, &policy, B24BG_ACTION_ASK);
        feed(&row, B24BG_EVENT_FOUND_NONE, now, &policy, B24BG_ACTION_BIND);
    }
    feed(&row, B24BG_EVENT_DONE, now, &policy, B24BG_ACTION_READ_BACK);
    feed(&row, B24BG_EVENT_FOUND_NEW, now, &policy, B24BG_ACTION_NONE);
    assert_int_equal(0, row.attempts);
}

static void daily_cap(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 3);
    b24bg_registration_t row = bound();
    b24bg_registration_step_t step;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        repair(&row, NOW + i * HOUR, &policy);
    }
    /* The fourth loss is told, then the cap. */
    feed(&row, B24BG_EVENT_NOTICE, NOW + 3 * HOUR, &policy, B24BG_ACTION_ASK);
    step = b24bg_registration_step(&row, B24BG_EVENT_FOUND_NONE, NOW + 3 * HOUR, &policy, 0);
    assert_int_equal(B24BG_TELL_DISABLED, step.tell);
    feed(&row, B24BG_EVENT_DUE, NOW + 3 * HOUR, &policy, B24BG_ACTION_ASK);
    step = b24bg_registration_step(&row, B24BG_EVENT_FOUND_NONE, NOW + 3 * HOUR, &policy, 0);
    assert_int_equal(B24BG_TELL_BLOCKED, step.tell);
    assert_int_equal(B24BG_BLOCKED_DAILY_CAP, row.reason);
    assert_int_equal(NOW + DAY, row.due);
    /* It leaves by itself, with the oldest. */
    feed(&row, B24BG_EVENT_NOTICE, NOW + DAY - 1, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW + DAY - 1, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW + DAY, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + DAY, &policy, B24BG_ACTION_BIND);
    feed(&row, B24BG_EVENT_DONE, NOW + DAY, &policy, B24BG_ACTION_READ_BACK);
    feed(&row, B24BG_EVENT_FOUND_NEW, NOW + DAY, &policy, B24BG_ACTION_NONE);
    /* The next one waits for the second. */
    feed(&row, B24BG_EVENT_SILENCE, NOW + DAY + 1, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + DAY + 1, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW + DAY + 1, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + DAY + 1, &policy, B24BG_ACTION_NONE);
    assert_int_equal(NOW + HOUR + DAY, row.due);
}

static void cap_at_its_largest(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 1000);
    b24bg_registration_t row = bound();
    int i;

    (void)state;
    for (i = 0; i < B24BG_REGISTRATION_PERDAY_MAX; i++) {
        repair(&row, NOW + i, &policy);
    }
    feed(&row, B24BG_EVENT_NOTICE, NOW + i, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + i, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_LOST, row.state);
}

static void cap_and_command(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 1);
    b24bg_registration_t row = bound();

    (void)state;
    repair(&row, NOW, &policy);
    feed(&row, B24BG_EVENT_NOTICE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_COMMAND_BIND, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
    feed(&row, B24BG_EVENT_DONE, NOW, &policy, B24BG_ACTION_READ_BACK);
    feed(&row, B24BG_EVENT_FOUND_NEW, NOW, &policy, B24BG_ACTION_NONE);
    /* Once: the next loss meets the cap. */
    feed(&row, B24BG_EVENT_NOTICE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_BLOCKED_DAILY_CAP, row.reason);
}

/* The row of another key serves as long as it may not be replaced. */
static void cap_leaves_a_stale_row(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 1);
    b24bg_registration_t row = bound();

    (void)state;
    repair(&row, NOW, &policy);
    feed(&row, B24BG_EVENT_SILENCE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_STALE, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_BLOCKED_DAILY_CAP, row.reason);
    feed(&row, B24BG_EVENT_DUE, NOW + DAY, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_STALE, NOW + DAY, &policy, B24BG_ACTION_UNBIND);
    feed(&row, B24BG_EVENT_DONE, NOW + DAY, &policy, B24BG_ACTION_READ_BACK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + DAY, &policy, B24BG_ACTION_BIND);
}

static void clock_set_back(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 1);
    b24bg_registration_t row = bound();

    (void)state;
    repair(&row, NOW + 365 * DAY, &policy);
    feed(&row, B24BG_EVENT_NOTICE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(NOW + DAY, row.due);
    assert_false(b24bg_registration_is_due(&row, NOW, &policy));
    row.due = NOW + 365 * DAY;
    assert_true(b24bg_registration_is_due(&row, NOW, &policy));
}

static void rebind_off_and_on(void **state)
{
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 4);
    b24bg_registration_t row = bound();

    (void)state;
    policy.rebind = 0;
    feed(&row, B24BG_EVENT_NOTICE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_LOST, row.state);
    assert_false(b24bg_registration_is_due(&row, NOW + DAY, &policy));
    policy.rebind = 1;
    assert_true(b24bg_registration_is_due(&row, NOW + DAY, &policy));
    feed(&row, B24BG_EVENT_DUE, NOW + DAY, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + DAY, &policy, B24BG_ACTION_BIND);
}

static void rebind_off_and_command(void **state)
{
    b24bg_registration_policy_t policy = policy_of(60 * SECOND, 6 * HOUR, 4);
    b24bg_registration_t row = bound();

    (void)state;
    policy.rebind = 0;
    feed(&row, B24BG_EVENT_COMMAND_BIND, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
    feed(&row, B24BG_EVENT_AGAIN, NOW, &policy, B24BG_ACTION_NONE);
    feed(&row, B24BG_EVENT_DUE, NOW + 60 * SECOND, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW + 60 * SECOND, &policy, B24BG_ACTION_BIND);
}

/* A new key although the old one is live, over a crash at each point. */
static void command_rebind_over_crashes(void **state)
{
    b24bg_registration_policy_t policy = policy_of(60 * SECOND, 6 * HOUR, 4);
    b24bg_registration_t row = bound();

    (void)state;
    feed(&row, B24BG_EVENT_COMMAND_REBIND, NOW, &policy, B24BG_ACTION_ASK);
    crash(&row);
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_OURS, NOW, &policy, B24BG_ACTION_UNBIND);
    crash(&row);
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_OURS, NOW, &policy, B24BG_ACTION_UNBIND);
    feed(&row, B24BG_EVENT_DONE, NOW, &policy, B24BG_ACTION_READ_BACK);
    crash(&row);
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
    crash(&row); /* before it was sent */
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
    crash(&row); /* after it was sent */
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    feed(&row, B24BG_EVENT_FOUND_NEW, NOW, &policy, B24BG_ACTION_NONE);
    assert_int_equal(B24BG_REGISTRATION_BOUND, row.state);
    assert_int_equal(NOW, row.binds[0]);
    assert_int_equal(0, row.binds[1]);
}

/* Loaded from the store with nothing under way; a store that forgot the time as well. */
static const struct loaded {
    const char *name;
    b24bg_registration_state_e state;
    apr_time_t due;
} loaded[] = {
    {"suspect", B24BG_REGISTRATION_SUSPECT, NOW - HOUR},
    {"lost", B24BG_REGISTRATION_LOST, NOW - HOUR},
    {"binding", B24BG_REGISTRATION_BINDING, NOW - HOUR},
    {"suspect, no time", B24BG_REGISTRATION_SUSPECT, 0},
    {"lost, no time", B24BG_REGISTRATION_LOST, 0},
    {"binding, no time", B24BG_REGISTRATION_BINDING, 0},
};

static void loaded_after_a_crash(void **state)
{
    const struct loaded *test = *state;
    b24bg_registration_policy_t policy = policy_of(0, 6 * HOUR, 4);
    b24bg_registration_t row = {.state = test->state, .due = test->due, .was_bound = 1};

    assert_true(b24bg_registration_is_due(&row, NOW, &policy));
    feed(&row, B24BG_EVENT_DUE, NOW, &policy, B24BG_ACTION_ASK);
    assert_int_equal(test->state, row.state);
    assert_false(b24bg_registration_is_due(&row, NOW, &policy));
    feed(&row, B24BG_EVENT_FOUND_NONE, NOW, &policy, B24BG_ACTION_BIND);
}

static void names(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < B24BG_REGISTRATION_STATE_COUNT; i++) {
        assert_int_equal(i, b24bg_registration_state_by_name(b24bg_registration_state_name(i)));
    }
    for (i = 0; i < B24BG_BLOCKED_COUNT; i++) {
        assert_int_equal(i, b24bg_registration_reason_by_name(b24bg_registration_reason_name(i)));
    }
    for (i = 0; i < B24BG_GOAL_COUNT; i++) {
        assert_int_equal(i, b24bg_registration_goal_by_name(b24bg_registration_goal_name(i)));
    }
    assert_int_equal(-1, b24bg_registration_state_by_name("Bound"));
    assert_int_equal(-1, b24bg_registration_reason_by_name("foreign"));
    assert_int_equal(-1, b24bg_registration_goal_by_name(""));
    assert_string_equal("foreign-handler",
                        b24bg_registration_reason_name(B24BG_BLOCKED_FOREIGN_HANDLER));
}

int main(void)
{
    UNIT_ADD_ROWS(table, rules);
    UNIT_ADD(table_is_complete);
    UNIT_ADD(install);
    UNIT_ADD(first_delay);
    UNIT_ADD_ROWS(backoff, backoffs);
    UNIT_ADD(no_overflow_after_ages_of_failures);
    UNIT_ADD(bind_without_effect);
    UNIT_ADD(daily_cap);
    UNIT_ADD(cap_at_its_largest);
    UNIT_ADD(cap_and_command);
    UNIT_ADD(cap_leaves_a_stale_row);
    UNIT_ADD(clock_set_back);
    UNIT_ADD(rebind_off_and_on);
    UNIT_ADD(rebind_off_and_command);
    UNIT_ADD(command_rebind_over_crashes);
    UNIT_ADD_ROWS(loaded_after_a_crash, loaded);
    UNIT_ADD(names);
    return unit_run("registration");
}
