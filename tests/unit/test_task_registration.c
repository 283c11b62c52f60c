/* Registrations through the whole task, at a portal that behaves as protocol.md section 4 says; the
 * task is killed at every point, and loses its store and its lease. */
#include "task_world.h"

#include "b24bg_registration.h"

#include <apr_dbd.h>
#include <apr_time.h>

#define PORTAL_ROWS 8
#define HANDLER "https://app.example.com/b24/worker"
#define ERROR_URL "https://app.example.com/b24/error"

/* The portal. */
static struct {
    struct {
        int user;
        char handler[256];
        char error_url[256];
    } rows[PORTAL_ROWS];
    int count;
    const char *fault; /* the next answers, instead of doing anything; NULL: none */
    int fault_status;
    int faults; /* how many */
    const char *access_token;
    int refreshes;
    int answered; /* calls of world.calls */
    int gets, binds, unbinds;
} portal;

static const char *field(const apr_table_t *fields, const char *name)
{
    const char *value = b24bg_form_get(fields, name);

    return value ? value : "";
}

static apr_table_t *parse(const char *body)
{
    char *text = apr_pstrdup(world.pool, body);
    b24bg_form_t form;

    assert_int_equal(B24BG_FORM_OK,
                     b24bg_form_parse(world.pool, text, strlen(text), B24BG_FORM_LAST_WINS, &form));
    return form.fields;
}

static const char *error_body(const char *code, const char *text)
{
    return apr_psprintf(world.pool, "{\"error\":\"%s\",\"error_description\":\"%s\"}", code, text);
}

static const char *portal_get(void)
{
    const char *text = "{\"result\":[";
    int i;

    portal.gets++;
    for (i = 0; i < portal.count; i++) {
        text = apr_psprintf(world.pool,
                            "%s%s{\"placement\":\"PAGE_BACKGROUND_WORKER\",\"userId\":%d,"
                            "\"handler\":\"%s\",\"options\":{\"errorHandlerUrl\":\"%s\"},"
                            "\"title\":\"\",\"description\":\"\",\"langAll\":[]}",
                            text, i ? "," : "", portal.rows[i].user, portal.rows[i].handler,
                            portal.rows[i].error_url);
    }
    return apr_pstrcat(world.pool, text, "],\"time\":{}}", NULL);
}

static const char *portal_bind(const apr_table_t *fields)
{
    int user = atoi(field(fields, "USER_ID"));
    int i;

    portal.binds++;
    for (i = 0; i < portal.count; i++) {
        if (portal.rows[i].user == 0 || portal.rows[i].user == user) {
            if (user || portal.rows[i].user == user) {
                return error_body("ERROR_PLACEMENT_MAX_COUNT", "Placement max count: 1");
            }
        }
    }
    for (i = 0; i < portal.count; i++) {
        if (strcmp(portal.rows[i].handler, field(fields, "HANDLER")) == 0) {
            return error_body("ERROR_CORE",
                              "Unable to set placement handler: Handler already binded");
        }
    }
    assert_true(portal.count < PORTAL_ROWS);
    portal.rows[portal.count].user = user;
    apr_cpystrn(portal.rows[portal.count].handler, field(fields, "HANDLER"), 256);
    apr_cpystrn(portal.rows[portal.count].error_url, field(fields, "OPTIONS[errorHandlerUrl]"),
                256);
    portal.count++;
    return "{\"result\":true,\"time\":{}}";
}

static const char *portal_unbind(const apr_table_t *fields)
{
    int kept = 0;
    int count = portal.count;
    int i;

    portal.unbinds++;
    for (i = 0; i < count; i++) {
        if (strcmp(portal.rows[i].handler, field(fields, "HANDLER")) != 0 ||
            portal.rows[i].user != atoi(field(fields, "USER_ID"))) {
            portal.rows[kept++] = portal.rows[i];
        }
    }
    portal.count = kept;
    return apr_psprintf(world.pool, "{\"result\":{\"count\":%d},\"time\":{}}", 2 * (count - kept));
}

/* The portal takes these from now on. */
static const char *tokens_body(void)
{
    portal.access_token = apr_psprintf(world.pool, "access-r%d", ++portal.refreshes);
    return apr_psprintf(world.pool,
                        "{\"access_token\":\"%s\",\"refresh_token\":\"refresh-r%d\","
                        "\"expires_in\":3600,\"member_id\":\"" MEMBER "\",\"client_endpoint\":"
                        "\"https:\\/\\/crm.example.com\\/rest\\/\",\"scope\":\"placement\"}",
                        portal.access_token, portal.refreshes);
}

/* What the world says to a call; *status is HTTP's. */
static const char *respond(const call_t *call, int *status)
{
    const apr_table_t *fields = parse(call->body);
    const char *method = strrchr(call->url, '/') + 1;

    *status = 200;
    if (strcmp(call->url, SERVER "/rest/app.info") == 0) {
        return identity("local.1", MEMBER, "crm.example.com");
    }
    if (strcmp(call->url, SERVER "/oauth/token/") == 0) {
        return tokens_body();
    }
    if (portal.faults > 0) {
        portal.faults--;
        *status = portal.fault_status;
        return portal.fault;
    }
    if (portal.access_token && strcmp(portal.access_token, field(fields, "auth")) != 0) {
        *status = 401;
        return error_body("expired_token", "The access token provided has expired.");
    }
    if (strcmp(method, "placement.get") == 0) {
        return portal_get();
    }
    return strcmp(method, "placement.bind") == 0 ? portal_bind(fields) : portal_unbind(fields);
}

/* Answers the oldest call that was not; 0: there is none. */
static int answer_next(void)
{
    const char *body;
    int status;

    if (portal.answered == world.started) {
        return 0;
    }
    body = respond(&world.calls[portal.answered], &status);
    answer(portal.answered++, status, body);
    return 1;
}

/* The world goes on for `seconds`, a step each tenth of one. */
static void live(int seconds)
{
    int tenths;

    for (tenths = 0; tenths < 10 * seconds; tenths++) {
        world.now += APR_USEC_PER_SEC / 10;
        step();
        while (answer_next()) {
        }
        if (world.started > 200) { /* room for more */
            assert_int_equal(portal.answered, world.started);
            portal.answered = world.started = 0;
        }
    }
}

static void begin_portal(void)
{
    memset(&portal, 0, sizeof(portal));
    begin();
    world.app.worker_url = HANDLER;
    world.app.error_url = ERROR_URL;
    world.app.title = "telephony";
    world.app.policy = (b24bg_registration_policy_t){1, 0, apr_time_from_sec(3600), 4};
}

static b24bg_store_registration_t *registration(apr_int64_t user)
{
    b24bg_store_registration_t *found = NULL;
    apr_array_header_t *rows;
    b24bg_store_t *store;
    const char *error;
    int i;

    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_registrations(store, world.pool, "telephony", MEMBER, &rows));
    for (i = 0; i < rows->nelts; i++) {
        if (APR_ARRAY_IDX(rows, i, b24bg_store_registration_t).user_id == user) {
            found = &APR_ARRAY_IDX(rows, i, b24bg_store_registration_t);
        }
    }
    b24bg_store_close(store);
    return found;
}

static const char *state_of(apr_int64_t user)
{
    const b24bg_store_registration_t *row = registration(user);

    return row ? apr_pstrcat(world.pool, row->state, *row->reason ? " " : "", row->reason, NULL)
               : "none";
}

