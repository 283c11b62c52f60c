#include "b24bg_table_parts.h"

#include <apr_strings.h>

#include <string.h>

/* Places looked at for one to recycle: bounds what a made-up member_id can cost to about 10 us. */
#define RECYCLE_WINDOW 256
/* Steps along one chain. With two heads per place chains have one or two links; the bound only
 * keeps a reader finite that strays into another chain while a place changes hands. */
#define CHAIN_MAX 256
/* Spreads the users of one portal over the chains. Odd; nobody chooses who gets a place of his own,
 * so it need not be secret. */
#define USER_SPREAD 0x9e3779b97f4a7c15

/* Finding */

static apr_uint32_t bucket_of(b24bg_table_t *table, const b24bg_portal_id_t *id)
{
    apr_uint64_t hash = apr_siphash24(id->member_id, B24BG_MEMBER_ID_LENGTH, table->key);

    hash += (apr_uint64_t)id->app + (apr_uint64_t)id->user * USER_SPREAD;
    return (apr_uint32_t)hash & (table->heads - 1);
}

/* 0 if this is not the portal's place, or it changed hands while we looked. */
static int matches(b24bg_table_place_t *place, const b24bg_portal_id_t *id,
                   apr_uint32_t *generation)
{
    apr_uint32_t before = atomic_load_explicit(&place->generation, memory_order_acquire);
    int same = place->app == id->app && place->user == id->user &&
               memcmp(place->member_id, id->member_id, B24BG_MEMBER_ID_LENGTH) == 0;

    atomic_thread_fence(memory_order_acquire);
    *generation = before;
    return same && !(before & 1) &&
           atomic_load_explicit(&place->generation, memory_order_relaxed) == before;
}

static b24bg_portal_ref_t find(b24bg_table_t *table, apr_uint32_t bucket,
                               const b24bg_portal_id_t *id)
{
    b24bg_portal_ref_t ref = {0, 0};
    apr_uint32_t number =
        atomic_load_explicit(&b24bg_table_heads(table)[bucket], memory_order_acquire);
    int steps;

    for (steps = 0; number && steps < CHAIN_MAX; steps++) {
        b24bg_table_place_t *place = b24bg_table_place(table, number);
        if (matches(place, id, &ref.generation)) {
            ref.slot = number;
            return ref;
        }
        number = atomic_load_explicit(&place->next, memory_order_acquire);
    }
    return ref;
}

b24bg_portal_ref_t b24bg_table_find(b24bg_table_t *table, const b24bg_portal_id_t *id)
{
    return find(table, bucket_of(table, id), id);
}

/* Changing the set of places: under the lock */

static void unlink_place(b24bg_table_t *table, apr_uint32_t number)
{
    b24bg_table_place_t *place = b24bg_table_place(table, number);
    _Atomic apr_uint32_t *link = &b24bg_table_heads(table)[place->bucket];
    int steps;

    for (steps = 0; *link && steps < CHAIN_MAX; steps++) {
        if (*link == number) {
            *link = place->next;
            return;
        }
        link = &b24bg_table_place(table, *link)->next;
    }
}

/* The place to give away: a new one, else the unknown one loaded longest ago within the window;
 * 0 if there is none. One that a dead writer left half-made is as good. */
static apr_uint32_t choose(b24bg_table_t *table, apr_uint32_t window)
{
    apr_uint32_t best = 0;
    apr_int64_t oldest = APR_INT64_MAX;
    apr_uint32_t i;

    assert(table->capacity > 0);
    if (table->used < table->capacity) {
        return ++table->used;
    }
    window = table->capacity < window ? table->capacity : window;
    for (i = 0; i < window; i++) {
        apr_uint32_t number = (table->hand + i) % table->capacity + 1;
        b24bg_table_place_t *place = b24bg_table_place(table, number);
        int dead = place->generation & 1;
        if ((!place->known || dead) && place->last_load < oldest) {
            oldest = place->last_load;
            best = number;
        }
    }
    table->hand = (table->hand + window) % table->capacity;
    return best;
}

