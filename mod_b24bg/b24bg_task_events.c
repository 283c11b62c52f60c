#include "b24bg_task_parts.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

/* Events read at once: 20 for each place, and of very large tables the newest. */
#define READ_MOST 65536

/* The number that goes with an event: of "blocked" the reason its detail begins with, of "budget"
 * the slow loads. What else begins with a digit is a date, or what a portal said. */
static unsigned number_of(apr_pool_t *pool, int event, const char *detail)
{
    int reason;

    if (event == B24BG_SHOWN_EVENT_BUDGET) {
        return apr_isdigit(*detail) ? (unsigned)apr_atoi64(detail) & 0xffff : 0;
    }
    if (event != B24BG_SHOWN_EVENT_BLOCKED) {
        return 0;
    }
    reason =
        b24bg_registration_reason_by_name(apr_pstrmemdup(pool, detail, strcspn(detail, ":; ")));
    return reason < 0 ? 0 : (unsigned)reason;
}

/* The events of each portal, in their order: name -> array of b24bg_shown_event_t. */
static apr_hash_t *by_portal(apr_pool_t *pool, const apr_array_header_t *events)
{
    apr_hash_t *portals = apr_hash_make(pool);
    int i;

    for (i = 0; i < events->nelts; i++) {
        const b24bg_store_portal_event_t *event =
            &APR_ARRAY_IDX(events, i, b24bg_store_portal_event_t);
        const char *name = apr_pstrcat(pool, event->member_id, " ", event->app, NULL);
        apr_array_header_t *list = apr_hash_get(portals, name, APR_HASH_KEY_STRING);
        b24bg_shown_event_t shown = {event->at, b24bg_shown_event_by_name(event->what), 0};
        if (!list) {
            list = apr_array_make(pool, 4, sizeof(b24bg_shown_event_t));
            apr_hash_set(portals, name, APR_HASH_KEY_STRING, list);
        }
        shown.number = number_of(pool, shown.event, event->detail);
        APR_ARRAY_PUSH(list, b24bg_shown_event_t) = shown;
    }
    return portals;
}

/* What the place shows already comes first, unless all is read anew. 0: the lock was not to be had.
 */
static int show(b24bg_task_t *task, apr_pool_t *pool, const char *name,
                const apr_array_header_t *list)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, strchr(name, ' ') + 1);
    b24bg_portal_id_t id = {0, apr_pstrmemdup(pool, name, strcspn(name, " ")), 0};
    apr_array_header_t *all = apr_array_make(pool, 32, sizeof(b24bg_shown_event_t));
    b24bg_portal_counts_t counts;
    b24bg_portal_ref_t place;
    int i;

    if (!app) {
        return 1;
    }
    id.app = app->row;
    place = b24bg_table_find(task->config->table, &id);
    if (!place.slot ||
        !b24bg_table_read_portal(task->config->table, place.slot, task->now, &counts)) {
        return 1;
    }
    for (i = 0; task->event_seq >= 0 && i < counts.event_count; i++) {
        APR_ARRAY_PUSH(all, b24bg_shown_event_t) = counts.events[i];
    }
    apr_array_cat(all, list);
    return b24bg_table_show_events(task->config->table, place,
                                   (const b24bg_shown_event_t *)all->elts, all->nelts);
}

int b24bg_task_refresh_events(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_uint32_t places = b24bg_table_capacity(task->config->table);
    int most =
        places < READ_MOST / B24BG_TABLE_EVENTS ? (int)places * B24BG_TABLE_EVENTS : READ_MOST;
    apr_array_header_t *events;
    apr_hash_index_t *at;

    if (!b24bg_task_done(
            task, b24bg_store_events_since(task->store, scratch, task->event_seq, most, &events))) {
        return 0;
    }
    for (at = apr_hash_first(scratch, by_portal(scratch, events)); at; at = apr_hash_next(at)) {
        if (!show(task, scratch, apr_hash_this_key(at), apr_hash_this_val(at))) {
            task->event_seq = -1; /* all of them again: some are shown already */
            return 0;
        }
    }
    if (events->nelts) {
        task->event_seq = APR_ARRAY_IDX(events, events->nelts - 1, b24bg_store_portal_event_t).seq;
    } else if (task->event_seq < 0) {
        task->event_seq = 0;
    }
    return 1;
}
