/* b24bg_table: spec.md sections 3, 6 and 8; what header and comments promise, also to processes
 * that share the table and to those that outlive one that was killed.
 */
#include "table.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* Places that are searched for one to give away: the header's "no more than 256 places". */
#define WINDOW 256

/* How many places show this portal of app 0; *counts is the last of them. */
static int places_of(b24bg_table_t *table, apr_uint32_t number, b24bg_portal_counts_t *counts)
{
    char id[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_counts_t portal;
    apr_uint32_t slot;
    int places = 0;

    portal_id(id, number);
    for (slot = 1; slot <= b24bg_table_capacity(table); slot++) {
        if (b24bg_table_read_portal(table, slot, NOW, &portal) && portal.app == 0 &&
            strcmp(portal.member_id, id) == 0) {
            *counts = portal;
            places++;
        }
    }
    return places;
}

static int shown(b24bg_table_t *table)
{
    b24bg_portal_counts_t portal;
    apr_uint32_t slot;
    int count = 0;

    for (slot = 1; slot <= b24bg_table_capacity(table); slot++) {
        count += b24bg_table_read_portal(table, slot, NOW, &portal);
    }
    return count;
}

/* Size */

static void test_bytes_per_portal(void **state)
{
    (void)state;
    assert_true(b24bg_table_size(B24BG_TABLE_PORTALS_DEFAULT) <=
                (apr_size_t)B24BG_TABLE_PORTALS_DEFAULT * B24BG_TABLE_BYTES_PER_PORTAL_MAX);
    assert_true(b24bg_table_size(B24BG_TABLE_PORTALS_MAX) <=
                (apr_size_t)B24BG_TABLE_PORTALS_MAX * B24BG_TABLE_BYTES_PER_PORTAL_MAX);
}

/* Beside the apps: the head, 352 sets of renders and tags and twice 4,096 keys, which small tables
 * have. */
#define FIXED (4096 + 352 * 64 + 2 * 4096 * 16)

/* What one portal more adds never costs more than it may. */
static void test_size_grows(void **state)
{
    apr_uint32_t portals;

    (void)state;
    for (portals = 1; portals < 5000; portals++) {
        assert_true(b24bg_table_size(portals + 1) > b24bg_table_size(portals));
        assert_true(b24bg_table_size(portals) <=
                    B24BG_TABLE_APPS_MAX * B24BG_TABLE_BYTES_PER_APP_MAX + FIXED +
                        (apr_size_t)portals * B24BG_TABLE_BYTES_PER_PORTAL_MAX);
    }
}

/* Writes the first and the last place of the memory; ASan and the kernel see what is beyond. */
static void test_memory_is_enough(void **state)
{
    static const apr_uint32_t sizes[] = {1, 2, 3, 5, 255, 256, 257, 1000, 1024};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        apr_size_t size = b24bg_table_size(sizes[i]);
        void *base = aligned_alloc(64, APR_ALIGN(size, 64));
        b24bg_table_t *table;
        apr_uint32_t number;
        assert_non_null(base);
        memset(base, 0, size);
        table = b24bg_table_create(base, sizes[i], key);
        assert_int_equal(b24bg_table_capacity(table), sizes[i]);
        for (number = 0; number < 2 * sizes[i]; number++) {
            assert_int_not_equal(load(table, number, NOW + number).slot, 0);
        }
        assert_int_equal(shown(table), sizes[i]);
        free(base);
    }
}

static void test_largest(void **state)
{
    b24bg_table_t *table = new_table(B24BG_TABLE_PORTALS_MAX);
    apr_uint32_t number;

    (void)state;
    for (number = 0; number < 1000; number++) {
        assert_int_equal(load(table, number, NOW).slot, number + 1);
    }
    for (number = 0; number < 1000; number++) {
        assert_int_equal(load(table, number, NOW).slot, number + 1);
    }
}

/* Apps */

static void test_apps(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_app_counts_t counts;
    char name[B24BG_TABLE_LABEL_SIZE];
    int i;

    (void)state;
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 0, &counts), 0);
    for (i = 0; i < B24BG_TABLE_APPS_MAX; i++) {
        apr_snprintf(name, sizeof(name), "app%d_%s", i, "0123456789012345678901234567");
        assert_int_equal(b24bg_table_app(table, name), i);
        assert_int_equal(b24bg_table_app(table, name), i);
    }
    assert_int_equal(b24bg_table_app(table, "one_more"), -1);
    assert_int_equal(b24bg_table_app(table, name), B24BG_TABLE_APPS_MAX - 1);
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 63, &counts), 1);
    assert_string_equal(counts.name, name);
}

static void test_app_longest_name(void **state)
{
    b24bg_table_t *table = new_table(1);
    static const char longest[] = "abcdefghijklmnopqrstuvwxyz012345";
    b24bg_app_counts_t counts;

    (void)state;
    assert_int_equal(strlen(longest), B24BG_TABLE_LABEL_SIZE - 1);
    assert_int_equal(b24bg_table_app(table, longest), 0);
    assert_int_equal(b24bg_table_app(table, longest), 0);
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 0, &counts), 1);
    assert_string_equal(counts.name, longest);
}

/* Counting */

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(b24bg_kind_name(B24BG_KIND_WORKER), "worker");
    assert_string_equal(b24bg_kind_name(B24BG_KIND_BEACON), "beacon");
    assert_string_equal(b24bg_kind_name(B24BG_KIND_ERROR), "error");
    assert_string_equal(b24bg_kind_name(B24BG_KIND_INSTALL), "install");
}

