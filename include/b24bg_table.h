/* The shared table: portals, counters, histograms, budgets, and what is shown of registrations, of
 * all processes and generations.
 *
 * Pure: works on any memory that all processes see at any address; it holds no pointers. Nothing
 * in it blocks: counting is atomic additions, finding a portal reads, and the rare change of the
 * set of portals, of the keys or of what is shown is guarded by a lock that is only tried. The lock
 * names its owner's process, so one that was killed in the middle holds nobody up, and each step of
 * a change leaves a table that readers and the next writer can live with.
 *
 * Thread: any thread of any process, unless a function says otherwise.
 */
#ifndef B24BG_TABLE_H
#define B24BG_TABLE_H

#include "b24bg_placement.h"

#include <apr_pools.h>
#include <apr_siphash.h>
#include <apr_tables.h>
#include <apr_time.h>

/* Part of the name under which httpd keeps the segment: change it with every change of layout. */
#define B24BG_TABLE_LAYOUT "6"
/* Apps that may be named in the life of one server, and memory that each may take. */
#define B24BG_TABLE_APPS_MAX 64
#define B24BG_TABLE_BYTES_PER_APP_MAX 2048
/* Default and bounds of B24bgMaxPortals: spec.md section 3. */
#define B24BG_TABLE_PORTALS_DEFAULT 1024
#define B24BG_TABLE_PORTALS_MAX 1048576
/* Memory a portal may cost, all in: spec.md section 8. Beside it the table has a fixed cost: the
 * rows of the apps, and what small tables have at least (up to 128 KiB for 8,192 keys). */
#define B24BG_TABLE_BYTES_PER_PORTAL_MAX 1024
/* Longest name of an app, with its NUL: B24BG_VALUE_LABEL_MAX + 1. */
#define B24BG_TABLE_LABEL_SIZE 33

/* What was asked for: spec.md section 6. */
#define B24BG_KIND_LIST(X)                                                                         \
    X(WORKER, "worker")                                                                            \
    X(BEACON, "beacon")                                                                            \
    X(ERROR, "error")                                                                              \
    X(INSTALL, "install")

#define B24BG_KIND_ENUM(id, name) B24BG_KIND_##id,
typedef enum { B24BG_KIND_LIST(B24BG_KIND_ENUM) B24BG_KIND_COUNT } b24bg_kind_e;
#undef B24BG_KIND_ENUM

/* What a notice's key was; of an app without a client nobody knows any. */
#define B24BG_NOTICE_RESULT_LIST(X)                                                                \
    X(LIVE, "live")                                                                                \
    X(DEAD, "dead")                                                                                \
    X(UNATTRIBUTED, "unattributed")

/* What became of a loss, and of a token that had expired. */
#define B24BG_REBIND_RESULT_LIST(X)                                                                \
    X(OK, "ok")                                                                                    \
    X(FAILED, "failed")                                                                            \
    X(BLOCKED, "blocked")
#define B24BG_REFRESH_RESULT_LIST(X)                                                               \
    X(OK, "ok")                                                                                    \
    X(FAILED, "failed")

/* What became of an alert: b24bg_alert_result_e, in its order. */
#define B24BG_ALERTED_LIST(X)                                                                      \
    X(HANDLED, "handled")                                                                          \
    X(AGAIN, "again")                                                                              \
    X(GIVEN_UP, "given-up")                                                                        \
    X(DROPPED, "dropped")

/* Who counted slow loads, the best source first: spec.md section 5. */
#define B24BG_BUDGET_SOURCE_LIST(X)                                                                \
    X(PORTAL, "portal")                                                                            \
    X(BROWSER, "browser")                                                                          \
    X(SERVER, "server")

