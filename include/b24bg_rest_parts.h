/* What the files of b24bg_rest share: results, answers, the gate, requests.
 *
 * Pure. For b24bg_rest*.c alone; everybody else asks b24bg_rest.h. Thread: any. Results are
 * allocated in the pool that is passed.
 */
#ifndef B24BG_REST_PARTS_H
#define B24BG_REST_PARTS_H

#include "b24bg_rest.h"

#include <jansson.h>

/* Longest text from outside in a log line: b24bg_rest.h. */
#define B24BG_REST_DETAIL_MAX 300
/* Longest text that is taken from an answer; the longest in use are scopes and URLs. */
#define B24BG_REST_TEXT_MAX 4096

/* Results. The texts are kept, not copied. */
void b24bg_rest_set(b24bg_rest_result_t *result, b24bg_rest_class_e class, const char *code,
                    const char *detail);
/* AGAIN, "garbage": an answer of which nothing can be believed. */
void b24bg_rest_set_garbage(b24bg_rest_result_t *result, const char *detail);

/* A text from outside, fit for a log: without what may be a secret (tokens, keys, a webhook's
 * code), cleaned, cut. */
const char *b24bg_rest_quote(apr_pool_t *pool, const char *text, apr_size_t longest);

/* The object that was answered, alive as long as the pool; NULL where the result, which is always
 * set, is not OK. */
json_t *b24bg_rest_read_answer(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                               b24bg_rest_result_t *result);

/* A string of 1 to `longest` bytes without control characters, copied, or NULL. */
const char *b24bg_rest_read_text(apr_pool_t *pool, const json_t *value, apr_size_t longest);

/* What need not be there; "" then (missing, null or empty). 0 if it is there and something else
 * than a text as above. */
int b24bg_rest_read_optional(apr_pool_t *pool, const json_t *value, const char **text);

/* A number from 0 to max, or PHP's habit, a string of digits; left alone if there is none (missing
 * or null). 0 if it is anything else. */
int b24bg_rest_read_number(apr_pool_t *pool, const json_t *value, apr_int64_t max,
                           apr_int64_t *number);

/* "host" or "host:port" in lower case, or NULL. `text` may be NULL. */
const char *b24bg_rest_read_place(apr_pool_t *pool, const char *text);

/* What may be called. */
typedef struct {
    const char *url;  /* ends in "/" */
    const char *host; /* lower case, without the port */
} b24bg_rest_endpoint_t;

/* Takes a client_endpoint apart and puts it together again from what was checked, so that nothing
 * is left that curl could read in another way. 0 if it may not be called. */
int b24bg_rest_check_endpoint(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *text,
                              b24bg_rest_endpoint_t *endpoint);

/* The same for a webhook, "https://portal/rest/1/code/"; the url is a secret then. */
int b24bg_rest_check_webhook(apr_pool_t *pool, const b24bg_rest_app_t *app, const char *text,
                             b24bg_rest_endpoint_t *endpoint);

/* A value of a form: everything but RFC 3986's unreserved characters as %XX. */
const char *b24bg_rest_encode(apr_pool_t *pool, const char *text);

/* A form to be posted. The texts are kept, not copied. */
void b24bg_rest_fill(const b24bg_rest_app_t *app, const char *url, const char *body,
                     b24bg_http_request_t *request);

#endif
