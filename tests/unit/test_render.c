/* b24bg_render: each state in each format, hostile strings, nothing at all, and a full table. */
#include "table.h"

#include "b24bg_registration.h"
#include "b24bg_render.h"
#include "b24bg_task.h"

#include <assert.h>
#include <jansson.h>

static_assert(B24BG_RENDER_TOKEN_OLD == B24BG_TASK_REFRESH_WARN,
              "what is shown as old is what the log and the alert command are told of");

#define DAY apr_time_from_sec(86400)
#define MINUTE apr_time_from_sec(60)
#define HOSTILE "\"><script>alert('1')</script>\n{}=\\\x07\xff"
/* What is left of it. */
#define HARMLESS "\"><script>alert('1')</script>?{}=\\??"

/* Collecting what is written */

typedef struct {
    apr_array_header_t *bytes;
    apr_size_t longest;
} collected_t;

static void collect(void *baton, const char *text, apr_size_t length)
{
    collected_t *collected = baton;
    apr_size_t i;

    collected->longest = length > collected->longest ? length : collected->longest;
    for (i = 0; i < length; i++) {
        APR_ARRAY_PUSH(collected->bytes, char) = text[i];
    }
}

typedef void (*render_t)(const b24bg_render_snapshot_t *snapshot, b24bg_render_cb write,
                         void *baton);

static const struct format {
    const char *name;
    render_t render;
} formats[] = {
    {"html", b24bg_render_html},       {"json", b24bg_render_json},
    {"text", b24bg_render_text},       {"prometheus", b24bg_render_prometheus},
    {"section", b24bg_render_section}, {"auto", b24bg_render_auto},
};

static const char *written(render_t render, const b24bg_render_source_t *source)
{
    collected_t collected = {apr_array_make(unit_pool, 100000, 1), 0};

    render(b24bg_render_snapshot(unit_pool, source), collect, &collected);
    assert_true(collected.longest <= B24BG_RENDER_PIECE);
    APR_ARRAY_PUSH(collected.bytes, char) = '\0';
    assert_int_equal(strlen(collected.bytes->elts), collected.bytes->nelts - 1);
    return collected.bytes->elts;
}

static apr_status_t release(void *root)
{
    json_decref(root);
    return APR_SUCCESS;
}

static json_t *json(const b24bg_render_source_t *source)
{
    json_error_t error;
    json_t *root = json_loads(written(b24bg_render_json, source), JSON_REJECT_DUPLICATES, &error);

    if (!root) {
        fail_msg("%s at %d", error.text, error.position);
    }
    apr_pool_cleanup_register(unit_pool, root, release, apr_pool_cleanup_null);
    return root;
}

static void assert_holds(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("no \"%s\" in:\n%.3000s", part, text);
    }
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part)) {
        fail_msg("\"%s\" in:\n%.3000s", part, text);
    }
}

static int occurrences(const char *text, const char *part)
{
    int count = 0;

    for (; (text = strstr(text, part)) != NULL; text++) {
        count++;
    }
    return count;
}

/* A table with one app in row 0 whose background task has just run. */
static b24bg_render_source_t source_of(b24bg_table_t *table)
{
    b24bg_render_source_t source = {table, {{0}}, 1, NOW, 0};
    b24bg_table_health_t health = {NOW, 1, 3, 2, 1};

    assert_int_equal(b24bg_table_app(table, "telephony"), 0);
    b24bg_table_set_health(table, &health);
    b24bg_table_set_keys_read(table);
    source.apps[0].listed = source.apps[0].registers = source.apps[0].rebind = 1;
    source.apps[0].silence = 1;
    source.apps[0].budget_limit = 10;
    source.apps[0].slow_limit = apr_time_from_sec(5);
    return source;
}

static b24bg_portal_ref_t place_of(b24bg_table_t *table, apr_uint32_t number, apr_int64_t user)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, number), user};

    return b24bg_table_find(table, &id);
}

/* A known portal in this state. */
static b24bg_portal_ref_t show(b24bg_table_t *table, apr_uint32_t number, int state, int reason)
{
    b24bg_shown_t shown = {1, state, reason, NOW - 2 * DAY, NOW - MINUTE * 5, 0, 0, 0};
    b24bg_portal_ref_t place;

    assert_int_equal(know(table, number, "token"), 1);
    place = place_of(table, number, 0);
    assert_int_equal(b24bg_table_show(table, place, &shown), 1);
    return place;
}

/* Levels */

static const struct state {
    const char *name;
    int state, reason;
    apr_interval_time_t due; /* from NOW; 0: none */
    const char *level, *registered;
    const char *words, *next;
} states[] = {
    {"unknown", B24BG_REGISTRATION_UNKNOWN, 0, APR_USEC_PER_SEC, "WARNING", "NaN", "not asked yet",
     "asks the portal in 1 s"},
    {"bound", B24BG_REGISTRATION_BOUND, 0, 0, "OK", "1", "<b>yes</b><",
     "waits for a notice, or for silence"},
    {"suspect", B24BG_REGISTRATION_SUSPECT, 0, 0, "WARNING", "NaN", "in doubt",
     "asks the portal now"},
    {"lost", B24BG_REGISTRATION_LOST, 0, 40 * APR_USEC_PER_SEC, "CRITICAL", "0", "lost",
     "asks the portal and binds it again in 40 s"},
    {"binding", B24BG_REGISTRATION_BINDING, 0, MINUTE * 5, "WARNING", "0", "being bound",
     "sees what the portal made of it in 5 min"},
    {"unbound", B24BG_REGISTRATION_UNBOUND, 0, 0, "OK", "NaN", "taken away", "b24bgctl bind"},
    {"no-token", B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_NO_TOKEN, 0, "CRITICAL", "0",
     "blocked: no-token", "nothing by itself; install the application again"},
    {"daily-cap", B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_DAILY_CAP, MINUTE * 300, "CRITICAL",
     "0", "blocked: daily-cap", "goes on in 5 h: it was lost too often"},
    {"uninstalled", B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_UNINSTALLED, 0, "OK", "NaN",
     "blocked: uninstalled", "nothing by itself; no action is needed; installing"},
    {"foreign", B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_FOREIGN_HANDLER, 0, "CRITICAL", "0",
     "blocked: foreign-handler", "b24bgctl rebind takes it away"},
};

