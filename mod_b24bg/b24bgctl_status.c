/* status: where every registration stands, as the store knows it. */
#include "b24bgctl.h"

#include "b24bg_form.h"
#include "b24bg_registration.h"
#include "b24bg_task.h"

#include <apr_hash.h>
#include <apr_strings.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A refresh token is good for 180 days (protocol.md 5.2). */
#define TOKEN_WARNING apr_time_from_sec(150 * 86400)
/* In the first line; monitoring shows it as it is. */
#define NAMED_MOST 3
#define MINUTE "%Y-%m-%dT%H:%MZ"

/* What is shown of a registration; or of an installed portal that has none. */
typedef struct {
    const b24bg_store_portal_t *portal; /* NULL: the store does not know it any more */
    const char *app;
    const char *member_id;
    const char *domain;
    b24bg_store_registration_t row; /* all zero and "": there is none */
    int state;                      /* -1: one that is not known here */
    int reason;
    apr_interval_time_t token_age;
    b24bgctl_exit_e severity;
} entry_t;

typedef struct {
    apr_pool_t *pool;
    apr_array_header_t *entries; /* entry_t */
    b24bg_store_lease_t *lease;  /* the background task's; NULL: nobody has it */
    apr_time_t now;
} view_t;

/* Words */

static const struct {
    const char *words;
    const char *next;  /* when `due` has come */
    const char *never; /* when there is no `due` */
} states[B24BG_REGISTRATION_STATE_COUNT] = {
    [B24BG_REGISTRATION_UNKNOWN] = {"the portal was not asked yet", "ask the portal",
                                    "nothing before the configuration asks for one"},
    [B24BG_REGISTRATION_BOUND] = {"registered", "ask the portal",
                                  "nothing before a notice or silence"},
    [B24BG_REGISTRATION_SUSPECT] = {"it may be gone", "ask the portal", "ask the portal"},
    [B24BG_REGISTRATION_LOST] = {"the portal has deleted it", "register it again",
                                 "nothing, B24bgRebind is off; b24bgctl bind registers it"},
    [B24BG_REGISTRATION_BINDING] = {"it is being registered", "read it back", "read it back"},
    [B24BG_REGISTRATION_UNBOUND] = {"taken away by command", "ask the portal",
                                    "nothing before b24bgctl bind"},
    [B24BG_REGISTRATION_BLOCKED] = {"no automatic work", "go on", "nothing before that is mended"}};

/* The configuration has ceased to ask for it, and nobody works on it. */
static int is_retired(const entry_t *entry)
{
    return entry->state == B24BG_REGISTRATION_UNKNOWN && entry->row.change && !entry->row.due;
}

static const char *words_of(const entry_t *entry)
{
    if (!entry->row.change) {
        return "none was made: the app has no B24bgWorkerURL and B24bgErrorURL, or was installed "
               "just now";
    }
    if (is_retired(entry)) {
        return "not asked for by the configuration";
    }
    return entry->state < 0 ? "not a state that this version knows" : states[entry->state].words;
}

static const char *remedy_of(const entry_t *entry)
{
    return entry->state == B24BG_REGISTRATION_BLOCKED && entry->reason > 0
               ? b24bg_registration_remedy((b24bg_registration_reason_e)entry->reason)
               : "";
}

static const char *next_of(const view_t *view, const entry_t *entry)
{
    if (entry->state < 0) {
        return "-";
    }
    if (!entry->row.due) {
        return states[entry->state].never;
    }
    return apr_pstrcat(view->pool, states[entry->state].next, " ",
                       entry->row.due <= view->now ? "now"
                                                   : b24bgctl_time_text(view->pool, entry->row.due,
                                                                        "at %Y-%m-%dT%H:%M:%SZ"),
                       NULL);
}

/* Judging */

static int is_alive(const view_t *view)
{
    return view->lease && view->lease->until > view->now;
}

static b24bgctl_exit_e judge_tokens(const entry_t *entry)
{
    return entry->token_age > TOKEN_WARNING ? B24BGCTL_WARNING : B24BGCTL_GOOD;
}