/* Every reason of every kind goes to its own counter and to no other, in its own app. */
static void test_count_every_reason(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_uint64_t reasons[B24BG_REASON_COUNT] = {0};
    apr_uint64_t requests[B24BG_KIND_COUNT][B24BG_VERDICT_COUNT] = {{0}};
    b24bg_app_counts_t counts;
    int kind;
    int reason;

    (void)state;
    b24bg_table_app(table, "other");
    b24bg_table_app(table, "this");
    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        for (reason = 0; reason < B24BG_REASON_COUNT; reason++) {
            b24bg_table_request_t request;
            int times = 1 + kind * B24BG_REASON_COUNT + reason;
            memset(&request, 0, sizeof(request));
            request.app = 1;
            request.kind = (b24bg_kind_e)kind;
            request.reason = (b24bg_reason_e)reason;
            reasons[reason] += (apr_uint64_t)times;
            requests[kind][b24bg_reason(request.reason)->verdict] += (apr_uint64_t)times;
            while (times--) {
                b24bg_table_count(table, &request);
            }
        }
    }
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 1, &counts), 1);
    assert_string_equal(counts.name, "this");
    assert_memory_equal(counts.reasons, reasons, sizeof(reasons));
    assert_memory_equal(counts.requests, requests, sizeof(requests));
    assert_int_equal(counts.repeats, 0);
    assert_int_equal(counts.broken_options, 0);
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 0, &counts), 1);
    memset(reasons, 0, sizeof(reasons));
    assert_memory_equal(counts.reasons, reasons, sizeof(reasons));
    assert_int_equal(counts.server_time[0], 0);
}

typedef struct {
    const char *name;
    apr_interval_time_t time;
    int bucket;
    apr_uint64_t sum;
} bucket_t;

static const bucket_t buckets[] = {
    {"nothing", 0, 0, 0},
    {"clock set back", -1, 0, 0},
    {"clock set back far", APR_INT64_MIN, 0, 0},
    {"one", 1, 0, 1},
    {"half a millisecond", 500, 0, 500},
    {"just over it", 501, 1, 501},
    {"a millisecond", 1000, 1, 1000},
    {"just over a millisecond", 1001, 2, 1001},
    {"2.5 ms", 2500, 2, 2500},
    {"5 ms", 5000, 3, 5000},
    {"10 ms", 10000, 4, 10000},
    {"25 ms", 25000, 5, 25000},
    {"50 ms", 50000, 6, 50000},
    {"100 ms", 100000, 7, 100000},
    {"250 ms", 250000, 8, 250000},
    {"500 ms", 500000, 9, 500000},
    {"a second", 1000000, 10, 1000000},
    {"2.5 s", 2500000, 11, 2500000},
    {"just below the portal's limit", 4999999, 12, 4999999},
    {"the portal's limit is not slow", 5000000, 12, 5000000},
    {"just over the portal's limit", 5000001, 13, 5000001},
    {"10 s", 10000000, 13, 10000000},
    {"just over 10 s", 10000001, 14, 10000001},
    {"largest", APR_INT64_MAX, 14, APR_INT64_MAX},
};

static void test_server_time(void **state)
{
    const bucket_t *row = *state;
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request;
    b24bg_app_counts_t counts;
    int i;

    memset(&request, 0, sizeof(request));
    request.app = b24bg_table_app(table, "default");
    request.server_time = row->time;
    b24bg_table_count(table, &request);
    assert_int_equal(b24bg_table_read_app(table, unit_pool, 0, &counts), 1);
    assert_int_equal(counts.server_time_sum, row->sum);
    for (i = 0; i < B24BG_SERVER_TIME_BUCKETS; i++) {
        assert_int_equal(counts.server_time[i], i == row->bucket);
    }
}

static void test_count_portal(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_table_request_t request = accepted(load(table, 7, NOW), NOW + 5);
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;

    (void)state;
    b24bg_table_app(table, "default");
    b24bg_table_count(table, &request);
    request.now = NOW + 9;
    request.broken_options = 1;
    b24bg_table_count(table, &request);
    request.now = NOW + 20;
    request.is_load = 0;
    request.is_repeat = 1;
    b24bg_table_count(table, &request);
    assert_int_equal(places_of(table, 7, &portal), 1);
    assert_int_equal(portal.loads, 2);
    assert_int_equal(portal.repeats, 1);
    assert_int_equal(portal.last_load, NOW + 9);
    assert_int_equal(portal.app, 0);
    assert_string_equal(portal.domain, DOMAIN);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.repeats, 1);
    assert_int_equal(app.broken_options, 2);
    assert_int_equal(app.requests[B24BG_KIND_WORKER][B24BG_VERDICT_UNKNOWN], 3);
}

/* Counting what has no place counts for the app alone. */
static void test_count_without_place(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted((b24bg_portal_ref_t){0, 0}, NOW);
    b24bg_app_counts_t app;

    (void)state;
    b24bg_table_app(table, "default");
    b24bg_table_count(table, &request);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.reasons[B24BG_REASON_UNKNOWN_PORTAL], 1);
    assert_int_equal(shown(table), 0);
}

/* Portals */

static void test_same_portal_same_place(void **state)
{
    b24bg_table_t *table = new_table(100);
    b24bg_portal_ref_t refs[100];
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 100; i++) {
        refs[i] = load(table, i, NOW + i);
        assert_int_equal(refs[i].slot, i + 1);
    }
    for (i = 0; i < 100; i++) {
        b24bg_portal_ref_t again = load(table, i, NOW + 1000);
        assert_int_equal(again.slot, refs[i].slot);
        assert_int_equal(again.generation, refs[i].generation);
    }
    assert_int_equal(shown(table), 100);
}

/* Looking a portal up is not a load: b24bg_table_count says when it was loaded. */
static void test_lookup_changes_nothing(void **state)
{
    b24bg_table_t *table = new_table(2);
    b24bg_portal_counts_t portal;

    (void)state;
    load(table, 1, NOW);
    load(table, 1, NOW + 50);
    assert_int_equal(places_of(table, 1, &portal), 1);
    assert_int_equal(portal.last_load, NOW);
    assert_int_equal(portal.loads, 0);
}