static void test_state(void **state)
{
    const struct state *row = *state;
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place = show(table, 1, row->state, row->reason);
    b24bg_shown_t shown = {1, row->state, row->reason, NOW - 2 * DAY, NOW - MINUTE * 5, 0, 0, 0};
    const char *text;
    const char *html;

    shown.due = row->due ? NOW + row->due : 0;
    assert_int_equal(b24bg_table_show(table, place, &shown), 1);
    text = written(b24bg_render_text, &source);
    assert_int_equal(strncmp(text, row->level, strlen(row->level)), 0);
    if (strcmp(row->level, "OK") != 0) {
        assert_holds(text, apr_psprintf(unit_pool, "telephony " DOMAIN ": %s;", row->words));
    }
    assert_int_equal(strstr(text, "1 registration, ") != NULL,
                     strcmp(row->registered, "NaN") != 0 || strcmp(row->level, "OK") != 0);
    html = written(b24bg_render_html, &source);
    assert_holds(html, row->words);
    assert_holds(html, row->next);
    assert_holds(html, ">2 days ago</span>, checked ");
    if (strcmp(row->level, "OK") == 0) {
        assert_lacks(html, "class=\"CRITICAL");
        assert_lacks(html, "class=\"WARNING");
    } else {
        assert_int_equal(
            occurrences(html, apr_psprintf(unit_pool, "<span class=\"%s\">", row->level)),
            2); /* the whole, and this row */
    }
    assert_holds(written(b24bg_render_prometheus, &source),
                 apr_psprintf(unit_pool,
                              "\nb24bg_registered{app=\"telephony\",portal="
                              "\"00000000000000000000000000000001\"} %s\n",
                              row->registered));
    assert_holds(written(b24bg_render_json, &source),
                 apr_psprintf(unit_pool, "\"state\":\"%s\",\"reason\":\"%s\"",
                              b24bg_registration_state_name(row->state),
                              b24bg_registration_reason_name(row->reason)));
}

/* Nobody knows it any more, and everybody sees why. */
static void test_uninstalled(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place =
        show(table, 1, B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_UNINSTALLED);
    const b24bg_shown_event_t events[] = {{NOW, B24BG_SHOWN_EVENT_UNINSTALLED, 0}};
    int i;

    (void)state;
    source.apps[0].has_client = 1;
    for (i = 0; i < 9; i++) {
        b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, NOW);
    }
    assert_int_equal(b24bg_table_show_events(table, place, events, 1), 1);
    unknow(table, 1);
    load(table, 2, NOW); /* one that never was */
    assert_string_equal(written(b24bg_render_text, &source), "OK 0 registrations, 0 in place\n");
    assert_holds(written(b24bg_render_html, &source), "<b>no:</b> blocked: uninstalled<");
    assert_holds(written(b24bg_render_html, &source), "no action is needed");
    assert_holds(written(b24bg_render_html, &source), "<li>22:13 uninstalled</li>");
    assert_holds(written(b24bg_render_html, &source), "<p>1 of them:</p>");
    assert_holds(written(b24bg_render_json, &source), "\"next\":\"nothing by itself; no action");
    assert_int_equal(occurrences(written(b24bg_render_prometheus, &source), "portal=\""), 2);
    assert_lacks(written(b24bg_render_prometheus, &source), "\nb24bg_budget_used{");
    assert_holds(written(b24bg_render_prometheus, &source),
                 "\nb24bg_registered{app=\"telephony\",portal="
                 "\"00000000000000000000000000000001\"} NaN\n");
}

static void test_each_reason_has_a_remedy(void **state)
{
    int reason;

    (void)state;
    assert_string_equal(b24bg_registration_remedy(B24BG_BLOCKED_NONE), "");
    for (reason = 1; reason < B24BG_BLOCKED_COUNT; reason++) {
        assert_true(strlen(b24bg_registration_remedy(reason)) > 10);
    }
}

static void test_rebind_off(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    show(table, 1, B24BG_REGISTRATION_LOST, 0);
    source.apps[0].rebind = 0;
    assert_holds(written(b24bg_render_html, &source), "nothing, B24bgRebind is off");
}

static void test_not_registered_by_the_module(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    know(table, 1, "token");
    assert_holds(written(b24bg_render_html, &source), "asks the portal<");
    source.apps[0].registers = 0;
    assert_holds(written(b24bg_render_html, &source), "B24bgWorkerURL and B24bgErrorURL are not");
    assert_string_equal(written(b24bg_render_text, &source), "OK 0 registrations, 0 in place\n");
}

