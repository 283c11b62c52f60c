/* A background task for the tests: fake clock, fake calls, and a real journal, a real SQLite store
 * in a temporary folder and a real table.
 */
#ifndef TASK_WORLD_H
#define TASK_WORLD_H

#include "unit.h"

#include "b24bg_form.h"
#include "b24bg_install.h"
#include "b24bg_journal.h"
#include "b24bg_notice.h"
#include "b24bg_store.h"
#include "b24bg_task.h"

#include <apr_strings.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not every program uses all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define MEMBER "da45a03b265edd8787f8a258d793cc5d"
#define OTHER "00000000000000000000000000000001"
#define SERVER "https://oauth.bitrix.info"
#define T0 apr_time_from_sec(1761990000)

/* What was asked, and who waits for the answer. */
typedef struct {
    const char *url;
    const char *body;
    b24bg_http_done_cb done;
    void *baton;
} call_t;

static struct {
    apr_pool_t *pool;
    apr_pool_t *tasks_pool; /* ends before the table */
    char folder[32];
    const char *journal;
    const char *db;
    b24bg_task_app_t app;
    b24bg_task_config_t config;
    b24bg_task_t *task;
    b24bg_task_config_t *task_config;
    apr_pool_t *task_pool;
    b24bg_http_t http;
    call_t calls[256];
    int started;
    int running;             /* calls, as perform says */
    int is_stopping;         /* no call is started */
    void (*performed)(void); /* what happens while calls are moved on; or NULL */
    char log[65536];
    apr_time_t now;
    int next_id;
} world;

static apr_status_t fake_start(b24bg_http_t *http, const b24bg_http_request_t *request,
                               b24bg_http_done_cb done, void *baton)
{
    call_t *call;

    (void)http;
    if (world.is_stopping) {
        return APR_ECONNABORTED;
    }
    call = &world.calls[world.started++];
    call->url = apr_pstrdup(world.pool, request->url);
    call->body = apr_pstrmemdup(world.pool, request->body, request->length);
    call->done = done;
    call->baton = baton;
    return APR_SUCCESS;
}

static apr_status_t fake_perform(b24bg_http_t *http, apr_interval_time_t wait, int *running)
{
    (void)http;
    (void)wait;
    *running = world.running;
    if (world.performed) {
        world.performed();
    }
    return APR_SUCCESS;
}

static void fake_log(void *baton, b24bg_log_level_e level, const char *line)
{
    (void)baton;
    strncat(world.log, "cewni" + level, 1);
    strncat(world.log, " ", 2);
    strncat(world.log, line, 2000);
    strncat(world.log, "\n", 2);
}

/* Never the same twice; that is all that the task asks of it here. */
static void fake_random(void *bytes, apr_size_t length)
{
    unsigned char *at = bytes;

    while (length-- > 0) {
        *at++ = (unsigned char)unit_random(256);
    }
}

static void start_task(const char *holder)
{
    b24bg_task_config_t *config = apr_pmemdup(world.pool, &world.config, sizeof(world.config));

    apr_pool_create(&world.task_pool, world.tasks_pool);
    config->holder = holder;
    world.task = b24bg_task_create(world.task_pool, config);
    world.task_config = config;
}

/* An empty one, as after a start of the server. */
static void make_table(void)
{
    static const unsigned char key[APR_SIPHASH_KSIZE] = "0123456789abcdef";
    void *memory = NULL;

    assert_int_equal(0, posix_memalign(&memory, 64, b24bg_table_size(4)));
    memset(memory, 0, b24bg_table_size(4));
    world.config.table = b24bg_table_create(memory, 4, key);
    world.app.row = b24bg_table_app(world.config.table, world.app.name);
}

