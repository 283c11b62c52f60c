/* The shared table: portals, counters and histograms of all processes and generations.
 *
 * Pure: works on any memory that all processes see at any address; it holds no pointers. Nothing
 * in it blocks: counting is atomic additions, finding a portal reads, and the rare change of the
 * set of portals is guarded by a lock that is only tried. The lock names its owner's process, so
 * one that was killed in the middle holds nobody up, and each step of a change leaves a table that
 * readers and the next writer can live with.
 *
 * Thread: any thread of any process, unless a function says otherwise.
 */
#ifndef B24BG_TABLE_H
#define B24BG_TABLE_H

#include "b24bg_placement.h"

#include <apr_pools.h>
#include <apr_time.h>

/* Part of the name under which httpd keeps the segment: change it with every change of layout. */
#define B24BG_TABLE_LAYOUT "3"
/* Apps that may be named in the life of one server; each takes 1 KiB. */
#define B24BG_TABLE_APPS_MAX 64
/* Default and bounds of B24bgMaxPortals: spec.md section 3. */
#define B24BG_TABLE_PORTALS_DEFAULT 1024
#define B24BG_TABLE_PORTALS_MAX 1048576
/* Memory a portal may cost, all in: spec.md section 8. */
#define B24BG_TABLE_BYTES_PER_PORTAL_MAX 1024
/* Longest name of an app, with its NUL: B24BG_VALUE_LABEL_MAX + 1. */
#define B24BG_TABLE_LABEL_SIZE 33

/* What was asked for: spec.md section 6. */
#define B24BG_KIND_LIST(X)                                                                         \
    X(WORKER, "worker")                                                                            \
    X(BEACON, "beacon")                                                                            \
    X(ERROR, "error")                                                                              \
    X(INSTALL, "install")

#define B24BG_KIND_ENUM(id, name) B24BG_KIND_##id,
typedef enum { B24BG_KIND_LIST(B24BG_KIND_ENUM) B24BG_KIND_COUNT } b24bg_kind_e;
#undef B24BG_KIND_ENUM

const char *b24bg_kind_name(b24bg_kind_e kind);

/* Upper bounds of the server-time histogram in microseconds. From half a typical answer to the
 * portal's limit of 5 s (protocol.md 2.1) and what lies beyond. */
#define B24BG_SERVER_TIME_BOUNDS                                                                   \
    {                                                                                              \
        500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,      \
            5000000, 10000000                                                                      \
    }
#define B24BG_SERVER_TIME_BUCKETS 15 /* the last one has no bound */

typedef struct b24bg_table_t b24bg_table_t;

/* A portal's place. Goes stale, harmlessly, when the place is given to another portal. */
typedef struct {
    apr_uint32_t slot; /* 0: none */
    apr_uint32_t generation;
} b24bg_portal_ref_t;

/* Bytes for a table of so many portals (1..B24BG_TABLE_PORTALS_MAX). */
apr_size_t b24bg_table_size(apr_uint32_t portals);

/* Makes a table in zeroed memory of b24bg_table_size(portals) bytes, 64-byte aligned. `key`: 16
 * random bytes; they keep clients from choosing who collides with whom. Call once, alone. */
b24bg_table_t *b24bg_table_create(void *base, apr_uint32_t portals, const unsigned char *key);

/* How many portals the table has room for. */
apr_uint32_t b24bg_table_capacity(const b24bg_table_t *table);

/* The row of an app, taken if it has none: 0..B24BG_TABLE_APPS_MAX-1, or -1 when all are taken by
 * others. Call in the parent at start only. */
int b24bg_table_app(b24bg_table_t *table, const char *name);

/* The portal's place; `.slot` is 0 if it has none. */
b24bg_portal_ref_t b24bg_table_find(b24bg_table_t *table, int app, const char *member_id);

/* Finds the portal, or gives it a place: a free one, else that of the unknown portal that was
 * loaded longest ago. Looks at no more than 256 places, so with more portals it is the oldest of
 * those. A known portal never loses its place. `.slot` is 0 if there is no place just now (all
 * known, or another process is at it): serve all the same, count without it. */