static int row_of(int user)
{
    int i;

    for (i = 0; i < portal.count; i++) {
        if (portal.rows[i].user == user) {
            return i;
        }
    }
    fail_msg("the portal has no row for user %d; the store says %s\n%s", user, state_of(user),
             world.log);
    return -1;
}

static const char *key_hash(int user)
{
    char *hash = apr_palloc(world.pool, B24BG_KEY_HASH_LENGTH + 1);

    assert_int_equal(1, b24bg_notice_key(portal.rows[row_of(user)].error_url, hash));
    return hash;
}

/* One row, ours, with the key that the store has, which the table knows. */
static void agrees(int user)
{
    b24bg_portal_ref_t place;

    if (strcmp(state_of(user), "bound") != 0) {
        const b24bg_store_registration_t *row = registration(user);
        fail_msg("%s %s attempts=%d calls=%d/%d\n%s", state_of(user), row ? row->detail : "",
                 row ? row->attempts : 0, portal.answered, world.started, world.log);
    }
    assert_string_equal(registration(user)->key_hash, key_hash(user));
    assert_string_equal("", registration(user)->next_key_hash);
    assert_int_equal(1, b24bg_table_key_find(world.config.table, key_hash(user), &place));
    assert_true(place.slot != 0);
    no_secret_logged();
}

static int is_live(const char *hash)
{
    b24bg_portal_ref_t place;

    return b24bg_table_key_find(world.config.table, hash, &place);
}

static void notice(const char *hash)
{
    static const b24bg_notice_t told = {"ERROR_PLACEMENT_LOADING_OVERTIME", "too slow"};
    b24bg_journal_record_t record = {{0}, world.now, NULL, 0};

    record.id[0] = (unsigned char)++world.next_id;
    record.payload = b24bg_notice_encode(world.pool, "telephony", hash, &told);
    record.length = strlen(record.payload);
    assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
}

/* The portal deletes a row and says so. */
static void lose(int user)
{
    const char *hash = key_hash(user);
    int row = row_of(user);

    portal.rows[row] = portal.rows[--portal.count];
    notice(hash);
}

static void install_and_bind(void)
{
    install();
    live(2);
    agrees(0);
}

static void installed_is_bound(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    assert_int_equal(1, portal.count);
    assert_string_equal(HANDLER, portal.rows[0].handler);
    assert_memory_equal(ERROR_URL "/", portal.rows[0].error_url, sizeof(ERROR_URL));
    assert_int_equal(2, portal.gets);
    assert_int_equal(1, portal.binds);
    logged("n B24BG0320: registered: app=telephony portal=" MEMBER);
    live(60);
    assert_int_equal(2, portal.gets); /* no polling */
    end();
}

/* Time goes on, and of so many calls each is answered after three seconds. */
static void answer_late(int calls)
{
    while (calls-- > 0) {
        int steps;
        for (steps = 0; steps < 30; steps++) {
            world.now += APR_USEC_PER_SEC / 10;
            step();
        }
        assert_int_equal(1, answer_next());
    }
}

/* Loads are charged from when it was sent; what a question shows is as old as the question. */
static void bound_is_as_old_as_the_bind(void **state)
{
    const b24bg_store_registration_t *row;
    apr_time_t sent;

    (void)state;
    begin_portal();
    install();
    while (!portal.gets) {
        step();
        answer_next();
    }
    sent = world.now;
    answer_late(2); /* the bind, and the question whether it is there */
    step();
    agrees(0);
    row = registration(0);
    assert_int_equal(1, portal.binds);
    assert_int_equal(sent, row->bound);
    assert_int_equal(sent + apr_time_from_sec(3), row->checked);
    end();
}

static unsigned slow_loads(int more)
{
    b24bg_portal_id_t id = {world.app.row, MEMBER, 0};
    b24bg_portal_ref_t place = b24bg_table_find(world.config.table, &id);
    b24bg_portal_counts_t counts;

    while (more-- > 0) {
        b24bg_table_budget_add(world.config.table, place, B24BG_BUDGET_BROWSER, world.now);
    }
    assert_int_equal(1,
                     b24bg_table_read_counts(world.config.table, place.slot, world.now, &counts));
    return counts.budgets[B24BG_BUDGET_BROWSER].used;
}

/* The portal counts loads of a new row from its bind on, however long nobody can confirm it. */
static const struct unconfirmed {
    const char *name;
    int lost;   /* the answer to the bind */
    int killed; /* another task goes on with it */
} unconfirmed[] = {
    {"confirmed late", 0, 0},
    {"the answer is lost", 1, 0},
    {"by another task", 0, 1},
    {"by another task, the answer is lost", 1, 1},
};

static void a_budget_begins_with_the_bind(void **state)
{
    const struct unconfirmed *row = *state;
    int status;

    begin_portal();
    install_and_bind();
    live(60);
    assert_int_equal(3, slow_loads(3));
    lose(0);
    while (portal.gets < 3) {
        world.now += APR_USEC_PER_SEC / 10;
        step();
        answer_next();
    }
    if (row->lost) {
        respond(&world.calls[portal.answered], &status);
        fail_call(portal.answered++);
    } else {
        answer_next();
    }
    assert_int_equal(2, portal.binds);
    assert_int_equal(6, slow_loads(6));
    if (row->killed) {
        portal.answered = world.started;
        start_task("two");
    } else {
        portal.fault = "";
        portal.fault_status = 502;
        portal.faults = 2;
    }
    live(40);
    agrees(0);
    assert_int_equal(6, slow_loads(0));
    end();
}

static void lost_is_bound_again(void **state)
{
    const char *before;
    b24bg_portal_ref_t place;

    (void)state;
    begin_portal();
    install_and_bind();
    before = key_hash(0);
    live(60);
    lose(0);
    live(2);
    agrees(0);
    logged("e B24BG0322");
    logged("n B24BG0321");
    assert_string_not_equal(before, key_hash(0));
    assert_int_equal(1, b24bg_table_key_find(world.config.table, before, &place));
    live(601);
    assert_int_equal(0, b24bg_table_key_find(world.config.table, before, &place));
    agrees(0);
    end();
}

static void a_notice_with_a_dead_key_asks_nothing(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    notice("0123456789abcdef0123456789abcdef01234567");
    live(5);
    assert_int_equal(2, portal.gets);
    end();
}

static void notices_ask_at_most_once_in_four_seconds(void **state)
{
    int i;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    for (i = 0; i < 20; i++) {
        notice(key_hash(0));
        live(1);
    }
    live(20);
    assert_in_range(portal.gets, 8, 9);
    assert_int_equal(1, portal.binds);
    logged("n B24BG0323");
    end();
}

/* Spec.md section 8 has five seconds, also right after a false alarm. */
static void a_loss_after_a_false_alarm_is_mended_in_time(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    notice(key_hash(0));
    live(1);
    logged("n B24BG0323");
    lose(0);
    live(5);
    agrees(0);
    end();
}