/* B24bgClient or the URLs were taken out: what was known then is nothing to go by. */
static void test_no_longer_looked_after(void **state)
{
    static const int known[] = {B24BG_REGISTRATION_BOUND, B24BG_REGISTRATION_LOST,
                                B24BG_REGISTRATION_SUSPECT};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        b24bg_table_t *table = new_table(4);
        b24bg_render_source_t source = source_of(table);
        const char *html;
        show(table, 1, known[i], 0);
        source.apps[0].registers = 0;
        assert_string_equal(written(b24bg_render_text, &source),
                            "OK 0 registrations, 0 in place\n");
        html = written(b24bg_render_html, &source);
        assert_holds(html, "not looked after</span></td>");
        assert_holds(html, "nothing: B24bgWorkerURL and B24bgErrorURL are not set");
        assert_holds(written(b24bg_render_prometheus, &source),
                     "portal=\"00000000000000000000000000000001\"} NaN\n");
        assert_holds(written(b24bg_render_json, &source), "\"registered\":null");
    }
}

/* Taken out as a whole: nobody could mend what is wrong with its portals. */
static void test_app_that_is_not_configured(void **state)
{
    b24bg_table_t *table = new_table(8);
    b24bg_render_source_t source = source_of(table);
    b24bg_table_request_t request = accepted(load(table, 2, NOW), NOW);

    (void)state;
    show(table, 1, B24BG_REGISTRATION_LOST, 0);
    b24bg_table_count(table, &request);
    source.apps[0] = (b24bg_render_config_t){0};
    assert_string_equal(written(b24bg_render_text, &source), "OK 0 registrations, 0 in place\n");
    assert_lacks(written(b24bg_render_html, &source), DOMAIN);
    assert_lacks(written(b24bg_render_prometheus, &source), "portal=\"");
    assert_holds(written(b24bg_render_prometheus, &source),
                 "\nb24bg_server_seconds_count{app=\"telephony\"} 1\n");
    assert_holds(written(b24bg_render_prometheus, &source), "\nb24bg_portals 2\n");
}

/* It takes a while after an installation, and no longer. */
static void test_never_registered(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "https://" DOMAIN, "token", 0, 0, 0, NOW - MINUTE * 5};
    b24bg_shown_t shown = {1, B24BG_REGISTRATION_UNKNOWN, 0, 0, 0, 0, 0, 0};

    (void)state;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    assert_string_equal(written(b24bg_render_text, &source), "OK 1 registration, 0 in place\n");
    source.now += APR_USEC_PER_SEC;
    assert_holds(written(b24bg_render_text, &source),
                 "WARNING telephony " DOMAIN ": no registration yet; 1 registration");
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 0), &shown), 1);
    assert_holds(written(b24bg_render_text, &source),
                 "WARNING telephony " DOMAIN ": not asked yet; 1 registration");
    shown.since = NOW - MINUTE * 4;
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 0), &shown), 1);
    assert_string_equal(written(b24bg_render_text, &source), "OK 1 registration, 0 in place\n");
    shown.has = 0;
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 0), &shown), 1);
    source.apps[0].registers = 0;
    assert_string_equal(written(b24bg_render_text, &source), "OK 0 registrations, 0 in place\n");
}

/* Background task, store */

#define NEVER APR_INT64_MAX

static const struct health {
    const char *name;
    apr_interval_time_t last_run; /* seconds before NOW */
    int store_up, has_task;
    const char *text, *html, *task, *store, *journal;
} healths[] = {
    {"well", 0, 1, 1, "OK 0 registrations, 0 in place\n", "<td>up</td>", "running", "1", "3"},
    {"a minute ago", 60, 1, 1, "OK ", "<td>up</td>", "running", "1", "3"},
    {"dead", 61, 1, 1, "WARNING the background task has not run for 61 s", "role=\"alert\"", "dead",
     "NaN", "NaN"},
    {"dead for days", 3 * 86400, 1, 1, "WARNING the background task has not run for 3 days",
     "so what is shown is what it knew then", "dead", "NaN", "NaN"},
    {"ahead", -60, 1, 1, "OK ", "<td>up</td>", "running", "1", "3"},
    {"clock set back", -61, 1, 1,
     "WARNING the background task has not run since the clock was set back, so", "role=\"alert\"",
     "dead", "NaN", "NaN"},
    {"not tried yet", 0, -1, 1, "OK ", "not tried yet", "running", "NaN", "3"},
    {"store down", 1, 0, 1, "WARNING the store is down", "<td>down</td>", "running", "0", "3"},
    {"dead, store down", 100, 0, 1,
     "WARNING the background task has not run for 100 s, so what "
     "is shown is what it knew then; the store is down",
     "<td>down</td>", "dead", "NaN", "NaN"},
    {"never", NEVER, -1, 1, "UNKNOWN the background task has not run yet", "not tried yet", "never",
     "NaN", "NaN"},
    {"none", NEVER, -1, 0, "OK loads are served and counted; no app has a B24bgClient\n",
     "no app has a B24bgClient", "none", NULL, NULL},
};

