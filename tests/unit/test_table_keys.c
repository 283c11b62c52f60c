/* b24bg_table_keys: keys of error URLs are found as long as they live, however often they change,
 * and whoever writes or dies meanwhile.
 */
#include "table.h"

#include "b24bg_notice.h"
#include "b24bg_table_parts.h"

#include <pthread.h>
#include <signal.h>

#define PLACES 8

static const char *key_hash(char *text, apr_uint32_t number)
{
    apr_snprintf(text, B24BG_KEY_HASH_LENGTH + 1, "%040x", number);
    return text;
}

static int put(b24bg_table_t *table, apr_uint32_t number, b24bg_portal_ref_t portal)
{
    char text[B24BG_KEY_HASH_LENGTH + 1];

    return b24bg_table_key_put(table, key_hash(text, number), portal);
}

static int drop(b24bg_table_t *table, apr_uint32_t number)
{
    char text[B24BG_KEY_HASH_LENGTH + 1];

    return b24bg_table_key_drop(table, key_hash(text, number));
}

static int find(b24bg_table_t *table, apr_uint32_t number, b24bg_portal_ref_t *portal)
{
    char text[B24BG_KEY_HASH_LENGTH + 1];

    return b24bg_table_key_find(table, key_hash(text, number), portal);
}

static apr_uint32_t cells(const b24bg_table_t *table)
{
    return table->key_sets * B24BG_TABLE_KEY_WAYS;
}

static apr_uint32_t cells_taken(b24bg_table_t *table)
{
    b24bg_table_keys_t *sets = b24bg_table_keys(table);
    apr_uint32_t count = 0;
    apr_uint32_t i;

    for (i = 0; i < cells(table); i++) {
        count += sets[i / B24BG_TABLE_KEY_WAYS].way[i % B24BG_TABLE_KEY_WAYS].mark != 0;
    }
    return count;
}

static void test_put_find_drop(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    b24bg_portal_ref_t one = load(table, 1, NOW);
    b24bg_portal_ref_t two = load(table, 2, NOW);
    b24bg_portal_ref_t found;

    (void)state;
    assert_int_equal(find(table, 1, &found), 0);
    assert_int_equal(put(table, 1, one), 1);
    assert_int_equal(find(table, 2, &found), 0);
    assert_int_equal(find(table, 1, &found), 1);
    assert_int_equal(found.slot, one.slot);
    assert_int_equal(found.generation, one.generation);
    assert_int_equal(put(table, 1, two), 1);
    assert_int_equal(find(table, 1, &found), 1);
    assert_int_equal(found.slot, two.slot);
    assert_int_equal(cells_taken(table), 1);
    assert_int_equal(drop(table, 1), 1);
    assert_int_equal(find(table, 1, &found), 0);
    assert_int_equal(drop(table, 1), 1);
    assert_int_equal(cells_taken(table), 0);
}

static void test_key_without_place(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    b24bg_portal_ref_t found = {5, 5};

    (void)state;
    assert_int_equal(put(table, 1, (b24bg_portal_ref_t){0, 0}), 1);
    assert_int_equal(find(table, 1, &found), 1);
    assert_int_equal(found.slot, 0);
}

/* The key stays live; whose it was is not mistaken for the new holder. */
static void test_place_changed_hands(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t before = load(table, 1, NOW);
    b24bg_portal_ref_t found;

    (void)state;
    assert_int_equal(put(table, 1, before), 1);
    load(table, 2, NOW + 1);
    assert_int_equal(find(table, 1, &found), 1);
    assert_int_equal(found.slot, 0);
    assert_int_equal(put(table, 2, before), 0); /* stale: to be found again */
    assert_int_equal(find(table, 2, &found), 0);
    assert_int_equal(put(table, 2, load(table, 2, NOW + 1)), 1);
    assert_int_equal(find(table, 2, &found), 1);
    assert_int_equal(found.slot, 1);
}

/* A portal that is renamed or has a new token is the same one. */
static void test_place_brought_up_to_date(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    b24bg_portal_ref_t found;

    (void)state;
    know(table, 1, "secret");
    assert_int_equal(put(table, 1, load(table, 1, NOW)), 1);
    know(table, 1, "newer");
    assert_int_equal(find(table, 1, &found), 1);
    assert_int_equal(found.slot, 1);
    assert_int_equal(found.generation, load(table, 1, NOW).generation);
}

#define ROTATIONS 2000000
#define ROTATING 1000

/* Each registration gets new keys over and over, as by rebinds for years: nothing piles up. */
static void test_rotations(void **state)
{
    b24bg_table_t *table = new_table(1024);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < ROTATING; i++) {
        assert_int_equal(put(table, i, load(table, i, NOW)), 1);
    }
    for (i = ROTATING; i < ROTATIONS; i++) {
        b24bg_portal_ref_t place = {1 + i % ROTATING, 2};
        if (put(table, i, place) != 1 || drop(table, i - ROTATING) != 1) {
            fail_msg("at %u", i);
        }
    }
    assert_int_equal(cells_taken(table), ROTATING);
    for (i = 0; i < ROTATIONS; i += i == 20000 ? ROTATIONS - 40000 : 1) {
        b24bg_portal_ref_t found;
        assert_int_equal(find(table, i, &found), i >= ROTATIONS - ROTATING);
        if (i >= ROTATIONS - ROTATING) {
            assert_int_equal(found.slot, 1 + i % ROTATING);
        }
    }
}