/* Answers of the portal, and how it ends: spec.md section 5, protocol.md 4.4 and 4.12. */
static const struct trouble {
    const char *name;
    const char *body;
    int status;
    const char *state;
    const char *log;
} troubles[] = {
    {"access denied", "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"Access denied!\"}", 403,
     "blocked not-admin", "c B24BG0325"},
    {"no plan",
     "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"REST API is available only on "
     "commercial "
     "plans\"}",
     403, "blocked payment", "c B24BG0325"},
    {"payment", "{\"error\":\"PAYMENT_REQUIRED\",\"error_description\":\"\"}", 401,
     "blocked payment", "c B24BG0325"},
    {"invalid token", "{\"error\":\"invalid_token\",\"error_description\":\"\"}", 401,
     "blocked no-token", "c B24BG0325"},
    {"scope", "{\"error\":\"insufficient_scope\",\"error_description\":\"\"}", 401,
     "blocked wrong-app", "c B24BG0325"},
    {"application gone", "{\"error\":\"APPLICATION_NOT_FOUND\",\"error_description\":\"\"}", 401,
     "blocked uninstalled", "n B24BG0325"},
    {"portal gone", "{\"error\":\"PORTAL_DELETED\",\"error_description\":\"\"}", 403,
     "blocked uninstalled", "n B24BG0325"},
    {"overload", "{\"error\":\"OVERLOAD_LIMIT\",\"error_description\":\"\"}", 503,
     "blocked refused", "c B24BG0325"},
    {"unknown error", "{\"error\":\"SOMETHING_NEW\",\"error_description\":\"\"}", 400,
     "blocked refused", "c B24BG0325"},
};

static void permanent_errors_block(void **state)
{
    const struct trouble *row = *state;
    int calls;

    begin_portal();
    install_and_bind();
    live(60);
    portal.fault = row->body;
    portal.fault_status = row->status;
    portal.faults = 1;
    lose(0);
    live(2);
    assert_string_equal(row->state, state_of(0));
    logged(row->log);
    calls = portal.gets + portal.binds;
    live(600);
    assert_int_equal(calls, portal.gets + portal.binds);
    install();
    live(2);
    agrees(0);
    end();
}

static const struct passing {
    const char *name;
    const char *body;
    int status;
} passing[] = {
    {"query limit", "{\"error\":\"QUERY_LIMIT_EXCEEDED\",\"error_description\":\"\"}", 503},
    {"operation time", "{\"error\":\"OPERATION_TIME_LIMIT\",\"error_description\":\"\"}", 429},
    {"proxy", "<html>502</html>", 502},
    {"empty", "", 200},
    {"half an answer", "{\"result\":[{\"placement\":\"PAGE_BACK", 200},
    {"a row without a handler", "{\"result\":[{\"placement\":\"PAGE_BACKGROUND_WORKER\"}]}", 200},
    {"a parallel bind",
     "{\"error\":\"ERROR_CORE\",\"error_description\":\"Unable to set placement handler: Process "
     "of "
     "binding the handler has already started\"}",
     400},
};

static void passing_errors_are_tried_again(void **state)
{
    const struct passing *row = *state;

    begin_portal();
    install_and_bind();
    live(60);
    portal.fault = row->body;
    portal.fault_status = row->status;
    portal.faults = 3;
    lose(0);
    live(1);
    assert_string_equal("suspect", state_of(0));
    live(30);
    agrees(0);
    assert_int_equal(2, portal.binds);
    end();
}

static void an_expired_token_is_refreshed_and_kept(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    portal.access_token = "another";
    lose(0);
    live(2);
    agrees(0);
    assert_int_equal(1, portal.refreshes);
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    end();
}

static void want_users(int first, int second)
{
    apr_array_header_t *users = apr_array_make(world.pool, 2, sizeof(apr_int64_t));

    if (first) {
        APR_ARRAY_PUSH(users, apr_int64_t) = first;
    }
    if (second) {
        APR_ARRAY_PUSH(users, apr_int64_t) = second;
    }
    world.app.users = users;
}

static int times_logged(const char *text)
{
    const char *at = world.log;
    int count = 0;

    while ((at = strstr(at, text))) {
        count++;
        at++;
    }
    return count;
}

/* A step each tenth of a second, until the new pair has been asked for. */
static void live_until_refresh(void)
{
    while (portal.answered == world.started ||
           strcmp(world.calls[portal.answered].url, SERVER "/oauth/token/") != 0) {
        if (!answer_next()) {
            world.now += APR_USEC_PER_SEC / 10;
            step();
        }
    }
}

static void lose_with_an_expired_token(void)
{
    install_and_bind();
    live(60);
    portal.access_token = "another";
    lose(0);
    live_until_refresh();
}

static void answer_one(void)
{
    answer_next();
}

/* The answer comes between the last step and the end: the next task has the new pair, and finds the
 * registration as it was. */
static void a_refresh_is_finished_at_the_end(void **state)
{
    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    world.is_stopping = 1;
    world.performed = answer_one;
    apr_pool_destroy(world.task_pool);
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    assert_string_equal("suspect", state_of(0));
    assert_int_equal(0, registration(0)->attempts);
    world.is_stopping = 0;
    world.performed = NULL;
    start_task("two");
    live(2);
    agrees(0);
    assert_int_equal(1, portal.refreshes);
    end();
}

/* A connection of its own, that keeps everybody else from writing. */
static struct {
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
} holder;

static void hold_store(void)
{
    int rows;

    assert_int_equal(APR_SUCCESS, apr_dbd_init(world.pool));
    assert_int_equal(APR_SUCCESS, apr_dbd_get_driver(world.pool, "sqlite3", &holder.driver));
    assert_int_equal(APR_SUCCESS,
                     apr_dbd_open(holder.driver, world.pool, world.db, &holder.handle));
    assert_int_equal(0, apr_dbd_query(holder.driver, holder.handle, &rows, "BEGIN EXCLUSIVE"));
}

static void let_store_go(void)
{
    int rows;

    assert_int_equal(0, apr_dbd_query(holder.driver, holder.handle, &rows, "ROLLBACK"));
    apr_dbd_close(holder.driver, holder.handle);
}

/* The new pair has come while the store was held, and waits. */
static void refresh_with_the_store_held(void)
{
    begin_portal();
    lose_with_an_expired_token();
    hold_store();
    answer_next();
    logged("e B24BG0335: new tokens could not be kept, the store is down: app=telephony "
           "portal=" MEMBER);
}

static void new_tokens_wait_for_the_store(void **state)
{
    int calls;

    (void)state;
    refresh_with_the_store_held();
    calls = world.started;
    live(5);
    assert_int_equal(calls, world.started);
    assert_null(strstr(world.log, "B24BG0336"));
    let_store_go();
    live(4);
    logged("n B24BG0336: new tokens are in the store at last: app=telephony portal=" MEMBER);
    agrees(0);
    assert_int_equal(1, portal.refreshes);
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    end();
}

/* The lease is somebody else's by now; he cannot do anything with the old pair. */
static void new_tokens_are_kept_without_the_lease(void **state)
{
    b24bg_task_t *first;
    int calls;

    (void)state;
    refresh_with_the_store_held();
    first = world.task;
    let_store_go();
    world.now += B24BG_TASK_LEASE;
    start_task("two");
    calls = world.started;
    step();
    assert_int_equal(calls + 1, world.started); /* with the old pair */
    assert_string_equal("refresh-1", in_store(MEMBER)->refresh_token);
    b24bg_task_step(first, world.now, 0);
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    assert_int_equal(calls + 1, world.started);
    end();
}

static void block(apr_int64_t user, apr_time_t since)
{
    b24bg_store_registration_t *row = registration(user);
    b24bg_store_t *store = open_store();

    row->state = "blocked";
    row->reason = "no-token";
    row->since = since;
    row->due = 0;
    assert_int_equal(APR_SUCCESS, b24bg_store_registration_put(store, row, NULL));
    b24bg_store_close(store);
}

/* Another machine has tried the old token meanwhile. */
static void new_tokens_end_a_block(void **state)
{
    (void)state;
    refresh_with_the_store_held();
    let_store_go();
    block(0, world.now + B24BG_TASK_LEASE);
    live(4);
    agrees(0);
    assert_int_equal(1, portal.refreshes);
    end();
}

