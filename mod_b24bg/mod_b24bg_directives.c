/* The directives: the table at the end, above it a setter for each. */
#include "mod_b24bg.h"

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(b24bg);

/* Bounds of B24bgMaxBody: spec.md section 3; a CRM filter URL takes kilobytes, protocol.md 1.3. */
#define MAX_BODY_LEAST 16384
#define MAX_BODY_MOST 1048576
/* How far Bitrix24's rule may change (it did: protocol.md 2.4). */
#define SLOW_LIMIT_LEAST (100 * (APR_USEC_PER_SEC / 1000))
#define SLOW_LIMIT_MOST (600 * APR_USEC_PER_SEC)
#define SLOW_COUNT_MOST 1000000
/* Nobody wants more lines of one portal in a window. */
#define BUDGET_WARN_MOST 16
/* The portal's own limit is 60 s: protocol.md 8.3. */
#define TIMEOUT_LEAST (100 * (APR_USEC_PER_SEC / 1000))
#define TIMEOUT_MOST apr_time_from_sec(60)
/* Each is a registration, a call to the portal at every repair, and a place in shared memory. */
#define USERS_MOST 100
/* B24bgRebindBackoff. Whoever waits longer than a day does not want to be repaired. */
#define DELAY_MOST B24BG_REGISTRATION_DAY
/* B24bgSilence. Only tests can use one as short as the least. */
#define SILENCE_LEAST APR_USEC_PER_SEC
#define SILENCE_MOST apr_time_from_sec(24 * 3600)
/* Longest secret: those of Bitrix24 have 50 characters. */
#define SECRET_MAX 256

/* A setter gets the app (NULL outside of one) and the values, and returns NULL or what is allowed;
 * what surrounds it adds the directive's name and the value. */
typedef const char *setter_fn(cmd_parms *cmd, b24bg_app_t *app, const char *value,
                              const char *second);
/* The same for more values; they end in NULL, are the setter's to change, and live as long as the
 * configuration. */
typedef const char *list_setter_fn(cmd_parms *cmd, b24bg_app_t *app, const char **values);
typedef struct {
    setter_fn *set;
    list_setter_fn *set_list; /* in place of set */
    int in_app;               /* inside <B24bgApp> only, else in the main server only */
} setter_t;

#define IN_APP(name) static const setter_t name##_setter = {name, NULL, 1}
#define IN_APP_LIST(name) static const setter_t name##_setter = {NULL, name, 1}
#define GLOBAL(name) static const setter_t name##_setter = {name, NULL, 0}

