#include "b24bg_notice.h"
#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

/* A key that is live for a while yet. */
typedef struct {
    char hash[B24BG_KEY_HASH_LENGTH + 1];
    apr_time_t until;
} old_key_t;

/* Those of one registration that are in the table; "": none. */
typedef struct {
    char live[B24BG_KEY_HASH_LENGTH + 1];
    char next[B24BG_KEY_HASH_LENGTH + 1];
    char old[B24BG_KEY_HASH_LENGTH + 1];
} shown_keys_t;

/* From the beginning of the store. */
static void show_all(b24bg_task_t *task)
{
    task->change = task->registration_change = task->event_seq = -1;
    apr_pool_clear(task->shown_pool);
    task->shown = apr_hash_make(task->shown_pool);
    task->all_shown = 0;
}

void b24bg_task_table_begin(b24bg_task_t *task)
{
    apr_pool_create(&task->shown_pool, task->pool);
    show_all(task);
    task->flushed = apr_pcalloc(task->pool, (b24bg_table_capacity(task->config->table) + 1) *
                                                sizeof(*task->flushed));
    task->old_keys = apr_array_make(task->pool, 8, sizeof(old_key_t));
}

/* Store -> table: portals */

static void warn_full(b24bg_task_t *task)
{
    if (task->now - task->full_warned >= B24BG_TASK_WARN_EVERY) {
        b24bg_task_say(
            task, B24BG_LOG_WARNING,
            "B24BG0311: the table is full of known portals; others are served but not counted; "
            "raise B24bgMaxPortals above %u",
            b24bg_table_capacity(task->config->table));
        task->full_warned = task->now;
    }
}

/* 0 if the table could not take it just now. user: 0, or a personal registration's. */
static int show_portal(b24bg_task_t *task, const b24bg_store_portal_t *stored, apr_int64_t user,
                       apr_pool_t *scratch)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, stored->app);
    b24bg_known_portal_t portal = {0};
    const char *path;
    int placed;

    if (!app) {
        return 1;
    }
    portal.id.app = app->row;
    portal.id.member_id = stored->member_id;
    portal.id.user = user;
    if (!stored->installed) {
        return b24bg_table_unknow(task->config->table, &portal.id);
    }
    path = strstr(stored->client_endpoint, "://");
    path = path ? strchr(path + 3, '/') : NULL;
    if (!path) {
        return 1;
    }
    portal.origin = apr_pstrmemdup(scratch, stored->client_endpoint,
                                   (apr_size_t)(path - stored->client_endpoint));
    portal.application_token = stored->application_token;
    if (user == 0) {
        portal.last_load = stored->last_load;
        portal.loads = (apr_uint64_t)stored->loads;
        portal.recent = (apr_uint64_t)stored->recent;
    }
    portal.tokens = *stored->refresh_token ? stored->refreshed : 0;
    placed = b24bg_table_know(task->config->table, &portal);
    if (placed < 0) {
        warn_full(task);
        task->left_over = 1;
    }
    return placed != 0;
}

/* A renamed portal has moved with all its registrations, whose rows have not changed. */
static int show_places(b24bg_task_t *task, const b24bg_store_portal_t *stored, apr_pool_t *scratch)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, stored->app);
    b24bg_portal_id_t id = {0, stored->member_id, 0};
    int i;

    if (!show_portal(task, stored, 0, scratch)) {
        return 0;
    }
    for (i = 0; app && i < app->users->nelts; i++) {
        id.app = app->row;
        id.user = APR_ARRAY_IDX(app->users, i, apr_int64_t);
        if (b24bg_table_find(task->config->table, &id).slot &&
            !show_portal(task, stored, id.user, scratch)) {
            return 0;
        }
    }
    return 1;
}

/* 0: to be gone on with at the next step. */
static int refresh_portals(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *portals;
    int i;

    if (!b24bg_task_done(task,
                         b24bg_store_portals_since(task->store, scratch, task->change, &portals))) {
        return 0;
    }
    for (i = 0; i < portals->nelts; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        if (!show_places(task, portal, scratch)) {
            return 0;
        }
        task->change = portal->change;
    }
    return 1;
}

/* Store -> table: registrations and their keys */

static void keep_old_key(b24bg_task_t *task, const char *hash, apr_time_t until)
{
    old_key_t *key = apr_array_push(task->old_keys);

    apr_cpystrn(key->hash, hash, sizeof(key->hash));
    key->until = until;
}

static void drop_old_keys(b24bg_task_t *task)
{
    int kept = 0;
    int i;

    for (i = 0; i < task->old_keys->nelts; i++) {
        const old_key_t key = APR_ARRAY_IDX(task->old_keys, i, old_key_t);
        if (task->now < key.until || !b24bg_table_key_drop(task->config->table, key.hash)) {
            APR_ARRAY_IDX(task->old_keys, kept++, old_key_t) = key;
        }
    }
    task->old_keys->nelts = kept;
}

/* 0 if the table could not take it just now. One that has no room any more is told of, and works
 * but for its notice: silence finds a loss, too. */
