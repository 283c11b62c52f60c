/* Test module: prints the shared table of mod_b24bg as text, one count a line, makes keys of error
 * URLs live, tags of beacons that are older than they are, and has rows shown that no portal stands
 * behind; `find` tells whether a key is live:
 *
 *     /probe?put=<hash of the key>&app=<name>&member_id=<32 hex digits>&domain=<host>
 *     /probe?drop=<hash of the key>
 *     /probe?find=<hash of the key>
 *     /probe?tag=<seconds>&app=<name>&member_id=<32 hex digits>
 *     /probe?show=<state>&app=...&member_id=...&domain=...[&reason=][&slow=][&events=<words>]
 *     /probe?dead=<seconds>
 *
 * With `put` the portal becomes a known one if the table has it not. It finds the table as
 * mod_b24bg keeps it and uses it through the public header, so what it shows is what all processes
 * share.
 */
#include "b24bg_beacon.h"
#include "b24bg_form.h"
#include "b24bg_registration.h"
#include "b24bg_table.h"

#include <apr_strings.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>

#include <stdlib.h>

typedef struct {
    b24bg_table_t *table;
} retained_t;

/* buckets[count], with a bound for each but the last. */
typedef struct {
    const char *name;
    const apr_uint64_t *buckets;
    const apr_time_t *bounds;
    int count;
} histogram_t;

static void print_histogram(request_rec *r, const char *app, const histogram_t *histogram)
{
    apr_uint64_t sum = 0;
    int i;

    for (i = 0; i < histogram->count - 1; i++) {
        sum += histogram->buckets[i];
        ap_rprintf(r, "%s_seconds_bucket app=%s le=%.4f %" APR_UINT64_T_FMT "\n", histogram->name,
                   app, (double)histogram->bounds[i] / APR_USEC_PER_SEC, sum);
    }
    sum += histogram->buckets[i];
    ap_rprintf(r, "%s_seconds_count app=%s %" APR_UINT64_T_FMT "\n", histogram->name, app, sum);
}

static void print_loads(request_rec *r, const b24bg_app_counts_t *counts)
{
    static const apr_time_t server_bounds[] = B24BG_SERVER_TIME_BOUNDS;
    static const apr_time_t load_bounds[] = B24BG_LOAD_TIME_BOUNDS;
    const histogram_t server = {"server", counts->server_time, server_bounds,
                                B24BG_SERVER_TIME_BUCKETS};
    const histogram_t load = {"load", counts->load_time, load_bounds, B24BG_LOAD_TIME_BUCKETS};
    int source;

    print_histogram(r, counts->name, &server);
    print_histogram(r, counts->name, &load);
    ap_rprintf(r, "load_milliseconds app=%s %" APR_UINT64_T_FMT "\n", counts->name,
               counts->load_time_sum / 1000);
    ap_rprintf(r, "beacons app=%s %" APR_UINT64_T_FMT "\n", counts->name, counts->beacons);
    ap_rprintf(r, "failed_scripts app=%s %" APR_UINT64_T_FMT "\n", counts->name,
               counts->failed_scripts);
    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        ap_rprintf(r, "slow_loads app=%s source=%s %" APR_UINT64_T_FMT "\n", counts->name,
                   b24bg_budget_source_name(source), counts->slow_loads[source]);
    }
}

static void print_app(request_rec *r, const b24bg_app_counts_t *counts)
{
    int kind;
    int verdict;
    int reason;
    int result;

    for (kind = 0; kind < B24BG_KIND_COUNT; kind++) {
        for (verdict = 0; verdict < B24BG_VERDICT_COUNT; verdict++) {
            ap_rprintf(r, "requests app=%s kind=%s verdict=%s %" APR_UINT64_T_FMT "\n",
                       counts->name, b24bg_kind_name(kind), b24bg_verdict_name(verdict),
                       counts->requests[kind][verdict]);
        }
    }
    for (reason = 0; reason < B24BG_REASON_COUNT; reason++) {
        ap_rprintf(r, "refusals app=%s reason=%s %" APR_UINT64_T_FMT "\n", counts->name,
                   b24bg_reason(reason)->name, counts->reasons[reason]);
    }
    ap_rprintf(r, "repeats app=%s %" APR_UINT64_T_FMT "\n", counts->name, counts->repeats);
    ap_rprintf(r, "broken_options app=%s %" APR_UINT64_T_FMT "\n", counts->name,
               counts->broken_options);
    for (result = 0; result < B24BG_NOTICE_COUNT; result++) {
        ap_rprintf(r, "notices app=%s result=%s %" APR_UINT64_T_FMT "\n", counts->name,
                   b24bg_notice_result_name(result), counts->notices[result]);
    }
    print_loads(r, counts);
}

