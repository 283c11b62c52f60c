/* Request bodies: bounded, whole, or not at all. */
#include "mod_b24bg.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <util_filter.h>

/* What is read at once, and what a chunked body starts with; a new portal's is 533 bytes and a
 * URI in it may take kilobytes (protocol.md 1.3). */
#define READ_SIZE 8192

int b24bg_body_is_form(const request_rec *r)
{
    static const char form[] = "application/x-www-form-urlencoded";
    const char *type = apr_table_get(r->headers_in, "Content-Type");

    return type && ap_cstr_casecmpn(type, form, sizeof(form) - 1) == 0 &&
           (type[sizeof(form) - 1] == '\0' || strchr("; \t", type[sizeof(form) - 1]));
}

apr_int64_t b24bg_body_announced(const request_rec *r)
{
    const char *text = apr_table_get(r->headers_in, "Content-Length");
    char *end;
    apr_int64_t length = text ? apr_strtoi64(text, &end, 10) : -1;

    return text && *end == '\0' ? length : -1;
}

static void append(apr_pool_t *pool, b24bg_body_t *body, const char *data, apr_size_t length)
{
    if (body->length + length > body->room) {
        char *larger;
        body->room = 2 * (body->length + length);
        larger = apr_palloc(pool, body->room + 1);
        memcpy(larger, body->data, body->length);
        body->data = larger;
    }
    memcpy(body->data + body->length, data, length);
    body->length += length;
}

/* Takes one brigade into the body. *done: end of stream, or over the limit. */
static apr_status_t take(request_rec *r, apr_bucket_brigade *brigade, apr_size_t limit,
                         b24bg_body_t *body, int *done)
{
    apr_bucket *bucket;

    for (bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade) && !*done;
         bucket = APR_BUCKET_NEXT(bucket)) {
        const char *data;
        apr_size_t length;
        apr_status_t rv;
        if (APR_BUCKET_IS_EOS(bucket)) {
            *done = 1;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (body->length + length > limit) {
            length = limit - body->length;
            body->cut = *done = 1;
        }
        append(r->pool, body, data, length);
    }
    return APR_SUCCESS;
}

/* Errors of framing are answered by httpd's input filter itself; an ErrorDocument that is a
 * redirect must not get at them. */
static void own_error_texts(request_rec *r)
{
    ap_custom_response(r, HTTP_BAD_REQUEST, "body could not be read to its end\n");
    ap_custom_response(r, HTTP_REQUEST_ENTITY_TOO_LARGE, "body is too large\n");
}

/* ap_get_client_block and ap_parse_form_data would not do: they lose
 * errors, chunked bodies and limits (engineering.md section 5). */
int b24bg_body_read(request_rec *r, apr_size_t limit, b24bg_body_t *body)
{
    apr_int64_t announced = b24bg_body_announced(r);
    apr_bucket_brigade *brigade;
    int done = 0;

    if (announced < 0 || announced > (apr_int64_t)limit ||
        (ap_get_limit_req_body(r) > 0 && announced > ap_get_limit_req_body(r))) {
        own_error_texts(r);
    }
    body->room = announced < 0 ? READ_SIZE : (apr_size_t)announced;
    body->room = body->room < limit ? body->room : limit;
    body->data = apr_palloc(r->pool, body->room + 1);
    body->length = 0;
    body->cut = 0;
    brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    while (!done) {
        apr_status_t rv =
            ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);
        if (rv == APR_SUCCESS) {
            rv = take(r, brigade, limit, body, &done);
        }
        apr_brigade_cleanup(brigade);
        if (rv != APR_SUCCESS) {
            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
    }
    body->data[body->length] = '\0';
    return OK;
}

/* Not ap_request_has_body: it says no for HEAD. */
static int has_body(const request_rec *r)
{
    return apr_table_get(r->headers_in, "Transfer-Encoding") || b24bg_body_announced(r) > 0;
}

void b24bg_body_give_up(request_rec *r)
{
    if (has_body(r)) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}
