/* The store: what is remembered of portals, over apr_dbd. SQLite and PostgreSQL share every
 * statement; where they differ (opening, pragmas) a table of dialects says so.
 *
 * Pure. Thread: the one that opened it; a handle never crosses a fork. Every function is one
 * transaction: it has happened, whole, when APR_SUCCESS comes back, and not at all otherwise, but
 * for a connection that breaks while the database commits: then it is whole or not at all, and may
 * be done again. APR_NOTFOUND: what was to be changed or read is not there; nothing has happened.
 * After an error other than APR_NOTFOUND close the store and open it again later (statements of
 * SQLite do not survive a change of schema); b24bg_store_error tells what the database said.
 * All values are bound; bytes that are not UTF-8 become '?', NULL becomes "". Results are allocated
 * in the pool that is passed. Times are microseconds.
 */
#ifndef B24BG_STORE_H
#define B24BG_STORE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

/* Events kept for each portal: the status page shows 20 (spec.md 4.4), the rest is for people who
 * look for a cause. */
#define B24BG_STORE_EVENTS_PER_PORTAL 50
/* How long a finished record's name is kept, so that a journal read twice changes nothing; and a
 * command with its result. */
#define B24BG_STORE_INBOX_KEEP apr_time_from_sec(7 * 24 * 3600)
/* How long a command waits for somebody who carries it out: who gave it no longer expects it. */
#define B24BG_STORE_COMMAND_WAITS apr_time_from_sec(24 * 3600)
/* Between two alerts of the same event and portal: spec.md section 3, B24bgAlertCmd. */
#define B24BG_STORE_ALERT_QUIET apr_time_from_sec(3600)

typedef struct b24bg_store_t b24bg_store_t;

/* Opens it, makes or migrates its tables. driver: "sqlite3" (params: the file's path; made with
 * mode 0600) or "pgsql" (params: libpq's). On failure *error says why, for an administrator, and
 * without a password. The store is closed by b24bg_store_close or with the pool. A store with a
 * newer schema than this code knows is refused (APR_EMISMATCH). */
apr_status_t b24bg_store_open(apr_pool_t *pool, const char *driver, const char *params,
                              b24bg_store_t **store, const char **error);
/* For tests: everybody else lets the pool end. */
void b24bg_store_close(b24bg_store_t *store);
/* What the database said last; "" if nothing. Lives until the next call. */
const char *b24bg_store_error(const b24bg_store_t *store);
/* The schema's version in the store; the newest one after b24bg_store_open. For tests. */
int b24bg_store_version(const b24bg_store_t *store);

/* Who has a lease, and until when. */
typedef struct {
    const char *holder;
    apr_time_t until;
} b24bg_store_lease_t;
/* Takes or extends it (one that ends absurdly late counts as over: a clock was set back): *mine is
 * 1 if wanted->holder has it from now until wanted->until. Nobody else gets it before that, on any
 * machine (clocks are taken to agree within a few seconds). */
apr_status_t b24bg_store_lease(b24bg_store_t *store, const char *name,
                               const b24bg_store_lease_t *wanted, apr_time_t now, int *mine);
/* Gives it back early, so that another one need not wait. */
apr_status_t b24bg_store_release(b24bg_store_t *store, const char *name, const char *holder);
/* Who has it, or had it last; APR_NOTFOUND if it was given back or never taken. */
apr_status_t b24bg_store_lease_get(b24bg_store_t *store, apr_pool_t *pool, const char *name,
                                   b24bg_store_lease_t **lease);

/* Inbox: journal records on their way. */
typedef struct {
    const char *id; /* 32 hex digits, from the journal */
    const char *app;
    const char *event;  /* "install", "update", "uninstall" or "notice" */
    const char *fields; /* urlencoded; secret; emptied when done */
    apr_time_t received;
    apr_time_t due; /* not to be tried before */
    int attempts;
} b24bg_store_message_t;

/* Adds messages (array of b24bg_store_message_t), all or none; one whose id is there already is
 * passed over, done or not. due = received, attempts = 0. */
apr_status_t b24bg_store_inbox_add(b24bg_store_t *store, const apr_array_header_t *messages);
/* Up to `most` unfinished messages with due <= now: b24bg_store_message_t, notices and silences
 * first (anybody can send installations, and they wait for servers), then oldest first. */
apr_status_t b24bg_store_inbox_due(b24bg_store_t *store, apr_pool_t *pool, apr_time_t now, int most,
                                   apr_array_header_t **messages);
