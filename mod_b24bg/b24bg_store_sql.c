#include "b24bg_store_sql.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Shapes: how a record lies in memory, column by column */

typedef enum { TEXT, NUMBER, SMALL } kind_e; /* const char *, apr_int64_t, int */

typedef struct {
    kind_e kind;
    apr_size_t offset;
} column_t;

typedef struct {
    const column_t *columns;
    apr_size_t count;
    apr_size_t size; /* of a record */
} shape_t;

#define SHAPE(type, columns)                                                                       \
    {                                                                                              \
        columns, COUNT_OF(columns), sizeof(type)                                                   \
    }
static_assert(sizeof(apr_time_t) == sizeof(apr_int64_t), "times are bound as numbers");

static const column_t message_columns[] = {
    {TEXT, offsetof(b24bg_store_message_t, id)},
    {TEXT, offsetof(b24bg_store_message_t, app)},
    {TEXT, offsetof(b24bg_store_message_t, event)},
    {TEXT, offsetof(b24bg_store_message_t, fields)},
    {NUMBER, offsetof(b24bg_store_message_t, received)},
    {NUMBER, offsetof(b24bg_store_message_t, due)},
    {SMALL, offsetof(b24bg_store_message_t, attempts)},
};
static const column_t portal_columns[] = {
    {TEXT, offsetof(b24bg_store_portal_t, app)},
    {TEXT, offsetof(b24bg_store_portal_t, member_id)},
    {TEXT, offsetof(b24bg_store_portal_t, domain)},
    {TEXT, offsetof(b24bg_store_portal_t, client_endpoint)},
    {TEXT, offsetof(b24bg_store_portal_t, auth_server)},
    {TEXT, offsetof(b24bg_store_portal_t, access_token)},
    {TEXT, offsetof(b24bg_store_portal_t, refresh_token)},
    {TEXT, offsetof(b24bg_store_portal_t, application_token)},
    {TEXT, offsetof(b24bg_store_portal_t, scope)},
    {NUMBER, offsetof(b24bg_store_portal_t, access_expires)},
    {NUMBER, offsetof(b24bg_store_portal_t, refreshed)},
    {NUMBER, offsetof(b24bg_store_portal_t, user_id)},
    {NUMBER, offsetof(b24bg_store_portal_t, installed)},
    {NUMBER, offsetof(b24bg_store_portal_t, last_load)},
    {NUMBER, offsetof(b24bg_store_portal_t, loads)},
    {NUMBER, offsetof(b24bg_store_portal_t, change)},
};
static const column_t event_columns[] = {
    {NUMBER, offsetof(b24bg_store_event_t, at)},
    {TEXT, offsetof(b24bg_store_event_t, what)},
    {TEXT, offsetof(b24bg_store_event_t, detail)},
};
static const column_t registration_columns[] = {
    {TEXT, offsetof(b24bg_store_registration_t, app)},
    {TEXT, offsetof(b24bg_store_registration_t, member_id)},
    {NUMBER, offsetof(b24bg_store_registration_t, user_id)},
    {TEXT, offsetof(b24bg_store_registration_t, state)},
    {TEXT, offsetof(b24bg_store_registration_t, reason)},
    {TEXT, offsetof(b24bg_store_registration_t, key_hash)},
    {TEXT, offsetof(b24bg_store_registration_t, old_key_hash)},
    {NUMBER, offsetof(b24bg_store_registration_t, old_key_until)},
    {NUMBER, offsetof(b24bg_store_registration_t, bound)},
    {NUMBER, offsetof(b24bg_store_registration_t, checked)},
    {NUMBER, offsetof(b24bg_store_registration_t, due)},
    {SMALL, offsetof(b24bg_store_registration_t, attempts)},
};
static const column_t command_columns[] = {
    {TEXT, offsetof(b24bg_store_command_t, id)},
    {TEXT, offsetof(b24bg_store_command_t, app)},
    {TEXT, offsetof(b24bg_store_command_t, member_id)},
    {TEXT, offsetof(b24bg_store_command_t, verb)},
    {NUMBER, offsetof(b24bg_store_command_t, created)},
    {TEXT, offsetof(b24bg_store_command_t, result)},
};
static const column_t count_columns[] = {{NUMBER, 0}};