static void test_apps_apart(void **state)
{
    b24bg_table_t *table = new_table(10);
    b24bg_portal_ref_t one = load_at(table, 0, 1, NOW);
    b24bg_portal_ref_t two = load_at(table, 1, 1, NOW);

    (void)state;
    assert_int_not_equal(one.slot, two.slot);
    assert_int_equal(load_at(table, 0, 1, NOW).slot, one.slot);
    assert_int_equal(load_at(table, 1, 1, NOW).slot, two.slot);
}

static void test_longest_domain(void **state)
{
    b24bg_table_t *table = new_table(1);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, 3), 0};
    char domain[B24BG_DOMAIN_MAX + 1];
    b24bg_portal_counts_t portal;

    (void)state;
    memset(domain, 'd', B24BG_DOMAIN_MAX);
    domain[B24BG_DOMAIN_MAX] = '\0';
    b24bg_table_portal(table, &id, domain, NOW);
    assert_int_equal(places_of(table, 3, &portal), 1);
    assert_string_equal(portal.domain, domain);
}

/* A place that changed hands: the old reference counts for nobody. */
static void test_stale_reference(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW + 100);
    b24bg_portal_ref_t heir = load(table, 2, NOW + 1);
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;

    (void)state;
    b24bg_table_app(table, "default");
    assert_int_equal(heir.slot, request.portal.slot);
    assert_int_not_equal(heir.generation, request.portal.generation);
    b24bg_table_count(table, &request);
    assert_int_equal(places_of(table, 1, &portal), 0);
    assert_int_equal(places_of(table, 2, &portal), 1);
    assert_int_equal(portal.loads, 0);
    assert_int_equal(portal.last_load, NOW + 1);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.reasons[B24BG_REASON_UNKNOWN_PORTAL], 1);
}

/* A new holder starts from nothing. */
static void test_heir_starts_at_zero(void **state)
{
    static const b24bg_shown_event_t event = {NOW, B24BG_SHOWN_EVENT_BOUND, 1};
    static const b24bg_shown_t bound = {1, 1, 1, NOW, NOW, NOW, NOW, NOW};
    b24bg_table_t *table = new_table(1);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW);
    b24bg_table_beacon_t beacon = {request.portal, 0, 2, 0, 0, NOW, NOW, 1};
    b24bg_portal_counts_t expected;
    b24bg_portal_counts_t portal;
    b24bg_portal_ref_t heir;

    (void)state;
    memset(&expected, 0, sizeof(expected));
    memset(&portal, 0, sizeof(portal));
    request.is_repeat = 1;
    request.slow_limit = 1;
    request.server_time = 2;
    b24bg_table_count(table, &request);
    b24bg_table_count_beacon(table, &beacon);
    b24bg_table_budget_told(table, request.portal, 5, NOW);
    b24bg_table_show(table, request.portal, &bound);
    b24bg_table_show_events(table, request.portal, &event, 1);
    assert_int_equal(b24bg_table_claim_warning(table, 1, B24BG_WARNED_BY_TASK, 5, NOW), 1);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW), 1);
    heir = load(table, 2, NOW);
    assert_int_equal(b24bg_table_read_portal(table, 1, NOW, &portal), 1);
    portal_id(expected.member_id, 2);
    apr_cpystrn(expected.domain, DOMAIN, sizeof(expected.domain));
    expected.last_load = NOW;
    expected.generation = heir.generation;
    assert_memory_equal(&portal, &expected, sizeof(portal));
    b24bg_table_budget_told(table, load(table, 2, NOW), 5, NOW);
    assert_int_equal(b24bg_table_claim_warning(table, 1, B24BG_WARNED_BY_TASK, 5, NOW), 1);
    assert_int_equal(b24bg_table_claim_silence(table, 1, NOW), 1);
}

static void test_capacity_one(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 1000; i++) {
        b24bg_portal_ref_t ref = load(table, i, NOW + i);
        assert_int_equal(ref.slot, 1);
        assert_int_equal(load(table, i, NOW + i).generation, ref.generation);
        assert_int_equal(shown(table), 1);
    }
}

/* A model of the promise: of all portals, the one loaded longest ago gives way. */
typedef struct {
    apr_uint32_t number;
    apr_time_t last_load;
} model_t;

static size_t model_find(const model_t *model, size_t size, apr_uint32_t number)
{
    size_t i;

    for (i = 0; i < size && model[i].number != number; i++) {
    }
    return i;
}

static size_t model_oldest(const model_t *model, size_t size)
{
    size_t oldest = 0;
    size_t i;

    for (i = 1; i < size; i++) {
        if (model[i].last_load < model[oldest].last_load) {
            oldest = i;
        }
    }
    return oldest;
}

typedef struct {
    const char *name;
    apr_uint32_t capacity;
} capacity_t;

static const capacity_t exact[] = {
    {"1", 1}, {"2", 2}, {"3", 3}, {"8", 8}, {"100", 100}, {"255", 255}, {"256", WINDOW},
};

/* Random loads of more portals than fit: at each step the table holds what the model holds. */
static void test_recycling_is_exact(void **state)
{
    apr_uint32_t capacity = ((const capacity_t *)*state)->capacity;
    b24bg_table_t *table = new_table(capacity);
    model_t model[WINDOW];
    size_t used = 0;
    apr_time_t now = NOW;
    int round;

    b24bg_table_app(table, "default");
    for (round = 0; round < 4000; round++) {
        apr_uint32_t number = unit_random(capacity + capacity / 4 + 2);
        size_t at = model_find(model, used, number);
        b24bg_table_request_t request;
        now += 1 + unit_random(1000);
        if (at == used && used < capacity) {
            used++;
        } else if (at == used) {
            at = model_oldest(model, used);
        }
        model[at].number = number;
        model[at].last_load = now;
        request = accepted(load(table, number, now), now);
        b24bg_table_count(table, &request);
        if (round % 50 == 0 || capacity < 10) {
            b24bg_portal_counts_t portal;
            assert_int_equal(shown(table), used);
            for (at = 0; at < used; at++) {
                assert_int_equal(places_of(table, model[at].number, &portal), 1);
                assert_int_equal(portal.last_load, model[at].last_load);
            }
        }
    }
}