typedef struct {
    const char *name;
    apr_uint32_t portals;
} portals_t;

static const portals_t portals[] = {
    {"1", 1}, {"1024", 1024}, {"2048: just a power of two", 2048}, {"100000", 100000}};

/* What the header promises: the first four fifths of the cells find room. */
static void test_full(void **state)
{
    const portals_t *row = *state;
    b24bg_table_t *table = new_table(row->portals);
    b24bg_portal_ref_t place = load(table, 1, NOW);
    b24bg_portal_ref_t found;
    apr_uint32_t count = 0;
    apr_uint32_t i;

    assert_true(cells(table) >= 2 * row->portals + 4096);
    while (put(table, count, place) == 1) {
        count++;
    }
    assert_true(count >= cells(table) / 5 * 4);
    assert_int_equal(put(table, count, place), -1);
    assert_int_equal(find(table, count, &found), 0);
    for (i = 0; i < count; i++) {
        assert_int_equal(find(table, i, &found), 1);
        assert_int_equal(put(table, i, place), 1); /* those that are there need no room */
    }
    for (i = 0; i < count; i++) {
        assert_int_equal(drop(table, i), 1);
    }
    assert_int_equal(cells_taken(table), 0);
    assert_int_equal(put(table, count, place), 1);
}

/* Writers that are killed, and threads. Key n belongs to place n % PLACES + 1. */

#define STABLE 100

static void put_surely(b24bg_table_t *table, apr_uint32_t number)
{
    while (put(table, number, load(table, number % PLACES, NOW)) != 1) {
    }
}

static void fill_places(b24bg_table_t *table)
{
    apr_uint32_t i;

    for (i = 0; i < PLACES; i++) {
        assert_int_equal(load(table, i, NOW).slot, i + 1);
    }
}

static void fill(b24bg_table_t *table)
{
    apr_uint32_t i;

    fill_places(table);
    for (i = 0; i < STABLE; i++) {
        put_surely(table, i);
    }
}

/* 0 if a key is not what it can be: dead (unless it is one that must live) or with its place. */
static int is_right(b24bg_table_t *table, apr_uint32_t number)
{
    b24bg_portal_ref_t found;

    return find(table, number, &found) ? found.slot == number % PLACES + 1 : number >= STABLE;
}

static void rotate(b24bg_table_t *table, apr_uint32_t first, apr_uint32_t rounds)
{
    apr_uint32_t i;

    for (i = 0; i < rounds; i++) {
        put_surely(table, first + i % 50);
        while (!drop(table, first + (i + 25) % 50)) {
        }
    }
}

static void test_killed_writers(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    int round;

    (void)state;
    fill(table);
    alarm(60);
    for (round = 0; round < 300; round++) {
        apr_uint32_t i;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            rotate(table, STABLE, APR_UINT32_MAX);
            _exit(0);
        }
        table_pause(100 + (long)unit_random(500));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        for (i = 0; i < STABLE + 50; i++) {
            assert_true(is_right(table, i));
        }
        assert_int_equal(put(table, STABLE, load(table, STABLE % PLACES, NOW)), 1);
        assert_int_equal(drop(table, STABLE), 1);
    }
    alarm(0);
    assert_true(cells_taken(table) <= STABLE + 50);
}

typedef struct {
    b24bg_table_t *table;
    apr_uint32_t first;
    _Atomic int done;
} writer_t;

static void *write_keys(void *data)
{
    writer_t *writer = data;

    rotate(writer->table, writer->first, 100000);
    writer->done = 1;
    return NULL;
}

/* Two write, and one reads what both write and what nobody touches. */
static void test_threads(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    writer_t writers[2] = {{table, STABLE, 0}, {table, 2 * STABLE, 0}};
    pthread_t threads[2];
    apr_uint32_t wrong = 0;
    apr_uint32_t i;

    (void)state;
    fill(table);
    for (i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_keys, &writers[i]), 0);
    }
    for (i = 0; !writers[0].done || !writers[1].done; i++) {
        wrong += !is_right(table, i % (3 * STABLE));
    }
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(cells_taken(table), STABLE + 2 * 25);
}

/* The first key behind `number` that goes to the same cell of an empty table. */
static apr_uint32_t rival_of(b24bg_table_t *table, apr_uint32_t number)
{
    char text[B24BG_KEY_HASH_LENGTH + 1];
    apr_uint64_t mark = b24bg_table_mark(table, key_hash(text, number), B24BG_KEY_HASH_LENGTH);
    apr_uint64_t other;

    do {
        other = b24bg_table_mark(table, key_hash(text, ++number), B24BG_KEY_HASH_LENGTH);
    } while ((other ^ mark) & (table->key_sets - 1));
    return number;
}

