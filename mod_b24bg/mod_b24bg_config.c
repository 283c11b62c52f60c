/* The configuration as a whole: defaults, merging, looking up, and the one check that needs all
 * directives. What a single directive means stands in mod_b24bg_directives.c. */
#include "mod_b24bg.h"

#include <ap_expr.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(b24bg);

#define MAX_BODY_DEFAULT 65536
/* Bitrix24's rule: protocol.md 2.4. */
#define SLOW_LIMIT_DEFAULT (5 * APR_USEC_PER_SEC)
#define SLOW_COUNT_DEFAULT 10
/* B24bgRebindBackoff, B24bgSilence, B24bgTimeout: spec.md section 3. */
#define REBIND_FIRST_DEFAULT apr_time_from_sec(60)
#define REBIND_CAP_DEFAULT apr_time_from_sec(6 * 3600)
#define REBIND_PERDAY_DEFAULT 4
#define SILENCE_DEFAULT apr_time_from_sec(30 * 60)
#define CONNECT_TIMEOUT_DEFAULT apr_time_from_sec(5)
#define TOTAL_TIMEOUT_DEFAULT apr_time_from_sec(20)
#define STATE_DIR_DEFAULT "/var/lib/b24bg"
#define STORE_DEFAULT "sqlite3"

b24bg_app_t *b24bg_config_new_app(apr_pool_t *pool, const char *name)
{
    b24bg_app_t *app = apr_pcalloc(pool, sizeof(*app));

    app->name = name;
    app->title = name;
    app->users = apr_array_make(pool, 1, sizeof(apr_int64_t));
    app->scripts = apr_array_make(pool, 2, sizeof(const char *));
    app->portals = apr_array_make(pool, 2, sizeof(const char *));
    app->max_body = MAX_BODY_DEFAULT;
    app->slow_limit = SLOW_LIMIT_DEFAULT;
    app->slow_count = SLOW_COUNT_DEFAULT;
    app->budget_warn = apr_array_make(pool, 2, sizeof(apr_int64_t));
    app->beacon = B24BG_PAGE_BEACON_SLOW;
    app->policy.rebind = 1;
    app->policy.first = REBIND_FIRST_DEFAULT;
    app->policy.cap = REBIND_CAP_DEFAULT;
    app->policy.perday = REBIND_PERDAY_DEFAULT;
    app->silence = SILENCE_DEFAULT;
    app->auth_servers = apr_array_make(pool, 2, sizeof(const char *));
    app->rest.http.connect_timeout = CONNECT_TIMEOUT_DEFAULT;
    app->rest.http.total_timeout = TOTAL_TIMEOUT_DEFAULT;
    return app;
}

/* Half and four fifths of the count, 5 and 8 of 10: spec.md section 3. */
void b24bg_config_budget(b24bg_app_t *app)
{
    apr_int64_t first = app->slow_count > 1 ? app->slow_count / 2 : 1;
    apr_int64_t second = app->slow_count * 4 / 5;

    if (app->budget_warn_set) {
        return;
    }
    APR_ARRAY_PUSH(app->budget_warn, apr_int64_t) = first;
    if (second > first) {
        APR_ARRAY_PUSH(app->budget_warn, apr_int64_t) = second;
    }
}

void b24bg_config_begin(apr_pool_t *pconf)
{
    b24bg_main = apr_pcalloc(pconf, sizeof(*b24bg_main));
    b24bg_main->apps = apr_array_make(pconf, 2, sizeof(b24bg_app_t *));
    b24bg_main->uses = apr_array_make(pconf, 2, sizeof(b24bg_use_t));
    b24bg_main->places = apr_array_make(pconf, 4, sizeof(b24bg_place_t));
    b24bg_main->max_portals = B24BG_TABLE_PORTALS_DEFAULT;
    b24bg_main->state_dir = STATE_DIR_DEFAULT;
    b24bg_main->store_driver = STORE_DEFAULT;
    b24bg_main->default_app = b24bg_config_new_app(pconf, "default");
    b24bg_config_budget(b24bg_main->default_app);
    b24bg_page_build(pconf, b24bg_main->default_app->scripts, b24bg_main->default_app->beacon,
                     b24bg_main->default_app->slow_limit, &b24bg_main->default_app->page);
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
        if (strcmp(handler + 6, "install") == 0) {
            return B24BG_KIND_INSTALL;
        }
    }
    return -1;
}

int b24bg_config_is_status(const char *handler)
{
    return handler && strcmp(handler, "b24bg-status") == 0;
}

