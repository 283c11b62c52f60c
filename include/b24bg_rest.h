/* Bitrix24's REST and OAuth calls: how to ask, how to read the answer, what an error means.
 *
 * Pure: it makes requests for b24bg_http and reads its answers; it never calls anybody. Thread:
 * any. Results are allocated in the pool that is passed. Sources: protocol.md sections 4 to 6.
 *
 * It is also the gate: a request is only made for a server in B24bgAuthServer, or for the endpoint
 * of a portal inside B24bgPortals; anything else is APR_EACCES.
 */
#ifndef B24BG_REST_H
#define B24BG_REST_H

#include "b24bg_http.h"

#include <apr_tables.h>

/* What a call needs to know of its app. Read only. */
typedef struct {
    const char *client_id;
    const char *client_secret;              /* NULL: tokens cannot be refreshed; secret */
    const apr_array_header_t *auth_servers; /* const char *, "https://host[:port]", no path */
    const apr_array_header_t *portals;      /* const char *, patterns; empty: any */
    b24bg_http_options_t http;
} b24bg_rest_app_t;

/* What an answer means for the one who asked. The table behind it is protocol.md 4.4, 4.12, 5.2. */
typedef enum {
    B24BG_REST_OK,
    B24BG_REST_EXPIRED,   /* access token over: refresh once, ask once more */
    B24BG_REST_AGAIN,     /* later, with back-off: network, 5xx without JSON, query limit */
    B24BG_REST_NO_TOKEN,  /* the token is dead or somebody else's: no use to try again */
    B24BG_REST_NOT_ADMIN, /* the token's user may not do this */
    B24BG_REST_WRONG_APP, /* client id, secret or scope do not fit */
    B24BG_REST_PAYMENT,   /* the plan or the subscription is over */
    B24BG_REST_GONE,      /* app or portal removed */
    B24BG_REST_MOVED,     /* a redirect: the portal was renamed; `location` names the new place */
    B24BG_REST_WRONG      /* anything else that repeating does not mend */
} b24bg_rest_class_e;

typedef struct {
    b24bg_rest_class_e class;
    const char *code;   /* Bitrix24's `error`, cleaned, or "http", "network", "garbage"; "" if OK
                           (but see b24bg_rest_read_bind) */
    const char *detail; /* for a log: what an administrator should know, and Bitrix24's words;
                           cleaned, cut at 300 bytes, no secrets */
} b24bg_rest_result_t;

/* Classifies any answer by the `error` member first, by outcome and status only where there is
 * none, or where its code is unknown (then 5xx, 408 and 429 mean AGAIN). Codes are matched without
 * regard to case. */
void b24bg_rest_classify(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                         b24bg_rest_result_t *result);

/* The configured auth server that an announced SERVER_ENDPOINT ("https://oauth.../rest/", from a
 * client) means, or NULL if it is none of them. NULL or "" in: the first. Compares scheme, host
 * and port, nothing else; what is returned is the configured text, never the client's. */
const char *b24bg_rest_auth_server(const b24bg_rest_app_t *app, const char *endpoint);

/* Who a token belongs to: POST <auth_server>/rest/app.info. auth_server must be one of the app's.
 * The request is made in pool. APR_EINVAL for an empty token. */
apr_status_t b24bg_rest_ask_identity(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                     const char *auth_server, const char *access_token,
                                     b24bg_http_request_t *request);

typedef struct {
    const char *client_id;
    const char *member_id;       /* 32 hex digits, lower case */
    const char *domain;          /* of the portal, lower case */
    const char *client_endpoint; /* https://domain/rest/, checked: scheme, host fits domain, fits
                                    B24bgPortals */
    const char *scope;
    apr_int64_t user_id;
    apr_time_t expires; /* 0 if not told */
} b24bg_rest_identity_t;

/* OK only if the answer is whole, every member has its type, the client id is the app's
 * (WRONG_APP otherwise, code "foreign") and the endpoint is one that may be called (WRONG
 * otherwise, code "outside"). The server's `invalid_client` means the token here: NO_TOKEN. */
void b24bg_rest_read_identity(apr_pool_t *pool, const b24bg_rest_app_t *app,
                              const b24bg_http_answer_t *answer, b24bg_rest_identity_t *identity,
                              b24bg_rest_result_t *result);

/* Whether a token's user is an administrator of his portal: POST <client_endpoint>profile. The
 * endpoint must be one that may be called, as b24bg_rest_read_identity gives it. */
apr_status_t b24bg_rest_ask_profile(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                    const char *client_endpoint, const char *access_token,
                                    b24bg_http_request_t *request);
/* OK for an administrator, NOT_ADMIN for anybody else. */
void b24bg_rest_read_profile(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                             b24bg_rest_result_t *result);