/* Puts one off: attempts + 1. One that is done or not there is passed over. */
apr_status_t b24bg_store_inbox_later(b24bg_store_t *store, const char *id, apr_time_t due);
/* Replaces its fields: new tokens, committed before they are used. APR_NOTFOUND if it is done or
 * not there: the tokens are kept nowhere then. */
apr_status_t b24bg_store_inbox_fields(b24bg_store_t *store, const char *id, const char *fields);
/* Finishes one that changed nothing; its fields are emptied. Again: nothing happens. */
apr_status_t b24bg_store_inbox_done(b24bg_store_t *store, const char *id, apr_time_t now);
/* Finishes many (const char *: ids), all or none. */
apr_status_t b24bg_store_inbox_done_all(b24bg_store_t *store, const apr_array_header_t *ids,
                                        apr_time_t now);
/* Forgets names of messages that were done, commands that were created, and alerts that were
 * accepted, before now - B24BG_STORE_INBOX_KEEP; and commands without a result that were created
 * before now - B24BG_STORE_COMMAND_WAITS. */
apr_status_t b24bg_store_inbox_purge(b24bg_store_t *store, apr_time_t now);
/* Unfinished messages. */
apr_status_t b24bg_store_inbox_count(b24bg_store_t *store, apr_int64_t *count);

/* Alerts: what the alert command is to be told of a portal. They are run, those of a portal in the
 * order in which they were accepted, each at least once. */
typedef struct {
    const char *app;
    const char *member_id;
    const char *event; /* a word; with app and member_id: the identity */
    const char *detail;
    const char *domain; /* the portal's of today, only read */
    apr_int64_t seq;    /* of this acceptance; grows */
    int tries;          /* that were begun */
    apr_time_t due;     /* when it may be begun; 0: it is over */
} b24bg_store_alert_t;
/* Accepts one (app, member_id, event, detail), due at once; or passes it over, if one of the same
 * identity was accepted within B24BG_STORE_ALERT_QUIET before (one that is further ahead than that
 * was accepted before a clock was set back). */
apr_status_t b24bg_store_alert_add(b24bg_store_t *store, const b24bg_store_alert_t *alert,
                                   apr_time_t now);
/* Up to `most` that may be begun, oldest first: b24bg_store_alert_t. Of each portal only the oldest
 * one that is not over, and that only when it is due. */
apr_status_t b24bg_store_alerts_due(b24bg_store_t *store, apr_pool_t *pool, apr_time_t now,
                                    int most, apr_array_header_t **alerts);
/* Begins a try, and puts it off until `until`: whoever began it may be dead by then. APR_NOTFOUND
 * if somebody else was faster. */
apr_status_t b24bg_store_alert_begin(b24bg_store_t *store, const b24bg_store_alert_t *alert,
                                     apr_time_t until);
/* The end of a try: the next one is due at `due`; 0: none, it is over. One that is over already, or
 * was replaced by a newer one, is passed over. */
apr_status_t b24bg_store_alert_end(b24bg_store_t *store, apr_int64_t seq, apr_time_t due);

/* Portals */
typedef struct {
    const char *app;
    const char *member_id; /* with app: the identity */
    const char *domain;
    const char *client_endpoint;   /* https://portal/rest/ */
    const char *auth_server;       /* https://oauth.../, from B24bgAuthServer */
    const char *access_token;      /* secret; "" when wiped */
    const char *refresh_token;     /* secret; "" when wiped */
    const char *application_token; /* secret; "" when wiped, or the portal is too old for one */
    const char *scope;
    apr_time_t access_expires;
    apr_time_t refreshed; /* when this refresh token was given out */
    apr_int64_t user_id;  /* whose tokens they are */
    apr_time_t installed; /* 0: uninstalled or forgotten */
    apr_time_t last_load;
    apr_int64_t loads;
    apr_int64_t recent;  /* loads in the hour before last_load */
    apr_time_t verified; /* when the installation that was verified last had come in */
    apr_int64_t change;  /* grows with every change of any portal, set by the store */
} b24bg_store_portal_t;

/* What goes into the history beside a change; a NULL reason: nothing. `message`: the inbox record
 * that it finishes, or NULL; if that is finished already, somebody else was faster, and the whole
 * call does nothing: APR_NOTFOUND. `what`: a word ("installed"); `detail`: a sentence without
 * secrets, or "". */