#define B24BG_TABLE_ENUM(id, name) B24BG_NOTICE_##id,
typedef enum {
    B24BG_NOTICE_RESULT_LIST(B24BG_TABLE_ENUM) B24BG_NOTICE_COUNT
} b24bg_notice_result_e;
#undef B24BG_TABLE_ENUM
#define B24BG_TABLE_ENUM(id, name) B24BG_REBIND_##id,
typedef enum {
    B24BG_REBIND_RESULT_LIST(B24BG_TABLE_ENUM) B24BG_REBIND_COUNT
} b24bg_rebind_result_e;
#undef B24BG_TABLE_ENUM
#define B24BG_TABLE_ENUM(id, name) B24BG_REFRESH_##id,
typedef enum {
    B24BG_REFRESH_RESULT_LIST(B24BG_TABLE_ENUM) B24BG_REFRESH_COUNT
} b24bg_refresh_result_e;
#undef B24BG_TABLE_ENUM
#define B24BG_TABLE_ENUM(id, name) B24BG_ALERTED_##id,
typedef enum { B24BG_ALERTED_LIST(B24BG_TABLE_ENUM) B24BG_ALERTED_COUNT } b24bg_alerted_e;
#undef B24BG_TABLE_ENUM
#define B24BG_TABLE_ENUM(id, name) B24BG_BUDGET_##id,
typedef enum {
    B24BG_BUDGET_SOURCE_LIST(B24BG_TABLE_ENUM) B24BG_BUDGET_COUNT
} b24bg_budget_source_e;
#undef B24BG_TABLE_ENUM

/* Names; static. */
const char *b24bg_kind_name(b24bg_kind_e kind);
const char *b24bg_notice_result_name(b24bg_notice_result_e result);
const char *b24bg_rebind_result_name(b24bg_rebind_result_e result);
const char *b24bg_refresh_result_name(b24bg_refresh_result_e result);
const char *b24bg_alerted_name(b24bg_alerted_e result);
const char *b24bg_budget_source_name(b24bg_budget_source_e source);

/* Upper bounds of the server-time histogram in microseconds. From half a typical answer to the
 * portal's limit of 5 s (protocol.md 2.1) and what lies beyond. */
#define B24BG_SERVER_TIME_BOUNDS                                                                   \
    {                                                                                              \
        500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,      \
            5000000, 10000000                                                                      \
    }
#define B24BG_SERVER_TIME_BUCKETS 15 /* the last one has no bound */

/* Upper bounds of the load-time histogram in microseconds, as the browser measures it: finest
 * around the portal's limit of 5 s (protocol.md 2.1). */
#define B24BG_LOAD_TIME_BOUNDS                                                                     \
    {                                                                                              \
        100000, 250000, 500000, 1000000, 1500000, 2000000, 2500000, 3000000, 4000000, 5000000,     \
            7500000, 10000000, 20000000, 60000000                                                  \
    }
#define B24BG_LOAD_TIME_BUCKETS 15 /* the last one has no bound */
/* Nobody waits longer for a page: what a browser claims beyond it counts as this. */
#define B24BG_LOAD_TIME_MAX apr_time_from_sec(600)
/* Loads that a sampled beacon stands for: spec.md section 3, B24bgBeacon. */
#define B24BG_BEACON_SAMPLED_WEIGHT 100

typedef struct b24bg_table_t b24bg_table_t;

/* A portal's place. Goes stale, harmlessly, when the place is given to another portal, or its
 * domain or token is brought up to date. */
typedef struct {
    apr_uint32_t slot; /* 0: none */
    apr_uint32_t generation;
} b24bg_portal_ref_t;

/* Who a place belongs to: a portal (user 0), or a personal registration there (B24bgUsers), which
 * has a place of its own. */
typedef struct {
    int app;
    const char *member_id;
    apr_int64_t user;
} b24bg_portal_id_t;

/* Bytes for a table of so many portals (1..B24BG_TABLE_PORTALS_MAX). */
apr_size_t b24bg_table_size(apr_uint32_t portals);

/* Makes a table in zeroed memory of b24bg_table_size(portals) bytes, 64-byte aligned. `key`:
 * APR_SIPHASH_KSIZE random bytes; they keep clients from choosing who collides with whom. Call
 * once, alone. */
b24bg_table_t *b24bg_table_create(void *base, apr_uint32_t portals, const unsigned char *key);

/* The random bytes that it was made with; the same for all processes and generations. */
const unsigned char *b24bg_table_key(const b24bg_table_t *table);

/* How many portals the table has room for. */
apr_uint32_t b24bg_table_capacity(const b24bg_table_t *table);

