#include "b24bg_table_parts.h"

#include "b24bg_notice.h"

#include <stdlib.h>

/* Sets that are looked through under one lock: a tenth of a millisecond or so. */
#define SETS_AT_ONCE 256

/* A key may lie in any cell of two sets. Whoever looks for one looks at all of them, so that a key
 * that is dropped leaves an empty cell and nothing else behind, and a live key costs the same as a
 * dead one. */
typedef struct {
    apr_uint64_t mark;
    b24bg_table_keys_t *sets[2];
} where_t;

static void locate(b24bg_table_t *table, const char *key_hash, where_t *where)
{
    apr_uint64_t mark = b24bg_table_mark(table, key_hash, B24BG_KEY_HASH_LENGTH);
    apr_uint32_t mask = table->key_sets - 1;

    where->mark = mark;
    where->sets[0] = &b24bg_table_keys(table)[(apr_uint32_t)mark & mask];
    where->sets[1] = &b24bg_table_keys(table)[(apr_uint32_t)(mark >> 32) & mask];
}

/* The last cell of both sets with this mark, or NULL. */
static b24bg_table_key_t *look(const where_t *where, apr_uint64_t mark)
{
    b24bg_table_key_t *found = NULL;
    int i;

    for (i = 0; i < 2 * B24BG_TABLE_KEY_WAYS; i++) {
        b24bg_table_key_t *cell =
            &where->sets[i / B24BG_TABLE_KEY_WAYS]->way[i % B24BG_TABLE_KEY_WAYS];
        found = atomic_load_explicit(&cell->mark, memory_order_relaxed) == mark ? cell : found;
    }
    return found;
}

static int taken(const b24bg_table_keys_t *set)
{
    int count = 0;
    int i;

    for (i = 0; i < B24BG_TABLE_KEY_WAYS; i++) {
        count += set->way[i].mark != 0;
    }
    return count;
}

/* The emptier set is the better one: that keeps all of them equally full. NULL if both are full. */
static b24bg_table_key_t *empty_cell(const where_t *where)
{
    b24bg_table_keys_t *set =
        taken(where->sets[1]) < taken(where->sets[0]) ? where->sets[1] : where->sets[0];
    int i;

    for (i = 0; i < B24BG_TABLE_KEY_WAYS; i++) {
        if (set->way[i].mark == 0) {
            return &set->way[i];
        }
    }
    return NULL;
}

/* The mark comes last: a writer that dies leaves an empty cell. */
static int put(const where_t *where, apr_uint64_t place)
{
    b24bg_table_key_t *cell = look(where, where->mark);

    cell = cell ? cell : empty_cell(where);
    if (!cell) {
        return -1;
    }
    cell->place = place;
    cell->mark = where->mark;
    return 1;
}

int b24bg_table_key_put(b24bg_table_t *table, const char *key_hash, b24bg_portal_ref_t portal)
{
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_table_place_t *place;
    where_t where;
    int result = 0;

    if (!lock) {
        return 0;
    }
    locate(table, key_hash, &where);
    place = b24bg_table_held(table, portal);
    if (place) {
        result = put(&where, (apr_uint64_t)portal.slot << 32 | place->tenure);
    } else if (portal.slot == 0) {
        result = put(&where, 0);
    }
    b24bg_table_unlock(table, lock);
    return result;
}

int b24bg_table_key_drop(b24bg_table_t *table, const char *key_hash)
{
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_table_key_t *cell;
    where_t where;

    if (!lock) {
        return 0;
    }
    locate(table, key_hash, &where);
    cell = look(&where, where.mark);
    if (cell) {
        cell->mark = 0;
    }
    b24bg_table_unlock(table, lock);
    return 1;
}

