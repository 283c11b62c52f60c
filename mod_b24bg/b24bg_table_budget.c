#include "b24bg_table_parts.h"

#include <apr_strings.h>

/* A window in one number: start << 32 | told << 16 | counted. `told` is the number that came from
 * outside (the portal, the store), `counted` what was counted since; their sum is what is used. */
#define COUNT_MAX 0xffff
#define WINDOW_SECONDS ((apr_int64_t)apr_time_sec(B24BG_BUDGET_WINDOW))

typedef struct {
    apr_uint32_t start; /* seconds since 2020, 0: none */
    apr_uint32_t told;
    apr_uint32_t counted;
} window_t;

static window_t unpack(apr_uint64_t word)
{
    window_t window = {(apr_uint32_t)(word >> 32), (apr_uint32_t)word >> 16,
                       (apr_uint32_t)word & COUNT_MAX};

    return window;
}

static apr_uint64_t pack(apr_uint32_t start, apr_uint32_t told, apr_uint32_t counted)
{
    told = told < COUNT_MAX ? told : COUNT_MAX;
    counted = counted < COUNT_MAX ? counted : COUNT_MAX;
    return (apr_uint64_t)start << 32 | told << 16 | counted;
}

/* A start in the future comes from another thread's clock, or from one that was set back since;
 * the latter must not hold a window open for ever. */
static int is_open(window_t window, apr_uint32_t now)
{
    apr_int64_t age = (apr_int64_t)now - window.start;

    return window.start != 0 && age <= WINDOW_SECONDS && age >= -WINDOW_SECONDS;
}

static apr_uint64_t one_more(apr_uint64_t word, apr_uint32_t now)
{
    window_t window = unpack(word);

    return is_open(window, now) ? pack(window.start, window.told, window.counted + 1)
                                : pack(now, 0, 1);
}

/* What the portal told grows by what browsers tell, until it is asked again. Its window begins with
 * a slow load, so one in which there is none yet begins now. Without a window nothing changes. */
static apr_uint64_t one_more_since_told(apr_uint64_t word, apr_uint32_t now)
{
    window_t window = unpack(word);

    if (!is_open(window, now)) {
        return word;
    }
    return pack(window.told + window.counted ? window.start : now, window.told, window.counted + 1);
}

static void change(b24bg_counter_t *counter, apr_uint32_t now,
                   apr_uint64_t (*rule)(apr_uint64_t word, apr_uint32_t now))
{
    apr_uint64_t before = b24bg_counter_read(counter);

    while (!b24bg_counter_replace(counter, &before, rule(before, now))) {
    }
}

void b24bg_table_slow(b24bg_table_t *table, int app, b24bg_table_place_t *place,
                      b24bg_budget_source_e source, apr_time_t now)
{
    b24bg_counter_add(&table->apps[app].slow_loads[source], 1);
    if (!place) {
        return;
    }
    change(&place->budgets[source], b24bg_table_seconds(now), one_more);
    if (source == B24BG_BUDGET_BROWSER) {
        change(&place->budgets[B24BG_BUDGET_PORTAL], b24bg_table_seconds(now), one_more_since_told);
    }
}

void b24bg_table_budget_add(b24bg_table_t *table, b24bg_portal_ref_t portal,
                            b24bg_budget_source_e source, apr_time_t now)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);

    if (place) {
        b24bg_table_slow(table, place->app, place, source, now);
    }
}

/* Where the window begins of which the portal tells this number. One that begins because the number
 * fell never does so in the old one's second: it is told from that one by its start. */
static apr_uint32_t start_told(b24bg_table_place_t *place, window_t window, apr_uint32_t count,
                               apr_uint32_t now)
{
    window_t browser = unpack(b24bg_counter_read(&place->budgets[B24BG_BUDGET_BROWSER]));

    if (is_open(window, now) && count >= window.told) {
        return window.start;
    }
    if (is_open(window, now)) {
        return now > window.start ? now : window.start + 1;
    }
    return is_open(browser, now) ? browser.start : now;
}

void b24bg_table_budget_told(b24bg_table_t *table, b24bg_portal_ref_t portal, unsigned count,
                             apr_time_t now)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);
    apr_uint32_t second = b24bg_table_seconds(now);
    b24bg_counter_t *budget;
    apr_uint64_t before;
    window_t window;
    apr_uint64_t after;

    if (!place) {
        return;
    }
    count = count < COUNT_MAX ? count : COUNT_MAX;
    budget = &place->budgets[B24BG_BUDGET_PORTAL];
    before = b24bg_counter_read(budget);
    do {
        window = unpack(before);
        after = pack(start_told(place, window, count, second), count, 0);
    } while (!b24bg_counter_replace(budget, &before, after));
    if (window.start == unpack(after).start) {
        count -= window.told;
    }
    b24bg_counter_add(&table->apps[place->app].slow_loads[B24BG_BUDGET_PORTAL], count);
}

void b24bg_table_budget_reset(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t since)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);
    int source;

    if (place) {
        place->budget_since = b24bg_table_seconds(since);
        for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
            place->budgets[source] = 0;
        }
        place->warned = 0;
    }
}

