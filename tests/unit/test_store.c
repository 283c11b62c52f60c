/* b24bg_store: every test on SQLite in a temporary folder and on PostgreSQL; run it by
 * tests/unit/postgres. Processes are forked and killed here, so that the promises of
 * include/b24bg_store.h are seen to hold, not just read.
 */
#include "unit.h"

#include "b24bg_store.h"

#include <apr_dbd.h>
#include <apr_strings.h>

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MEMBER "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"
/* Any moment; microseconds since 1970. */
#define NOW APR_INT64_C(1714560000000000)
#define SECOND APR_USEC_PER_SEC
/* Of the schema. */
#define NEWEST 4
#define SELECT_VERSION "SELECT value FROM b24bg_meta WHERE name = 'version'"

/* What differs between the two, for whoever wants to be in the store's way. */
typedef struct {
    const char *name; /* and the driver's */
    const char *lock;
    const char *refuse_events; /* after this no event can be written */
    const char *break_connections;
    const char *connections; /* how many the store has open; NULL: a killed one has none */
    const char *schema;      /* all of it in one value */
} side_t;

static const side_t sides[] = {
    {"sqlite3", "BEGIN EXCLUSIVE",
     "CREATE TRIGGER refuse BEFORE INSERT ON b24bg_events BEGIN SELECT RAISE(ABORT, 'refused'); "
     "END",
     "CREATE TABLE another_one (x INTEGER)", NULL,
     "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_master ORDER BY name)"},
    {"pgsql", "BEGIN; LOCK TABLE b24bg_meta IN ACCESS EXCLUSIVE MODE",
     "ALTER TABLE b24bg_events ADD CONSTRAINT refused CHECK (what = '')",
     "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mod_b24bg'",
     "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'mod_b24bg'",
     "SELECT string_agg(line, ';' ORDER BY line) FROM ("
     "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) "
     "AS line FROM information_schema.columns WHERE table_schema = 'public' "
     "UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public') AS lines"},
};

static struct {
    const side_t *side;
    const char *folder;
    const char *params;
} world;

/* The world */

/* A connection beside the store's. */
typedef struct {
    apr_pool_t *pool;
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
} raw_t;

static int raw_open(raw_t *raw)
{
    return apr_pool_create(&raw->pool, unit_pool) == APR_SUCCESS &&
           apr_dbd_init(raw->pool) == APR_SUCCESS &&
           apr_dbd_get_driver(raw->pool, world.side->name, &raw->driver) == APR_SUCCESS &&
           apr_dbd_open_ex(raw->driver, raw->pool, world.params, &raw->handle, NULL) == APR_SUCCESS;
}

static const char *raw_value(const char *statement)
{
    apr_dbd_results_t *results = NULL;
    apr_dbd_row_t *row = NULL;
    const char *value = NULL;
    raw_t raw;

    assert_true(raw_open(&raw));
    if (apr_dbd_select(raw.driver, raw.pool, raw.handle, &results, statement, 1) != 0) {
        fail_msg("%s: %s", statement, apr_dbd_error(raw.driver, raw.handle, 0));
    }
    if (apr_dbd_get_row(raw.driver, raw.pool, results, &row, -1) == 0) {
        value = apr_pstrdup(unit_pool, apr_dbd_get_entry(raw.driver, row, 0));
    }
    apr_dbd_close(raw.driver, raw.handle);
    return value;
}

static void raw_run(const char *statement)
{
    int rows;
    raw_t raw;

    assert_true(raw_open(&raw));
    if (apr_dbd_query(raw.driver, raw.handle, &rows, statement) != 0) {
        fail_msg("%s: %s", statement, apr_dbd_error(raw.driver, raw.handle, 0));
    }
    apr_dbd_close(raw.driver, raw.handle);
}

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    if (!value) {
        fail_msg("%s is not set; run this by tests/unit/postgres", name);
    }
    return value;
}

/* An empty database. */
static void empty_database(void)
{
    if (strcmp(world.side->name, "sqlite3") == 0) {
        world.folder = unit_folder("store");
        world.params = apr_pstrcat(unit_pool, world.folder, "/b24bg.db", NULL);
    } else {
        world.params = from_environment("B24BG_TEST_PGSQL");
        raw_run("SET client_min_messages = error; DROP SCHEMA public CASCADE");
        raw_run("CREATE SCHEMA public");
    }
}

static void create_world(void **state)
{
    world.side = *state;
    empty_database();
}

static b24bg_store_t *open_store(void)
{
    b24bg_store_t *store = NULL;
    const char *error = "";
    apr_status_t status =
        b24bg_store_open(unit_pool, world.side->name, world.params, &store, &error);

    if (status != APR_SUCCESS) {
        fail_msg("b24bg_store_open: %d, %s", status, error);
    }
    return store;
}

static b24bg_store_t *create_store(void **state)
{
    create_world(state);
    return open_store();
}

