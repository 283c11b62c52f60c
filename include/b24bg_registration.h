/* The life of a registration: (state, event, time) -> (state, action). Spec.md section 5.
 *
 * Pure in the strict sense: no clock, no randomness, no input or output, no memory but what is
 * passed. The task feeds it what happened and carries out what it says, and commits the new state
 * before it acts; so after a crash at any point the next step starts from a state that is true or
 * that asks the portal first.
 *
 * One registration is one row at the portal: (app, portal, user); user 0 is the general one.
 */
#ifndef B24BG_REGISTRATION_H
#define B24BG_REGISTRATION_H

#include <apr_time.h>

/* Upper bound of "perday" in B24bgRebindBackoff: more would be a loop, not a repair. */
#define B24BG_REGISTRATION_PERDAY_MAX 24
/* In it at most perday confirmed binds are made: spec.md section 3. */
#define B24BG_REGISTRATION_DAY apr_time_from_sec(24 * 3600)
/* Of questions in vain about what may not be lost at all, each so manieth is told as a failure:
 * with 60 s for the first delay that is after half an hour, and then every few hours. */
#define B24BG_REGISTRATION_TOLD_EVERY 5
/* Shortest wait after a failure, also with a first delay of 0, which cannot be doubled. A portal
 * takes two calls a second (protocol.md 8.1). */
#define B24BG_REGISTRATION_RETRY_LEAST apr_time_from_sec(2)

/* id, name in store, logs and status */
#define B24BG_REGISTRATION_STATES(X)                                                               \
    X(UNKNOWN, "unknown") /* never asked */                                                        \
    X(BOUND, "bound")     /* the portal shows our HANDLER and our errorHandlerUrl */               \
    X(SUSPECT, "suspect") /* a notice, silence or a command: the portal is to be asked */          \
    X(LOST, "lost")       /* the portal has no row that is ours: to be bound when it is due */     \
    X(BINDING, "binding") /* a bind was sent, or may have been: to be read back */                 \
    X(UNBOUND, "unbound") /* taken away by command, and to stay so; INSTALLED changes nothing */   \
    X(BLOCKED, "blocked") /* no automatic work: see the reason */

/* Why it is blocked: spec.md section 5. */
#define B24BG_REGISTRATION_REASONS(X)                                                              \
    X(NONE, "")                                                                                    \
    X(NO_TOKEN, "no-token")                                                                        \
    X(NOT_ADMIN, "not-admin")                                                                      \
    X(WRONG_APP, "wrong-app")                                                                      \
    X(PAYMENT, "payment")                                                                          \
    X(DAILY_CAP, "daily-cap")                                                                      \
    X(UNINSTALLED, "uninstalled")                                                                  \
    X(FOREIGN_HANDLER, "foreign-handler")                                                          \
    X(REFUSED, "refused") /* the portal refuses what we send; the detail says what */

/* What the work is for. It outlives a crash with the state. */
#define B24BG_REGISTRATION_GOALS(X)                                                                \
    X(KEEP, "keep")     /* see that it is there; what is lost comes back if B24bgRebind is on */   \
    X(BIND, "bind")     /* have it bound now: an installation, a command, a repair half done */    \
    X(REBIND, "rebind") /* take away what is there first; BIND from the moment of binding on */    \
    X(UNBIND, "unbind")

#define B24BG_REGISTRATION_ENUM(id, name) B24BG_REGISTRATION_##id,
typedef enum {
    B24BG_REGISTRATION_STATES(B24BG_REGISTRATION_ENUM) B24BG_REGISTRATION_STATE_COUNT
} b24bg_registration_state_e;
#undef B24BG_REGISTRATION_ENUM
#define B24BG_REGISTRATION_ENUM(id, name) B24BG_BLOCKED_##id,
typedef enum {
    B24BG_REGISTRATION_REASONS(B24BG_REGISTRATION_ENUM) B24BG_BLOCKED_COUNT
} b24bg_registration_reason_e;
#undef B24BG_REGISTRATION_ENUM
#define B24BG_REGISTRATION_ENUM(id, name) B24BG_GOAL_##id,
typedef enum {
    B24BG_REGISTRATION_GOALS(B24BG_REGISTRATION_ENUM) B24BG_GOAL_COUNT
} b24bg_registration_goal_e;
#undef B24BG_REGISTRATION_ENUM

/* What happened. */
typedef enum {
    B24BG_EVENT_INSTALLED, /* the portal was verified, with new tokens */
    B24BG_EVENT_UNINSTALLED,
    B24BG_EVENT_NOTICE, /* with a live key */
    B24BG_EVENT_SILENCE,
    B24BG_EVENT_DUE, /* b24bg_registration_is_due */
    B24BG_EVENT_COMMAND_BIND,
    B24BG_EVENT_COMMAND_UNBIND, /* leaves a foreign handler alone */
    B24BG_EVENT_COMMAND_REBIND, /* with a new key, whatever is there; removes a foreign handler */
    /* answers to ASK and READ_BACK (placement.get) */
    B24BG_EVENT_FOUND_OURS,  /* our HANDLER, and an errorHandlerUrl with the live key */
    B24BG_EVENT_FOUND_NEW,   /* ... with the next key, which the caller makes the live one in the
                                same commit: a bind is confirmed */
    B24BG_EVENT_FOUND_STALE, /* our HANDLER with another errorHandlerUrl */
    B24BG_EVENT_FOUND_NONE,
    B24BG_EVENT_FOUND_FOREIGN, /* somebody else's HANDLER of this app in our place */
    /* answers to BIND and UNBIND */
    B24BG_EVENT_DONE, /* also "there is one already" in answer to BIND: reading back tells whose */
    /* answers to any of them */
    B24BG_EVENT_AGAIN, /* network, query limit: repeat later */
    B24BG_EVENT_NO_TOKEN,
    B24BG_EVENT_NOT_ADMIN,
    B24BG_EVENT_WRONG_APP,
    B24BG_EVENT_PAYMENT,
    B24BG_EVENT_REFUSED, /* a permanent error that none of the above explains */
    B24BG_EVENT_COUNT
} b24bg_registration_event_e;