static void begin(void)
{
    apr_array_header_t *servers;
    apr_array_header_t *portals;
    apr_array_header_t *numbers;
    apr_array_header_t *apps;

    memset(&world, 0, sizeof(world));
    world.pool = unit_pool;
    apr_pool_create(&world.tasks_pool, unit_pool);
    strcpy(world.folder, "/tmp/b24bg-task-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    world.journal = apr_pstrcat(world.pool, world.folder, "/journal", NULL);
    world.db = apr_pstrcat(world.pool, world.folder, "/b24bg.db", NULL);
    world.now = T0;
    servers = apr_array_make(world.pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(servers, const char *) = SERVER;
    world.app.name = "telephony";
    world.app.rest.client_id = "local.1";
    world.app.rest.client_secret = "geheim";
    world.app.rest.auth_servers = servers;
    portals = apr_array_make(world.pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(portals, const char *) = "*.example.com";
    APR_ARRAY_PUSH(portals, const char *) = "127.0.0.1";
    world.app.rest.portals = portals;
    world.app.users = apr_array_make(world.pool, 2, sizeof(apr_int64_t));
    numbers = apr_array_make(world.pool, 2, sizeof(apr_int64_t));
    APR_ARRAY_PUSH(numbers, apr_int64_t) = 5;
    APR_ARRAY_PUSH(numbers, apr_int64_t) = 8;
    world.app.budget_warn = numbers;
    world.app.slow_count = 10;
    apps = apr_array_make(world.pool, 1, sizeof(const b24bg_task_app_t *));
    APR_ARRAY_PUSH(apps, const b24bg_task_app_t *) = &world.app;
    world.http.start = fake_start;
    world.http.perform = fake_perform;
    world.config.apps = apps;
    world.config.journal = world.journal;
    world.config.store_driver = "sqlite3";
    world.config.store_params = world.db;
    world.config.http = &world.http;
    world.config.log = fake_log;
    world.config.random = fake_random;
    make_table();
    start_task("one");
}

static void end(void)
{
    char command[64];

    apr_pool_destroy(world.tasks_pool);
    free(world.config.table);
    snprintf(command, sizeof(command), "rm -rf %s", world.folder);
    assert_int_equal(0, system(command));
}

static void post(b24bg_install_kind_e kind, const char *member_id, const char *endpoint,
                 const char *token)
{
    b24bg_install_t install = {kind, member_id, endpoint, "access-1", "refresh-1", token};
    b24bg_journal_record_t record = {{0}, world.now, NULL, 0};

    record.id[0] = (unsigned char)++world.next_id;
    record.payload = b24bg_install_encode(world.pool, "telephony", &install);
    record.length = strlen(record.payload);
    assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
}

static void install(void)
{
    post(B24BG_INSTALL_EVENT, MEMBER, SERVER "/rest/", "app-token");
}

static void step(void)
{
    b24bg_task_step(world.task, world.now, 0);
}

static void answer(int call, int status, const char *body)
{
    b24bg_http_answer_t answered = {B24BG_HTTP_ANSWERED, status, body, strlen(body), NULL, ""};

    world.calls[call].done(world.calls[call].baton, &answered);
}

static void fail_call(int call)
{
    b24bg_http_answer_t failed = {B24BG_HTTP_FAILED, 0, "", 0, NULL, "timed out"};

    world.calls[call].done(world.calls[call].baton, &failed);
}

static const char *identity(const char *client_id, const char *member_id, const char *domain)
{
    return apr_psprintf(world.pool,
                        "{\"result\":{\"client_id\":\"%s\",\"scope\":\"placement\",\"expires\":"
                        "1761993600,\"install\":{\"installed\":true,\"version\":\"1\",\"status\":"
                        "\"L\",\"scope\":\"placement\",\"domain\":\"%s\",\"uri\":\"https:\\/\\/%s"
                        "\",\"client_endpoint\":\"https:\\/\\/%s\\/rest\\/\",\"member_id\":\"%s\","
                        "\"member_type\":\"x\"},\"user_id\":1}}",
                        client_id, domain, domain, domain, member_id);
}

/* The test's own handle of the task's store. */
static b24bg_store_t *open_store(void)
{
    b24bg_store_t *store;
    const char *error;

    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    return store;
}

static b24bg_store_portal_t *in_store(const char *member_id)
{
    b24bg_store_portal_t *portal = NULL;
    b24bg_store_t *store = open_store();

    if (b24bg_store_portal_get(store, world.pool, "telephony", member_id, &portal) != APR_SUCCESS) {
        portal = NULL;
    }
    b24bg_store_close(store);
    return portal;
}

static b24bg_trust_e trust(const char *token)
{
    char origin[B24BG_ORIGIN_MAX + 1];
    b24bg_portal_id_t id = {world.app.row, MEMBER, 0};
    b24bg_portal_ref_t ref = b24bg_table_find(world.config.table, &id);

    return b24bg_table_trust(world.config.table, ref, token, origin);
}

static void logged(const char *tag)
{
    if (!strstr(world.log, tag)) {
        fail_msg("no %s in:\n%s", tag, world.log);
    }
}

static void no_secret_logged(void)
{
    assert_null(strstr(world.log, "access-"));
    assert_null(strstr(world.log, "refresh-"));
    assert_null(strstr(world.log, "app-token"));
    assert_null(strstr(world.log, "geheim"));
}

#endif