static void test_health(void **state)
{
    const struct health *row = *state;
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_table_health_t health = {0, row->store_up, 3, 2, 1};
    const char *metrics;

    health.last_run = row->last_run == NEVER ? 0 : NOW - apr_time_from_sec(row->last_run);
    b24bg_table_set_health(table, &health);
    source.has_task = row->has_task;
    assert_int_equal(strncmp(written(b24bg_render_text, &source), row->text, strlen(row->text)), 0);
    assert_holds(written(b24bg_render_html, &source), row->html);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json(&source), "health"), "task")),
        row->task);
    metrics = written(b24bg_render_prometheus, &source);
    if (row->store && strcmp(row->store, "NaN") != 0) {
        assert_holds(written(b24bg_render_auto, &source),
                     apr_psprintf(unit_pool, "\nB24bgStoreUp: %s\n", row->store));
    } else {
        assert_lacks(written(b24bg_render_auto, &source), "B24bgStoreUp");
    }
    if (row->store) {
        assert_holds(metrics, apr_psprintf(unit_pool, "\nb24bg_store_up %s\n", row->store));
        assert_holds(metrics,
                     apr_psprintf(unit_pool, "\nb24bg_journal_records %s\n", row->journal));
    } else {
        assert_lacks(metrics, "\nb24bg_store_up ");
        assert_lacks(metrics, "\nb24bg_journal_records ");
    }
}

/* Cold, with the store down: that is no news of portals, good or bad. */
static void test_store_not_read_yet(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = {table, {{0}}, 1, NOW, 0};
    b24bg_table_health_t health = {NOW, 0, 3, 0, 1};
    const char *html;

    (void)state;
    b24bg_table_set_health(table, &health);
    assert_string_equal(written(b24bg_render_text, &source),
                        "UNKNOWN the store could not be read yet, so nothing is known of any "
                        "portal; the store is down, what comes in is kept in the journal; no "
                        "portal is known yet\n");
    html = written(b24bg_render_html, &source);
    assert_holds(html, "<p>No portal is known yet: the store was not read since");
    assert_lacks(html, "install URL");
    health.store_up = 1;
    b24bg_table_set_health(table, &health);
    b24bg_table_set_keys_read(table);
    assert_holds(written(b24bg_render_text, &source), "OK ");
    assert_holds(written(b24bg_render_html, &source), "at the install URL");
}

/* Spec.md section 3, B24bgClient: "status says so". Where nothing is registered nothing is lost. */
static void test_no_secret(void **state)
{
    static const char words[] = "cannot be refreshed: B24bgClient has no secret";
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    assert_holds(written(b24bg_render_html, &source), words);
    assert_holds(written(b24bg_render_json, &source), "\"can_refresh\":false");
    source.apps[0].has_secret = 1;
    assert_lacks(written(b24bg_render_html, &source), words);
    assert_holds(written(b24bg_render_json, &source), "\"can_refresh\":true");
    source.apps[0].has_secret = source.apps[0].registers = 0;
    assert_lacks(written(b24bg_render_html, &source), words);
}

/* Budget, tokens */

static void test_budget(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place = show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    const char *html;
    int i;

    (void)state;
    for (i = 0; i < 5; i++) {
        b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, NOW - MINUTE);
    }
    b24bg_table_budget_add(table, place, B24BG_BUDGET_SERVER, NOW - MINUTE);
    assert_string_equal(written(b24bg_render_text, &source), "OK 1 registration, 1 in place\n");
    assert_lacks(written(b24bg_render_html, &source), "over half is used");
    b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, NOW);
    assert_string_equal(written(b24bg_render_text, &source),
                        "WARNING telephony " DOMAIN
                        ": 6 of 10 slow loads used (browser); 1 registration, 1 in place\n");
    html = written(b24bg_render_html, &source);
    assert_holds(html, "<meter min=\"0\" max=\"10\" low=\"5\" high=\"7\" optimum=\"0\" value=\"6\" "
                       "aria-label=\"Slow loads of " DOMAIN ", counted by the browser\">");
    assert_holds(html, "<span class=\"of\">6 of 10</span>, by browser<small "
                       "class=\"WARNING\"><b>over half is used</b></small>"
                       "<small>server: 1</small>");
    assert_holds(written(b24bg_render_prometheus, &source),
                 "portal=\"00000000000000000000000000000001\",source=\"browser\"} 6\n");
    assert_lacks(written(b24bg_render_prometheus, &source), "source=\"portal\"} 0\nb24bg_budget_l");
    assert_int_equal(occurrences(written(b24bg_render_prometheus, &source), "\nb24bg_budget_used{"),
                     2);
    assert_holds(written(b24bg_render_json, &source),
                 "\"budget_used\":{\"portal\":0,\"browser\":6,\"server\":1},"
                 "\"budget_source\":\"browser\"");
    source.now = NOW + 2 * DAY; /* the window is over */
    assert_lacks(written(b24bg_render_prometheus, &source), "\nb24bg_budget_used{");
}

/* What each number means; a bar is red from four fifths on, where the alert begins. */
static const struct used {
    const char *name;
    int limit, used;
    const char *high, *warning;
} useds[] = {
    {"half", 10, 5, "high=\"7\"", NULL},
    {"over half", 10, 6, "high=\"7\"", "over half is used"},
    {"four fifths", 10, 8, "high=\"7\"", "nearly used up"},
    {"four fifths of 3", 3, 2, "high=\"2\"", "over half is used"},
    {"all", 10, 10, "high=\"7\"", "at the limit: the next one deletes it"},
    {"all of 1", 1, 1, "high=\"0\"", "at the limit: the next one deletes it"},
    {"more", 10, 11, "high=\"7\"", "over the limit: Bitrix24 deletes it"},
};

static void test_used(void **state)
{
    const struct used *row = *state;
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place = show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    const char *html;
    int i;

    source.apps[0].budget_limit = row->limit;
    for (i = 0; i < row->used; i++) {
        b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, NOW);
    }
    html = written(b24bg_render_html, &source);
    assert_holds(html, row->high);
    if (row->warning) {
        assert_holds(html, apr_pstrcat(unit_pool, "<b>", row->warning, "</b>", NULL));
    } else {
        assert_lacks(html, "<small class=\"WARNING");
    }
}