typedef struct {
    const char *message;
    const char *what;
    const char *detail;
    apr_time_t at;
    const apr_array_header_t *registrations; /* b24bg_store_registration_t, or NULL: put with it as
                                                b24bg_store_registration_put does, all or nothing */
    const b24bg_store_alert_t *alert;        /* its event and detail, or NULL: accepted with it, as
                                                b24bg_store_alert_add does */
} b24bg_store_reason_t;

/* Inserts the portal or replaces all of it but last_load and loads, which only ever grow, and
 * recent, which goes with last_load: it is replaced where that grows. */
apr_status_t b24bg_store_portal_put(b24bg_store_t *store, const b24bg_store_portal_t *portal,
                                    const b24bg_store_reason_t *reason);
/* Wipes its three tokens and sets installed to 0; the row stays, so that every machine learns of
 * it. APR_NOTFOUND if there is no such portal. Sheds once. */
apr_status_t b24bg_store_portal_wipe(b24bg_store_t *store, const char *app, const char *member_id,
                                     const b24bg_store_reason_t *reason);
/* SQLite's log (-wal) keeps older copies of rows, tokens too, long after they were wiped. This
 * empties it where a portal was wiped since the last time, or the store was just opened: whoever
 * wiped one before may not have come to it. 0: somebody reads just now, a backup for one; try
 * again later. Nothing is lost by it, and the last call's error stays. */
int b24bg_store_shed(b24bg_store_t *store);
/* New access_token, refresh_token, access_expires and refreshed of the same portal, committed
 * before anybody uses them. `spent`: the refresh token that was given for them. APR_NOTFOUND if the
 * portal has another one by now, is not there or was wiped: an installation came in between, and
 * its tokens are the ones that count. */
apr_status_t b24bg_store_portal_tokens(b24bg_store_t *store, const b24bg_store_portal_t *portal,
                                       const char *spent, const b24bg_store_reason_t *reason);
/* Raises last_load (and recent with it) and loads to these figures where they are larger; no
 * history, no change number. Portals that are not there are passed over. Array of
 * b24bg_store_portal_t. This and b24bg_store_budgets_put take several transactions where there are
 * many, so that others can write in between; done again they do no harm. */
apr_status_t b24bg_store_portal_counts(b24bg_store_t *store, const apr_array_header_t *portals);
/* One, by member_id or by domain (as stored), wiped ones included, but after installed ones of the
 * same domain; APR_NOTFOUND. */
apr_status_t b24bg_store_portal_get(b24bg_store_t *store, apr_pool_t *pool, const char *app,
                                    const char *member_id_or_domain, b24bg_store_portal_t **portal);
/* All with change > `since`, in the order of change: b24bg_store_portal_t. since = -1: all. */
apr_status_t b24bg_store_portals_since(b24bg_store_t *store, apr_pool_t *pool, apr_int64_t since,
                                       apr_array_header_t **portals);

/* Adds to a portal's history. */
apr_status_t b24bg_store_event_add(b24bg_store_t *store, const char *app, const char *member_id,
                                   const b24bg_store_reason_t *reason);
/* Events of all portals with seq > `since`, in the order of seq: b24bg_store_portal_event_t. If
 * there are more than `most`, the newest ones; since = -1: from the beginning. seq counts together
 * with `change`; no two events have the same. */
typedef struct {
    const char *app;
    const char *member_id;
    apr_int64_t seq;
    apr_time_t at;
    const char *what;
    const char *detail;
} b24bg_store_portal_event_t;
apr_status_t b24bg_store_events_since(b24bg_store_t *store, apr_pool_t *pool, apr_int64_t since,
                                      int most, apr_array_header_t **events);