b24bg_portal_ref_t b24bg_table_portal(b24bg_table_t *table, int app, const char *member_id,
                                      const char *domain, apr_time_t now);

/* A portal of the store. */
typedef struct {
    int app;
    const char *member_id;
    const char *origin;            /* "https://host[:port]", or http; at most B24BG_ORIGIN_MAX */
    const char *application_token; /* "" or NULL: a portal too old to send one */
    apr_time_t last_load;
    apr_uint64_t loads;
} b24bg_known_portal_t;

/* Gives a portal of the store its place for good, or brings its place up to date; its counts only
 * grow. 1: done; 0: the lock was not to be had, try again; -1: the table is full of known portals.
 * Of the token only a keyed hash is kept. Background task only. */
int b24bg_table_know(b24bg_table_t *table, const b24bg_known_portal_t *portal);

/* Makes the portal unknown again; what is counted stays. 0: the lock was not to be had, try again.
 * Background task only. */
int b24bg_table_unknow(b24bg_table_t *table, int app, const char *member_id);

/* What is known of who sent a request. */
typedef enum {
    B24BG_TRUST_UNKNOWN,  /* not a portal of the store */
    B24BG_TRUST_PROVEN,   /* presents its application token */
    B24BG_TRUST_BAD_TOKEN /* known, and presents another one, or none where it has one */
} b24bg_trust_e;

/* Compares in constant time. On PROVEN, origin (B24BG_ORIGIN_MAX + 1 bytes) is the portal's. A
 * known portal without a token cannot prove anything: UNKNOWN. */
b24bg_trust_e b24bg_table_trust(b24bg_table_t *table, b24bg_portal_ref_t portal, const char *token,
                                char *origin);

/* How often a portal found no place because all are known ones; grows. */
apr_uint64_t b24bg_table_turned_away(b24bg_table_t *table);

/* 1 if (member_id, app_sid) was seen before among the recent renders: nearly all of the last 8 for
 * each place in the table (measured with 1,024 places: 95 %), fewer of those before; remembers it.
 */
int b24bg_table_seen(b24bg_table_t *table, int app, const char *member_id, const char *app_sid);

/* One finished request. */
typedef struct {
    int app;
    b24bg_kind_e kind;
    b24bg_reason_e reason;
    b24bg_portal_ref_t portal; /* of an accepted load */
    int is_load;               /* an accepted POST of a worker page, not a repeat */
    int is_repeat;
    int broken_options;
    apr_time_t now;
    apr_interval_time_t server_time; /* request line to last byte; negative (clock set back): 0 */
} b24bg_table_request_t;

void b24bg_table_count(b24bg_table_t *table, const b24bg_table_request_t *request);

/* An installation that was verified, or not. Background task only. */
void b24bg_table_count_install(b24bg_table_t *table, int app, int verified);

/* A copy of the counts at about one moment, for showing. */
typedef struct {
    const char *name;
    apr_uint64_t requests[B24BG_KIND_COUNT][B24BG_VERDICT_COUNT];
    apr_uint64_t reasons[B24BG_REASON_COUNT];
    apr_uint64_t repeats;
    apr_uint64_t broken_options;
    apr_uint64_t installs[2];                            /* not verified, verified */
    apr_uint64_t server_time[B24BG_SERVER_TIME_BUCKETS]; /* per bucket, not cumulative */
    apr_uint64_t server_time_sum;                        /* microseconds */
} b24bg_app_counts_t;

typedef struct {
    int app;
    char member_id[B24BG_MEMBER_ID_LENGTH + 1];
    char domain[B24BG_DOMAIN_MAX + 1];
    apr_time_t last_load;
    apr_uint64_t loads;
    apr_uint64_t repeats;
    int known;
} b24bg_portal_counts_t;

/* The app in this row, or 0 if the row is empty. Strings are allocated in pool. */
int b24bg_table_read_app(b24bg_table_t *table, apr_pool_t *pool, int row,
                         b24bg_app_counts_t *counts);

/* The portal in this place (1..capacity), or 0 if it is empty or changing at this moment. */
int b24bg_table_read_portal(b24bg_table_t *table, apr_uint32_t slot, b24bg_portal_counts_t *counts);

#endif