/* Where nobody has counted any, nobody is named. */
static void test_no_window(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    const char *html;

    (void)state;
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    html = written(b24bg_render_html, &source);
    assert_holds(html, "<span class=\"of\">0 of 10</span></td>");
    assert_holds(html, "aria-label=\"Slow loads of " DOMAIN "\">");
}

static void test_silence_off(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    source.apps[0].silence = 0;
    assert_holds(written(b24bg_render_html, &source), "waits for a notice</td>");
}

static void test_more_than_the_budget(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    b24bg_table_budget_told(table, show(table, 1, B24BG_REGISTRATION_BOUND, 0), 11, NOW);
    assert_holds(written(b24bg_render_html, &source), "value=\"10\"");
    assert_holds(written(b24bg_render_html, &source), "11 of 10</span>, by portal");
}

static void test_tokens(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "https://" DOMAIN, "token", 0, 0, 0, NOW - 150 * DAY};

    (void)state;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    portal.id.user = 7;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    source.apps[0].registers = 0;
    assert_string_equal(written(b24bg_render_text, &source), "OK 0 registrations, 0 in place\n");
    source.now += APR_USEC_PER_SEC;
    assert_holds(written(b24bg_render_text, &source),
                 "WARNING telephony " DOMAIN ": token not refreshed for 150 days; 0 registrations");
    assert_int_equal(
        occurrences(written(b24bg_render_prometheus, &source), "\nb24bg_token_age_seconds{"), 1);
    assert_holds(written(b24bg_render_prometheus, &source),
                 "\nb24bg_token_age_seconds{app=\"telephony\",portal="
                 "\"00000000000000000000000000000001\"} 12960001\n");
    assert_holds(written(b24bg_render_html, &source),
                 "150 days<small class=\"WARNING\"><b>not refreshed for long</b></small></td>");
}

static void test_personal_place(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);

    (void)state;
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    assert_int_equal(know_user(table, 1, 7, "token"), 1);
    assert_holds(written(b24bg_render_prometheus, &source),
                 "\nb24bg_registered{app=\"telephony\",portal="
                 "\"00000000000000000000000000000001:7\"} NaN\n");
    assert_holds(written(b24bg_render_html, &source), DOMAIN ", user 7</th>");
    assert_holds(written(b24bg_render_prometheus, &source), "\nb24bg_portals 2\n");
}

/* The portal's own place is no registration where all are for single users. */
static void test_personal_registrations(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_shown_t shown = {1, B24BG_REGISTRATION_BOUND, 0, NOW, NOW, 0, 0, 0};

    (void)state;
    know(table, 1, "token");
    assert_int_equal(know_user(table, 1, 7, "token"), 1);
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 7), &shown), 1);
    source.apps[0].personal = 1;
    assert_string_equal(written(b24bg_render_text, &source), "OK 1 registration, 1 in place\n");
    assert_holds(written(b24bg_render_auto, &source), "B24bgRegistrations: 1\n");
    assert_holds(written(b24bg_render_html, &source), "registered for single users, below");
    assert_int_equal(occurrences(written(b24bg_render_prometheus, &source), "\nb24bg_registered{"),
                     1);
    shown.state = B24BG_REGISTRATION_UNBOUND; /* that of before, taken away */
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 0), &shown), 1);
    assert_string_equal(written(b24bg_render_text, &source), "OK 1 registration, 1 in place\n");
    shown.state = B24BG_REGISTRATION_LOST;
    assert_int_equal(b24bg_table_show(table, place_of(table, 1, 0), &shown), 1);
    assert_holds(written(b24bg_render_text, &source), "CRITICAL telephony " DOMAIN ": lost; 2");
}

/* Their places stay, until others need them. */
static void test_personal_place_that_is_over(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, 1), 7};

    (void)state;
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    assert_int_equal(know_user(table, 1, 7, "token"), 1);
    assert_int_equal(b24bg_table_unknow(table, &id), 1);
    assert_lacks(written(b24bg_render_html, &source), "user 7");
    assert_int_equal(json_array_size(json_object_get(json(&source), "portals")), 1);
    assert_holds(written(b24bg_render_prometheus, &source), "\nb24bg_portals 2\n");
}

/* The worst first. */
static void test_order(void **state)
{
    b24bg_table_t *table = new_table(16);
    b24bg_render_source_t source = source_of(table);
    const b24bg_render_snapshot_t *snapshot;
    int i;

    (void)state;
    load(table, 9, NOW);
    show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    show(table, 2, B24BG_REGISTRATION_SUSPECT, 0);
    show(table, 3, B24BG_REGISTRATION_LOST, 0);
    show(table, 4, B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_PAYMENT);
    show(table, 5, B24BG_REGISTRATION_BLOCKED, B24BG_BLOCKED_PAYMENT);
    snapshot = b24bg_render_snapshot(unit_pool, &source);
    assert_int_equal(snapshot->rows, 5);
    assert_int_equal(snapshot->registered, 1);
    assert_int_equal(APR_ARRAY_IDX(snapshot->portals, 0, b24bg_render_portal_t).level,
                     B24BG_LEVEL_CRITICAL);
    assert_int_equal(APR_ARRAY_IDX(snapshot->portals, 3, b24bg_render_portal_t).shown.state,
                     B24BG_REGISTRATION_SUSPECT);
    assert_int_equal(APR_ARRAY_IDX(snapshot->portals, 5, b24bg_render_portal_t).known, 0);
    assert_string_equal(written(b24bg_render_text, &source),
                        "CRITICAL telephony " DOMAIN ": lost; telephony " DOMAIN
                        ": blocked: payment; telephony " DOMAIN
                        ": blocked: payment; 1 more; 5 registrations, 1 in place\n");
    for (i = 0; i < 6; i++) {
        b24bg_table_budget_add(table, place_of(table, 1, 0), B24BG_BUDGET_BROWSER, NOW);
    }
    snapshot = b24bg_render_snapshot(unit_pool, &source); /* a warning, and the worse one */
    assert_int_equal(APR_ARRAY_IDX(snapshot->portals, 3, b24bg_render_portal_t).shown.state,
                     B24BG_REGISTRATION_BOUND);
    source.apps[0].listed = 0; /* out of the configuration: nobody's concern */
    assert_holds(written(b24bg_render_text, &source), "OK ");
}