/* Larger than the window: nothing is searched twice before all was searched once, and the victim
 * is the oldest of its window. All portals are equally old but one per window. */
static void test_window(void **state)
{
    apr_uint32_t capacity = 4 * WINDOW;
    b24bg_table_t *table = new_table(capacity);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < capacity; i++) {
        load(table, i, NOW + (i % WINDOW == 77 ? 0 : 1000 + (apr_time_t)i));
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(load(table, capacity + i, NOW + 5000).slot, i * WINDOW + 77 + 1);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(load(table, 2 * capacity + i, NOW + 6000).slot, i * WINDOW + 1);
    }
}

/* A capacity that the window does not divide, all found again after the table was filled thrice. */
static void test_window_wraps(void **state)
{
    apr_uint32_t capacity = WINDOW + 44;
    b24bg_table_t *table = new_table(capacity);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 3 * capacity; i++) {
        b24bg_portal_ref_t ref = load(table, i, NOW + i);
        assert_int_not_equal(ref.slot, 0);
        assert_int_equal(load(table, i, NOW + i).slot, ref.slot);
    }
    assert_int_equal(shown(table), capacity);
}

/* Made-up portals cannot crowd out one that is loaded again and again, large tables included. */
static void test_busy_portal_stays(void **state)
{
    b24bg_table_t *table = new_table(4 * WINDOW);
    b24bg_portal_ref_t busy = load(table, 0, NOW);
    apr_uint32_t i;

    (void)state;
    b24bg_table_app(table, "default");
    for (i = 1; i < 40 * WINDOW; i++) {
        b24bg_table_request_t request = accepted(load(table, 0, NOW + i), NOW + i);
        assert_int_equal(request.portal.slot, busy.slot);
        assert_int_equal(request.portal.generation, busy.generation);
        b24bg_table_count(table, &request);
        assert_int_not_equal(load(table, i, NOW + i).slot, 0);
    }
}

/* Full to the last place there are chains of several portals; none hides another. */
static void test_collisions(void **state)
{
    apr_uint32_t capacity = 20000;
    b24bg_table_t *table = new_table(capacity);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < capacity; i++) {
        assert_int_equal(load_at(table, (int)(i % 3), i, NOW).slot, i + 1);
    }
    for (i = 0; i < capacity; i++) {
        assert_int_equal(load_at(table, (int)(i % 3), i, NOW).slot, i + 1);
    }
}

/* Another key, another order of chains: nothing but the key decides who collides. */
static void test_other_key(void **state)
{
    static const unsigned char other[16] = "another key ....";
    apr_size_t size = b24bg_table_size(64);
    char *bases[2];
    int i;

    (void)state;
    for (i = 0; i < 2; i++) {
        b24bg_table_t *table;
        apr_uint32_t number;
        bases[i] = aligned_alloc(64, APR_ALIGN(size, 64));
        assert_non_null(bases[i]);
        memset(bases[i], 0, size);
        table = b24bg_table_create(bases[i], 64, i ? other : key);
        for (number = 0; number < 128; number++) {
            assert_int_equal(load(table, number % 64, NOW).slot, number % 64 + 1);
        }
    }
    assert_memory_not_equal(bases[0] + 16, bases[1] + 16, size - 16); /* behind the key itself */
    free(bases[0]);
    free(bases[1]);
}

/* Repeats */

static int seen(b24bg_table_t *table, int app, apr_uint32_t portal, apr_uint32_t render)
{
    char id[B24BG_MEMBER_ID_LENGTH + 1];
    char sid[B24BG_MEMBER_ID_LENGTH + 1];

    return b24bg_table_seen(table, app, portal_id(id, portal), portal_id(sid, render));
}

static void test_seen(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    assert_int_equal(seen(table, 0, 1, 1), 0);
    assert_int_equal(seen(table, 0, 1, 1), 1);
    assert_int_equal(seen(table, 0, 1, 1), 1);
    assert_int_equal(seen(table, 0, 1, 2), 0);
    assert_int_equal(seen(table, 0, 2, 1), 0);
    assert_int_equal(seen(table, 1, 1, 1), 0);
    assert_int_equal(seen(table, 0, 1, 1), 1);
}

/* What a client sends in the place of an APP_SID is text of any length. */
static void test_seen_odd_renders(void **state)
{
    static const char id[] = "da45a03b265edd8787f8a258d793cc5d";
    b24bg_table_t *table = new_table(1);
    size_t length;

    (void)state;
    for (length = 0; length <= 200; length++) {
        char *sid = unit_copy("", 0, length + 1);
        sid[length] = '\0';
        assert_int_equal(b24bg_table_seen(table, 63, id, sid), length > 64);
        assert_int_equal(b24bg_table_seen(table, 63, id, sid), 1);
    }
}

/* Every set keeps the newest eight, whatever falls into it, so those are always known. */
static void test_seen_newest(void **state)
{
    b24bg_table_t *table = new_table(1);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        assert_int_equal(seen(table, 0, 1, i), 0);
        if (i >= 7) {
            assert_int_equal(seen(table, 0, 1, i - 7), 1);
        }
    }
}

/* Of the last 8 renders for each place nearly all are known; which are not is a matter of chance,
 * but with one key and the same renders always of the same one. */
static void test_seen_depth(void **state)
{
    apr_uint32_t capacity = 1024;
    b24bg_table_t *table = new_table(capacity);
    apr_uint32_t total = 64 * capacity;
    apr_uint32_t known = 0;
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < total; i++) {
        seen(table, 0, i % capacity, i);
    }
    for (i = total - 1; i >= total - 8 * capacity; i--) {
        known += (apr_uint32_t)seen(table, 0, i % capacity, i);
    }
    assert_true(known >= 8 * capacity * 975 / 1000);
}

