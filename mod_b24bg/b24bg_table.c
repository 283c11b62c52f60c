#include "b24bg_table.h"

#include <apr_siphash.h>
#include <apr_strings.h>

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Places looked at for one to recycle: bounds what a made-up member_id can cost to about 10 us. */
#define RECYCLE_WINDOW 256
/* Steps along one chain. With two heads per place chains have one or two links; the bound only
 * keeps a reader finite that strays into another chain while a place changes hands. */
#define CHAIN_MAX 256
/* Seconds after which a lock that is held for microseconds is nobody's. */
#define LOCK_ABANDONED 60
/* Attempts at the lock, a yield of the processor apart: about 50 us in all. */
#define LOCK_TRIES 100
/* Renders are remembered in sets of one cache line. */
#define RENDER_WAYS 8
#define RENDERS_PER_PORTAL 16
#define RENDER_SETS_MIN 256

typedef _Atomic apr_uint64_t counter_t;

typedef struct {
    char name[B24BG_TABLE_LABEL_SIZE];
    counter_t requests[B24BG_KIND_COUNT][B24BG_VERDICT_COUNT];
    counter_t reasons[B24BG_REASON_COUNT];
    counter_t repeats;
    counter_t broken_options;
    counter_t installs[2];
    counter_t server_time[B24BG_SERVER_TIME_BUCKETS];
    counter_t server_time_sum;
} app_row_t;

/* A place. `generation` is odd while the place changes hands; readers compare it before and after
 * they read. `bucket` is the chain it hangs in, or hung in when a writer died. */
typedef struct {
    _Atomic apr_uint32_t generation;
    _Atomic apr_uint32_t next; /* slot number, 0 ends the chain */
    apr_uint32_t bucket;
    apr_int32_t app;
    apr_uint32_t known; /* a portal of the store: never recycled */
    apr_uint32_t http;  /* its origin is http, not https */
    apr_uint64_t token; /* keyed hash of its application token, 0: none */
    _Atomic apr_int64_t last_load;
    counter_t loads;
    counter_t repeats;
    char member_id[B24BG_MEMBER_ID_LENGTH + 1];
    char domain[B24BG_DOMAIN_MAX + 1];
} slot_t;

typedef struct {
    _Atomic apr_uint64_t way[RENDER_WAYS];
} render_set_t;

struct b24bg_table_t {
    unsigned char key[APR_SIPHASH_KSIZE];
    apr_uint32_t capacity;
    apr_uint32_t heads;          /* power of two */
    apr_uint32_t render_sets;    /* power of two */
    _Atomic apr_uint64_t writer; /* who changes the set of portals, since when */
    _Atomic apr_uint32_t used;   /* places ever taken */
    _Atomic apr_uint32_t known;  /* places of portals of the store */
    counter_t turned_away;
    _Atomic apr_uint32_t hand; /* where the next search for a place starts */
    app_row_t apps[B24BG_TABLE_APPS_MAX];
};

/* Whoever changes these numbers changes B24BG_TABLE_LAYOUT with them: at a reload another version
 * of the module would misread what this one has left. */
static_assert(sizeof(void *) != 8 || sizeof(b24bg_table_t) == 35904, "see above");
static_assert(sizeof(void *) != 8 || sizeof(slot_t) == 352, "see above");
/* Behind the table: renders, heads, slots, in falling alignment. */
static_assert(sizeof(app_row_t) <= 1024, "an app takes 1 KiB");
static_assert(sizeof(slot_t) + 2 * 2 * sizeof(apr_uint32_t) +
                      2 * RENDERS_PER_PORTAL * sizeof(apr_uint64_t) <=
                  B24BG_TABLE_BYTES_PER_PORTAL_MAX,
              "a portal takes 1 KiB, heads and renders rounded up to powers of two included");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters are shared between processes");

static const apr_time_t server_time_bounds[] = B24BG_SERVER_TIME_BOUNDS;
static_assert(sizeof(server_time_bounds) / sizeof(apr_time_t) == B24BG_SERVER_TIME_BUCKETS - 1,
              "one bucket more than bounds");