/* An application that somebody uninstalled is no trouble: nobody can or should mend that. */
static b24bgctl_exit_e judge(const entry_t *entry)
{
    switch (entry->state) {
    case B24BG_REGISTRATION_LOST:
        return B24BGCTL_CRITICAL;
    case B24BG_REGISTRATION_BLOCKED:
        return entry->reason == B24BG_BLOCKED_UNINSTALLED ? B24BGCTL_GOOD : B24BGCTL_CRITICAL;
    case B24BG_REGISTRATION_UNKNOWN:
        return is_retired(entry) ? judge_tokens(entry) : B24BGCTL_WARNING;
    case B24BG_REGISTRATION_BOUND:
    case B24BG_REGISTRATION_UNBOUND:
        return judge_tokens(entry);
    default:
        return B24BGCTL_WARNING;
    }
}

static b24bgctl_exit_e worst_of(const view_t *view)
{
    b24bgctl_exit_e worst = is_alive(view) ? B24BGCTL_GOOD : B24BGCTL_WARNING;
    int i;

    for (i = 0; i < view->entries->nelts; i++) {
        b24bgctl_exit_e severity = APR_ARRAY_IDX(view->entries, i, entry_t).severity;
        worst = severity > worst ? severity : worst;
    }
    return worst;
}

/* Reading */

static const char *identity(apr_pool_t *pool, const char *app, const char *member_id)
{
    return apr_pstrcat(pool, app, "/", member_id, NULL);
}

static void add_entry(view_t *view, const b24bg_store_portal_t *portal,
                      const b24bg_store_registration_t *row)
{
    static const b24bg_store_registration_t none = {.state = "unknown", .reason = "", .detail = ""};
    entry_t *entry = apr_array_push(view->entries);

    entry->portal = portal;
    entry->row = row ? *row : none;
    entry->app = row ? row->app : portal->app;
    entry->member_id = row ? row->member_id : portal->member_id;
    entry->domain = portal ? portal->domain : "-";
    entry->state = b24bg_registration_state_by_name(entry->row.state);
    entry->reason = b24bg_registration_reason_by_name(entry->row.reason);
    entry->token_age = portal && portal->installed ? b24bgctl_token_age(portal) : -1;
    entry->severity = judge(entry);
}

static int compare(const void *one, const void *other)
{
    const entry_t *left = one;
    const entry_t *right = other;
    int order = strcmp(left->app, right->app);

    order = order ? order : strcmp(left->domain, right->domain);
    order = order ? order : strcmp(left->member_id, right->member_id);
    return order ? order
                 : (left->row.user_id > right->row.user_id) -
                       (left->row.user_id < right->row.user_id);
}

static void join(view_t *view, const apr_array_header_t *portals,
                 const apr_array_header_t *registrations)
{
    apr_hash_t *known = apr_hash_make(view->pool);
    apr_hash_t *registered = apr_hash_make(view->pool);
    int i;

    for (i = 0; i < portals->nelts; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        apr_hash_set(known, identity(view->pool, portal->app, portal->member_id),
                     APR_HASH_KEY_STRING, portal);
    }
    for (i = 0; i < registrations->nelts; i++) {
        const b24bg_store_registration_t *row =
            &APR_ARRAY_IDX(registrations, i, b24bg_store_registration_t);
        const char *name = identity(view->pool, row->app, row->member_id);
        apr_hash_set(registered, name, APR_HASH_KEY_STRING, row);
        add_entry(view, apr_hash_get(known, name, APR_HASH_KEY_STRING), row);
    }
    for (i = 0; i < portals->nelts; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        if (portal->installed &&
            !apr_hash_get(registered, identity(view->pool, portal->app, portal->member_id),
                          APR_HASH_KEY_STRING)) {
            add_entry(view, portal, NULL);
        }
    }
    qsort(view->entries->elts, (size_t)view->entries->nelts, sizeof(entry_t), compare);
}

static apr_status_t read_view(b24bg_store_t *store, view_t *view)
{
    apr_array_header_t *registrations;
    apr_array_header_t *portals;
    apr_status_t rv = b24bg_store_lease_get(store, view->pool, B24BG_TASK_LEASE_NAME, &view->lease);

    rv = rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    if (rv == APR_SUCCESS) {
        rv = b24bg_store_registrations_since(store, view->pool, -1, &registrations);
    }
    if (rv == APR_SUCCESS) {
        rv = b24bg_store_portals_since(store, view->pool, -1, &portals);
    }
    if (rv == APR_SUCCESS) {
        join(view, portals, registrations);
    }
    return rv;
}

/* The first line */