/* Registrations: rows that placement.bind makes at the portal, and where their life stands. */
typedef struct {
    const char *app;
    const char *member_id;
    apr_int64_t user_id;       /* 0: the general one */
    const char *state;         /* b24bg_registration_state_name */
    const char *reason;        /* of "blocked", else "" */
    const char *detail;        /* why, a sentence without secrets; "" */
    const char *goal;          /* b24bg_registration_goal_name */
    const char *key_hash;      /* of the live key, 40 hex digits (SHA-1), or "" */
    const char *next_key_hash; /* of one that is being bound, or "" */
    const char *old_key_hash;  /* of the one before the live one, or "" */
    apr_time_t old_key_until;
    apr_time_t since;   /* when it came into this state */
    apr_time_t bound;   /* when the last bind was sent, confirmed or not; 0: never */
    apr_time_t checked; /* when the portal last answered what is registered; 0: never */
    apr_time_t noticed; /* last notice with a live key; 0: never */
    apr_time_t rebound; /* last confirmed rebind; 0: never */
    apr_time_t due;     /* when the next step is to be made; 0: none */
    apr_time_t warned;  /* the `refreshed` of the tokens whose age was warned of */
    int attempts;
    int was_bound;
    int forced;
    const char *binds;   /* times of confirmed binds, newest first: microseconds, space between */
    const char *command; /* id of the command that is being carried out, or "" */
    const char *urls;    /* the HANDLER and, behind a space, the base of the errorHandlerUrl that it
                            was bound with; "" */
    apr_int64_t change;  /* set by the store; 0: it is not there yet */
} b24bg_store_registration_t;
/* Inserts it (change == 0) or replaces what is there, if nobody else has changed it since it was
 * read: its `change` must be the one in the store. APR_NOTFOUND if it is not (or, for 0, if there
 * is a row already): somebody was faster, nothing has happened. On success registration->change is
 * the new one, and so is the `seq` of its event. After another error it may have happened all the
 * same (see above): read it again before it is put again. */
apr_status_t b24bg_store_registration_put(b24bg_store_t *store,
                                          b24bg_store_registration_t *registration,
                                          const b24bg_store_reason_t *reason);
/* Of one portal, or with member_id NULL all of the app's: b24bg_store_registration_t. */
apr_status_t b24bg_store_registrations(b24bg_store_t *store, apr_pool_t *pool, const char *app,
                                       const char *member_id, apr_array_header_t **registrations);
/* The one whose live, next or old key has this hash (not ""); APR_NOTFOUND. */
apr_status_t b24bg_store_registration_by_key(b24bg_store_t *store, apr_pool_t *pool,
                                             const char *key_hash,
                                             b24bg_store_registration_t **registration);
/* All, of all apps, with change > `since`, in the order of change; -1: all. */
apr_status_t b24bg_store_registrations_since(b24bg_store_t *store, apr_pool_t *pool,
                                             apr_int64_t since, apr_array_header_t **registrations);
/* Those with something left to do: all but "bound", "unbound" and "blocked", and of "blocked" those
 * with reason "daily-cap"; up to `most`, the longest due first, and last those with due 0, which
 * wait for something other than time and must not keep the others out. */
apr_status_t b24bg_store_registrations_open(b24bg_store_t *store, apr_pool_t *pool, int most,
                                            apr_array_header_t **registrations);

/* Budgets: windows of slow loads, so that they outlive a restart of the machine. The numbers are
 * the caller's; the store only keeps what was put last. */
typedef struct {
    const char *app;
    const char *member_id;
    apr_int64_t user_id; /* 0: the general registration's */
    const char *source;  /* who counted; with app, member_id and user_id: the identity */
    apr_int64_t used;
    apr_time_t start; /* of the window; 0: none */
} b24bg_store_budget_t;
/* Inserts or replaces each; no history, no change number. Array of b24bg_store_budget_t. Takes
 * several transactions as b24bg_store_portal_counts does. */
apr_status_t b24bg_store_budgets_put(b24bg_store_t *store, const apr_array_header_t *budgets);
/* All: b24bg_store_budget_t. */
apr_status_t b24bg_store_budgets(b24bg_store_t *store, apr_pool_t *pool,
                                 apr_array_header_t **budgets);

/* Commands: left by b24bgctl, carried out by the background task. */
typedef struct {
    const char *id; /* 32 hex digits */
    const char *app;
    const char *member_id;
    const char *verb;
    apr_time_t created;
    const char *result; /* "" until it is done */
} b24bg_store_command_t;
/* One whose id is there already is passed over. */
apr_status_t b24bg_store_command_add(b24bg_store_t *store, const b24bg_store_command_t *command);
/* Those without a result, oldest first: b24bg_store_command_t. */
apr_status_t b24bg_store_commands(b24bg_store_t *store, apr_pool_t *pool, int most,
                                  apr_array_header_t **commands);
/* The first result stays: a later one is passed over, as is one of an id that is not there. */
apr_status_t b24bg_store_command_finish(b24bg_store_t *store, const char *id, const char *result);
/* APR_NOTFOUND if there is none of that id. */
apr_status_t b24bg_store_command_get(b24bg_store_t *store, apr_pool_t *pool, const char *id,
                                     b24bg_store_command_t **command);

#endif
