/* Directives: checking them, merging them, and the one check that needs all of them. */
#include "mod_b24bg.h"

#include <ap_config.h>
#include <ap_expr.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(b24bg);

/* Bounds of B24bgMaxBody: spec.md section 3; a CRM filter URL takes kilobytes, protocol.md 1.3. */
#define MAX_BODY_LEAST 16384
#define MAX_BODY_MOST 1048576
#define MAX_BODY_DEFAULT 65536
/* Bitrix24's rule and how far it may change: protocol.md 2.4. */
#define SLOW_LIMIT_DEFAULT (5 * APR_USEC_PER_SEC)
#define SLOW_LIMIT_LEAST (100 * (APR_USEC_PER_SEC / 1000))
#define SLOW_LIMIT_MOST (600 * APR_USEC_PER_SEC)
#define SLOW_COUNT_DEFAULT 10
#define SLOW_COUNT_MOST 1000000

/* A B24bgUse, kept until all apps are known. */
typedef struct {
    const char *name;
    const char *at;
    const char *path; /* of its section */
    server_rec *server;
} use_t;

static b24bg_app_t *new_app(apr_pool_t *pool, const char *name)
{
    b24bg_app_t *app = apr_pcalloc(pool, sizeof(*app));

    app->name = name;
    app->scripts = apr_array_make(pool, 2, sizeof(const char *));
    app->portals = apr_array_make(pool, 2, sizeof(const char *));
    app->max_body = MAX_BODY_DEFAULT;
    app->slow_limit = SLOW_LIMIT_DEFAULT;
    app->slow_count = SLOW_COUNT_DEFAULT;
    return app;
}

void b24bg_config_begin(apr_pool_t *pconf)
{
    b24bg_main = apr_pcalloc(pconf, sizeof(*b24bg_main));
    b24bg_main->apps = apr_array_make(pconf, 2, sizeof(b24bg_app_t *));
    b24bg_main->uses = apr_array_make(pconf, 2, sizeof(use_t));
    b24bg_main->places = apr_array_make(pconf, 4, sizeof(b24bg_place_t));
    b24bg_main->max_portals = B24BG_TABLE_PORTALS_DEFAULT;
    b24bg_main->default_app = new_app(pconf, "default");
    b24bg_main->default_app->page = b24bg_page_build(pconf, b24bg_main->default_app->scripts,
                                                     &b24bg_main->default_app->page_length);
}

void *b24bg_config_create_server(apr_pool_t *pool, server_rec *s)
{
    b24bg_server_t *server = apr_pcalloc(pool, sizeof(*server));

    (void)s;
    server->apps = apr_array_make(pool, 2, sizeof(b24bg_app_t *));
    return server;
}

void *b24bg_config_merge_server(apr_pool_t *pool, void *base, void *add)
{
    b24bg_server_t *server = apr_pcalloc(pool, sizeof(*server));

    server->apps =
        apr_array_append(pool, ((b24bg_server_t *)base)->apps, ((b24bg_server_t *)add)->apps);
    return server;
}

void *b24bg_config_create_location(apr_pool_t *pool, char *place)
{
    (void)place;
    return apr_pcalloc(pool, sizeof(b24bg_location_t));
}

void *b24bg_config_merge_location(apr_pool_t *pool, void *base, void *add)
{
    b24bg_location_t *merged = apr_pcalloc(pool, sizeof(*merged));
    const b24bg_location_t *above = add;

    merged->use = above->use ? above->use : ((b24bg_location_t *)base)->use;
    return merged;
}

/* Messages: every one names the directive, the value, and what is allowed. */

static const char *bad(cmd_parms *cmd, const char *value, const char *allowed)
{
    return apr_psprintf(cmd->pool, "%s \"%s\": %s", cmd->cmd->name, value, allowed);
}