static const shape_t message_shape = SHAPE(b24bg_store_message_t, message_columns);
static const shape_t portal_shape = SHAPE(b24bg_store_portal_t, portal_columns);
/* What is written: all but the last, which the store makes. */
static const shape_t portal_values_shape = {portal_columns, COUNT_OF(portal_columns) - 1,
                                            sizeof(b24bg_store_portal_t)};
static const shape_t event_shape = SHAPE(b24bg_store_event_t, event_columns);
static const shape_t registration_shape = SHAPE(b24bg_store_registration_t, registration_columns);
static const shape_t command_shape = SHAPE(b24bg_store_command_t, command_columns);
static const shape_t count_shape = SHAPE(apr_int64_t, count_columns);

/* Statements. The order of selected columns is that of the shapes. */

#define CHANGE "(SELECT value FROM b24bg_meta WHERE name = 'change')"
#define PORTAL_COLUMNS                                                                             \
    "app, member_id, domain, client_endpoint, auth_server, access_token, refresh_token, "          \
    "application_token, scope, access_expires, refreshed, user_id, installed, last_load, loads"
#define MESSAGE_COLUMNS "id, app, event, fields, received, due, attempts"
#define REGISTRATION_COLUMNS                                                                       \
    "app, member_id, user_id, state, reason, key_hash, old_key_hash, old_key_until, bound, "       \
    "checked, due, attempts"
#define COMMAND_COLUMNS "id, app, member_id, verb, created, result"

