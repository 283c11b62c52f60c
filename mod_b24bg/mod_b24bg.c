/* The module record, the hooks, and the order of start-up; nothing else.
 *
 * Start-up:
 *  1. pre_config    forget what the last configuration left (static data survives nothing: the DSO
 *                   itself moves at every reload)
 *  2. directives    mod_b24bg_directives.c, mod_b24bg_app.c
 *  3. check_config  what one directive alone cannot know; `apachectl configtest` ends here
 *  4. post_config   the shared table, kept from generation to generation; skipped in the first
 *                   of httpd's two passes at start, and where nothing asks for the module
 *                   The state directory, the watchdogs
 *  5. child_init    the mutexes of pages that are re-read, the end of the background task
 */
#include "mod_b24bg.h"

#include <ap_config.h>
#include <apr_shm.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mpm_common.h>

#include <jansson.h>

b24bg_main_t *b24bg_main;

/* Kept by the server process over reloads, found again under a name with the layout in it, so
 * that a newer module with another layout starts afresh instead of misreading. */
#define RETAINED_TABLE "b24bg-table-" B24BG_TABLE_LAYOUT

/* A cache line. APR puts a header in front of what it allocates. */
#define TABLE_ALIGNMENT 64

typedef struct {
    b24bg_table_t *table;
} retained_t;

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)plog;
    (void)ptemp;
    b24bg_config_begin(pconf);
    return OK;
}

/* Anonymous memory of the server process: children inherit it at one address, old ones keep
 * counting into it through a reload, no file appears, and it ends with the server. */
static b24bg_table_t *create_table(server_rec *s)
{
    unsigned char key[APR_SIPHASH_KSIZE];
    apr_uint32_t portals = (apr_uint32_t)b24bg_main->max_portals;
    apr_size_t size = b24bg_table_size(portals);
    apr_uintptr_t base;
    apr_shm_t *memory;
    char *start;
    apr_status_t rv = apr_generate_random_bytes(key, sizeof(key));

    if (rv == APR_SUCCESS) {
        rv = apr_shm_create(&memory, size + TABLE_ALIGNMENT, NULL, s->process->pool);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "B24BG0001: no shared memory of %" APR_SIZE_T_FMT
                     " bytes for B24bgMaxPortals %u; lower it or raise the system's limit",
                     size, portals);
        return NULL;
    }
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, s,
                 "B24BG0002: shared table made, portals=%u bytes=%" APR_SIZE_T_FMT, portals, size);
    start = apr_shm_baseaddr_get(memory);
    base = (apr_uintptr_t)start;
    return b24bg_table_create(start + (APR_ALIGN(base, TABLE_ALIGNMENT) - base), portals, key);
}

static b24bg_table_t *keep_table(server_rec *s)
{
    retained_t *retained = ap_retained_data_get(RETAINED_TABLE);

    if (!retained) {
        retained = ap_retained_data_create(RETAINED_TABLE, sizeof(*retained));
    }
    if (!retained->table) {
        retained->table = create_table(s);
    } else if (b24bg_table_capacity(retained->table) != (apr_uint32_t)b24bg_main->max_portals) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "B24BG0003: B24bgMaxPortals %u takes effect when the server is stopped and "
                     "started; until then it is %u",
                     (apr_uint32_t)b24bg_main->max_portals, b24bg_table_capacity(retained->table));
    }
    return retained->table;
}

static int take_row(b24bg_app_t *app, server_rec *s)
{
    app->row = b24bg_table_app(b24bg_main->table, app->name);
    if (app->row < 0) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "B24BG0004: no room for app=%s: the server has seen %d names of apps since it "
                     "was started; stop it and start it",
                     app->name, B24BG_TABLE_APPS_MAX);
        return 0;
    }
    return 1;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    int i;

    (void)plog;
    (void)ptemp;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG || !b24bg_config_is_used()) {
        return OK;
    }
    json_object_seed(0);
    b24bg_main->table = keep_table(s);
    if (!b24bg_main->table || !take_row(b24bg_main->default_app, s)) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    for (i = 0; i < b24bg_main->apps->nelts; i++) {
        if (!take_row(APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *), s)) {
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    if (b24bg_own_page_register(pconf, s) != APR_SUCCESS ||
        b24bg_background_register(pconf, s) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

/* Translation comes last, so that whatever the administrator maps or rewrites himself wins. The
 * request is recorded first among the loggers, before it is described in an access log. */
static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(b24bg_config_check, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(b24bg_own_page_child, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(b24bg_background_child, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(b24bg_background_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_translate_name(b24bg_request_translate, NULL, NULL, APR_HOOK_LAST);
    ap_hook_map_to_storage(b24bg_request_map, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(b24bg_request_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(b24bg_status_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(b24bg_request_error, NULL, NULL, APR_HOOK_MIDDLE);
    b24bg_framing_register();
    ap_hook_log_transaction(b24bg_request_finish, NULL, NULL, APR_HOOK_FIRST);
    b24bg_status_register();
}

AP_DECLARE_MODULE(b24bg) = {STANDARD20_MODULE_STUFF,
                            b24bg_config_create_location,
                            b24bg_config_merge_location,
                            b24bg_config_create_server,
                            b24bg_config_merge_server,
                            b24bg_directives,
                            register_hooks,
                            0};