static const char *where(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

/* NULL if the directive stands in an app, and then *app is that; else what is wrong. */
static const char *in_app(cmd_parms *cmd, b24bg_app_t **app)
{
    b24bg_main->configured = 1;
    *app = b24bg_main->open_app;
    return *app ? NULL
                : apr_psprintf(cmd->pool, "%s stands inside <B24bgApp name> only", cmd->cmd->name);
}

static const char *global_only(cmd_parms *cmd)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    b24bg_main->configured = 1;
    if (!error && b24bg_main->open_app) {
        error = apr_psprintf(cmd->pool, "%s stands outside of <B24bgApp>", cmd->cmd->name);
    }
    return error;
}

/* Setters, in the order of the directive table */

static const char *set_worker_url(cmd_parms *cmd, void *unused, const char *url)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (!error) {
        app->worker_url = url;
    }
    return error;
}

static const char *set_error_url(cmd_parms *cmd, void *unused, const char *url)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (!error) {
        app->error_url = url;
    }
    return error;
}

static const char *add_script(cmd_parms *cmd, void *unused, const char *url)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (!error) {
        APR_ARRAY_PUSH(app->scripts, const char *) = url;
    }
    return error;
}

static const char *set_bx24(cmd_parms *cmd, void *unused, const char *value)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);
    int on;

    (void)unused;
    if (error) {
        return error;
    }
    app->bx24_set = 1;
    if (!b24bg_value_switch(cmd->pool, value, &on)) {
        app->bx24 = on ? B24BG_PAGE_BX24 : NULL;
    } else if (strchr(value, '/')) {
        app->bx24 = value;
    } else {
        return bad(cmd, value, "on, off or the URL of a copy of BX24.js is allowed");
    }
    return NULL;
}

static const char *set_max_body(cmd_parms *cmd, void *unused, const char *value)
{
    b24bg_app_t *app;
    apr_int64_t bytes;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (error) {
        return error;
    }
    error = b24bg_value_number(cmd->pool, value, MAX_BODY_LEAST, MAX_BODY_MOST, &bytes);
    if (error) {
        return bad(cmd, value, error);
    }
    app->max_body = (apr_size_t)bytes;
    return NULL;
}

static const char *set_page(cmd_parms *cmd, void *unused, const char *file)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (error) {
        return error;
    }
    app->own_page.path = ap_server_root_relative(cmd->pool, file);
    if (!app->own_page.path) {
        return bad(cmd, file, "a path, absolute or below ServerRoot, is allowed");
    }
    error = b24bg_background_load_page(&app->own_page, cmd->pool);
    return error ? bad(cmd, file, error) : NULL;
}

static const char *add_portal(cmd_parms *cmd, void *unused, const char *text)
{
    b24bg_app_t *app;
    const char *pattern;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (error) {
        return error;
    }
    error = b24bg_value_pattern(cmd->pool, text, &pattern);
    if (error) {
        return bad(cmd, text, error);
    }
    APR_ARRAY_PUSH(app->portals, const char *) = pattern;
    return NULL;
}

static const char *set_slow_limit(cmd_parms *cmd, void *unused, const char *time, const char *count)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (error) {
        return error;
    }
    error = b24bg_value_time(cmd->pool, time, SLOW_LIMIT_LEAST, SLOW_LIMIT_MOST, &app->slow_limit);
    if (error) {
        return bad(cmd, time, error);
    }
    error = b24bg_value_number(cmd->pool, count, 1, SLOW_COUNT_MOST, &app->slow_count);
    return error ? bad(cmd, count, error) : NULL;
}

static const char *set_allow_http(cmd_parms *cmd, void *unused, const char *value)
{
    b24bg_app_t *app;
    const char *error = in_app(cmd, &app);

    (void)unused;
    if (error) {
        return error;
    }
    error = b24bg_value_switch(cmd->pool, value, &app->allow_http);
    return error ? bad(cmd, value, error) : NULL;
}