static int show_key(b24bg_task_t *task, const char *hash, b24bg_portal_ref_t place)
{
    int placed = *hash ? b24bg_table_key_put(task->config->table, hash, place) : 1;

    if (placed < 0) {
        warn_full(task);
    }
    return placed != 0;
}

static shown_keys_t *shown_keys(b24bg_task_t *task, const b24bg_store_registration_t *row,
                                apr_pool_t *scratch)
{
    const char *name =
        apr_psprintf(scratch, "%s %s %" APR_INT64_T_FMT, row->app, row->member_id, row->user_id);
    shown_keys_t *keys = apr_hash_get(task->shown, name, APR_HASH_KEY_STRING);

    if (!keys) {
        keys = apr_pcalloc(task->shown_pool, sizeof(*keys));
        apr_hash_set(task->shown, apr_pstrdup(task->shown_pool, name), APR_HASH_KEY_STRING, keys);
    }
    return keys;
}

/* A notice about one that is not asked for any more, or whose portal is gone, changes nothing. */
static void read_keys(const b24bg_task_t *task, const b24bg_store_registration_t *row,
                      shown_keys_t *keys)
{
    memset(keys, 0, sizeof(*keys));
    if (!b24bg_task_wants(b24bg_task_app(task, row->app), row->user_id) ||
        b24bg_registration_reason_by_name(row->reason) == B24BG_BLOCKED_UNINSTALLED) {
        return;
    }
    apr_cpystrn(keys->live, row->key_hash, sizeof(keys->live));
    apr_cpystrn(keys->next, row->next_key_hash, sizeof(keys->next));
    if (row->old_key_until > task->now) {
        apr_cpystrn(keys->old, row->old_key_hash, sizeof(keys->old));
    }
}

/* 1 if it is not among the keys, and not in the table any more. */
static int drop_vanished(b24bg_task_t *task, const char *hash, const shown_keys_t *keys)
{
    return !*hash || strcmp(hash, keys->live) == 0 || strcmp(hash, keys->next) == 0 ||
           strcmp(hash, keys->old) == 0 || b24bg_table_key_drop(task->config->table, hash);
}

/* They are remembered before they are in the table: dropping one that is not there does no harm.
 * One without a place, for which there is no room, is live all the same: its loads are not counted,
 * but its loss is mended. */
static int show_keys(b24bg_task_t *task, const b24bg_store_registration_t *row,
                     b24bg_portal_ref_t place, apr_pool_t *scratch)
{
    shown_keys_t *shown = shown_keys(task, row, scratch);
    shown_keys_t keys;

    read_keys(task, row, &keys);
    if (!drop_vanished(task, shown->live, &keys) || !drop_vanished(task, shown->next, &keys) ||
        !drop_vanished(task, shown->old, &keys)) {
        return 0;
    }
    *shown = keys;
    if (*keys.old) {
        keep_old_key(task, keys.old, row->old_key_until);
    }
    return show_key(task, keys.old, place) && show_key(task, keys.live, place) &&
           show_key(task, keys.next, place);
}

static void add_hash(apr_array_header_t *hashes, const char *hash)
{
    if (*hash) {
        APR_ARRAY_PUSH(hashes, const char *) = hash;
    }
}

/* What tasks before this one have left behind goes. What another one has put there since we read
 * the store goes, too, so what is new there is read once more. 0: not now. */
static int end_show_all(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *hashes = apr_array_make(scratch, 64, sizeof(const char *));
    apr_hash_index_t *at;

    for (at = apr_hash_first(scratch, task->shown); at; at = apr_hash_next(at)) {
        const shown_keys_t *keys = apr_hash_this_val(at);
        add_hash(hashes, keys->live);
        add_hash(hashes, keys->next);
        add_hash(hashes, keys->old);
    }
    b24bg_table_set_keys_read(task->config->table);
    task->all_shown = b24bg_table_keys_retain(task->config->table, hashes);
    return task->all_shown;
}

/* The configuration does not ask for it, and nobody works on it: it retired, or was taken away. */
static int is_over(const b24bg_task_app_t *app, const b24bg_store_registration_t *row)
{
    int state = b24bg_registration_state_by_name(row->state);

    return !b24bg_task_wants(app, row->user_id) && !row->due &&
           (state == B24BG_REGISTRATION_UNKNOWN || state == B24BG_REGISTRATION_UNBOUND);
}

/* A personal registration's place is known as its portal is, for as long as there is one to be
 * shown. 0: not now. */
static int know_personal(b24bg_task_t *task, const b24bg_task_app_t *app,
                         const b24bg_store_registration_t *row, apr_pool_t *scratch)
{
    b24bg_portal_id_t id = {app->row, row->member_id, row->user_id};
    b24bg_store_portal_t *portal;

    if (row->user_id == 0) {
        return 1;
    }
    if (is_over(app, row)) {
        return b24bg_table_unknow(task->config->table, &id);
    }
    if (!b24bg_task_done(task, b24bg_store_portal_get(task->store, scratch, row->app,
                                                      row->member_id, &portal))) {
        return task->store != NULL;
    }
    return show_portal(task, portal, row->user_id, scratch);
}

