/* The background task: installations, the journal, the lease, the store. */
#include "task_world.h"

static void install_is_verified_and_remembered(void **state)
{
    (void)state;
    begin();
    install();
    step();
    assert_int_equal(1, world.started);
    assert_string_equal(SERVER "/rest/app.info", world.calls[0].url);
    assert_null(in_store(MEMBER));
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    step();
    assert_string_equal("crm.example.com", in_store(MEMBER)->domain);
    assert_string_equal("app-token", in_store(MEMBER)->application_token);
    assert_int_equal(B24BG_TRUST_PROVEN, trust("app-token"));
    assert_int_equal(B24BG_TRUST_BAD_TOKEN, trust("other"));
    assert_int_equal(B24BG_TRUST_BAD_TOKEN, trust(NULL));
    logged("n B24BG0308: installed: app=telephony portal=" MEMBER);
    no_secret_logged();
    end();
}

static const struct forged {
    const char *name;
    const char *client_id;
    const char *member_id;
    const char *domain;
    const char *raw; /* the whole answer instead, with status 401 */
} forged[] = {
    {"foreign client id", "local.2", MEMBER, "crm.example.com", NULL},
    {"another portal's token", "local.1", OTHER, "crm.example.com", NULL},
    {"a portal outside B24bgPortals", "local.1", MEMBER, "crm.evil.org", NULL},
    {"endpoint on this machine", "local.1", MEMBER, "127.0.0.1", NULL},
    {"dead token", NULL, NULL, NULL, "{\"error\":\"invalid_token\",\"error_description\":\"no\"}"},
};

static void forged_installs_store_nothing(void **state)
{
    const struct forged *row = *state;

    begin();
    install();
    step();
    if (row->raw) {
        answer(0, 401, row->raw);
    } else {
        answer(0, 200, identity(row->client_id, row->member_id, row->domain));
    }
    world.now += apr_time_from_sec(3600);
    step();
    assert_int_equal(1, world.started);
    assert_null(in_store(MEMBER));
    assert_null(in_store(OTHER));
    assert_int_equal(B24BG_TRUST_UNKNOWN, trust("app-token"));
    logged("i B24BG0305");
    no_secret_logged();
    end();
}

static void foreign_auth_server_is_not_called(void **state)
{
    (void)state;
    begin();
    post(B24BG_INSTALL_EVENT, MEMBER, "https://oauth.evil.example/rest/", "app-token");
    step();
    assert_int_equal(0, world.started);
    logged("i B24BG0305");
    end();
}