static void test_unknown_portals(void **state)
{
    b24bg_table_t *table = new_table(100);
    b24bg_render_source_t source = source_of(table);
    b24bg_table_request_t request;
    const char *html;
    apr_uint32_t i;

    (void)state;
    show(table, 999, B24BG_REGISTRATION_BOUND, 0);
    for (i = 1; i <= 50; i++) {
        request = accepted(load(table, i, NOW), NOW - apr_time_from_sec(i));
        b24bg_table_count(table, &request);
    }
    html = written(b24bg_render_html, &source);
    assert_holds(html, "50 of them; the last ones:");
    assert_int_equal(occurrences(html, "<th scope=\"row\" title=\"0"), B24BG_RENDER_UNKNOWN_SHOWN);
    assert_holds(html, apr_psprintf(unit_pool, "title=\"%032x\"", 20));
    assert_lacks(html, apr_psprintf(unit_pool, "title=\"%032x\"", 21));
    assert_int_equal(json_array_size(json_object_get(json(&source), "portals")), 51);
    assert_int_equal(occurrences(written(b24bg_render_prometheus, &source),
                                 "\nb24bg_last_load_timestamp_seconds{"),
                     51);
    source.apps[0].has_client = 1;
    assert_int_equal(occurrences(written(b24bg_render_prometheus, &source),
                                 "\nb24bg_last_load_timestamp_seconds{"),
                     1);
    source.known_only = 1;
    assert_int_equal(b24bg_render_snapshot(unit_pool, &source)->portals->nelts, 1);
    source.apps[0].listed = 0;
    assert_holds(written(b24bg_render_prometheus, &source), "\nb24bg_portals 51\n");
}

static void test_events(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place = show(table, 1, B24BG_REGISTRATION_BOUND, 0);
    const b24bg_shown_event_t events[] = {
        {NOW - 3 * DAY, B24BG_SHOWN_EVENT_INSTALLED, 0},
        {NOW, B24BG_SHOWN_EVENT_NOTICE, 0},
        {NOW, B24BG_SHOWN_EVENT_DISABLED, 0},
        {NOW, B24BG_SHOWN_EVENT_REBOUND, 0},
        {NOW, B24BG_SHOWN_EVENT_BUDGET, 5},
        {NOW, B24BG_SHOWN_EVENT_BLOCKED, B24BG_BLOCKED_PAYMENT},
        {NOW, B24BG_SHOWN_EVENT_BLOCKED, 60000},
    };

    (void)state;
    assert_int_equal(b24bg_table_show_events(table, place, events, 7), 1);
    assert_holds(written(b24bg_render_html, &source),
                 "last 7 events</summary><ul>\n<li>2023-11-11 22:13 installed</li>\n"
                 "<li>22:13 disabled by Bitrix24</li>\n<li>22:13 confirmed lost</li>\n"
                 "<li>22:13 registered again</li>\n<li>22:13 5 slow loads</li>\n"
                 "<li>22:13 blocked: payment</li>\n<li>22:13 blocked: </li>\n");
    assert_holds(written(b24bg_render_json, &source),
                 "{\"at\":1700000000,\"event\":\"rebound\"},"
                 "{\"at\":1700000000,\"event\":\"budget\",\"number\":5},"
                 "{\"at\":1700000000,\"event\":\"blocked\",\"reason\":\"payment\"},"
                 "{\"at\":1700000000,\"event\":\"blocked\",\"reason\":\"\"}]");
}

/* Apps and histograms */

static const char *bucket(const char *metric, const char *bound)
{
    return apr_psprintf(unit_pool, "\n%s_bucket{app=\"telephony\",le=\"%s\"} ", metric, bound);
}