/* The row of an app, taken if it has none: 0..B24BG_TABLE_APPS_MAX-1, or -1 when all are taken by
 * others. Call in the parent at start only. */
int b24bg_table_app(b24bg_table_t *table, const char *name);

/* The place; `.slot` is 0 if there is none. */
b24bg_portal_ref_t b24bg_table_find(b24bg_table_t *table, const b24bg_portal_id_t *id);

/* Finds the place. Who has a user and no place is counted in the portal's own, user 0: only
 * b24bg_table_know makes personal places, for users are claims of the client. A portal without one
 * is given a place: a free one, else that of the unknown portal that was loaded longest ago. Looks
 * at no more than 256 places, so with more portals it is the oldest of those. A known portal never
 * loses its place. `.slot` is 0 if there is no place just now (all known, or another process is at
 * it): serve all the same, count without it. */
b24bg_portal_ref_t b24bg_table_portal(b24bg_table_t *table, const b24bg_portal_id_t *id,
                                      const char *domain, apr_time_t now);

/* A portal of the store, or a personal registration there. */
typedef struct {
    b24bg_portal_id_t id;
    const char *origin;            /* "https://host[:port]", or http; at most B24BG_ORIGIN_MAX */
    const char *application_token; /* "" or NULL: a portal too old to send one */
    apr_time_t last_load;
    apr_uint64_t loads;
    apr_uint64_t recent; /* loads in the hour before last_load; taken into a place that has none
                            itself and no later load */
    apr_time_t tokens;   /* when its refresh token was given out, 0: it has none; to the second */
} b24bg_known_portal_t;

/* Gives a portal of the store its place for good, or brings its place up to date; its counts only
 * grow. 1: done; 0: the lock was not to be had, try again; -1: the table is full of known portals.
 * Of the token only a keyed hash is kept. Background task only. */
int b24bg_table_know(b24bg_table_t *table, const b24bg_known_portal_t *portal);

/* Makes it unknown again, a portal without its personal registrations; what is counted stays. 0:
 * the lock was not to be had, try again. Background task only. */
int b24bg_table_unknow(b24bg_table_t *table, const b24bg_portal_id_t *id);

/* What is known of who sent a request. */
typedef enum {
    B24BG_TRUST_UNKNOWN,  /* not a portal of the store */
    B24BG_TRUST_PROVEN,   /* presents its application token */
    B24BG_TRUST_BAD_TOKEN /* known, and presents another one, or none where it has one */
} b24bg_trust_e;

/* Compares in constant time. On PROVEN, origin (B24BG_ORIGIN_MAX + 1 bytes) is the portal's. A
 * known portal without a token cannot prove anything: UNKNOWN. */
b24bg_trust_e b24bg_table_trust(b24bg_table_t *table, b24bg_portal_ref_t portal, const char *token,
                                char *origin);

/* How often a portal found no place because all are known ones; grows. */
apr_uint64_t b24bg_table_turned_away(b24bg_table_t *table);

/* 1 if (member_id, app_sid) was seen before among the recent renders: nearly all of the last 8 for
 * each place in the table (measured with 1,024 places: 95 %), fewer of those before; remembers it.
 */
int b24bg_table_seen(b24bg_table_t *table, int app, const char *member_id, const char *app_sid);

/* 1 for the first beacon with this tag, 0 for every other, however many come at once: exact, in all
 * processes. One whose set has forgotten tags, and remembers none as old, counts as one that was
 * there: 6 are remembered for each place, 768 at least. With 1,024 places and 5 beacons a second
 * hardly any tag gets so old while it is valid; with 100 a second one of about a minute ago is.
 * `rendered` is when its page was written, `latest` the latest that this may be. */
int b24bg_table_claim_beacon(b24bg_table_t *table, const char *tag, apr_time_t rendered,
                             apr_time_t latest);

/* Keys of error URLs. A key is live as long as it is here, whatever its place. There are cells for
 * twice as many as places and for 4,096 more, and four fifths of them are filled before a key finds
 * no room (measured: 85 % of the largest table); a registration has one key, and up to three for
 * the minutes after it was bound again.
 *
 * `key_hash`: B24BG_KEY_HASH_LENGTH hex digits (b24bg_notice.h). */