/* What to do. */
typedef enum {
    B24BG_ACTION_NONE,
    B24BG_ACTION_ASK,       /* placement.get */
    B24BG_ACTION_READ_BACK, /* placement.get, to see what BIND or UNBIND has done */
    B24BG_ACTION_UNBIND,    /* placement.unbind of exactly the row that was found */
    B24BG_ACTION_BIND,      /* make a new key, commit its hash as the next one, placement.bind */
    B24BG_ACTION_COUNT
} b24bg_registration_action_e;

/* What to tell: the alert command's and the log's events. At most one a step. */
typedef enum {
    B24BG_TELL_NOTHING,
    B24BG_TELL_BOUND,    /* for the first time, or found bound */
    B24BG_TELL_DISABLED, /* confirmed lost, or (B24bgRebind off) kept by an errorHandlerUrl that is
                            not ours */
    B24BG_TELL_REBOUND,
    B24BG_TELL_UNREACHABLE,   /* in doubt, and the portal cannot be asked just now */
    B24BG_TELL_FALSE_ALARM,   /* a notice or silence, and the row is there */
    B24BG_TELL_REBIND_FAILED, /* this attempt; `due` says when the next one is */
    B24BG_TELL_BLOCKED,
    B24BG_TELL_UNBOUND
} b24bg_registration_tell_e;

/* B24bgRebind, B24bgRebindBackoff. */
typedef struct {
    int rebind; /* 0: a confirmed loss is told, not repaired */
    apr_interval_time_t first;
    apr_interval_time_t cap; /* longest delay; RETRY_LEAST if it is less */
    int perday;              /* 1..B24BG_REGISTRATION_PERDAY_MAX */
} b24bg_registration_policy_t;

/* All zero: never asked, nothing to do. */
typedef struct {
    b24bg_registration_state_e state;
    b24bg_registration_reason_e reason; /* of BLOCKED */
    b24bg_registration_goal_e goal;
    int was_bound;  /* since it was installed: a bind is a rebind */
    int forced;     /* by a command, which may exceed the cap, once */
    int attempts;   /* failed ones since the last success */
    apr_time_t due; /* when to go on; 0: not by itself. While something is under way it is the time
                       of that, so that a row that is loaded after a crash is due at once */
    apr_time_t binds[B24BG_REGISTRATION_PERDAY_MAX]; /* confirmed ones, newest first; 0: none */
    /* Not stored: zero in what was loaded. */
    b24bg_registration_action_e under_way; /* said and not answered */
    int again;                             /* the answer under way may be too old: ask once more */
} b24bg_registration_t;

typedef struct {
    b24bg_registration_action_e action; /* NONE: whatever is under way goes on */
    b24bg_registration_tell_e tell;
} b24bg_registration_step_t;

/* One step. `random` is uniform in 0..65535 and only spreads delays (up to a quarter more, never
 * over the cap). The caller commits *registration, then acts. Every action is answered by one event
 * or forgotten with the process. Rules that hold for every sequence of events:
 *  - BIND is only said in answer to FOUND_NONE, in this very step: never without a placement.get
 *    right before it; after a wait it asks again first;
 *  - at most `perday` confirmed binds in 24 hours, unless forced by a command;
 *  - UNBIND is said for FOUND_STALE, and for our own row when a command asks for it; for
 *    FOUND_FOREIGN only after COMMAND_REBIND, and not again when it is found put back;
 *  - BLOCKED is left by INSTALLED or a command alone (UNINSTALLED may change its reason);
 *    daily-cap is left by itself when the oldest bind that counts is a day old;
 *  - UNBOUND is left by a command, and by UNINSTALLED;
 *  - while an action is under way only its answers, INSTALLED, UNINSTALLED and commands change
 *    anything; NOTICE and SILENCE are remembered by asking once more; what answers something that
 *    is not under way is ignored;
 *  - NOTICE and SILENCE change nothing where the portal is going to be asked anyhow, or the loss is
 *    known; but where it is SUSPECT, NOTICE has it asked now: it was sent by a portal that works.
 */
b24bg_registration_step_t b24bg_registration_step(b24bg_registration_t *registration,
                                                  b24bg_registration_event_e event, apr_time_t now,
                                                  const b24bg_registration_policy_t *policy,
                                                  unsigned random);

/* 1: DUE is to be sent; before its time it is ignored. A `due` farther ahead than any delay comes
 * from a clock that was wrong, and is over. What was lost while B24bgRebind was off is due when it
 * is on again. */
int b24bg_registration_is_due(const b24bg_registration_t *registration, apr_time_t now,
                              const b24bg_registration_policy_t *policy);

/* Names; static. *_by_name returns -1 for a text that is none. */
const char *b24bg_registration_state_name(b24bg_registration_state_e state);
const char *b24bg_registration_reason_name(b24bg_registration_reason_e reason);
const char *b24bg_registration_goal_name(b24bg_registration_goal_e goal);
/* What an administrator has to do about what is blocked: a sentence without its capital and its
 * full stop; "" for NONE. Static. */
const char *b24bg_registration_remedy(b24bg_registration_reason_e reason);
int b24bg_registration_state_by_name(const char *name);
int b24bg_registration_reason_by_name(const char *name);
int b24bg_registration_goal_by_name(const char *name);

#endif