/* Portals of the store */

static b24bg_trust_e trust(b24bg_table_t *table, apr_uint32_t number, const char *token)
{
    char origin[B24BG_ORIGIN_MAX + 1] = "";
    b24bg_trust_e trusted = b24bg_table_trust(table, load(table, number, NOW), token, origin);

    assert_string_equal(origin, trusted == B24BG_TRUST_PROVEN ? "https://" DOMAIN : "");
    return trusted;
}

static void test_known_keeps_its_place(void **state)
{
    b24bg_table_t *table = new_table(8);
    b24bg_portal_counts_t portal;
    apr_uint32_t i;

    (void)state;
    assert_int_equal(know(table, 1, "secret"), 1);
    assert_int_equal(know(table, 1, "secret"), 1);
    for (i = 100; i < 1000; i++) {
        assert_int_not_equal(load(table, i, NOW + i).slot, 0);
    }
    assert_int_equal(places_of(table, 1, &portal), 1);
    assert_int_equal(portal.known, 1);
    assert_int_equal(places_of(table, 999, &portal), 1);
    assert_int_equal(portal.known, 0);
}

/* An unknown portal that the store comes to know stays where it is, with what was counted. */
static void test_known_where_it_was(void **state)
{
    b24bg_table_t *table = new_table(8);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW + 7);
    b24bg_portal_counts_t portal;

    (void)state;
    b24bg_table_count(table, &request);
    assert_int_equal(know(table, 1, ""), 1);
    assert_int_equal(places_of(table, 1, &portal), 1);
    assert_int_equal(portal.known, 1);
    assert_int_equal(portal.loads, 1);
    assert_int_equal(portal.last_load, NOW + 7);
}

static void test_full_of_known(void **state)
{
    b24bg_table_t *table = new_table(3);
    apr_uint32_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        assert_int_equal(know(table, i, "secret"), 1);
    }
    assert_int_equal(know(table, 3, "secret"), -1);
    assert_int_equal(know(table, 2, "secret"), 1);
    assert_int_equal(b24bg_table_turned_away(table), 0);
    assert_int_equal(load(table, 4, NOW).slot, 0);
    assert_int_equal(b24bg_table_turned_away(table), 1);
    assert_int_equal(trust(table, 2, "secret"), B24BG_TRUST_PROVEN);
}

static void test_unknown_again(void **state)
{
    b24bg_table_t *table = new_table(1);

    (void)state;
    know(table, 1, "secret");
    unknow(table, 2);
    assert_int_equal(trust(table, 1, "secret"), B24BG_TRUST_PROVEN);
    unknow(table, 1);
    unknow(table, 1);
    assert_int_equal(trust(table, 1, "secret"), B24BG_TRUST_UNKNOWN);
    assert_int_equal(load(table, 2, NOW).slot, 1);
}

static void test_trust(void **state)
{
    b24bg_table_t *table = new_table(8);

    (void)state;
    know(table, 1, "secret");
    know(table, 2, "");
    know(table, 3, NULL);
    assert_int_equal(trust(table, 1, "secret"), B24BG_TRUST_PROVEN);
    assert_int_equal(trust(table, 1, "Secret"), B24BG_TRUST_BAD_TOKEN);
    assert_int_equal(trust(table, 1, "secret2"), B24BG_TRUST_BAD_TOKEN);
    assert_int_equal(trust(table, 1, ""), B24BG_TRUST_BAD_TOKEN);
    assert_int_equal(trust(table, 1, NULL), B24BG_TRUST_BAD_TOKEN);
    assert_int_equal(trust(table, 2, ""), B24BG_TRUST_UNKNOWN);
    assert_int_equal(trust(table, 3, "secret"), B24BG_TRUST_UNKNOWN);
    assert_int_equal(trust(table, 4, "secret"), B24BG_TRUST_UNKNOWN);
    know(table, 1, "newer");
    assert_int_equal(trust(table, 1, "secret"), B24BG_TRUST_BAD_TOKEN);
    assert_int_equal(trust(table, 1, "newer"), B24BG_TRUST_PROVEN);
}

static void test_known_is_shown(void **state)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "http://crm.example:8080", "", NOW, 5, 0, NOW + 7};
    b24bg_table_t *table = new_table(2);

    (void)state;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    assert_int_equal(read_place(table, 1, NOW).http, 1);
    assert_string_equal(read_place(table, 1, NOW).domain, "crm.example:8080");
    assert_int_equal(read_place(table, 1, NOW).tokens, NOW); /* to the second */
    portal.origin = "https://crm.example";
    portal.tokens = 0;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    assert_int_equal(read_place(table, 1, NOW).http, 0);
    assert_string_equal(read_place(table, 1, NOW).domain, "crm.example");
    assert_int_equal(read_place(table, 1, NOW).tokens, 0);
}

/* Between a look-up and the question of trust the place may go to a portal of the store: its token
 * says nothing of the one that asked, neither that it is right nor that it is wrong. */
static void test_trust_in_a_lost_place(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_portal_ref_t before = load(table, 1, NOW);
    char origin[B24BG_ORIGIN_MAX + 1];

    (void)state;
    assert_int_equal(know(table, 2, "secret"), 1);
    assert_int_equal(b24bg_table_trust(table, before, "secret", origin), B24BG_TRUST_UNKNOWN);
    assert_int_equal(b24bg_table_trust(table, before, "own token", origin), B24BG_TRUST_UNKNOWN);
    assert_int_equal(b24bg_table_trust(table, before, NULL, origin), B24BG_TRUST_UNKNOWN);
}

static void test_count_installs(void **state)
{
    b24bg_table_t *table = new_table(1);
    b24bg_app_counts_t app;

    (void)state;
    b24bg_table_app(table, "default");
    b24bg_table_count_install(table, 0, 0);
    b24bg_table_count_install(table, 0, 1);
    b24bg_table_count_install(table, 0, 1);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.installs[0], 1);
    assert_int_equal(app.installs[1], 2);
}

