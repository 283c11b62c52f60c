/* The shared table as people and monitors read it: HTML, JSON, Prometheus' text, one line.
 *
 * Pure: a snapshot is taken from the table, and everything is written from that alone, so it works
 * with the store down and the background task dead, and says so. Each string is escaped by the
 * writer of its format; bytes that are no printable ASCII, which no domain has, come out as '?'.
 * There are no tokens, keys or APP_SIDs in the table, so none can be here.
 *
 * Thread: any. Everything is allocated in the snapshot's pool. Memory: about 400 bytes and the
 * events for each portal; what is written goes out in pieces of B24BG_RENDER_PIECE.
 */
#ifndef B24BG_RENDER_H
#define B24BG_RENDER_H

#include "b24bg_table.h"

/* The one list of metrics: identifier, name, type, labels, where JSON has it, help. README's table
 * and conf/ are checked against it (tests/guards/metrics). Names: spec.md section 6. */
#define B24BG_METRIC_LIST(X)                                                                       \
    X(REQUESTS, "b24bg_requests_total", "counter", "app,kind,verdict", "apps[].requests",          \
      "Requests answered, by what was asked for and what was thought of it")                       \
    X(SERVER_TIME, "b24bg_server_seconds", "histogram", "app", "apps[].server_seconds",            \
      "From the request line to the last byte of the answer")                                      \
    X(LOAD_TIME, "b24bg_load_seconds", "histogram", "app", "apps[].load_seconds",                  \
      "Load time of the frame as browsers measure it; a sampled one counts for 100")               \
    X(SLOW_LOADS, "b24bg_slow_loads_total", "counter", "app,source", "apps[].slow_loads",          \
      "Loads over B24bgSlowLimit, by who counted them")                                            \
    X(BUDGET_USED, "b24bg_budget_used", "gauge", "app,portal,source", "portals[].budget_used",     \
      "Slow loads in the present window of a day, by who counted them")                            \
    X(BUDGET_LIMIT, "b24bg_budget_limit", "gauge", "app", "apps[].budget_limit",                   \
      "Slow loads that are allowed in a window; the next one deletes the registration")            \
    X(REGISTERED, "b24bg_registered", "gauge", "app,portal", "portals[].registered",               \
      "1: the portal has the registration, 0: it does not, NaN: nobody knows, or none is wanted")  \
    X(LAST_LOAD, "b24bg_last_load_timestamp_seconds", "gauge", "app,portal",                       \
      "portals[].last_load", "When the portal was last served a page")                             \
    X(NOTICES, "b24bg_notices_total", "counter", "app,result", "apps[].notices",                   \
      "Notices that a registration was deleted, by whether their key is live; without a client "   \
      "there are no keys, and they are unattributed")                                              \
    X(REBINDS, "b24bg_rebinds_total", "counter", "app,result", "apps[].rebinds",                   \
      "What became of registrations that were to be bound again")                                  \
    X(TOKEN_AGE, "b24bg_token_age_seconds", "gauge", "app,portal", "portals[].token_age",          \
      "Since the portal's refresh token was given out; it is good for 180 days")                   \
    X(JOURNAL, "b24bg_journal_records", "gauge", "", "health.journal_records",                     \
      "Records that wait in the journal; NaN: the background task does not run")                   \
    X(STORE_UP, "b24bg_store_up", "gauge", "", "health.store_up",                                  \
      "1: the store can be used, 0: it cannot, NaN: the background task does not run")             \
    X(PORTALS, "b24bg_portals", "gauge", "", "places.taken",                                       \
      "Portals and personal registrations that have a place in shared memory")                     \
    X(ALERTS, "b24bg_alerts_total", "counter", "result", "alerts", "Alerts, by what became of them")

#define B24BG_METRIC_ENUM(id, name, type, labels, json, help) B24BG_METRIC_##id,
typedef enum { B24BG_METRIC_LIST(B24BG_METRIC_ENUM) B24BG_METRIC_COUNT } b24bg_metric_e;
#undef B24BG_METRIC_ENUM

/* How bad it is, in the words of monitoring plugins, and their exit codes. */
#define B24BG_LEVEL_LIST(X)                                                                        \
    X(OK, "OK")                                                                                    \
    X(WARNING, "WARNING")                                                                          \
    X(CRITICAL, "CRITICAL")                                                                        \
    X(UNKNOWN, "UNKNOWN")

#define B24BG_LEVEL_ENUM(id, name) B24BG_LEVEL_##id,
typedef enum { B24BG_LEVEL_LIST(B24BG_LEVEL_ENUM) B24BG_LEVEL_COUNT } b24bg_level_e;
#undef B24BG_LEVEL_ENUM

/* What can be wrong: identifier, level. */
#define B24BG_PROBLEM_LIST(X)                                                                      \
    X(TASK_NEVER, UNKNOWN)   /* the background task has not run since the server was started */    \
    X(STORE_UNREAD, UNKNOWN) /* it has, and could not read the store since then */                 \
    X(TASK_DEAD, WARNING)    /* it has, and not for B24BG_RENDER_DEAD */                           \
    X(STORE_DOWN, WARNING)                                                                         \
    X(LOST, CRITICAL)                                                                              \
    X(BLOCKED, CRITICAL) /* for another reason than that it was uninstalled */                     \
    X(IN_DOUBT,                                                                                    \
      WARNING)         /* suspect, bound and not read back, or no answer in B24BG_RENDER_ASKED */  \
    X(BUDGET, WARNING) /* over half of it is used, says the best source */                         \
    X(TOKEN, WARNING)  /* older than B24BG_RENDER_TOKEN_OLD */