static const char *set_max_portals(cmd_parms *cmd, void *unused, const char *value)
{
    apr_int64_t portals;
    const char *error = global_only(cmd);

    (void)unused;
    if (error) {
        return error;
    }
    error = b24bg_value_number(cmd->pool, value, 1, B24BG_TABLE_PORTALS_MAX, &portals);
    if (error) {
        return bad(cmd, value, error);
    }
    b24bg_main->max_portals = (apr_uint32_t)portals;
    return NULL;
}

static const char *set_use(cmd_parms *cmd, void *conf, const char *name)
{
    b24bg_location_t *location = conf;
    use_t *use;

    if (!cmd->path) {
        return apr_psprintf(cmd->pool, "%s stands inside <Location> or <Directory> only",
                            cmd->cmd->name);
    }
    b24bg_main->configured = 1;
    location->use = name;
    use = apr_array_push(b24bg_main->uses);
    use->name = name;
    use->at = where(cmd);
    use->path = cmd->path;
    use->server = cmd->server;
    return NULL;
}

/* <B24bgApp name> */

/* URLs are checked at the end of the app, when B24bgAllowHTTP is known wherever it stood. */
static const char *check_url(apr_pool_t *pool, const b24bg_app_t *app, const char *directive,
                             const char *url, int flags, apr_size_t longest)
{
    const char *error;

    if (!url) {
        return NULL;
    }
    flags |= app->allow_http ? B24BG_VALUE_URL_HTTP : 0;
    error = b24bg_value_url(pool, url, flags, longest);
    return error ? apr_psprintf(pool, "%s \"%s\": %s", directive, url, error) : NULL;
}

static const char *check_urls(apr_pool_t *pool, const b24bg_app_t *app)
{
    const char *error =
        check_url(pool, app, "B24bgWorkerURL", app->worker_url, 0, B24BG_VALUE_WORKER_URL_MAX);
    int i;

    if (!error) {
        error = check_url(pool, app, "B24bgErrorURL", app->error_url, B24BG_VALUE_URL_NO_QUERY,
                          B24BG_VALUE_ERROR_URL_MAX);
    }
    if (!error) {
        error = check_url(pool, app, "B24bgBX24", app->bx24, B24BG_VALUE_URL_PATH, B24BG_PAGE_MAX);
    }
    for (i = 0; i < app->scripts->nelts && !error; i++) {
        error = check_url(pool, app, "B24bgScript", APR_ARRAY_IDX(app->scripts, i, const char *),
                          B24BG_VALUE_URL_PATH, B24BG_PAGE_MAX);
    }
    return error;
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
    app->page = b24bg_page_build(pool, urls, &app->page_length);
    if (app->page_length > B24BG_PAGE_MAX) {
        return apr_psprintf(pool,
                            "B24bgScript \"%s\": the page would take %" APR_SIZE_T_FMT
                            " bytes, and %d are allowed: fewer or shorter URLs",
                            APR_ARRAY_IDX(urls, urls->nelts - 1, const char *), app->page_length,
                            B24BG_PAGE_MAX);
    }
    return NULL;
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

static const char *finish_app(cmd_parms *cmd, b24bg_app_t *app)
{
    const char *error = check_urls(cmd->pool, app);

    if (!error) {
        error = build_page(cmd->pool, app);
    }
    if (!error) {
        build_csp(cmd->pool, app);
        warn_of_blockers(cmd, app);
    }
    return error;
}

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

static const char *open_app(cmd_parms *cmd, void *conf, const char *arguments)
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
    if (error) {
        return error;
    }
    app = new_app(cmd->pool, name);
    app->defined_at = where(cmd);
    APR_ARRAY_PUSH(b24bg_main->apps, b24bg_app_t *) = app;
    APR_ARRAY_PUSH(server->apps, b24bg_app_t *) = app;
    b24bg_main->open_app = app;
    error = ap_walk_config(cmd->directive->first_child, cmd, conf);
    b24bg_main->open_app = NULL;
    return error ? error : finish_app(cmd, app);
}