/* Readers that see anything of what is written next see the odd generation, too. */
static void begin_change(b24bg_table_place_t *place)
{
    atomic_fetch_or(&place->generation, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

static void forget_counts(b24bg_table_place_t *place)
{
    int i;

    place->served = place->beacons = 0;
    place->repeats = place->elsewhere = 0;
    place->frames_told = 0;
    place->restored = 0;
    for (i = 0; i < B24BG_BUDGET_COUNT; i++) {
        place->budgets[i] = 0;
    }
    place->warned = 0;
    place->budget_since = 0;
    for (i = 0; i < B24BG_TABLE_PERIODS; i++) {
        place->recent[i] = 0;
    }
    place->silence = 0;
}

/* Begins to give a place to another portal. The order of the steps is what makes a death between
 * any two of them harmless: the place is out of its old chain before its key changes, and in its
 * new one (take_over_end) only when it is whole. */
static b24bg_table_place_t *take_over_begin(b24bg_table_t *table, apr_uint32_t number,
                                            const b24bg_portal_id_t *id)
{
    b24bg_table_place_t *place = b24bg_table_place(table, number);

    begin_change(place);
    place->last_load = 0;
    unlink_place(table, number);
    table->known -= place->known;
    place->known = 0;
    place->tenure++;
    place->token = 0;
    place->app = (signed char)id->app;
    place->user = id->user;
    memcpy(place->member_id, id->member_id, B24BG_MEMBER_ID_LENGTH);
    place->http = 0;
    place->tokens = 0;
    forget_counts(place);
    b24bg_table_show_nothing(place);
    return place;
}

static void take_over_end(b24bg_table_t *table, apr_uint32_t number, apr_uint32_t bucket)
{
    b24bg_table_place_t *place = b24bg_table_place(table, number);
    _Atomic apr_uint32_t *head = &b24bg_table_heads(table)[bucket];

    place->bucket = bucket;
    place->generation++;
    place->next = *head;
    *head = number;
}

static b24bg_portal_ref_t find_or_make(b24bg_table_t *table, const b24bg_portal_id_t *id,
                                       const char *domain, apr_time_t now)
{
    apr_uint32_t bucket = bucket_of(table, id);
    b24bg_portal_ref_t ref = find(table, bucket, id);
    apr_uint64_t lock;

    if (!ref.slot && table->known >= table->capacity) {
        b24bg_counter_add(&table->turned_away, 1);
        return ref;
    }
    if (ref.slot || !(lock = b24bg_table_lock(table))) {
        return ref;
    }
    ref = find(table, bucket, id);
    if (!ref.slot && (ref.slot = choose(table, RECYCLE_WINDOW)) != 0) {
        b24bg_table_place_t *place = take_over_begin(table, ref.slot, id);
        apr_cpystrn(place->domain, domain, sizeof(place->domain));
        place->last_load = now;
        take_over_end(table, ref.slot, bucket);
        ref.generation = place->generation;
    }
    b24bg_table_unlock(table, lock);
    return ref;
}

b24bg_portal_ref_t b24bg_table_portal(b24bg_table_t *table, const b24bg_portal_id_t *id,
                                      const char *domain, apr_time_t now)
{
    b24bg_portal_id_t own = {id->app, id->member_id, 0};
    b24bg_portal_ref_t ref = {0, 0};

    if (id->user != 0) {
        ref = b24bg_table_find(table, id);
    }
    return ref.slot ? ref : find_or_make(table, &own, domain, now);
}

/* Portals of the store */

static apr_uint64_t token_hash(b24bg_table_t *table, const char *token)
{
    return token && *token ? b24bg_table_mark(table, token, strlen(token)) : 0;
}

/* Writes what the store knows, and nothing if it is there already: a place that is written is
 * lost, for their counts, to the requests that hold a reference to it. */
static void update_known(b24bg_table_t *table, b24bg_table_place_t *place,
                         const b24bg_known_portal_t *portal)
{
    const char *domain = strstr(portal->origin, "://") + 3;
    unsigned char http = strncmp(portal->origin, "http:", 5) == 0;
    apr_uint64_t token = token_hash(table, portal->application_token);

    place->tokens = b24bg_table_seconds(portal->tokens);
    if (place->known && place->http == http && place->token == token &&
        strcmp(place->domain, domain) == 0) {
        return;
    }
    table->known += !place->known;
    place->known = 1;
    begin_change(place);
    place->http = http;
    place->token = token;
    apr_cpystrn(place->domain, domain, sizeof(place->domain));
    place->generation++;
}

/* Counts only grow. More than 4 thousand million loads elsewhere are as many. */
static void update_counts(b24bg_table_place_t *place, const b24bg_known_portal_t *portal)
{
    apr_uint64_t served = b24bg_counter_read(&place->served);

    if (portal->last_load >= place->last_load) {
        b24bg_table_recent_restore(place, portal->last_load, portal->recent);
        place->last_load = portal->last_load;
    }
    if (served + place->elsewhere < portal->loads) {
        apr_uint64_t elsewhere = portal->loads - served;
        place->elsewhere = elsewhere < APR_UINT32_MAX ? (apr_uint32_t)elsewhere : APR_UINT32_MAX;
    }
}

int b24bg_table_know(b24bg_table_t *table, const b24bg_known_portal_t *portal)
{
    apr_uint32_t bucket = bucket_of(table, &portal->id);
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_portal_ref_t ref;

    if (!lock) {
        return 0;
    }
    ref = find(table, bucket, &portal->id);
    if (!ref.slot && (ref.slot = choose(table, table->capacity)) != 0) {
        b24bg_table_place_t *place = take_over_begin(table, ref.slot, &portal->id);
        place->domain[0] = '\0';
        take_over_end(table, ref.slot, bucket);
    }
    if (ref.slot) {
        update_known(table, b24bg_table_place(table, ref.slot), portal);
        update_counts(b24bg_table_place(table, ref.slot), portal);
    }
    b24bg_table_unlock(table, lock);
    return ref.slot ? 1 : -1;
}

/* The token goes first: who has none proves nothing. */
int b24bg_table_unknow(b24bg_table_t *table, const b24bg_portal_id_t *id)
{
    apr_uint64_t lock = b24bg_table_lock(table);
    b24bg_portal_ref_t ref;

    if (!lock) {
        return 0;
    }
    ref = b24bg_table_find(table, id);
    if (ref.slot) {
        b24bg_table_place_t *place = b24bg_table_place(table, ref.slot);
        place->token = 0;
        table->known -= place->known;
        place->known = 0;
        place->tokens = 0;
    }
    b24bg_table_unlock(table, lock);
    return 1;
}

b24bg_trust_e b24bg_table_trust(b24bg_table_t *table, b24bg_portal_ref_t portal, const char *token,
                                char *origin)
{
    b24bg_table_place_t *place = b24bg_table_held(table, portal);
    apr_uint64_t expected;

    if (!place) {
        return B24BG_TRUST_UNKNOWN; /* none, or another portal's by now */
    }
    expected = place->token;
    atomic_thread_fence(memory_order_acquire);
    if (!expected || place->generation != portal.generation) {
        return B24BG_TRUST_UNKNOWN;
    }
    if (token_hash(table, token) != expected) {
        return B24BG_TRUST_BAD_TOKEN;
    }
    apr_cpystrn(apr_cpystrn(origin, place->http ? "http://" : "https://", 9), place->domain,
                sizeof(place->domain));
    atomic_thread_fence(memory_order_acquire);
    if (place->generation != portal.generation) {
        return B24BG_TRUST_UNKNOWN; /* it changed while we read */
    }
    return B24BG_TRUST_PROVEN;
}

apr_uint64_t b24bg_table_turned_away(b24bg_table_t *table)
{
    return table->turned_away;
}
