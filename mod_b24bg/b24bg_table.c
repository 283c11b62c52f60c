#include "b24bg_table_parts.h"

#include <apr_strings.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Seconds after which a lock that is held for microseconds is nobody's. */
#define LOCK_ABANDONED 60
/* Attempts at the lock, a yield of the processor apart: about 50 us in all. */
#define LOCK_TRIES 100
#define RENDER_SETS_MIN 256

/* Names */

#define NAME(id, name) name,
static const char *const kind_names[] = {B24BG_KIND_LIST(NAME)};
static const char *const notice_names[] = {B24BG_NOTICE_RESULT_LIST(NAME)};
static const char *const rebind_names[] = {B24BG_REBIND_RESULT_LIST(NAME)};
static const char *const refresh_names[] = {B24BG_REFRESH_RESULT_LIST(NAME)};
static const char *const alerted_names[] = {B24BG_ALERTED_LIST(NAME)};
static const char *const source_names[] = {B24BG_BUDGET_SOURCE_LIST(NAME)};

const char *b24bg_kind_name(b24bg_kind_e kind)
{
    return kind_names[kind];
}

const char *b24bg_notice_result_name(b24bg_notice_result_e result)
{
    return notice_names[result];
}

const char *b24bg_rebind_result_name(b24bg_rebind_result_e result)
{
    return rebind_names[result];
}

const char *b24bg_refresh_result_name(b24bg_refresh_result_e result)
{
    return refresh_names[result];
}

const char *b24bg_alerted_name(b24bg_alerted_e result)
{
    return alerted_names[result];
}

const char *b24bg_budget_source_name(b24bg_budget_source_e source)
{
    return source_names[source];
}

/* Memory */

static apr_uint32_t power_of_two(apr_uint32_t least)
{
    apr_uint32_t power = 1;

    while (power < least) {
        power <<= 1;
    }
    return power;
}

static apr_uint32_t heads_for(apr_uint32_t portals)
{
    return power_of_two(2 * portals);
}

static apr_uint32_t render_sets_for(apr_uint32_t portals)
{
    apr_uint32_t sets = portals * (B24BG_TABLE_RENDERS_PER_PORTAL / B24BG_TABLE_SET_WAYS);

    return sets > RENDER_SETS_MIN ? sets : RENDER_SETS_MIN;
}

static apr_uint32_t key_sets_for(apr_uint32_t portals)
{
    return power_of_two(B24BG_TABLE_KEYS_PER_PORTAL * portals + B24BG_TABLE_KEYS_MIN) /
           B24BG_TABLE_KEY_WAYS;
}

apr_size_t b24bg_table_size(apr_uint32_t portals)
{
    apr_uint32_t renders = render_sets_for(portals);

    return APR_ALIGN(sizeof(b24bg_table_t), 64) +
           (apr_size_t)(renders + b24bg_table_tag_sets(renders)) * sizeof(b24bg_table_set_t) +
           (apr_size_t)portals * sizeof(b24bg_table_place_t) +
           (apr_size_t)key_sets_for(portals) * sizeof(b24bg_table_keys_t) +
           (apr_size_t)heads_for(portals) * sizeof(apr_uint32_t);
}

b24bg_table_t *b24bg_table_create(void *base, apr_uint32_t portals, const unsigned char *key)
{
    b24bg_table_t *table = base;

    memcpy(table->key, key, sizeof(table->key));
    table->capacity = portals;
    table->heads = heads_for(portals);
    table->render_sets = render_sets_for(portals);
    table->key_sets = key_sets_for(portals);
    return table;
}

const unsigned char *b24bg_table_key(const b24bg_table_t *table)
{
    return table->key;
}

apr_uint32_t b24bg_table_capacity(const b24bg_table_t *table)
{
    return table->capacity;
}

int b24bg_table_app(b24bg_table_t *table, const char *name)
{
    int row;

    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        b24bg_table_app_t *app = &table->apps[row];
        if (strcmp(app->name, name) == 0) {
            return row;
        }
        if (!app->name[0]) {
            apr_cpystrn(app->name, name, sizeof(app->name));
            return row;
        }
    }
    return -1;
}

/* The lock */

/* The word says who and since when; 0: nobody. Only a clock that nobody sets can tell that. */
static apr_uint64_t lock_word(void)
{
    struct timespec now = {0, 0};

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (apr_uint64_t)getpid() << 32 | (apr_uint32_t)now.tv_sec;
}

/* Its owner is dead, or was stopped in the middle, or its number belongs to another process now. */
static int is_abandoned(apr_uint64_t word, apr_uint64_t mine)
{
    apr_uint32_t age = (apr_uint32_t)mine - (apr_uint32_t)word;

    return (kill((pid_t)(word >> 32), 0) != 0 && errno == ESRCH) ||
           (age > LOCK_ABANDONED && age < APR_INT32_MAX);
}

/* After a writer that died in the middle the number of known places may be off. */
static void recount(b24bg_table_t *table)
{
    apr_uint32_t known = 0;
    apr_uint32_t i;

    for (i = 0; i < table->used; i++) {
        known += b24bg_table_places(table)[i].known;
    }
    table->known = known;
}

static int take_lock(b24bg_table_t *table, apr_uint64_t mine)
{
    apr_uint64_t owner = 0;

    if (atomic_compare_exchange_strong(&table->writer, &owner, mine)) {
        return 1;
    }
    if (is_abandoned(owner, mine) && atomic_compare_exchange_strong(&table->writer, &owner, mine)) {
        recount(table);
        return 1;
    }
    return 0;
}

apr_uint64_t b24bg_table_lock(b24bg_table_t *table)
{
    apr_uint64_t mine = lock_word();
    int tries;

    for (tries = 0; tries < LOCK_TRIES; tries++) {
        if (take_lock(table, mine)) {
            return mine;
        }
        sched_yield();
    }
    return 0;
}

/* Only if it is still ours. */
void b24bg_table_unlock(b24bg_table_t *table, apr_uint64_t mine)
{
    atomic_compare_exchange_strong(&table->writer, &mine, 0);
}
