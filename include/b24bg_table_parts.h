/* What the files of b24bg_table share: how the memory is laid out, and its lock.
 *
 *   b24bg_table.c         memory, apps, the lock, names
 *   b24bg_table_places.c  finding a place, giving it away, portals of the store
 *   b24bg_table_keys.c    keys of error URLs
 *   b24bg_table_count.c   counters, histograms, beacons, renders, loads of late
 *   b24bg_table_budget.c  windows of slow loads and the warnings in them
 *   b24bg_table_show.c    what is shown of registrations and of the task; reading
 *
 * Pure. For b24bg_table*.c alone; everybody else asks b24bg_table.h. Thread: any, unless a function
 * says otherwise.
 */
#ifndef B24BG_TABLE_PARTS_H
#define B24BG_TABLE_PARTS_H

#include "b24bg_table.h"

#include <apr_siphash.h>

#include <assert.h>
#include <stdatomic.h>

/* Renders, and tags whose beacons were counted, are remembered in sets of one cache line. */
#define B24BG_TABLE_SET_WAYS 8
#define B24BG_TABLE_RENDERS_PER_PORTAL 16
#define B24BG_TABLE_TAGS_PER_PORTAL 6
/* A key lies in one of two sets, in any cell of it: spread so evenly, keys fill four fifths of all
 * cells before one finds none. */
#define B24BG_TABLE_KEY_WAYS 16
#define B24BG_TABLE_KEYS_PER_PORTAL 2
#define B24BG_TABLE_KEYS_MIN 4096
/* Loads of late: counts of ten minutes each. A power of two above the seven that make an hour. */
#define B24BG_TABLE_PERIOD apr_time_from_sec(600)
#define B24BG_TABLE_PERIODS 8
#define B24BG_TABLE_PERIODS_IN_HOUR 6
/* Times that are kept in 32 bits are seconds since 2020, which lasts until 2156. */
#define B24BG_TABLE_EPOCH 1577836800

typedef _Atomic apr_uint64_t b24bg_counter_t;

typedef struct {
    char name[B24BG_TABLE_LABEL_SIZE];
    b24bg_counter_t requests[B24BG_KIND_COUNT][B24BG_VERDICT_COUNT];
    b24bg_counter_t reasons[B24BG_REASON_COUNT];
    b24bg_counter_t repeats;
    b24bg_counter_t broken_options;
    b24bg_counter_t installs[2];
    b24bg_counter_t notices[B24BG_NOTICE_COUNT];
    b24bg_counter_t rebinds[B24BG_REBIND_COUNT];
    b24bg_counter_t refreshes[B24BG_REFRESH_COUNT];
    b24bg_counter_t slow_loads[B24BG_BUDGET_COUNT];
    b24bg_counter_t server_time[B24BG_SERVER_TIME_BUCKETS];
    b24bg_counter_t server_time_sum;
    b24bg_counter_t load_time[B24BG_LOAD_TIME_BUCKETS];
    b24bg_counter_t load_time_sum;
    b24bg_counter_t beacons;
    b24bg_counter_t failed_scripts;
    _Atomic apr_int64_t dead_told; /* when notices without a live key were told of last, */
    b24bg_counter_t dead_told_of;  /* and how many there had been */
    _Atomic apr_uint32_t framing_claimed;
} b24bg_table_app_t;

/* Written by the background task under the lock. `version` is odd meanwhile; readers compare it
 * before and after they read. Times in seconds since 2020. */
typedef struct {
    _Atomic apr_uint32_t version;
    unsigned char has;
    unsigned char state;
    unsigned char reason;
    unsigned char event_count;
    apr_uint32_t since;
    apr_uint32_t checked;
    apr_uint32_t due;
    apr_uint32_t noticed;
    apr_uint32_t rebound;
    apr_uint32_t event_at[B24BG_TABLE_EVENTS];
    apr_uint16_t event_number[B24BG_TABLE_EVENTS];
    unsigned char event[B24BG_TABLE_EVENTS];
} b24bg_table_shown_t;

/* A place. `generation` is odd while the place changes hands; readers compare it before and after
 * they read. `bucket` is the chain it hangs in, or hung in when a writer died. A load touches three
 * cache lines: the first is all that finding needs, the second begins with what is counted and
 * holds all but the longest domains, the third is that of its ten minutes. */
