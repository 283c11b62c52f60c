/*
 * The yardstick of the benchmark: the least a handler can do with a worker POST. It reads and drops
 * the body and answers a constant page of a given size with as many headers as the worker sends.
 * It claims no hook but the handler's, so httpd treats its URL like any other.
 */
#include "apr_buckets.h"
#include "apr_strings.h"
#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"
#include "util_filter.h"

#define MAX_BODY 65536            /* bytes; the default of B24bgMaxBody */
#define MAX_PAGE 65536            /* bytes; the worker page has at most 2048 (spec section 4.1) */
#define READ_SIZE HUGE_STRING_LEN /* bytes per read, what ap_get_client_block's users take */

module AP_MODULE_DECLARE_DATA b24bg_empty_module;

/* Set while the configuration is read, from the pool that lives as long as it; then read only. */
static const char *page = "";
static apr_size_t page_size = 0;

static const char *set_page_size(cmd_parms *cmd, void *unused __attribute__((unused)),
                                 const char *value)
{
    char *end = NULL;
    apr_int64_t size = apr_strtoi64(value, &end, 10);
    char *text = NULL;

    if (end == value || *end != '\0' || size < 1 || size > MAX_PAGE) {
        return apr_psprintf(cmd->pool, "BenchEmptyPage '%s' must be 1..%d bytes", value, MAX_PAGE);
    }
    text = apr_palloc(cmd->pool, (apr_size_t)size);
    memset(text, 'x', (apr_size_t)size);
    page = text;
    page_size = (apr_size_t)size;
    return NULL;
}

/* Adds the bytes of one brigade to *total; OK, or the status of a body that must not go on. */
static int drop_brigade(apr_bucket_brigade *bb, apr_size_t *total, int *complete)
{
    for (apr_bucket *b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb);
         b = APR_BUCKET_NEXT(b)) {
        const char *data = NULL;
        apr_size_t length = 0;

        if (APR_BUCKET_IS_EOS(b)) {
            *complete = 1;
            break;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        if (apr_bucket_read(b, &data, &length, APR_BLOCK_READ) != APR_SUCCESS) {
            return HTTP_BAD_REQUEST;
        }
        if (length > MAX_BODY - *total) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        *total += length;
    }
    return OK;
}

static int drop_body(request_rec *r)
{
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_size_t total = 0;
    int complete = 0;
    int status = OK;

    while (!complete && status == OK) {
        apr_status_t rv =
            ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);
        if (rv != APR_SUCCESS) {
            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
        status = drop_brigade(bb, &total, &complete);
        apr_brigade_cleanup(bb);
    }
    return status;
}

static int send_page(request_rec *r)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, alloc);

    ap_set_content_type_ex(r, "text/html; charset=utf-8", 1);
    ap_set_content_length(r, (apr_off_t)page_size);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_immortal_create(page, page_size, alloc));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    return ap_pass_brigade(r->output_filters, bb) == APR_SUCCESS ? OK : AP_FILTER_ERROR;
}

static int handle(request_rec *r)
{
    int status = OK;

    if (r->handler == NULL || strcmp(r->handler, "bench-empty") != 0) {
        return DECLINED;
    }
    status = drop_body(r);
    return status == OK ? send_page(r) : status;
}

static void register_hooks(apr_pool_t *pool __attribute__((unused)))
{
    ap_hook_handler(handle, NULL, NULL, APR_HOOK_MIDDLE);
}

static const command_rec commands[] = {
    AP_INIT_TAKE1("BenchEmptyPage", set_page_size, NULL, RSRC_CONF,
                  "size in bytes of the constant page"),
    {NULL},
};

AP_DECLARE_MODULE(b24bg_empty) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, commands, register_hooks, AP_MODULE_FLAG_NONE,
};