static const char *trouble_of(const view_t *view, const entry_t *entry)
{
    const char *user = entry->row.user_id
                           ? apr_psprintf(view->pool, " user %" APR_INT64_T_FMT, entry->row.user_id)
                           : "";
    const char *reason =
        *entry->row.reason ? apr_pstrcat(view->pool, ": ", entry->row.reason, NULL) : "";

    if (entry->severity == B24BGCTL_WARNING && entry->token_age > TOKEN_WARNING) {
        reason = apr_pstrcat(view->pool, reason, ", token ",
                             b24bgctl_age_text(view->pool, entry->token_age), " old", NULL);
    }
    return apr_pstrcat(view->pool, "portal ", entry->member_id, " (", entry->domain, ")", user, " ",
                       entry->row.state, reason, NULL);
}

/* Of the portal before it: it counts once, however many of its users have one. */
static int is_same_portal(const entry_t *one, const entry_t *other)
{
    return strcmp(one->app, other->app) == 0 && strcmp(one->member_id, other->member_id) == 0;
}

static const char *count_text(const view_t *view)
{
    const entry_t *counted = NULL;
    int registered = 0;
    int unbound = 0;
    int i;

    for (i = 0; i < view->entries->nelts; i++) {
        const entry_t *entry = &APR_ARRAY_IDX(view->entries, i, entry_t);
        unbound += entry->state == B24BG_REGISTRATION_UNBOUND;
        if (entry->state == B24BG_REGISTRATION_BOUND &&
            !(entry->portal && !entry->portal->installed) && /* forgotten, and still there */
            !(counted && is_same_portal(entry, counted))) {
            registered++;
            counted = entry;
        }
    }
    return apr_psprintf(view->pool,
                        unbound ? "%d portal%s registered, %d taken away by command"
                                : "%d portal%s registered",
                        registered, registered == 1 ? "" : "s", unbound);
}

/* What is worst of all, and how often. */
static const char *summary_of(const view_t *view, b24bgctl_exit_e worst)
{
    static const char *const words[] = {"OK", "WARNING", "CRITICAL"};
    const char *text = apr_pstrcat(view->pool, words[worst], " -", NULL);
    int found = 0;
    int i;

    if (worst == B24BGCTL_GOOD) {
        return apr_pstrcat(view->pool, text, " ", count_text(view), NULL);
    }
    for (i = 0; i < view->entries->nelts; i++) {
        const entry_t *entry = &APR_ARRAY_IDX(view->entries, i, entry_t);
        if (entry->severity == worst && found++ < NAMED_MOST) {
            text = apr_pstrcat(view->pool, text, found > 1 ? "; " : " ", trouble_of(view, entry),
                               NULL);
        }
    }
    if (found > NAMED_MOST) {
        text = apr_psprintf(view->pool, "%s; and %d more", text, found - NAMED_MOST);
    }
    if (!is_alive(view)) {
        text = apr_pstrcat(view->pool, text, found ? "; " : " ",
                           "no background task is at work: is Apache running?", NULL);
    }
    return b24bg_form_clean(view->pool, text, 4 * B24BGCTL_CELL_LONGEST);
}

/* For people */

static void print_entry(const view_t *view, const entry_t *entry)
{
    apr_pool_t *pool = view->pool;
    const b24bg_store_registration_t *row = &entry->row;
    const char *text = apr_psprintf(
        pool,
        "%s %s %s%s: %s%s%s (%s) since %s, checked %s, last notice %s, last rebind %s, token "
        "age %s; next: %s",
        entry->app, entry->domain, entry->member_id,
        row->user_id ? apr_psprintf(pool, " user %" APR_INT64_T_FMT, row->user_id) : "", row->state,
        *row->reason ? " " : "", row->reason, words_of(entry),
        b24bgctl_time_text(pool, row->since, MINUTE),
        b24bgctl_time_text(pool, row->checked, MINUTE),
        b24bgctl_time_text(pool, row->noticed, MINUTE),
        b24bgctl_time_text(pool, row->rebound, MINUTE), b24bgctl_age_text(pool, entry->token_age),
        next_of(view, entry));
    const char *remedy = remedy_of(entry);

    printf("%s%s%s%s%s\n", b24bg_form_clean(pool, text, 4 * B24BGCTL_CELL_LONGEST),
           *row->detail ? "; why: " : "",
           b24bg_form_clean(pool, row->detail, B24BGCTL_CELL_LONGEST), *remedy ? "; do: " : "",
           remedy);
}