typedef struct {
    _Atomic apr_uint32_t generation;
    _Atomic apr_uint32_t next; /* number of a place, 0 ends the chain */
    apr_uint32_t bucket;
    signed char app;
    _Atomic unsigned char restored; /* budgets come from the store no more */
    unsigned char known;            /* a portal of the store: never recycled */
    unsigned char http;             /* its origin is http, not https */
    apr_int64_t user;
    char member_id[B24BG_MEMBER_ID_LENGTH]; /* without a NUL */
    apr_uint64_t token;                     /* keyed hash of its application token, 0: none */

    _Atomic apr_int64_t last_load;
    b24bg_counter_t served;            /* loads that were counted here */
    _Atomic apr_uint32_t budget_since; /* loads that began before are of an older registration */
    char domain[B24BG_DOMAIN_MAX + 1];

    b24bg_counter_t recent[B24BG_TABLE_PERIODS]; /* period << 32 | count */

    _Atomic apr_uint32_t repeats;
    _Atomic apr_uint32_t elsewhere; /* loads that the store knows of beside those served */
    b24bg_counter_t beacons;
    b24bg_counter_t budgets[B24BG_BUDGET_COUNT]; /* see b24bg_table_budget.c */
    b24bg_counter_t warned;                      /* start of a window << 32 | number told of by
                                                    the task << 16 | by a request */
    _Atomic apr_uint32_t silence;                /* the last load whose silence was reported */
    _Atomic apr_uint32_t frames_told;            /* when it was last told of that they do not run */
    _Atomic apr_uint32_t tokens;
    apr_uint32_t tenure; /* how often the place was given away; unlike generation not how often its
                            portal was brought up to date */
    b24bg_table_shown_t shown;
} b24bg_table_place_t;

typedef struct {
    b24bg_counter_t way[B24BG_TABLE_SET_WAYS];
} b24bg_table_set_t;

typedef struct {
    b24bg_counter_t mark;  /* keyed hash of the key's hash, 0: empty */
    b24bg_counter_t place; /* its number << 32 | tenure */
} b24bg_table_key_t;

typedef struct {
    b24bg_table_key_t way[B24BG_TABLE_KEY_WAYS];
} b24bg_table_keys_t;

struct b24bg_table_t {
    unsigned char key[APR_SIPHASH_KSIZE];
    apr_uint32_t capacity;
    apr_uint32_t heads;          /* power of two */
    apr_uint32_t render_sets;    /* and fewer of tags: b24bg_table_tag_sets */
    apr_uint32_t key_sets;       /* power of two */
    _Atomic apr_uint64_t writer; /* who changes the set of places, since when */
    _Atomic apr_uint32_t used;   /* places ever taken */
    _Atomic apr_uint32_t known;  /* places of portals of the store */
    b24bg_counter_t turned_away;
    _Atomic apr_uint32_t hand;    /* where the next search for a place starts */
    _Atomic apr_int32_t store_up; /* one more than b24bg_table_health_t has it */
    _Atomic apr_int32_t leader;
    _Atomic apr_uint16_t keys_read;
    _Atomic apr_uint16_t early_notices; /* that came before that */
    _Atomic apr_int64_t last_run;
    b24bg_counter_t journal_records;
    b24bg_counter_t inbox;
    b24bg_counter_t alerts[B24BG_ALERTED_COUNT];
    b24bg_table_app_t apps[B24BG_TABLE_APPS_MAX];
};

/* Whoever changes these numbers changes B24BG_TABLE_LAYOUT with them: at a reload another version
 * of the module would misread what this one has left. */
static_assert(sizeof(void *) != 8 || sizeof(b24bg_table_t) == 52352, "see above");
static_assert(sizeof(void *) != 8 || sizeof(b24bg_table_place_t) == 640, "see above");
static_assert(sizeof(b24bg_table_app_t) <= B24BG_TABLE_BYTES_PER_APP_MAX, "an app takes no more");
/* What has a power of two of pieces costs up to twice what is asked for. */
static_assert(sizeof(b24bg_table_place_t) +
                      (B24BG_TABLE_RENDERS_PER_PORTAL + B24BG_TABLE_TAGS_PER_PORTAL) *
                          sizeof(b24bg_counter_t) +
                      2 * (2 * sizeof(apr_uint32_t) +
                           B24BG_TABLE_KEYS_PER_PORTAL * sizeof(b24bg_table_key_t)) <=
                  B24BG_TABLE_BYTES_PER_PORTAL_MAX,
              "a portal takes no more, heads, renders, tags and keys included");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters are shared between processes");

/* Behind the table: renders, tags, places, keys, heads, in falling alignment. */