static int show_life(b24bg_task_t *task, const b24bg_task_app_t *app,
                     const b24bg_store_registration_t *row, b24bg_portal_ref_t place)
{
    int state = b24bg_registration_state_by_name(row->state);
    int reason = b24bg_registration_reason_by_name(row->reason);
    b24bg_shown_t shown = {0};

    shown.has = !is_over(app, row);
    shown.state = state < 0 ? B24BG_REGISTRATION_UNKNOWN : state;
    shown.reason = reason < 0 ? B24BG_BLOCKED_NONE : reason;
    shown.since = row->since;
    shown.checked = row->checked;
    shown.due = row->due;
    shown.noticed = row->noticed;
    shown.rebound = row->rebound;
    b24bg_table_budget_bound(task->config->table, place, row->bound);
    return b24bg_table_show(task->config->table, place, &shown);
}

static int show_registration(b24bg_task_t *task, const b24bg_store_registration_t *row,
                             apr_pool_t *scratch)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, row->app);
    b24bg_portal_id_t id = {0, row->member_id, row->user_id};
    b24bg_portal_ref_t place;

    if (!app) {
        return 1;
    }
    id.app = app->row;
    if (!know_personal(task, app, row, scratch)) {
        return 0;
    }
    place = b24bg_table_find(task->config->table, &id);
    return (!place.slot || show_life(task, app, row, place)) &&
           show_keys(task, row, place, scratch);
}

static int refresh_registrations(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *rows;
    int i;

    if (!b24bg_task_done(task, b24bg_store_registrations_since(task->store, scratch,
                                                               task->registration_change, &rows))) {
        return 0;
    }
    for (i = 0; i < rows->nelts; i++) {
        const b24bg_store_registration_t *row = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        if (!show_registration(task, row, scratch)) {
            task->registration_change = row->change - 1; /* one before it may have the same */
            return 0;
        }
        task->registration_change = row->change;
    }
    return 1;
}

void b24bg_task_refresh_table(b24bg_task_t *task, apr_pool_t *scratch)
{
    drop_old_keys(task);
    if (task->now < task->refresh_due) {
        return;
    }
    task->refresh_due = task->now + B24BG_TASK_REFRESH_EVERY;
    if (task->left_over && task->now >= task->left_over_due) {
        task->left_over = 0;
        task->left_over_due = task->now + B24BG_TASK_WARN_EVERY;
        show_all(task); /* a place may have become free */
    }
    if (!refresh_portals(task, scratch) || !refresh_registrations(task, scratch) ||
        (!task->all_shown &&
         (!end_show_all(task, scratch) || !refresh_registrations(task, scratch)))) {
        task->refresh_due = 0;
        return;
    }
    b24bg_task_restore_budgets(task, scratch);
    if (task->store && !b24bg_task_refresh_events(task, scratch)) {
        task->refresh_due = 0;
    }
    if (b24bg_table_turned_away(task->config->table) != task->turned_away) {
        task->turned_away = b24bg_table_turned_away(task->config->table);
        warn_full(task);
    }
}

/* Table -> store: what a restart of the machine must not lose */

static const b24bg_task_app_t *app_in_row(const b24bg_task_t *task, int row)
{
    int i;

    for (i = 0; i < task->config->apps->nelts; i++) {
        const b24bg_task_app_t *app =
            APR_ARRAY_IDX(task->config->apps, i, const b24bg_task_app_t *);
        if (app->row == row) {
            return app;
        }
    }
    return NULL;
}

const b24bg_task_app_t *b24bg_task_read_place(const b24bg_task_t *task, apr_uint32_t slot,
                                              b24bg_portal_counts_t *counts)
{
    if (!b24bg_table_read_portal(task->config->table, slot, task->now, counts) || !counts->known) {
        return NULL;
    }
    return app_in_row(task, counts->app);
}

void b24bg_task_flush_counts(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *portals = apr_array_make(scratch, 64, sizeof(b24bg_store_portal_t));
    b24bg_portal_counts_t counts;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(task->config->table); slot++) {
        const b24bg_task_app_t *app = b24bg_task_read_place(task, slot, &counts);
        b24bg_store_portal_t *portal;
        if (!app || counts.user || counts.loads == task->flushed[slot]) {
            continue;
        }
        task->flushed[slot] = counts.loads;
        portal = apr_array_push(portals);
        memset(portal, 0, sizeof(*portal));
        portal->app = app->name;
        portal->member_id = apr_pstrdup(scratch, counts.member_id);
        portal->last_load = counts.last_load;
        portal->loads = (apr_int64_t)counts.loads;
        portal->recent = (apr_int64_t)counts.recent;
    }
    if (portals->nelts && !b24bg_task_done(task, b24bg_store_portal_counts(task->store, portals))) {
        memset(task->flushed, 0,
               (b24bg_table_capacity(task->config->table) + 1) *
                   sizeof(*task->flushed)); /* all of them again */
    }
}