static void print_text(const view_t *view, b24bgctl_exit_e worst)
{
    int i;

    printf("%s\n", summary_of(view, worst));
    for (i = 0; i < view->entries->nelts; i++) {
        print_entry(view, &APR_ARRAY_IDX(view->entries, i, entry_t));
    }
}

/* For programs */

static json_t *json_entry(const view_t *view, const entry_t *entry)
{
    static const char *const words[] = {"ok", "warning", "critical"};
    const b24bg_store_registration_t *row = &entry->row;
    apr_pool_t *pool = view->pool;

    return json_pack(
        "{s:s, s:s, s:s?, s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "app",
        entry->app, "member_id", entry->member_id, "domain", entry->portal ? entry->domain : NULL,
        "user_id", row->user_id ? json_integer(row->user_id) : json_null(), "severity",
        words[entry->severity], "state", row->state, "reason", row->reason, "detail", row->detail,
        "remedy", remedy_of(entry), "since_at", b24bgctl_json_time(pool, row->since), "checked_at",
        b24bgctl_json_time(pool, row->checked), "noticed_at",
        b24bgctl_json_time(pool, row->noticed), "rebound_at",
        b24bgctl_json_time(pool, row->rebound), "due_at", b24bgctl_json_time(pool, row->due),
        "token_age_seconds",
        entry->token_age < 0 ? json_null() : json_integer(apr_time_sec(entry->token_age)));
}

static json_t *json_background(const view_t *view)
{
    return json_pack("{s:b, s:s?, s:o}", "alive", is_alive(view), "holder",
                     view->lease ? view->lease->holder : NULL, "until_at",
                     b24bgctl_json_time(view->pool, view->lease ? view->lease->until : 0));
}

static b24bgctl_exit_e print_json(const view_t *view, b24bgctl_exit_e worst)
{
    static const char *const words[] = {"ok", "warning", "critical"};
    json_t *registrations = json_array();
    json_t *all;
    int bad = 0;
    int i;

    for (i = 0; i < view->entries->nelts && !bad; i++) {
        bad = json_array_append_new(registrations,
                                    json_entry(view, &APR_ARRAY_IDX(view->entries, i, entry_t)));
    }
    all = json_pack("{s:s, s:s, s:o, s:o}", "status", words[worst], "summary",
                    summary_of(view, worst), "background", json_background(view), "registrations",
                    registrations);
    bad = bad || !all || json_dumpf(all, stdout, JSON_INDENT(2));
    json_decref(all);
    if (bad) {
        return b24bgctl_fail(B24BGCTL_CRITICAL,
                             "a registration in the store cannot be written as JSON");
    }
    printf("\n");
    return worst;
}

/* Monitors show the first line of stdout, whatever stderr has. */
static b24bgctl_exit_e print_failure(const b24bgctl_t *ctl, b24bgctl_exit_e code)
{
    int is_usage = code == B24BGCTL_USAGE;
    const char *text =
        apr_pstrcat(ctl->pool, is_usage ? "UNKNOWN - " : "CRITICAL - ", b24bgctl_failure(), NULL);
    json_t *all;

    text = b24bg_form_clean(ctl->pool, text, 4 * B24BGCTL_CELL_LONGEST);
    if (!ctl->options[B24BGCTL_JSON]) {
        printf("%s\n", text);
        return code;
    }
    all = json_pack("{s:s, s:s, s:n, s:[]}", "status", is_usage ? "unknown" : "critical", "summary",
                    text, "background", "registrations");
    if (all) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(all);
    return code;
}

b24bgctl_exit_e b24bgctl_status(b24bgctl_t *ctl)
{
    view_t view = {ctl->pool, apr_array_make(ctl->pool, 16, sizeof(entry_t)), NULL, apr_time_now()};
    b24bg_store_t *store;
    apr_status_t rv;
    b24bgctl_exit_e worst = b24bgctl_store_open(ctl, &store);

    if (worst != B24BGCTL_GOOD) {
        return print_failure(ctl, worst);
    }
    rv = read_view(store, &view);
    if (rv != APR_SUCCESS) {
        return print_failure(ctl, b24bgctl_store_fail(store, rv));
    }
    worst = worst_of(&view);
    if (ctl->options[B24BGCTL_JSON]) {
        return print_json(&view, worst);
    }
    print_text(&view, worst);
    return worst;
}
