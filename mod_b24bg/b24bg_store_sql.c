#include "b24bg_store_sql.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <limits.h>
#include <string.h>

/* Calls and transactions */

static void fail(b24bg_store_t *store, int code)
{
    store->status = APR_EGENERAL;
    store->error = b24bg_store_db_error(&store->db, store->scratch, code);
}

static void run_plain(b24bg_store_t *store, const char *statement)
{
    int code;

    if (store->status == APR_SUCCESS) {
        code = b24bg_store_db_run(&store->db, statement);
        if (code != 0) {
            fail(store, code);
        }
    }
}

void b24bg_store_sql_start(b24bg_store_t *store)
{
    apr_pool_clear(store->scratch);
    store->error = "";
    store->status = APR_SUCCESS;
}

void b24bg_store_sql_begin(b24bg_store_t *store)
{
    b24bg_store_sql_start(store);
    run_plain(store, store->db.dialect->begin);
}

void b24bg_store_sql_begin_change(b24bg_store_t *store, apr_int64_t count)
{
    const void *values[] = {&count};

    b24bg_store_sql_begin(store);
    b24bg_store_sql_run(store, B24BG_SQL_RAISE_CHANGE, values);
}

/* A rollback that fails has no transaction to undo. */
apr_status_t b24bg_store_sql_end(b24bg_store_t *store)
{
    run_plain(store, "COMMIT");
    if (store->status != APR_SUCCESS) {
        b24bg_store_db_run(&store->db, "ROLLBACK");
    }
    return store->status;
}

/* Values in */

/* PostgreSQL refuses text that is not UTF-8, and one message of a stranger must not keep all
 * others out: bytes that are none become '?'. */
static const char *text(b24bg_store_t *store, const char *value)
{
    char *copy = NULL;
    apr_size_t i = 0;

    if (!value) {
        return "";
    }
    while (value[i]) {
        apr_size_t length = b24bg_form_character(value + i);
        if (length == 0) {
            copy = copy ? copy : apr_pstrdup(store->scratch, value);
            copy[i] = '?';
            length = 1;
        }
        i += length;
    }
    return copy ? copy : value;
}

/* The values of a statement as they may be bound. */
static const void **mend(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values)
{
    const char *place = b24bg_store_statement(which)->text;
    apr_array_header_t *bound = apr_array_make(store->scratch, 16, sizeof(const void *));

    while ((place = strchr(place, '%')) != NULL) {
        const void *value = *values++;
        APR_ARRAY_PUSH(bound, const void *) = place[1] == 's' ? text(store, value) : value;
        place++;
    }
    return (const void **)bound->elts;
}

int b24bg_store_sql_run(b24bg_store_t *store, b24bg_store_sql_e which, const void *const *values)
{
    int rows = 0;
    int code;

    if (store->status != APR_SUCCESS) {
        return 0;
    }
    code = apr_dbd_pbquery(store->db.driver, store->scratch, store->db.handle, &rows,
                           store->prepared[which], mend(store, which, values));
    if (code != 0) {
        fail(store, code);
        return 0;
    }
    return rows;
}

void b24bg_store_sql_refuse(b24bg_store_t *store, const char *why)
{
    if (store->status == APR_SUCCESS) {
        store->status = APR_NOTFOUND;
        store->error = why;
    }
}

void b24bg_store_sql_run_on_one(b24bg_store_t *store, b24bg_store_sql_e which,
                                const void *const *values, const char *missing)
{
    if (b24bg_store_sql_run(store, which, values) == 0) {
        b24bg_store_sql_refuse(store, missing);
    }
}

void b24bg_store_sql_run_record(b24bg_store_t *store, b24bg_store_sql_e which, const void *record)
{
    const b24bg_store_shape_t *shape = b24bg_store_statement(which)->shape;
    const void **values = apr_palloc(store->scratch, shape->count * sizeof(*values));
    apr_size_t i;

    for (i = 0; i < shape->count; i++) {
        const char *field = (const char *)record + shape->columns[i].offset;
        if (shape->columns[i].kind == B24BG_STORE_TEXT) {
            values[i] = *(const char *const *)field;
        } else if (shape->columns[i].kind == B24BG_STORE_NUMBER) {
            values[i] = field;
        } else {
            apr_int64_t *number = apr_palloc(store->scratch, sizeof(*number));
            *number = *(const int *)field;
            values[i] = number;
        }
    }
    b24bg_store_sql_run(store, which, values);
}

/* Records out */

static int small(apr_int64_t number)
{
    return number > INT_MAX ? INT_MAX : number < INT_MIN ? INT_MIN : (int)number;
}

static void read_row(b24bg_store_t *store, apr_pool_t *pool, apr_dbd_row_t *row,
                     const b24bg_store_shape_t *shape, void *record)
{
    apr_size_t i;

    for (i = 0; i < shape->count; i++) {
        char *field = (char *)record + shape->columns[i].offset;
        const char *entry = apr_dbd_get_entry(store->db.driver, row, (int)i);
        entry = entry ? entry : "";
        if (shape->columns[i].kind == B24BG_STORE_TEXT) {
            *(const char **)field = apr_pstrdup(pool, entry);
        } else if (shape->columns[i].kind == B24BG_STORE_NUMBER) {
            *(apr_int64_t *)field = apr_atoi64(entry);
        } else {
            *(int *)field = small(apr_atoi64(entry));
        }
    }
}

apr_status_t b24bg_store_sql_list(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                                  const void *const *values, apr_array_header_t **records)
{
    const b24bg_store_shape_t *shape = b24bg_store_statement(which)->shape;
    apr_dbd_results_t *results = NULL;
    apr_dbd_row_t *row = NULL;
    apr_array_header_t *found;
    int code;

    if (store->status != APR_SUCCESS) {
        return store->status;
    }
    code = apr_dbd_pbselect(store->db.driver, store->scratch, store->db.handle, &results,
                            store->prepared[which], 1, mend(store, which, values));
    if (code != 0) {
        fail(store, code);
        return store->status;
    }
    found = apr_array_make(pool, apr_dbd_num_tuples(store->db.driver, results), (int)shape->size);
    while (apr_dbd_get_row(store->db.driver, store->scratch, results, &row, -1) == 0) {
        read_row(store, pool, row, shape, apr_array_push(found));
    }
    *records = found;
    return APR_SUCCESS;
}

void *b24bg_store_sql_get(b24bg_store_t *store, apr_pool_t *pool, b24bg_store_sql_e which,
                          const void *const *values)
{
    apr_array_header_t *found;

    if (b24bg_store_sql_list(store, pool, which, values, &found) != APR_SUCCESS) {
        return NULL;
    }
    if (found->nelts == 0) {
        store->status = APR_NOTFOUND;
        return NULL;
    }
    return found->elts;
}

/* Opening */

apr_status_t b24bg_store_sql_prepare(b24bg_store_t *store, const char **error)
{
    int i;

    for (i = 0; i < B24BG_SQL_COUNT; i++) {
        const char *label = apr_psprintf(store->pool, "b24bg_%d", i);
        int code = apr_dbd_prepare(store->db.driver, store->pool, store->db.handle,
                                   b24bg_store_statement(i)->text, label, &store->prepared[i]);
        if (code != 0) {
            *error = b24bg_store_db_error(&store->db, store->pool, code);
            return APR_EGENERAL;
        }
    }
    return APR_SUCCESS;
}