static void test_histograms(void **state)
{
    static const apr_time_t times[] = {0, 500, 501, 1500000, 6000000, 70000000};
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_portal_ref_t place = load(table, 1, NOW);
    const char *metrics;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        b24bg_table_request_t request = accepted(place, NOW);
        b24bg_table_beacon_t beacon = {place, 0,   times[i], i == 3,
                                       0,     NOW, NOW,      apr_time_from_sec(5)};
        request.server_time = times[i];
        b24bg_table_count(table, &request);
        b24bg_table_count_beacon(table, &beacon);
    }
    metrics = written(b24bg_render_prometheus, &source);
    assert_holds(metrics,
                 apr_pstrcat(unit_pool, bucket("b24bg_server_seconds", "0.0005"), "2\n", NULL));
    assert_holds(metrics, apr_pstrcat(unit_pool, bucket("b24bg_server_seconds", "5"), "4\n", NULL));
    assert_holds(metrics,
                 apr_pstrcat(unit_pool, bucket("b24bg_server_seconds", "10"), "5\n", NULL));
    assert_holds(metrics,
                 apr_pstrcat(unit_pool, bucket("b24bg_server_seconds", "+Inf"), "6\n", NULL));
    assert_holds(metrics, "\nb24bg_server_seconds_sum{app=\"telephony\"} 77.501001\n"
                          "b24bg_server_seconds_count{app=\"telephony\"} 6\n");
    assert_holds(metrics,
                 apr_pstrcat(unit_pool, bucket("b24bg_load_seconds", "1.5"), "103\n", NULL));
    assert_holds(metrics,
                 apr_pstrcat(unit_pool, bucket("b24bg_load_seconds", "+Inf"), "105\n", NULL));
    assert_holds(
        metrics,
        "\nb24bg_requests_total{app=\"telephony\",kind=\"worker\",verdict=\"unknown\"} 6\n");
    assert_holds(metrics, "\nb24bg_slow_loads_total{app=\"telephony\",source=\"browser\"} 2\n");
    assert_holds(written(b24bg_render_html, &source),
                 "Seconds until load in the browser, telephony: 105, slow loads (over 5 s): 2<");
    assert_holds(written(b24bg_render_json, &source), "\"count\":105,\"sum\":226.001001}");
}

/* Red is what lies over the limit as a whole; what is slow, its counter says. */
static void test_limit_within_a_bucket(void **state)
{
    static const struct {
        apr_interval_time_t limit;
        int red; /* bars of both charts */
    } limits[] = {
        {4500000, 5 + 2}, {5000000, 5 + 2}, {5000001, 4 + 1}, {59000000, 1}, {61000000, 0}};
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_table_beacon_t beacon = {load(table, 1, NOW), 0, 4300000, 0, 0, NOW, NOW,
                                   apr_time_from_sec(5)};
    size_t i;

    (void)state;
    b24bg_table_count_beacon(table, &beacon);
    for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        source.apps[0].slow_limit = limits[i].limit;
        assert_int_equal(occurrences(written(b24bg_render_html, &source), "<rect class=\"slow\""),
                         limits[i].red);
    }
    source.apps[0].slow_limit = 4500000;
    assert_holds(written(b24bg_render_html, &source), "telephony: 1, slow loads (over 4.5 s): 0<");
}

/* Fifteen of them in a picture that is 300 units wide. */
static void test_names_of_buckets(void **state)
{
    b24bg_render_source_t source = source_of(new_table(4));
    const char *html = written(b24bg_render_html, &source);

    (void)state;
    assert_holds(html, ">0.5</text>");
    assert_holds(html, ">500</text>");
    assert_holds(html, ">2.5 s</text>");
    assert_holds(html, ">10 s</text>");
    assert_holds(html, "<th scope=\"row\">0.5 ms</th>");
    assert_holds(html, "<th scope=\"row\">0.1 s</th>");
    assert_lacks(html, "10000");
}

static void test_every_metric_is_there(void **state)
{
    static const struct {
        const char *name, *type, *labels;
    } metrics[] = {
#define METRIC(id, name, type, labels, json, help) {name, type, labels},
        B24BG_METRIC_LIST(METRIC)
#undef METRIC
    };
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "https://" DOMAIN, "token", NOW, 1, 0, NOW};
    const char *all;
    size_t i;

    (void)state;
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    b24bg_table_budget_add(table, place_of(table, 1, 0), B24BG_BUDGET_BROWSER, NOW);
    all = written(b24bg_render_prometheus, &source);
    for (i = 0; i < B24BG_METRIC_COUNT; i++) {
        const char *at = strstr(all, apr_psprintf(unit_pool, "# TYPE %s %s\n%s", metrics[i].name,
                                                  metrics[i].type, metrics[i].name));
        char *labels = apr_pstrdup(unit_pool, metrics[i].labels);
        char *last;
        char *label;
        if (!at) {
            fail_msg("no sample of %s", metrics[i].name);
        }
        at = strchr(at, '\n') + 1;
        at = apr_pstrmemdup(unit_pool, at, strcspn(at, "\n"));
        for (label = apr_strtok(labels, ",", &last); label; label = apr_strtok(NULL, ",", &last)) {
            assert_holds(at, apr_pstrcat(unit_pool, label, "=\"", NULL));
        }
        assert_holds(all, apr_psprintf(unit_pool, "# HELP %s ", metrics[i].name));
    }
}

static void test_apps(void **state)
{
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    b24bg_table_request_t request = accepted(load(table, 1, NOW), NOW);

    (void)state;
    assert_int_equal(b24bg_table_app(table, "gone"), 1);
    assert_lacks(written(b24bg_render_prometheus, &source), "gone");
    request.app = 1;
    b24bg_table_count(table, &request);
    assert_holds(written(b24bg_render_prometheus, &source),
                 "\nb24bg_server_seconds_count{app=\"gone\"} 1\n");
    assert_lacks(written(b24bg_render_prometheus, &source), "b24bg_budget_limit{app=\"gone\"}");
    assert_holds(written(b24bg_render_json, &source), "\"app\":\"gone\",\"budget_limit\":null");
    assert_holds(written(b24bg_render_html, &source), "<small>telephony</small>");
    assert_holds(written(b24bg_render_auto, &source), "B24bgRequests: 1\n");
    assert_holds(written(b24bg_render_section, &source),
                 "OK: 0 registrations, 0 in place; since the "
                 "server was started 1 requests");
}

/* Nothing, hostile, full */

