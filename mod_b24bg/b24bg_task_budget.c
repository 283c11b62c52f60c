#include "b24bg_task_parts.h"

#include <apr_strings.h>

#include <string.h>

/* Loads after which it is judged whether the frames that were served run, and what part of them
 * must have told of itself. With "slow" one load in 100 tells, so the numbers are noisy: of 2,000
 * loads 20 tell, and fewer than 5 of 20 once in 60,000 times (Poisson). */
#define FRAMES_SLOW 2000
#define FRAMES_ALL 50
#define RUN_LEAST_SLOW 4 /* a quarter */
#define RUN_LEAST_ALL 2  /* half */

/* What the task remembers of a place: how many frames had been served and had run at the last
 * judgement, and what is in the store. */
struct b24bg_task_place_t {
    int seen; /* there was a judgement, or a beginning */
    apr_uint64_t served;
    apr_uint64_t beacons;
    int restored;                             /* has a window from the store */
    unsigned char stored[B24BG_BUDGET_COUNT]; /* the store has a window of this source */
};

void b24bg_task_budget_begin(b24bg_task_t *task)
{
    task->places = apr_pcalloc(task->pool, (b24bg_table_capacity(task->config->table) + 1) *
                                               sizeof(*task->places));
}

/* Store -> table, once: windows that a restart of the machine has interrupted */

static int source_by_name(const char *name)
{
    int source;

    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        if (strcmp(b24bg_budget_source_name((b24bg_budget_source_e)source), name) == 0) {
            return source;
        }
    }
    return -1;
}

/* 1 for the first one to reach a number of B24bgBudgetWarn. */
static int claim_reached(b24bg_task_t *task, const b24bg_task_app_t *app, apr_uint32_t slot,
                         const b24bg_portal_counts_t *counts, b24bg_warned_e who)
{
    unsigned used = counts->budgets[b24bg_budget_best(counts->budgets)].used;

    return b24bg_table_claim_warning(task->config->table, slot, who,
                                     b24bg_budget_reached(app->budget_warn, used), task->now);
}

static void restore(b24bg_task_t *task, const b24bg_store_budget_t *stored)
{
    const b24bg_task_app_t *app = b24bg_task_app(task, stored->app);
    b24bg_portal_id_t id = {0, stored->member_id, stored->user_id};
    b24bg_budget_t budget = {(unsigned)stored->used, stored->start};
    int source = source_by_name(stored->source);
    b24bg_portal_ref_t place;

    if (!app || source < 0 || !stored->used) {
        return;
    }
    id.app = app->row;
    place = b24bg_table_find(task->config->table, &id);
    if (!place.slot) {
        return;
    }
    task->places[place.slot].stored[source] = 1;
    if (b24bg_table_budget_restore(task->config->table, place, (b24bg_budget_source_e)source,
                                   &budget, task->now)) {
        task->places[place.slot].restored = 1;
    }
}

/* What was warned of before the restart is not warned of again. When all sources are there: which
 * of them counts decides what was. */
static void claim_restored(b24bg_task_t *task)
{
    b24bg_portal_counts_t counts;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(task->config->table); slot++) {
        const b24bg_task_app_t *app =
            task->places[slot].restored ? b24bg_task_read_place(task, slot, &counts) : NULL;
        if (app) {
            claim_reached(task, app, slot, &counts, B24BG_WARNED_BY_REQUEST);
            claim_reached(task, app, slot, &counts, B24BG_WARNED_BY_TASK);
        }
    }
}

/* When the portals are in the table. */
void b24bg_task_restore_budgets(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *budgets;
    int i;

    if (task->budgets_restored ||
        !b24bg_task_done(task, b24bg_store_budgets(task->store, scratch, &budgets))) {
        return;
    }
    for (i = 0; i < budgets->nelts; i++) {
        restore(task, &APR_ARRAY_IDX(budgets, i, b24bg_store_budget_t));
    }
    claim_restored(task);
    task->budgets_restored = 1;
}

/* Table -> store */

/* A window that is over, or that a new registration has ended, is put once more, empty. */
static void add_budgets(apr_array_header_t *budgets, const b24bg_task_app_t *app,
                        const b24bg_portal_counts_t *counts, unsigned char *stored)
{
    int source;

    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        const b24bg_budget_t *budget = &counts->budgets[source];
        b24bg_store_budget_t *record;
        if (!budget->used && !stored[source]) {
            continue;
        }
        record = apr_array_push(budgets);
        record->app = app->name;
        record->member_id = apr_pstrdup(budgets->pool, counts->member_id);
        record->user_id = counts->user;
        record->source = b24bg_budget_source_name((b24bg_budget_source_e)source);
        record->used = budget->used;
        record->start = budget->start;
        stored[source] = budget->used != 0;
    }
}