#define OK(store, call)                                                                            \
    do {                                                                                           \
        apr_status_t ok_status = (call);                                                           \
        if (ok_status != APR_SUCCESS) {                                                            \
            fail_msg("%s: %d, %s", #call, ok_status, b24bg_store_error(store));                    \
        }                                                                                          \
    } while (0)

/* Records */

static const char *id_of(int number)
{
    return apr_psprintf(unit_pool, "%032x", (unsigned)number);
}

static b24bg_store_message_t message_of(int number, apr_time_t received)
{
    b24bg_store_message_t message = {0};

    message.id = id_of(number);
    message.app = "telephony";
    message.event = "install";
    message.fields = apr_psprintf(unit_pool, "AUTH_ID=secret-%d", number);
    message.received = received;
    return message;
}

static apr_status_t add_messages(b24bg_store_t *store, const b24bg_store_message_t *messages,
                                 int count)
{
    apr_array_header_t *list = apr_array_make(unit_pool, 1, sizeof(*messages));
    int i;

    for (i = 0; i < count; i++) {
        APR_ARRAY_PUSH(list, b24bg_store_message_t) = messages[i];
    }
    return b24bg_store_inbox_add(store, list);
}

static void add_message(b24bg_store_t *store, int number, apr_time_t received)
{
    b24bg_store_message_t message = message_of(number, received);

    OK(store, add_messages(store, &message, 1));
}

static apr_array_header_t *due_messages(b24bg_store_t *store, apr_time_t now, int most)
{
    apr_array_header_t *messages = NULL;

    OK(store, b24bg_store_inbox_due(store, unit_pool, now, most, &messages));
    return messages;
}

static const char *ids(const apr_array_header_t *messages)
{
    const char *shown = "";
    int i;

    for (i = 0; i < messages->nelts; i++) {
        shown =
            apr_psprintf(unit_pool, "%s%s%ld", shown, i ? " " : "",
                         strtol(APR_ARRAY_IDX(messages, i, b24bg_store_message_t).id, NULL, 16));
    }
    return shown;
}

static apr_int64_t unfinished(b24bg_store_t *store)
{
    apr_int64_t count = -1;

    OK(store, b24bg_store_inbox_count(store, &count));
    return count;
}

static b24bg_store_portal_t portal_of(const char *member_id)
{
    b24bg_store_portal_t portal = {0};

    portal.app = "telephony";
    portal.member_id = member_id;
    portal.domain = "portal.bitrix24.com";
    portal.client_endpoint = "https://portal.bitrix24.com/rest/";
    portal.auth_server = "https://oauth.bitrix.info";
    portal.access_token = "access-1";
    portal.refresh_token = "refresh-1";
    portal.application_token = "application-1";
    portal.scope = "placement,user";
    portal.access_expires = NOW + 3600 * SECOND;
    portal.refreshed = NOW - 1;
    portal.user_id = 17;
    portal.installed = NOW;
    portal.last_load = NOW - 2;
    portal.loads = 42;
    portal.recent = 7;
    portal.verified = NOW - 3;
    return portal;
}

static b24bg_store_reason_t reason_of(const char *message, const char *what, apr_time_t at)
{
    b24bg_store_reason_t reason = {message, what, "", at, NULL, NULL};

    return reason;
}

static b24bg_store_portal_t *get_portal(b24bg_store_t *store, const char *key)
{
    b24bg_store_portal_t *portal = NULL;

    OK(store, b24bg_store_portal_get(store, unit_pool, "telephony", key, &portal));
    return portal;
}

static void put_portal(b24bg_store_t *store, const b24bg_store_portal_t *portal, const char *what)
{
    b24bg_store_reason_t reason = reason_of(NULL, what, NOW);

    OK(store, b24bg_store_portal_put(store, portal, &reason));
}

static void assert_same_portal(const b24bg_store_portal_t *expected,
                               const b24bg_store_portal_t *found)
{
    assert_string_equal(expected->app, found->app);
    assert_string_equal(expected->member_id, found->member_id);
    assert_string_equal(expected->domain, found->domain);
    assert_string_equal(expected->client_endpoint, found->client_endpoint);
    assert_string_equal(expected->auth_server, found->auth_server);
    assert_string_equal(expected->access_token, found->access_token);
    assert_string_equal(expected->refresh_token, found->refresh_token);
    assert_string_equal(expected->application_token, found->application_token);
    assert_string_equal(expected->scope, found->scope);
    assert_true(expected->access_expires == found->access_expires);
    assert_true(expected->refreshed == found->refreshed);
    assert_true(expected->user_id == found->user_id);
    assert_true(expected->installed == found->installed);
    assert_true(expected->last_load == found->last_load);
    assert_true(expected->loads == found->loads);
    assert_true(expected->recent == found->recent);
    assert_true(expected->verified == found->verified);
}

/* The history of MEMBER, newest first: "what what ...". */
static const char *history(b24bg_store_t *store, int most)
{
    apr_array_header_t *events = NULL;
    const char *shown = "";
    int i;

    OK(store, b24bg_store_events_since(store, unit_pool, -1, INT_MAX, &events));
    for (i = events->nelts - 1; i >= 0 && most > 0; i--) {
        const b24bg_store_portal_event_t *event =
            &APR_ARRAY_IDX(events, i, b24bg_store_portal_event_t);
        if (strcmp(event->app, "telephony") == 0 && strcmp(event->member_id, MEMBER) == 0) {
            shown = apr_pstrcat(unit_pool, shown, *shown ? " " : "", event->what, NULL);
            most--;
        }
    }
    return shown;
}

static apr_array_header_t *portals_since(b24bg_store_t *store, apr_int64_t since)
{
    apr_array_header_t *portals = NULL;

    OK(store, b24bg_store_portals_since(store, unit_pool, since, &portals));
    return portals;
}

static b24bg_store_registration_t registration_of(const char *member_id, apr_int64_t user_id,
                                                  const char *state)
{
    b24bg_store_registration_t registration = {0};

    registration.app = "telephony";
    registration.member_id = member_id;
    registration.user_id = user_id;
    registration.state = state;
    return registration;
}

static apr_array_header_t *registrations_of(b24bg_store_t *store, const char *member_id)
{
    apr_array_header_t *list = NULL;

    OK(store, b24bg_store_registrations(store, unit_pool, "telephony", member_id, &list));
    return list;
}

static apr_array_header_t *registrations_since(b24bg_store_t *store, apr_int64_t since)
{
    apr_array_header_t *list = NULL;

    OK(store, b24bg_store_registrations_since(store, unit_pool, since, &list));
    return list;
}

static b24bg_store_registration_t get_registration(b24bg_store_t *store, const char *member_id,
                                                   apr_int64_t user_id)
{
    apr_array_header_t *list = registrations_of(store, member_id);
    int i;

    for (i = 0; i < list->nelts; i++) {
        if (APR_ARRAY_IDX(list, i, b24bg_store_registration_t).user_id == user_id) {
            break;
        }
    }
    assert_true(i < list->nelts);
    return APR_ARRAY_IDX(list, i, b24bg_store_registration_t);
}

/* Whose they are and what they say, but for the change. */
static void assert_same_registration(const b24bg_store_registration_t *expected,
                                     const b24bg_store_registration_t *found)
{
    assert_string_equal(expected->app, found->app);
    assert_string_equal(expected->member_id, found->member_id);
    assert_true(expected->user_id == found->user_id);
    assert_string_equal(expected->state, found->state);
    assert_string_equal(expected->reason, found->reason);
    assert_string_equal(expected->detail, found->detail);
    assert_string_equal(expected->goal, found->goal);
    assert_string_equal(expected->key_hash, found->key_hash);
    assert_string_equal(expected->next_key_hash, found->next_key_hash);
    assert_string_equal(expected->old_key_hash, found->old_key_hash);
    assert_true(expected->old_key_until == found->old_key_until);
    assert_true(expected->since == found->since);
    assert_true(expected->bound == found->bound);
    assert_true(expected->checked == found->checked);
    assert_true(expected->noticed == found->noticed);
    assert_true(expected->rebound == found->rebound);
    assert_true(expected->due == found->due);
    assert_true(expected->warned == found->warned);
    assert_int_equal(expected->attempts, found->attempts);
    assert_int_equal(expected->was_bound, found->was_bound);
    assert_int_equal(expected->forced, found->forced);
    assert_string_equal(expected->binds, found->binds);
    assert_string_equal(expected->command, found->command);
    assert_string_equal(expected->urls ? expected->urls : "", found->urls);
}

static b24bg_store_alert_t alert_of(const char *member_id, const char *event)
{
    b24bg_store_alert_t alert = {0};

    alert.app = "telephony";
    alert.member_id = member_id;
    alert.event = event;
    alert.detail = event;
    return alert;
}

static void add_alert(b24bg_store_t *store, const char *member_id, const char *event,
                      apr_time_t now)
{
    b24bg_store_alert_t alert = alert_of(member_id, event);

    OK(store, b24bg_store_alert_add(store, &alert, now));
}

static apr_array_header_t *list_alerts(b24bg_store_t *store, apr_time_t now, int most)
{
    apr_array_header_t *list = NULL;

    OK(store, b24bg_store_alerts_due(store, unit_pool, now, most, &list));
    return list;
}

/* "me event me event ...", with the first two letters of each portal. */
static const char *due_alerts(b24bg_store_t *store, apr_time_t now)
{
    apr_array_header_t *list = list_alerts(store, now, 9);
    const char *shown = "";
    int i;

    for (i = 0; i < list->nelts; i++) {
        const b24bg_store_alert_t *alert = &APR_ARRAY_IDX(list, i, b24bg_store_alert_t);
        shown = apr_psprintf(unit_pool, "%s%s%.2s %s", shown, i ? " " : "", alert->member_id,
                             alert->event);
    }
    return shown;
}

static b24bg_store_alert_t first_alert(b24bg_store_t *store, apr_time_t now)
{
    apr_array_header_t *list = list_alerts(store, now, 1);

    assert_int_equal(1, list->nelts);
    return APR_ARRAY_IDX(list, 0, b24bg_store_alert_t);
}

static apr_array_header_t *open_commands(b24bg_store_t *store, int most)
{
    apr_array_header_t *list = NULL;

    OK(store, b24bg_store_commands(store, unit_pool, most, &list));
    return list;
}

/* "app member_id user_id source used start" of all, lines */
static const char *budgets(b24bg_store_t *store)
{
    apr_array_header_t *list = NULL;
    const char *shown = "";
    int i;

    OK(store, b24bg_store_budgets(store, unit_pool, &list));
    for (i = 0; i < list->nelts; i++) {
        const b24bg_store_budget_t *budget = &APR_ARRAY_IDX(list, i, b24bg_store_budget_t);
        shown = apr_psprintf(
            unit_pool, "%s%s %s %" APR_INT64_T_FMT " %s %" APR_INT64_T_FMT " %" APR_TIME_T_FMT "\n",
            shown, budget->app, budget->member_id, budget->user_id, budget->source, budget->used,
            budget->start);
    }
    return shown;
}

static void put_budgets(b24bg_store_t *store, const b24bg_store_budget_t *list, int count)
{
    apr_array_header_t *records = apr_array_make(unit_pool, 1, sizeof(*list));
    int i;

    for (i = 0; i < count; i++) {
        APR_ARRAY_PUSH(records, b24bg_store_budget_t) = list[i];
    }
    OK(store, b24bg_store_budgets_put(store, records));
}

/* "what what ..." of the events of all portals. */
static const char *events_since(b24bg_store_t *store, apr_int64_t since, int most)
{
    apr_array_header_t *events = NULL;
    const char *shown = "";
    int i;

    OK(store, b24bg_store_events_since(store, unit_pool, since, most, &events));
    for (i = 0; i < events->nelts; i++) {
        shown = apr_pstrcat(unit_pool, shown, i ? " " : "",
                            APR_ARRAY_IDX(events, i, b24bg_store_portal_event_t).what, NULL);
    }
    return shown;
}

/* Other processes. What they do they do with a pool and a store of their own; an assertion of
 * cmocka's would jump back into a copy of the test. */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d, in a child: %s\n", __LINE__, #condition);                    \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static pid_t start_child(void (*work)(int number), int number)
{
    pid_t pid = fork();

    if (pid == 0) {
        CHECK(apr_pool_create(&unit_pool, NULL) == APR_SUCCESS);
        work(number);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static void wait_for_child(pid_t pid)
{
    int status = -1;

    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_int_equal(0, status);
}

static void kill_child(pid_t pid)
{
    int status = -1;

    kill(pid, SIGKILL);
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_true(WIFSIGNALED(status));
}

static b24bg_store_t *open_in_child(void)
{
    b24bg_store_t *store = NULL;
    const char *error = "";

    if (b24bg_store_open(unit_pool, world.side->name, world.params, &store, &error) !=
        APR_SUCCESS) {
        fprintf(stderr, "in a child: b24bg_store_open: %s\n", error);
        _exit(1);
    }
    return store;
}

/* A pipe that holds children back until the test lets go, or the other way round. */
static int gate[2];

static void pass_gate(void)
{
    char byte;

    close(gate[1]);
    CHECK(read(gate[0], &byte, 1) == 0);
}

static void open_gate(void)
{
    close(gate[0]);
    close(gate[1]);
}

/* Opening */

static void opens_and_keeps(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);

    assert_int_equal(NEWEST, b24bg_store_version(store));
    assert_string_equal("", b24bg_store_error(store));
    put_portal(store, &portal, "installed");
    b24bg_store_close(store);
    store = open_store();
    assert_same_portal(&portal, get_portal(store, MEMBER));
    assert_int_equal(NEWEST, b24bg_store_version(store));
}

static void a_newer_or_broken_version_is_refused(void **state)
{
    b24bg_store_t *store = create_store(state);
    const char *versions[] = {"5", "2147483647", "-1"};
    const char *error = "";
    size_t i;

    b24bg_store_close(store);
    for (i = 0; i < COUNT_OF(versions); i++) {
        raw_run(apr_psprintf(unit_pool, "UPDATE b24bg_meta SET value = %s WHERE name = 'version'",
                             versions[i]));
        assert_int_equal(APR_EMISMATCH, b24bg_store_open(unit_pool, world.side->name, world.params,
                                                         &store, &error));
        assert_non_null(strstr(error, apr_psprintf(unit_pool, "version %s of its", versions[i])));
        assert_string_equal(versions[i], raw_value(SELECT_VERSION));
    }
}

/* The tables as they were released, with something in each. A copy: where it and a new store differ
 * once it is migrated, somebody has changed a released step. */
static const char *const released_1[] = {
    "CREATE TABLE b24bg_meta (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO b24bg_meta (name, value) VALUES ('version', 1), ('change', 7)",
    "CREATE TABLE b24bg_portals ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, domain TEXT NOT NULL, "
    "client_endpoint TEXT NOT NULL, auth_server TEXT NOT NULL, access_token TEXT NOT NULL, "
    "refresh_token TEXT NOT NULL, application_token TEXT NOT NULL, scope TEXT NOT NULL, "
    "access_expires BIGINT NOT NULL, refreshed BIGINT NOT NULL, user_id BIGINT NOT NULL, "
    "installed BIGINT NOT NULL, last_load BIGINT NOT NULL, loads BIGINT NOT NULL, "
    "change BIGINT NOT NULL, PRIMARY KEY (app, member_id))",
    "CREATE INDEX b24bg_portals_domain ON b24bg_portals (app, domain)",
    "CREATE INDEX b24bg_portals_change ON b24bg_portals (change)",
    "CREATE TABLE b24bg_inbox ("
    "id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL, event TEXT NOT NULL, fields TEXT NOT NULL, "
    "received BIGINT NOT NULL, due BIGINT NOT NULL, attempts BIGINT NOT NULL, "
    "seq BIGINT NOT NULL, done BIGINT)",
    "CREATE INDEX b24bg_inbox_due ON b24bg_inbox (due) WHERE done IS NULL",
    "CREATE TABLE b24bg_events ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, "
    "what TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (app, member_id, seq))",
    "CREATE TABLE b24bg_leases ("
    "name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL)",
    "INSERT INTO b24bg_portals VALUES ('telephony', '" MEMBER "', 'b', 'c', 'd', 'e', 'f', 'g', "
    "'h', 1, 2, 3, 4, 5, 6, 3)",
    "INSERT INTO b24bg_events VALUES ('telephony', '" MEMBER "', 3, 1, 'installed', 'a')",
    "INSERT INTO b24bg_inbox VALUES ('a', 'telephony', 'install', 'b', 1, 1, 0, 2, NULL)",
    NULL};
static const char *const released_2[] = {
    "CREATE TABLE b24bg_registrations ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, user_id BIGINT NOT NULL, state TEXT NOT NULL, "
    "reason TEXT NOT NULL, key_hash TEXT NOT NULL, old_key_hash TEXT NOT NULL, "
    "old_key_until BIGINT NOT NULL, bound BIGINT NOT NULL, checked BIGINT NOT NULL, "
    "due BIGINT NOT NULL, attempts BIGINT NOT NULL, PRIMARY KEY (app, member_id, user_id))",
    "CREATE TABLE b24bg_commands ("
    "id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL, member_id TEXT NOT NULL, "
    "verb TEXT NOT NULL, created BIGINT NOT NULL, seq BIGINT NOT NULL, result TEXT NOT NULL)",
    "INSERT INTO b24bg_registrations VALUES "
    "('telephony', '" MEMBER "', 17, 'lost', 'a', 'b', 'c', 1, 2, 3, 4, 5), "
    "('telephony', '" OTHER "', 0, 'bound', '', '', '', 0, 0, 0, 0, 0), "
    "('crm', '" MEMBER "', 0, 'bound', '', '', '', 0, 0, 0, 0, 0), "
    "('telephony', '" MEMBER "', 0, 'bound', '', '', '', 0, 0, 0, 0, 0)",
    "INSERT INTO b24bg_commands VALUES ('a', 'telephony', '" MEMBER "', 'rebind', 1, 7, '')",
    "UPDATE b24bg_meta SET value = 2 WHERE name = 'version'",
    NULL};
static const char *const released_3[] = {
    "ALTER TABLE b24bg_registrations ADD COLUMN detail TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE b24bg_registrations ADD COLUMN goal TEXT NOT NULL DEFAULT 'keep'",
    "ALTER TABLE b24bg_registrations ADD COLUMN next_key_hash TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE b24bg_registrations ADD COLUMN binds TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE b24bg_registrations ADD COLUMN command TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE b24bg_registrations ADD COLUMN urls TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE b24bg_registrations ADD COLUMN since BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN noticed BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN rebound BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN warned BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN was_bound BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN forced BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_registrations ADD COLUMN change BIGINT NOT NULL DEFAULT 0",
    "UPDATE b24bg_registrations SET change = 5 WHERE app = 'crm'",
    "UPDATE b24bg_registrations SET change = 6 WHERE app = 'telephony'",
    "CREATE INDEX b24bg_registrations_change ON b24bg_registrations (change)",
    "CREATE INDEX b24bg_registrations_open ON b24bg_registrations (due) WHERE state <> 'bound' "
    "AND state <> 'unbound' AND (state <> 'blocked' OR reason = 'daily-cap')",
    "CREATE INDEX b24bg_registrations_key ON b24bg_registrations (key_hash)",
    "CREATE INDEX b24bg_registrations_next_key ON b24bg_registrations (next_key_hash)",
    "CREATE INDEX b24bg_registrations_old_key ON b24bg_registrations (old_key_hash)",
    "ALTER TABLE b24bg_portals ADD COLUMN recent BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE b24bg_portals ADD COLUMN verified BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX b24bg_events_seq ON b24bg_events (seq)",
    "CREATE TABLE b24bg_budgets ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, user_id BIGINT NOT NULL, source TEXT NOT NULL, "
    "used BIGINT NOT NULL, start BIGINT NOT NULL, PRIMARY KEY (app, member_id, user_id, source))",
    "INSERT INTO b24bg_budgets VALUES ('telephony', '" MEMBER "', 0, 'browser', 5, 1)",
    "UPDATE b24bg_meta SET value = 3 WHERE name = 'version'",
    NULL};
static const char *const *const released[] = {released_1, released_2, released_3};

static void create_old_store(int version)
{
    const char *const *statement;
    int i;

    for (i = 0; i < version; i++) {
        for (statement = released[i]; *statement; statement++) {
            raw_run(*statement);
        }
    }
}

/* Opens an old store; what was in version 1 is there. */
static b24bg_store_t *migrate(void **state, int version)
{
    b24bg_store_portal_t expected = {"telephony", MEMBER, "b", "c", "d", "e", "f", "g", "h",
                                     1,           2,      3,   4,   5,   6,   0,   0,   3};
    const char *fresh;
    b24bg_store_t *store = create_store(state);

    b24bg_store_close(store);
    fresh = raw_value(world.side->schema);
    empty_database();
    create_old_store(version);
    store = open_store();
    assert_int_equal(NEWEST, b24bg_store_version(store));
    assert_string_equal(apr_itoa(unit_pool, NEWEST), raw_value(SELECT_VERSION));
    assert_string_equal(fresh, raw_value(world.side->schema));
    assert_same_portal(&expected, get_portal(store, MEMBER));
    assert_int_equal(3, get_portal(store, MEMBER)->change);
    assert_string_equal("installed", history(store, 9));
    assert_int_equal(1, unfinished(store));
    return store;
}

static void version_1_is_migrated(void **state)
{
    b24bg_store_t *store = migrate(state, 1);
    b24bg_store_registration_t registration = registration_of(MEMBER, 0, "bound");

    assert_int_equal(0, registrations_since(store, -1)->nelts);
    OK(store, b24bg_store_registration_put(store, &registration, NULL));
    assert_int_equal(8, registration.change);
}

static void version_2_is_migrated(void **state)
{
    b24bg_store_t *store = migrate(state, 2);
    apr_array_header_t *list = registrations_since(store, -1);
    b24bg_store_registration_t registration;
    b24bg_store_registration_t expected = {0};
    int i;

    assert_int_equal(4, list->nelts);
    for (i = 0; i < list->nelts; i++) { /* each has a number of its own, given out before */
        assert_int_equal(i + 1, APR_ARRAY_IDX(list, i, b24bg_store_registration_t).change);
    }
    expected.app = "telephony";
    expected.member_id = MEMBER;
    expected.user_id = 17;
    expected.state = "lost";
    expected.reason = "a";
    expected.goal = "keep";
    expected.key_hash = "b";
    expected.old_key_hash = "c";
    expected.detail = expected.next_key_hash = expected.binds = expected.command = "";
    expected.old_key_until = 1;
    expected.bound = 2;
    expected.checked = 3;
    expected.due = 4;
    expected.attempts = 5;
    registration = get_registration(store, MEMBER, 17);
    assert_same_registration(&expected, &registration);
    OK(store, b24bg_store_registration_put(store, &registration, NULL));
    assert_int_equal(8, registration.change);
    registration = get_registration(store, OTHER, 0);
    OK(store, b24bg_store_registration_put(store, &registration, NULL));
    assert_int_equal(1, open_commands(store, 9)->nelts);
}

static void version_3_is_migrated(void **state)
{
    b24bg_store_t *store = migrate(state, 3);
    b24bg_store_alert_t alert = alert_of(MEMBER, "disabled");

    assert_string_equal("telephony " MEMBER " 0 browser 5 1\n", budgets(store));
    assert_string_equal("", due_alerts(store, NOW));
    OK(store, b24bg_store_alert_add(store, &alert, NOW));
    assert_string_equal("01 disabled", due_alerts(store, NOW));
}

static void open_and_count(int number)
{
    apr_int64_t count;

    (void)number;
    pass_gate();
    CHECK(b24bg_store_inbox_count(open_in_child(), &count) == APR_SUCCESS);
}

static void many_open_at_once(void **state)
{
    pid_t children[6];
    size_t round;
    size_t i;

    world.side = *state;
    for (round = 0; round < 8; round++) {
        empty_database();
        if (round >= 4) {
            create_old_store((int)round % 4 % 3 + 1);
        }
        assert_int_equal(0, pipe(gate));
        for (i = 0; i < COUNT_OF(children); i++) {
            children[i] = start_child(open_and_count, (int)i);
        }
        open_gate();
        for (i = 0; i < COUNT_OF(children); i++) {
            wait_for_child(children[i]);
        }
        assert_string_equal(apr_itoa(unit_pool, NEWEST), raw_value(SELECT_VERSION));
        assert_string_equal("2", raw_value("SELECT COUNT(*) FROM b24bg_meta"));
    }
}

static int mode_of(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (int)(status.st_mode & 07777) : -1;
}

static void files_are_for_the_owner_alone(void **state)
{
    static const side_t *const sqlite = &sides[0];
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_t *store;
    struct stat status;
    mode_t mask = umask(0);

    (void)state;
    world.side = sqlite;
    empty_database();
    if (geteuid() == 0) {
        assert_int_equal(0, chown(world.folder, 12345, 54321));
    }
    store = open_store();
    put_portal(store, &portal, "installed");
    umask(mask);
    assert_int_equal(0600, mode_of(world.params));
    assert_int_equal(0600, mode_of(apr_pstrcat(unit_pool, world.params, "-wal", NULL)));
    assert_int_equal(0600, mode_of(apr_pstrcat(unit_pool, world.params, "-shm", NULL)));
    assert_int_equal(0, stat(world.params, &status));
    assert_int_equal(geteuid() == 0 ? 12345 : geteuid(), status.st_uid);
    assert_int_equal(0, stat(apr_pstrcat(unit_pool, world.params, "-wal", NULL), &status));
    assert_int_equal(geteuid() == 0 ? 12345 : geteuid(), status.st_uid);
}

/* A file that is there keeps its mode: an administrator may have let his monitoring read it. */
static void a_file_that_is_there_stays_as_it_is(void **state)
{
    (void)state;
    world.side = &sides[0];
    empty_database();
    b24bg_store_close(open_store());
    assert_int_equal(0, chmod(world.params, 0640));
    b24bg_store_close(open_store());
    assert_int_equal(0640, mode_of(world.params));
}

typedef struct {
    const char *name;
    const char *driver;
    const char *params; /* below the folder for sqlite3 */
    const char *error;  /* a part of it */
} bad_open_t;

static const bad_open_t bad_opens[] = {
    {"unknown driver", "mysql", "", "only for sqlite3 and pgsql"},
    {"no driver", "", "", "only for sqlite3 and pgsql"},
    {"no folder", "sqlite3", "none/b24bg.db", "cannot be made: No such file or directory"},
    {"a folder", "sqlite3", "", "cannot be made: Is a directory"},
    {"not a database", "sqlite3", "text", "file is not a database"},
    {"nobody there", "pgsql", "host=127.0.0.1 port=1", "Connection refused"},
    {"no such option", "pgsql", "hots=127.0.0.1", "invalid connection option \"hots\""},
    {"an empty string is libpq's default", "pgsql", "host=/nonexistent", "/nonexistent"},
};

static void opening_says_what_is_wrong(void **state)
{
    const bad_open_t *row = *state;
    const char *params = row->params;
    b24bg_store_t *store = NULL;
    const char *error = "";
    FILE *file;

    if (strcmp(row->driver, "sqlite3") == 0) {
        const char *folder = unit_folder("store");
        file = fopen(apr_pstrcat(unit_pool, folder, "/text", NULL), "w");
        assert_non_null(file);
        fprintf(file, "%0999d", 1);
        fclose(file);
        params = apr_pstrcat(unit_pool, folder, "/", row->params, NULL);
    }
    assert_int_not_equal(APR_SUCCESS,
                         b24bg_store_open(unit_pool, row->driver, params, &store, &error));
    assert_null(store);
    if (!strstr(error, row->error) || strpbrk(error, "\r\n\t")) {
        fail_msg("%s", error);
    }
}

/* Passwords in parameters that are wrong in every way libpq has words for. */
typedef struct {
    const char *name;
    const char *params;
    const char *hidden;
    const char *shown;
} password_t;

static const password_t passwords[] = {
    {"plain", "host=127.0.0.1 port=1 password=hunter dbname=x", "hunter", "127.0.0.1"},
    {"first", "password=hunter host=127.0.0.1 port=1", "hunter", "127.0.0.1"},
    {"quoted", "password='hunter' host=127.0.0.1 port=1", "hunter", "127.0.0.1"},
    {"blanks around the sign", "password = hunter host=127.0.0.1 port=1", "hunter", "127.0.0.1"},
    {"two words without quotes", "password=my hunter host=127.0.0.1", "hunter", "missing"},
    {"quote not closed", "host=127.0.0.1 password='my hunter", "hunter", "unterminated"},
    {"quote closed early", "password='my'hunter host=127.0.0.1", "hunter", "\"="},
    {"another option holds it too", "host=127.0.0.1 port=hunter password=hunter", "hunter", "***"},
    {"key's password", "sslpassword=hunter host=127.0.0.1 port=1", "hunter", "127.0.0.1"},
    {"URI", "postgresql://me:hunter@127.0.0.1:1/x", "hunter", "127.0.0.1"},
    {"URI, short scheme", "postgres://me:hunter@127.0.0.1:1/x", "hunter", "127.0.0.1"},
    {"URI, @", "postgresql://me:my@hunter@127.0.0.1:1/x", "hunter", "***"},
    {"URI, slash", "postgresql://me:my/hunter@127.0.0.1:1/x", "hunter", "invalid"},
    {"URI, question mark", "postgresql://me:my?hunter@127.0.0.1:1/x", "hunter", ""},
    {"URI, broken escape", "postgresql://me:my%zzhunter@127.0.0.1:1/x", "hunter", "invalid"},
    {"URI, broken address", "postgresql://me:hunter@[::1/x", "hunter", "end of string"},
    {"URI, in the query", "postgresql://127.0.0.1:1/x?password=hunter&bogus=1", "hunter",
     "invalid"},
    {"URI, query without value", "postgresql://127.0.0.1:1/x?password=a=hunter", "hunter", "extra"},
};

static void no_error_tells_a_password(void **state)
{
    const password_t *row = *state;
    b24bg_store_t *store;
    const char *error = "";

    assert_int_not_equal(APR_SUCCESS,
                         b24bg_store_open(unit_pool, "pgsql", row->params, &store, &error));
    if (strstr(error, row->hidden) || !strstr(error, row->shown)) {
        fail_msg("%s", error);
    }
}

static void a_wrong_password_is_not_told(void **state)
{
    const char *params =
        apr_pstrcat(unit_pool, from_environment("B24BG_TEST_PGSQL"), " password=hunter", NULL);
    b24bg_store_t *store;
    const char *error = "";

    (void)state;
    assert_int_not_equal(APR_SUCCESS, b24bg_store_open(unit_pool, "pgsql", params, &store, &error));
    assert_null(strstr(error, "hunter"));
    assert_non_null(strstr(error, "authentication failed for user \"b24bg\""));
}

typedef struct {
    const char *name;
    const char *params; /* with PORT and SECRET */
    const char *application;
} spelling_t;

static const spelling_t spellings[] = {
    {"keywords", "host=127.0.0.1 port=PORT dbname=postgres user=b24bg password=SECRET",
     "mod_b24bg"},
    {"keywords, named",
     "application_name=mine host=127.0.0.1 port=PORT dbname=postgres user=b24bg password=SECRET",
     "mine"},
    {"URI", "postgresql://b24bg:SECRET@127.0.0.1:PORT/postgres", "mod_b24bg"},
    {"URI with a query", "postgres://127.0.0.1:PORT/postgres?user=b24bg&password=SECRET",
     "mod_b24bg"},
    {"URI, named", "postgresql://b24bg:SECRET@127.0.0.1:PORT/postgres?application_name=mine",
     "mine"},
    {"URI without a path", "postgresql://127.0.0.1:PORT?user=b24bg&password=SECRET&dbname=postgres",
     "mod_b24bg"},
};

/* The value of a setting in B24BG_TEST_PGSQL. */
static const char *setting(const char *name)
{
    const char *found = strstr(from_environment("B24BG_TEST_PGSQL"), name);

    assert_non_null(found);
    found += strlen(name);
    return apr_pstrmemdup(unit_pool, found, strcspn(found, " "));
}

static const char *replace(const char *text, const char *from, const char *to)
{
    const char *found = strstr(text, from);

    return apr_pstrcat(unit_pool, apr_pstrmemdup(unit_pool, text, (apr_size_t)(found - text)), to,
                       found + strlen(from), NULL);
}

static void parameters_in_every_spelling(void **state)
{
    const spelling_t *row = *state;
    const char *params =
        replace(replace(row->params, "PORT", setting("port=")), "SECRET", setting("password="));
    b24bg_store_t *store;
    const char *error = "";

    world.side = &sides[1];
    empty_database();
    if (b24bg_store_open(unit_pool, "pgsql", params, &store, &error) != APR_SUCCESS) {
        fail_msg("%s", error);
    }
    assert_string_equal("1", raw_value(apr_pstrcat(unit_pool,
                                                   "SELECT COUNT(*) FROM pg_stat_activity "
                                                   "WHERE application_name = '",
                                                   row->application, "'", NULL)));
}

/* Values */

static const char *const texts[] = {
    "",
    " ",
    "'",
    "''; DROP TABLE b24bg_portals; --",
    "\"quoted\" \\ back\\\\slash \\' %s %lld %% $1 ?1 :name @x",
    "line\nfeed\rreturn\ttab\x01\x7F",
    "\xD0\x9F\xD0\xBE\xD1\x80\xD1\x82\xD0\xB0\xD0\xBB \xE2\x82\xAC \xF0\x9F\x98\x80 \xC2\x80",
    "NULL",
    "9223372036854775808",
};

static const apr_int64_t numbers[] = {0, 1, -1, APR_INT64_MAX, APR_INT64_MIN, NOW};

/* Every text in every place, every number in every place. */
static void values_come_back_as_they_were(void **state)
{
    b24bg_store_t *store = create_store(state);
    size_t i;

    for (i = 0; i < COUNT_OF(texts); i++) {
        b24bg_store_portal_t portal = {0};
        b24bg_store_reason_t reason = {NULL, texts[i], texts[i], NOW, NULL, NULL};
        apr_array_header_t *events = NULL;
        b24bg_store_portal_t *found = NULL;
        b24bg_store_portal_event_t event;
        portal.app = portal.member_id = portal.domain = portal.client_endpoint = texts[i];
        portal.auth_server = portal.access_token = portal.refresh_token = texts[i];
        portal.application_token = portal.scope = texts[i];
        portal.access_expires = portal.refreshed = portal.user_id = numbers[i % COUNT_OF(numbers)];
        portal.installed = portal.last_load = portal.loads = numbers[i % COUNT_OF(numbers)];
        OK(store, b24bg_store_portal_put(store, &portal, &reason));
        OK(store, b24bg_store_portal_get(store, unit_pool, texts[i], texts[i], &found));
        assert_same_portal(&portal, found);
        OK(store, b24bg_store_events_since(store, unit_pool, -1, 1, &events));
        event = APR_ARRAY_IDX(events, 0, b24bg_store_portal_event_t);
        assert_string_equal(texts[i], event.app);
        assert_string_equal(texts[i], event.member_id);
        assert_string_equal(texts[i], event.what);
        assert_string_equal(texts[i], event.detail);
    }
    assert_int_equal(COUNT_OF(texts), portals_since(store, -1)->nelts);
}

/* Every column has a value that no other one has. */
static void columns_are_not_mixed_up(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                   1,   2,   3,   4,   5,   6,   7,   8,   0};
    b24bg_store_registration_t registration = {"a", "b", 1,  "c", "d", "e", "f", "g", "h",
                                               "i", 2,   3,  4,   5,   6,   7,   8,   9,
                                               10,  11,  12, "j", "k", "l", 0};
    b24bg_store_budget_t budget = {"a", "b", 1, "c", 2, 3};
    b24bg_store_reason_t reason = {NULL, "c", "d", 1, NULL, NULL};
    b24bg_store_command_t command = {"a", "b", "c", "d", 1, ""};
    b24bg_store_alert_t alert = {"a", "b", "e", "f", NULL, 0, 0, 0};
    b24bg_store_message_t message = {"a", "b", "c", "d", 1, 2, 3};
    b24bg_store_portal_event_t *event;
    b24bg_store_message_t *third;
    b24bg_store_command_t *last = NULL;
    b24bg_store_portal_t *first = NULL;
    apr_array_header_t *list = NULL;

    OK(store, b24bg_store_portal_put(store, &portal, NULL));
    OK(store, b24bg_store_portal_get(store, unit_pool, "a", "b", &first));
    assert_same_portal(&portal, first);

    OK(store, b24bg_store_registration_put(store, &registration, &reason));
    OK(store, b24bg_store_registrations(store, unit_pool, "a", "b", &list));
    assert_same_registration(&registration, &APR_ARRAY_IDX(list, 0, b24bg_store_registration_t));
    registration.reason = "l"; /* replaced: another list of columns */
    registration.rebound = 13;
    OK(store, b24bg_store_registration_put(store, &registration, NULL));
    OK(store, b24bg_store_registrations(store, unit_pool, "a", NULL, &list));
    assert_same_registration(&registration, &APR_ARRAY_IDX(list, 0, b24bg_store_registration_t));

    OK(store, b24bg_store_events_since(store, unit_pool, -1, 9, &list));
    event = &APR_ARRAY_IDX(list, 0, b24bg_store_portal_event_t);
    assert_string_equal("abcd", apr_pstrcat(unit_pool, event->app, event->member_id, event->what,
                                            event->detail, NULL));
    assert_int_equal(1, event->at);
    assert_true(event->seq == registration.change - 1);

    put_budgets(store, &budget, 1);
    assert_string_equal("a b 1 c 2 3\n", budgets(store));

    OK(store, add_messages(store, &message, 1));
    third = &APR_ARRAY_IDX(due_messages(store, 1, 9), 0, b24bg_store_message_t);
    assert_string_equal(
        "abcd", apr_pstrcat(unit_pool, third->id, third->app, third->event, third->fields, NULL));
    assert_int_equal(110, third->received * 100 + third->due * 10 + third->attempts);

    OK(store, b24bg_store_command_add(store, &command));
    OK(store, b24bg_store_command_get(store, unit_pool, "a", &last));
    assert_string_equal("abcd", apr_pstrcat(unit_pool, last->id, last->app, last->member_id,
                                            last->verb, last->result, NULL));
    assert_int_equal(1, last->created);

    OK(store, b24bg_store_alert_add(store, &alert, 7));
    alert = first_alert(store, 7);
    assert_string_equal("abefc", apr_pstrcat(unit_pool, alert.app, alert.member_id, alert.event,
                                             alert.detail, alert.domain, NULL));
    assert_int_equal(7, alert.due);
    assert_int_equal(0, alert.tries);
}

static void many_messages_are_finished_at_once(void **state)
{
    b24bg_store_t *store = create_store(state);
    apr_array_header_t *ids = apr_array_make(unit_pool, 2, sizeof(const char *));
    b24bg_store_message_t messages[3];
    int i;

    for (i = 0; i < 3; i++) {
        messages[i] = message_of(i + 1, NOW);
    }
    OK(store, add_messages(store, messages, 3));
    APR_ARRAY_PUSH(ids, const char *) = messages[0].id;
    APR_ARRAY_PUSH(ids, const char *) = messages[2].id;
    APR_ARRAY_PUSH(ids, const char *) = "not there";
    OK(store, b24bg_store_inbox_done_all(store, ids, NOW));
    assert_int_equal(1, unfinished(store));
    assert_string_equal(messages[1].id,
                        APR_ARRAY_IDX(due_messages(store, NOW, 9), 0, b24bg_store_message_t).id);
}

static void long_values_are_kept(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_message_t message = message_of(1, NOW);
    char *fields = apr_palloc(unit_pool, 200001);

    memset(fields, 'x', 200000);
    fields[200000] = '\0';
    message.fields = fields;
    OK(store, add_messages(store, &message, 1));
    assert_string_equal(
        fields, APR_ARRAY_IDX(due_messages(store, NOW, 1), 0, b24bg_store_message_t).fields);
}

/* What strangers send must not make a statement fail for ever. */
static const struct {
    const char *name;
    const char *sent;
    const char *kept;
} broken_texts[] = {
    {"not UTF-8",
     "a\xFF\xFE"
     "b",
     "a??b"},
    {"lone continuation", "\x80\xBF", "??"},
    {"cut short", "\xE2\x82", "??"},
    {"cut by another one", "\xE2\x82\xC3\xA9", "??\xC3\xA9"},
    {"overlong slash", "\xC0\xAF", "??"},
    {"overlong, 3 bytes", "\xE0\x80\xAF", "???"},
    {"surrogate", "\xED\xA0\x80", "???"},
    {"last before the surrogates", "\xED\x9F\xBF", "\xED\x9F\xBF"},
    {"beyond Unicode", "\xF4\x90\x80\x80", "????"},
    {"last of Unicode", "\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
    {"5 bytes", "\xF8\x88\x80\x80\x80", "?????"},
    {"windows-1251", "\xCF\xEE\xF0\xF2\xE0\xEB", "??????"},
};

static void broken_text_is_mended(void **state)
{
    b24bg_store_t *store = create_store(state);
    size_t i;

    for (i = 0; i < COUNT_OF(broken_texts); i++) {
        b24bg_store_message_t message = message_of((int)i, NOW);
        message.fields = broken_texts[i].sent;
        OK(store, add_messages(store, &message, 1));
        assert_string_equal(
            broken_texts[i].kept,
            APR_ARRAY_IDX(due_messages(store, NOW, 99), (int)i, b24bg_store_message_t).fields);
    }
}

static void null_texts_are_empty(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = {0};
    b24bg_store_portal_t *found = NULL;

    portal.app = "telephony";
    portal.member_id = MEMBER;
    OK(store, b24bg_store_portal_put(store, &portal, NULL));
    found = get_portal(store, MEMBER);
    assert_string_equal("", found->access_token);
    assert_string_equal("", found->domain);
    assert_string_equal("", history(store, 9));
}

/* A row of NULLs, and then of what is not UTF-8, is one row like others: it is found again. */
static void registrations_and_budgets_hold_any_text(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t registration = {0};
    b24bg_store_registration_t expected = {0};
    b24bg_store_budget_t rows[2] = {{NULL, NULL, 0, NULL, 1, 2},
                                    {"\xFF", "\xC3\xA9", -1, "\x80", APR_INT64_MAX, APR_INT64_MIN}};
    b24bg_store_alert_t alert;
    int i;

    for (i = 0; i < 2; i++) {
        const char *kept = i ? "?" : "";
        const char *sent = i ? "\xFF" : NULL;
        b24bg_store_reason_t reason = {NULL, sent, sent, NOW, NULL, NULL};
        registration.app = registration.member_id = registration.state = sent;
        registration.reason = registration.detail = registration.goal = sent;
        registration.key_hash = registration.next_key_hash = registration.old_key_hash = sent;
        registration.binds = registration.command = registration.urls = sent;
        registration.change = 0;
        expected.app = expected.member_id = expected.state = kept;
        expected.reason = expected.detail = expected.goal = kept;
        expected.key_hash = expected.next_key_hash = expected.old_key_hash = kept;
        expected.binds = expected.command = expected.urls = kept;
        OK(store, b24bg_store_registration_put(store, &registration, &reason));
        OK(store, b24bg_store_registration_put(store, &registration, NULL));
        assert_int_equal(i + 1, registrations_since(store, -1)->nelts);
        assert_same_registration(&expected, &APR_ARRAY_IDX(registrations_since(store, -1), i,
                                                           b24bg_store_registration_t));
        assert_string_equal(i ? " ?" : "", events_since(store, -1, 9));
        alert.app = alert.member_id = alert.event = alert.detail = sent;
        OK(store, b24bg_store_alert_add(store, &alert, NOW));
        alert = APR_ARRAY_IDX(list_alerts(store, NOW, 9), i, b24bg_store_alert_t);
        assert_string_equal(kept, alert.event);
        assert_string_equal(kept, alert.detail);
        assert_string_equal("", alert.domain);
    }
    put_budgets(store, rows, 2);
    put_budgets(store, rows, 2);
    assert_string_equal("  0  1 2\n"
                        "? \xC3\xA9 -1 ? 9223372036854775807 -9223372036854775808\n",
                        budgets(store));
}

/* Leases */

static int take(b24bg_store_t *store, const char *holder, apr_time_t now)
{
    b24bg_store_lease_t wanted = {holder, now + 10 * SECOND};
    int mine = -1;

    OK(store, b24bg_store_lease(store, "task", &wanted, now, &mine));
    return mine;
}

static void a_lease_has_one_holder(void **state)
{
    b24bg_store_t *one = create_store(state);
    b24bg_store_t *other = open_store();
    b24bg_store_lease_t wanted = {"other", NOW + SECOND};
    int mine = -1;

    assert_int_equal(1, take(one, "one", NOW));
    assert_int_equal(0, take(other, "other", NOW));
    assert_int_equal(1, take(one, "one", NOW + 5 * SECOND)); /* extended to NOW + 15 s */
    assert_int_equal(0, take(other, "other", NOW + 15 * SECOND - 1));
    OK(other, b24bg_store_release(other, "task", "other")); /* not his to give */
    assert_int_equal(0, take(other, "other", NOW + 15 * SECOND - 1));
    assert_int_equal(1, take(other, "other", NOW + 15 * SECOND));
    assert_int_equal(0, take(one, "one", NOW + 16 * SECOND));
    OK(other, b24bg_store_release(other, "task", "other"));
    assert_int_equal(1, take(one, "one", NOW + 16 * SECOND));
    OK(other, b24bg_store_lease(other, "another", &wanted, NOW, &mine));
    assert_int_equal(1, mine);
}

static void a_lease_tells_who_has_it(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_lease_t *lease = NULL;

    assert_int_equal(APR_NOTFOUND, b24bg_store_lease_get(store, unit_pool, "task", &lease));
    assert_null(lease);
    assert_int_equal(1, take(store, "one", NOW));
    OK(store, b24bg_store_lease_get(store, unit_pool, "task", &lease));
    assert_string_equal("one", lease->holder);
    assert_true(lease->until == NOW + 10 * SECOND);
    assert_int_equal(1, take(store, "other", NOW + 20 * SECOND)); /* it was over, and still told */
    OK(store, b24bg_store_lease_get(store, unit_pool, "task", &lease));
    assert_string_equal("other", lease->holder);
    OK(store, b24bg_store_release(store, "task", "other"));
    assert_int_equal(APR_NOTFOUND, b24bg_store_lease_get(store, unit_pool, "task", &lease));
    assert_int_equal(APR_NOTFOUND, b24bg_store_lease_get(store, unit_pool, "another", &lease));
}

/* Inbox */

static void a_message_is_added_once(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_message_t messages[3] = {message_of(1, NOW), message_of(2, NOW),
                                         message_of(1, NOW)};
    b24bg_store_message_t *first;

    OK(store, add_messages(store, messages, 3));
    assert_int_equal(2, unfinished(store));
    messages[0].fields = "other=1";
    OK(store, add_messages(store, messages, 3));
    assert_int_equal(2, unfinished(store));
    first = &APR_ARRAY_IDX(due_messages(store, NOW, 9), 0, b24bg_store_message_t);
    assert_string_equal("AUTH_ID=secret-1", first->fields);
    assert_true(first->due == NOW);
    assert_int_equal(0, first->attempts);

    OK(store, b24bg_store_inbox_done(store, id_of(1), NOW));
    OK(store, add_messages(store, messages, 3));
    assert_string_equal("2", ids(due_messages(store, NOW, 9)));
    OK(store, add_messages(store, messages, 0));
    assert_int_equal(1, unfinished(store));
}

static void messages_come_in_their_order(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_message_t messages[] = {message_of(5, NOW + 3), message_of(4, NOW + 1),
                                        message_of(9, NOW + 1), message_of(2, NOW + 1)};

    OK(store, add_messages(store, messages, 4));
    add_message(store, 1, NOW + 1);
    add_message(store, 7, NOW);
    assert_string_equal("7 4 9 2 1 5", ids(due_messages(store, NOW + 3, 9)));
    assert_string_equal("7 4 9", ids(due_messages(store, NOW + 3, 3)));
    assert_string_equal("7 4 9 2 1", ids(due_messages(store, NOW + 2, 9)));
    assert_string_equal("", ids(due_messages(store, NOW - 1, 9)));
    assert_string_equal("", ids(due_messages(store, NOW + 3, 0)));
}

static void a_message_is_put_off(void **state)
{
    b24bg_store_t *store = create_store(state);

    add_message(store, 1, NOW);
    add_message(store, 2, NOW + 1);
    OK(store, b24bg_store_inbox_later(store, id_of(1), NOW + 10));
    OK(store, b24bg_store_inbox_later(store, id_of(77), NOW + 10));
    assert_string_equal("2", ids(due_messages(store, NOW + 9, 9)));
    assert_string_equal("1 2", ids(due_messages(store, NOW + 10, 9)));
    OK(store, b24bg_store_inbox_later(store, id_of(1), NOW + 20));
    assert_int_equal(
        2, APR_ARRAY_IDX(due_messages(store, NOW + 20, 9), 0, b24bg_store_message_t).attempts);
    assert_int_equal(2, unfinished(store));
}

static void fields_are_replaced_until_it_is_done(void **state)
{
    b24bg_store_t *store = create_store(state);

    add_message(store, 1, NOW);
    OK(store, b24bg_store_inbox_fields(store, id_of(1), "AUTH_ID=new"));
    assert_string_equal(
        "AUTH_ID=new", APR_ARRAY_IDX(due_messages(store, NOW, 1), 0, b24bg_store_message_t).fields);
    OK(store, b24bg_store_inbox_done(store, id_of(1), NOW));
    assert_string_equal("0", raw_value("SELECT COUNT(*) FROM b24bg_inbox WHERE fields <> ''"));
    OK(store, b24bg_store_inbox_done(store, id_of(1), NOW + 1)); /* again */
    OK(store, b24bg_store_inbox_done(store, id_of(77), NOW));
    OK(store, b24bg_store_inbox_later(store, id_of(1), NOW));
    assert_int_equal(APR_NOTFOUND, b24bg_store_inbox_fields(store, id_of(1), "AUTH_ID=late"));
    assert_int_equal(APR_NOTFOUND, b24bg_store_inbox_fields(store, id_of(77), "AUTH_ID=late"));
    assert_string_not_equal("", b24bg_store_error(store));
    assert_int_equal(0, unfinished(store));
    assert_string_equal("0", raw_value("SELECT COUNT(*) FROM b24bg_inbox WHERE fields <> ''"));
}

static void names_are_kept_for_a_week(void **state)
{
    b24bg_store_t *store = create_store(state);

    add_message(store, 1, NOW);
    add_message(store, 2, NOW);
    add_message(store, 3, NOW);
    OK(store, b24bg_store_inbox_done(store, id_of(1), NOW));
    OK(store, b24bg_store_inbox_done(store, id_of(2), NOW + 1));
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP));
    assert_string_equal("3", raw_value("SELECT COUNT(*) FROM b24bg_inbox"));
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP + 1));
    assert_string_equal("2", raw_value("SELECT COUNT(*) FROM b24bg_inbox"));
    OK(store, b24bg_store_inbox_purge(store, NOW + 2 * B24BG_STORE_INBOX_KEEP));
    assert_string_equal("3", ids(due_messages(store, NOW, 9))); /* not done: never forgotten */
    add_message(store, 1, NOW);
    assert_int_equal(2, unfinished(store));
}