/* What was warned of is kept with the start of its window, and ends with it. */
void b24bg_table_budget_bound(b24bg_table_t *table, b24bg_portal_ref_t portal, apr_time_t bound)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);
    int source;

    if (place && place->budget_since < b24bg_table_seconds(bound)) {
        place->budget_since = b24bg_table_seconds(bound);
    }
    for (source = 0; place && source < B24BG_BUDGET_COUNT; source++) {
        apr_uint64_t word = b24bg_counter_read(&place->budgets[source]);
        while (unpack(word).start < b24bg_table_seconds(bound) &&
               !b24bg_counter_replace(&place->budgets[source], &word, 0)) {
        }
    }
}

/* What the table has of the source after this. What was restored before is replaced, not added to.
 * What the portal tells is its whole number, and one that has fallen is of another window. */
static apr_uint64_t restored(apr_uint64_t word, window_t stored, b24bg_budget_source_e source,
                             apr_uint32_t now)
{
    window_t window = unpack(word);

    if (!is_open(window, now)) {
        return pack(stored.start, stored.told, 0);
    }
    if (!is_open(stored, now) || window.start <= stored.start) {
        return word;
    }
    if (source != B24BG_BUDGET_PORTAL) {
        return pack(stored.start, stored.told, window.counted);
    }
    return window.told < stored.told ? word : pack(stored.start, window.told, window.counted);
}

int b24bg_table_budget_restore(b24bg_table_t *table, b24bg_portal_ref_t portal,
                               b24bg_budget_source_e source, const b24bg_budget_t *budget,
                               apr_time_t now)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);
    window_t stored = {b24bg_table_seconds(budget->start), budget->used, 0};
    apr_uint64_t before;
    apr_uint64_t after;

    if (!place || place->restored || stored.start == 0 || stored.start < place->budget_since) {
        return 0;
    }
    before = b24bg_counter_read(&place->budgets[source]);
    do {
        after = restored(before, stored, source, b24bg_table_seconds(now));
    } while (!b24bg_counter_replace(&place->budgets[source], &before, after));
    return after != before;
}

void b24bg_table_end_restore(b24bg_table_t *table, b24bg_portal_ref_t portal)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);

    if (place) {
        place->restored = 1;
    }
}

void b24bg_table_budgets(b24bg_table_place_t *place, apr_time_t now,
                         b24bg_budget_t budgets[B24BG_BUDGET_COUNT])
{
    int source;

    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        window_t window = unpack(b24bg_counter_read(&place->budgets[source]));
        int open = is_open(window, b24bg_table_seconds(now));
        budgets[source].used = open ? window.told + window.counted : 0;
        budgets[source].start = open ? b24bg_table_time(window.start) : 0;
    }
}

b24bg_budget_source_e b24bg_budget_best(const b24bg_budget_t budgets[B24BG_BUDGET_COUNT])
{
    int source = 0;

    while (source < B24BG_BUDGET_COUNT - 1 && budgets[source].start == 0) {
        source++;
    }
    return (b24bg_budget_source_e)source;
}

unsigned b24bg_budget_reached(const apr_array_header_t *numbers, unsigned used)
{
    apr_int64_t reached = 0;
    int i;

    for (i = 0; i < numbers->nelts && APR_ARRAY_IDX(numbers, i, apr_int64_t) <= used; i++) {
        reached = APR_ARRAY_IDX(numbers, i, apr_int64_t);
    }
    return (unsigned)reached;
}

const char *b24bg_budget_warning(apr_pool_t *pool, const char *app, apr_int64_t limit,
                                 const b24bg_portal_counts_t *portal)
{
    b24bg_budget_source_e source = b24bg_budget_best(portal->budgets);

    return apr_psprintf(pool,
                        "slow loads: at the next one after %" APR_INT64_T_FMT
                        " Bitrix24 deletes the registration: app=%s portal=%s domain=%s "
                        "user=%" APR_INT64_T_FMT " used=%u source=%s",
                        limit, app, portal->member_id, portal->domain, portal->user,
                        portal->budgets[source].used, b24bg_budget_source_name(source));
}

/* Numbers are kept with the start of their window, so those of another one are worth nothing. The
 * numbers and not their places in the directive: a reload may change it. */
int b24bg_table_claim_warning(b24bg_table_t *table, apr_uint32_t slot, b24bg_warned_e who,
                              unsigned number, apr_time_t now)
{
    b24bg_table_place_t *place = b24bg_table_place(table, slot);
    int shift = who == B24BG_WARNED_BY_TASK ? 16 : 0;
    apr_uint64_t before = b24bg_counter_read(&place->warned);
    b24bg_budget_t budgets[B24BG_BUDGET_COUNT];
    apr_uint64_t window;
    apr_uint64_t told;
    apr_uint64_t after;

    number = number < COUNT_MAX ? number : COUNT_MAX;
    b24bg_table_budgets(place, now, budgets);
    window = b24bg_table_seconds(budgets[b24bg_budget_best(budgets)].start);
    do {
        told = before >> 32 == window ? before : window << 32;
        if (window == 0 || number <= (told >> shift & COUNT_MAX)) {
            return 0;
        }
        after = (told & ~((apr_uint64_t)COUNT_MAX << shift)) | (apr_uint64_t)number << shift;
    } while (!b24bg_counter_replace(&place->warned, &before, after));
    return 1;
}