/* A new token pair: POST <auth_server>/oauth/token/ with client id and secret in the body.
 * APR_EINCOMPLETE where the app has no id or secret, APR_EINVAL for an empty token. */
apr_status_t b24bg_rest_ask_tokens(apr_pool_t *pool, const b24bg_rest_app_t *app,
                                   const char *auth_server, const char *refresh_token,
                                   b24bg_http_request_t *request);

typedef struct {
    const char *access_token;  /* secret */
    const char *refresh_token; /* secret */
    const char *member_id;
    apr_time_t expires; /* 0 if not told */
} b24bg_rest_tokens_t;

/* `now` turns expires_in into a time where `expires` is missing. The old pair is used up, so OK if
 * both tokens and the member_id are good, whatever the rest of the answer is: where the portal
 * lives by now is not asked here, and judged when it is called. */
void b24bg_rest_read_tokens(apr_pool_t *pool, const b24bg_http_answer_t *answer, apr_time_t now,
                            b24bg_rest_tokens_t *tokens, b24bg_rest_result_t *result);

/* Registrations: placement.get, .bind, .unbind, .list. Protocol.md 4.3 to 4.7. They need a token of
 * an administrator (.list: of anybody) and scope "placement"; a webhook is refused by Bitrix24 with
 * WRONG_AUTH_TYPE, whose detail says so in words.
 *
 * Asking: APR_EACCES for an endpoint that may not be called, APR_EINVAL for an empty token. To read
 * (rows, placements) a webhook's "https://portal/rest/1/code/" is an endpoint, too: the request's
 * url holds its secret then, and no token is needed or sent. Reading: results are set if the class
 * is OK, else left alone. */

/* App, endpoint and token of a call on a portal. */
typedef struct {
    const b24bg_rest_app_t *app;
    const char *endpoint;     /* client_endpoint; or a webhook: secret */
    const char *access_token; /* secret */
} b24bg_rest_portal_t;

/* A row of PAGE_BACKGROUND_WORKER at the portal. */
typedef struct {
    apr_int64_t user_id; /* 0: general */
    const char *handler;
    const char *error_url; /* options.errorHandlerUrl; "" if there is none; ends in a key: secret */
    int slow_count; /* options.maxTimeCount, number or text of digits; -1: not shown, or something
                       else: it is a private counter of the portal (protocol.md 2.5) */
} b24bg_rest_row_t;

apr_status_t b24bg_rest_ask_rows(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                 b24bg_http_request_t *request);
/* *rows: b24bg_rest_row_t, this app's rows of PAGE_BACKGROUND_WORKER, in the portal's order; those
 * of other placements are left out. A row that cannot be read, or a list that goes on elsewhere,
 * makes the whole answer garbage (AGAIN): half a list would look like a loss. "options": [] and
 * unknown members are legal; a row without userId is a general one. */
void b24bg_rest_read_rows(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                          apr_array_header_t **rows, b24bg_rest_result_t *result);

typedef struct {
    const char *handler;
    const char *error_url; /* with the key: secret */
    const char *title;     /* "" or NULL: the app's name at the portal */
    apr_int64_t user_id;   /* 0: general; then USER_ID is not sent */
} b24bg_rest_binding_t;

/* APR_EINVAL also without a handler or an error URL, which the portal would refuse. */
apr_status_t b24bg_rest_ask_bind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                 const b24bg_rest_binding_t *binding,
                                 b24bg_http_request_t *request);
/* OK also for "there is one already" (ERROR_PLACEMENT_MAX_COUNT, and ERROR_CORE "Handler already
 * binded"): the caller reads back and sees whose it is; then code and detail say so. */
void b24bg_rest_read_bind(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                          b24bg_rest_result_t *result);

/* Removes exactly the row with this handler and user (USER_ID is always sent, 0 too). APR_EINVAL
 * also without a handler: the portal would take that for every row of the user. */
apr_status_t b24bg_rest_ask_unbind(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                   const b24bg_rest_row_t *row, b24bg_http_request_t *request);
/* OK whatever the count: nothing found is as good as removed. */
void b24bg_rest_read_unbind(apr_pool_t *pool, const b24bg_http_answer_t *answer,
                            b24bg_rest_result_t *result);

apr_status_t b24bg_rest_ask_placements(apr_pool_t *pool, const b24bg_rest_portal_t *portal,
                                       b24bg_http_request_t *request);
/* *offered: 1 if PAGE_BACKGROUND_WORKER is among the codes that placement.list names. */
void b24bg_rest_read_placements(apr_pool_t *pool, const b24bg_http_answer_t *answer, int *offered,
                                b24bg_rest_result_t *result);

#endif