/* 1: done; a key that is there points to this place from now on. 0: the lock was not to be had, or
 * the reference is stale: find the place again, try again. -1: no room. `portal.slot` may be 0: the
 * key is live and has no place. Background task only. */
int b24bg_table_key_put(b24bg_table_t *table, const char *key_hash, b24bg_portal_ref_t portal);
/* 1: done, or it was not there; 0: the lock was not to be had. Background task only. */
int b24bg_table_key_drop(b24bg_table_t *table, const char *key_hash);
/* 1 if the key is live; *portal is then its place, `.slot` 0 if that has changed hands. A place
 * whose domain or token was brought up to date has not. Looks at the same number of cells for a
 * live key and a dead one. */
int b24bg_table_key_find(b24bg_table_t *table, const char *key_hash, b24bg_portal_ref_t *portal);
/* Drops all keys but these: const char *, in any order. It takes the lock for some thousand cells
 * at a time, and memory in the array's pool. 1: done; 0: the lock was not to be had, and some of
 * them may be left: try again. Background task only. */
int b24bg_table_keys_retain(b24bg_table_t *table, const apr_array_header_t *key_hashes);

/* A new table has no keys until the background task has read them from the store. Who looks for a
 * key asks this before: with 1 a key that is not there is dead, with 0 nobody knows. */
int b24bg_table_keys_are_read(b24bg_table_t *table);
/* All are there, and from now on so are those that come. Background task only. */
void b24bg_table_set_keys_read(b24bg_table_t *table);
/* Notices with a key that nobody knows which are kept until the keys are read. Whoever sends more
 * than one for each portal of a large server is guessing; 1,000 of them are about half a megabyte
 * of journal. */
#define B24BG_TABLE_EARLY_NOTICES 1000
/* 1 for the first B24BG_TABLE_EARLY_NOTICES callers. */
int b24bg_table_claim_early_notice(b24bg_table_t *table);

/* Counting */

/* One finished request. */
typedef struct {
    int app;
    b24bg_kind_e kind;
    b24bg_reason_e reason;
    b24bg_portal_ref_t portal; /* of an accepted load */
    int is_load;               /* an accepted POST of a worker page, not a repeat */
    int is_repeat;
    int broken_options;
    apr_time_t now;
    apr_interval_time_t server_time; /* request line to last byte; negative (clock set back): 0 */
    apr_interval_time_t slow_limit;  /* a load that takes longer is slow; 0: do not judge */
} b24bg_table_request_t;

/* A slow load is one of SERVER: in the app, and in its place's budget if the registration is as
 * old. */
void b24bg_table_count(b24bg_table_t *table, const b24bg_table_request_t *request);

/* What a browser tells of a load. Called once per tag: b24bg_table_claim_beacon. */
typedef struct {
    b24bg_portal_ref_t portal;
    int app;
    apr_interval_time_t load_time; /* navigation start to loadEventStart; more than
                                      B24BG_LOAD_TIME_MAX counts as that; negative: this beacon is
                                      of its scripts alone */
    int sampled; /* stands for B24BG_BEACON_SAMPLED_WEIGHT loads ("slow" mode's 1 in 100) */
    int failed_scripts;
    apr_time_t now;
    apr_time_t rendered; /* when the page was written: the server's word, as load_time is not */
    apr_interval_time_t slow_limit; /* a load that takes longer is slow; 0: do not judge */
} b24bg_table_beacon_t;

/* Counts by weight in the app's histogram and as beacons of the place; nothing in a place that is
 * stale. A slow load is one of BROWSER, sampled or not: in the app, and in the place's budget if
 * the registration is as old. */
void b24bg_table_count_beacon(b24bg_table_t *table, const b24bg_table_beacon_t *beacon);

void b24bg_table_count_notice(b24bg_table_t *table, int app, b24bg_notice_result_e result);
/* These four: background task only. An installation that was verified, or not. */
void b24bg_table_count_install(b24bg_table_t *table, int app, int verified);
void b24bg_table_count_rebind(b24bg_table_t *table, int app, b24bg_rebind_result_e result);
void b24bg_table_count_refresh(b24bg_table_t *table, int app, b24bg_refresh_result_e result);
/* result: a b24bg_alert_result_e, which is another type with the same values as b24bg_alerted_e. */
void b24bg_table_count_alert(b24bg_table_t *table, int result);

