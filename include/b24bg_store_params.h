/* libpq's parameters, "name=value ..." or a URI: what is added to them, and what is never said of
 * them.
 *
 * Pure. For b24bg_store_schema.c alone. Thread: any.
 */
#ifndef B24BG_STORE_PARAMS_H
#define B24BG_STORE_PARAMS_H

#include <apr_pools.h>

/* With time limits for a server that is gone; what the administrator says wins. */
const char *b24bg_store_params_complete(apr_pool_t *pool, const char *params);

/* The message of a database as one line without control characters, and without any word of a
 * password that `params` may hold, whatever is wrong with them. */
const char *b24bg_store_params_hide(apr_pool_t *pool, const char *message, const char *params);

#endif