/* Installed again meanwhile, by somebody else. */
static void bring_newer_tokens(void)
{
    b24bg_store_portal_t newer = *in_store(MEMBER);
    b24bg_store_t *store = open_store();

    newer.user_id = 2;
    newer.refresh_token = "refresh-newer";
    newer.access_token = "access-newer";
    assert_int_equal(APR_SUCCESS, b24bg_store_portal_put(store, &newer, NULL));
    b24bg_store_close(store);
}

static void newer_tokens_are_left_alone(void **state)
{
    (void)state;
    refresh_with_the_store_held();
    let_store_go();
    bring_newer_tokens();
    portal.access_token = "access-newer";
    live(4);
    logged("n B24BG0337");
    assert_string_equal("refresh-newer", in_store(MEMBER)->refresh_token);
    agrees(0);
    end();
}

static void an_uninstalled_portal_needs_no_tokens(void **state)
{
    b24bg_store_t *store;
    int calls;

    (void)state;
    refresh_with_the_store_held();
    calls = world.started;
    let_store_go();
    store = open_store();
    assert_int_equal(APR_SUCCESS, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    b24bg_store_close(store);
    live(4);
    logged("n B24BG0337");
    assert_string_equal("", in_store(MEMBER)->refresh_token);
    assert_int_equal(calls, world.started);
    end();
}

static void newer_tokens_outlive_a_late_refresh(void **state)
{
    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    bring_newer_tokens();
    answer_next();
    portal.access_token = "access-newer";
    live(2);
    logged("n B24BG0337: new tokens are not needed any more, the store has some: app=telephony");
    assert_string_equal("refresh-newer", in_store(MEMBER)->refresh_token);
    assert_int_equal(2, in_store(MEMBER)->user_id);
    assert_int_equal(1, portal.refreshes);
    agrees(0);
    end();
}

static void a_late_refresh_brings_nothing_back(void **state)
{
    b24bg_store_t *store;
    int calls;

    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    calls = world.started;
    store = open_store();
    assert_int_equal(APR_SUCCESS, b24bg_store_portal_wipe(store, "telephony", MEMBER, NULL));
    b24bg_store_close(store);
    answer_next();
    assert_string_equal("", in_store(MEMBER)->refresh_token);
    assert_int_equal(calls, world.started);
    end();
}

static void refuse_refresh(void)
{
    answer(portal.answered++, 400, error_body("invalid_grant", "used"));
}

/* It was the old token that was refused: the one that the store has by now was not tried. */
static void a_refused_refresh_goes_on_with_newer_tokens(void **state)
{
    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    bring_newer_tokens();
    refuse_refresh();
    portal.access_token = "access-newer";
    live(2);
    assert_null(strstr(world.log, "B24BG0325"));
    agrees(0);
    end();
}

static void a_refused_refresh_blocks(void **state)
{
    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    refuse_refresh();
    live(600);
    assert_string_equal("blocked no-token", state_of(0));
    assert_int_equal(1, times_logged("B24BG0325"));
    end();
}

/* Whoever asked for new tokens slept through his lease; another one finds the old token used up,
 * and then the new ones come after all. */
static void a_late_refresh_ends_the_block_of_the_spent_token(void **state)
{
    b24bg_task_t *first;
    int refresh;

    (void)state;
    begin_portal();
    lose_with_an_expired_token();
    refresh = portal.answered++;
    first = world.task;
    world.now += B24BG_TASK_LEASE + APR_USEC_PER_SEC;
    start_task("two");
    live_until_refresh();
    refuse_refresh();
    assert_string_equal("blocked no-token", state_of(0));
    answer(refresh, 200, tokens_body());
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    b24bg_task_step(first, world.now, 0);
    live(5);
    agrees(0);
    assert_int_equal(1, portal.refreshes);
    end();
}

/* Its clock is wrong, say: no registration's new tokens may wake up the other one again. */
static void a_portal_that_takes_no_token_is_left_alone(void **state)
{
    int refreshes;

    (void)state;
    begin_portal();
    want_users(7, 8);
    install();
    live(20);
    portal.fault = error_body("expired_token", "");
    portal.fault_status = 401;
    portal.faults = 1000;
    notice(key_hash(7));
    notice(key_hash(8));
    live(20);
    assert_string_equal("blocked no-token", state_of(7));
    assert_string_equal("blocked no-token", state_of(8));
    refreshes = portal.refreshes;
    assert_in_range(refreshes, 1, 2);
    live(60);
    assert_int_equal(refreshes, portal.refreshes);
    end();
}

static const struct rest_of_tokens {
    const char *name;
    const char *members;
} rests_of_tokens[] = {
    {"outside of B24bgPortals", "\"client_endpoint\":\"https:\\/\\/crm.new.org\\/rest\\/\""},
    {"nowhere", "\"client_endpoint\":null"},
    {"strange members", "\"user_id\":{},\"scope\":[],\"expires\":\"soon\""},
};

/* The old pair is used up, whatever else the answer says. */
static void new_tokens_are_kept_whatever_comes_with_them(void **state)
{
    const struct rest_of_tokens *row = *state;

    begin_portal();
    lose_with_an_expired_token();
    portal.access_token = "access-r1";
    answer(portal.answered++, 200,
           apr_psprintf(world.pool,
                        "{\"access_token\":\"access-r1\",\"refresh_token\":\"refresh-r1\","
                        "\"member_id\":\"" MEMBER "\",%s}",
                        row->members));
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    live(2);
    agrees(0);
    end();
}

static void the_end_is_the_last_try_to_keep_tokens(void **state)
{
    (void)state;
    refresh_with_the_store_held();
    assert_int_equal(0, b24bg_task_leave(world.task, world.now, 0));
    let_store_go();
    apr_pool_destroy(world.task_pool);
    logged("n B24BG0336");
    assert_null(strstr(world.log, "B24BG0316"));
    assert_string_equal("refresh-r1", in_store(MEMBER)->refresh_token);
    end();
}

static void tokens_that_are_lost_are_told(void **state)
{
    (void)state;
    refresh_with_the_store_held();
    apr_pool_destroy(world.task_pool);
    logged("c B24BG0316: new tokens are lost, the store is down: app=telephony portal=" MEMBER);
    no_secret_logged();
    let_store_go();
    end();
}

static void without_a_secret_there_is_no_refresh(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    world.app.rest.client_secret = NULL;
    portal.access_token = "another";
    lose(0);
    live(2);
    assert_string_equal("blocked no-token", state_of(0));
    end();
}

/* Killed: the task is forgotten as it is, with whatever it had sent; the portal has done what had
 * reached it. `done`: calls that are answered before, of which the last one's answer is lost where
 * `lost`. Then another one takes over. */
static const struct kill {
    const char *name;
    int again; /* a rebind, not the first bind */
    int done;
    int lost;
} kills[] = {
    {"bind, before the token is asked about", 0, 0, 0},
    {"bind, the identity is known", 0, 1, 1},
    {"bind, before the first get", 0, 1, 0},
    {"bind, the first get is answered", 0, 2, 1},
    {"bind, before the bind", 0, 2, 0},
    {"bind, bound", 0, 3, 1},
    {"bind, before the read back", 0, 3, 0},
    {"bind, read back", 0, 4, 1},
    {"rebind, before the first get", 1, 0, 0},
    {"rebind, the first get is answered", 1, 1, 1},
    {"rebind, before the bind", 1, 1, 0},
    {"rebind, bound", 1, 2, 1},
    {"rebind, before the read back", 1, 2, 0},
    {"rebind, read back", 1, 3, 1},
};

static void a_killed_task_is_gone_on_from(void **state)
{
    const struct kill *row = *state;
    int i;

    begin_portal();
    if (row->again) {
        install_and_bind();
        live(60);
        lose(0);
    } else {
        install();
    }
    for (i = 0; i < row->done - row->lost;) {
        world.now += APR_USEC_PER_SEC / 10;
        step();
        i += answer_next();
    }
    step();
    step();
    if (row->lost) {
        int status;
        assert_true(portal.answered < world.started);
        respond(&world.calls[portal.answered], &status);
    }
    portal.answered = world.started; /* nobody answers them any more */
    start_task("two");
    live(20);
    agrees(0);
    assert_int_equal(1, portal.count);
    end();
}

/* The server starts while the store is away, and a notice comes, which is kept. */
static void a_notice_before_the_keys_are_read_is_acted_on(void **state)
{
    const char *away;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    assert_int_equal(1, b24bg_table_keys_are_read(world.config.table));
    away = apr_pstrcat(world.pool, world.db, ".away", NULL);
    apr_pool_destroy(world.task_pool);
    free(world.config.table);
    make_table();
    assert_int_equal(0, rename(world.db, away));
    assert_int_equal(0, mkdir(world.db, 0700));
    start_task("two");
    live(2);
    assert_int_equal(0, b24bg_table_keys_are_read(world.config.table));
    lose(0);
    live(2);
    assert_int_equal(0, rmdir(world.db));
    assert_int_equal(0, rename(away, world.db));
    live(5);
    assert_int_equal(1, b24bg_table_keys_are_read(world.config.table));
    agrees(0);
    logged("n B24BG0321");
    end();
}

#define FAILED_BINDS 5

/* Each attempt has a key of its own, which dies with it. */
static void keys_of_failed_binds_die(void **state)
{
    const char *keys[FAILED_BINDS];
    int i;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    lose(0);
    for (i = 0; i < FAILED_BINDS;) {
        world.now += APR_USEC_PER_SEC / 10;
        step();
        if (portal.answered < world.started &&
            strstr(world.calls[portal.answered].url, "placement.bind")) {
            keys[i] = registration(0)->next_key_hash;
            assert_int_equal(1, is_live(keys[i]));
            i++;
            answer(portal.answered++, 503, error_body("QUERY_LIMIT_EXCEEDED", ""));
        } else {
            answer_next();
        }
    }
    live(600);
    agrees(0);
    for (i = 0; i < FAILED_BINDS; i++) {
        assert_string_not_equal("", keys[i]);
        assert_int_equal(0, is_live(keys[i]));
    }
    end();
}

/* A task that was killed has left a key in the table. */
static void keys_of_nobody_die(void **state)
{
    static const char *stray = "0123456789abcdef0123456789abcdef01234567";

    (void)state;
    begin_portal();
    install_and_bind();
    assert_int_equal(1, b24bg_table_key_put(world.config.table, stray, (b24bg_portal_ref_t){0, 0}));
    live(10);
    assert_int_equal(1, is_live(stray));
    apr_pool_destroy(world.task_pool);
    start_task("two");
    step();
    assert_int_equal(0, is_live(stray));
    agrees(0);
    end();
}

/* Whoever slept through his lease wakes up with an answer in his hands. */
static void a_sleeper_changes_nothing(void **state)
{
    b24bg_task_t *sleeper;
    int calls;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    lose(0);
    step();
    assert_int_equal(portal.answered + 1, world.started); /* the first get */
    sleeper = world.task;
    portal.answered = world.started;
    calls = world.started - 1;
    start_task("two");
    live(20);
    agrees(0);
    answer(calls, 200, "{\"result\":[],\"time\":{}}");
    b24bg_task_step(sleeper, world.now, 0);
    live(5);
    agrees(0);
    assert_int_equal(2, portal.binds);
    end();
}

/* What the page is told of: 'r' a registration, 'k' a known place without one, '-' neither. */
static char shown_of(int user)
{
    b24bg_portal_id_t id = {world.app.row, MEMBER, user};
    b24bg_portal_ref_t place = b24bg_table_find(world.config.table, &id);
    b24bg_portal_counts_t counts = {0};

    if (place.slot) {
        b24bg_table_read_portal(world.config.table, place.slot, world.now, &counts);
    }
    return counts.shown.has ? 'r' : counts.known ? 'k' : '-';
}

static void personal_ones_take_the_place_of_a_general_one(void **state)
{
    const char *general;

    (void)state;
    begin_portal();
    install_and_bind();
    general = key_hash(0);
    want_users(7, 8);
    live(10);
    install();
    live(20);
    agrees(7);
    agrees(8);
    assert_int_equal(2, portal.count);
    assert_string_equal(HANDLER "?u=7", portal.rows[row_of(7)].handler);
    assert_string_equal("unknown", state_of(0));
    assert_int_equal('k', shown_of(0));
    assert_int_equal('r', shown_of(7));
    assert_int_equal(0, is_live(general));
    live(60);
    lose(8);
    live(3);
    agrees(7);
    agrees(8);
    want_users(0, 0);
    live(10);
    install();
    live(20);
    agrees(0);
    assert_int_equal(1, portal.count);
    assert_int_equal('r', shown_of(0));
    assert_int_equal('-', shown_of(7));
    want_users(8, 0);
    live(10);
    install();
    live(20);
    assert_int_equal('-', shown_of(7));
    assert_int_equal('r', shown_of(8));
    end();
}

/* Places for four, and seven want one. */
static void a_loss_without_a_place_is_mended(void **state)
{
    apr_array_header_t *users = apr_array_make(unit_pool, 6, sizeof(apr_int64_t));
    int without = 0;
    int user;

    (void)state;
    begin_portal();
    for (user = 11; user <= 16; user++) {
        APR_ARRAY_PUSH(users, apr_int64_t) = user;
    }
    world.app.users = users;
    install();
    live(10);
    assert_int_equal(6, portal.count);
    for (user = 11; user <= 16; user++) {
        b24bg_portal_id_t id = {world.app.row, MEMBER, user};
        if (!b24bg_table_find(world.config.table, &id).slot) {
            without++;
            lose(user);
        }
    }
    assert_int_equal(3, without);
    live(10);
    assert_int_equal(6, portal.count);
    assert_int_equal(9, portal.binds);
    for (user = 11; user <= 16; user++) {
        assert_int_equal(1, is_live(key_hash(user)));
        assert_string_equal("bound", state_of(user));
    }
    end();
}

static const char *origin_of(int user)
{
    char *origin = apr_pcalloc(world.pool, B24BG_ORIGIN_MAX + 1);
    b24bg_portal_id_t id = {world.app.row, MEMBER, user};
    b24bg_portal_ref_t place = b24bg_table_find(world.config.table, &id);

    assert_int_equal(B24BG_TRUST_PROVEN,
                     b24bg_table_trust(world.config.table, place, "app-token", origin));
    return origin;
}

/* What one registration's job has learnt is true of the other one's place. */
static void a_renamed_portal_moves_with_all_its_places(void **state)
{
    static const b24bg_http_answer_t moved = {
        B24BG_HTTP_ANSWERED, 302, "", 0, "https://new.example.com/rest/placement.get", ""};
    int call;

    (void)state;
    begin_portal();
    want_users(7, 8);
    install();
    live(20);
    assert_string_equal("https://crm.example.com", origin_of(8));
    lose(7);
    step();
    call = portal.answered++;
    world.calls[call].done(world.calls[call].baton, &moved);
    answer(portal.answered++, 200, identity("local.1", MEMBER, "new.example.com"));
    live(5);
    agrees(7);
    agrees(8);
    assert_string_equal("https://new.example.com", origin_of(0));
    assert_string_equal("https://new.example.com", origin_of(7));
    assert_string_equal("https://new.example.com", origin_of(8));
    end();
}

static const char *command(const char *verb)
{
    b24bg_store_command_t asked = {0};
    b24bg_store_command_t *done;
    b24bg_store_t *store;
    const char *error;

    asked.id = apr_psprintf(world.pool, "%032x", ++world.next_id);
    asked.app = "telephony";
    asked.member_id = MEMBER;
    asked.verb = verb;
    asked.created = world.now;
    asked.result = "";
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    assert_int_equal(APR_SUCCESS, b24bg_store_command_add(store, &asked));
    live(10);
    assert_int_equal(APR_SUCCESS, b24bg_store_command_get(store, world.pool, asked.id, &done));
    b24bg_store_close(store);
    return done->result;
}

/* The tokens get old, and the access token has expired. */
static void wait_for_old_tokens(void)
{
    portal.access_token = "another";
    world.now += B24BG_TASK_REFRESH_WARN;
    live(60);
    assert_int_equal(1, times_logged("w B24BG0329"));
}

/* The general one is in the store as well, retired. */
static void old_tokens_are_renewed_through_what_is_bound(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    want_users(7, 0);
    install();
    live(20);
    agrees(7);
    wait_for_old_tokens();
    agrees(7);
    assert_string_equal("unknown", state_of(0));
    assert_int_equal(1, portal.refreshes);
    logged("which renews it");
    end();
}

static void old_tokens_where_nothing_is_bound_are_told_of(void **state)
{
    int gets;

    (void)state;
    begin_portal();
    install_and_bind();
    assert_string_equal("0 unbound", command("unbind"));
    gets = portal.gets;
    wait_for_old_tokens();
    logged("it is not renewed by itself: use b24bgctl bind");
    live(7300);
    assert_int_equal(1, times_logged("w B24BG0329"));
    assert_int_equal(gets, portal.gets);
    assert_string_equal("0 bound", command("bind"));
    assert_int_equal(1, portal.refreshes);
    end();
}

static int rebinds(b24bg_rebind_result_e result)
{
    b24bg_app_counts_t counts;

    assert_int_equal(1,
                     b24bg_table_read_app(world.config.table, world.pool, world.app.row, &counts));
    return (int)counts.rebinds[result];
}

static void put_row(int user, const char *handler)
{
    portal.rows[portal.count].user = user;
    apr_cpystrn(portal.rows[portal.count].handler, handler, 256);
    apr_cpystrn(portal.rows[portal.count].error_url, "https://other.example.com/e", 256);
    portal.count++;
}

static const struct foreign {
    const char *name;
    int wanted; /* user; 0: general */
    int user;
    const char *handler;
    int blocks;
} foreigners[] = {
    {"in the general place", 0, 0, "https://other.example.com/w", 1},
    {"in the personal place", 7, 7, "https://other.example.com/w", 1},
    {"general, personal wanted", 7, 0, "https://other.example.com/w", 1},
    {"personal, general wanted", 0, 7, "https://other.example.com/w", 0},
    {"another user's, personal wanted", 7, 8, "https://other.example.com/w", 0},
    {"our handler for another user", 7, 8, HANDLER "?u=7", 1},
};

static void foreign_handlers_are_left_alone(void **state)
{
    const struct foreign *row = *state;

    begin_portal();
    want_users(row->wanted, 0);
    put_row(row->user, row->handler);
    install();
    live(10);
    assert_int_equal(0, portal.unbinds);
    if (row->blocks) {
        assert_string_equal("blocked foreign-handler", state_of(row->wanted));
        logged("c B24BG0325: registration blocked, nothing is done by itself: ");
        assert_int_equal(0, rebinds(B24BG_REBIND_BLOCKED)); /* it was never bound */
        assert_int_equal(1, portal.count);
        assert_int_equal(0, portal.binds);
        logged(strchr(row->handler, '?') ? HANDLER : row->handler);
    } else {
        agrees(row->wanted);
        assert_int_equal(2, portal.count);
    }
    end();
}

static void commands_are_carried_out(void **state)
{
    const char *before;

    (void)state;
    begin_portal();
    install_and_bind();
    live(10);
    before = key_hash(0);
    assert_string_equal("0 bound", command("bind"));
    assert_string_equal(before, key_hash(0));
    assert_string_equal("0 user 0: at the portal: registered; nothing would be done",
                        command("dry-bind"));
    assert_string_equal(before, key_hash(0));
    assert_string_equal("0 bound", command("rebind"));
    assert_string_not_equal(before, key_hash(0));
    agrees(0);
    assert_string_equal("0 unbound", command("unbind"));
    assert_int_equal(0, portal.count);
    install();
    live(10);
    assert_int_equal(0, portal.count);
    assert_string_equal("0 bound", command("bind"));
    agrees(0);
    assert_int_equal('2', *command("nonsense"));
    end();
}

static void rebind_takes_a_foreign_handler_away(void **state)
{
    (void)state;
    begin_portal();
    put_row(0, "https://other.example.com/w");
    install();
    live(5);
    assert_string_equal("blocked foreign-handler", state_of(0));
    assert_int_equal('2', *command("bind"));
    assert_string_equal("0 bound", command("rebind"));
    agrees(0);
    assert_int_equal(1, portal.count);
    end();
}

static void a_day_has_only_so_many_binds(void **state)
{
    int i;

    (void)state;
    begin_portal();
    install_and_bind();
    for (i = 0; i < 3; i++) {
        live(30);
        lose(0);
        live(5);
        agrees(0);
    }
    live(30);
    lose(0);
    live(5);
    assert_string_equal("blocked daily-cap", state_of(0));
    logged("e B24BG0325: registration blocked, it goes on by itself later: ");
    assert_int_equal(1, rebinds(B24BG_REBIND_BLOCKED));
    assert_int_equal(4, portal.binds);
    logged("e B24BG0325");
    world.now += B24BG_REGISTRATION_DAY;
    live(5);
    agrees(0);
    assert_int_equal(5, portal.binds);
    end();
}

/* An app with B24bgSilence 60s, and enough loads to fall silent after. */
static void install_and_load(void)
{
    b24bg_portal_id_t id = {0, MEMBER, 0};
    b24bg_table_request_t load = {0};
    int i;

    begin_portal();
    world.app.silence = apr_time_from_sec(60);
    install_and_bind();
    load.app = id.app = world.app.row;
    load.portal = b24bg_table_find(world.config.table, &id);
    load.is_load = 1;
    for (i = 0; i < 30; i++) {
        load.now = world.now;
        b24bg_table_count(world.config.table, &load);
    }
}

static void silence_asks_once(void **state)
{
    (void)state;
    install_and_load();
    portal.count = 0; /* lost, and no notice */
    live(50);
    assert_int_equal(2, portal.gets);
    live(30);
    agrees(0);
    logged("w B24BG0327");
    logged("n B24BG0321");
    live(300);
    assert_int_equal(4, portal.gets); /* asked once, read back once */
    end();
}

/* The server ends with its table, and another one starts. */
static void a_restart_forgets_no_silence(void **state)
{
    int gets;

    (void)state;
    install_and_load();
    live(120);
    gets = portal.gets;
    assert_int_equal(3, gets);
    apr_pool_destroy(world.task_pool);
    free(world.config.table);
    make_table();
    start_task("two");
    live(120);
    assert_int_equal(gets, portal.gets);
    agrees(0);
    end();
}

static void raw_sql(const char *statement)
{
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
    int rows;

    assert_int_equal(APR_SUCCESS, apr_dbd_get_driver(world.pool, "sqlite3", &driver));
    assert_int_equal(APR_SUCCESS, apr_dbd_open(driver, world.pool, world.db, &handle));
    assert_int_equal(0, apr_dbd_query(driver, handle, &rows, statement));
    assert_int_equal(APR_SUCCESS, apr_dbd_close(driver, handle));
}

static void silence_survives_a_store_that_fails(void **state)
{
    (void)state;
    install_and_load();
    portal.count = 0; /* lost, and no notice */
    raw_sql("CREATE TRIGGER b24bg_full BEFORE INSERT ON b24bg_inbox "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END");
    live(80);
    logged("w B24BG0301");
    assert_int_equal(2, portal.gets);
    raw_sql("DROP TRIGGER b24bg_full");
    live(30);
    logged("w B24BG0327");
    agrees(0);
    live(300);
    assert_int_equal(4, portal.gets); /* asked once, read back once */
    end();
}

static void an_uninstalled_portal_is_left_alone(void **state)
{
    int calls;

    (void)state;
    begin_portal();
    install_and_bind();
    live(10);
    calls = portal.gets;
    post(B24BG_INSTALL_UNINSTALL, MEMBER, "", "app-token");
    live(5);
    assert_string_equal("blocked uninstalled", state_of(0));
    assert_int_equal(0, is_live(registration(0)->key_hash));
    notice(registration(0)->key_hash);
    live(5);
    assert_int_equal(calls, portal.gets);
    install();
    live(5);
    agrees(0);
    end();
}

static void an_app_without_urls_registers_nothing(void **state)
{
    (void)state;
    begin_portal();
    world.app.worker_url = world.app.error_url = NULL;
    install();
    live(5);
    assert_int_equal(0, portal.gets);
    assert_null(registration(0));
    end();
}

/* Left by two people at once: one after the other, and each gets a result. */
static void commands_come_one_after_the_other(void **state)
{
    b24bg_store_command_t asked[2] = {{0}, {0}};
    b24bg_store_command_t *done;
    b24bg_store_t *store;
    const char *error;
    int i;

    (void)state;
    begin_portal();
    install_and_bind();
    live(10);
    assert_int_equal(APR_SUCCESS,
                     b24bg_store_open(world.pool, "sqlite3", world.db, &store, &error));
    for (i = 0; i < 2; i++) {
        asked[i].id = apr_psprintf(world.pool, "%032x", ++world.next_id);
        asked[i].app = "telephony";
        asked[i].member_id = MEMBER;
        asked[i].verb = "rebind";
        asked[i].created = world.now + i;
        assert_int_equal(APR_SUCCESS, b24bg_store_command_add(store, &asked[i]));
    }
    live(20);
    for (i = 0; i < 2; i++) {
        assert_int_equal(APR_SUCCESS,
                         b24bg_store_command_get(store, world.pool, asked[i].id, &done));
        assert_string_equal("0 bound", done->result);
    }
    b24bg_store_close(store);
    assert_int_equal(3, portal.binds);
    agrees(0);
    end();
}

/* The answer to a question that was sent before a notice came does not answer the notice. */
static void a_notice_during_a_slow_answer_is_not_lost(void **state)
{
    const char *rows;
    const char *hash;
    int call;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    hash = key_hash(0);
    notice(hash);
    world.now += APR_USEC_PER_SEC / 10;
    step();
    call = portal.answered++;
    rows = portal_get(); /* as it is now, and the answer takes a while */
    live(3);
    lose(0);
    live(3);
    answer(call, 200, rows);
    live(20);
    agrees(0);
    assert_int_equal(2, portal.binds);
    end();
}

static void a_clock_that_is_set_back_stalls_nothing(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    world.now -= apr_time_from_sec(7200);
    live(1);
    assert_string_equal("0 bound", command("rebind"));
    lose(0);
    live(15);
    agrees(0);
    end();
}

/* Anybody can post installations; notices do not wait behind them. */
static void installations_do_not_hold_up_notices(void **state)
{
    int i;

    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    for (i = 0; i < 200; i++) {
        b24bg_install_t forged = {B24BG_INSTALL_EVENT, OTHER, SERVER "/rest/", "a", "b", "c"};
        b24bg_journal_record_t record = {{0}, world.now, NULL, 0};
        record.id[0] = 0xff;
        memcpy(record.id + 1, &i, sizeof(i));
        record.payload = b24bg_install_encode(world.pool, "telephony", &forged);
        record.length = strlen(record.payload);
        assert_int_equal(APR_SUCCESS, b24bg_journal_append(world.journal, &record, world.pool));
    }
    lose(0);
    step();
    for (i = 0; i < world.started && !strstr(world.calls[i].url, "placement"); i++) {
    }
    assert_true(strstr(world.calls[world.started - 1].url, "placement.get") != NULL);
    end();
}

/* It was sent by a portal that works again. */
static void a_notice_ends_a_long_wait(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    portal.fault = "<html>502</html>";
    portal.fault_status = 502;
    portal.faults = 1000;
    notice(key_hash(0));
    while (registration(0)->due < world.now + apr_time_from_sec(600)) {
        live(10);
    }
    portal.faults = 0;
    lose(0);
    live(5);
    agrees(0);
    end();
}

/* Portals whose registration is to be asked about, after so many failed attempts. */
static void put_suspects(int first, int count, int attempts)
{
    b24bg_store_portal_t *other = in_store(MEMBER);
    b24bg_store_registration_t *row = registration(0);
    b24bg_store_t *store = open_store();
    int i;

    for (i = first; i < first + count; i++) {
        other->member_id = row->member_id = apr_psprintf(world.pool, "%032x", i);
        row->state = "suspect";
        row->key_hash = "";
        row->attempts = attempts;
        row->due = world.now;
        row->change = 0;
        assert_int_equal(APR_SUCCESS, b24bg_store_portal_put(store, other, NULL));
        assert_int_equal(APR_SUCCESS, b24bg_store_registration_put(store, row, NULL));
    }
    b24bg_store_close(store);
}

/* No call is ever answered. Those that failed before leave room for the others, and those of them
 * that hang leave room for the rest of them. */
static void portals_that_hang_keep_no_others_waiting(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(5);
    put_suspects(1, B24BG_TASK_RETRIES_MOST + 1, 1);
    put_suspects(1000, 1, 0);
    portal.answered = world.started = 0;
    world.now += B24BG_TASK_REFRESH_EVERY;
    step();
    assert_int_equal(B24BG_TASK_RETRIES_MOST + 1, world.started);
    world.now += B24BG_TASK_REFRESH_EVERY;
    step();
    assert_int_equal(B24BG_TASK_RETRIES_MOST + 2, world.started);
    end();
}

static void a_portal_that_cannot_be_asked_is_told(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    portal.fault = "<html>502</html>";
    portal.fault_status = 502;
    portal.faults = 1000;
    notice(key_hash(0));
    live(2);
    logged("w B24BG0317");
    assert_null(strstr(world.log, "B24BG0324"));
    live(600);
    logged("w B24BG0324");
    end();
}

/* The task starts again, with what the configuration says by now. */
static void start_again(const char *name)
{
    apr_pool_destroy(world.task_pool);
    portal.gets = 0;
    start_task(name);
    live(20);
}

/* The task starts with another configuration: it binds what is asked for now. */
static void a_changed_configuration_is_brought_about(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(10);
    world.app.worker_url = "https://new.example.com/w";
    start_again("two");
    agrees(0);
    assert_string_equal("https://new.example.com/w", portal.rows[row_of(0)].handler);
    logged("n B24BG0318");
    want_users(7, 8);
    start_again("three");
    agrees(7);
    agrees(8);
    assert_int_equal(2, portal.count);
    want_users(7, 0);
    start_again("four");
    agrees(7);
    assert_int_equal(1, portal.count);
    assert_string_equal("unknown", state_of(8));
    start_again("five");
    assert_int_equal(0, portal.gets); /* nothing has changed */
    want_users(7, 8);
    start_again("six");
    agrees(8);
    assert_int_equal(2, portal.count);
    end();
}

/* Each reload would ask, and tell, again. */
static void a_changed_configuration_that_is_refused_is_tried_once(void **state)
{
    static const char *const holders[] = {"three", "four", "five"};
    const char *before;
    size_t i;

    (void)state;
    begin_portal();
    install_and_bind();
    live(10);
    portal.fault = "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"no admin\"}";
    portal.fault_status = 403;
    portal.faults = 1000;
    world.app.worker_url = "https://new.example.com/w";
    start_again("two");
    assert_string_equal("blocked not-admin", state_of(0));
    logged("c B24BG0325");
    before = apr_pstrdup(world.pool, world.log);
    for (i = 0; i < sizeof(holders) / sizeof(holders[0]); i++) {
        start_again(holders[i]);
        assert_int_equal(0, portal.gets);
        assert_null(strstr(world.log + strlen(before), "B24BG0325"));
        assert_string_equal("blocked not-admin", state_of(0));
    }
    portal.faults = 0;
    assert_string_equal("0 bound", command("bind"));
    assert_string_equal("https://new.example.com/w", portal.rows[row_of(0)].handler);
    end();
}

static const char *shown_events(void)
{
    b24bg_portal_id_t id = {world.app.row, MEMBER, 0};
    b24bg_portal_ref_t place = b24bg_table_find(world.config.table, &id);
    b24bg_portal_counts_t counts;
    const char *text = "";
    int i;

    assert_int_equal(1,
                     b24bg_table_read_portal(world.config.table, place.slot, world.now, &counts));
    for (i = 0; i < counts.event_count; i++) {
        text =
            apr_psprintf(world.pool, "%s%s:%u ", text,
                         b24bg_shown_event_name(counts.events[i].event), counts.events[i].number);
    }
    return text;
}

/* What the status page tells of a portal: also after a restart, and once. */
static void events_are_shown(void **state)
{
    (void)state;
    begin_portal();
    install_and_bind();
    live(60);
    lose(0);
    live(3);
    assert_string_equal("installed:0 bound:0 notice:0 disabled:0 rebound:0 ", shown_events());
    start_task("two");
    live(20);
    assert_string_equal("installed:0 bound:0 notice:0 disabled:0 rebound:0 ", shown_events());
    portal.fault = "{\"error\":\"ACCESS_DENIED\",\"error_description\":\"Access denied!\"}";
    portal.fault_status = 403;
    portal.faults = 1;
    live(60);
    lose(0);
    live(3);
    assert_string_equal("installed:0 bound:0 notice:0 disabled:0 rebound:0 notice:0 blocked:2 ",
                        shown_events());
    assert_int_equal(2, B24BG_BLOCKED_NOT_ADMIN);
    end();
}

int main(void)
{
    UNIT_ADD(events_are_shown);
    UNIT_ADD(commands_come_one_after_the_other);
    UNIT_ADD(a_notice_during_a_slow_answer_is_not_lost);
    UNIT_ADD(a_clock_that_is_set_back_stalls_nothing);
    UNIT_ADD(installations_do_not_hold_up_notices);
    UNIT_ADD(a_portal_that_cannot_be_asked_is_told);
    UNIT_ADD(portals_that_hang_keep_no_others_waiting);
    UNIT_ADD(a_changed_configuration_is_brought_about);
    UNIT_ADD(a_changed_configuration_that_is_refused_is_tried_once);
    UNIT_ADD(installed_is_bound);
    UNIT_ADD(bound_is_as_old_as_the_bind);
    UNIT_ADD_ROWS(a_budget_begins_with_the_bind, unconfirmed);
    UNIT_ADD(lost_is_bound_again);
    UNIT_ADD(a_notice_with_a_dead_key_asks_nothing);
    UNIT_ADD(notices_ask_at_most_once_in_four_seconds);
    UNIT_ADD(a_loss_after_a_false_alarm_is_mended_in_time);
    UNIT_ADD(a_notice_ends_a_long_wait);
    UNIT_ADD_ROWS(permanent_errors_block, troubles);
    UNIT_ADD_ROWS(passing_errors_are_tried_again, passing);
    UNIT_ADD(an_expired_token_is_refreshed_and_kept);
    UNIT_ADD(a_refresh_is_finished_at_the_end);
    UNIT_ADD(new_tokens_wait_for_the_store);
    UNIT_ADD(new_tokens_are_kept_without_the_lease);
    UNIT_ADD(new_tokens_end_a_block);
    UNIT_ADD(newer_tokens_are_left_alone);
    UNIT_ADD(an_uninstalled_portal_needs_no_tokens);
    UNIT_ADD(newer_tokens_outlive_a_late_refresh);
    UNIT_ADD(a_late_refresh_brings_nothing_back);
    UNIT_ADD(a_refused_refresh_goes_on_with_newer_tokens);
    UNIT_ADD(a_refused_refresh_blocks);
    UNIT_ADD(a_late_refresh_ends_the_block_of_the_spent_token);
    UNIT_ADD(a_portal_that_takes_no_token_is_left_alone);
    UNIT_ADD_ROWS(new_tokens_are_kept_whatever_comes_with_them, rests_of_tokens);
    UNIT_ADD(the_end_is_the_last_try_to_keep_tokens);
    UNIT_ADD(tokens_that_are_lost_are_told);
    UNIT_ADD(without_a_secret_there_is_no_refresh);
    UNIT_ADD_ROWS(a_killed_task_is_gone_on_from, kills);
    UNIT_ADD(a_notice_before_the_keys_are_read_is_acted_on);
    UNIT_ADD(keys_of_failed_binds_die);
    UNIT_ADD(keys_of_nobody_die);
    UNIT_ADD(a_sleeper_changes_nothing);
    UNIT_ADD(personal_ones_take_the_place_of_a_general_one);
    UNIT_ADD(a_loss_without_a_place_is_mended);
    UNIT_ADD(a_renamed_portal_moves_with_all_its_places);
    UNIT_ADD(old_tokens_are_renewed_through_what_is_bound);
    UNIT_ADD(old_tokens_where_nothing_is_bound_are_told_of);
    UNIT_ADD_ROWS(foreign_handlers_are_left_alone, foreigners);
    UNIT_ADD(commands_are_carried_out);
    UNIT_ADD(rebind_takes_a_foreign_handler_away);
    UNIT_ADD(a_day_has_only_so_many_binds);
    UNIT_ADD(silence_asks_once);
    UNIT_ADD(a_restart_forgets_no_silence);
    UNIT_ADD(silence_survives_a_store_that_fails);
    UNIT_ADD(an_uninstalled_portal_is_left_alone);
    UNIT_ADD(an_app_without_urls_registers_nothing);
    return unit_run("task_registration");
}