/* Told once. What was claimed stays claimed through reloads. */

/* 1 if this place's silence is still to be reported: as b24bg_table_claim_silence, claims nothing.
 */
int b24bg_table_is_silence_open(b24bg_table_t *table, apr_uint32_t slot, apr_time_t last_load);
/* 1 if this place's silence is the caller's to report: `last_load` is the one that he has seen, and
 * still the last one, and nobody has reported it for that one yet, to the second. */
int b24bg_table_claim_silence(b24bg_table_t *table, apr_uint32_t slot, apr_time_t last_load);
/* How often notices with a dead key are told of: spec.md 4.2. */
#define B24BG_TABLE_DEAD_EVERY apr_time_from_sec(60)
/* 1 once in B24BG_TABLE_DEAD_EVERY: the notices with a dead key are the caller's to tell of; then
 * *count is how many came since the last time, those that b24bg_table_count_notice was told. */
int b24bg_table_claim_dead_notices(b24bg_table_t *table, int app, apr_time_t now,
                                   apr_uint64_t *count);
/* 1 for the first caller: headers that forbid framing were taken out of an answer of this app. */
int b24bg_table_claim_framing(b24bg_table_t *table, int app);
/* How often frames of a portal that are served and do not run are told of. */
#define B24BG_TABLE_FRAMES_EVERY apr_time_from_sec(3600)
/* 1 once in B24BG_TABLE_FRAMES_EVERY for each place. */
int b24bg_table_claim_frames(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now);

/* Budget: spec.md section 5, protocol.md 2.4.
 *
 * Each source has a window of its own: it begins with the first slow load, and at the first one
 * that comes more than 24 h after it a new one begins with 1. To the second, as the portal's; a
 * source counts up to 65,535. A stale reference changes nothing. */
#define B24BG_BUDGET_WINDOW apr_time_from_sec(86400) /* protocol.md 2.4 */

/* What is used of a source; both 0 where there is no window or it is over. Of PORTAL it is what
 * the portal told last and the slow loads that browsers have told of since, for it is asked only
 * now and then. */
typedef struct {
    unsigned used;
    apr_time_t start; /* of the window */
} b24bg_budget_t;

/* One slow load more from this source; the app's slow loads are counted with it. For tests:
 * requests and beacons are counted as a whole. */
void b24bg_table_budget_add(b24bg_table_t *table, b24bg_portal_ref_t portal,
                            b24bg_budget_source_e source, apr_time_t now);
/* The portal's own number (maxTimeCount as placement.get shows it): replaces PORTAL's count. The
 * window's start stays unless the number fell, which says that a new one began; if there was no
 * window, or it is over, it is taken to have begun with that of BROWSER, or now. By how much the
 * number grew in its window is counted as slow loads of the app. */
void b24bg_table_budget_told(b24bg_table_t *table, b24bg_portal_ref_t portal, unsigned count,
                             apr_time_t now);
/* A registration that is new since then has a budget of its own: all three windows end, thresholds
 * may warn again. A slow load that began before is not counted any more: the portal does not count
 * it either, for its page reports it for the row that is gone. To the second. */
void b24bg_table_budget_reset(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t since);
/* The same for a registration that another machine has made: ends the windows that began before
 * it was `bound`, and charges what began since. Doing it again for the same one changes nothing. */
void b24bg_table_budget_bound(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t bound);
/* For surviving a restart of the machine: store -> table. Where the place has no open window of
 * that source, it has the stored one; one that loads have begun since is a part of the stored one,
 * if that is still open at `now`, and is added to it. A window that begins with the stored one or
 * before it stays as it is, so doing it twice changes nothing. Nor does a stored window that began
 * before the registration was bound. 1: the place has it now. Warnings are not restored: who must
 * not repeat them claims those that are over the number. */
int b24bg_table_budget_restore(b24bg_table_t *table, b24bg_portal_ref_t portal,
                               b24bg_budget_source_e source, const b24bg_budget_t *budget,
                               apr_time_t now);
/* Nothing is restored any more to this place until it changes hands: its own windows go into the
 * store now, and what is found there later counts them already. */