/* Nobody expects a command of yesterday to be carried out; its result may still be asked for. */
static void old_commands_are_forgotten(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_command_t command = {"waits", "telephony", MEMBER, "rebind", NOW, ""};
    b24bg_store_command_t *found;

    OK(store, b24bg_store_command_add(store, &command));
    command.id = "done";
    OK(store, b24bg_store_command_add(store, &command));
    OK(store, b24bg_store_command_finish(store, "done", "0 bound"));
    command.id = "later";
    command.created = NOW + 1;
    OK(store, b24bg_store_command_add(store, &command));
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_COMMAND_WAITS));
    assert_int_equal(2, open_commands(store, 9)->nelts);
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_COMMAND_WAITS + 1));
    assert_int_equal(1, open_commands(store, 9)->nelts);
    assert_int_equal(APR_NOTFOUND, b24bg_store_command_get(store, unit_pool, "waits", &found));
    OK(store, b24bg_store_command_get(store, unit_pool, "later", &found));
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP));
    OK(store, b24bg_store_command_get(store, unit_pool, "done", &found));
    assert_string_equal("0 bound", found->result);
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP + 1));
    assert_int_equal(APR_NOTFOUND, b24bg_store_command_get(store, unit_pool, "done", &found));
}

/* Alerts */

static const struct accepted {
    const char *name;
    apr_interval_time_t after;
    int again;
} accepted[] = {
    {"at once", 0, 0},
    {"an hour less a moment later", B24BG_STORE_ALERT_QUIET - 1, 0},
    {"an hour later", B24BG_STORE_ALERT_QUIET, 1},
    {"by a clock that is a bit slow", -5 * SECOND, 0},
    {"the clock set back", -B24BG_STORE_ALERT_QUIET - 1, 1},
};