/* Personal registrations */

static b24bg_portal_ref_t of_user(b24bg_table_t *table, apr_uint32_t number, apr_int64_t user)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, number), user};

    return b24bg_table_portal(table, &id, DOMAIN, NOW);
}

static void test_personal_place(void **state)
{
    b24bg_table_t *table = new_table(8);
    b24bg_portal_ref_t own = load(table, 1, NOW);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, 1), 7};
    b24bg_table_request_t request;
    b24bg_portal_ref_t personal;

    (void)state;
    assert_int_equal(know_user(table, 1, 7, "secret"), 1);
    personal = b24bg_table_find(table, &id);
    assert_int_not_equal(personal.slot, 0);
    assert_int_not_equal(personal.slot, own.slot);
    assert_int_equal(of_user(table, 1, 7).slot, personal.slot);
    request = accepted(personal, NOW + 3);
    b24bg_table_count(table, &request);
    assert_int_equal(read_place(table, own.slot, NOW).loads, 0);
    assert_int_equal(read_place(table, own.slot, NOW).user, 0);
    assert_int_equal(read_place(table, personal.slot, NOW).loads, 1);
    assert_int_equal(read_place(table, personal.slot, NOW).user, 7);
    assert_string_equal(read_place(table, personal.slot, NOW).member_id, text);
}

/* Users are claims: whoever makes one up is counted in the portal's own place. */
static void test_users_make_no_places(void **state)
{
    b24bg_table_t *table = new_table(8);
    apr_int64_t user;

    (void)state;
    for (user = 1; user < 100; user++) {
        char text[B24BG_MEMBER_ID_LENGTH + 1];
        b24bg_portal_id_t id = {0, portal_id(text, 1), user};
        assert_int_equal(of_user(table, 1, user).slot, 1);
        assert_int_equal(b24bg_table_find(table, &id).slot, 0);
    }
    assert_int_equal(shown(table), 1);
    assert_int_equal(read_place(table, 1, NOW).user, 0);
}

static void test_many_users(void **state)
{
    apr_uint32_t capacity = 5000;
    b24bg_table_t *table = new_table(capacity);
    apr_uint32_t user;

    (void)state;
    for (user = 0; user < capacity; user++) {
        assert_int_equal(know_user(table, 1, user, "secret"), 1);
    }
    for (user = 0; user < capacity; user++) {
        assert_int_equal(of_user(table, 1, user).slot, user + 1);
    }
    assert_int_equal(know_user(table, 1, capacity, "secret"), -1);
    assert_int_equal(of_user(table, 1, capacity).slot, 1); /* there is the portal's own */
    assert_int_equal(b24bg_table_turned_away(table), 0);
    assert_int_equal(of_user(table, 2, 0).slot, 0);
    assert_int_equal(b24bg_table_turned_away(table), 1);
}

/* Each is known and trusted for itself; one made unknown gives its place away like any other. */
static void test_personal_unknown_again(void **state)
{
    b24bg_table_t *table = new_table(2);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, 1), 7};
    char origin[B24BG_ORIGIN_MAX + 1];

    (void)state;
    know(table, 1, "secret");
    know_user(table, 1, 7, "secret");
    assert_int_equal(load(table, 2, NOW + 1).slot, 0);
    assert_int_equal(b24bg_table_trust(table, of_user(table, 1, 7), "secret", origin),
                     B24BG_TRUST_PROVEN);
    assert_int_equal(b24bg_table_unknow(table, &id), 1);
    assert_int_equal(b24bg_table_trust(table, of_user(table, 1, 7), "secret", origin),
                     B24BG_TRUST_UNKNOWN);
    assert_int_equal(trust(table, 1, "secret"), B24BG_TRUST_PROVEN);
    assert_int_equal(load(table, 2, NOW + 1).slot, 2);
    assert_int_equal(of_user(table, 1, 7).slot, 1);
}

/* Several processes */

#define ROUNDS 30000
#define SHARED_PORTALS 500

/* The lock is only tried, so a place may have to be asked for more than once. */
static b24bg_portal_ref_t load_surely(b24bg_table_t *table, apr_uint32_t number, apr_time_t now)
{
    b24bg_portal_ref_t ref = {0, 0};
    int tries;

    for (tries = 0; tries < 1000 && !ref.slot; tries++) {
        ref = load(table, number, now);
    }
    return ref;
}

static int count_shared(b24bg_table_t *table, apr_uint32_t self)
{
    apr_uint32_t i;

    for (i = 0; i < ROUNDS; i++) {
        b24bg_table_request_t request =
            accepted(load_surely(table, (i * 7 + self * 13) % SHARED_PORTALS, NOW + i), NOW + i);
        if (!request.portal.slot) {
            return 1;
        }
        request.is_load = i % 3 != 0;
        request.is_repeat = !request.is_load;
        request.server_time = 300;
        b24bg_table_count(table, &request);
    }
    return 0;
}

/* All meet all portals and there is room for all: no portal twice, no load lost. */
static void test_processes_share(void **state)
{
    b24bg_table_t *table = new_table(SHARED_PORTALS);
    apr_uint64_t loads = 0;
    apr_uint64_t repeats = 0;
    b24bg_app_counts_t app;
    apr_uint32_t i;

    (void)state;
    b24bg_table_app(table, "default");
    run_children(count_shared, table, 2);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.requests[B24BG_KIND_WORKER][B24BG_VERDICT_UNKNOWN], 2 * ROUNDS);
    assert_int_equal(app.server_time[0], 2 * ROUNDS);
    assert_int_equal(app.server_time_sum, 2 * ROUNDS * 300);
    assert_int_equal(shown(table), SHARED_PORTALS);
    for (i = 0; i < SHARED_PORTALS; i++) {
        b24bg_portal_counts_t portal;
        assert_int_equal(places_of(table, i, &portal), 1);
        loads += portal.loads;
        repeats += portal.repeats;
    }
    assert_int_equal(loads, 2 * ROUNDS / 3 * 2);
    assert_int_equal(repeats, 2 * ROUNDS / 3);
    assert_int_equal(app.repeats, repeats);
}