const command_rec b24bg_directives[] = {
    AP_INIT_RAW_ARGS("<B24bgApp", open_app, NULL, RSRC_CONF,
                     "name of a Bitrix24 application: a-z, 0-9, _ and -, at most 32"),
    AP_INIT_TAKE1("B24bgWorkerURL", set_worker_url, NULL, RSRC_CONF,
                  "public URL of the worker, at most 255 characters"),
    AP_INIT_TAKE1("B24bgErrorURL", set_error_url, NULL, RSRC_CONF,
                  "public URL for notices, without a query, at most 200 characters"),
    AP_INIT_ITERATE("B24bgScript", add_script, NULL, RSRC_CONF,
                    "scripts to attach after the load event, in order"),
    AP_INIT_TAKE1("B24bgBX24", set_bx24, NULL, RSRC_CONF,
                  "on, off, or the URL of a copy of BX24.js to attach before the scripts"),
    AP_INIT_TAKE1("B24bgMaxBody", set_max_body, NULL, RSRC_CONF,
                  "largest body in bytes, 16384 to 1048576"),
    AP_INIT_TAKE1("B24bgPage", set_page, NULL, RSRC_CONF,
                  "file with a page of your own, at most 65536 bytes"),
    AP_INIT_ITERATE("B24bgPortals", add_portal, NULL, RSRC_CONF,
                    "hosts of the portals served, as crm.example.com or *.bitrix24.ru"),
    AP_INIT_TAKE2("B24bgSlowLimit", set_slow_limit, NULL, RSRC_CONF,
                  "Bitrix24's rule: time of a slow load, and how many are allowed"),
    AP_INIT_TAKE1("B24bgAllowHTTP", set_allow_http, NULL, RSRC_CONF,
                  "on or off: plain http for URLs, in tests and closed networks"),
    AP_INIT_TAKE1("B24bgMaxPortals", set_max_portals, NULL, RSRC_CONF,
                  "portals that shared memory has room for, 1 to 1048576"),
    AP_INIT_TAKE1("B24bgUse", set_use, NULL, ACCESS_CONF, "the app that this Location serves"),
    {NULL, {NULL}, NULL, 0, RAW_ARGS, NULL}};

/* Looking up */

int b24bg_config_kind(const char *handler)
{
    if (handler && strncmp(handler, "b24bg-", 6) == 0) {
        if (strcmp(handler + 6, "worker") == 0) {
            return B24BG_KIND_WORKER;
        }
        if (strcmp(handler + 6, "error") == 0) {
            return B24BG_KIND_ERROR;
        }
    }
    return -1;
}

/* SetHandler takes an expression since httpd 2.4.54; ours is a word. */
int b24bg_config_kind_here(request_rec *r)
{
    const core_dir_config *dir = ap_get_core_module_config(r->per_dir_config);
    const char *handler = dir->handler;
    const char *error = NULL;

    if (!handler && dir->expr_handler) {
        handler = ap_expr_str_exec(r, dir->expr_handler, &error);
    }
    return error ? -1 : b24bg_config_kind(handler);
}

static b24bg_app_t *named_app(const server_rec *s, const char *name)
{
    const b24bg_server_t *server = ap_get_module_config(s->module_config, &b24bg_module);
    int i;

    for (i = 0; i < server->apps->nelts; i++) {
        b24bg_app_t *app = APR_ARRAY_IDX(server->apps, i, b24bg_app_t *);
        if (strcmp(app->name, name) == 0) {
            return app;
        }
    }
    return NULL;
}

b24bg_app_t *b24bg_config_app(const server_rec *s, const b24bg_location_t *location)
{
    const b24bg_server_t *server = ap_get_module_config(s->module_config, &b24bg_module);

    if (location->use) {
        return named_app(s, location->use);
    }
    switch (server->apps->nelts) {
    case 0:
        return b24bg_main->default_app;
    case 1:
        return APR_ARRAY_IDX(server->apps, 0, b24bg_app_t *);
    default:
        return NULL;
    }
}