/* Whether the first one is over, or waits, makes no difference. */
static void an_alert_is_accepted_once_an_hour(void **state)
{
    size_t i;

    for (i = 0; i < 2 * COUNT_OF(accepted); i++) {
        const struct accepted *row = &accepted[i / 2];
        b24bg_store_t *store = create_store(state);
        b24bg_store_alert_t first, now;
        add_alert(store, MEMBER, "disabled", NOW);
        first = first_alert(store, NOW);
        OK(store, b24bg_store_alert_begin(store, &first, NOW + 30 * SECOND));
        OK(store, b24bg_store_alert_end(store, first.seq, i % 2 ? 0 : NOW + 1));
        add_alert(store, MEMBER, "disabled", NOW + row->after);
        if (row->again) {
            now = first_alert(store, NOW + row->after);
            assert_true(now.seq > first.seq);
            assert_int_equal(0, now.tries);
            OK(store, b24bg_store_alert_end(store, first.seq, 0)); /* of the one before */
        } else if (i % 2 == 0) {
            now = first_alert(store, NOW + 1);
            assert_true(now.seq == first.seq);
            assert_int_equal(1, now.tries);
        }
        assert_int_equal(row->again || i % 2 == 0,
                         list_alerts(store, NOW + 2 * B24BG_STORE_ALERT_QUIET, 9)->nelts);
        b24bg_store_close(store);
    }
}

