/* A portal, asked by webhook: whether it is in reach from here, and what it says of our placement.
 */
#include "b24bgctl_check.h"

#include "b24bg_placement.h"
#include "b24bg_rest.h"

#include <apr_cstr.h>

#include <signal.h>

#define WEBHOOK "webhook"

static int ask(const b24bgctl_check_t *check, const char *webhook, b24bg_rest_app_t *app,
               b24bg_http_request_t *request)
{
    const b24bg_rest_app_t any = {
        .client_id = "",
        .auth_servers = apr_array_make(check->pool, 1, sizeof(const char *)),
        .portals = apr_array_make(check->pool, 1, sizeof(const char *)),
        .http = {.connect_timeout = apr_time_from_sec(check->manner.timeout),
                 .total_timeout = apr_time_from_sec(check->manner.timeout),
                 .ca_file = check->manner.ca_file,
                 .allow_http = 1}};
    const b24bg_rest_portal_t portal = {app, webhook, ""};

    *app = any;
    return b24bg_rest_ask_placements(check->pool, &portal, request) == APR_SUCCESS;
}

int b24bgctl_is_webhook(const b24bgctl_check_t *check, const char *url)
{
    b24bg_rest_app_t app;
    b24bg_http_request_t request;

    return ask(check, url, &app, &request);
}

static void judge(b24bgctl_check_t *check, const b24bg_rest_result_t *result, int offered)
{
    if (result->class == B24BG_REST_OK) {
        b24bgctl_find(check, offered ? B24BGCTL_FOUND_OK : B24BGCTL_FOUND_CRITICAL, WEBHOOK,
                      offered ? "" : "nothing can be registered there; ask Bitrix24's support",
                      "the portal answers, and %s " B24BG_PLACEMENT_CODE,
                      offered ? "offers" : "does not offer");
    } else if (apr_cstr_casecmp(result->code, "WRONG_AUTH_TYPE") == 0) {
        b24bgctl_find(check, B24BGCTL_FOUND_NOTE, WEBHOOK,
                      "nothing is wrong with it: install the application, whose token the module "
                      "then uses",
                      "the portal is in reach and answers WRONG_AUTH_TYPE, as it does to every "
                      "webhook that asks for placements (%s)",
                      result->detail);
    } else {
        b24bgctl_find(check,
                      result->class == B24BG_REST_AGAIN ? B24BGCTL_FOUND_WARNING
                                                        : B24BGCTL_FOUND_CRITICAL,
                      WEBHOOK, "without an answer nothing can be registered there",
                      "placement.list ends with %s: %s", result->code, result->detail);
    }
}

static void take_answer(void *baton, const b24bg_http_answer_t *answer)
{
    b24bgctl_check_t *check = baton;
    b24bg_rest_result_t result;
    int offered = 0;

    b24bg_rest_read_placements(check->pool, answer, &offered, &result);
    judge(check, &result, offered);
}

void b24bgctl_check_webhook(b24bgctl_check_t *check, const char *webhook)
{
    b24bg_http_request_t request;
    b24bg_rest_app_t app;
    b24bg_http_t *http;
    int running = 1;

    signal(SIGPIPE, SIG_IGN);
    if (!ask(check, webhook, &app, &request) ||
        b24bg_http_create(check->pool, NULL, &http) != APR_SUCCESS ||
        http->start(http, &request, take_answer, check) != APR_SUCCESS) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, WEBHOOK, "", "it cannot be asked");
        return;
    }
    while (running && http->perform(http, APR_USEC_PER_SEC, &running) == APR_SUCCESS) {
    }
}