void b24bg_table_end_restore(b24bg_table_t *table, b24bg_portal_ref_t portal);
/* The source that counts: the first one that has a window, in the order PORTAL (it was told),
 * BROWSER, SERVER; SERVER if none has. */
b24bg_budget_source_e b24bg_budget_best(const b24bg_budget_t budgets[B24BG_BUDGET_COUNT]);
/* The largest of B24bgBudgetWarn's numbers (apr_int64_t, rising) that is reached; 0: none. */
unsigned b24bg_budget_reached(const apr_array_header_t *numbers, unsigned used);
/* Who tells of a number: the request that reaches it writes a line, the task alerts. Where no
 * request reaches it, the portal told it for one, the task claims and writes the line as well. */
typedef enum { B24BG_WARNED_BY_REQUEST, B24BG_WARNED_BY_TASK } b24bg_warned_e;
/* 1 if this number is the caller's to warn of: it is larger than any that was told by `who` in this
 * window, that of the best source at `now`; numbers over 65,535 are one. 0 if there is no window.
 */
int b24bg_table_claim_warning(b24bg_table_t *table, apr_uint32_t slot, b24bg_warned_e who,
                              unsigned number, apr_time_t now);

/* What is shown of a registration */

/* Times are kept to the second, and 0 as 0. */
typedef struct {
    int has;    /* 0: nothing is known of one */
    int state;  /* b24bg_registration_state_e */
    int reason; /* b24bg_registration_reason_e */
    apr_time_t since, checked, due, noticed, rebound;
} b24bg_shown_t;

/* 1: done; a place that the reference is stale for is left alone. 0: the lock was not to be had,
 * try again. References to the place stay good. Background task only. */
int b24bg_table_show(b24bg_table_t *table, b24bg_portal_ref_t portal, const b24bg_shown_t *shown);

/* The last events of a place, in the store's words (b24bg_store_reason_t.what). */
#define B24BG_TABLE_EVENTS 20
#define B24BG_EVENT_LIST(X)                                                                        \
    X(INSTALLED, "installed")                                                                      \
    X(UPDATED, "updated")                                                                          \
    X(UNINSTALLED, "uninstalled")                                                                  \
    X(FORGOTTEN, "forgotten")                                                                      \
    X(RENAMED, "renamed")                                                                          \
    X(NOTICE, "notice") /* "disabled by Bitrix24, says its notice" */                              \
    X(SILENT, "silent")                                                                            \
    X(DISABLED, "disabled") /* confirmed lost */                                                   \
    X(BOUND, "bound")                                                                              \
    X(REBOUND, "rebound")                                                                          \
    X(FALSE_ALARM, "false-alarm")                                                                  \
    X(REBIND_FAILED, "rebind-failed")                                                              \
    X(BLOCKED, "blocked") /* number: the reason */                                                 \
    X(UNBOUND, "unbound")                                                                          \
    X(REFRESHED, "refreshed")                                                                      \
    X(BUDGET, "budget") /* number: slow loads */                                                   \
    X(TOKEN_EXPIRING, "token-expiring")

#define B24BG_TABLE_ENUM(id, name) B24BG_SHOWN_EVENT_##id,
typedef enum { B24BG_EVENT_LIST(B24BG_TABLE_ENUM) B24BG_SHOWN_EVENT_COUNT } b24bg_shown_event_e;
#undef B24BG_TABLE_ENUM

/* -1 for a word that is none of the list: such an event is not shown. */
int b24bg_shown_event_by_name(const char *name);
/* Static. */
const char *b24bg_shown_event_name(int event);

typedef struct {
    apr_time_t at;   /* to the second */
    int event;       /* b24bg_shown_event_e */
    unsigned number; /* of BUDGET and BLOCKED, else 0; at most 65,535 */
} b24bg_shown_event_t;

/* Replaces the events of a place by the last B24BG_TABLE_EVENTS of these, oldest first; those that
 * are none of the list are passed over. Otherwise as b24bg_table_show. */
int b24bg_table_show_events(b24bg_table_t *table, b24bg_portal_ref_t portal,
                            const b24bg_shown_event_t *events, int count);