static void alerts_of_a_portal_come_in_their_order(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_alert_t disabled;

    add_alert(store, MEMBER, "disabled", NOW);
    add_alert(store, MEMBER, "rebound", NOW);
    add_alert(store, OTHER, "rebound", NOW + 1);
    assert_string_equal("01 disabled", due_alerts(store, NOW));
    assert_string_equal("01 disabled fe rebound", due_alerts(store, NOW + 1));
    assert_int_equal(1, list_alerts(store, NOW + 1, 1)->nelts);
    disabled = first_alert(store, NOW);
    OK(store, b24bg_store_alert_begin(store, &disabled, NOW + 30 * SECOND));
    assert_string_equal("fe rebound", due_alerts(store, NOW + 1)); /* it runs */
    OK(store, b24bg_store_alert_end(store, disabled.seq, NOW + 60 * SECOND));
    assert_string_equal("fe rebound", due_alerts(store, NOW + 60 * SECOND - 1)); /* it waits */
    assert_string_equal("01 disabled fe rebound", due_alerts(store, NOW + 60 * SECOND));
    OK(store, b24bg_store_alert_end(store, disabled.seq, 0));
    assert_string_equal("01 rebound fe rebound", due_alerts(store, NOW + 1));
}

static void an_alert_is_begun_by_one(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_alert_t alert, same;

    add_alert(store, MEMBER, "disabled", NOW);
    alert = same = first_alert(store, NOW);
    OK(store, b24bg_store_alert_begin(store, &alert, NOW + 30 * SECOND));
    assert_int_equal(APR_NOTFOUND, b24bg_store_alert_begin(store, &same, NOW + 31 * SECOND));
    assert_string_equal("", due_alerts(store, NOW + 30 * SECOND - 1));
    same = first_alert(store, NOW + 30 * SECOND); /* who began it is dead */
    assert_int_equal(1, same.tries);
    OK(store, b24bg_store_alert_begin(store, &same, NOW + 60 * SECOND));
    OK(store, b24bg_store_alert_end(store, alert.seq, 0)); /* no, he was slow */
    OK(store, b24bg_store_alert_end(store, same.seq, NOW));
    assert_string_equal("", due_alerts(store, NOW + 60 * SECOND));
    same.due = 0;
    assert_int_equal(APR_NOTFOUND, b24bg_store_alert_begin(store, &same, NOW));
}

static void alerts_come_though_the_clock_is_set_back(void **state)
{
    b24bg_store_t *store = create_store(state);

    add_alert(store, MEMBER, "disabled", NOW);
    assert_string_equal("", due_alerts(store, NOW - B24BG_STORE_ALERT_QUIET));
    assert_string_equal("01 disabled", due_alerts(store, NOW - B24BG_STORE_ALERT_QUIET - 1));
}

/* Whole, or not at all: with what it is about. */
static void an_alert_goes_with_its_reason(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t registration = registration_of(MEMBER, 0, "lost");
    b24bg_store_reason_t reason = reason_of(NULL, "disabled", NOW);
    b24bg_store_alert_t news = {.event = "disabled", .detail = "why"};
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_alert_t alert;

    put_portal(store, &portal, "installed");
    reason.alert = &news;
    registration.change = 17;
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_put(store, &registration, &reason));
    assert_string_equal("", due_alerts(store, NOW));
    registration.change = 0;
    OK(store, b24bg_store_registration_put(store, &registration, &reason));
    alert = first_alert(store, NOW);
    assert_string_equal("telephony " MEMBER " disabled why portal.bitrix24.com",
                        apr_pstrcat(unit_pool, alert.app, " ", alert.member_id, " ", alert.event,
                                    " ", alert.detail, " ", alert.domain, NULL));
    assert_true(alert.seq == registration.change);
    OK(store, b24bg_store_registration_put(store, &registration, &reason));
    assert_string_equal("disabled disabled installed", history(store, 9)); /* not so the alerts */
    assert_true(first_alert(store, NOW).seq == alert.seq);
}

static void old_alerts_are_forgotten(void **state)
{
    b24bg_store_t *store = create_store(state);

    add_alert(store, MEMBER, "disabled", NOW);
    add_alert(store, OTHER, "disabled", NOW + 1);
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP));
    assert_string_equal("01 disabled fe disabled", due_alerts(store, NOW + 1));
    OK(store, b24bg_store_inbox_purge(store, NOW + B24BG_STORE_INBOX_KEEP + 1));
    assert_string_equal("fe disabled", due_alerts(store, NOW + 1));
}

/* Portals */

static void a_portal_is_replaced_but_for_its_counts(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_portal_t other = portal_of(OTHER);
    apr_int64_t change;

    put_portal(store, &portal, "installed");
    put_portal(store, &other, "installed");
    change = get_portal(store, MEMBER)->change;
    portal.domain = "renamed.bitrix24.com";
    portal.client_endpoint = "https://renamed.bitrix24.com/rest/";
    portal.auth_server = "https://oauth.bitrix24.tech";
    portal.access_token = "access-2";
    portal.refresh_token = "refresh-2";
    portal.application_token = "application-2";
    portal.scope = "";
    portal.access_expires++;
    portal.refreshed++;
    portal.user_id = 18;
    portal.installed++;
    portal.last_load = 0;
    portal.recent = 99;
    portal.loads = 43;
    put_portal(store, &portal, "updated");
    portal.last_load = NOW - 2;
    portal.recent = 7;
    assert_same_portal(&portal, get_portal(store, MEMBER));
    portal.last_load = NOW + 9;
    portal.recent = 3;
    portal.loads = 1;
    OK(store, b24bg_store_portal_put(store, &portal, NULL));
    portal.loads = 43;
    assert_same_portal(&portal, get_portal(store, MEMBER));
    assert_true(get_portal(store, MEMBER)->change > get_portal(store, OTHER)->change);
    assert_true(get_portal(store, OTHER)->change > change);
    assert_same_portal(&other, get_portal(store, OTHER));
    assert_string_equal("updated installed", history(store, 9));
}

static void counts_only_grow(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    apr_array_header_t *counts = apr_array_make(unit_pool, 3, sizeof(portal));
    apr_int64_t change;
    int i;

    put_portal(store, &portal, "installed");
    change = get_portal(store, MEMBER)->change;
    for (i = 0; i < 3; i++) {
        APR_ARRAY_PUSH(counts, b24bg_store_portal_t) = portal;
    }
    APR_ARRAY_IDX(counts, 0, b24bg_store_portal_t).member_id = OTHER; /* not there */
    APR_ARRAY_IDX(counts, 1, b24bg_store_portal_t).loads = 50;
    APR_ARRAY_IDX(counts, 1, b24bg_store_portal_t).last_load = 1;
    APR_ARRAY_IDX(counts, 1, b24bg_store_portal_t).recent = 99;
    APR_ARRAY_IDX(counts, 2, b24bg_store_portal_t).loads = 49;
    APR_ARRAY_IDX(counts, 2, b24bg_store_portal_t).last_load = NOW + 7;
    APR_ARRAY_IDX(counts, 2, b24bg_store_portal_t).recent = 2;
    OK(store, b24bg_store_portal_counts(store, counts));
    OK(store, b24bg_store_portal_counts(store, counts)); /* again: no harm */
    assert_int_equal(50, get_portal(store, MEMBER)->loads);
    assert_true(get_portal(store, MEMBER)->last_load == NOW + 7);
    assert_int_equal(2, get_portal(store, MEMBER)->recent); /* fewer: it goes with last_load */
    assert_true(get_portal(store, MEMBER)->change == change);
    assert_string_equal("installed", history(store, 9));
    assert_int_equal(1, portals_since(store, -1)->nelts);
}

/* More than go into one transaction; none, and those at the ends. */
static void many_counts_are_raised(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portals[1001];
    apr_array_header_t *counts = apr_array_make(unit_pool, 1001, sizeof(portals[0]));
    size_t i;

    OK(store, b24bg_store_portal_counts(store, counts));
    for (i = 0; i < COUNT_OF(portals); i++) {
        portals[i] = portal_of(id_of((int)i));
        if (i == 0 || i == 499 || i == 500 || i == 1000) {
            put_portal(store, &portals[i], "installed");
        }
        portals[i].loads = 1000;
        APR_ARRAY_PUSH(counts, b24bg_store_portal_t) = portals[i];
    }
    OK(store, b24bg_store_portal_counts(store, counts));
    assert_int_equal(1000, get_portal(store, id_of(0))->loads);
    assert_int_equal(1000, get_portal(store, id_of(499))->loads);
    assert_int_equal(1000, get_portal(store, id_of(500))->loads);
    assert_int_equal(1000, get_portal(store, id_of(1000))->loads);
    assert_int_equal(4, portals_since(store, -1)->nelts);
}

static void a_wiped_portal_stays_without_tokens(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_portal_t other = portal_of(OTHER);
    b24bg_store_reason_t reason = reason_of(NULL, "uninstalled", NOW);
    apr_int64_t change;

    put_portal(store, &portal, "installed");
    put_portal(store, &other, "installed");
    change = get_portal(store, OTHER)->change;
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, &reason));
    portal.access_token = portal.refresh_token = portal.application_token = "";
    portal.installed = 0;
    assert_same_portal(&portal, get_portal(store, MEMBER));
    assert_same_portal(&other, get_portal(store, OTHER));
    assert_string_equal("uninstalled installed", history(store, 9));
    assert_int_equal(1, portals_since(store, change)->nelts);

    reason.what = "refreshed";
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_tokens(store, &portal, "", &reason));
    assert_string_equal("", get_portal(store, MEMBER)->access_token);
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_wipe(store, "telephony", "nobody", &reason));
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_wipe(store, "crm", MEMBER, &reason));
    assert_string_equal("uninstalled installed", history(store, 9));
}

/* 1 if the file holds the text. */
static int holds(const char *path, const char *text)
{
    static char content[1024 * 1024];
    FILE *file = fopen(path, "rb");
    size_t length;
    size_t i;

    assert_non_null(file);
    length = fread(content, 1, sizeof(content), file);
    fclose(file);
    for (i = 0; i + strlen(text) <= length; i++) {
        if (memcmp(content + i, text, strlen(text)) == 0) {
            return 1;
        }
    }
    return 0;
}

static void wiped_tokens_leave_the_log(void **state)
{
    b24bg_store_portal_t portal = portal_of(MEMBER);
    apr_dbd_results_t *results = NULL;
    b24bg_store_t *store;
    const char *log;
    raw_t raw;
    int rows;

    (void)state;
    world.side = &sides[0];
    empty_database();
    store = open_store();
    log = apr_pstrcat(unit_pool, world.params, "-wal", NULL);
    portal.refresh_token = "the-refresh-token-of-this-test";
    put_portal(store, &portal, "installed");
    assert_int_equal(1, holds(log, portal.refresh_token));
    assert_true(raw_open(&raw)); /* a backup reads */
    assert_int_equal(0, apr_dbd_query(raw.driver, raw.handle, &rows, "BEGIN"));
    assert_int_equal(0, apr_dbd_select(raw.driver, raw.pool, raw.handle, &results,
                                       "SELECT COUNT(*) FROM b24bg_portals", 1));
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    assert_int_equal(0, b24bg_store_shed(store));
    assert_int_equal(1, holds(log, portal.refresh_token));
    apr_dbd_close(raw.driver, raw.handle);
    assert_int_equal(1, b24bg_store_shed(store));
    assert_int_equal(0, holds(log, portal.refresh_token));
    assert_int_equal(0, holds(world.params, portal.refresh_token));

    put_portal(store, &portal, "installed again");
    assert_int_equal(1, holds(log, portal.refresh_token));
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    assert_int_equal(0, holds(log, portal.refresh_token));
    assert_int_equal(0, holds(world.params, portal.refresh_token));
}

static void tokens_are_replaced_and_nothing_else(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_portal_t tokens = {0};
    b24bg_store_reason_t reason = reason_of(NULL, "refreshed", NOW);
    const char *spent = portal.refresh_token;
    apr_int64_t change;

    put_portal(store, &portal, "installed");
    change = get_portal(store, MEMBER)->change;
    tokens.app = "telephony";
    tokens.member_id = MEMBER;
    tokens.access_token = portal.access_token = "access-2";
    tokens.refresh_token = portal.refresh_token = "refresh-2";
    tokens.access_expires = portal.access_expires = NOW + 5;
    tokens.refreshed = portal.refreshed = NOW + 6;
    OK(store, b24bg_store_portal_tokens(store, &tokens, spent, &reason));
    assert_same_portal(&portal, get_portal(store, MEMBER));
    assert_true(get_portal(store, MEMBER)->change > change);
    assert_string_equal("refreshed installed", history(store, 9));
}

/* An installation has brought others since the old ones were spent. */
static void newer_tokens_are_not_replaced(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_portal_t late = portal_of(MEMBER);
    b24bg_store_reason_t reason = reason_of(NULL, "refreshed", NOW);
    apr_array_header_t *rows = apr_array_make(unit_pool, 1, sizeof(b24bg_store_registration_t));
    const char *spent = portal.refresh_token;
    apr_int64_t change;

    put_portal(store, &portal, "installed");
    portal.access_token = "access-2";
    portal.refresh_token = "refresh-2";
    put_portal(store, &portal, "installed");
    change = get_portal(store, MEMBER)->change;
    late.access_token = "access-3";
    late.refresh_token = "refresh-3";
    APR_ARRAY_PUSH(rows, b24bg_store_registration_t) = registration_of(MEMBER, 0, "suspect");
    reason.registrations = rows;
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_tokens(store, &late, spent, &reason));
    assert_same_portal(&portal, get_portal(store, MEMBER));
    assert_true(get_portal(store, MEMBER)->change == change);
    assert_string_equal("installed installed", history(store, 9));
    assert_int_equal(0, registrations_of(store, MEMBER)->nelts);
    OK(store, b24bg_store_portal_tokens(store, &late, portal.refresh_token, &reason));
    assert_string_equal("refresh-3", get_portal(store, MEMBER)->refresh_token);
    assert_int_equal(1, registrations_of(store, MEMBER)->nelts);
}

static void a_portal_is_found_by_domain(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_portal_t again = portal_of(OTHER);
    b24bg_store_portal_t *found = NULL;

    put_portal(store, &portal, "installed");
    assert_string_equal(MEMBER, get_portal(store, "portal.bitrix24.com")->member_id);
    put_portal(store, &again, "installed"); /* the same domain, a new portal */
    OK(store, b24bg_store_portal_wipe(store, "telephony", OTHER, NULL));
    assert_string_equal(MEMBER, get_portal(store, "portal.bitrix24.com")->member_id);
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    assert_string_equal(MEMBER, get_portal(store, "portal.bitrix24.com")->member_id);
    put_portal(store, &again, "installed");
    assert_string_equal(OTHER, get_portal(store, "portal.bitrix24.com")->member_id);
    assert_string_equal(MEMBER, get_portal(store, MEMBER)->member_id);
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_get(store, unit_pool, "telephony",
                                                          "portal.bitrix24.ru", &found));
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_get(store, unit_pool, "crm", MEMBER, &found));
    assert_null(found);
}