static void test_nothing(void **state)
{
    const struct format *format = *state;
    b24bg_render_source_t source = {NULL, {{0}}, 0, NOW, 0};
    const char *text = written(format->render, &source);

    assert_true(strlen(text) > 10);
    assert_int_equal(text[strlen(text) - 1], '\n');
    if (format->render == b24bg_render_json) {
        json(&source);
    }
}

static void test_hostile(void **state)
{
    const struct format *format = *state;
    b24bg_table_t *table = new_table(4);
    b24bg_render_source_t source = source_of(table);
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, 1), 0};
    b24bg_known_portal_t portal = {
        {0, portal_id(text, 1), 0}, "https://" HOSTILE, "token", NOW, 1, 0, NOW - 160 * DAY};
    const char *all;

    b24bg_table_portal(table, &id, HOSTILE, NOW);
    id.member_id = portal_id(text, 2);
    assert_int_equal(b24bg_table_know(table, &portal), 1);
    all = written(format->render, &source);
    if (format->render == b24bg_render_html || format->render == b24bg_render_section) {
        assert_lacks(all, "<script");
        assert_lacks(all, "\"\">");
        assert_holds(all, "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)");
    } else if (format->render == b24bg_render_json) {
        json_t *first = json_array_get(json_object_get(json(&source), "portals"), 0);
        assert_string_equal(json_string_value(json_object_get(first, "domain")), HARMLESS);
    } else if (format->render == b24bg_render_text) {
        assert_ptr_equal(strchr(all, '\n'), all + strlen(all) - 1);
        assert_holds(all, "telephony " HARMLESS ": token");
    } else {
        assert_lacks(all, "script");
    }
    assert_lacks(all, "\x07");
    assert_lacks(all, "\xff");
}

static b24bg_render_source_t full_table(apr_uint32_t portals)
{
    b24bg_table_t *table = new_table(portals);
    b24bg_render_source_t source = source_of(table);
    b24bg_shown_event_t events[B24BG_TABLE_EVENTS];
    apr_uint32_t i;
    int j;

    for (j = 0; j < B24BG_TABLE_EVENTS; j++) {
        events[j].at = NOW - (B24BG_TABLE_EVENTS - j) * MINUTE * 90;
        events[j].event = j % B24BG_SHOWN_EVENT_COUNT;
        events[j].number = 5;
    }
    for (i = 1; i <= portals; i++) {
        b24bg_portal_ref_t place = show(table, i, (int)(i % B24BG_REGISTRATION_STATE_COUNT), 1);
        assert_int_equal(b24bg_table_show_events(table, place, events, B24BG_TABLE_EVENTS), 1);
        b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, NOW);
        b24bg_table_budget_add(table, place, B24BG_BUDGET_SERVER, NOW);
    }
    return source;
}

static void swallow(void *baton, const char *text, apr_size_t length)
{
    (void)text;
    *(apr_size_t *)baton += length;
}

/* A scrape of 1,024 portals takes less than 50 ms of this machine's CPU. */
static void test_full(void **state)
{
    const struct format *format = *state;
    b24bg_render_source_t source = full_table(1024);
    double best = 1;
    int i;

    for (i = 0; i < 5; i++) {
        apr_size_t length = 0;
        clock_t start = clock();
        double used;
        format->render(b24bg_render_snapshot(unit_pool, &source), swallow, &length);
        used = (double)(clock() - start) / CLOCKS_PER_SEC;
        best = used < best ? used : best;
        assert_true(length > 100);
    }
    print_message("%s: %.1f ms\n", format->name, best * 1000);
#ifndef __SANITIZE_ADDRESS__
    assert_true(best < 0.05);
#endif
    if (format->render == b24bg_render_html) {
        assert_int_equal(occurrences(written(format->render, &source), "<meter "), 1024);
    }
    if (format->render == b24bg_render_json) {
        assert_int_equal(json_array_size(json_object_get(json(&source), "portals")), 1024);
    }
}

int main(void)
{
    UNIT_ADD_ROWS(test_state, states);
    UNIT_ADD(test_uninstalled);
    UNIT_ADD(test_each_reason_has_a_remedy);
    UNIT_ADD(test_rebind_off);
    UNIT_ADD(test_not_registered_by_the_module);
    UNIT_ADD(test_no_longer_looked_after);
    UNIT_ADD(test_app_that_is_not_configured);
    UNIT_ADD(test_never_registered);
    UNIT_ADD_ROWS(test_health, healths);
    UNIT_ADD(test_store_not_read_yet);
    UNIT_ADD(test_no_secret);
    UNIT_ADD(test_budget);
    UNIT_ADD_ROWS(test_used, useds);
    UNIT_ADD(test_no_window);
    UNIT_ADD(test_silence_off);
    UNIT_ADD(test_more_than_the_budget);
    UNIT_ADD(test_tokens);
    UNIT_ADD(test_personal_place);
    UNIT_ADD(test_personal_registrations);
    UNIT_ADD(test_personal_place_that_is_over);
    UNIT_ADD(test_order);
    UNIT_ADD(test_unknown_portals);
    UNIT_ADD(test_events);
    UNIT_ADD(test_histograms);
    UNIT_ADD(test_limit_within_a_bucket);
    UNIT_ADD(test_names_of_buckets);
    UNIT_ADD(test_every_metric_is_there);
    UNIT_ADD(test_apps);
    UNIT_ADD_ROWS(test_nothing, formats);
    UNIT_ADD_ROWS(test_hostile, formats);
    UNIT_ADD_ROWS(test_full, formats);
    return unit_run("render");
}
