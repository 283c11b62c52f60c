#include "b24bg_store_statements.h"
#include "b24bg_store.h"

#include <assert.h>
#include <stddef.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Shapes */

#define SHAPE(type, columns)                                                                       \
    {                                                                                              \
        columns, COUNT_OF(columns), sizeof(type)                                                   \
    }
static_assert(sizeof(apr_time_t) == sizeof(apr_int64_t), "times are bound as numbers");

static const b24bg_store_column_t lease_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_lease_t, holder)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_lease_t, until)},
};
static const b24bg_store_column_t message_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_message_t, id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_message_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_message_t, event)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_message_t, fields)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_message_t, received)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_message_t, due)},
    {B24BG_STORE_SMALL, offsetof(b24bg_store_message_t, attempts)},
};
static const b24bg_store_column_t portal_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, member_id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, domain)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, client_endpoint)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, auth_server)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, access_token)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, refresh_token)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, application_token)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_t, scope)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, access_expires)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, refreshed)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, user_id)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, installed)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, last_load)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, loads)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, recent)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, verified)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_t, change)},
};
static const b24bg_store_column_t portal_event_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_event_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_event_t, member_id)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_event_t, seq)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_portal_event_t, at)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_event_t, what)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_portal_event_t, detail)},
};
static const b24bg_store_column_t changes_columns[] = {
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_changes_t, newest)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_changes_t, stored)},
};
static const b24bg_store_column_t registration_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, member_id)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, user_id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, state)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, reason)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, detail)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, goal)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, key_hash)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, next_key_hash)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, old_key_hash)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, old_key_until)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, since)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, bound)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, checked)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, noticed)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, rebound)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, due)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, warned)},
    {B24BG_STORE_SMALL, offsetof(b24bg_store_registration_t, attempts)},
    {B24BG_STORE_SMALL, offsetof(b24bg_store_registration_t, was_bound)},
    {B24BG_STORE_SMALL, offsetof(b24bg_store_registration_t, forced)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, binds)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, command)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_registration_t, urls)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_registration_t, change)},
};
static const b24bg_store_column_t budget_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_budget_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_budget_t, member_id)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_budget_t, user_id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_budget_t, source)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_budget_t, used)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_budget_t, start)},
};
static const b24bg_store_column_t command_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_command_t, id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_command_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_command_t, member_id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_command_t, verb)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_command_t, created)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_command_t, result)},
};
static const b24bg_store_column_t alert_columns[] = {
    {B24BG_STORE_TEXT, offsetof(b24bg_store_alert_t, app)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_alert_t, member_id)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_alert_t, event)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_alert_t, detail)},
    {B24BG_STORE_TEXT, offsetof(b24bg_store_alert_t, domain)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_alert_t, seq)},
    {B24BG_STORE_SMALL, offsetof(b24bg_store_alert_t, tries)},
    {B24BG_STORE_NUMBER, offsetof(b24bg_store_alert_t, due)},
};
static const b24bg_store_column_t count_columns[] = {{B24BG_STORE_NUMBER, 0}};

static const b24bg_store_shape_t lease_shape = SHAPE(b24bg_store_lease_t, lease_columns);
static const b24bg_store_shape_t message_shape = SHAPE(b24bg_store_message_t, message_columns);
static const b24bg_store_shape_t portal_shape = SHAPE(b24bg_store_portal_t, portal_columns);
/* *_values_shape: what is written, all but the last, which the store makes. */
static const b24bg_store_shape_t portal_values_shape = {
    portal_columns, COUNT_OF(portal_columns) - 1, sizeof(b24bg_store_portal_t)};
static const b24bg_store_shape_t portal_event_shape =
    SHAPE(b24bg_store_portal_event_t, portal_event_columns);
static const b24bg_store_shape_t changes_shape = SHAPE(b24bg_store_changes_t, changes_columns);
static const b24bg_store_shape_t registration_shape =
    SHAPE(b24bg_store_registration_t, registration_columns);
static const b24bg_store_shape_t registration_values_shape = {
    registration_columns, COUNT_OF(registration_columns) - 1, sizeof(b24bg_store_registration_t)};
static const b24bg_store_shape_t budget_shape = SHAPE(b24bg_store_budget_t, budget_columns);
static const b24bg_store_shape_t command_shape = SHAPE(b24bg_store_command_t, command_columns);
static const b24bg_store_shape_t alert_shape = SHAPE(b24bg_store_alert_t, alert_columns);
static const b24bg_store_shape_t count_shape = SHAPE(apr_int64_t, count_columns);

/* Statements. The order of selected columns is that of the shapes. */

#define CHANGE "(SELECT value FROM b24bg_meta WHERE name = 'change')"
#define PORTAL_COLUMNS                                                                             \
    "app, member_id, domain, client_endpoint, auth_server, access_token, refresh_token, "          \
    "application_token, scope, access_expires, refreshed, user_id, installed, last_load, loads, "  \
    "recent, verified"