static void changes_are_told_since(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_t *other = open_store();
    apr_array_header_t *portals;
    b24bg_store_portal_t *list;
    int i;

    assert_int_equal(0, portals_since(store, -1)->nelts);
    for (i = 0; i < 5; i++) {
        b24bg_store_portal_t portal = portal_of(id_of(i));
        put_portal(i % 2 ? other : store, &portal, "installed");
    }
    portals = portals_since(store, -1);
    list = (b24bg_store_portal_t *)portals->elts;
    assert_int_equal(5, portals->nelts);
    for (i = 0; i < 5; i++) {
        assert_string_equal(id_of(i), list[i].member_id);
        assert_true(list[i].change > (i ? list[i - 1].change : 0));
    }
    assert_int_equal(2, portals_since(store, list[2].change)->nelts);
    assert_int_equal(0, portals_since(store, list[4].change)->nelts);
    assert_int_equal(0, portals_since(store, APR_INT64_MAX)->nelts);
    OK(other, b24bg_store_portal_wipe(other, "telephony", id_of(1), NULL));
    portals = portals_since(store, list[4].change);
    assert_int_equal(1, portals->nelts);
    assert_string_equal(id_of(1), APR_ARRAY_IDX(portals, 0, b24bg_store_portal_t).member_id);
}

/* History */

static void history_is_bounded_and_in_order(void **state)
{
    b24bg_store_t *store = create_store(state);
    int i;

    for (i = 0; i < B24BG_STORE_EVENTS_PER_PORTAL + 10; i++) {
        b24bg_store_reason_t reason = reason_of(NULL, apr_itoa(unit_pool, i), NOW);
        OK(store, b24bg_store_event_add(store, "telephony", MEMBER, &reason));
        OK(store, b24bg_store_event_add(store, "telephony", i < 3 ? OTHER : "else", &reason));
        OK(store, b24bg_store_event_add(store, i < 2 ? "crm" : "else", MEMBER, &reason));
    }
    assert_string_equal("59 58 57", history(store, 3));
    assert_string_equal("59", history(store, 1));
    assert_string_equal("", history(store, 0));
    assert_null(strstr(history(store, 999), "9 8"));
    assert_non_null(strstr(history(store, 999), "12 11 10"));
    assert_string_equal("50", raw_value("SELECT COUNT(*) FROM b24bg_events "
                                        "WHERE app = 'telephony' AND member_id = '" MEMBER "'"));
    assert_string_equal("3", raw_value("SELECT COUNT(*) FROM b24bg_events "
                                       "WHERE member_id = '" OTHER "'"));
    assert_string_equal("2", raw_value("SELECT COUNT(*) FROM b24bg_events WHERE app = 'crm'"));
}

static void events_are_told_since(void **state)
{
    static const char *const owners[][2] = {
        {"telephony", MEMBER}, {"crm", MEMBER}, {"telephony", OTHER}, {"telephony", MEMBER}};
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    apr_array_header_t *events = NULL;
    b24bg_store_portal_event_t *list;
    size_t i;

    assert_string_equal("", events_since(store, -1, 9));
    for (i = 0; i < COUNT_OF(owners); i++) { /* later ones are said to be earlier */
        b24bg_store_reason_t reason =
            reason_of(NULL, apr_itoa(unit_pool, (int)i), NOW - (apr_time_t)i);
        OK(store, b24bg_store_event_add(store, owners[i][0], owners[i][1], &reason));
    }
    put_portal(store, &portal, "installed");
    OK(store, b24bg_store_events_since(store, unit_pool, -1, 9, &events));
    list = (b24bg_store_portal_event_t *)events->elts;
    assert_string_equal("0 1 2 3 installed", events_since(store, -1, 9));
    for (i = 0; i < COUNT_OF(owners); i++) {
        assert_string_equal(owners[i][0], list[i].app);
        assert_string_equal(owners[i][1], list[i].member_id);
        assert_true(list[i].at == NOW - (apr_time_t)i);
        assert_true(list[i].seq < list[i + 1].seq);
    }
    assert_true(list[4].seq == get_portal(store, MEMBER)->change);
    assert_string_equal("2 3 installed", events_since(store, list[1].seq, 9));
    assert_string_equal("3 installed", events_since(store, list[1].seq, 2)); /* the newest ones */
    assert_string_equal("", events_since(store, list[4].seq, 9));
    assert_string_equal("", events_since(store, -1, 0));
}

/* A change and the message that it finishes */

static void a_change_finishes_its_message(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_reason_t reason = reason_of(id_of(1), "installed", NOW);

    add_message(store, 1, NOW);
    add_message(store, 2, NOW);
    OK(store, b24bg_store_portal_put(store, &portal, &reason));
    assert_string_equal("2", ids(due_messages(store, NOW, 9)));
    reason = reason_of(id_of(2), "uninstalled", NOW);
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, &reason));
    assert_int_equal(0, unfinished(store));
    assert_string_equal("0", raw_value("SELECT COUNT(*) FROM b24bg_inbox WHERE fields <> ''"));
}

/* Two worked on the same message; the slower one must not undo what came after. */
static void a_finished_message_changes_nothing(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_registration_t registration = {0};
    b24bg_store_reason_t reason = reason_of(id_of(1), "installed", NOW);
    apr_array_header_t *registrations = NULL;
    apr_int64_t change;

    registration.app = "telephony";
    registration.member_id = MEMBER;
    add_message(store, 1, NOW);
    OK(store, b24bg_store_portal_put(store, &portal, &reason));
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    change = get_portal(store, MEMBER)->change;

    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_put(store, &portal, &reason));
    assert_string_not_equal("", b24bg_store_error(store));
    assert_int_equal(0, get_portal(store, MEMBER)->installed);
    assert_string_equal("", b24bg_store_error(store));
    assert_true(get_portal(store, MEMBER)->change == change);
    assert_int_equal(APR_NOTFOUND, b24bg_store_event_add(store, "telephony", MEMBER, &reason));
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_put(store, &registration, &reason));
    assert_int_equal(0, registration.change);
    OK(store, b24bg_store_registrations(store, unit_pool, "telephony", NULL, &registrations));
    assert_int_equal(0, registrations->nelts);
    assert_string_equal("installed", history(store, 9));
    reason.message = id_of(77);
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_put(store, &portal, &reason));
}

/* A call that fails in the middle has not begun. */
static void a_call_is_whole_or_absent(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_reason_t reason = reason_of(id_of(1), "installed", NOW);
    b24bg_store_portal_t *found = NULL;

    add_message(store, 1, NOW);
    b24bg_store_close(store);
    raw_run(world.side->refuse_events);
    store = open_store();
    reason.detail = "hunter";
    assert_int_equal(APR_EGENERAL, b24bg_store_portal_put(store, &portal, &reason));
    assert_non_null(strstr(b24bg_store_error(store), "refused"));
    assert_null(strstr(b24bg_store_error(store), "hunter")); /* PostgreSQL would show the row */
    b24bg_store_close(store);
    store = open_store();
    assert_int_equal(APR_NOTFOUND,
                     b24bg_store_portal_get(store, unit_pool, "telephony", MEMBER, &found));
    assert_string_equal("1", ids(due_messages(store, NOW, 9)));
    OK(store, b24bg_store_portal_put(store, &portal, NULL));
}

/* Registrations and commands */

static void registrations_are_put_and_listed(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t general = registration_of(MEMBER, 0, "bound");
    b24bg_store_registration_t personal = registration_of(MEMBER, 17, "bound");
    b24bg_store_registration_t others = registration_of(OTHER, 17, "bound");
    b24bg_store_registration_t found;
    b24bg_store_reason_t reason = reason_of(NULL, "bound", NOW);

    general.attempts = INT32_MAX;
    OK(store, b24bg_store_registration_put(store, &general, &reason));
    OK(store, b24bg_store_registration_put(store, &personal, NULL));
    OK(store, b24bg_store_registration_put(store, &others, NULL));
    others.app = "crm";
    others.change = 0;
    OK(store, b24bg_store_registration_put(store, &others, NULL));
    assert_int_equal(2, registrations_of(store, MEMBER)->nelts);
    assert_int_equal(3, registrations_of(store, NULL)->nelts);
    assert_int_equal(0, registrations_of(store, "nobody")->nelts);
    assert_string_equal("bound", history(store, 9));

    personal.state = "blocked";
    personal.reason = "no-token";
    personal.due = APR_INT64_MAX;
    personal.forced = INT32_MIN;
    reason.what = "blocked";
    OK(store, b24bg_store_registration_put(store, &personal, &reason));
    found = get_registration(store, MEMBER, 17);
    assert_string_equal("blocked", found.state);
    assert_string_equal("no-token", found.reason);
    assert_true(found.due == APR_INT64_MAX);
    assert_int_equal(INT32_MIN, found.forced);
    assert_true(found.change == personal.change);
    found = get_registration(store, MEMBER, 0);
    assert_string_equal("bound", found.state);
    assert_int_equal(INT32_MAX, found.attempts);
    assert_true(found.change == general.change);
    assert_string_equal("blocked bound", history(store, 9));
}

/* Two have read the same row; whoever writes it first has it, and the other one has done nothing.
 */
static void a_registration_is_changed_by_one(void **state)
{
    b24bg_store_t *one = create_store(state);
    b24bg_store_t *other = open_store();
    b24bg_store_registration_t mine = registration_of(MEMBER, 0, "lost");
    b24bg_store_registration_t late;
    b24bg_store_reason_t reason = reason_of(NULL, "lost", NOW);
    b24bg_store_reason_t too_late = reason_of(id_of(1), "bound", NOW);
    apr_int64_t change;

    add_message(one, 1, NOW);
    OK(one, b24bg_store_registration_put(one, &mine, &reason));
    late = get_registration(other, MEMBER, 0);
    assert_true(mine.change > 0 && late.change == mine.change);
    change = mine.change;
    mine.state = "binding";
    OK(one, b24bg_store_registration_put(one, &mine, NULL));
    assert_true(mine.change > change);

    late.state = "bound";
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_put(other, &late, &too_late));
    assert_string_not_equal("", b24bg_store_error(other));
    assert_true(late.change == change);
    assert_string_equal("binding", get_registration(one, MEMBER, 0).state);
    assert_true(get_registration(one, MEMBER, 0).change == mine.change);
    assert_string_equal("lost", history(one, 9));
    assert_int_equal(1, unfinished(one));

    late = get_registration(other, MEMBER, 0);
    late.state = "bound";
    OK(other, b24bg_store_registration_put(other, &late, &too_late));
    assert_string_equal("bound", get_registration(one, MEMBER, 0).state);
    assert_string_equal("bound lost", history(one, 9));
    assert_int_equal(0, unfinished(one));
}

static void a_registration_is_inserted_by_one(void **state)
{
    b24bg_store_t *one = create_store(state);
    b24bg_store_t *other = open_store();
    b24bg_store_registration_t mine = registration_of(MEMBER, 0, "unknown");
    b24bg_store_registration_t late = registration_of(MEMBER, 0, "suspect");
    b24bg_store_registration_t never = registration_of(OTHER, 0, "suspect");
    b24bg_store_reason_t reason = reason_of(NULL, "noted", NOW);

    OK(one, b24bg_store_registration_put(one, &mine, NULL));
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_put(other, &late, &reason));
    assert_int_equal(0, late.change);
    never.change = mine.change; /* changed, though it is not there */
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_put(other, &never, &reason));
    assert_int_equal(1, registrations_of(one, NULL)->nelts);
    assert_string_equal("unknown", get_registration(one, MEMBER, 0).state);
    assert_string_equal("", events_since(one, -1, 9));
}

/* An installation and what it means for the registrations: both, or neither. */
static void registrations_go_with_their_portal(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_reason_t reason = reason_of(NULL, "installed", NOW);
    apr_array_header_t *rows = apr_array_make(unit_pool, 2, sizeof(b24bg_store_registration_t));
    b24bg_store_registration_t read;

    APR_ARRAY_PUSH(rows, b24bg_store_registration_t) = registration_of(MEMBER, 0, "unknown");
    APR_ARRAY_PUSH(rows, b24bg_store_registration_t) = registration_of(MEMBER, 7, "unknown");
    reason.registrations = rows;
    OK(store, b24bg_store_portal_put(store, &portal, &reason));
    assert_int_equal(2, registrations_of(store, MEMBER)->nelts);
    read = get_registration(store, MEMBER, 7);
    OK(store, b24bg_store_registration_put(store, &read, NULL)); /* somebody was faster */
    portal.domain = "another.example.com";
    assert_int_equal(APR_NOTFOUND, b24bg_store_portal_put(store, &portal, &reason));
    assert_string_not_equal("another.example.com", get_portal(store, MEMBER)->domain);
    reason.registrations = registrations_of(store, MEMBER);
    OK(store, b24bg_store_portal_wipe(store, "telephony", MEMBER, &reason));
    assert_int_equal(0, get_portal(store, MEMBER)->installed);
}

static void registrations_are_found_by_each_of_their_keys(void **state)
{
    static const char *const hashes[] = {"a1", "b2", "c3"};
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t one = registration_of(MEMBER, 0, "bound");
    b24bg_store_registration_t other = registration_of(OTHER, 0, "bound");
    b24bg_store_registration_t *found = NULL;
    int i;

    one.key_hash = hashes[0];
    one.next_key_hash = hashes[1];
    one.old_key_hash = hashes[2];
    OK(store, b24bg_store_registration_put(store, &other, NULL));
    OK(store, b24bg_store_registration_put(store, &one, NULL));
    for (i = 0; i < 3; i++) {
        OK(store, b24bg_store_registration_by_key(store, unit_pool, hashes[i], &found));
        assert_string_equal(MEMBER, found->member_id);
        assert_true(found->change == one.change);
    }
    assert_int_equal(APR_NOTFOUND, b24bg_store_registration_by_key(store, unit_pool, "d4", &found));
}

static void registrations_are_told_since(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t rows[3] = {registration_of(OTHER, 0, "bound"),
                                          registration_of(MEMBER, 5, "lost"),
                                          registration_of(MEMBER, 0, "blocked")};
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_registration_t *list;
    int i;

    rows[2].app = "crm";
    assert_int_equal(0, registrations_since(store, -1)->nelts);
    for (i = 0; i < 3; i++) {
        OK(store, b24bg_store_registration_put(store, &rows[i], NULL));
        put_portal(store, &portal, "updated"); /* takes numbers in between */
    }
    assert_int_equal(3, registrations_since(store, -1)->nelts);
    list = (b24bg_store_registration_t *)registrations_since(store, -1)->elts;
    for (i = 0; i < 3; i++) {
        assert_string_equal(rows[i].state, list[i].state);
        assert_true(rows[i].change == list[i].change);
        assert_int_equal(2 - i, registrations_since(store, list[i].change)->nelts);
    }
    OK(store, b24bg_store_registration_put(store, &rows[0], NULL));
    assert_int_equal(1, registrations_since(store, rows[2].change)->nelts);
}