/* SetHandler takes an expression, too, since httpd 2.4.19; ours is a word. */
static const char *handler_here(request_rec *r)
{
    const core_dir_config *dir = ap_get_core_module_config(r->per_dir_config);
    const char *handler = dir->handler;
    const char *error = NULL;

    if (!handler && dir->expr_handler) {
        handler = ap_expr_str_exec(r, dir->expr_handler, &error);
    }
    return error ? NULL : handler;
}

int b24bg_config_kind_here(request_rec *r)
{
    return b24bg_config_kind(handler_here(r));
}

int b24bg_config_is_status_here(request_rec *r)
{
    return b24bg_config_is_status(handler_here(r));
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
        b24bg_place_t place = {NULL, NULL, NULL, -1, NULL};
        if (ap_cstr_casecmp(at->directive, "SetHandler") == 0 ||
            ap_cstr_casecmp(at->directive, "AddHandler") == 0) {
            const char *handler = ap_getword_conf(pool, &arguments);
            place.kind = b24bg_config_kind(handler);
            b24bg_main->configured |= b24bg_config_is_status(handler); /* it needs no app */
        }
        if (place.kind < 0) {
            continue;
        }
        place.server = server_of(at, main_server);
        place.at = apr_psprintf(pool, "%s:%d", at->filename, at->line_num);
        place.section = "the server";
        if (at->parent) {
            arguments = apr_pstrmemdup(pool, at->parent->args, strcspn(at->parent->args, ">"));
            place.section = ap_getword_conf(pool, &arguments);
        }
        if (at->parent && ap_cstr_casecmp(at->parent->directive, "<Location") == 0) {
            place.path = place.section;
        }
        APR_ARRAY_PUSH(b24bg_main->places, b24bg_place_t) = place;
    }
}

/* The cross-directive check */

static int check_uses(void)
{
    int i;

    for (i = 0; i < b24bg_main->uses->nelts; i++) {
        const b24bg_use_t *use = &APR_ARRAY_IDX(b24bg_main->uses, i, b24bg_use_t);
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

/* What a Location is told by the longest B24bgUse around it; its app is NULL where it would have to
 * say which. Directories cannot be told: their B24bgUse is found when a request comes. */
static const b24bg_app_t *app_of(const b24bg_place_t *place)
{
    b24bg_location_t location = {NULL};
    apr_size_t longest = 0;
    int i;

    for (i = 0; i < b24bg_main->uses->nelts; i++) {
        const b24bg_use_t *use = &APR_ARRAY_IDX(b24bg_main->uses, i, b24bg_use_t);
        apr_size_t length = strlen(use->path);
        length -= length > 1 && use->path[length - 1] == '/'; /* httpd adds it to directories */
        if (length >= longest && strncmp(place->section, use->path, length) == 0 &&
            named_app(place->server, use->name)) {
            location.use = use->name;
            longest = length;
        }
    }
    return b24bg_config_app(place->server, &location);
}

static int check_place(const b24bg_place_t *place)
{
    const b24bg_app_t *app = app_of(place);

    if (!app) {
        ap_log_error(
            APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, place->server,
            "B24BG0007: SetHandler \"b24bg-%s\" in \"%s\" at %s: this server knows several "
            "apps; name the one to serve with B24bgUse",
            b24bg_kind_name(place->kind), place->section, place->at);
        return 0;
    }
    if (place->kind == B24BG_KIND_INSTALL && !app->rest.client_id &&
        (app != b24bg_main->default_app || b24bg_main->apps->nelts == 0)) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, place->server,
                     "B24BG0014: SetHandler \"b24bg-install\" in \"%s\" at %s: app=%s has no "
                     "B24bgClient, so nobody could be verified",
                     place->section, place->at, app->name);
        return 0;
    }
    return 1;
}

static int check_places(void)
{
    int i;

    for (i = 0; i < b24bg_main->places->nelts; i++) {
        if (!check_place(&APR_ARRAY_IDX(b24bg_main->places, i, b24bg_place_t))) {
            return 0;
        }
    }
    return 1;
}

/* The journal is there for apps that call somebody; without one there is no file and no thread. */
static void place_journal(apr_pool_t *pconf)
{
    int i;

    for (i = 0; i < b24bg_main->apps->nelts; i++) {
        if (APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *)->rest.client_id) {
            b24bg_main->journal = apr_pstrcat(pconf, b24bg_main->state_dir, "/journal", NULL);
        }
    }
}

int b24bg_config_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    (void)ptemp;
    place_journal(pconf);
    find_places(pconf, s);
    return check_uses() && check_places() ? OK : HTTP_INTERNAL_SERVER_ERROR;
}