static void print_portal(request_rec *r, const char *app, const b24bg_portal_counts_t *portal)
{
    int source;

    ap_rprintf(r,
               "portal app=%s member_id=%s domain=%s loads=%" APR_UINT64_T_FMT
               " repeats=%" APR_UINT64_T_FMT " 1\n",
               app, portal->member_id, portal->domain, portal->loads, portal->repeats);
    ap_rprintf(r, "ran app=%s member_id=%s user=%" APR_INT64_T_FMT " %" APR_UINT64_T_FMT "\n", app,
               portal->member_id, portal->user, portal->beacons);
    for (source = 0; source < B24BG_BUDGET_COUNT; source++) {
        ap_rprintf(r, "budget app=%s member_id=%s user=%" APR_INT64_T_FMT " source=%s %u\n", app,
                   portal->member_id, portal->user, b24bg_budget_source_name(source),
                   portal->budgets[source].used);
    }
}

static void print_portals(request_rec *r, b24bg_table_t *table)
{
    b24bg_portal_counts_t portal;
    b24bg_app_counts_t app;
    apr_uint32_t known = 0;
    apr_uint32_t slot;

    for (slot = 1; slot <= b24bg_table_capacity(table); slot++) {
        if (b24bg_table_read_portal(table, slot, r->request_time, &portal) &&
            b24bg_table_read_app(table, r->pool, portal.app, &app)) {
            known++;
            print_portal(r, app.name, &portal);
        }
    }
    ap_rprintf(r, "portals %u\n", known);
}

static int row_named(request_rec *r, b24bg_table_t *table, const char *name)
{
    b24bg_app_counts_t counts;
    int row;

    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        if (b24bg_table_read_app(table, r->pool, row, &counts) && strcmp(counts.name, name) == 0) {
            return row;
        }
    }
    return -1;
}

/* The place of app, member_id and domain, made a known portal's if there is none. 1: done, 0: try
 * again, -1: no room, -2: no such app. */
static int known_place(request_rec *r, b24bg_table_t *table, const apr_table_t *query,
                       b24bg_portal_ref_t *place)
{
    b24bg_known_portal_t portal;
    int known = 1;

    memset(&portal, 0, sizeof(portal));
    portal.id.app = row_named(r, table, b24bg_form_get(query, "app"));
    portal.id.member_id = b24bg_form_get(query, "member_id");
    if (portal.id.app < 0) {
        return -2;
    }
    *place = b24bg_table_find(table, &portal.id);
    if (!place->slot) {
        portal.origin = apr_pstrcat(r->pool, "https://", b24bg_form_get(query, "domain"), NULL);
        known = b24bg_table_know(table, &portal);
        *place = b24bg_table_find(table, &portal.id);
    }
    return known;
}

static int put_key(request_rec *r, b24bg_table_t *table, const apr_table_t *query)
{
    b24bg_portal_ref_t place;
    int known = known_place(r, table, query, &place);

    return known == 1 ? b24bg_table_key_put(table, b24bg_form_get(query, "put"), place) : known;
}

static int show_events(request_rec *r, b24bg_table_t *table, b24bg_portal_ref_t place,
                       const char *words)
{
    b24bg_shown_event_t events[B24BG_TABLE_EVENTS];
    char *text = apr_pstrdup(r->pool, words);
    int count = 0;
    char *last;
    char *word;

    for (word = apr_strtok(text, ",", &last); word; word = apr_strtok(NULL, ",", &last)) {
        events[count].at = r->request_time;
        events[count].event = b24bg_shown_event_by_name(word);
        events[count++].number = 0;
    }
    return b24bg_table_show_events(table, place, events, count);
}

/* show=<state>, and perhaps reason=, slow=<loads in the browser>, events=<words>. */
static int show_row(request_rec *r, b24bg_table_t *table, const apr_table_t *query)
{
    const char *reason = b24bg_form_get(query, "reason");
    const char *events = b24bg_form_get(query, "events");
    const char *slow = b24bg_form_get(query, "slow");
    b24bg_portal_ref_t place;
    b24bg_shown_t shown;
    int done = known_place(r, table, query, &place);
    int i;

    if (done != 1) {
        return done;
    }
    memset(&shown, 0, sizeof(shown));
    shown.has = 1;
    shown.state = b24bg_registration_state_by_name(b24bg_form_get(query, "show"));
    shown.reason = reason ? b24bg_registration_reason_by_name(reason) : 0;
    shown.since = shown.checked = r->request_time;
    done = b24bg_table_show(table, place, &shown);
    if (done && events) {
        done = show_events(r, table, place, events);
    }
    for (i = 0; done && slow && i < atoi(slow); i++) {
        b24bg_table_budget_add(table, place, B24BG_BUDGET_BROWSER, r->request_time);
    }
    return done;
}

