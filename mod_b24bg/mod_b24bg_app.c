/* <B24bgApp name>: what its directives say is checked as a whole, and made ready for requests. */
#include "mod_b24bg.h"

#include <apr_strings.h>
#include <http_log.h>

#include <assert.h>

APLOG_USE_MODULE(b24bg);

/* Spec.md section 3. */
static const char *const auth_servers_default[] = {"https://oauth.bitrix.info",
                                                   "https://oauth.bitrix24.tech"};

/* What the URL of a directive may be. */
typedef struct {
    const char *directive;
    int flags;
    apr_size_t longest;
} url_rule_t;

static const url_rule_t worker_rule = {"B24bgWorkerURL", 0, B24BG_VALUE_WORKER_URL_MAX};
static const url_rule_t error_rule = {"B24bgErrorURL", B24BG_VALUE_URL_NO_QUERY,
                                      B24BG_VALUE_ERROR_URL_MAX};
static const url_rule_t bx24_rule = {"B24bgBX24", B24BG_VALUE_URL_PATH, B24BG_PAGE_MAX};
static const url_rule_t script_rule = {"B24bgScript", B24BG_VALUE_URL_PATH, B24BG_PAGE_MAX};
static const url_rule_t auth_server_rule = {"B24bgAuthServer", B24BG_VALUE_URL_NO_QUERY,
                                            B24BG_VALUE_ERROR_URL_MAX};

/* URLs are checked at the end of the app, when B24bgAllowHTTP is known wherever it stood. */
static const char *check_url(apr_pool_t *pool, const b24bg_app_t *app, const url_rule_t *rule,
                             const char *url)
{
    const char *error;
    int flags = rule->flags | (app->allow_http ? B24BG_VALUE_URL_HTTP : 0);

    if (!url) {
        return NULL;
    }
    error = b24bg_value_url(pool, url, flags, rule->longest);
    return error ? apr_psprintf(pool, "%s \"%s\": %s", rule->directive, url, error) : NULL;
}

static const char *check_auth_server(apr_pool_t *pool, const b24bg_app_t *app, const char *url)
{
    const char *error = check_url(pool, app, &auth_server_rule, url);
    const char *host = strstr(url, "://");

    if (!error && !app->allow_http && ap_cstr_casecmpn(url, "http://", 7) == 0) {
        error = apr_psprintf(pool,
                             "B24bgAuthServer \"%s\": https is allowed; http only with "
                             "B24bgAllowHTTP on",
                             url);
    }
    if (!error && strchr(host + 3, '/')) {
        error = apr_psprintf(pool, "B24bgAuthServer \"%s\": https://host without a path is allowed",
                             url);
    }
    return error;
}

static const char *check_urls(apr_pool_t *pool, const b24bg_app_t *app)
{
    const char *error = check_url(pool, app, &worker_rule, app->worker_url);
    int i;

    if (!error) {
        error = check_url(pool, app, &error_rule, app->error_url);
    }
    if (!error) {
        error = check_url(pool, app, &bx24_rule, app->bx24);
    }
    for (i = 0; i < app->auth_servers->nelts && !error; i++) {
        error = check_auth_server(pool, app, APR_ARRAY_IDX(app->auth_servers, i, const char *));
    }
    for (i = 0; i < app->scripts->nelts && !error; i++) {
        error = check_url(pool, app, &script_rule, APR_ARRAY_IDX(app->scripts, i, const char *));
    }
    return error;
}

/* A portal cuts a HANDLER that is longer, and would take it for another one ever after. */
static const char *check_users(apr_pool_t *pool, const b24bg_app_t *app)
{
    int i;

    for (i = 0; app->worker_url && i < app->users->nelts; i++) {
        apr_int64_t id = APR_ARRAY_IDX(app->users, i, apr_int64_t);
        apr_size_t length = strlen(b24bg_value_handler_url(pool, app->worker_url, id));
        if (length > B24BG_VALUE_WORKER_URL_MAX) {
            return apr_psprintf(pool,
                                "B24bgUsers \"%" APR_INT64_T_FMT "\": with u=%" APR_INT64_T_FMT
                                " B24bgWorkerURL has %" APR_SIZE_T_FMT
                                " characters, and %d are allowed",
                                id, id, length, B24BG_VALUE_WORKER_URL_MAX);
        }
    }
    return NULL;
}

