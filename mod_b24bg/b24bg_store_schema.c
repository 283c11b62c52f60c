#include "b24bg_store_schema.h"
#include "b24bg_store_params.h"

#include <apr_file_io.h>
#include <apr_portable.h>
#include <apr_strings.h>

#include <assert.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_INTERVAL (10 * (APR_USEC_PER_SEC / 1000))

/* Tables. The prefix keeps them apart in a database that somebody shares with us. A step that has
 * been released is never changed; a new one is added at the end. */

static const char *const step_1[] = {
    "CREATE TABLE b24bg_portals ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, domain TEXT NOT NULL, "
    "client_endpoint TEXT NOT NULL, auth_server TEXT NOT NULL, access_token TEXT NOT NULL, "
    "refresh_token TEXT NOT NULL, application_token TEXT NOT NULL, scope TEXT NOT NULL, "
    "access_expires BIGINT NOT NULL, refreshed BIGINT NOT NULL, user_id BIGINT NOT NULL, "
    "installed BIGINT NOT NULL, last_load BIGINT NOT NULL, loads BIGINT NOT NULL, "
    "change BIGINT NOT NULL, PRIMARY KEY (app, member_id))",
    "CREATE INDEX b24bg_portals_domain ON b24bg_portals (app, domain)",
    "CREATE INDEX b24bg_portals_change ON b24bg_portals (change)",
    /* done: when it was finished, NULL before. */
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
    NULL};

static const char *const step_2[] = {
    "CREATE TABLE b24bg_registrations ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, user_id BIGINT NOT NULL, state TEXT NOT NULL, "
    "reason TEXT NOT NULL, key_hash TEXT NOT NULL, old_key_hash TEXT NOT NULL, "
    "old_key_until BIGINT NOT NULL, bound BIGINT NOT NULL, checked BIGINT NOT NULL, "
    "due BIGINT NOT NULL, attempts BIGINT NOT NULL, PRIMARY KEY (app, member_id, user_id))",
    "CREATE TABLE b24bg_commands ("
    "id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL, member_id TEXT NOT NULL, "
    "verb TEXT NOT NULL, created BIGINT NOT NULL, seq BIGINT NOT NULL, result TEXT NOT NULL)",
    NULL};

/* SQLite adds one column at a time. */
#define ADD_REGISTRATION_TEXT(name, value)                                                         \
    "ALTER TABLE b24bg_registrations ADD COLUMN " name " TEXT NOT NULL DEFAULT '" value "'"
#define ADD_REGISTRATION_NUMBER(name)                                                              \
    "ALTER TABLE b24bg_registrations ADD COLUMN " name " BIGINT NOT NULL DEFAULT 0"

static const char *const step_3[] = {
    ADD_REGISTRATION_TEXT("detail", ""), ADD_REGISTRATION_TEXT("goal", "keep"),
    ADD_REGISTRATION_TEXT("next_key_hash", ""), ADD_REGISTRATION_TEXT("binds", ""),
    ADD_REGISTRATION_TEXT("command", ""), ADD_REGISTRATION_TEXT("urls", ""),
    ADD_REGISTRATION_NUMBER("since"), ADD_REGISTRATION_NUMBER("noticed"),
    ADD_REGISTRATION_NUMBER("rebound"), ADD_REGISTRATION_NUMBER("warned"),
    ADD_REGISTRATION_NUMBER("was_bound"), ADD_REGISTRATION_NUMBER("forced"),
    ADD_REGISTRATION_NUMBER("change"),
    /* No two rows may have the same change, and 0 is none. Each row took a number when it was put,
     * so these have all been given out before. */
    "UPDATE b24bg_registrations SET change = (SELECT COUNT(*) FROM b24bg_registrations AS other "
    "WHERE (other.app, other.member_id, other.user_id) <= (b24bg_registrations.app, "
    "b24bg_registrations.member_id, b24bg_registrations.user_id))",
    "CREATE INDEX b24bg_registrations_change ON b24bg_registrations (change)",
    /* Of the many that are bound none is in it: asked for every second. */
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
    NULL};