#define B24BG_PROBLEM_ENUM(id, level) B24BG_PROBLEM_##id,
typedef enum { B24BG_PROBLEM_LIST(B24BG_PROBLEM_ENUM) B24BG_PROBLEM_COUNT } b24bg_problem_e;
#undef B24BG_PROBLEM_ENUM

/* A background task that has not run for this long is dead: it looks for work ten times a second,
 * and after its process was killed another one takes over in some 10 s. */
#define B24BG_RENDER_DEAD apr_time_from_sec(60)
/* A portal without an answer for this long after its installation is in doubt: that takes seconds.
 * Our choice, the "for" of conf/prometheus-b24bg.rules.yml. */
#define B24BG_RENDER_ASKED apr_time_from_sec(300)
/* As B24BG_TASK_REFRESH_WARN: 30 days before the refresh token ends (protocol.md 5.2). */
#define B24BG_RENDER_TOKEN_OLD apr_time_from_sec(150 * 24 * 3600)
/* Unknown portals on the HTML page: anybody can make them up. */
#define B24BG_RENDER_UNKNOWN_SHOWN 20
/* What is written at once. */
#define B24BG_RENDER_PIECE 8192

/* What the configuration says of an app. */
typedef struct {
    int listed; /* 0: not configured any more; what it has counted is shown, its portals are not */
    int has_client;                 /* B24bgClient: portals can be known */
    int registers;                  /* with its URLs, so registrations are looked after */
    int has_secret;                 /* of B24bgClient: tokens can be refreshed */
    int personal;                   /* B24bgUsers: registrations are for single users */
    int rebind;                     /* B24bgRebind */
    int silence;                    /* B24bgSilence */
    apr_int64_t budget_limit;       /* B24bgSlowLimit's count; 0: not configured any more */
    apr_interval_time_t slow_limit; /* B24bgSlowLimit's time */
} b24bg_render_config_t;

typedef struct {
    b24bg_table_t *table;                             /* NULL: the module is loaded and not used */
    b24bg_render_config_t apps[B24BG_TABLE_APPS_MAX]; /* by row */
    int has_task; /* some app has a B24bgClient, so there is a background task */
    apr_time_t now;
    int known_only; /* portals that are not installed are counted, not copied */
} b24bg_render_source_t;

typedef struct {
    b24bg_app_counts_t counts;
    b24bg_render_config_t config;
    apr_uint64_t requests; /* all of them */
} b24bg_render_app_t;

/* A place of the table; see b24bg_portal_counts_t. */
typedef struct {
    const b24bg_render_app_t *app;
    const char *label; /* member_id, or "member_id:user" */
    const char *member_id;
    const char *domain;
    apr_int64_t user;
    int http;
    int known;
    int uninstalled; /* not known any more, which its registration still tells */
    apr_time_t last_load;
    apr_uint64_t loads;
    apr_uint64_t served;
    apr_uint64_t repeats;
    apr_uint64_t beacons;
    apr_time_t tokens;
    b24bg_budget_t budgets[B24BG_BUDGET_COUNT];
    b24bg_budget_source_e best;
    b24bg_shown_t shown;
    const b24bg_shown_event_t *events; /* oldest first */
    int event_count;
    b24bg_level_e level; /* of its worst problem */
    unsigned problems;   /* a bit for each b24bg_problem_e */
} b24bg_render_portal_t;

typedef struct {
    b24bg_problem_e problem;
    const b24bg_render_portal_t *portal; /* or NULL */
} b24bg_render_problem_t;

typedef struct {
    apr_time_t now;
    apr_array_header_t *apps;     /* b24bg_render_app_t */
    apr_array_header_t *portals;  /* b24bg_render_portal_t: the known and uninstalled ones, the
                                     worst first; then the others, the last loaded first */
    apr_array_header_t *problems; /* b24bg_render_problem_t, the worst first */
    b24bg_table_health_t health;
    int has_task;
    int store_read; /* since the server was started: before that nobody knows any portal */
    int task_runs;  /* within B24BG_RENDER_DEAD of now; else health is what was last known */
    apr_uint64_t alerts[B24BG_ALERTED_COUNT];
    apr_uint32_t capacity;
    apr_uint32_t taken; /* places, of known and unknown portals of any app */
    int rows;           /* portals and personal registrations, known or uninstalled */
    int registrations;  /* those that there should be, and that the module looks after */
    int registered;     /* of these */
    b24bg_level_e level;
} b24bg_render_snapshot_t;

/* Takes what is written, piece by piece. */
typedef void (*b24bg_render_cb)(void *baton, const char *text, apr_size_t length);

/* A place that changes at this very moment is left out. */
b24bg_render_snapshot_t *b24bg_render_snapshot(apr_pool_t *pool,
                                               const b24bg_render_source_t *source);

/* A whole page. Its style sheet's hash is B24BG_RENDER_STYLE. */
void b24bg_render_html(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton);
/* The fields are described in README.md. */
void b24bg_render_json(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton);
/* Text format 0.0.4. */
void b24bg_render_prometheus(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write,
                             void *baton);
/* One line that begins with the level. */
void b24bg_render_text(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton);
/* For mod_status: HTML to be put into its page; "Key: value" lines for ?auto. */
void b24bg_render_section(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write,
                          void *baton);
void b24bg_render_auto(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write, void *baton);

/* As Content-Security-Policy wants it; a test compares it with the page. */
#define B24BG_RENDER_STYLE "'sha256-HhoopmIJlTz6EwQrFiX5Sf9yXGYSzhGkSRLQDMRPMsA='"

/* Static. */
const char *b24bg_level_name(b24bg_level_e level);

#endif