/* The portal takes no registration without an error URL. */
static const char *check_registration(apr_pool_t *pool, const b24bg_app_t *app)
{
    if (!app->rest.client_id || !app->worker_url == !app->error_url) {
        return NULL;
    }
    return apr_psprintf(pool,
                        "<B24bgApp \"%s\">: %s is missing: with B24bgClient, B24bgWorkerURL and "
                        "B24bgErrorURL are allowed together only",
                        app->name, app->worker_url ? "B24bgErrorURL" : "B24bgWorkerURL");
}

static const char *build_page(apr_pool_t *pool, b24bg_app_t *app)
{
    apr_array_header_t *urls = apr_array_make(pool, app->scripts->nelts + 1, sizeof(const char *));

    if (!app->bx24_set && app->scripts->nelts) {
        app->bx24 = B24BG_PAGE_BX24;
    }
    if (app->bx24) {
        APR_ARRAY_PUSH(urls, const char *) = app->bx24;
    }
    apr_array_cat(urls, app->scripts);
    b24bg_page_build(pool, urls, app->beacon, app->slow_limit, &app->page);
    if (app->own_page.path) {
        b24bg_own_page_complete(&app->own_page, app, pool);
    }
    if (app->page.length > B24BG_PAGE_MAX) {
        return apr_psprintf(pool,
                            "B24bgScript \"%s\": the page would take %" APR_SIZE_T_FMT
                            " bytes, and %d are allowed: fewer or shorter URLs",
                            APR_ARRAY_IDX(urls, urls->nelts - 1, const char *), app->page.length,
                            B24BG_PAGE_MAX);
    }
    return NULL;
}

static void build_install_page(apr_pool_t *pool, b24bg_app_t *app)
{
    app->install_page = b24bg_page_install(pool, app->bx24 ? app->bx24 : B24BG_PAGE_BX24,
                                           &app->install_page_length);
}

static void finish_rest(b24bg_app_t *app)
{
    apr_size_t i;

    if (app->auth_servers->nelts == 0) {
        for (i = 0; i < sizeof(auth_servers_default) / sizeof(auth_servers_default[0]); i++) {
            APR_ARRAY_PUSH(app->auth_servers, const char *) = auth_servers_default[i];
        }
    }
    app->rest.auth_servers = app->auth_servers;
    app->rest.portals = app->portals;
    app->rest.http.allow_http = app->allow_http;
}

/* CSP takes the patterns nearly as they are; a pattern without a port means every port to us. */
static void build_csp(apr_pool_t *pool, b24bg_app_t *app)
{
    const char *sources = "";
    int i;

    for (i = 0; i < app->portals->nelts; i++) {
        const char *pattern = APR_ARRAY_IDX(app->portals, i, const char *);
        const char *port = strchr(pattern, ':') ? "" : ":*";
        sources = apr_pstrcat(pool, sources, " https://", pattern, port, NULL);
        if (app->allow_http) {
            sources = apr_pstrcat(pool, sources, " http://", pattern, port, NULL);
        }
    }
    app->csp = *sources ? apr_pstrcat(pool, "frame-ancestors", sources, NULL) : NULL;
}

static void warn_of_blockers(cmd_parms *cmd, const b24bg_app_t *app)
{
    apr_array_header_t *found;

    if (!app->own_page.path) {
        return;
    }
    found = b24bg_page_blockers(cmd->temp_pool, app->own_page.text);
    if (found->nelts) {
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, cmd->server,
                     "B24BG0005: B24bgPage \"%s\" of app=%s holds %s: it delays the load event "
                     "that Bitrix24 measures, or makes another one; attach scripts after load",
                     app->own_page.path, app->name, apr_array_pstrcat(cmd->temp_pool, found, ' '));
    }
}