static const struct {
    const char *text;
    const shape_t *shape; /* of the records that come out, or go in */
} statements[B24BG_SQL_COUNT] = {
    [B24BG_SQL_RAISE_CHANGE] = {"UPDATE b24bg_meta SET value = value + %lld WHERE name = 'change'",
                                NULL},
    [B24BG_SQL_TAKE_LEASE] =
        {"INSERT INTO b24bg_leases (name, holder, until) VALUES (%s, %s, %lld) "
         "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
         "WHERE b24bg_leases.holder = excluded.holder OR b24bg_leases.until <= %lld",
         NULL},
    [B24BG_SQL_RELEASE_LEASE] = {"DELETE FROM b24bg_leases WHERE name = %s AND holder = %s", NULL},
    [B24BG_SQL_ADD_MESSAGE] = {"INSERT INTO b24bg_inbox (" MESSAGE_COLUMNS ", seq) "
                               "VALUES (%s, %s, %s, %s, %lld, %lld, 0, " CHANGE " - %lld) "
                               "ON CONFLICT (id) DO NOTHING",
                               NULL},
    [B24BG_SQL_DUE_MESSAGES] =
        {"SELECT " MESSAGE_COLUMNS " FROM b24bg_inbox "
         "WHERE done IS NULL AND due <= %lld ORDER BY received, seq LIMIT %lld",
         &message_shape},
    [B24BG_SQL_PUT_OFF_MESSAGE] = {"UPDATE b24bg_inbox SET due = %lld, attempts = attempts + 1 "
                                   "WHERE id = %s AND done IS NULL",
                                   NULL},
    [B24BG_SQL_REPLACE_FIELDS] =
        {"UPDATE b24bg_inbox SET fields = %s WHERE id = %s AND done IS NULL", NULL},
    [B24BG_SQL_FINISH_MESSAGE] = {"UPDATE b24bg_inbox SET done = %lld, fields = '' "
                                  "WHERE id = %s AND done IS NULL",
                                  NULL},
    [B24BG_SQL_PURGE_MESSAGES] = {"DELETE FROM b24bg_inbox WHERE done < %lld", NULL},
    [B24BG_SQL_COUNT_MESSAGES] = {"SELECT COUNT(*) FROM b24bg_inbox WHERE done IS NULL",
                                  &count_shape},
    [B24BG_SQL_PUT_PORTAL] =
        {"INSERT INTO b24bg_portals (" PORTAL_COLUMNS ", change) VALUES (%s, %s, %s, %s, %s, %s, "
         "%s, %s, %s, %lld, %lld, %lld, %lld, %lld, %lld, " CHANGE ") "
         "ON CONFLICT (app, member_id) DO UPDATE SET domain = excluded.domain, "
         "client_endpoint = excluded.client_endpoint, auth_server = excluded.auth_server, "
         "access_token = excluded.access_token, refresh_token = excluded.refresh_token, "
         "application_token = excluded.application_token, scope = excluded.scope, "
         "access_expires = excluded.access_expires, refreshed = excluded.refreshed, "
         "user_id = excluded.user_id, installed = excluded.installed, "
         "last_load = CASE WHEN excluded.last_load > b24bg_portals.last_load "
         "THEN excluded.last_load ELSE b24bg_portals.last_load END, "
         "loads = CASE WHEN excluded.loads > b24bg_portals.loads "
         "THEN excluded.loads ELSE b24bg_portals.loads END, "
         "change = excluded.change",
         &portal_values_shape},
    [B24BG_SQL_WIPE_PORTAL] = {"UPDATE b24bg_portals SET access_token = '', refresh_token = '', "
                               "application_token = '', installed = 0, change = " CHANGE " "
                               "WHERE app = %s AND member_id = %s",
                               NULL},
    [B24BG_SQL_REPLACE_TOKENS] = {"UPDATE b24bg_portals SET access_token = %s, refresh_token = %s, "
                                  "access_expires = %lld, refreshed = %lld, change = " CHANGE " "
                                  "WHERE app = %s AND member_id = %s AND installed <> 0",
                                  NULL},
    [B24BG_SQL_RAISE_COUNTS] =
        {"UPDATE b24bg_portals SET "
         "last_load = CASE WHEN %lld > last_load THEN %lld ELSE last_load END, "
         "loads = CASE WHEN %lld > loads THEN %lld ELSE loads END "
         "WHERE app = %s AND member_id = %s AND (last_load < %lld OR loads < %lld)",
         NULL},
    /* An installed portal goes before one that once had the same domain. Each half of the condition
     * names an index of its own; with `app` outside SQLite reads all portals of the app. */
    [B24BG_SQL_GET_PORTAL] =
        {"SELECT " PORTAL_COLUMNS ", change FROM b24bg_portals "
         "WHERE (app = %s AND member_id = %s) OR (app = %s AND domain = %s) "
         "ORDER BY CASE WHEN member_id = %s THEN 0 WHEN installed <> 0 THEN 1 ELSE 2 END, "
         "change DESC LIMIT 1",
         &portal_shape},
    [B24BG_SQL_PORTALS_SINCE] = {"SELECT " PORTAL_COLUMNS ", change FROM b24bg_portals "
                                 "WHERE change > %lld ORDER BY change",
                                 &portal_shape},
    [B24BG_SQL_ADD_EVENT] = {"INSERT INTO b24bg_events (app, member_id, seq, at, what, detail) "
                             "VALUES (%s, %s, " CHANGE ", %lld, %s, %s)",
                             NULL},
    [B24BG_SQL_PRUNE_EVENTS] =
        {"DELETE FROM b24bg_events WHERE app = %s AND member_id = %s AND seq <= "
         "(SELECT seq FROM b24bg_events WHERE app = %s AND member_id = %s "
         "ORDER BY seq DESC LIMIT 1 OFFSET %lld)",
         NULL},
    [B24BG_SQL_GET_EVENTS] =
        {"SELECT at, what, detail FROM b24bg_events "
         "WHERE app = %s AND member_id = %s ORDER BY at DESC, seq DESC LIMIT %lld",
         &event_shape},
    [B24BG_SQL_PUT_REGISTRATION] =
        {"INSERT INTO b24bg_registrations (" REGISTRATION_COLUMNS ") "
         "VALUES (%s, %s, %lld, %s, %s, %s, %s, %lld, %lld, %lld, %lld, %lld) "
         "ON CONFLICT (app, member_id, user_id) DO UPDATE SET state = excluded.state, "
         "reason = excluded.reason, key_hash = excluded.key_hash, "
         "old_key_hash = excluded.old_key_hash, old_key_until = excluded.old_key_until, "
         "bound = excluded.bound, checked = excluded.checked, due = excluded.due, "
         "attempts = excluded.attempts",
         &registration_shape},
    [B24BG_SQL_REGISTRATIONS_OF_PORTAL] = {"SELECT " REGISTRATION_COLUMNS
                                           " FROM b24bg_registrations "
                                           "WHERE app = %s AND member_id = %s ORDER BY user_id",
                                           &registration_shape},
    [B24BG_SQL_REGISTRATIONS_OF_APP] = {"SELECT " REGISTRATION_COLUMNS " FROM b24bg_registrations "
                                        "WHERE app = %s ORDER BY member_id, user_id",
                                        &registration_shape},
    [B24BG_SQL_ADD_COMMAND] = {"INSERT INTO b24bg_commands (" COMMAND_COLUMNS ", seq) "
                               "VALUES (%s, %s, %s, %s, %lld, %s, " CHANGE
                               ") ON CONFLICT (id) DO NOTHING",
                               &command_shape},
    [B24BG_SQL_OPEN_COMMANDS] = {"SELECT " COMMAND_COLUMNS " FROM b24bg_commands "
                                 "WHERE result = '' ORDER BY created, seq LIMIT %lld",
                                 &command_shape},
    [B24BG_SQL_FINISH_COMMAND] =
        {"UPDATE b24bg_commands SET result = %s WHERE id = %s AND result = ''", NULL},
    [B24BG_SQL_GET_COMMAND] = {"SELECT " COMMAND_COLUMNS " FROM b24bg_commands WHERE id = %s",
                               &command_shape},
};

