/* The statements of the store, and how the records that they read and write lie in memory: data.
 *
 * Pure. For b24bg_store_sql.c, which runs them. Constant; any thread.
 */
#ifndef B24BG_STORE_STATEMENTS_H
#define B24BG_STORE_STATEMENTS_H

#include <apr.h>

typedef enum {
    B24BG_SQL_RAISE_CHANGE,
    B24BG_SQL_TAKE_LEASE,
    B24BG_SQL_RELEASE_LEASE,
    B24BG_SQL_GET_LEASE,
    B24BG_SQL_ADD_MESSAGE,
    B24BG_SQL_DUE_MESSAGES,
    B24BG_SQL_PUT_OFF_MESSAGE,
    B24BG_SQL_REPLACE_FIELDS,
    B24BG_SQL_FINISH_MESSAGE,
    B24BG_SQL_PURGE_MESSAGES,
    B24BG_SQL_COUNT_MESSAGES,
    B24BG_SQL_PUT_PORTAL,
    B24BG_SQL_WIPE_PORTAL,
    B24BG_SQL_REPLACE_TOKENS,
    B24BG_SQL_RAISE_COUNTS,
    B24BG_SQL_GET_PORTAL,
    B24BG_SQL_PORTALS_SINCE,
    B24BG_SQL_ADD_EVENT,
    B24BG_SQL_PRUNE_EVENTS,
    B24BG_SQL_EVENTS_SINCE,
    B24BG_SQL_GET_CHANGES,
    B24BG_SQL_PUT_REGISTRATION,
    B24BG_SQL_REGISTRATIONS_OF_PORTAL,
    B24BG_SQL_REGISTRATIONS_OF_APP,
    B24BG_SQL_REGISTRATION_BY_KEY,
    B24BG_SQL_REGISTRATIONS_SINCE,
    B24BG_SQL_OPEN_REGISTRATIONS,
    B24BG_SQL_PUT_BUDGET,
    B24BG_SQL_GET_BUDGETS,
    B24BG_SQL_ADD_COMMAND,
    B24BG_SQL_OPEN_COMMANDS,
    B24BG_SQL_FINISH_COMMAND,
    B24BG_SQL_GET_COMMAND,
    B24BG_SQL_PURGE_COMMANDS,
    B24BG_SQL_ADD_ALERT,
    B24BG_SQL_DUE_ALERTS,
    B24BG_SQL_BEGIN_ALERT,
    B24BG_SQL_END_ALERT,
    B24BG_SQL_PURGE_ALERTS,
    B24BG_SQL_COUNT
} b24bg_store_sql_e;

/* A field of a record: const char *, apr_int64_t or int. */
typedef enum { B24BG_STORE_TEXT, B24BG_STORE_NUMBER, B24BG_STORE_SMALL } b24bg_store_kind_e;

typedef struct {
    b24bg_store_kind_e kind;
    apr_size_t offset;
} b24bg_store_column_t;

typedef struct {
    const b24bg_store_column_t *columns; /* in the order of the statement */
    apr_size_t count;
    apr_size_t size; /* of a record */
} b24bg_store_shape_t;

typedef struct {
    const char *text;                 /* values: %s and %lld, as apr_dbd has it */
    const b24bg_store_shape_t *shape; /* of the records that come out, or go in; or NULL */
} b24bg_store_statement_t;

/* What B24BG_SQL_GET_CHANGES reads. */
typedef struct {
    apr_int64_t newest; /* the number that this transaction has taken */
    apr_int64_t stored; /* the registration's; 0: there is none */
} b24bg_store_changes_t;

/* which: below B24BG_SQL_COUNT. Static. */
const b24bg_store_statement_t *b24bg_store_statement(b24bg_store_sql_e which);

#endif