#define FEW_PLACES 16

/* Half of the portals are looked up, half are new; a reader never sees a torn record. */
static int recycle(b24bg_table_t *table, apr_uint32_t self)
{
    apr_uint32_t i;

    for (i = 0; i < ROUNDS; i++) {
        apr_uint32_t number = i % 2 ? i % 8 : 1000 + self * ROUNDS + i;
        char domain[B24BG_DOMAIN_MAX + 1];
        char text[B24BG_MEMBER_ID_LENGTH + 1];
        b24bg_portal_id_t id = {0, portal_id(text, number), 0};
        b24bg_portal_counts_t portal;
        b24bg_table_request_t request;
        apr_snprintf(domain, sizeof(domain), "p%032x.example", number);
        request = accepted(b24bg_table_portal(table, &id, domain, NOW + i), NOW + i);
        b24bg_table_count(table, &request);
        if (b24bg_table_read_portal(table, 1 + i % FEW_PLACES, NOW, &portal)) {
            apr_snprintf(domain, sizeof(domain), "p%s.example", portal.member_id);
            if (strlen(portal.member_id) != B24BG_MEMBER_ID_LENGTH ||
                strcmp(portal.domain, domain) != 0 || portal.app != 0) {
                return 1;
            }
        }
    }
    return 0;
}

static void test_processes_recycle(void **state)
{
    b24bg_table_t *table = new_table(FEW_PLACES);
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;
    apr_uint64_t loads = 0;
    apr_uint32_t i;

    (void)state;
    b24bg_table_app(table, "default");
    run_children(recycle, table, 2);
    b24bg_table_read_app(table, unit_pool, 0, &app);
    assert_int_equal(app.reasons[B24BG_REASON_UNKNOWN_PORTAL], 2 * ROUNDS);
    assert_int_equal(shown(table), FEW_PLACES);
    for (i = 1; i <= FEW_PLACES; i++) {
        assert_int_equal(b24bg_table_read_portal(table, i, NOW, &portal), 1);
        loads += portal.loads;
    }
    assert_true(loads > 0 && loads <= 2 * ROUNDS);
    for (i = 0; i < FEW_PLACES; i++) {
        assert_int_not_equal(load(table, 1000000 + i, NOW + ROUNDS + i).slot, 0);
    }
    for (i = 0; i < FEW_PLACES; i++) {
        assert_int_equal(places_of(table, 1000000 + i, &portal), 1);
    }
}

/* Threads of one process, which share the lock's owner. */

typedef struct {
    b24bg_table_t *table;
    apr_uint32_t self;
    int result;
} thread_t;

static void *count_in_thread(void *data)
{
    thread_t *thread = data;

    thread->result = count_shared(thread->table, thread->self);
    return NULL;
}

static int count_in_threads(b24bg_table_t *table, apr_uint32_t self)
{
    thread_t threads[2] = {{table, 2 * self, -1}, {table, 2 * self + 1, -1}};
    pthread_t handles[2];
    int i;

    for (i = 0; i < 2; i++) {
        if (pthread_create(&handles[i], NULL, count_in_thread, &threads[i]) != 0) {
            return 1;
        }
    }
    for (i = 0; i < 2; i++) {
        pthread_join(handles[i], NULL);
    }
    return threads[0].result || threads[1].result;
}

static void test_threads_share(void **state)
{
    b24bg_table_t *table = new_table(SHARED_PORTALS);
    b24bg_portal_counts_t portal;
    apr_uint64_t loads = 0;
    apr_uint32_t i;

    (void)state;
    b24bg_table_app(table, "default");
    run_children(count_in_threads, table, 2);
    assert_int_equal(shown(table), SHARED_PORTALS);
    for (i = 0; i < SHARED_PORTALS; i++) {
        assert_int_equal(places_of(table, i, &portal), 1);
        loads += portal.loads + portal.repeats;
    }
    assert_int_equal(loads, 4 * ROUNDS);
}

/* Writers that are killed */

#define KILL_SECONDS 2
#define KILL_PLACES 8

static void domain_of(char *domain, const char *id)
{
    apr_snprintf(domain, B24BG_DOMAIN_MAX + 1, "p%s.example", id);
}

/* Nothing but insertions, each of which gives a place away. */
static void insert_for_ever(b24bg_table_t *table, apr_uint32_t first)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    char domain[B24BG_DOMAIN_MAX + 1];
    b24bg_portal_id_t id = {0, text, 0};
    apr_uint32_t i;

    for (i = first;; i++) {
        domain_of(domain, portal_id(text, i));
        b24bg_table_portal(table, &id, domain, NOW + i);
    }
}

/* What is shown of a table whose writer died is whole: no id with another one's domain. */
static void assert_nothing_torn(b24bg_table_t *table)
{
    char domain[B24BG_DOMAIN_MAX + 1];
    b24bg_portal_counts_t portal;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(table); slot++) {
        if (b24bg_table_read_portal(table, slot, NOW, &portal) &&
            strcmp(portal.domain, DOMAIN) != 0) {
            domain_of(domain, portal.member_id);
            assert_string_equal(portal.domain, domain);
        }
    }
}

/* Starts a writer and kills it; it stays a zombie, which still counts as alive, until it is waited
 * for: then a lock that it held shows in that nobody gets a place. Returns 1 for such a death. */
static int kill_writer(b24bg_table_t *table, apr_uint32_t number, apr_time_t now)
{
    siginfo_t info;
    int locked;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        insert_for_ever(table, number);
    }
    table_pause(200 + (long)unit_random(800));
    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_nothing_torn(table);
    locked = load(table, number + 99999999, now).slot == 0;
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return locked;
}