/* The users of the open ones. */
static const char *open_registrations(b24bg_store_t *store, int most)
{
    apr_array_header_t *list = NULL;
    const char *shown = "";
    int i;

    OK(store, b24bg_store_registrations_open(store, unit_pool, most, &list));
    for (i = 0; i < list->nelts; i++) {
        shown = apr_psprintf(unit_pool, "%s%s%" APR_INT64_T_FMT, shown, i ? " " : "",
                             APR_ARRAY_IDX(list, i, b24bg_store_registration_t).user_id);
    }
    return shown;
}

static void open_registrations_are_listed(void **state)
{
    static const struct {
        const char *state;
        const char *reason;
        apr_time_t due;
    } rows[] = {
        {"lost", "", 0},           {"bound", "", 1},
        {"unbound", "", 1},        {"blocked", "no-token", 1},
        {"blocked", "", 1},        {"blocked", "daily-cap", NOW + 3},
        {"suspect", "", NOW},      {"unknown", "", NOW - 5},
        {"binding", "", NOW},      {"lost", "daily-cap", NOW + 1},
        {"bound", "daily-cap", 1},
    };
    b24bg_store_t *store = create_store(state);
    b24bg_store_registration_t row;
    size_t i;

    assert_string_equal("", open_registrations(store, 99));
    for (i = 0; i < COUNT_OF(rows); i++) {
        row = registration_of(i % 2 ? MEMBER : OTHER, (apr_int64_t)i, rows[i].state);
        row.app = i % 3 ? "telephony" : "crm";
        row.reason = rows[i].reason;
        row.due = rows[i].due;
        OK(store, b24bg_store_registration_put(store, &row, NULL));
    }
    assert_string_equal("7 6 8 9 5 0", open_registrations(store, 99));
    assert_string_equal("7 6 8", open_registrations(store, 3));
    assert_string_equal("", open_registrations(store, 0));
    row = get_registration(store, MEMBER, 7);
    row.state = "bound";
    OK(store, b24bg_store_registration_put(store, &row, NULL));
    assert_string_equal("6 8 9 5 0", open_registrations(store, 99));
}

static void budgets_are_what_was_put_last(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_budget_t rows[] = {{"telephony", "b", 0, "server", 3, 10},
                                   {"telephony", "b", 0, "browser", 4, 11},
                                   {"telephony", "b", 17, "server", 5, 12},
                                   {"telephony", "a", 0, "server", 6, 13},
                                   {"crm", "b", 0, "server", 7, 14}};

    put_budgets(store, rows, 0);
    assert_string_equal("", budgets(store));
    put_budgets(store, rows, COUNT_OF(rows));
    assert_string_equal("crm b 0 server 7 14\n"
                        "telephony a 0 server 6 13\n"
                        "telephony b 0 browser 4 11\n"
                        "telephony b 0 server 3 10\n"
                        "telephony b 17 server 5 12\n",
                        budgets(store));
    rows[0].used = 1; /* a new window, also one that began earlier by another clock */
    rows[0].start = 9;
    put_budgets(store, rows, 1);
    b24bg_store_close(store);
    store = open_store();
    assert_string_equal("crm b 0 server 7 14\n"
                        "telephony a 0 server 6 13\n"
                        "telephony b 0 browser 4 11\n"
                        "telephony b 0 server 1 9\n"
                        "telephony b 17 server 5 12\n",
                        budgets(store));
    assert_string_equal("", events_since(store, -1, 9));
}

/* More than go into one transaction. */
static void many_budgets_are_put(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_budget_t rows[1001];
    apr_array_header_t *list = NULL;
    size_t i;

    for (i = 0; i < COUNT_OF(rows); i++) {
        rows[i] = (b24bg_store_budget_t){"telephony", id_of((int)i), 0, "server", (int)i, NOW};
    }
    put_budgets(store, rows, COUNT_OF(rows));
    OK(store, b24bg_store_budgets(store, unit_pool, &list));
    assert_int_equal(COUNT_OF(rows), list->nelts);
    for (i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(i, APR_ARRAY_IDX(list, (int)i, b24bg_store_budget_t).used);
    }
}

static void commands_are_carried_out_once(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_command_t command = {"c", "telephony", MEMBER, "rebind", NOW, ""};
    b24bg_store_command_t *found = NULL;

    OK(store, b24bg_store_command_add(store, &command));
    command.id = "a";
    OK(store, b24bg_store_command_add(store, &command));
    command.id = "b";
    command.created = NOW - 1;
    OK(store, b24bg_store_command_add(store, &command));
    command.verb = "unbind";
    OK(store, b24bg_store_command_add(store, &command)); /* again: nothing happens */
    assert_int_equal(3, open_commands(store, 9)->nelts);
    assert_int_equal(2, open_commands(store, 2)->nelts);
    assert_string_equal("b", APR_ARRAY_IDX(open_commands(store, 9), 0, b24bg_store_command_t).id);
    assert_string_equal("c", APR_ARRAY_IDX(open_commands(store, 9), 1, b24bg_store_command_t).id);
    assert_string_equal("a", APR_ARRAY_IDX(open_commands(store, 9), 2, b24bg_store_command_t).id);

    OK(store, b24bg_store_command_finish(store, "b", "bound"));
    OK(store, b24bg_store_command_finish(store, "b", "too late"));
    OK(store, b24bg_store_command_finish(store, "z", "nobody's"));
    OK(store, b24bg_store_command_get(store, unit_pool, "b", &found));
    assert_string_equal("bound", found->result);
    assert_string_equal("rebind", found->verb);
    OK(store, b24bg_store_command_get(store, unit_pool, "c", &found));
    assert_string_equal("", found->result);
    assert_int_equal(APR_NOTFOUND, b24bg_store_command_get(store, unit_pool, "z", &found));
    assert_int_equal(2, open_commands(store, 9)->nelts);
}

/* Several at once */

#define WRITERS 4
#define ROUNDS 25

/* A message and a portal of its own, two messages and the counts of two portals that are
 * everybody's, the latter in another order than that of others: what deadlocks are made of. */
static void write_a_lot(int number)
{
    b24bg_store_t *store;
    int i;

    pass_gate();
    store = open_in_child();
    for (i = 0; i < ROUNDS; i++) {
        int own = 1000 + number * ROUNDS + i;
        b24bg_store_message_t messages[3] = {message_of(2 * i, NOW), message_of(own, NOW),
                                             message_of(2 * i + 1, NOW)};
        b24bg_store_portal_t portal = portal_of(id_of(own));
        b24bg_store_reason_t reason = reason_of(id_of(own), "installed", NOW);
        apr_array_header_t *counts = apr_array_make(unit_pool, 2, sizeof(portal));
        int other;
        CHECK(add_messages(store, messages, 3) == APR_SUCCESS);
        CHECK(b24bg_store_portal_put(store, &portal, &reason) == APR_SUCCESS);
        for (other = 0; other < 2; other++) {
            portal.member_id = id_of(number % 2 ? other : 1 - other);
            portal.loads = own;
            APR_ARRAY_PUSH(counts, b24bg_store_portal_t) = portal;
        }
        CHECK(b24bg_store_portal_counts(store, counts) == APR_SUCCESS);
    }
}

/* Sees every portal, whatever the order in which they are committed. */
static void read_since(int expected)
{
    apr_int64_t since = -1;
    apr_array_header_t *portals;
    b24bg_store_t *store;
    int seen = 0;
    int i;

    pass_gate();
    store = open_in_child();
    for (i = 0; i < 3000 && seen < expected; i++) {
        CHECK(b24bg_store_portals_since(store, unit_pool, since, &portals) == APR_SUCCESS);
        seen += portals->nelts;
        if (portals->nelts) {
            since = APR_ARRAY_IDX(portals, portals->nelts - 1, b24bg_store_portal_t).change;
        }
        apr_sleep(10000);
    }
    CHECK(seen == expected);
}

static void many_write_at_once(void **state)
{
    pid_t children[WRITERS + 1];
    b24bg_store_t *store;
    int i;

    store = create_store(state);
    for (i = 0; i < 2; i++) {
        b24bg_store_portal_t portal = portal_of(id_of(i));
        put_portal(store, &portal, "installed");
    }
    b24bg_store_close(store);
    assert_int_equal(0, pipe(gate));
    for (i = 0; i < WRITERS; i++) {
        children[i] = start_child(write_a_lot, i);
    }
    children[WRITERS] = start_child(read_since, WRITERS * ROUNDS + 2);
    open_gate();
    for (i = 0; i <= WRITERS; i++) {
        wait_for_child(children[i]);
    }
    store = open_store();
    assert_int_equal(2 * ROUNDS, unfinished(store));
    assert_int_equal(WRITERS * ROUNDS + 2, portals_since(store, -1)->nelts);
    assert_int_equal(1000 + WRITERS * ROUNDS - 1, get_portal(store, id_of(0))->loads);
    assert_int_equal(1000 + WRITERS * ROUNDS - 1, get_portal(store, id_of(1))->loads);
    assert_string_equal("0", raw_value("SELECT COUNT(*) FROM b24bg_portals AS one, b24bg_portals "
                                       "AS other WHERE one.change = other.change AND "
                                       "one.member_id <> other.member_id"));
}

/* Reads, adds one and writes, again and again: none of these is lost. */
static void change_a_registration(int number)
{
    b24bg_store_t *store;
    int done = 0;

    (void)number;
    pass_gate();
    store = open_in_child();
    while (done < ROUNDS) {
        b24bg_store_registration_t *row;
        apr_array_header_t *list;
        apr_status_t status;
        CHECK(b24bg_store_registrations(store, unit_pool, "telephony", MEMBER, &list) ==
              APR_SUCCESS);
        row = (b24bg_store_registration_t *)list->elts;
        row->attempts++;
        status = b24bg_store_registration_put(store, row, NULL);
        CHECK(status == APR_SUCCESS || status == APR_NOTFOUND);
        done += status == APR_SUCCESS;
    }
}

static void many_change_one_registration(void **state)
{
    b24bg_store_registration_t registration = registration_of(MEMBER, 0, "lost");
    b24bg_store_t *store = create_store(state);
    pid_t children[WRITERS];
    int i;

    OK(store, b24bg_store_registration_put(store, &registration, NULL));
    b24bg_store_close(store);
    assert_int_equal(0, pipe(gate));
    for (i = 0; i < WRITERS; i++) {
        children[i] = start_child(change_a_registration, i);
    }
    open_gate();
    for (i = 0; i < WRITERS; i++) {
        wait_for_child(children[i]);
    }
    store = open_store();
    assert_int_equal(WRITERS * ROUNDS, get_registration(store, MEMBER, 0).attempts);
}

/* Only one of them gets it. */
static void race_for_the_lease(int number)
{
    b24bg_store_lease_t wanted = {apr_itoa(unit_pool, number), NOW + SECOND};
    int mine = -1;
    b24bg_store_t *store = open_in_child();

    pass_gate();
    CHECK(b24bg_store_lease(store, "task", &wanted, NOW, &mine) == APR_SUCCESS);
    _exit(mine ? 10 : 20);
}

static void a_lease_is_won_by_one(void **state)
{
    pid_t children[WRITERS];
    int winners = 0;
    int i;

    b24bg_store_close(create_store(state));
    assert_int_equal(0, pipe(gate));
    for (i = 0; i < WRITERS; i++) {
        children[i] = start_child(race_for_the_lease, i);
    }
    open_gate();
    for (i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(children[i], waitpid(children[i], &status, 0));
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 10 || WEXITSTATUS(status) == 20));
        winners += WEXITSTATUS(status) == 10;
    }
    assert_int_equal(1, winners);
}

/* Locks */

static void lock_and_wait(int number)
{
    int rows;
    raw_t raw;

    (void)number;
    CHECK(raw_open(&raw));
    CHECK(apr_dbd_query(raw.driver, raw.handle, &rows, world.side->lock) == 0);
    CHECK(write(gate[1], "x", 1) == 1);
    pause();
}

static void a_locked_store_fails_in_seconds(void **state)
{
    b24bg_store_t *store = create_store(state);
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_registration_t registration = registration_of(MEMBER, 0, "lost");
    apr_time_t before;
    pid_t locker;
    char byte;

    b24bg_store_close(store);
    assert_int_equal(0, pipe(gate));
    locker = start_child(lock_and_wait, 0);
    assert_int_equal(1, read(gate[0], &byte, 1));
    open_gate();
    kill_child(locker);

    store = open_store();
    assert_int_equal(0, pipe(gate));
    locker = start_child(lock_and_wait, 0);
    assert_int_equal(1, read(gate[0], &byte, 1));
    open_gate();
    before = apr_time_now();
    assert_int_equal(APR_EGENERAL, b24bg_store_registration_put(store, &registration, NULL));
    assert_true(apr_time_now() - before > 1 * SECOND && apr_time_now() - before < 8 * SECOND);
    assert_non_null(strstr(b24bg_store_error(store), "lock"));
    assert_null(strstr(b24bg_store_error(store), "aborted")); /* the cause, not what followed */
    b24bg_store_close(store);
    kill_child(locker);

    store = open_store();
    OK(store, b24bg_store_portal_put(store, &portal, NULL));
    assert_int_equal(1, take(store, "one", NOW));
}

/* A lock that is held for less than that is waited for. */
static void lock_for_a_second(int number)
{
    int rows;
    raw_t raw;

    (void)number;
    CHECK(raw_open(&raw));
    CHECK(apr_dbd_query(raw.driver, raw.handle, &rows, world.side->lock) == 0);
    CHECK(write(gate[1], "x", 1) == 1);
    apr_sleep(2 * SECOND);
}

static void a_short_lock_is_waited_for(void **state)
{
    b24bg_store_t *store;
    b24bg_store_portal_t portal = portal_of(MEMBER);
    pid_t locker;
    char byte;

    b24bg_store_close(create_store(state));
    assert_int_equal(0, pipe(gate));
    locker = start_child(lock_for_a_second, 0);
    store = open_store();
    assert_int_equal(1, read(gate[0], &byte, 1));
    open_gate();
    OK(store, b24bg_store_portal_put(store, &portal, NULL));
    wait_for_child(locker);
}

/* Connections that break */

static apr_status_t call_lease(b24bg_store_t *store)
{
    b24bg_store_lease_t wanted = {"one", NOW + SECOND};
    int mine;

    return b24bg_store_lease(store, "task", &wanted, NOW, &mine);
}

static apr_status_t call_release(b24bg_store_t *store)
{
    return b24bg_store_release(store, "task", "one");
}

static apr_status_t call_lease_get(b24bg_store_t *store)
{
    b24bg_store_lease_t *lease;

    return b24bg_store_lease_get(store, unit_pool, "task", &lease);
}

static apr_status_t call_inbox_add(b24bg_store_t *store)
{
    b24bg_store_message_t message = message_of(1, NOW);

    return add_messages(store, &message, 1);
}

static apr_status_t call_inbox_due(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_inbox_due(store, unit_pool, NOW, 9, &list);
}

static apr_status_t call_inbox_later(b24bg_store_t *store)
{
    return b24bg_store_inbox_later(store, id_of(1), NOW);
}

