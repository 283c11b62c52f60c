/* How the store's statements are run: values in, records out, transactions around. For
 * b24bg_store.c alone.
 *
 * Pure. Thread: the one that opened the store. The first failure of a call is kept in
 * store->status, and nothing more is sent until the call ends.
 */
#ifndef B24BG_STORE_SQL_H
#define B24BG_STORE_SQL_H

#include "b24bg_store.h"
#include "b24bg_store_schema.h"
#include "b24bg_store_statements.h"

#include <apr_dbd.h>

struct b24bg_store_t {
    apr_pool_t *pool;
    apr_pool_t *scratch; /* of one call; the last error lies in it until the next */
    b24bg_store_db_t db;
    apr_dbd_prepared_t *prepared[B24BG_SQL_COUNT];
    apr_status_t status;
    const char *error;
    int is_shed; /* see b24bg_store_shed */
};

/* Prepares all statements; on failure *error says why. */
apr_status_t b24bg_store_sql_prepare(b24bg_store_t *store, const char **error);

/* Begins a call that only reads: every select is a transaction of its own. */
void b24bg_store_sql_start(b24bg_store_t *store);
/* Begins a call and its transaction. */
void b24bg_store_sql_begin(b24bg_store_t *store);
/* The same for one that takes `count` numbers of the sequence of changes. The row that holds them
 * makes all who write wait for one another in the order of their numbers; so nobody who reads "all
 * since" misses one that is committed late, and nobody meets a deadlock. */
void b24bg_store_sql_begin_change(b24bg_store_t *store, apr_int64_t count);
/* Commits, or rolls back if something failed; the call's status. */
apr_status_t b24bg_store_sql_end(b24bg_store_t *store);

/* The call fails with APR_NOTFOUND and `why` for an error, unless it has failed already. */
void b24bg_store_sql_refuse(b24bg_store_t *store, const char *why);

/* Values are what the statement's text says: %s const char *, %lld const apr_int64_t *. Returns the
 * number of rows that were changed. */
int b24bg_store_sql_run(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values);
/* The same where there must be something to change: else the call fails with APR_NOTFOUND and
 * `missing` for an error. */
void b24bg_store_sql_run_on_one(b24bg_store_t *store, b24bg_store_sql_e which,
                                const void *const *values, const char *missing);
/* Takes the values from the fields of a record. */
void b24bg_store_sql_run_record(b24bg_store_t *store, b24bg_store_sql_e which, const void *record);

/* Selects records into an array in `pool`; returns store->status. */
apr_status_t b24bg_store_sql_list(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                                  const void *const *values, apr_array_header_t **records);
/* Selects one; NULL, and APR_NOTFOUND in store->status, if there is none. */
void *b24bg_store_sql_get(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                          const void *const *values);

#endif