/* After each death: a place is to be had at once, is found again, and in the end every place of
 * the table is as good as new. */
static void test_killed_writers(void **state)
{
    b24bg_table_t *table = new_table(KILL_PLACES);
    apr_time_t end = apr_time_now() + KILL_SECONDS * APR_USEC_PER_SEC;
    apr_time_t now = 2 * (apr_time_t)NOW; /* later than all that the writers claim */
    int deaths_inside = 0;
    apr_uint32_t round;

    (void)state;
    alarm(60);
    for (round = 1; apr_time_now() < end; round++) {
        apr_uint32_t number = 0x80000000u + round * 100;
        b24bg_portal_counts_t portal;
        apr_uint32_t i;
        deaths_inside += kill_writer(table, round * 1000000, now);
        for (i = 0; i < KILL_PLACES; i++) {
            b24bg_portal_ref_t ref = load(table, number + i, ++now);
            assert_int_not_equal(ref.slot, 0);
            assert_int_equal(load(table, number + i, now).slot, ref.slot);
        }
        for (i = 0; i < KILL_PLACES; i++) {
            assert_int_equal(places_of(table, number + i, &portal), 1);
            assert_int_not_equal(load(table, number + i, now).slot, 0);
        }
        assert_int_equal(shown(table), KILL_PLACES);
    }
    alarm(0);
    print_message("# %u writers killed, %d of them in the middle of a change\n", round - 1,
                  deaths_inside);
    assert_true(deaths_inside > 0);
}

/* A writer that is stopped, not dead: others go without a place, and quickly. */
static void test_stopped_writer(void **state)
{
    b24bg_table_t *table = new_table(KILL_PLACES);
    int held = 0;
    int round;

    (void)state;
    for (round = 0; round < 200 && held < 3; round++) {
        apr_time_t start;
        siginfo_t info;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            alarm(20);
            insert_for_ever(table, 1);
        }
        table_pause(300 + (long)unit_random(300));
        kill(pid, SIGSTOP);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
        start = apr_time_now();
        if (load(table, 0x80000000u + (apr_uint32_t)round, NOW).slot == 0) {
            held++;
            assert_true(apr_time_now() - start < APR_USEC_PER_SEC); /* on a busy machine too */
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_not_equal(load(table, 0x90000000u + (apr_uint32_t)round, NOW).slot, 0);
    }
    assert_true(held > 0);
}

static void dead_notices_are_told_of_once_a_minute(void **state)
{
    b24bg_table_t *table = new_table(4);
    apr_time_t now = apr_time_from_sec(1761990000);
    apr_uint64_t count = 0;
    int i;

    (void)state;
    b24bg_table_count_notice(table, 0, B24BG_NOTICE_DEAD);
    assert_int_equal(1, b24bg_table_claim_dead_notices(table, 0, now, &count));
    assert_int_equal(1, count);
    for (i = 0; i < 5; i++) {
        b24bg_table_count_notice(table, 0, B24BG_NOTICE_DEAD);
        b24bg_table_count_notice(table, 0, B24BG_NOTICE_LIVE);
        assert_int_equal(0, b24bg_table_claim_dead_notices(table, 0, now + i, &count));
    }
    now += B24BG_TABLE_DEAD_EVERY;
    assert_int_equal(1, b24bg_table_claim_dead_notices(table, 0, now, &count));
    assert_int_equal(5, count);
    assert_int_equal(1, b24bg_table_claim_dead_notices(table, 0, now - 1, &count)); /* set back */
    assert_int_equal(0, count);
}

int main(void)
{
    UNIT_ADD(dead_notices_are_told_of_once_a_minute);
    UNIT_ADD(test_bytes_per_portal);
    UNIT_ADD(test_size_grows);
    UNIT_ADD(test_memory_is_enough);
    UNIT_ADD(test_largest);
    UNIT_ADD(test_apps);
    UNIT_ADD(test_app_longest_name);
    UNIT_ADD(test_kind_names);
    UNIT_ADD(test_count_every_reason);
    UNIT_ADD_ROWS(test_server_time, buckets);
    UNIT_ADD(test_count_portal);
    UNIT_ADD(test_count_without_place);
    UNIT_ADD(test_same_portal_same_place);
    UNIT_ADD(test_lookup_changes_nothing);
    UNIT_ADD(test_apps_apart);
    UNIT_ADD(test_longest_domain);
    UNIT_ADD(test_stale_reference);
    UNIT_ADD(test_heir_starts_at_zero);
    UNIT_ADD(test_capacity_one);
    UNIT_ADD_ROWS(test_recycling_is_exact, exact);
    UNIT_ADD(test_window);
    UNIT_ADD(test_window_wraps);
    UNIT_ADD(test_busy_portal_stays);
    UNIT_ADD(test_collisions);
    UNIT_ADD(test_other_key);
    UNIT_ADD(test_seen);
    UNIT_ADD(test_seen_odd_renders);
    UNIT_ADD(test_seen_newest);
    UNIT_ADD(test_seen_depth);
    UNIT_ADD(test_known_keeps_its_place);
    UNIT_ADD(test_known_where_it_was);
    UNIT_ADD(test_full_of_known);
    UNIT_ADD(test_unknown_again);
    UNIT_ADD(test_trust);
    UNIT_ADD(test_trust_in_a_lost_place);
    UNIT_ADD(test_count_installs);
    UNIT_ADD(test_personal_place);
    UNIT_ADD(test_users_make_no_places);
    UNIT_ADD(test_many_users);
    UNIT_ADD(test_personal_unknown_again);
    UNIT_ADD(test_known_is_shown);
    UNIT_ADD(test_processes_share);
    UNIT_ADD(test_processes_recycle);
    UNIT_ADD(test_threads_share);
    UNIT_ADD(test_killed_writers);
    UNIT_ADD(test_stopped_writer);
    return unit_run("table");
}