static apr_status_t call_inbox_fields(b24bg_store_t *store)
{
    return b24bg_store_inbox_fields(store, id_of(1), "a=1");
}

static apr_status_t call_inbox_done(b24bg_store_t *store)
{
    return b24bg_store_inbox_done(store, id_of(1), NOW);
}

static apr_status_t call_inbox_purge(b24bg_store_t *store)
{
    return b24bg_store_inbox_purge(store, NOW);
}

static apr_status_t call_inbox_count(b24bg_store_t *store)
{
    apr_int64_t count;

    return b24bg_store_inbox_count(store, &count);
}

static apr_status_t call_portal_put(b24bg_store_t *store)
{
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_reason_t reason = reason_of(NULL, "installed", NOW);

    return b24bg_store_portal_put(store, &portal, &reason);
}

static apr_status_t call_portal_wipe(b24bg_store_t *store)
{
    return b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL);
}

static apr_status_t call_portal_tokens(b24bg_store_t *store)
{
    b24bg_store_portal_t portal = portal_of(MEMBER);

    return b24bg_store_portal_tokens(store, &portal, portal.refresh_token, NULL);
}

static apr_status_t call_portal_counts(b24bg_store_t *store)
{
    apr_array_header_t *list = apr_array_make(unit_pool, 1, sizeof(b24bg_store_portal_t));

    APR_ARRAY_PUSH(list, b24bg_store_portal_t) = portal_of(MEMBER);
    return b24bg_store_portal_counts(store, list);
}

static apr_status_t call_portal_get(b24bg_store_t *store)
{
    b24bg_store_portal_t *portal;

    return b24bg_store_portal_get(store, unit_pool, "telephony", MEMBER, &portal);
}

static apr_status_t call_portals_since(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_portals_since(store, unit_pool, -1, &list);
}

static apr_status_t call_event_add(b24bg_store_t *store)
{
    b24bg_store_reason_t reason = reason_of(NULL, "noted", NOW);

    return b24bg_store_event_add(store, "telephony", MEMBER, &reason);
}

static apr_status_t call_registration_put(b24bg_store_t *store)
{
    b24bg_store_registration_t registration = {0};

    return b24bg_store_registration_put(store, &registration, NULL);
}

static apr_status_t call_registrations(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_registrations(store, unit_pool, "telephony", NULL, &list);
}

static apr_status_t call_registrations_since(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_registrations_since(store, unit_pool, -1, &list);
}

static apr_status_t call_registrations_open(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_registrations_open(store, unit_pool, 9, &list);
}

static apr_status_t call_events_since(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_events_since(store, unit_pool, -1, 9, &list);
}

static apr_status_t call_budgets_put(b24bg_store_t *store)
{
    apr_array_header_t *list = apr_array_make(unit_pool, 1, sizeof(b24bg_store_budget_t));

    APR_ARRAY_PUSH(list, b24bg_store_budget_t) =
        (b24bg_store_budget_t){"telephony", MEMBER, 0, "server", 1, NOW};
    return b24bg_store_budgets_put(store, list);
}

static apr_status_t call_budgets(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_budgets(store, unit_pool, &list);
}

static apr_status_t call_command_add(b24bg_store_t *store)
{
    b24bg_store_command_t command = {0};

    return b24bg_store_command_add(store, &command);
}

static apr_status_t call_commands(b24bg_store_t *store)
{
    apr_array_header_t *list;

    return b24bg_store_commands(store, unit_pool, 9, &list);
}

static apr_status_t call_command_finish(b24bg_store_t *store)
{
    return b24bg_store_command_finish(store, "a", "done");
}

static apr_status_t call_command_get(b24bg_store_t *store)
{
    b24bg_store_command_t *command;

    return b24bg_store_command_get(store, unit_pool, "a", &command);
}

#define CALL(name)                                                                                 \
    {                                                                                              \
#name, call_##name                                                                         \
    }
static const struct {
    const char *name;
    apr_status_t (*call)(b24bg_store_t *store);
} calls[] = {
    CALL(lease),
    CALL(lease_get),
    CALL(release),
    CALL(inbox_add),
    CALL(inbox_due),
    CALL(inbox_later),
    CALL(inbox_fields),
    CALL(inbox_done),
    CALL(inbox_purge),
    CALL(inbox_count),
    CALL(portal_put),
    CALL(portal_wipe),
    CALL(portal_tokens),
    CALL(portal_counts),
    CALL(portal_get),
    CALL(portals_since),
    CALL(event_add),
    CALL(commands),
    CALL(registration_put),
    CALL(registrations),
    CALL(command_add),
    CALL(command_get),
    CALL(command_finish),
    CALL(registrations_since),
    CALL(registrations_open),
    CALL(events_since),
    CALL(budgets_put),
    CALL(budgets),
};

static void no_call_survives_a_broken_connection(void **state)
{
    size_t i;

    create_world(state);
    for (i = 0; i < COUNT_OF(calls); i++) {
        b24bg_store_t *store;
        empty_database();
        store = open_store();
        raw_value(apr_pstrcat(unit_pool, world.side->break_connections, NULL));
        if (calls[i].call(store) != APR_EGENERAL || !*b24bg_store_error(store)) {
            fail_msg("%s succeeded", calls[i].name);
        }
        if (calls[i].call(store) != APR_EGENERAL) { /* nor does the next one crash */
            fail_msg("%s succeeded the second time", calls[i].name);
        }
        assert_null(strpbrk(b24bg_store_error(store), "\r\n"));
        call_portal_put(open_store()); /* the broken one holds no lock */
        b24bg_store_close(store);
    }
}

static void run_program(const char *name)
{
    const char *program = from_environment(name);

    assert_int_equal(0, system(program));
}

static void postgres_comes_back(void **state)
{
    b24bg_store_portal_t portal = portal_of(MEMBER);
    b24bg_store_t *store;
    const char *error = "";

    (void)state;
    world.side = &sides[1];
    empty_database();
    store = open_store();
    put_portal(store, &portal, "installed");
    run_program("B24BG_TEST_PGSQL_STOP");
    assert_int_equal(APR_EGENERAL, call_portal_put(store));
    assert_string_not_equal("", b24bg_store_error(store));
    assert_int_equal(APR_EGENERAL, call_portal_get(store));
    b24bg_store_close(store);
    assert_int_equal(APR_EGENERAL,
                     b24bg_store_open(unit_pool, "pgsql", world.params, &store, &error));
    assert_non_null(strstr(error, "Connection refused"));
    assert_null(strstr(error, setting("password=")));
    run_program("B24BG_TEST_PGSQL_START");
    store = open_store();
    assert_same_portal(&portal, get_portal(store, MEMBER));
    put_portal(store, &portal, "updated");
}

/* kill -9 */

#define KILLS 25

/* Step k: message k comes in; portal and history say k, and the message is finished. */
static void install_for_ever(int number)
{
    b24bg_store_t *store = open_in_child();
    apr_pool_t *pool = unit_pool;
    int first = number;

    for (;; number++) {
        b24bg_store_portal_t portal = portal_of(MEMBER);
        b24bg_store_message_t message = message_of(number, NOW + number);
        b24bg_store_reason_t reason = reason_of(message.id, apr_itoa(unit_pool, number), NOW);
        portal.domain = reason.what;
        CHECK(add_messages(store, &message, 1) == APR_SUCCESS);
        CHECK(b24bg_store_portal_put(store, &portal, &reason) == APR_SUCCESS);
        CHECK(number > first || write(gate[1], "x", 1) == 1);
        if (number % 64 == 0) {
            apr_pool_create(&unit_pool, pool);
        }
    }
}

/* PostgreSQL may still be at work for a client that is gone. */
static void wait_for_the_dead(void)
{
    while (world.side->connections && atoi(raw_value(world.side->connections)) > 0) {
        apr_sleep(10000);
    }
}

/* The step that portal, history and inbox agree about; -1 for none. */
static int last_step(void)
{
    b24bg_store_t *store = open_store();
    b24bg_store_portal_t *portal = NULL;
    apr_array_header_t *left = due_messages(store, APR_INT64_MAX, 99);
    int step = -1;

    if (b24bg_store_portal_get(store, unit_pool, "telephony", MEMBER, &portal) == APR_SUCCESS) {
        step = atoi(portal->domain);
        assert_string_equal(portal->domain, history(store, 1));
    }
    assert_true(left->nelts <= 1);
    if (left->nelts == 1) {
        assert_string_equal(apr_itoa(unit_pool, step + 1), ids(left));
    }
    assert_string_equal(apr_itoa(unit_pool, step + 1 + left->nelts),
                        raw_value("SELECT COUNT(*) FROM b24bg_inbox"));
    b24bg_store_close(store);
    wait_for_the_dead();
    return step;
}

static void a_killed_writer_leaves_whole_calls(void **state)
{
    int step = -1;
    char byte;
    int i;

    b24bg_store_close(create_store(state));
    for (i = 0; i < KILLS; i++) {
        pid_t writer;
        assert_int_equal(0, pipe(gate));
        writer = start_child(install_for_ever, step + 1);
        assert_int_equal(1, read(gate[0], &byte, 1));
        open_gate();
        apr_sleep((apr_interval_time_t)unit_random(50000));
        kill_child(writer);
        wait_for_the_dead();
        assert_true(last_step() > step);
        step = last_step();
    }
}

static void open_it(int number)
{
    (void)number;
    open_in_child();
}

static void killed_while_it_makes_its_tables(void **state)
{
    int i;

    world.side = *state;
    for (i = 0; i < KILLS; i++) {
        pid_t opener;
        int status;
        empty_database();
        opener = start_child(open_it, 0);
        apr_sleep((apr_interval_time_t)unit_random(60000));
        kill(opener, SIGKILL);
        assert_int_equal(opener, waitpid(opener, &status, 0));
        b24bg_store_close(open_store());
        assert_string_equal(apr_itoa(unit_pool, NEWEST), raw_value(SELECT_VERSION));
    }
}

int main(void)
{
    UNIT_ADD_ROWS(opens_and_keeps, sides);
    UNIT_ADD_ROWS(a_newer_or_broken_version_is_refused, sides);
    UNIT_ADD_ROWS(version_1_is_migrated, sides);
    UNIT_ADD_ROWS(version_2_is_migrated, sides);
    UNIT_ADD_ROWS(version_3_is_migrated, sides);
    UNIT_ADD_ROWS(many_open_at_once, sides);
    UNIT_ADD(files_are_for_the_owner_alone);
    UNIT_ADD(wiped_tokens_leave_the_log);
    UNIT_ADD(a_file_that_is_there_stays_as_it_is);
    UNIT_ADD_ROWS(opening_says_what_is_wrong, bad_opens);
    UNIT_ADD_ROWS(no_error_tells_a_password, passwords);
    UNIT_ADD(a_wrong_password_is_not_told);
    UNIT_ADD_ROWS(parameters_in_every_spelling, spellings);
    UNIT_ADD_ROWS(values_come_back_as_they_were, sides);
    UNIT_ADD_ROWS(columns_are_not_mixed_up, sides);
    UNIT_ADD_ROWS(long_values_are_kept, sides);
    UNIT_ADD_ROWS(broken_text_is_mended, sides);
    UNIT_ADD_ROWS(null_texts_are_empty, sides);
    UNIT_ADD_ROWS(registrations_and_budgets_hold_any_text, sides);
    UNIT_ADD_ROWS(a_lease_has_one_holder, sides);
    UNIT_ADD_ROWS(a_lease_tells_who_has_it, sides);
    UNIT_ADD_ROWS(a_lease_is_won_by_one, sides);
    UNIT_ADD_ROWS(a_message_is_added_once, sides);
    UNIT_ADD_ROWS(messages_come_in_their_order, sides);
    UNIT_ADD_ROWS(a_message_is_put_off, sides);
    UNIT_ADD_ROWS(fields_are_replaced_until_it_is_done, sides);
    UNIT_ADD_ROWS(names_are_kept_for_a_week, sides);
    UNIT_ADD_ROWS(old_commands_are_forgotten, sides);
    UNIT_ADD_ROWS(an_alert_is_accepted_once_an_hour, sides);
    UNIT_ADD_ROWS(alerts_of_a_portal_come_in_their_order, sides);
    UNIT_ADD_ROWS(an_alert_is_begun_by_one, sides);
    UNIT_ADD_ROWS(alerts_come_though_the_clock_is_set_back, sides);
    UNIT_ADD_ROWS(an_alert_goes_with_its_reason, sides);
    UNIT_ADD_ROWS(old_alerts_are_forgotten, sides);
    UNIT_ADD_ROWS(a_portal_is_replaced_but_for_its_counts, sides);
    UNIT_ADD_ROWS(counts_only_grow, sides);
    UNIT_ADD_ROWS(many_counts_are_raised, sides);
    UNIT_ADD_ROWS(a_wiped_portal_stays_without_tokens, sides);
    UNIT_ADD_ROWS(tokens_are_replaced_and_nothing_else, sides);
    UNIT_ADD_ROWS(newer_tokens_are_not_replaced, sides);
    UNIT_ADD_ROWS(a_portal_is_found_by_domain, sides);
    UNIT_ADD_ROWS(changes_are_told_since, sides);
    UNIT_ADD_ROWS(history_is_bounded_and_in_order, sides);
    UNIT_ADD_ROWS(events_are_told_since, sides);
    UNIT_ADD_ROWS(a_change_finishes_its_message, sides);
    UNIT_ADD_ROWS(a_finished_message_changes_nothing, sides);
    UNIT_ADD_ROWS(a_call_is_whole_or_absent, sides);
    UNIT_ADD_ROWS(registrations_are_put_and_listed, sides);
    UNIT_ADD_ROWS(a_registration_is_changed_by_one, sides);
    UNIT_ADD_ROWS(a_registration_is_inserted_by_one, sides);
    UNIT_ADD_ROWS(many_messages_are_finished_at_once, sides);
    UNIT_ADD_ROWS(registrations_go_with_their_portal, sides);
    UNIT_ADD_ROWS(registrations_are_found_by_each_of_their_keys, sides);
    UNIT_ADD_ROWS(registrations_are_told_since, sides);
    UNIT_ADD_ROWS(open_registrations_are_listed, sides);
    UNIT_ADD_ROWS(budgets_are_what_was_put_last, sides);
    UNIT_ADD_ROWS(many_budgets_are_put, sides);
    UNIT_ADD_ROWS(commands_are_carried_out_once, sides);
    UNIT_ADD_ROWS(many_write_at_once, sides);
    UNIT_ADD_ROWS(many_change_one_registration, sides);
    UNIT_ADD_ROWS(a_locked_store_fails_in_seconds, sides);
    UNIT_ADD_ROWS(a_short_lock_is_waited_for, sides);
    UNIT_ADD_ROWS(no_call_survives_a_broken_connection, sides);
    UNIT_ADD(postgres_comes_back);
    UNIT_ADD_ROWS(a_killed_writer_leaves_whole_calls, sides);
    UNIT_ADD_ROWS(killed_while_it_makes_its_tables, sides);
    return unit_run("store");
}