/* dead=<seconds>: the background task has not run for so long. */
static int let_task_die(request_rec *r, b24bg_table_t *table, const char *seconds)
{
    b24bg_table_health_t health;

    b24bg_table_read_health(table, &health);
    health.last_run = r->request_time - apr_time_from_sec(atoi(seconds));
    b24bg_table_set_health(table, &health);
    return 1;
}

static int change_once(request_rec *r, b24bg_table_t *table, const apr_table_t *query)
{
    if (b24bg_form_get(query, "put")) {
        return put_key(r, table, query);
    }
    if (b24bg_form_get(query, "drop")) {
        return b24bg_table_key_drop(table, b24bg_form_get(query, "drop"));
    }
    if (b24bg_form_get(query, "show")) {
        return show_row(r, table, query);
    }
    return let_task_die(r, table, b24bg_form_get(query, "dead"));
}

static int change(request_rec *r, b24bg_table_t *table)
{
    b24bg_form_t query;
    int done;

    b24bg_form_parse(r->pool, r->args, strlen(r->args), B24BG_FORM_REFUSE_TWICE, &query);
    do {
        done = change_once(r, table, query.fields);
    } while (done == 0);
    ap_rprintf(r, "done %d\n", done);
    return OK;
}

/* A tag as the page of a load of this portal would have had it so many seconds ago. */
static int print_tag(request_rec *r, b24bg_table_t *table)
{
    b24bg_beacon_subject_t subject = {0, 0, 0, 0, 0};
    char tag[B24BG_BEACON_TAG_LENGTH + 1] = "";
    b24bg_portal_id_t id = {0, NULL, 0};
    b24bg_portal_ref_t place;
    b24bg_form_t query;

    b24bg_form_parse(r->pool, r->args, strlen(r->args), B24BG_FORM_REFUSE_TWICE, &query);
    id.app = row_named(r, table, b24bg_form_get(query.fields, "app"));
    id.member_id = b24bg_form_get(query.fields, "member_id");
    place = b24bg_table_find(table, &id);
    subject.app = id.app;
    subject.slot = place.slot;
    subject.generation = place.generation;
    subject.rendered =
        r->request_time - apr_time_from_sec(atoi(b24bg_form_get(query.fields, "tag")));
    subject.nonce = (apr_uint32_t)r->request_time;
    b24bg_beacon_tag(b24bg_table_key(table), &subject, tag);
    ap_rputs(tag, r);
    return OK;
}

static int print_live(request_rec *r, b24bg_table_t *table, const char *key_hash)
{
    b24bg_portal_ref_t place;

    ap_rprintf(r, "live %d\n", b24bg_table_key_find(table, key_hash, &place));
    return OK;
}

static int handler(request_rec *r)
{
    retained_t *retained;
    b24bg_app_counts_t counts;
    int row;

    if (!r->handler || strcmp(r->handler, "b24bg-probe") != 0) {
        return DECLINED;
    }
    ap_set_content_type_ex(r, "text/plain", 1);
    retained = ap_retained_data_get("b24bg-table-" B24BG_TABLE_LAYOUT);
    if (!retained || !retained->table) {
        ap_rputs("no table\n", r);
        return OK;
    }
    if (r->args && *r->args && strchr("pds", *r->args)) { /* put, drop, dead, show */
        return change(r, retained->table);
    }
    if (r->args && strncmp(r->args, "tag=", 4) == 0) {
        return print_tag(r, retained->table);
    }
    if (r->args && strncmp(r->args, "find=", 5) == 0) {
        return print_live(r, retained->table, r->args + 5);
    }
    for (row = 0; row < B24BG_TABLE_APPS_MAX; row++) {
        if (b24bg_table_read_app(retained->table, r->pool, row, &counts)) {
            print_app(r, &counts);
        }
    }
    print_portals(r, retained->table);
    ap_rputs(b24bg_table_keys_are_read(retained->table) ? "keys are read\n" : "", r);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(b24bg_probe) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL,
                                  register_hooks,          0};