static inline b24bg_table_set_t *b24bg_table_renders(b24bg_table_t *table)
{
    return (b24bg_table_set_t *)((char *)table + APR_ALIGN(sizeof(b24bg_table_t), 64));
}

static inline apr_uint32_t b24bg_table_tag_sets(apr_uint32_t render_sets)
{
    return render_sets * B24BG_TABLE_TAGS_PER_PORTAL / B24BG_TABLE_RENDERS_PER_PORTAL;
}

static inline b24bg_table_set_t *b24bg_table_tags(b24bg_table_t *table)
{
    return b24bg_table_renders(table) + table->render_sets;
}

static inline b24bg_table_place_t *b24bg_table_places(b24bg_table_t *table)
{
    return (b24bg_table_place_t *)(b24bg_table_tags(table) +
                                   b24bg_table_tag_sets(table->render_sets));
}

static inline b24bg_table_keys_t *b24bg_table_keys(b24bg_table_t *table)
{
    return (b24bg_table_keys_t *)(b24bg_table_places(table) + table->capacity);
}

static inline _Atomic apr_uint32_t *b24bg_table_heads(b24bg_table_t *table)
{
    return (_Atomic apr_uint32_t *)(b24bg_table_keys(table) + table->key_sets);
}

/* Places are counted from 1. */
static inline b24bg_table_place_t *b24bg_table_place(b24bg_table_t *table, apr_uint32_t number)
{
    return &b24bg_table_places(table)[number - 1];
}

/* The place, or NULL if the reference is stale or none. */
static inline b24bg_table_place_t *b24bg_table_held(b24bg_table_t *table, b24bg_portal_ref_t portal)
{
    b24bg_table_place_t *place;

    if (portal.slot == 0 || portal.slot > table->capacity) {
        return NULL;
    }
    place = b24bg_table_place(table, portal.slot);
    return place->generation == portal.generation ? place : NULL;
}

static inline void b24bg_counter_add(b24bg_counter_t *counter, apr_uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static inline apr_uint64_t b24bg_counter_read(b24bg_counter_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Replaces *before by `after`; where another thread was faster *before is what it has made of it,
 * and 0 is returned. */
static inline int b24bg_counter_replace(b24bg_counter_t *counter, apr_uint64_t *before,
                                        apr_uint64_t after)
{
    return atomic_compare_exchange_strong_explicit(counter, before, after, memory_order_relaxed,
                                                   memory_order_relaxed);
}

/* 0 stays 0; what lies before 2020 is its first second. */
static inline apr_uint32_t b24bg_table_seconds(apr_time_t time)
{
    apr_int64_t seconds = apr_time_sec(time) - B24BG_TABLE_EPOCH;

    return time == 0 ? 0 : seconds > 0 ? (apr_uint32_t)seconds : 1;
}

static inline apr_time_t b24bg_table_time(apr_uint32_t seconds)
{
    return seconds ? apr_time_from_sec((apr_time_t)seconds + B24BG_TABLE_EPOCH) : 0;
}

/* The table's keyed hash, never 0. */
static inline apr_uint64_t b24bg_table_mark(b24bg_table_t *table, const void *bytes,
                                            apr_size_t length)
{
    apr_uint64_t hash = apr_siphash24(bytes, length, table->key);

    return hash + (hash == 0);
}

/* Lets one writer in at a time. Waits some 50 us at most: a change takes microseconds, unless its
 * writer was stopped in the middle. Returns what unlock needs, or 0. */
apr_uint64_t b24bg_table_lock(b24bg_table_t *table);
void b24bg_table_unlock(b24bg_table_t *table, apr_uint64_t mine);

/* Loads in the hour before `last_load`. */
apr_uint64_t b24bg_table_recent(b24bg_table_place_t *place, apr_time_t last_load);
/* Takes it over from the store, into a place that has none. */
void b24bg_table_recent_restore(b24bg_table_place_t *place, apr_time_t last_load,
                                apr_uint64_t recent);

/* A slow load of the app, and of the place's budget where it has one (NULL: none). */
void b24bg_table_slow(b24bg_table_t *table, int app, b24bg_table_place_t *place,
                      b24bg_budget_source_e source, apr_time_t now);
/* All three at `now`. */
void b24bg_table_budgets(b24bg_table_place_t *place, apr_time_t now,
                         b24bg_budget_t budgets[B24BG_BUDGET_COUNT]);

/* For a place that changes hands. Caller has the lock. */
void b24bg_table_show_nothing(b24bg_table_place_t *place);

#endif