static const char *const step_4[] = {
    /* due: when it may be begun, 0 when it is over. */
    "CREATE TABLE b24bg_alerts ("
    "app TEXT NOT NULL, member_id TEXT NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL, "
    "accepted BIGINT NOT NULL, seq BIGINT NOT NULL, tries BIGINT NOT NULL, due BIGINT NOT NULL, "
    "PRIMARY KEY (app, member_id, event))",
    /* Of those that are over none is in it: asked for every second. */
    "CREATE INDEX b24bg_alerts_open ON b24bg_alerts (seq) WHERE due <> 0", NULL};

/* steps[n] leads from version n to n + 1. */
static const char *const *const steps[] = {step_1, step_2, step_3, step_4};
static_assert(sizeof(steps) / sizeof(steps[0]) == B24BG_STORE_SCHEMA_VERSION,
              "the newest version is the one behind the last step");

/* Before the first step. `change` numbers the changes; whoever raises it has all other writers
 * wait until its transaction ends. */
static const char *const foundation[] = {
    "CREATE TABLE IF NOT EXISTS b24bg_meta (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO b24bg_meta (name, value) VALUES ('version', 0), ('change', 0) "
    "ON CONFLICT DO NOTHING",
    NULL};
static const char select_version[] = "SELECT value FROM b24bg_meta WHERE name = 'version'";
static const char *const raise_version[] = {
    "UPDATE b24bg_meta SET value = value + 1 WHERE name = 'version'", NULL};

/* Dialects */

/* SQLite would make the file readable for all, and gives its own mode and owner to the -wal and
 * -shm files. Where root makes it (b24bgctl), it goes to the owner of the folder, or the server
 * could not open it. */
static apr_status_t make_file(apr_pool_t *pool, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *folder = slash ? apr_pstrmemdup(pool, path, (apr_size_t)(slash - path) + 1) : ".";
    apr_file_t *file;
    apr_finfo_t owner;
    apr_os_file_t descriptor;
    apr_status_t status =
        apr_file_open(&file, path, APR_FOPEN_WRITE | APR_FOPEN_CREATE | APR_FOPEN_EXCL,
                      APR_FPROT_UREAD | APR_FPROT_UWRITE, pool);

    if (APR_STATUS_IS_EEXIST(status)) {
        return APR_SUCCESS;
    }
    if (status == APR_SUCCESS && geteuid() == 0) {
        apr_os_file_get(&descriptor, file);
        status = apr_stat(&owner, folder, APR_FINFO_OWNER, pool);
        if (status == APR_SUCCESS && fchown(descriptor, owner.user, owner.group) != 0) {
            status = apr_get_os_error();
        }
    }
    if (status == APR_SUCCESS) {
        status = apr_file_close(file);
    }
    return status;
}

/* apr_dbd tries a locked database 16 times, 0.1 s apart; with SQLite's own wait within each try
 * the sum is about 5 s. Tokens that were wiped must not stay in free pages; of the log
 * that WAL writes see `shed`. */
static const char *const sqlite_settings[] = {
    "PRAGMA busy_timeout = 200",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    NULL,
};

/* Where the administrator gives no name of his own. */
static const char name_connection[] = "SELECT set_config('application_name', 'mod_b24bg', false) "
                                      "WHERE current_setting('application_name') = ''";

/* A lock holds the background thread for at most 5 s, and a machine that dies in the middle of a
 * transaction the others for 10; 100,000 portals over a slow line take longer than a lock may.
 * libpq prints notices to stderr, which is httpd's error log. */
static const char *const pgsql_settings[] = {
    "SET client_min_messages = error",
    "SET client_encoding = 'UTF8'",
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '20s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    name_connection,
    NULL,
};

/* The number is "b24bg" in ASCII; only its being our own matters. */
static const char *const pgsql_lock[] = {"SELECT pg_advisory_xact_lock(421749088871)", NULL};
static const char *const no_lock[] = {NULL};

