#include "b24bg_store.h"
#include "b24bg_store_sql.h"

#include <apr_strings.h>

#define MESSAGE_GONE "the message is finished or was never there"
#define PORTAL_GONE "the portal is not there or was wiped"
#define TOKENS_CHANGED "the portal has other tokens by now, or none"

/* A lease that ends later than so many lengths from now was taken before a clock was set back. */
#define LEASE_LENGTHS_MOST 10
#define ALERT_TAKEN "somebody else has begun the alert, or it is over"
#define REGISTRATION_CHANGED "somebody else has changed the registration"

/* Records that are written in one transaction: 0.1 s on a PostgreSQL nearby. */
#define WRITTEN_AT_ONCE 500

/* Opening and closing */

apr_status_t b24bg_store_open(apr_pool_t *pool, const char *driver, const char *params,
                              b24bg_store_t **store, const char **error)
{
    apr_pool_t *own;
    b24bg_store_t *made;
    const char *reason = "";
    apr_status_t status = apr_pool_create(&own, pool);

    *error = "";
    if (status != APR_SUCCESS) {
        return status;
    }
    made = apr_pcalloc(own, sizeof(*made));
    made->pool = own;
    made->error = "";
    status = b24bg_store_db_open(own, driver, params, &made->db, &reason);
    if (status == APR_SUCCESS) {
        status = b24bg_store_sql_prepare(made, &reason);
    }
    if (status == APR_SUCCESS) {
        status = apr_pool_create(&made->scratch, own);
    }
    if (status != APR_SUCCESS) {
        *error = apr_pstrdup(pool, reason);
        apr_pool_destroy(own);
        return status;
    }
    *store = made;
    return APR_SUCCESS;
}

void b24bg_store_close(b24bg_store_t *store)
{
    apr_pool_destroy(store->pool);
}

const char *b24bg_store_error(const b24bg_store_t *store)
{
    return store->error;
}

int b24bg_store_version(const b24bg_store_t *store)
{
    return store->db.version;
}

/* A call of one statement. */
static apr_status_t change(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values)
{
    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run(store, which, values);
    return b24bg_store_sql_end(store);
}

static apr_status_t list(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                         const void *const *values, apr_array_header_t **records)
{
    b24bg_store_sql_start(store);
    return b24bg_store_sql_list(store, pool, which, values, records);
}

/* Writes one record of an array. */
typedef void write_cb(b24bg_store_t *store, const void *record);

static apr_status_t write_all(b24bg_store_t *store, const apr_array_header_t *records,
                              write_cb *write)
{
    apr_status_t status = APR_SUCCESS;
    int i = 0;

    while (status == APR_SUCCESS && i < records->nelts) {
        int end = records->nelts - i > WRITTEN_AT_ONCE ? i + WRITTEN_AT_ONCE : records->nelts;
        b24bg_store_sql_begin_change(store, 1);
        for (; i < end; i++) {
            write(store, records->elts + (apr_size_t)i * (apr_size_t)records->elt_size);
        }
        status = b24bg_store_sql_end(store);
    }
    return status;
}

/* Leases */

apr_status_t b24bg_store_lease(b24bg_store_t *store, const char *name,
                               const b24bg_store_lease_t *wanted, apr_time_t now, int *mine)
{
    apr_time_t too_far = now + LEASE_LENGTHS_MOST * (wanted->until - now);
    const void *values[] = {name, wanted->holder, &wanted->until, &now, &too_far};
    int taken;

    b24bg_store_sql_begin(store);
    taken = b24bg_store_sql_run(store, B24BG_SQL_TAKE_LEASE, values);
    if (b24bg_store_sql_end(store) == APR_SUCCESS) {
        *mine = taken > 0;
    }
    return store->status;
}