/* Not before the stored windows are in the table, for they would be lost. */
void b24bg_task_flush_budgets(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *budgets = apr_array_make(scratch, 16, sizeof(b24bg_store_budget_t));
    b24bg_portal_counts_t counts;
    apr_uint32_t slot;

    if (!task->budgets_restored) {
        return;
    }
    for (slot = 1; slot <= b24bg_table_capacity(task->config->table); slot++) {
        const b24bg_task_app_t *app = b24bg_task_read_place(task, slot, &counts);
        if (app) {
            b24bg_table_end_restore(task->config->table,
                                    (b24bg_portal_ref_t){slot, counts.generation});
            add_budgets(budgets, app, &counts, task->places[slot].stored);
        }
    }
    if (budgets->nelts) {
        b24bg_task_done(task, b24bg_store_budgets_put(task->store, budgets));
    }
}

/* Before the bind is sent, when the old row is known to be gone: the portal counts loads of the new
 * one from the moment that it takes the bind, however long its answer, or the confirmation, is on
 * its way. In the store at once: a process that starts before the next flush would restore the old
 * windows. */
void b24bg_task_end_budget(b24bg_task_t *task, const b24bg_store_registration_t *registration,
                           b24bg_portal_ref_t place)
{
    b24bg_store_budget_t ended = {
        registration->app, registration->member_id, registration->user_id, NULL, 0, 0};
    apr_array_header_t *budgets;
    apr_pool_t *scratch;
    int source;

    b24bg_table_budget_reset(task->config->table, place, registration->bound);
    apr_pool_create(&scratch, task->pool);
    budgets = apr_array_make(scratch, B24BG_BUDGET_COUNT, sizeof(ended));
    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        ended.source = b24bg_budget_source_name((b24bg_budget_source_e)source);
        APR_ARRAY_PUSH(budgets, b24bg_store_budget_t) = ended;
    }
    if (task->store) {
        b24bg_task_done(task, b24bg_store_budgets_put(task->store, budgets));
    }
    apr_pool_destroy(scratch);
}

/* Watching */

static void alert(b24bg_task_t *task, const b24bg_task_app_t *app,
                  const b24bg_portal_counts_t *counts, b24bg_budget_source_e source)
{
    b24bg_store_portal_t portal = {0};
    b24bg_store_alert_t news = {.event = "budget"};
    b24bg_store_reason_t reason = {NULL, "budget", NULL, task->now, NULL, NULL};
    char detail[100];

    apr_snprintf(detail, sizeof(detail), "%u of %" APR_INT64_T_FMT " slow loads, counted by %s",
                 counts->budgets[source].used, app->slow_count, b24bg_budget_source_name(source));
    portal.app = app->name;
    portal.member_id = counts->member_id;
    portal.domain = counts->domain;
    news.detail = reason.detail = detail;
    reason.alert = app->alert_command ? &news : NULL;
    task->alerts_due = 0;
    if (!b24bg_task_done(
            task, b24bg_store_event_add(task->store, app->name, counts->member_id, &reason))) {
        b24bg_task_alert(task, app, "budget", &portal, detail);
    }
}

/* The request that uses up a number of B24bgBudgetWarn writes the line, but none does so where it
 * is the portal that told the number; the alert is the task's. */
void b24bg_task_watch_budget(b24bg_task_t *task, apr_pool_t *scratch, const b24bg_task_app_t *app,
                             apr_uint32_t slot, const b24bg_portal_counts_t *counts)
{
    if (claim_reached(task, app, slot, counts, B24BG_WARNED_BY_REQUEST)) {
        b24bg_task_say(task, B24BG_LOG_WARNING, "B24BG0333: %s",
                       b24bg_budget_warning(scratch, app->name, app->slow_count, counts));
    }
    if (claim_reached(task, app, slot, counts, B24BG_WARNED_BY_TASK)) {
        alert(task, app, counts, b24bg_budget_best(counts->budgets));
    }
}

static void begin_judging(struct b24bg_task_place_t *before, const b24bg_portal_counts_t *counts)
{
    before->seen = 1;
    before->served = counts->served;
    before->beacons = counts->beacons;
}

/* What came before the first look is not judged: it may be of another configuration. Every process
 * judges, so that the next one with the lease need not begin; the one that has it speaks. */
void b24bg_task_watch_frames(b24bg_task_t *task, const b24bg_task_app_t *app, apr_uint32_t slot,
                             const b24bg_portal_counts_t *counts)
{
    struct b24bg_task_place_t *before = &task->places[slot];
    apr_uint64_t loads = counts->served - before->served;
    apr_uint64_t run = counts->beacons - before->beacons;
    apr_uint64_t part = app->all_beacons ? RUN_LEAST_ALL : RUN_LEAST_SLOW;

    if (!before->seen || counts->served < before->served || counts->beacons < before->beacons) {
        begin_judging(before, counts); /* the place is new to us, or another portal's */
        return;
    }
    if (!app->beacons || loads < (apr_uint64_t)(app->all_beacons ? FRAMES_ALL : FRAMES_SLOW)) {
        return;
    }
    begin_judging(before, counts);
    if (run < loads / part && task->leader &&
        b24bg_table_claim_frames(task->config->table, slot, task->now)) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0330: pages are served and hardly any runs, something keeps browsers "
                       "from showing the frame: app=%s portal=%s domain=%s loads=%" APR_UINT64_T_FMT
                       " ran=%" APR_UINT64_T_FMT "; see b24bgctl check",
                       app->name, counts->member_id, counts->domain, loads, run);
    }
}