/* Health of the background task. Each number is true, but they may be of two steps. */
typedef struct {
    apr_time_t last_run;          /* of a step; 0: never */
    int store_up;                 /* 0, 1; -1: not used, or never set */
    apr_uint64_t journal_records; /* waiting in the journal, at the last step */
    apr_uint64_t inbox;           /* messages that wait in the store */
    int leader;                   /* this machine has the lease */
} b24bg_table_health_t;

/* Background task only. */
void b24bg_table_set_health(b24bg_table_t *table, const b24bg_table_health_t *health);
void b24bg_table_read_health(b24bg_table_t *table, b24bg_table_health_t *health);

/* Reading */

/* A copy of the counts at about one moment, for showing. */
typedef struct {
    const char *name;
    apr_uint64_t requests[B24BG_KIND_COUNT][B24BG_VERDICT_COUNT];
    apr_uint64_t reasons[B24BG_REASON_COUNT];
    apr_uint64_t repeats;
    apr_uint64_t broken_options;
    apr_uint64_t installs[2]; /* not verified, verified */
    apr_uint64_t notices[B24BG_NOTICE_COUNT];
    apr_uint64_t rebinds[B24BG_REBIND_COUNT];
    apr_uint64_t refreshes[B24BG_REFRESH_COUNT];
    apr_uint64_t slow_loads[B24BG_BUDGET_COUNT];         /* whether or not they had a place */
    apr_uint64_t server_time[B24BG_SERVER_TIME_BUCKETS]; /* per bucket, not cumulative */
    apr_uint64_t server_time_sum;                        /* microseconds */
    apr_uint64_t load_time[B24BG_LOAD_TIME_BUCKETS];     /* by weight, not cumulative */
    apr_uint64_t load_time_sum;                          /* microseconds, by weight */
    apr_uint64_t beacons;                                /* received, of loads */
    apr_uint64_t failed_scripts;
} b24bg_app_counts_t;

typedef struct {
    apr_uint32_t generation; /* as b24bg_portal_ref_t has it */
    int app;
    apr_int64_t user; /* 0: the portal itself */
    char member_id[B24BG_MEMBER_ID_LENGTH + 1];
    char domain[B24BG_DOMAIN_MAX + 1];
    int http; /* its origin is http, not https */
    int known;
    apr_time_t last_load;
    apr_uint64_t loads;
    apr_uint64_t served; /* of these, those that were counted here, since the table was made; the
                            others b24bg_table_know has told of */
    apr_uint64_t repeats;
    apr_uint64_t recent;  /* loads in the hour before last_load: ten minutes are one, and those of
                             last_load and the six before them count */
    apr_uint64_t beacons; /* weight of those received, of loads that were served */
    apr_time_t tokens;    /* as b24bg_known_portal_t has it */
    b24bg_budget_t budgets[B24BG_BUDGET_COUNT];
    b24bg_shown_t shown;
    b24bg_shown_event_t events[B24BG_TABLE_EVENTS]; /* oldest first */
    int event_count;
} b24bg_portal_counts_t;

/* The line that warns of what is used, without its tag; in pool. `limit`: the slow loads that are
 * allowed. */
const char *b24bg_budget_warning(apr_pool_t *pool, const char *app, apr_int64_t limit,
                                 const b24bg_portal_counts_t *portal);

/* The app in this row, or 0 if the row is empty. Strings are allocated in pool. */
int b24bg_table_read_app(b24bg_table_t *table, apr_pool_t *pool, int row,
                         b24bg_app_counts_t *counts);

/* Alerts of all apps. */
void b24bg_table_read_alerts(b24bg_table_t *table, apr_uint64_t counts[B24BG_ALERTED_COUNT]);

/* The portal in this place (1..capacity), with its budgets at `now`, without `shown` and `events`:
 * for requests, since it waits for nobody. 0 if it is empty or changing at this moment. */
int b24bg_table_read_counts(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now,
                            b24bg_portal_counts_t *counts);
/* With them, and it waits for whoever writes them just now. They are whole, or empty where a
 * process was killed while it wrote them and no other has written them since. */
int b24bg_table_read_portal(b24bg_table_t *table, apr_uint32_t slot, apr_time_t now,
                            b24bg_portal_counts_t *counts);

#endif
