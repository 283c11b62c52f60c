#include "b24bg_notice.h"
#include "b24bg_task_parts.h"
#include "b24bg_value.h"

#include <apr_strings.h>

#include <string.h>

/* Whose a row is, seen from one registration. */
typedef enum {
    NOBODYS, /* it is in nobody's way */
    OURS,    /* with the live key */
    NEW,     /* with the next key */
    STALE,   /* ours, and not as it should be */
    FOREIGN  /* somebody else's, in our way */
} owner_e;

static int is_below(const char *url, const char *base)
{
    apr_size_t length = strlen(base);

    return strncmp(url, base, length) == 0 && url[length] == '/' &&
           strlen(url) == length + 1 + B24BG_KEY_LENGTH;
}

static owner_e owner_of_own_place(const b24bg_task_app_t *app,
                                  const b24bg_store_registration_t *registration,
                                  const b24bg_rest_row_t *row, const char *handler)
{
    char hash[B24BG_KEY_HASH_LENGTH + 1] = "";
    int has_key = b24bg_notice_key(row->error_url, hash);
    int is_live = has_key && strcmp(hash, registration->key_hash) == 0;
    int is_next = has_key && strcmp(hash, registration->next_key_hash) == 0;

    if (strcmp(row->handler, handler) == 0) {
        if (!is_below(row->error_url, app->error_url)) {
            return STALE;
        }
        return is_live ? OURS : is_next ? NEW : STALE;
    }
    /* B24bgWorkerURL was another one when we bound it. */
    return is_live || is_next ? STALE : FOREIGN;
}

/* Protocol.md 4.4. A general row keeps personal ones from being bound, and a HANDLER exists once,
 * whoever it is for. Personal rows of ours that are no longer asked for would go on loading the
 * worker: beside a general one, which has none with it, twice. */
static owner_e owner_of(apr_pool_t *pool, const b24bg_task_app_t *app,
                        const b24bg_store_registration_t *registration, const b24bg_rest_row_t *row)
{
    const char *handler = b24bg_value_handler_url(pool, app->worker_url, registration->user_id);
    const char *own_of_row = b24bg_value_handler_url(pool, app->worker_url, row->user_id);
    int is_own_of_row = strcmp(row->handler, own_of_row) == 0;

    if (row->user_id == registration->user_id) {
        return owner_of_own_place(app, registration, row, handler);
    }
    if (row->user_id == 0) {
        return is_own_of_row ? STALE : FOREIGN;
    }
    if (is_own_of_row && !b24bg_task_wants(app, row->user_id)) {
        return STALE;
    }
    return strcmp(row->handler, handler) == 0 ? FOREIGN : NOBODYS;
}

/* For people: which row, without what may be a secret behind "?". */
static const char *describe(apr_pool_t *pool, const b24bg_rest_row_t *row)
{
    return apr_psprintf(pool, "user %" APR_INT64_T_FMT " has %.*s", row->user_id,
                        (int)strcspn(row->handler, "?#"), row->handler);
}

/* A row that could only keep ours from being bound does no harm where ours is there. */
static b24bg_registration_event_e event_of(const int *seen)
{
    if (seen[NEW]) {
        return B24BG_EVENT_FOUND_NEW; /* what else is in the way waits: a bind is confirmed */
    }
    if (seen[FOREIGN] && !seen[OURS]) {
        return B24BG_EVENT_FOUND_FOREIGN;
    }
    if (seen[STALE]) {
        return B24BG_EVENT_FOUND_STALE;
    }
    return seen[OURS] ? B24BG_EVENT_FOUND_OURS : B24BG_EVENT_FOUND_NONE;
}

/* What UNBIND takes away: what is foreign or stale, and our own row where a command wants that. */
static int to_take_away(owner_e owner, b24bg_registration_event_e event)
{
    switch (event) {
    case B24BG_EVENT_FOUND_FOREIGN:
        return owner != NOBODYS;
    case B24BG_EVENT_FOUND_STALE:
        return owner == STALE;
    case B24BG_EVENT_FOUND_OURS:
        return owner == OURS;
    case B24BG_EVENT_FOUND_NEW:
        return owner == NEW;
    default:
        return 0;
    }
}

void b24bg_task_find(apr_pool_t *pool, const b24bg_task_app_t *app,
                     const b24bg_store_registration_t *registration, const apr_array_header_t *rows,
                     b24bg_task_found_t *found)
{
    owner_e *owners = apr_pcalloc(pool, ((apr_size_t)rows->nelts + 1) * sizeof(*owners));
    int seen[FOREIGN + 1] = {0};
    int i;

    found->in_the_way = apr_array_make(pool, 2, sizeof(b24bg_rest_row_t));
    found->slow_count = -1;
    found->detail = "";
    for (i = 0; i < rows->nelts; i++) {
        const b24bg_rest_row_t *row = &APR_ARRAY_IDX(rows, i, b24bg_rest_row_t);
        owners[i] = owner_of(pool, app, registration, row);
        seen[owners[i]]++;
        if (owners[i] == OURS || owners[i] == NEW) {
            found->slow_count = row->slow_count;
        }
    }
    found->event = event_of(seen);
    for (i = 0; i < rows->nelts; i++) {
        const b24bg_rest_row_t *row = &APR_ARRAY_IDX(rows, i, b24bg_rest_row_t);
        if (to_take_away(owners[i], found->event)) {
            APR_ARRAY_PUSH(found->in_the_way, b24bg_rest_row_t) = *row;
            if (owners[i] == STALE || owners[i] == FOREIGN) {
                found->detail = describe(pool, row);
            }
        }
    }
}