apr_status_t b24bg_store_release(b24bg_store_t *store, const char *name, const char *holder)
{
    const void *values[] = {name, holder};

    b24bg_store_sql_begin(store);
    b24bg_store_sql_run(store, B24BG_SQL_RELEASE_LEASE, values);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_lease_get(b24bg_store_t *store, apr_pool_t *pool, const char *name,
                                   b24bg_store_lease_t **lease)
{
    const void *values[] = {name};
    b24bg_store_lease_t *found;

    b24bg_store_sql_start(store);
    found = b24bg_store_sql_get(store, pool, B24BG_SQL_GET_LEASE, values);
    if (found) {
        *lease = found;
    }
    return store->status;
}

/* Inbox */

apr_status_t b24bg_store_inbox_add(b24bg_store_t *store, const apr_array_header_t *messages)
{
    apr_int64_t behind = messages->nelts; /* messages that come after this one */
    int i;

    b24bg_store_sql_begin_change(store, behind);
    for (i = 0; i < messages->nelts; i++) {
        const b24bg_store_message_t *message = &APR_ARRAY_IDX(messages, i, b24bg_store_message_t);
        const void *values[] = {message->id,     message->app,       message->event,
                                message->fields, &message->received, &message->received,
                                &behind};
        behind--;
        b24bg_store_sql_run(store, B24BG_SQL_ADD_MESSAGE, values);
    }
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_inbox_due(b24bg_store_t *store, apr_pool_t *pool, apr_time_t now, int most,
                                   apr_array_header_t **messages)
{
    apr_int64_t limit = most;
    const void *values[] = {&now, &limit};

    return list(store, pool, B24BG_SQL_DUE_MESSAGES, values, messages);
}

apr_status_t b24bg_store_inbox_later(b24bg_store_t *store, const char *id, apr_time_t due)
{
    const void *values[] = {&due, id};

    return change(store, B24BG_SQL_PUT_OFF_MESSAGE, values);
}

apr_status_t b24bg_store_inbox_fields(b24bg_store_t *store, const char *id, const char *fields)
{
    const void *values[] = {fields, id};

    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_on_one(store, B24BG_SQL_REPLACE_FIELDS, values, MESSAGE_GONE);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_inbox_done(b24bg_store_t *store, const char *id, apr_time_t now)
{
    const void *values[] = {&now, id};

    return change(store, B24BG_SQL_FINISH_MESSAGE, values);
}

apr_status_t b24bg_store_inbox_done_all(b24bg_store_t *store, const apr_array_header_t *ids,
                                        apr_time_t now)
{
    int i;

    b24bg_store_sql_begin_change(store, 1);
    for (i = 0; i < ids->nelts; i++) {
        const void *values[] = {&now, APR_ARRAY_IDX(ids, i, const char *)};
        b24bg_store_sql_run(store, B24BG_SQL_FINISH_MESSAGE, values);
    }
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_inbox_purge(b24bg_store_t *store, apr_time_t now)
{
    apr_time_t kept = now - B24BG_STORE_INBOX_KEEP;
    apr_time_t waiting = now - B24BG_STORE_COMMAND_WAITS;
    const void *messages[] = {&kept};
    const void *commands[] = {&kept, &waiting};

    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run(store, B24BG_SQL_PURGE_ALERTS, messages);
    b24bg_store_sql_run(store, B24BG_SQL_PURGE_MESSAGES, messages);
    b24bg_store_sql_run(store, B24BG_SQL_PURGE_COMMANDS, commands);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_inbox_count(b24bg_store_t *store, apr_int64_t *count)
{
    apr_int64_t *found;

    b24bg_store_sql_start(store);
    found = b24bg_store_sql_get(store, store->scratch, B24BG_SQL_COUNT_MESSAGES, NULL);
    if (found) {
        *count = *found;
    }
    return store->status;
}

/* Registrations, alone or with what changes them */

/* The number of this change, if the row is still the one that was read. */
static apr_int64_t claim(b24bg_store_t *store, const b24bg_store_registration_t *registration)
{
    const void *values[] = {registration->app, registration->member_id, &registration->user_id};
    const b24bg_store_changes_t *changes =
        b24bg_store_sql_get(store, store->scratch, B24BG_SQL_GET_CHANGES, values);

    if (!changes) {
        return 0;
    }
    if (changes->stored != registration->change) {
        b24bg_store_sql_refuse(store, REGISTRATION_CHANGED);
    }
    return changes->newest;
}

static apr_int64_t put_registration(b24bg_store_t *store,
                                    const b24bg_store_registration_t *registration)
{
    apr_int64_t number = claim(store, registration);

    b24bg_store_sql_run_record(store, B24BG_SQL_PUT_REGISTRATION, registration);
    return number;
}

/* Alerts, alone or with what they are about */

static void accept_alert(b24bg_store_t *store, const char *app, const char *member_id,
                         const b24bg_store_alert_t *alert, apr_time_t now)
{
    apr_time_t past = now - B24BG_STORE_ALERT_QUIET;
    apr_time_t too_far = now + B24BG_STORE_ALERT_QUIET;
    const void *values[] = {app,  member_id, alert->event, alert->detail,
                            &now, &now,      &past,        &too_far};

    b24bg_store_sql_run(store, B24BG_SQL_ADD_ALERT, values);
}

apr_status_t b24bg_store_alert_add(b24bg_store_t *store, const b24bg_store_alert_t *alert,
                                   apr_time_t now)
{
    b24bg_store_sql_begin_change(store, 1);
    accept_alert(store, alert->app, alert->member_id, alert, now);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_alerts_due(b24bg_store_t *store, apr_pool_t *pool, apr_time_t now,
                                    int most, apr_array_header_t **alerts)
{
    apr_time_t too_far = now + B24BG_STORE_ALERT_QUIET;
    apr_int64_t limit = most;
    const void *values[] = {&now, &too_far, &limit};

    return list(store, pool, B24BG_SQL_DUE_ALERTS, values, alerts);
}

apr_status_t b24bg_store_alert_begin(b24bg_store_t *store, const b24bg_store_alert_t *alert,
                                     apr_time_t until)
{
    const void *values[] = {&until, &alert->seq, &alert->due};

    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_on_one(store, B24BG_SQL_BEGIN_ALERT, values, ALERT_TAKEN);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_alert_end(b24bg_store_t *store, apr_int64_t seq, apr_time_t due)
{
    const void *values[] = {&due, &seq};

    return change(store, B24BG_SQL_END_ALERT, values);
}

/* History */

/* Whoever finishes a message that somebody else has finished works from old knowledge: all that he
 * wanted to write is dropped. */
static void note(b24bg_store_t *store, const char *app, const char *member_id,
                 const b24bg_store_reason_t *reason)
{
    static const apr_int64_t kept = B24BG_STORE_EVENTS_PER_PORTAL;
    int i;

    for (i = 0; reason && reason->registrations && i < reason->registrations->nelts; i++) {
        put_registration(store,
                         &APR_ARRAY_IDX(reason->registrations, i, b24bg_store_registration_t));
    }
    if (reason) {
        const void *event[] = {app, member_id, &reason->at, reason->what, reason->detail};
        const void *prune[] = {app, member_id, app, member_id, &kept};
        const void *finish[] = {&reason->at, reason->message};
        b24bg_store_sql_run(store, B24BG_SQL_ADD_EVENT, event);
        b24bg_store_sql_run(store, B24BG_SQL_PRUNE_EVENTS, prune);
        if (reason->alert) {
            accept_alert(store, app, member_id, reason->alert, reason->at);
        }
        if (reason->message) {
            b24bg_store_sql_run_on_one(store, B24BG_SQL_FINISH_MESSAGE, finish, MESSAGE_GONE);
        }
    }
}

apr_status_t b24bg_store_event_add(b24bg_store_t *store, const char *app, const char *member_id,
                                   const b24bg_store_reason_t *reason)
{
    b24bg_store_sql_begin_change(store, 1);
    note(store, app, member_id, reason);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_events_since(b24bg_store_t *store, apr_pool_t *pool, apr_int64_t since,
                                      int most, apr_array_header_t **events)
{
    apr_int64_t limit = most;
    const void *values[] = {&since, &limit};

    return list(store, pool, B24BG_SQL_EVENTS_SINCE, values, events);
}

/* Portals */

apr_status_t b24bg_store_portal_put(b24bg_store_t *store, const b24bg_store_portal_t *portal,
                                    const b24bg_store_reason_t *reason)
{
    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_record(store, B24BG_SQL_PUT_PORTAL, portal);
    note(store, portal->app, portal->member_id, reason);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_portal_wipe(b24bg_store_t *store, const char *app, const char *member_id,
                                     const b24bg_store_reason_t *reason)
{
    const void *values[] = {app, member_id};

    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_on_one(store, B24BG_SQL_WIPE_PORTAL, values, PORTAL_GONE);
    note(store, app, member_id, reason);
    if (b24bg_store_sql_end(store) == APR_SUCCESS) {
        store->is_shed = 0;
        b24bg_store_shed(store);
    }
    return store->status;
}

int b24bg_store_shed(b24bg_store_t *store)
{
    store->is_shed = store->is_shed || b24bg_store_db_shed(&store->db, store->scratch);
    return store->is_shed;
}

apr_status_t b24bg_store_portal_tokens(b24bg_store_t *store, const b24bg_store_portal_t *portal,
                                       const char *spent, const b24bg_store_reason_t *reason)
{
    const void *values[] = {portal->access_token,
                            portal->refresh_token,
                            &portal->access_expires,
                            &portal->refreshed,
                            portal->app,
                            portal->member_id,
                            spent};

    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_on_one(store, B24BG_SQL_REPLACE_TOKENS, values, TOKENS_CHANGED);
    note(store, portal->app, portal->member_id, reason);
    return b24bg_store_sql_end(store);
}

static void raise_counts(b24bg_store_t *store, const void *record)
{
    const b24bg_store_portal_t *portal = record;
    const void *values[] = {&portal->last_load, &portal->recent,   &portal->last_load,
                            &portal->last_load, &portal->loads,    &portal->loads,
                            portal->app,        portal->member_id, &portal->last_load,
                            &portal->loads};

    b24bg_store_sql_run(store, B24BG_SQL_RAISE_COUNTS, values);
}

apr_status_t b24bg_store_portal_counts(b24bg_store_t *store, const apr_array_header_t *portals)
{
    return write_all(store, portals, raise_counts);
}

apr_status_t b24bg_store_portal_get(b24bg_store_t *store, apr_pool_t *pool, const char *app,
                                    const char *member_id_or_domain, b24bg_store_portal_t **portal)
{
    const void *values[] = {app, member_id_or_domain, app, member_id_or_domain,
                            member_id_or_domain};
    b24bg_store_portal_t *found;

    b24bg_store_sql_start(store);
    found = b24bg_store_sql_get(store, pool, B24BG_SQL_GET_PORTAL, values);
    if (found) {
        *portal = found;
    }
    return store->status;
}

apr_status_t b24bg_store_portals_since(b24bg_store_t *store, apr_pool_t *pool, apr_int64_t since,
                                       apr_array_header_t **portals)
{
    const void *values[] = {&since};

    return list(store, pool, B24BG_SQL_PORTALS_SINCE, values, portals);
}

/* Registrations */

apr_status_t b24bg_store_registration_put(b24bg_store_t *store,
                                          b24bg_store_registration_t *registration,
                                          const b24bg_store_reason_t *reason)
{
    apr_int64_t number;

    b24bg_store_sql_begin_change(store, 1);
    number = put_registration(store, registration);
    note(store, registration->app, registration->member_id, reason);
    if (b24bg_store_sql_end(store) == APR_SUCCESS) {
        registration->change = number;
    }
    return store->status;
}

apr_status_t b24bg_store_registrations(b24bg_store_t *store, apr_pool_t *pool, const char *app,
                                       const char *member_id, apr_array_header_t **registrations)
{
    const void *values[] = {app, member_id};

    return list(store, pool,
                member_id ? B24BG_SQL_REGISTRATIONS_OF_PORTAL : B24BG_SQL_REGISTRATIONS_OF_APP,
                values, registrations);
}

apr_status_t b24bg_store_registration_by_key(b24bg_store_t *store, apr_pool_t *pool,
                                             const char *key_hash,
                                             b24bg_store_registration_t **registration)
{
    const void *values[] = {key_hash, key_hash, key_hash};
    b24bg_store_registration_t *found;

    b24bg_store_sql_start(store);
    found = b24bg_store_sql_get(store, pool, B24BG_SQL_REGISTRATION_BY_KEY, values);
    if (found) {
        *registration = found;
    }
    return store->status;
}

apr_status_t b24bg_store_registrations_since(b24bg_store_t *store, apr_pool_t *pool,
                                             apr_int64_t since, apr_array_header_t **registrations)
{
    const void *values[] = {&since};

    return list(store, pool, B24BG_SQL_REGISTRATIONS_SINCE, values, registrations);
}

apr_status_t b24bg_store_registrations_open(b24bg_store_t *store, apr_pool_t *pool, int most,
                                            apr_array_header_t **registrations)
{
    apr_int64_t limit = most;
    const void *values[] = {&limit};

    return list(store, pool, B24BG_SQL_OPEN_REGISTRATIONS, values, registrations);
}

/* Budgets */

static void put_budget(b24bg_store_t *store, const void *record)
{
    b24bg_store_sql_run_record(store, B24BG_SQL_PUT_BUDGET, record);
}

apr_status_t b24bg_store_budgets_put(b24bg_store_t *store, const apr_array_header_t *budgets)
{
    return write_all(store, budgets, put_budget);
}

apr_status_t b24bg_store_budgets(b24bg_store_t *store, apr_pool_t *pool,
                                 apr_array_header_t **budgets)
{
    return list(store, pool, B24BG_SQL_GET_BUDGETS, NULL, budgets);
}

/* Commands */

apr_status_t b24bg_store_command_add(b24bg_store_t *store, const b24bg_store_command_t *command)
{
    b24bg_store_sql_begin_change(store, 1);
    b24bg_store_sql_run_record(store, B24BG_SQL_ADD_COMMAND, command);
    return b24bg_store_sql_end(store);
}

apr_status_t b24bg_store_commands(b24bg_store_t *store, apr_pool_t *pool, int most,
                                  apr_array_header_t **commands)
{
    apr_int64_t limit = most;
    const void *values[] = {&limit};

    return list(store, pool, B24BG_SQL_OPEN_COMMANDS, values, commands);
}

apr_status_t b24bg_store_command_finish(b24bg_store_t *store, const char *id, const char *result)
{
    const void *values[] = {result, id};

    return change(store, B24BG_SQL_FINISH_COMMAND, values);
}

apr_status_t b24bg_store_command_get(b24bg_store_t *store, apr_pool_t *pool, const char *id,
                                     b24bg_store_command_t **command)
{
    const void *values[] = {id};
    b24bg_store_command_t *found;

    b24bg_store_sql_start(store);
    found = b24bg_store_sql_get(store, pool, B24BG_SQL_GET_COMMAND, values);
    if (found) {
        *command = found;
    }
    return store->status;
}