static const char *where(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

/* NULL if the directive stands where it may. */
static const char *check_place(cmd_parms *cmd, const setter_t *setter)
{
    b24bg_main->configured = 1;
    if (setter->in_app) {
        return b24bg_main->open_app
                   ? NULL
                   : apr_psprintf(cmd->pool, "%s stands inside <B24bgApp> only", cmd->cmd->name);
    }
    if (b24bg_main->open_app) {
        return apr_psprintf(cmd->pool, "%s stands outside of <B24bgApp>", cmd->cmd->name);
    }
    return ap_check_cmd_context(cmd, GLOBAL_ONLY);
}

/* Messages name the directive, the value, and what is allowed. */
static const char *take2(cmd_parms *cmd, void *unused, const char *value, const char *second)
{
    const setter_t *setter = cmd->info;
    const char *error = check_place(cmd, setter);

    (void)unused;
    if (error) {
        return error;
    }
    error = setter->set(cmd, b24bg_main->open_app, value, second);
    return error ? apr_psprintf(cmd->pool, "%s \"%s%s%s\": %s", cmd->cmd->name, value,
                                second ? " " : "", second ? second : "", error)
                 : NULL;
}

static const char *take1(cmd_parms *cmd, void *unused, const char *value)
{
    return take2(cmd, unused, value, NULL);
}

static const char *take_list(cmd_parms *cmd, const char **values, const char *shown)
{
    const setter_t *setter = cmd->info;
    const char *error = check_place(cmd, setter);

    if (error) {
        return error;
    }
    error = setter->set_list(cmd, b24bg_main->open_app, values);
    return error ? apr_psprintf(cmd->pool, "%s \"%s\": %s", cmd->cmd->name, shown, error) : NULL;
}

static const char *take3(cmd_parms *cmd, void *unused, const char *value, const char *second,
                         const char *third)
{
    const char **values = apr_pcalloc(cmd->pool, 4 * sizeof(*values));

    (void)unused;
    values[0] = value;
    values[1] = second;
    values[2] = third;
    return take_list(cmd, values, apr_pstrcat(cmd->pool, value, " ", second, " ", third, NULL));
}

/* A command; the message does not show its arguments, among which a secret may be. */
static const char *take_argv(cmd_parms *cmd, void *unused, int count, char *const arguments[])
{
    const char **values = apr_pcalloc(cmd->pool, ((apr_size_t)count + 1) * sizeof(*values));
    int i;

    (void)unused;
    if (count == 0) {
        return apr_psprintf(cmd->pool, "%s takes at least one argument, %s", cmd->cmd->name,
                            cmd->cmd->errmsg);
    }
    for (i = 0; i < count; i++) {
        values[i] = arguments[i];
    }
    return take_list(cmd, values, values[0]);
}

/* Setters */

static const char *worker_url(cmd_parms *cmd, b24bg_app_t *app, const char *url, const char *none)
{
    (void)cmd;
    (void)none;
    app->worker_url = url;
    return NULL;
}
IN_APP(worker_url);

static const char *error_url(cmd_parms *cmd, b24bg_app_t *app, const char *url, const char *none)
{
    (void)cmd;
    (void)none;
    app->error_url = url;
    return NULL;
}
IN_APP(error_url);

static const char *title(cmd_parms *cmd, b24bg_app_t *app, const char *text, const char *none)
{
    (void)none;
    app->title = text;
    return b24bg_value_text(cmd->pool, text, B24BG_VALUE_TITLE_MAX);
}
IN_APP(title);

static const char *user(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    apr_int64_t id;
    const char *error = b24bg_value_number(cmd->pool, value, 1, B24BG_VALUE_USER_MAX, &id);
    int i;

    (void)none;
    for (i = 0; i < app->users->nelts && !error; i++) {
        if (APR_ARRAY_IDX(app->users, i, apr_int64_t) == id) {
            error = "each user is allowed once";
        }
    }
    if (!error && app->users->nelts == USERS_MOST) {
        error = apr_psprintf(cmd->pool, "%d users are allowed", USERS_MOST);
    }
    if (!error) {
        APR_ARRAY_PUSH(app->users, apr_int64_t) = id;
    }
    return error;
}
IN_APP(user);

static const char *script(cmd_parms *cmd, b24bg_app_t *app, const char *url, const char *none)
{
    (void)cmd;
    (void)none;
    APR_ARRAY_PUSH(app->scripts, const char *) = url;
    return NULL;
}
IN_APP(script);

static const char *bx24(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    int on;

    (void)none;
    app->bx24_set = 1;
    if (!b24bg_value_switch(cmd->pool, value, &on)) {
        app->bx24 = on ? B24BG_PAGE_BX24 : NULL;
        return NULL;
    }
    app->bx24 = value;
    return strchr(value, '/') ? NULL : "on, off or the URL of a copy of BX24.js is allowed";
}
IN_APP(bx24);

static const char *max_body(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    (void)none;
    return b24bg_value_number(cmd->pool, value, MAX_BODY_LEAST, MAX_BODY_MOST, &app->max_body);
}
IN_APP(max_body);

static const char *page(cmd_parms *cmd, b24bg_app_t *app, const char *file, const char *none)
{
    (void)none;
    app->own_page.path = ap_server_root_relative(cmd->pool, file);
    if (!app->own_page.path) {
        return "a path, absolute or below ServerRoot, is allowed";
    }
    return b24bg_own_page_load(&app->own_page, cmd->pool);
}
IN_APP(page);

static const char *portal(cmd_parms *cmd, b24bg_app_t *app, const char *text, const char *none)
{
    const char *pattern;
    const char *error = b24bg_value_pattern(cmd->pool, text, &pattern);

    (void)none;
    if (!error) {
        APR_ARRAY_PUSH(app->portals, const char *) = pattern;
    }
    return error;
}
IN_APP(portal);

static const char *slow_limit(cmd_parms *cmd, b24bg_app_t *app, const char *time, const char *count)
{
    const char *error =
        b24bg_value_time(cmd->pool, time, SLOW_LIMIT_LEAST, SLOW_LIMIT_MOST, &app->slow_limit);

    return error ? error
                 : b24bg_value_number(cmd->pool, count, 1, SLOW_COUNT_MOST, &app->slow_count);
}
IN_APP(slow_limit);

static const char *rebind(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    (void)none;
    return b24bg_value_switch(cmd->pool, value, &app->policy.rebind);
}
IN_APP(rebind);

static const char *rebind_backoff(cmd_parms *cmd, b24bg_app_t *app, const char **values)
{
    b24bg_registration_policy_t *policy = &app->policy;
    apr_int64_t perday;
    const char *error = b24bg_value_time(cmd->pool, values[0], 0, DELAY_MOST, &policy->first);

    if (error) {
        return apr_pstrcat(cmd->pool, "first delay: ", error, NULL);
    }
    error = b24bg_value_time(cmd->pool, values[1], policy->first, DELAY_MOST, &policy->cap);
    if (error) {
        return apr_pstrcat(cmd->pool, "longest delay, not below the first: ", error, NULL);
    }
    error = b24bg_value_number(cmd->pool, values[2], 1, B24BG_REGISTRATION_PERDAY_MAX, &perday);
    if (error) {
        return apr_pstrcat(cmd->pool, "binds a day: ", error, NULL);
    }
    policy->perday = (int)perday;
    return NULL;
}
IN_APP_LIST(rebind_backoff);

static const char *silence(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    const char *error;

    (void)none;
    if (ap_cstr_casecmp(value, "off") == 0) {
        app->silence = 0;
        return NULL;
    }
    error = b24bg_value_time(cmd->pool, value, SILENCE_LEAST, SILENCE_MOST, &app->silence);
    return error ? apr_pstrcat(cmd->pool, "off is allowed, or ", error, NULL) : NULL;
}
IN_APP(silence);

/* Whether the server's User may run it shows when it is run. */
static const char *alert_command(cmd_parms *cmd, b24bg_app_t *app, const char **values)
{
    const char *path = ap_server_root_relative(cmd->pool, values[0]);
    const apr_int32_t wanted = APR_FINFO_TYPE | APR_FINFO_PROT;
    apr_finfo_t info;

    if (!path || apr_stat(&info, path, wanted, cmd->temp_pool) != APR_SUCCESS ||
        info.filetype != APR_REG ||
        !(info.protection & (APR_UEXECUTE | APR_GEXECUTE | APR_WEXECUTE))) {
        return "an executable file is allowed, its path absolute or below ServerRoot";
    }
    values[0] = path;
    app->alert_command = values;
    return NULL;
}
IN_APP_LIST(alert_command);

/* Which of the words it is; -1: none. The words end in NULL. */
static int word_of(const char *value, const char *const *words)
{
    int i;

    for (i = 0; words[i]; i++) {
        if (ap_cstr_casecmp(value, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static const char *beacon(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    static const char *const words[] = {"off", "slow", "all", NULL}; /* as b24bg_page_beacon_e */
    int word = word_of(value, words);

    (void)cmd;
    (void)none;
    if (word < 0) {
        return "off, slow or all is allowed";
    }
    app->beacon = (b24bg_page_beacon_e)word;
    return NULL;
}
IN_APP(beacon);

/* The first one replaces the default. */
static const char *budget_warn(cmd_parms *cmd, b24bg_app_t *app, const char *value,
                               const char *none)
{
    const char *error;
    apr_int64_t number;
    apr_int64_t last = 0;

    (void)none;
    if (!app->budget_warn_set) {
        app->budget_warn = apr_array_make(cmd->pool, 2, sizeof(apr_int64_t));
        app->budget_warn_set = 1;
    }
    if (app->budget_warn->nelts) {
        last = APR_ARRAY_IDX(app->budget_warn, app->budget_warn->nelts - 1, apr_int64_t);
    }
    error = b24bg_value_number(cmd->pool, value, 1, SLOW_COUNT_MOST, &number);
    if (error) {
        return error;
    }
    if (number <= last || app->budget_warn->nelts == BUDGET_WARN_MOST) {
        return apr_psprintf(cmd->pool,
                            "at most %d numbers, each larger than the one before, are "
                            "allowed",
                            BUDGET_WARN_MOST);
    }
    APR_ARRAY_PUSH(app->budget_warn, apr_int64_t) = number;
    return NULL;
}
IN_APP(budget_warn);

static const char *allow_http(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    (void)none;
    return b24bg_value_switch(cmd->pool, value, &app->allow_http);
}
IN_APP(allow_http);

/* The secret as it stands in "file:path", "env:NAME" or literally: NULL, or what is wrong. */
static const char *read_secret_file(cmd_parms *cmd, const char *path, const char **secret)
{
    char *text = apr_palloc(cmd->pool, SECRET_MAX + 1);
    apr_size_t length = SECRET_MAX;
    apr_file_t *file;
    apr_finfo_t info;
    apr_status_t rv;

    if (!*path) {
        return "file: with the path of a file behind it is allowed";
    }
    path = ap_server_root_relative(cmd->pool, path);
    rv = apr_file_open(&file, path ? path : "", APR_READ, 0, cmd->temp_pool);
    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_PROT, file);
        if (rv == APR_SUCCESS && (info.protection & (APR_WREAD | APR_WWRITE))) {
            apr_file_close(file);
            return "a file that others cannot read or write is allowed: chmod o-rwx it";
        }
        rv = rv == APR_SUCCESS ? apr_file_read_full(file, text, length, &length) : rv;
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS && rv != APR_EOF) {
        char reason[120];
        return apr_psprintf(cmd->pool, "a file with the secret is allowed: %s",
                            apr_strerror(rv, reason, sizeof(reason)));
    }
    while (length > 0 && apr_isspace(text[length - 1])) {
        length--;
    }
    text[length] = '\0';
    *secret = text;
    return NULL;
}

static int is_reference(const char *secret)
{
    return strncmp(secret, "file:", 5) == 0 || strncmp(secret, "env:", 4) == 0;
}

static const char *read_secret(cmd_parms *cmd, const char *value, const char **secret)
{
    const char *error = NULL;

    if (strncmp(value, "file:", 5) == 0) {
        error = read_secret_file(cmd, value + 5, secret);
    } else if (strncmp(value, "env:", 4) == 0) {
        *secret = getenv(value + 4);
    } else if (*value) {
        *secret = value;
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, cmd->server,
                     "B24BG0013: B24bgClient at %s: the secret stands in the configuration; put "
                     "it into a file of mode 0600 and write file:/path",
                     where(cmd));
    }
    if (!error && (!*secret || !**secret)) {
        error = "a secret that is not empty is allowed; leave it out if there is none";
    }
    return error;
}

static const char *client(cmd_parms *cmd, b24bg_app_t *app, const char *id, const char *secret)
{
    apr_size_t length = strlen(id);

    if (length == 0 || strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-") != length) {
        return "a client id of letters, digits, . _ and - is allowed";
    }
    app->rest.client_id = id;
    return secret ? read_secret(cmd, secret, &app->rest.client_secret) : NULL;
}
IN_APP(client);

/* The message must not show a literal secret. */
static const char *set_client(cmd_parms *cmd, void *unused, const char *id, const char *secret)
{
    const char *error = check_place(cmd, &client_setter);
    const char *words = cmd->directive->args;

    (void)unused;
    if (error) {
        return error;
    }
    ap_getword_conf(cmd->temp_pool, &words);
    if (!secret && *words) {
        secret = ""; /* httpd passes that as if there were nothing */
    }
    error = client(cmd, b24bg_main->open_app, id, secret);
    return error
               ? apr_psprintf(cmd->pool, "%s \"%s%s%s\": %s", cmd->cmd->name, id, secret ? " " : "",
                              secret && is_reference(secret) ? secret
                              : secret                       ? "..."
                                                             : "",
                              error)
               : NULL;
}

static const char *verify(cmd_parms *cmd, b24bg_app_t *app, const char *value, const char *none)
{
    static const char *const words[] = {"known", "strict", "off", NULL}; /* as b24bg_verify_e */
    int word = word_of(value, words);

    (void)cmd;
    (void)none;
    if (word < 0) {
        return "off, known or strict is allowed";
    }
    app->verify = (b24bg_verify_e)word;
    return NULL;
}
IN_APP(verify);

/* Scheme, host and port; a slash at the end is as good. */
static const char *auth_server(cmd_parms *cmd, b24bg_app_t *app, const char *url, const char *none)
{
    apr_size_t length = strlen(url);

    (void)none;
    length -= length > 0 && url[length - 1] == '/';
    APR_ARRAY_PUSH(app->auth_servers, const char *) = apr_pstrmemdup(cmd->pool, url, length);
    return NULL;
}
IN_APP(auth_server);

static const char *timeout(cmd_parms *cmd, b24bg_app_t *app, const char *connect, const char *total)
{
    b24bg_http_options_t *http = &app->rest.http;
    const char *error =
        b24bg_value_time(cmd->pool, connect, TIMEOUT_LEAST, TIMEOUT_MOST, &http->connect_timeout);

    if (error) {
        return apr_pstrcat(cmd->pool, "to connect: ", error, NULL);
    }
    error = b24bg_value_time(cmd->pool, total, http->connect_timeout, TIMEOUT_MOST,
                             &http->total_timeout);
    return error ? apr_pstrcat(cmd->pool, "in all, not below that to connect: ", error, NULL)
                 : NULL;
}
IN_APP(timeout);

static const char *proxy(cmd_parms *cmd, b24bg_app_t *app, const char *url, const char *none)
{
    (void)none;
    app->rest.http.proxy = url;
    return b24bg_value_url(cmd->pool, url, B24BG_VALUE_URL_HTTP | B24BG_VALUE_URL_NO_QUERY,
                           B24BG_VALUE_WORKER_URL_MAX);
}
IN_APP(proxy);

static const char *ca_file(cmd_parms *cmd, b24bg_app_t *app, const char *file, const char *none)
{
    const char *path = ap_server_root_relative(cmd->pool, file);
    apr_finfo_t info;

    (void)none;
    app->rest.http.ca_file = path;
    if (!path || apr_stat(&info, path, APR_FINFO_TYPE, cmd->temp_pool) != APR_SUCCESS ||
        info.filetype != APR_REG) {
        return "a file with certificates in PEM form is allowed";
    }
    return NULL;
}
IN_APP(ca_file);

static const char *max_portals(cmd_parms *cmd, b24bg_app_t *none, const char *value,
                               const char *second)
{
    (void)none;
    (void)second;
    return b24bg_value_number(cmd->pool, value, 1, B24BG_TABLE_PORTALS_MAX,
                              &b24bg_main->max_portals);
}
GLOBAL(max_portals);

static const char *state_dir(cmd_parms *cmd, b24bg_app_t *none, const char *path,
                             const char *second)
{
    (void)none;
    (void)second;
    b24bg_main->state_dir = ap_server_root_relative(cmd->pool, path);
    return b24bg_main->state_dir ? NULL : "a path, absolute or below ServerRoot, is allowed";
}
GLOBAL(state_dir);

static const char *server_status(cmd_parms *cmd, b24bg_app_t *app, const char *value,
                                 const char *none)
{
    (void)app;
    (void)none;
    return b24bg_value_switch(cmd->pool, value, &b24bg_main->server_status);
}
GLOBAL(server_status);

static const char *store(cmd_parms *cmd, b24bg_app_t *none, const char *driver, const char *params)
{
    (void)none;
    if (strcmp(driver, "sqlite3") != 0 && strcmp(driver, "pgsql") != 0) {
        return "sqlite3 or pgsql is allowed";
    }
    if (strcmp(driver, "pgsql") == 0 && !params) {
        return "pgsql \"host=... dbname=...\" is allowed";
    }
    b24bg_main->store_driver = driver;
    b24bg_main->store_params = params;
    if (params && strcmp(driver, "sqlite3") == 0) {
        b24bg_main->store_params = ap_server_root_relative(cmd->pool, params);
        return b24bg_main->store_params ? NULL : "sqlite3 with the path of a file is allowed";
    }
    return NULL;
}
GLOBAL(store);

static const char *set_use(cmd_parms *cmd, void *conf, const char *name)
{
    b24bg_location_t *location = conf;
    b24bg_use_t *use;

    if (!cmd->path || b24bg_main->open_app) {
        return apr_psprintf(cmd->pool, "%s \"%s\" stands inside <Location> or <Directory> only",
                            cmd->cmd->name, name);
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

/* httpd hands the setter back as cmd->info, and does not write to it. */
#define ONE(name, setter, help)                                                                    \
    AP_INIT_TAKE1(name, take1, (void *)&setter##_setter, RSRC_CONF, help)
#define TWO(name, setter, help)                                                                    \
    AP_INIT_TAKE2(name, take2, (void *)&setter##_setter, RSRC_CONF, help)
#define THREE(name, setter, help)                                                                  \
    AP_INIT_TAKE3(name, take3, (void *)&setter##_setter, RSRC_CONF, help)
#define COMMAND(name, setter, help)                                                                \
    AP_INIT_TAKE_ARGV(name, take_argv, (void *)&setter##_setter, RSRC_CONF, help)
#define MANY(name, setter, help)                                                                   \
    AP_INIT_ITERATE(name, take1, (void *)&setter##_setter, RSRC_CONF, help)

const command_rec b24bg_directives[] = {
    AP_INIT_RAW_ARGS("<B24bgApp", b24bg_app_open, NULL, RSRC_CONF,
                     "name of a Bitrix24 application: a-z, 0-9, _ and -, at most 32"),
    AP_INIT_TAKE12("B24bgClient", set_client, NULL, RSRC_CONF,
                   "client id, and the secret as file:path, env:NAME or itself"),
    ONE("B24bgWorkerURL", worker_url, "public URL of the worker, at most 255 characters"),
    ONE("B24bgErrorURL", error_url,
        "public URL for notices, without a query, at most 200 characters"),
    ONE("B24bgTitle", title, "TITLE of the registration, at most 255 characters"),
    MANY("B24bgUsers", user, "ids of the portal users to register for, in place of all"),
    MANY("B24bgScript", script, "scripts to attach after the load event, in order"),
    ONE("B24bgBX24", bx24, "on, off, or the URL of a copy of BX24.js to attach before the scripts"),
    ONE("B24bgMaxBody", max_body, "largest body in bytes, 16384 to 1048576"),
    ONE("B24bgPage", page, "file with a page of your own, at most 65536 bytes"),
    ONE("B24bgVerify", verify, "what a load must prove: off, known or strict"),
    MANY("B24bgPortals", portal,
         "hosts of the portals served, as crm.example.com or *.bitrix24.ru"),
    TWO("B24bgSlowLimit", slow_limit,
        "Bitrix24's rule: time of a slow load, and how many are allowed"),
    ONE("B24bgRebind", rebind, "on or off: bind again after a confirmed loss"),
    THREE("B24bgRebindBackoff", rebind_backoff,
          "first delay, longest delay, and how many binds a day"),
    ONE("B24bgSilence", silence, "time without loads after which the portal is asked, or off"),
    COMMAND("B24bgAlertCmd", alert_command,
            "command to run when something has happened, and its arguments"),
    MANY("B24bgBudgetWarn", budget_warn,
         "numbers of slow loads to warn at, once a window each, as 5 8"),
    ONE("B24bgBeacon", beacon, "what the page tells of its own load time: off, slow or all"),
    MANY("B24bgAuthServer", auth_server,
         "the servers that may be asked about tokens, as https://oauth.bitrix.info"),
    TWO("B24bgTimeout", timeout, "outgoing calls: time to connect, and in all"),
    ONE("B24bgProxy", proxy, "proxy for outgoing calls"),
    ONE("B24bgCAFile", ca_file, "certificates that outgoing calls trust, in PEM form"),
    ONE("B24bgAllowHTTP", allow_http,
        "on or off: plain http for URLs, in tests and closed networks"),
    ONE("B24bgMaxPortals", max_portals, "portals that shared memory has room for, 1 to 1048576"),
    ONE("B24bgServerStatus", server_status, "on or off: a section in mod_status"),
    ONE("B24bgStateDir", state_dir, "folder of the journal and the default store"),
    AP_INIT_TAKE12("B24bgStore", take2, (void *)&store_setter, RSRC_CONF,
                   "sqlite3 or pgsql, and the driver's parameters"),
    AP_INIT_TAKE1("B24bgUse", set_use, NULL, RSRC_CONF | ACCESS_CONF,
                  "the app that this Location serves"),
    {NULL, {NULL}, NULL, 0, RAW_ARGS, NULL}};