static const b24bg_store_dialect_t dialects[] = {
    {
        .driver = "sqlite3",
        .package = "libaprutil1-dbd-sqlite3",
        .prepare = make_file,
        .settings = sqlite_settings,
        .begin = "BEGIN IMMEDIATE",
        .look_for_meta = "SELECT 1 FROM sqlite_master WHERE name = 'b24bg_meta'",
        .lock_schema = no_lock, /* `begin` is one */
        .patience = APR_USEC_PER_SEC,
        .shed = "PRAGMA wal_checkpoint(TRUNCATE)",
    },
    {
        .driver = "pgsql",
        .package = "libaprutil1-dbd-pgsql",
        .complete = b24bg_store_params_complete,
        .settings = pgsql_settings,
        .begin = "BEGIN ISOLATION LEVEL READ COMMITTED",
        .look_for_meta = "SELECT 1 WHERE to_regclass('b24bg_meta') IS NOT NULL",
        .lock_schema = pgsql_lock,
    },
};

static const b24bg_store_dialect_t *find_dialect(const char *driver)
{
    apr_size_t i;

    for (i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        if (strcmp(dialects[i].driver, driver) == 0) {
            return &dialects[i];
        }
    }
    return NULL;
}

/* The second line of PostgreSQL's may hold the values of a row. */
const char *b24bg_store_db_error(const b24bg_store_db_t *db, apr_pool_t *pool, int code)
{
    const char *text = apr_dbd_error(db->driver, db->handle, code);

    text = text ? apr_pstrmemdup(pool, text, strcspn(text, "\n")) : "";
    return b24bg_store_params_hide(pool, text, db->params);
}

/* Opening */

int b24bg_store_db_run(const b24bg_store_db_t *db, const char *statement)
{
    int rows;

    return apr_dbd_query(db->driver, db->handle, &rows, statement);
}

/* *value is the first of the first row, or NULL. Serves for every statement: apr_dbd_query would
 * take a row of SQLite for an error. */
static int run_once(const b24bg_store_db_t *db, apr_pool_t *pool, const char *statement,
                    const char **value)
{
    apr_dbd_results_t *results = NULL;
    apr_dbd_row_t *row = NULL;
    int code = apr_dbd_select(db->driver, pool, db->handle, &results, statement, 1);

    *value = NULL;
    if (code == 0 && apr_dbd_get_row(db->driver, pool, results, &row, -1) == 0) {
        *value = apr_pstrdup(pool, apr_dbd_get_entry(db->driver, row, 0));
    }
    return code;
}

int b24bg_store_db_shed(const b24bg_store_db_t *db, apr_pool_t *pool)
{
    const char *value;

    return !db->dialect->shed ||
           (run_once(db, pool, db->dialect->shed, &value) == 0 && value && *value == '0');
}

static int run(const b24bg_store_db_t *db, apr_pool_t *pool, const char *statement,
               const char **value)
{
    apr_time_t end = apr_time_now() + db->dialect->patience;
    int code = run_once(db, pool, statement, value);

    while (code != 0 && apr_time_now() < end) {
        apr_sleep(PATIENCE_INTERVAL);
        code = run_once(db, pool, statement, value);
    }
    return code;
}

static int run_all(const b24bg_store_db_t *db, apr_pool_t *pool, const char *const *statements)
{
    const char *value;
    int code = 0;

    while (code == 0 && *statements) {
        code = run(db, pool, *statements++, &value);
    }
    return code;
}

static int read_version(b24bg_store_db_t *db, apr_pool_t *pool)
{
    const char *value;
    int code = run(db, pool, select_version, &value);

    db->version = code == 0 && value ? (int)apr_atoi64(value) : 0;
    return code;
}

/* The version, 0 where there are no tables yet. A wrong guess by haste does no harm: step_up looks
 * again when it has the lock. */
static int look_for_version(b24bg_store_db_t *db, apr_pool_t *pool)
{
    const char *is_there;
    int code = run(db, pool, db->dialect->look_for_meta, &is_there);

    db->version = 0;
    return code == 0 && is_there ? read_version(db, pool) : code;
}

static int is_known(int version)
{
    return version >= 0 && version <= B24BG_STORE_SCHEMA_VERSION;
}

/* One step, if one is missing. Two may come here at once: the second finds it made. */
static int step_up(b24bg_store_db_t *db, apr_pool_t *pool)
{
    int code = run_all(db, pool, db->dialect->lock_schema);

    if (code == 0) {
        code = run_all(db, pool, foundation);
    }
    if (code == 0) {
        code = read_version(db, pool);
    }
    if (code == 0 && is_known(db->version) && db->version < B24BG_STORE_SCHEMA_VERSION) {
        code = run_all(db, pool, steps[db->version]);
        if (code == 0) {
            code = run_all(db, pool, raise_version);
        }
        db->version++;
    }
    return code;
}