int b24bg_config_is_used(void)
{
    return b24bg_main->configured || b24bg_main->places->nelts;
}

/* Finding the places: the configuration as it was read, in its order */

static const ap_directive_t *next_directive(const ap_directive_t *at)
{
    if (at->first_child) {
        return at->first_child;
    }
    while (at && !at->next) {
        at = at->parent;
    }
    return at ? at->next : NULL;
}

static const server_rec *server_of(const ap_directive_t *at, const server_rec *main_server)
{
    const server_rec *s;

    while (at && ap_cstr_casecmp(at->directive, "<VirtualHost") != 0) {
        at = at->parent;
    }
    for (s = main_server->next; at && s; s = s->next) {
        if (s->defn_name && strcmp(s->defn_name, at->filename) == 0 &&
            s->defn_line_number == (unsigned)at->line_num) {
            return s;
        }
    }
    return main_server;
}

static void find_places(apr_pool_t *pool, const server_rec *main_server)
{
    const ap_directive_t *at;

    for (at = ap_conftree; at; at = next_directive(at)) {
        const char *arguments = at->args;
        b24bg_place_t place = {NULL, NULL, -1, NULL};
        if (ap_cstr_casecmp(at->directive, "SetHandler") == 0 ||
            ap_cstr_casecmp(at->directive, "AddHandler") == 0) {
            place.kind = b24bg_config_kind(ap_getword_conf(pool, &arguments));
        }
        if (place.kind < 0) {
            continue;
        }
        place.server = server_of(at, main_server);
        place.at = apr_psprintf(pool, "%s:%d", at->filename, at->line_num);
        if (at->parent && ap_cstr_casecmp(at->parent->directive, "<Location") == 0) {
            arguments = apr_pstrmemdup(pool, at->parent->args, strcspn(at->parent->args, ">"));
            place.path = ap_getword_conf(pool, &arguments);
        }
        APR_ARRAY_PUSH(b24bg_main->places, b24bg_place_t) = place;
    }
}

/* The cross-directive check */

static int check_uses(void)
{
    int i;

    for (i = 0; i < b24bg_main->uses->nelts; i++) {
        const use_t *use = &APR_ARRAY_IDX(b24bg_main->uses, i, use_t);
        if (!named_app(use->server, use->name)) {
            ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, use->server,
                         "B24BG0006: B24bgUse \"%s\" at %s: the name of a <B24bgApp> of this "
                         "server is allowed",
                         use->name, use->at);
            return 0;
        }
    }
    return 1;
}

/* 1 if some B24bgUse may reach the place: its own section's, or one around it. */
static int has_use(const b24bg_place_t *place)
{
    int i;

    for (i = 0; i < b24bg_main->uses->nelts; i++) {
        const use_t *use = &APR_ARRAY_IDX(b24bg_main->uses, i, use_t);
        if (!place->path || strncmp(place->path, use->path, strlen(use->path)) == 0) {
            return 1;
        }
    }
    return 0;
}

static int check_places(void)
{
    static const b24bg_location_t nothing_said;
    int i;

    for (i = 0; i < b24bg_main->places->nelts; i++) {
        const b24bg_place_t *place = &APR_ARRAY_IDX(b24bg_main->places, i, b24bg_place_t);
        if (!has_use(place) && !b24bg_config_app(place->server, &nothing_said)) {
            ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, place->server,
                         "B24BG0007: SetHandler b24bg-%s at %s: this server knows several apps; "
                         "name the one to serve with B24bgUse",
                         b24bg_kind_name(place->kind), place->at);
            return 0;
        }
    }
    return 1;
}

int b24bg_config_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    (void)ptemp;
    find_places(pconf, s);
    return check_uses() && check_places() ? OK : HTTP_INTERNAL_SERVER_ERROR;
}