/* Calls and transactions */

static void fail(b24bg_store_t *store, int code)
{
    store->status = APR_EGENERAL;
    store->error = b24bg_store_db_error(&store->db, store->scratch, code);
}

static void run_plain(b24bg_store_t *store, const char *statement)
{
    int code;

    if (store->status == APR_SUCCESS) {
        code = b24bg_store_db_run(&store->db, statement);
        if (code != 0) {
            fail(store, code);
        }
    }
}

void b24bg_store_sql_start(b24bg_store_t *store)
{
    apr_pool_clear(store->scratch);
    store->error = "";
    store->status = APR_SUCCESS;
}

void b24bg_store_sql_begin(b24bg_store_t *store)
{
    b24bg_store_sql_start(store);
    run_plain(store, store->db.dialect->begin);
}

void b24bg_store_sql_begin_change(b24bg_store_t *store, apr_int64_t count)
{
    const void *values[] = {&count};

    b24bg_store_sql_begin(store);
    b24bg_store_sql_run(store, B24BG_SQL_RAISE_CHANGE, values);
}

/* A rollback that fails has no transaction to undo. */
apr_status_t b24bg_store_sql_end(b24bg_store_t *store)
{
    run_plain(store, "COMMIT");
    if (store->status != APR_SUCCESS) {
        b24bg_store_db_run(&store->db, "ROLLBACK");
    }
    return store->status;
}

/* Values in */

/* PostgreSQL refuses text that is not UTF-8, and one message of a stranger must not keep all
 * others out: bytes that are none become '?'. */
static const char *text(b24bg_store_t *store, const char *value)
{
    char *copy = NULL;
    apr_size_t i = 0;

    if (!value) {
        return "";
    }
    while (value[i]) {
        apr_size_t length = b24bg_form_character(value + i);
        if (length == 0) {
            copy = copy ? copy : apr_pstrdup(store->scratch, value);
            copy[i] = '?';
            length = 1;
        }
        i += length;
    }
    return copy ? copy : value;
}

/* The values of a statement as they may be bound. */
static const void **mend(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values)
{
    const char *place = statements[which].text;
    apr_array_header_t *bound = apr_array_make(store->scratch, 16, sizeof(const void *));

    while ((place = strchr(place, '%')) != NULL) {
        const void *value = *values++;
        APR_ARRAY_PUSH(bound, const void *) = place[1] == 's' ? text(store, value) : value;
        place++;
    }
    return (const void **)bound->elts;
}