#define KIND_NAME(id, name) name,
static const char *const kind_names[] = {B24BG_KIND_LIST(KIND_NAME)};

const char *b24bg_kind_name(b24bg_kind_e kind)
{
    return kind_names[kind];
}

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
    apr_uint32_t sets = power_of_two(portals) * (RENDERS_PER_PORTAL / RENDER_WAYS);

    return sets > RENDER_SETS_MIN ? sets : RENDER_SETS_MIN;
}

static apr_size_t header_size(void)
{
    return APR_ALIGN(sizeof(b24bg_table_t), 64);
}

static render_set_t *renders(b24bg_table_t *table)
{
    return (render_set_t *)((char *)table + header_size());
}

static slot_t *slots(b24bg_table_t *table)
{
    return (slot_t *)(renders(table) + table->render_sets);
}

static _Atomic apr_uint32_t *heads(b24bg_table_t *table)
{
    return (_Atomic apr_uint32_t *)(slots(table) + table->capacity);
}

apr_size_t b24bg_table_size(apr_uint32_t portals)
{
    return header_size() + (apr_size_t)render_sets_for(portals) * sizeof(render_set_t) +
           (apr_size_t)portals * sizeof(slot_t) +
           (apr_size_t)heads_for(portals) * sizeof(apr_uint32_t);
}

b24bg_table_t *b24bg_table_create(void *base, apr_uint32_t portals, const unsigned char *key)
{
    b24bg_table_t *table = base;

    memcpy(table->key, key, sizeof(table->key));
    table->capacity = portals;
    table->heads = heads_for(portals);
    table->render_sets = render_sets_for(portals);
    return table;
}

apr_uint32_t b24bg_table_capacity(const b24bg_table_t *table)
{
    return table->capacity;
}