#define MESSAGE_COLUMNS "id, app, event, fields, received, due, attempts"
#define REGISTRATION_COLUMNS                                                                       \
    "app, member_id, user_id, state, reason, detail, goal, key_hash, next_key_hash, "              \
    "old_key_hash, old_key_until, since, bound, checked, noticed, rebound, due, warned, "          \
    "attempts, was_bound, forced, binds, command, urls"
#define BUDGET_COLUMNS "app, member_id, user_id, source, used, start"
#define COMMAND_COLUMNS "id, app, member_id, verb, created, result"

static const b24bg_store_statement_t statements[B24BG_SQL_COUNT] = {
    [B24BG_SQL_RAISE_CHANGE] = {"UPDATE b24bg_meta SET value = value + %lld WHERE name = 'change'",
                                NULL},
    [B24BG_SQL_TAKE_LEASE] =
        {"INSERT INTO b24bg_leases (name, holder, until) VALUES (%s, %s, %lld) "
         "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
         "WHERE b24bg_leases.holder = excluded.holder OR b24bg_leases.until <= %lld "
         "OR b24bg_leases.until > %lld",
         NULL},
    [B24BG_SQL_RELEASE_LEASE] = {"DELETE FROM b24bg_leases WHERE name = %s AND holder = %s", NULL},
    [B24BG_SQL_GET_LEASE] = {"SELECT holder, until FROM b24bg_leases WHERE name = %s",
                             &lease_shape},
    [B24BG_SQL_ADD_MESSAGE] = {"INSERT INTO b24bg_inbox (" MESSAGE_COLUMNS ", seq) "
                               "VALUES (%s, %s, %s, %s, %lld, %lld, 0, " CHANGE " - %lld) "
                               "ON CONFLICT (id) DO NOTHING",
                               NULL},
    [B24BG_SQL_DUE_MESSAGES] =
        {"SELECT " MESSAGE_COLUMNS " FROM b24bg_inbox "
         "WHERE done IS NULL AND due <= %lld "
         "ORDER BY CASE WHEN event IN ('notice', 'silence') THEN 0 ELSE 1 END, received, seq "
         "LIMIT %lld",
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
         "%s, %s, %s, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, " CHANGE ") "
         "ON CONFLICT (app, member_id) DO UPDATE SET domain = excluded.domain, "
         "client_endpoint = excluded.client_endpoint, auth_server = excluded.auth_server, "
         "access_token = excluded.access_token, refresh_token = excluded.refresh_token, "
         "application_token = excluded.application_token, scope = excluded.scope, "
         "access_expires = excluded.access_expires, refreshed = excluded.refreshed, "
         "user_id = excluded.user_id, installed = excluded.installed, "
         "verified = excluded.verified, "
         "recent = CASE WHEN excluded.last_load > b24bg_portals.last_load "
         "THEN excluded.recent ELSE b24bg_portals.recent END, "
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
                                  "WHERE app = %s AND member_id = %s AND refresh_token = %s "
                                  "AND installed <> 0",
                                  NULL},
    [B24BG_SQL_RAISE_COUNTS] =
        {"UPDATE b24bg_portals SET "
         "recent = CASE WHEN %lld > last_load THEN %lld ELSE recent END, "
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
    [B24BG_SQL_EVENTS_SINCE] =
        {"SELECT app, member_id, seq, at, what, detail FROM "
         "(SELECT app, member_id, seq, at, what, detail FROM b24bg_events WHERE seq > %lld "
         "ORDER BY seq DESC LIMIT %lld) AS newest ORDER BY seq",
         &portal_event_shape},
    [B24BG_SQL_GET_CHANGES] = {"SELECT value, COALESCE((SELECT change FROM b24bg_registrations "
                               "WHERE app = %s AND member_id = %s AND user_id = %lld), 0) "
                               "FROM b24bg_meta WHERE name = 'change'",
                               &changes_shape},
    [B24BG_SQL_PUT_REGISTRATION] =
        {"INSERT INTO b24bg_registrations (" REGISTRATION_COLUMNS ", change) "
         "VALUES (%s, %s, %lld, %s, %s, %s, %s, %s, %s, %s, %lld, %lld, %lld, %lld, "
         "%lld, %lld, %lld, %lld, %lld, %lld, %lld, %s, %s, %s, " CHANGE ") "
         "ON CONFLICT (app, member_id, user_id) DO UPDATE SET state = excluded.state, "
         "reason = excluded.reason, detail = excluded.detail, goal = excluded.goal, "
         "key_hash = excluded.key_hash, next_key_hash = excluded.next_key_hash, "
         "old_key_hash = excluded.old_key_hash, old_key_until = excluded.old_key_until, "
         "since = excluded.since, bound = excluded.bound, checked = excluded.checked, "
         "noticed = excluded.noticed, rebound = excluded.rebound, due = excluded.due, "
         "warned = excluded.warned, attempts = excluded.attempts, "
         "was_bound = excluded.was_bound, forced = excluded.forced, binds = excluded.binds, "
         "command = excluded.command, urls = excluded.urls, change = excluded.change",
         &registration_values_shape},
    [B24BG_SQL_REGISTRATIONS_OF_PORTAL] = {"SELECT " REGISTRATION_COLUMNS
                                           ", change FROM b24bg_registrations "
                                           "WHERE app = %s AND member_id = %s ORDER BY user_id",
                                           &registration_shape},
    [B24BG_SQL_REGISTRATIONS_OF_APP] = {"SELECT " REGISTRATION_COLUMNS
                                        ", change FROM b24bg_registrations "
                                        "WHERE app = %s ORDER BY member_id, user_id",
                                        &registration_shape},
    [B24BG_SQL_REGISTRATION_BY_KEY] =
        {"SELECT " REGISTRATION_COLUMNS ", change FROM b24bg_registrations "
         "WHERE key_hash = %s OR next_key_hash = %s OR old_key_hash = %s LIMIT 1",
         &registration_shape},
    [B24BG_SQL_REGISTRATIONS_SINCE] = {"SELECT " REGISTRATION_COLUMNS
                                       ", change FROM b24bg_registrations "
                                       "WHERE change > %lld ORDER BY change",
                                       &registration_shape},
    /* The condition is that of an index, word by word. */
    [B24BG_SQL_OPEN_REGISTRATIONS] =
        {"SELECT " REGISTRATION_COLUMNS ", change FROM b24bg_registrations "
         "WHERE state <> 'bound' AND state <> 'unbound' "
         "AND (state <> 'blocked' OR reason = 'daily-cap') "
         "ORDER BY CASE WHEN due = 0 THEN 1 ELSE 0 END, due, change LIMIT %lld",
         &registration_shape},
    [B24BG_SQL_PUT_BUDGET] =
        {"INSERT INTO b24bg_budgets (" BUDGET_COLUMNS ") VALUES (%s, %s, %lld, %s, %lld, %lld) "
         "ON CONFLICT (app, member_id, user_id, source) DO UPDATE SET used = excluded.used, "
         "start = excluded.start",
         &budget_shape},
    [B24BG_SQL_GET_BUDGETS] = {"SELECT " BUDGET_COLUMNS " FROM b24bg_budgets "
                               "ORDER BY app, member_id, user_id, source",
                               &budget_shape},
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
    [B24BG_SQL_PURGE_COMMANDS] = {"DELETE FROM b24bg_commands "
                                  "WHERE created < %lld OR (result = '' AND created < %lld)",
                                  NULL},
    [B24BG_SQL_ADD_ALERT] =
        {"INSERT INTO b24bg_alerts (app, member_id, event, detail, accepted, seq, tries, due) "
         "VALUES (%s, %s, %s, %s, %lld, " CHANGE ", 0, %lld) "
         "ON CONFLICT (app, member_id, event) DO UPDATE SET detail = excluded.detail, "
         "accepted = excluded.accepted, seq = excluded.seq, tries = 0, due = excluded.due "
         "WHERE b24bg_alerts.accepted <= %lld OR b24bg_alerts.accepted > %lld",
         NULL},
    [B24BG_SQL_DUE_ALERTS] =
        {"SELECT app, member_id, event, detail, COALESCE((SELECT domain FROM b24bg_portals "
         "WHERE b24bg_portals.app = b24bg_alerts.app "
         "AND b24bg_portals.member_id = b24bg_alerts.member_id), ''), seq, tries, due "
         "FROM b24bg_alerts WHERE due <> 0 AND (due <= %lld OR due > %lld) "
         "AND NOT EXISTS (SELECT 1 FROM b24bg_alerts AS older "
         "WHERE older.app = b24bg_alerts.app AND older.member_id = b24bg_alerts.member_id "
         "AND older.due <> 0 AND older.seq < b24bg_alerts.seq) ORDER BY seq LIMIT %lld",
         &alert_shape},
    [B24BG_SQL_BEGIN_ALERT] = {"UPDATE b24bg_alerts SET due = %lld, tries = tries + 1 "
                               "WHERE seq = %lld AND due <> 0 AND due = %lld",
                               NULL},
    [B24BG_SQL_END_ALERT] = {"UPDATE b24bg_alerts SET due = %lld WHERE seq = %lld AND due <> 0",
                             NULL},
    [B24BG_SQL_PURGE_ALERTS] = {"DELETE FROM b24bg_alerts WHERE accepted < %lld", NULL},
};

const b24bg_store_statement_t *b24bg_store_statement(b24bg_store_sql_e which)
{
    return &statements[which];
}