static void finish_budget(cmd_parms *cmd, b24bg_app_t *app)
{
    const apr_array_header_t *numbers = app->budget_warn;

    b24bg_config_budget(app);
    if (APR_ARRAY_IDX(numbers, numbers->nelts - 1, apr_int64_t) > app->slow_count) {
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, cmd->server,
                     "B24BG0015: B24bgBudgetWarn %" APR_INT64_T_FMT
                     " of app=%s is above the %" APR_INT64_T_FMT
                     " slow loads of B24bgSlowLimit: by then the registration is deleted",
                     APR_ARRAY_IDX(numbers, numbers->nelts - 1, apr_int64_t), app->name,
                     app->slow_count);
    }
}

static const char *finish_app(cmd_parms *cmd, b24bg_app_t *app)
{
    const char *error = check_urls(cmd->pool, app);

    if (!error) {
        error = check_users(cmd->pool, app);
    }
    if (!error) {
        error = check_registration(cmd->pool, app);
    }
    if (!error) {
        error = build_page(cmd->pool, app);
    }
    if (!error) {
        finish_rest(app);
        finish_budget(cmd, app);
        build_install_page(cmd->pool, app);
        build_csp(cmd->pool, app);
        warn_of_blockers(cmd, app);
    }
    return error;
}

static_assert(B24BG_TABLE_LABEL_SIZE == B24BG_VALUE_LABEL_MAX + 1,
              "the table has room for every name, and no more");

static const char *check_app_name(cmd_parms *cmd, const char *name)
{
    const char *error = b24bg_value_label(cmd->pool, name);
    int i;

    for (i = 0; i < b24bg_main->apps->nelts && !error; i++) {
        const b24bg_app_t *other = APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *);
        if (strcmp(other->name, name) == 0) {
            error = apr_psprintf(cmd->pool,
                                 "a name that no other app has is allowed; this one is "
                                 "defined at %s",
                                 other->defined_at);
        }
    }
    if (!error && b24bg_main->apps->nelts == B24BG_TABLE_APPS_MAX - 1) {
        error = apr_psprintf(cmd->pool, "%d apps are allowed", B24BG_TABLE_APPS_MAX - 1);
    }
    return error ? apr_psprintf(cmd->pool, "<B24bgApp \"%s\">: %s", name, error) : NULL;
}

/* httpd would apply any other directive in here to the whole server. */
static const char *check_children(cmd_parms *cmd)
{
    const ap_directive_t *at;

    for (at = cmd->directive->first_child; at; at = at->next) {
        if (ap_cstr_casecmpn(at->directive, "B24bg", 5) != 0 &&
            ap_cstr_casecmpn(at->directive, "<B24bg", 6) != 0) {
            return apr_psprintf(cmd->pool,
                                "%s at %s:%d: only directives of this module are allowed in "
                                "<B24bgApp>",
                                at->directive, at->filename, at->line_num);
        }
    }
    return NULL;
}

const char *b24bg_app_open(cmd_parms *cmd, void *conf, const char *arguments)
{
    b24bg_server_t *server = ap_get_module_config(cmd->server->module_config, &b24bg_module);
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const char *end = ap_strrchr_c(arguments, '>');
    const char *name;
    b24bg_app_t *app;

    b24bg_main->configured = 1;
    if (error) {
        return error;
    }
    if (b24bg_main->open_app) {
        return "<B24bgApp> does not stand inside another <B24bgApp>";
    }
    if (!end) {
        return "<B24bgApp name>: the closing \">\" is missing";
    }
    arguments = apr_pstrmemdup(cmd->pool, arguments, (apr_size_t)(end - arguments));
    name = ap_getword_conf(cmd->pool, &arguments);
    if (*arguments) {
        return "<B24bgApp name>: one name is allowed";
    }
    error = check_app_name(cmd, name);
    error = error ? error : check_children(cmd);
    if (error) {
        return error;
    }
    app = b24bg_config_new_app(cmd->pool, name);
    app->defined_at =
        apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
    APR_ARRAY_PUSH(b24bg_main->apps, b24bg_app_t *) = app;
    APR_ARRAY_PUSH(server->apps, b24bg_app_t *) = app;
    b24bg_main->open_app = app;
    error = ap_walk_config(cmd->directive->first_child, cmd, conf);
    b24bg_main->open_app = NULL;
    return error ? error : finish_app(cmd, app);
}