static apr_status_t migrate(b24bg_store_db_t *db, apr_pool_t *pool, const char **error)
{
    int code = look_for_version(db, pool);

    while (code == 0 && is_known(db->version) && db->version < B24BG_STORE_SCHEMA_VERSION) {
        code = b24bg_store_db_run(db, db->dialect->begin);
        if (code == 0) {
            code = step_up(db, pool);
        }
        if (code == 0) {
            code = b24bg_store_db_run(db, "COMMIT");
        }
    }
    if (code != 0) {
        *error = b24bg_store_db_error(db, pool, code);
        b24bg_store_db_run(db, "ROLLBACK");
        return APR_EGENERAL;
    }
    if (!is_known(db->version)) {
        *error = apr_psprintf(pool,
                              "the store has version %d of its tables, this mod_b24bg knows up to "
                              "%d; use the newer mod_b24bg, or another store",
                              db->version, B24BG_STORE_SCHEMA_VERSION);
        return APR_EMISMATCH;
    }
    return APR_SUCCESS;
}

static apr_status_t use_settings(const b24bg_store_db_t *db, apr_pool_t *pool, const char **error)
{
    int code = run_all(db, pool, db->dialect->settings);

    if (code != 0) {
        *error = b24bg_store_db_error(db, pool, code);
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

static apr_status_t close_db(void *data)
{
    b24bg_store_db_t *db = data;

    return apr_dbd_close(db->driver, db->handle);
}

static apr_status_t connect_db(b24bg_store_db_t *db, apr_pool_t *pool, const char **error)
{
    const char *params = db->params;
    const char *reason = NULL;
    apr_status_t status;

    if (db->dialect->complete) {
        params = db->dialect->complete(pool, params);
    }
    status = apr_dbd_open_ex(db->driver, pool, params, &db->handle, &reason);
    if (status != APR_SUCCESS) {
        reason = reason ? reason : "no connection";
        *error = b24bg_store_params_hide(pool, reason, params);
        return status;
    }
    apr_pool_cleanup_register(pool, db, close_db, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

static apr_status_t load_driver(b24bg_store_db_t *db, apr_pool_t *pool, const char **error)
{
    char reason[120];
    apr_status_t status = apr_dbd_init(pool);

    if (status == APR_SUCCESS) {
        status = apr_dbd_get_driver(pool, db->dialect->driver, &db->driver);
    }
    if (status != APR_SUCCESS) {
        *error = apr_psprintf(pool, "apr_dbd's driver %s cannot be loaded (Debian: %s): %s",
                              db->dialect->driver, db->dialect->package,
                              apr_strerror(status, reason, sizeof(reason)));
    }
    return status;
}

static apr_status_t prepare_place(const b24bg_store_db_t *db, apr_pool_t *pool, const char **error)
{
    char reason[120];
    apr_status_t status = db->dialect->prepare ? db->dialect->prepare(pool, db->params) : 0;

    if (status != APR_SUCCESS) {
        *error = apr_psprintf(pool, "%s cannot be made: %s", db->params,
                              apr_strerror(status, reason, sizeof(reason)));
    }
    return status;
}

apr_status_t b24bg_store_db_open(apr_pool_t *pool, const char *driver, const char *params,
                                 b24bg_store_db_t *db, const char **error)
{
    apr_status_t status;

    db->dialect = find_dialect(driver);
    db->params = params;
    if (!db->dialect) {
        *error =
            apr_psprintf(pool, "there is no store for \"%s\", only for sqlite3 and pgsql", driver);
        return APR_ENOTIMPL;
    }
    status = load_driver(db, pool, error);
    if (status == APR_SUCCESS) {
        status = prepare_place(db, pool, error);
    }
    if (status == APR_SUCCESS) {
        status = connect_db(db, pool, error);
    }
    if (status == APR_SUCCESS) {
        status = use_settings(db, pool, error);
    }
    if (status == APR_SUCCESS) {
        status = migrate(db, pool, error);
    }
    return status;
}
