/* The way to a usable connection of the store: drivers and their dialects, tables and migrations.
 *
 * Pure. For b24bg_store.c alone; everybody else goes through it. Thread: the one that opened it.
 *
 * Transactions are begun and ended by plain statements: apr_dbd_transaction_start of the pgsql
 * driver follows a null pointer when the connection is lost, and that of the sqlite3 driver leaves
 * a transaction behind when it fails.
 */
#ifndef B24BG_STORE_SCHEMA_H
#define B24BG_STORE_SCHEMA_H

#include <apr_dbd.h>
#include <apr_pools.h>

/* What this code reads and writes; one more than the last step that leads to it. */
#define B24BG_STORE_SCHEMA_VERSION 4

typedef struct {
    const char *driver;  /* apr_dbd's name */
    const char *package; /* Debian's, that brings it */
    /* Makes what must be there before the database is opened, or NULL. */
    apr_status_t (*prepare)(apr_pool_t *pool, const char *params);
    /* Adds what the administrator did not say, or NULL. */
    const char *(*complete)(apr_pool_t *pool, const char *params);
    const char *const *settings;    /* statements for every connection; lists end with NULL */
    const char *begin;              /* a transaction that writes */
    const char *look_for_meta;      /* a row, if our tables are there */
    const char *const *lock_schema; /* nobody else migrates until the transaction ends */
    /* While it is opened, a statement that fails is tried again for this long. SQLite refuses some
     * without any waiting while another process makes the tables or switches to WAL. */
    apr_interval_time_t patience;
    /* Drops older copies of rows that lie beside the tables, or NULL where nobody can get at such.
     * Its first value is "0" when that is done, another one while somebody reads them. */
    const char *shed;
} b24bg_store_dialect_t;

typedef struct {
    const b24bg_store_dialect_t *dialect;
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
    const char *params; /* as configured */
    int version;
} b24bg_store_db_t;

/* Opens it and brings its tables to B24BG_STORE_SCHEMA_VERSION. Closed with the pool. On failure
 * *error says why, without a password: APR_EMISMATCH for a newer schema, APR_ENOTIMPL for a driver
 * that nobody wrote a dialect for. */
apr_status_t b24bg_store_db_open(apr_pool_t *pool, const char *driver, const char *params,
                                 b24bg_store_db_t *db, const char **error);

/* Runs a statement without values; 0, or the driver's code. */
int b24bg_store_db_run(const b24bg_store_db_t *db, const char *statement);

/* 1 when older copies of rows are gone, or there never are any (see `shed`). Waits for a fifth of a
 * second at most. */
int b24bg_store_db_shed(const b24bg_store_db_t *db, apr_pool_t *pool);

/* What the database says about the code that a call has just returned: one line, no values, no
 * password. */
const char *b24bg_store_db_error(const b24bg_store_db_t *db, apr_pool_t *pool, int code);

#endif