int b24bg_table_app(b24bg_table_t *table, const char *name)
{
    int row;

    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        app_row_t *app = &table->apps[row];
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

/* Adding and finding */

static void add(counter_t *counter, apr_uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static apr_uint32_t bucket_of(b24bg_table_t *table, int app, const char *member_id)
{
    apr_uint64_t hash = apr_siphash24(member_id, B24BG_MEMBER_ID_LENGTH, table->key);

    return (apr_uint32_t)(hash + (apr_uint64_t)app) & (table->heads - 1);
}

/* 0 if this is not the portal's place, or it changed hands while we looked. */
static apr_uint32_t matches(slot_t *slot, int app, const char *member_id, apr_uint32_t *generation)
{
    apr_uint32_t before = atomic_load_explicit(&slot->generation, memory_order_acquire);
    int same = slot->app == app && memcmp(slot->member_id, member_id, B24BG_MEMBER_ID_LENGTH) == 0;

    atomic_thread_fence(memory_order_acquire);
    *generation = before;
    return same && !(before & 1) &&
           atomic_load_explicit(&slot->generation, memory_order_relaxed) == before;
}

static b24bg_portal_ref_t find(b24bg_table_t *table, apr_uint32_t bucket, int app,
                               const char *member_id)
{
    b24bg_portal_ref_t ref = {0, 0};
    apr_uint32_t number = atomic_load_explicit(&heads(table)[bucket], memory_order_acquire);
    int steps;

    for (steps = 0; number && steps < CHAIN_MAX; steps++) {
        slot_t *slot = &slots(table)[number - 1];
        if (matches(slot, app, member_id, &ref.generation)) {
            ref.slot = number;
            return ref;
        }
        number = atomic_load_explicit(&slot->next, memory_order_acquire);
    }
    return ref;
}

/* Changing the set of portals: one writer at a time */

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
        known += slots(table)[i].known;
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

/* A change takes microseconds, so a few turns of the processor are enough unless its writer was
 * stopped in the middle; then we go without. Returns what unlock needs, or 0. */
static apr_uint64_t try_lock(b24bg_table_t *table)
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
static void unlock(b24bg_table_t *table, apr_uint64_t mine)
{
    atomic_compare_exchange_strong(&table->writer, &mine, 0);
}

static void unlink_slot(b24bg_table_t *table, apr_uint32_t number)
{
    slot_t *slot = &slots(table)[number - 1];
    _Atomic apr_uint32_t *link = &heads(table)[slot->bucket];
    int steps;

    for (steps = 0; *link && steps < CHAIN_MAX; steps++) {
        if (*link == number) {
            *link = slot->next;
            return;
        }
        link = &slots(table)[*link - 1].next;
    }
}

/* The place to give away: a new one, else the unknown one loaded longest ago within the window;
 * 0 if there is none. One that a dead writer left half-made is as good. */
static apr_uint32_t choose(b24bg_table_t *table, apr_uint32_t window)
{
    apr_uint32_t best = 0;
    apr_int64_t oldest = APR_INT64_MAX;
    apr_uint32_t i;

    if (table->used < table->capacity) {
        return ++table->used;
    }
    window = table->capacity < window ? table->capacity : window;
    for (i = 0; i < window; i++) {
        apr_uint32_t number = (table->hand + i) % table->capacity + 1;
        slot_t *slot = &slots(table)[number - 1];
        int dead = slot->generation & 1;
        if ((!slot->known || dead) && slot->last_load < oldest) {
            oldest = slot->last_load;
            best = number;
        }
    }
    table->hand = (table->hand + window) % table->capacity;
    return best;
}

/* Readers that see anything of what is written next see the odd generation, too. */
static void begin_change(slot_t *slot)
{
    atomic_fetch_or(&slot->generation, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Begins to give a place to another portal. The order of the steps is what makes a death between
 * any two of them harmless: the place is out of its old chain before its key changes, and in its
 * new one (take_over_end) only when it is whole. */
static slot_t *take_over_begin(b24bg_table_t *table, apr_uint32_t number, int app,
                               const char *member_id)
{
    slot_t *slot = &slots(table)[number - 1];

    begin_change(slot);
    slot->last_load = 0;
    unlink_slot(table, number);
    table->known -= slot->known;
    slot->known = 0;
    slot->app = app;
    apr_cpystrn(slot->member_id, member_id, sizeof(slot->member_id));
    slot->token = 0;
    slot->http = 0;
    slot->loads = 0;
    slot->repeats = 0;
    return slot;
}

static void take_over_end(b24bg_table_t *table, apr_uint32_t number, apr_uint32_t bucket)
{
    slot_t *slot = &slots(table)[number - 1];

    slot->bucket = bucket;
    slot->generation++;
    slot->next = heads(table)[bucket];
    heads(table)[bucket] = number;
}

b24bg_portal_ref_t b24bg_table_find(b24bg_table_t *table, int app, const char *member_id)
{
    return find(table, bucket_of(table, app, member_id), app, member_id);
}

b24bg_portal_ref_t b24bg_table_portal(b24bg_table_t *table, int app, const char *member_id,
                                      const char *domain, apr_time_t now)
{
    apr_uint32_t bucket = bucket_of(table, app, member_id);
    b24bg_portal_ref_t ref = find(table, bucket, app, member_id);
    apr_uint64_t lock;

    if (!ref.slot && table->known >= table->capacity) {
        add(&table->turned_away, 1);
        return ref;
    }
    if (ref.slot || !(lock = try_lock(table))) {
        return ref;
    }
    ref = find(table, bucket, app, member_id);
    if (!ref.slot && (ref.slot = choose(table, RECYCLE_WINDOW)) != 0) {
        slot_t *slot = take_over_begin(table, ref.slot, app, member_id);
        apr_cpystrn(slot->domain, domain, sizeof(slot->domain));
        slot->last_load = now;
        take_over_end(table, ref.slot, bucket);
        ref.generation = slot->generation;
    }
    unlock(table, lock);
    return ref;
}

/* Portals of the store */

static apr_uint64_t token_hash(b24bg_table_t *table, const char *token)
{
    apr_uint64_t hash;

    if (!token || !*token) {
        return 0;
    }
    hash = apr_siphash24(token, strlen(token), table->key);
    return hash + (hash == 0);
}

/* Writes what the store knows, and nothing if it is there already: a place that is written is
 * lost, for their counts, to the requests that hold a reference to it. */
static void update_known(b24bg_table_t *table, slot_t *slot, const b24bg_known_portal_t *portal)
{
    const char *domain = strstr(portal->origin, "://") + 3;
    apr_uint32_t http = strncmp(portal->origin, "http:", 5) == 0;
    apr_uint64_t token = token_hash(table, portal->application_token);

    if (slot->known && slot->http == http && slot->token == token &&
        strcmp(slot->domain, domain) == 0) {
        return;
    }
    table->known += !slot->known;
    slot->known = 1;
    begin_change(slot);
    slot->http = http;
    slot->token = token;
    apr_cpystrn(slot->domain, domain, sizeof(slot->domain));
    slot->generation++;
}

int b24bg_table_know(b24bg_table_t *table, const b24bg_known_portal_t *portal)
{
    apr_uint32_t bucket = bucket_of(table, portal->app, portal->member_id);
    apr_uint64_t lock = try_lock(table);
    b24bg_portal_ref_t ref;
    slot_t *slot;

    if (!lock) {
        return 0;
    }
    ref = find(table, bucket, portal->app, portal->member_id);
    if (!ref.slot && (ref.slot = choose(table, table->capacity)) != 0) {
        take_over_begin(table, ref.slot, portal->app, portal->member_id);
        take_over_end(table, ref.slot, bucket);
    }
    if (ref.slot) {
        slot = &slots(table)[ref.slot - 1];
        update_known(table, slot, portal);
        slot->last_load = slot->last_load > portal->last_load ? slot->last_load : portal->last_load;
        slot->loads = slot->loads > portal->loads ? slot->loads : portal->loads;
    }
    unlock(table, lock);
    return ref.slot ? 1 : -1;
}

int b24bg_table_unknow(b24bg_table_t *table, int app, const char *member_id)
{
    apr_uint64_t lock = try_lock(table);
    b24bg_portal_ref_t ref;

    if (!lock) {
        return 0;
    }
    ref = b24bg_table_find(table, app, member_id);
    if (ref.slot) {
        slot_t *slot = &slots(table)[ref.slot - 1];
        table->known -= slot->known;
        slot->known = 0;
        slot->token = 0;
    }
    unlock(table, lock);
    return 1;
}

b24bg_trust_e b24bg_table_trust(b24bg_table_t *table, b24bg_portal_ref_t portal, const char *token,
                                char *origin)
{
    slot_t *slot;
    apr_uint64_t expected;

    if (!portal.slot) {
        return B24BG_TRUST_UNKNOWN;
    }
    slot = &slots(table)[portal.slot - 1];
    expected = slot->token;
    if (!slot->known || !expected) {
        return B24BG_TRUST_UNKNOWN;
    }
    if (slot->generation != portal.generation) {
        return B24BG_TRUST_UNKNOWN; /* it is another portal's place by now */
    }
    if (token_hash(table, token) != expected) {
        return B24BG_TRUST_BAD_TOKEN;
    }
    apr_cpystrn(apr_cpystrn(origin, slot->http ? "http://" : "https://", 9), slot->domain,
                sizeof(slot->domain));
    atomic_thread_fence(memory_order_acquire);
    if (slot->generation != portal.generation) {
        return B24BG_TRUST_UNKNOWN; /* it changed while we read */
    }
    return B24BG_TRUST_PROVEN;
}

apr_uint64_t b24bg_table_turned_away(b24bg_table_t *table)
{
    return table->turned_away;
}

/* The newest render goes to the front of its set and the oldest falls out. Two requests that do
 * this at once may lose one render: the price is one repeat counted as a load. */
int b24bg_table_seen(b24bg_table_t *table, int app, const char *member_id, const char *app_sid)
{
    unsigned char text[B24BG_MEMBER_ID_LENGTH + 2 + 64];
    apr_size_t length = strlen(app_sid);
    apr_uint64_t mark;
    render_set_t *set;
    int way;

    length = length < 64 ? length : 64;
    memcpy(text, member_id, B24BG_MEMBER_ID_LENGTH);
    text[B24BG_MEMBER_ID_LENGTH] = (unsigned char)app;
    memcpy(text + B24BG_MEMBER_ID_LENGTH + 1, app_sid, length);
    mark = apr_siphash24(text, B24BG_MEMBER_ID_LENGTH + 1 + length, table->key);
    mark += mark == 0; /* 0 is an empty way */
    set = &renders(table)[mark & (table->render_sets - 1)];
    for (way = 0; way < RENDER_WAYS; way++) {
        if (atomic_load_explicit(&set->way[way], memory_order_relaxed) == mark) {
            return 1;
        }
    }
    for (way = RENDER_WAYS - 1; way > 0; way--) {
        atomic_store_explicit(&set->way[way],
                              atomic_load_explicit(&set->way[way - 1], memory_order_relaxed),
                              memory_order_relaxed);
    }
    atomic_store_explicit(&set->way[0], mark, memory_order_relaxed);
    return 0;
}

/* Counting */

static int server_time_bucket(apr_interval_time_t time)
{
    int bucket = 0;

    while (bucket < B24BG_SERVER_TIME_BUCKETS - 1 && time > server_time_bounds[bucket]) {
        bucket++;
    }
    return bucket;
}

static void count_portal(b24bg_table_t *table, const b24bg_table_request_t *request)
{
    slot_t *slot = &slots(table)[request->portal.slot - 1];

    if (slot->generation != request->portal.generation) {
        return;
    }
    if (request->is_load) {
        add(&slot->loads, 1);
        atomic_store_explicit(&slot->last_load, request->now, memory_order_relaxed);
    }
    add(&slot->repeats, (apr_uint64_t)request->is_repeat);
}

void b24bg_table_count(b24bg_table_t *table, const b24bg_table_request_t *request)
{
    app_row_t *app = &table->apps[request->app];
    apr_interval_time_t time = request->server_time > 0 ? request->server_time : 0;

    add(&app->requests[request->kind][b24bg_reason(request->reason)->verdict], 1);
    add(&app->reasons[request->reason], 1);
    add(&app->server_time[server_time_bucket(time)], 1);
    add(&app->server_time_sum, (apr_uint64_t)time);
    if (request->is_repeat) {
        add(&app->repeats, 1);
    }
    if (request->broken_options) {
        add(&app->broken_options, 1);
    }
    if (request->portal.slot) {
        count_portal(table, request);
    }
}

void b24bg_table_count_install(b24bg_table_t *table, int app, int verified)
{
    add(&table->apps[app].installs[verified], 1);
}

/* Showing */

static void read_counters(apr_uint64_t *to, counter_t *from, apr_size_t count)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        to[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    }
}

int b24bg_table_read_app(b24bg_table_t *table, apr_pool_t *pool, int row,
                         b24bg_app_counts_t *counts)
{
    app_row_t *app = &table->apps[row];

    if (!app->name[0]) {
        return 0;
    }
    counts->name = apr_pstrdup(pool, app->name);
    read_counters(counts->requests[0], app->requests[0], B24BG_KIND_COUNT * B24BG_VERDICT_COUNT);
    read_counters(counts->reasons, app->reasons, B24BG_REASON_COUNT);
    read_counters(&counts->repeats, &app->repeats, 1);
    read_counters(&counts->broken_options, &app->broken_options, 1);
    read_counters(counts->installs, app->installs, 2);
    read_counters(counts->server_time, app->server_time, B24BG_SERVER_TIME_BUCKETS);
    read_counters(&counts->server_time_sum, &app->server_time_sum, 1);
    return 1;
}

int b24bg_table_read_portal(b24bg_table_t *table, apr_uint32_t number,
                            b24bg_portal_counts_t *counts)
{
    slot_t *slot = &slots(table)[number - 1];
    apr_uint32_t before = atomic_load_explicit(&slot->generation, memory_order_acquire);

    if (before == 0 || (before & 1)) {
        return 0;
    }
    counts->app = slot->app;
    memcpy(counts->member_id, slot->member_id, sizeof(counts->member_id));
    memcpy(counts->domain, slot->domain, sizeof(counts->domain));
    counts->last_load = slot->last_load;
    counts->loads = slot->loads;
    counts->repeats = slot->repeats;
    counts->known = (int)slot->known;
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->generation, memory_order_relaxed) == before;
}