static void *take_turns(void *data)
{
    writer_t *writer = data;
    apr_uint32_t rival = rival_of(writer->table, writer->first);
    int i;

    for (i = 0; i < 500000; i++) {
        put_surely(writer->table, writer->first);
        drop(writer->table, writer->first);
        put_surely(writer->table, rival);
        drop(writer->table, rival);
    }
    writer->done = 1;
    return NULL;
}

/* Two keys that have one cell in turns: neither is ever found with the other's place. */
static void test_one_cell_in_turns(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    writer_t writer = {table, STABLE, 0};
    apr_uint32_t rival = rival_of(table, writer.first);
    apr_uint32_t wrong = 0;
    pthread_t thread;

    (void)state;
    fill_places(table);
    while (rival % PLACES == writer.first % PLACES) {
        writer.first++;
        rival = rival_of(table, writer.first);
    }
    assert_int_equal(pthread_create(&thread, NULL, take_turns, &writer), 0);
    while (!writer.done) {
        wrong += !is_right(table, writer.first) + !is_right(table, rival);
    }
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
}

static apr_array_header_t *hashes_of(apr_uint32_t first, apr_uint32_t step, apr_uint32_t end)
{
    apr_array_header_t *hashes = apr_array_make(unit_pool, 8, sizeof(const char *));
    apr_uint32_t i;

    for (i = first; i < end; i += step) {
        APR_ARRAY_PUSH(hashes, const char *) =
            key_hash(apr_palloc(unit_pool, B24BG_KEY_HASH_LENGTH + 1), i);
    }
    return hashes;
}

/* In all sets, with and without a place; those that are not there are not made. */
static void test_retain(void **state)
{
    const portals_t *row = *state;
    b24bg_table_t *table = new_table(row->portals);
    b24bg_portal_ref_t place = load(table, 1, NOW);
    apr_uint32_t count = cells(table) / 2 / 3 * 3;
    b24bg_portal_ref_t found;
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        assert_int_equal(put(table, i, i % 2 ? place : (b24bg_portal_ref_t){0, 0}), 1);
    }
    assert_int_equal(b24bg_table_keys_retain(table, hashes_of(0, 3, count + 30)), 1);
    for (i = 0; i < count + 30; i++) {
        assert_int_equal(find(table, i, &found), i < count && i % 3 == 0);
        if (i < count && i % 3 == 0) {
            assert_int_equal(found.slot, i % 2 ? place.slot : 0);
        }
    }
    assert_int_equal(cells_taken(table), count / 3);
    assert_int_equal(b24bg_table_keys_retain(table, hashes_of(0, 1, 0)), 1);
    assert_int_equal(cells_taken(table), 0);
}

/* Who has the lock may be in the middle of a key. */
static void test_retain_takes_the_lock(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    apr_uint64_t lock;

    (void)state;
    assert_int_equal(put(table, 1, load(table, 1, NOW)), 1);
    lock = b24bg_table_lock(table);
    assert_int_equal(b24bg_table_keys_retain(table, hashes_of(0, 1, 0)), 0);
    assert_int_equal(cells_taken(table), 1);
    b24bg_table_unlock(table, lock);
    assert_int_equal(b24bg_table_keys_retain(table, hashes_of(0, 1, 0)), 1);
    assert_int_equal(cells_taken(table), 0);
    assert_int_equal(put(table, 1, load(table, 1, NOW)), 1); /* the lock is free again */
}

static void test_keys_are_read(void **state)
{
    b24bg_table_t *table = new_table(PLACES);
    int i;

    (void)state;
    assert_int_equal(b24bg_table_keys_are_read(table), 0);
    for (i = 0; i < 100000; i++) {
        assert_int_equal(b24bg_table_claim_early_notice(table), i < B24BG_TABLE_EARLY_NOTICES);
    }
    assert_int_equal(b24bg_table_keys_are_read(table), 0);
    b24bg_table_set_keys_read(table);
    assert_int_equal(b24bg_table_keys_are_read(table), 1);
}

int main(void)
{
    UNIT_ADD(test_put_find_drop);
    UNIT_ADD(test_key_without_place);
    UNIT_ADD(test_place_changed_hands);
    UNIT_ADD(test_place_brought_up_to_date);
    UNIT_ADD(test_rotations);
    UNIT_ADD_ROWS(test_full, portals);
    UNIT_ADD_ROWS(test_retain, portals);
    UNIT_ADD(test_retain_takes_the_lock);
    UNIT_ADD(test_keys_are_read);
    UNIT_ADD(test_killed_writers);
    UNIT_ADD(test_threads);
    UNIT_ADD(test_one_cell_in_turns);
    return unit_run("table_keys");
}