/* Slot 0 if it has changed hands, or does so just now. */
static b24bg_portal_ref_t place_of(b24bg_table_t *table, apr_uint64_t reference)
{
    b24bg_portal_ref_t portal = {(apr_uint32_t)(reference >> 32), 0};
    b24bg_table_place_t *place;
    apr_uint32_t tenure;

    if (portal.slot == 0) {
        return portal;
    }
    place = b24bg_table_place(table, portal.slot);
    portal.generation = atomic_load_explicit(&place->generation, memory_order_acquire);
    tenure = place->tenure;
    atomic_thread_fence(memory_order_acquire);
    if ((portal.generation & 1) || tenure != (apr_uint32_t)reference ||
        atomic_load_explicit(&place->generation, memory_order_relaxed) != portal.generation) {
        portal.slot = 0;
    }
    return portal;
}

/* Between the two looks at the mark the cell may have gone to another key: then this one is dead.
 */
int b24bg_table_key_find(b24bg_table_t *table, const char *key_hash, b24bg_portal_ref_t *portal)
{
    b24bg_table_key_t *cell;
    apr_uint64_t reference;
    where_t where;

    locate(table, key_hash, &where);
    cell = look(&where, where.mark);
    if (!cell) {
        return 0;
    }
    atomic_thread_fence(memory_order_acquire);
    reference = atomic_load_explicit(&cell->place, memory_order_acquire);
    if (atomic_load_explicit(&cell->mark, memory_order_relaxed) != where.mark) {
        return 0;
    }
    *portal = place_of(table, reference);
    return 1;
}

/* Keeping some */

static int compare_marks(const void *one, const void *other)
{
    apr_uint64_t left = *(const apr_uint64_t *)one;
    apr_uint64_t right = *(const apr_uint64_t *)other;

    return (left > right) - (left < right);
}

/* Sorted. */
static apr_array_header_t *marks_of(b24bg_table_t *table, const apr_array_header_t *key_hashes)
{
    apr_array_header_t *marks =
        apr_array_make(key_hashes->pool, key_hashes->nelts + 1, sizeof(apr_uint64_t));
    int i;

    for (i = 0; i < key_hashes->nelts; i++) {
        APR_ARRAY_PUSH(marks, apr_uint64_t) = b24bg_table_mark(
            table, APR_ARRAY_IDX(key_hashes, i, const char *), B24BG_KEY_HASH_LENGTH);
    }
    qsort(marks->elts, (size_t)marks->nelts, sizeof(apr_uint64_t), compare_marks);
    return marks;
}

static void retain_in_set(b24bg_table_keys_t *set, const apr_array_header_t *marks)
{
    int i;

    for (i = 0; i < B24BG_TABLE_KEY_WAYS; i++) {
        apr_uint64_t mark = set->way[i].mark;
        if (mark &&
            !bsearch(&mark, marks->elts, (size_t)marks->nelts, sizeof(mark), compare_marks)) {
            set->way[i].mark = 0;
        }
    }
}

int b24bg_table_keys_retain(b24bg_table_t *table, const apr_array_header_t *key_hashes)
{
    apr_array_header_t *marks = marks_of(table, key_hashes);
    apr_uint64_t lock = 0;
    apr_uint32_t i;

    for (i = 0; i < table->key_sets; i++) {
        if (i % SETS_AT_ONCE == 0 && !(lock = b24bg_table_lock(table))) {
            return 0;
        }
        retain_in_set(&b24bg_table_keys(table)[i], marks);
        if (i % SETS_AT_ONCE == SETS_AT_ONCE - 1 || i == table->key_sets - 1) {
            b24bg_table_unlock(table, lock);
        }
    }
    return 1;
}

/* Before they are there */

int b24bg_table_keys_are_read(b24bg_table_t *table)
{
    return atomic_load_explicit(&table->keys_read, memory_order_acquire);
}

void b24bg_table_set_keys_read(b24bg_table_t *table)
{
    atomic_store_explicit(&table->keys_read, 1, memory_order_release);
}

/* The look before keeps the number from coming round. */
int b24bg_table_claim_early_notice(b24bg_table_t *table)
{
    return table->early_notices < B24BG_TABLE_EARLY_NOTICES &&
           atomic_fetch_add(&table->early_notices, 1) < B24BG_TABLE_EARLY_NOTICES;
}