int b24bg_store_sql_run(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values)
{
    int rows = 0;
    int code;

    if (store->status != APR_SUCCESS) {
        return 0;
    }
    code = apr_dbd_pbquery(store->db.driver, store->scratch, store->db.handle, &rows,
                           store->prepared[which], mend(store, which, values));
    if (code != 0) {
        fail(store, code);
        return 0;
    }
    return rows;
}

void b24bg_store_sql_run_on_one(b24bg_store_t *store, b24bg_store_sql_e which,
                                const void *const *values, const char *missing)
{
    if (b24bg_store_sql_run(store, which, values) == 0 && store->status == APR_SUCCESS) {
        store->status = APR_NOTFOUND;
        store->error = missing;
    }
}

void b24bg_store_sql_run_record(b24bg_store_t *store, b24bg_store_sql_e which, const void *record)
{
    const shape_t *shape = statements[which].shape;
    const void **values = apr_palloc(store->scratch, shape->count * sizeof(*values));
    apr_size_t i;

    for (i = 0; i < shape->count; i++) {
        const char *field = (const char *)record + shape->columns[i].offset;
        if (shape->columns[i].kind == TEXT) {
            values[i] = *(const char *const *)field;
        } else if (shape->columns[i].kind == NUMBER) {
            values[i] = field;
        } else {
            apr_int64_t *number = apr_palloc(store->scratch, sizeof(*number));
            *number = *(const int *)field;
            values[i] = number;
        }
    }
    b24bg_store_sql_run(store, which, values);
}

/* Records out */

static int small(apr_int64_t number)
{
    return number > INT_MAX ? INT_MAX : number < INT_MIN ? INT_MIN : (int)number;
}

static void read_row(b24bg_store_t *store, apr_pool_t *pool, apr_dbd_row_t *row,
                     const shape_t *shape, void *record)
{
    apr_size_t i;

    for (i = 0; i < shape->count; i++) {
        char *field = (char *)record + shape->columns[i].offset;
        const char *entry = apr_dbd_get_entry(store->db.driver, row, (int)i);
        entry = entry ? entry : "";
        if (shape->columns[i].kind == TEXT) {
            *(const char **)field = apr_pstrdup(pool, entry);
        } else if (shape->columns[i].kind == NUMBER) {
            *(apr_int64_t *)field = apr_atoi64(entry);
        } else {
            *(int *)field = small(apr_atoi64(entry));
        }
    }
}

apr_status_t b24bg_store_sql_list(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                                  const void *const *values, apr_array_header_t **records)
{
    const shape_t *shape = statements[which].shape;
    apr_dbd_results_t *results = NULL;
    apr_dbd_row_t *row = NULL;
    apr_array_header_t *found;
    int code = apr_dbd_pbselect(store->db.driver, store->scratch, store->db.handle, &results,
                                store->prepared[which], 1, mend(store, which, values));

    if (code != 0) {
        fail(store, code);
        return store->status;
    }
    found = apr_array_make(pool, apr_dbd_num_tuples(store->db.driver, results), (int)shape->size);
    while (apr_dbd_get_row(store->db.driver, store->scratch, results, &row, -1) == 0) {
        read_row(store, pool, row, shape, apr_array_push(found));
    }
    *records = found;
    return APR_SUCCESS;
}

void *b24bg_store_sql_get(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                          const void *const *values)
{
    apr_array_header_t *found;

    if (b24bg_store_sql_list(store, pool, which, values, &found) != APR_SUCCESS) {
        return NULL;
    }
    if (found->nelts == 0) {
        store->status = APR_NOTFOUND;
        return NULL;
    }
    return found->elts;
}

/* Opening */

apr_status_t b24bg_store_sql_prepare(b24bg_store_t *store, const char **error)
{
    int i;

    for (i = 0; i < B24BG_SQL_COUNT; i++) {
        const char *label = apr_psprintf(store->pool, "b24bg_%d", i);
        int code = apr_dbd_prepare(store->db.driver, store->pool, store->db.handle,
                                   statements[i].text, label, &store->prepared[i]);
        if (code != 0) {
            *error = b24bg_store_db_error(&store->db, store->pool, code);
            return APR_EGENERAL;
        }
    }
    return APR_SUCCESS;
}