static void unreachable_server_is_asked_again(void **state)
{
    (void)state;
    begin();
    install();
    step();
    fail_call(0);
    step();
    assert_int_equal(1, world.started);
    world.now += B24BG_TASK_RETRY_FIRST + apr_time_from_sec(1);
    step();
    assert_int_equal(2, world.started);
    answer(1, 503, "<html>");
    world.now += 2 * B24BG_TASK_RETRY_FIRST + apr_time_from_sec(1);
    step();
    assert_int_equal(3, world.started);
    answer(2, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_non_null(in_store(MEMBER));
    logged("w B24BG0307");
    end();
}

static void after_a_day_it_is_given_up(void **state)
{
    (void)state;
    begin();
    install();
    step();
    world.now += B24BG_TASK_GIVE_UP + apr_time_from_sec(1);
    step();
    fail_call(0);
    step();
    logged("e B24BG0306");
    world.now += apr_time_from_sec(3600);
    step();
    assert_int_equal(1, world.started);
    end();
}

/* Every employee has a token of the portal; it does not let him replace what the installation left.
 */
static void an_employee_cannot_replace_the_tokens(void **state)
{
    const char *who = NULL;

    (void)state;
    begin();
    install();
    step();
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    world.now += apr_time_from_sec(10);
    post(B24BG_INSTALL_EVENT, MEMBER, SERVER "/rest/", "another");
    step();
    who = apr_pstrdup(world.pool, identity("local.1", MEMBER, "crm.example.com"));
    answer(1, 200, who);
    assert_int_equal(3, world.started);
    assert_string_equal("https://crm.example.com/rest/profile", world.calls[2].url);
    answer(2, 200, "{\"result\":{\"ID\":\"2\",\"ADMIN\":false}}");
    assert_string_equal("app-token", in_store(MEMBER)->application_token);
    world.now += apr_time_from_sec(10);
    post(B24BG_INSTALL_EVENT, MEMBER, SERVER "/rest/", "another");
    step();
    answer(3, 200, who);
    answer(4, 200, "{\"result\":{\"ID\":\"1\",\"ADMIN\":true}}");
    assert_string_equal("another", in_store(MEMBER)->application_token);
    end();
}

/* A server may call an old token invalid rather than expired. */
static void an_old_token_is_refreshed_whatever_it_is_called(void **state)
{
    (void)state;
    begin();
    install();
    step();
    fail_call(0);
    world.now += B24BG_TASK_TOKEN_LIFE + apr_time_from_sec(60);
    step();
    assert_int_equal(2, world.started);
    answer(1, 400, "{\"error\":\"invalid_client\",\"error_description\":\"\"}");
    assert_int_equal(3, world.started);
    assert_string_equal(SERVER "/oauth/token/", world.calls[2].url);
    answer(2, 400, "{\"error\":\"invalid_grant\",\"error_description\":\"\"}");
    step();
    assert_int_equal(3, world.started);
    logged("i B24BG0305");
    end();
}

/* Shutting down: the new pair is kept, and the installation is for the next one. */
static void an_installation_outlives_the_end_of_its_task(void **state)
{
    static const char expired[] = "{\"error\":\"expired_token\",\"error_description\":\"\"}";
    static const char tokens[] =
        "{\"access_token\":\"access-2\",\"refresh_token\":\"refresh-2\",\"expires_in\":3600,"
        "\"member_id\":\"" MEMBER "\",\"client_endpoint\":\"https:\\/\\/crm.example.com\\/rest"
        "\\/\",\"scope\":\"placement\"}";

    (void)state;
    begin();
    install();
    step();
    answer(0, 401, expired);
    assert_int_equal(2, world.started);
    world.is_stopping = 1;
    answer(1, 200, tokens);
    apr_pool_destroy(world.task_pool);
    world.is_stopping = 0;
    start_task("two");
    step();
    assert_int_equal(3, world.started);
    assert_non_null(strstr(world.calls[2].body, "access-2"));
    answer(2, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_string_equal("refresh-2", in_store(MEMBER)->refresh_token);
    no_secret_logged();
    end();
}

/* Not before calls that must finish have, however long they take. */
static void a_leaving_task_gives_its_lease_back(void **state)
{
    b24bg_task_t *leaving;
    int i;

    (void)state;
    begin();
    step();
    leaving = world.task;
    start_task("two");
    install();
    world.running = 1;
    for (i = 0; i < 5; i++) {
        world.now += B24BG_TASK_LEASE_EVERY;
        assert_int_equal(0, b24bg_task_leave(leaving, world.now, 0));
        step();
        assert_int_equal(0, world.started);
    }
    world.running = 0;
    world.now += B24BG_TASK_LEASE_EVERY;
    assert_int_equal(1, b24bg_task_leave(leaving, world.now, 0));
    step();
    assert_int_equal(1, world.started);
    world.now += B24BG_TASK_LEASE_EVERY;
    assert_int_equal(1, b24bg_task_leave(leaving, world.now, 0));
    step();
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_non_null(in_store(MEMBER));
    end();
}

static void one_server_does_not_take_all_calls(void **state)
{
    int i;

    (void)state;
    begin();
    for (i = 0; i < 30; i++) {
        post(B24BG_INSTALL_EVENT, apr_psprintf(world.pool, "%032x", i), SERVER "/rest/",
             "app-token");
    }
    step();
    assert_int_equal(B24BG_TASK_CALLS_PER_SERVER, world.started);
    answer(0, 200, identity("local.1", apr_psprintf(world.pool, "%032x", 0), "crm.example.com"));
    step();
    assert_int_equal(B24BG_TASK_CALLS_PER_SERVER + 1, world.started);
    end();
}

/* What piled up is taken in portions, and all of it. */
static void a_long_journal_is_imported_whole(void **state)
{
    b24bg_store_t *store;
    apr_int64_t count;
    const char *error;
    struct stat info;
    int i;

    (void)state;
    begin();
    for (i = 0; i < 2500; i++) {
        b24bg_install_t uninstall = {B24BG_INSTALL_UNINSTALL, MEMBER, "", "", "", "t"};
        b24bg_journal_record_t record = {{0}, world.now + apr_time_from_sec(3600), NULL, 0};
        memcpy(record.id, &i, sizeof(i));
        record.payload = b24bg_install_encode(world.pool, "telephony", &uninstall);
        record.length = strlen(record.payload);
        assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
    }
    for (i = 0; i < 3; i++) {
        step();
    }
    assert_int_equal(0, stat(world.journal, &info));
    assert_int_equal(0, info.st_size);
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    assert_int_equal(APR_SUCCESS, b24bg_store_inbox_count(store, &count));
    assert_int_equal(2500, count);
    b24bg_store_close(store);
    end();
}

/* One for an app that only another machine knows is left for that. */
static void a_notice_waits_in_the_inbox(void **state)
{
    static const b24bg_notice_t notice = {"ERROR_PLACEMENT_LOADING_OVERTIME", "too slow"};
    b24bg_journal_record_t record = {{1}, 0, NULL, 0};
    const b24bg_store_message_t *message;
    apr_array_header_t *messages;
    b24bg_store_t *store;
    const char *error;

    (void)state;
    begin();
    record.at = world.now;
    record.payload = b24bg_notice_encode(world.pool, "elsewhere",
                                         "0123456789abcdef0123456789abcdef01234567", &notice);
    record.length = strlen(record.payload);
    assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
    step();
    assert_int_equal(0, world.started);
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_inbox_due(store, world.pool, APR_INT64_MAX, 10, &messages));
    assert_int_equal(1, messages->nelts);
    message = &APR_ARRAY_IDX(messages, 0, b24bg_store_message_t);
    assert_string_equal("elsewhere", message->app);
    assert_string_equal("notice", message->event);
    assert_string_equal(record.payload, message->fields);
    b24bg_store_close(store);
    end();
}

/* A full journal without a record in it would refuse installations for ever. */
static void torn_bytes_are_cleared_away(void **state)
{
    struct stat info;
    FILE *file;

    (void)state;
    begin();
    file = fopen(world.journal, "w");
    assert_non_null(file);
    assert_true(fputs("B24J torn", file) >= 0);
    fclose(file);
    step();
    assert_int_equal(0, stat(world.journal, &info));
    assert_int_equal(0, info.st_size);
    logged("w B24BG0304");
    end();
}

static apr_status_t expect_record(void *baton, const b24bg_journal_record_t *record)
{
    const b24bg_journal_record_t *expected = baton;

    assert_memory_equal(expected->id, record->id, sizeof(record->id));
    assert_int_equal(expected->at, record->at);
    assert_string_equal(expected->payload, record->payload);
    return APR_SUCCESS;
}

/* It was answered 200: that version of the module shall find it, when it is there again. */
static void a_record_of_another_version_is_put_aside(void **state)
{
    b24bg_journal_record_t record = {{7}, T0, "B24BG 99 of tomorrow", 20};
    b24bg_journal_position_t position;
    struct stat info;
    const char *path;
    char *line;

    (void)state;
    begin();
    path = apr_pstrcat(world.pool, world.journal, ".unread", NULL);
    assert_int_equal(0, mkdir(path, 0700)); /* it cannot be written */
    assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
    install();
    step();
    assert_int_equal(1, world.started); /* what else there is does not wait */
    logged("w B24BG0334");
    assert_int_equal(0, stat(world.journal, &info));
    assert_true(info.st_size > 0);
    assert_int_equal(0, rmdir(path));
    step();
    step();
    logged("w B24BG0314");
    line = strstr(world.log, "B24BG0314");
    assert_null(strstr(line + 1, "B24BG0314"));
    assert_int_equal(0, stat(world.journal, &info));
    assert_int_equal(0, info.st_size);
    assert_int_equal(APR_SUCCESS,
                     b24bg_journal_read(path, expect_record, &record, &position, world.pool));
    assert_int_equal(1, position.whole);
    end();
}

static void what_waits_is_counted_with_the_store_down(void **state)
{
    b24bg_table_health_t health;

    (void)state;
    begin();
    assert_int_equal(0, mkdir(world.db, 0700)); /* it cannot be opened */
    install();
    install();
    step();
    b24bg_table_read_health(world.config.table, &health);
    assert_int_equal(0, health.store_up);
    assert_int_equal(2, health.journal_records);
    assert_int_equal(0, rmdir(world.db));
    world.now += apr_time_from_sec(60);
    step();
    b24bg_table_read_health(world.config.table, &health);
    assert_int_equal(1, health.store_up);
    assert_int_equal(0, health.journal_records);
    end();
}

static void expired_token_is_refreshed_once(void **state)
{
    (void)state;
    begin();
    install();
    step();
    answer(0, 401, "{\"error\":\"expired_token\",\"error_description\":\"\"}");
    assert_int_equal(2, world.started);
    assert_string_equal(SERVER "/oauth/token/", world.calls[1].url);
    assert_non_null(strstr(world.calls[1].body, "refresh_token=refresh-1"));
    answer(1, 200,
           "{\"access_token\":\"access-2\",\"refresh_token\":\"refresh-2\",\"expires\":1761993600,"
           "\"expires_in\":3600,\"member_id\":\"" MEMBER "\",\"client_endpoint\":"
           "\"https:\\/\\/crm.example.com\\/rest\\/\",\"scope\":\"placement\",\"user_id\":1}");
    assert_int_equal(3, world.started);
    assert_non_null(strstr(world.calls[2].body, "access-2"));
    answer(2, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_string_equal("refresh-2", in_store(MEMBER)->refresh_token);
    end();
}

/* The old pair is used up; where the portal lives, the auth server is asked again anyway. */
static void new_tokens_are_kept_whatever_comes_with_them(void **state)
{
    (void)state;
    begin();
    install();
    step();
    answer(0, 401, "{\"error\":\"expired_token\",\"error_description\":\"\"}");
    answer(1, 200,
           "{\"access_token\":\"access-2\",\"refresh_token\":\"refresh-2\",\"user_id\":{},"
           "\"member_id\":\"" MEMBER
           "\",\"client_endpoint\":\"https:\\/\\/crm.new.org\\/rest\\/\"}");
    assert_int_equal(3, world.started);
    answer(2, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_string_equal("refresh-2", in_store(MEMBER)->refresh_token);
    end();
}

static void uninstall_needs_the_stored_token(void **state)
{
    (void)state;
    begin();
    install();
    step();
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    world.now += apr_time_from_sec(10);
    post(B24BG_INSTALL_UNINSTALL, MEMBER, "", "another");
    step();
    assert_string_equal("refresh-1", in_store(MEMBER)->refresh_token);
    post(B24BG_INSTALL_UNINSTALL, MEMBER, "", "app-token");
    world.now += apr_time_from_sec(2);
    step();
    step();
    assert_string_equal("", in_store(MEMBER)->refresh_token);
    assert_string_equal("", in_store(MEMBER)->access_token);
    assert_int_equal(0, in_store(MEMBER)->installed);
    assert_int_equal(B24BG_TRUST_UNKNOWN, trust("app-token"));
    logged("n B24BG0310");
    end();
}

static void an_older_install_does_not_win(void **state)
{
    (void)state;
    begin();
    install();
    step();
    fail_call(0); /* the first one waits */
    world.now += apr_time_from_sec(1);
    post(B24BG_INSTALL_EVENT, MEMBER, SERVER "/rest/", "newer");
    step();
    answer(1, 200, identity("local.1", MEMBER, "crm.example.com"));
    world.now += apr_time_from_sec(60);
    step();
    assert_int_equal(3, world.started);
    answer(2, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_string_equal("newer", in_store(MEMBER)->application_token);
    end();
}

/* The journal is read by everybody; who has the lease works on what is in the store. */
static void two_tasks_do_it_once(void **state)
{
    b24bg_task_t *first;
    apr_pool_t *first_pool;

    (void)state;
    begin();
    first = world.task;
    first_pool = world.task_pool;
    step();
    start_task("two");
    install();
    step();
    assert_int_equal(0, world.started);
    b24bg_task_step(first, world.now + apr_time_from_sec(1), 0);
    assert_int_equal(1, world.started);
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    apr_pool_destroy(first_pool); /* gives the lease back */
    world.now += B24BG_TASK_LEASE_EVERY;
    post(B24BG_INSTALL_EVENT, MEMBER, SERVER "/rest/", "newer");
    step();
    assert_int_equal(2, world.started);
    answer(1, 200, identity("local.1", MEMBER, "crm.example.com"));
    end();
}

static void a_dead_task_is_replaced(void **state)
{
    (void)state;
    begin();
    install();
    step(); /* asked, and dies here without giving anything back */
    assert_int_equal(1, world.started);
    start_task("two");
    world.now += apr_time_from_sec(1);
    step();
    assert_int_equal(1, world.started);
    world.now += B24BG_TASK_LEASE + B24BG_TASK_LEASE_EVERY;
    step();
    assert_int_equal(2, world.started);
    answer(1, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_non_null(in_store(MEMBER));
    end();
}

static void counts_survive_a_new_table(void **state)
{
    b24bg_portal_id_t id = {0, MEMBER, 0};
    b24bg_table_request_t load = {0};
    b24bg_portal_counts_t counts;

    (void)state;
    begin();
    install();
    step();
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    step();
    load.app = id.app = world.app.row;
    load.portal = b24bg_table_find(world.config.table, &id);
    load.is_load = 1;
    load.now = world.now;
    b24bg_table_count(world.config.table, &load);
    apr_pool_destroy(world.task_pool);
    assert_int_equal(1, in_store(MEMBER)->loads);
    memset(world.config.table, 0, b24bg_table_size(4));
    b24bg_table_create(world.config.table, 4, (const unsigned char *)"fedcba9876543210");
    world.app.row = b24bg_table_app(world.config.table, world.app.name);
    start_task("two");
    step();
    assert_int_equal(1, b24bg_table_read_portal(world.config.table, 1, world.now, &counts));
    assert_int_equal(1, counts.loads);
    assert_int_equal(B24BG_TRUST_PROVEN, trust("app-token"));
    end();
}

static void a_store_that_is_down_loses_nothing(void **state)
{
    (void)state;
    begin();
    world.task_config->store_params = apr_pstrcat(world.pool, world.folder, "/none/b24bg.db", NULL);
    install();
    step();
    world.now += apr_time_from_sec(60);
    step();
    assert_int_equal(0, world.started);
    logged("w B24BG0302");
    assert_null(strstr(strstr(world.log, "B24BG0302") + 1, "B24BG0302")); /* once */
    world.task_config->store_params = world.db;
    world.now += B24BG_TASK_REOPEN_EVERY;
    step();
    assert_int_equal(1, world.started);
    answer(0, 200, identity("local.1", MEMBER, "crm.example.com"));
    assert_non_null(in_store(MEMBER));
    logged("n B24BG0303");
    end();
}

static void a_full_table_says_so(void **state)
{
    int i;

    (void)state;
    begin();
    for (i = 0; i < 6; i++) {
        const char *member_id = apr_psprintf(world.pool, "%032x", i);
        post(B24BG_INSTALL_EVENT, member_id, SERVER "/rest/", "app-token");
        step();
        answer(i, 200, identity("local.1", member_id, "crm.example.com"));
        world.now += apr_time_from_sec(1);
    }
    step();
    logged("w B24BG0311");
    end();
}

int main(void)
{
    UNIT_ADD(install_is_verified_and_remembered);
    UNIT_ADD_ROWS(forged_installs_store_nothing, forged);
    UNIT_ADD(foreign_auth_server_is_not_called);
    UNIT_ADD(unreachable_server_is_asked_again);
    UNIT_ADD(after_a_day_it_is_given_up);
    UNIT_ADD(an_employee_cannot_replace_the_tokens);
    UNIT_ADD(an_old_token_is_refreshed_whatever_it_is_called);
    UNIT_ADD(an_installation_outlives_the_end_of_its_task);
    UNIT_ADD(a_leaving_task_gives_its_lease_back);
    UNIT_ADD(one_server_does_not_take_all_calls);
    UNIT_ADD(a_long_journal_is_imported_whole);
    UNIT_ADD(a_notice_waits_in_the_inbox);
    UNIT_ADD(torn_bytes_are_cleared_away);
    UNIT_ADD(a_record_of_another_version_is_put_aside);
    UNIT_ADD(what_waits_is_counted_with_the_store_down);
    UNIT_ADD(expired_token_is_refreshed_once);
    UNIT_ADD(new_tokens_are_kept_whatever_comes_with_them);
    UNIT_ADD(uninstall_needs_the_stored_token);
    UNIT_ADD(an_older_install_does_not_win);
    UNIT_ADD(two_tasks_do_it_once);
    UNIT_ADD(a_dead_task_is_replaced);
    UNIT_ADD(counts_survive_a_new_table);
    UNIT_ADD(a_store_that_is_down_loses_nothing);
    UNIT_ADD(a_full_table_says_so);
    return unit_run("task");
}
