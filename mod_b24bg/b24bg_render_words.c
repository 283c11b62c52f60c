#include "b24bg_render_parts.h"

#include "b24bg_registration.h"

#include <apr_strings.h>

#include <string.h>

#define DAY apr_time_from_sec(86400)

/* Time */

void b24bg_words_span(b24bg_out_t *out, apr_interval_time_t span)
{
    static const struct {
        apr_int64_t seconds;
        const char *unit;
    } units[] = {{86400, " days"}, {3600, " h"}, {60, " min"}, {1, " s"}};
    apr_int64_t seconds = span > 0 ? apr_time_sec(span) : 0;
    int i = 0;

    while (i < 3 && seconds < 2 * units[i].seconds) {
        i++;
    }
    b24bg_out_number(out, (apr_uint64_t)(seconds / units[i].seconds));
    b24bg_out_text(out, units[i].unit);
}

void b24bg_words_ago(b24bg_out_t *out, apr_time_t now, apr_time_t then)
{
    if (!then) {
        b24bg_out_text(out, "never");
        return;
    }
    b24bg_words_span(out, now - then);
    b24bg_out_text(out, " ago");
}

void b24bg_words_clock(b24bg_out_t *out, apr_time_t now, apr_time_t at)
{
    char text[32];
    apr_time_exp_t time;

    apr_time_exp_gmt(&time, at);
    if (now - at >= DAY || at > now) {
        apr_snprintf(text, sizeof(text), "%04d-%02d-%02d %02d:%02d", time.tm_year + 1900,
                     time.tm_mon + 1, time.tm_mday, time.tm_hour, time.tm_min);
    } else {
        apr_snprintf(text, sizeof(text), "%02d:%02d", time.tm_hour, time.tm_min);
    }
    b24bg_out_text(out, text);
}

/* " in 5 min", " now". */
static void when(b24bg_out_t *out, apr_time_t now, apr_time_t due)
{
    if (due <= now) {
        b24bg_out_text(out, " now");
        return;
    }
    b24bg_out_text(out, " in ");
    b24bg_words_span(out, due - now + APR_USEC_PER_SEC - 1);
}

/* A portal */

void b24bg_words_portal(b24bg_out_t *out, const b24bg_render_portal_t *portal)
{
    b24bg_out_text(out, portal->domain);
    if (portal->user) {
        b24bg_out_text(out, ", user ");
        b24bg_out_number(out, (apr_uint64_t)portal->user);
    }
}

static const char *const states[] = {
    [B24BG_REGISTRATION_UNKNOWN] = "not asked yet", [B24BG_REGISTRATION_BOUND] = "registered",
    [B24BG_REGISTRATION_SUSPECT] = "in doubt",      [B24BG_REGISTRATION_LOST] = "lost",
    [B24BG_REGISTRATION_BINDING] = "being bound",   [B24BG_REGISTRATION_UNBOUND] = "taken away",
    [B24BG_REGISTRATION_BLOCKED] = "blocked: ",
};
_Static_assert(sizeof(states) / sizeof(states[0]) == B24BG_REGISTRATION_STATE_COUNT,
               "words for each state");

void b24bg_words_state(b24bg_out_t *out, const b24bg_render_portal_t *portal)
{
    if (!b24bg_render_is_row(portal)) {
        b24bg_out_text(out, "not installed");
    } else if (portal->known && !portal->app->config.registers) {
        b24bg_out_text(out, "not looked after");
    } else if (portal->known && !b24bg_render_is_registration(portal)) {
        b24bg_out_text(out, "for single users");
    } else if (!portal->shown.has) {
        b24bg_out_text(out, "no registration yet");
    } else {
        b24bg_out_text(out, states[portal->shown.state]);
        if (portal->shown.state == B24BG_REGISTRATION_BLOCKED) {
            b24bg_out_text(out, b24bg_registration_reason_name(
                                    (b24bg_registration_reason_e)portal->shown.reason));
        }
    }
}

static void next_when_lost(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                           const b24bg_render_portal_t *portal)
{
    if (portal->shown.due || portal->app->config.rebind) {
        b24bg_out_text(out, "asks the portal and binds it again");
        when(out, snapshot->now, portal->shown.due);
    } else {
        b24bg_out_text(out, "nothing, B24bgRebind is off: b24bgctl bind registers it again");
    }
}

static void next_when_blocked(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                              const b24bg_render_portal_t *portal)
{
    if (portal->shown.reason == B24BG_BLOCKED_DAILY_CAP && portal->shown.due) {
        b24bg_out_text(out, "goes on");
        when(out, snapshot->now, portal->shown.due);
        b24bg_out_text(out, ": ");
    } else {
        b24bg_out_text(out, "nothing by itself; ");
    }
    b24bg_out_text(out,
                   b24bg_registration_remedy((b24bg_registration_reason_e)portal->shown.reason));
}

static void next_by_state(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                          const b24bg_render_portal_t *portal)
{
    switch (portal->shown.state) {
    case B24BG_REGISTRATION_BOUND:
        b24bg_out_text(out, portal->app->config.silence ? "waits for a notice, or for silence"
                                                        : "waits for a notice");
        break;
    case B24BG_REGISTRATION_SUSPECT:
    case B24BG_REGISTRATION_UNKNOWN:
        b24bg_out_text(out, "asks the portal");
        when(out, snapshot->now, portal->shown.due);
        break;
    case B24BG_REGISTRATION_LOST:
        next_when_lost(out, snapshot, portal);
        break;
    case B24BG_REGISTRATION_BINDING:
        b24bg_out_text(out, "sees what the portal made of it");
        when(out, snapshot->now, portal->shown.due);
        break;
    case B24BG_REGISTRATION_UNBOUND:
        b24bg_out_text(out, "nothing, a command took it away: b24bgctl bind registers it again");
        break;
    case B24BG_REGISTRATION_BLOCKED:
        next_when_blocked(out, snapshot, portal);
        break;
    }
}

void b24bg_words_next(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                      const b24bg_render_portal_t *portal)
{
    if (!b24bg_render_is_row(portal)) {
        b24bg_out_text(out, "serves it, and counts its loads");
        return;
    }
    if (portal->uninstalled) {
        next_by_state(out, snapshot, portal);
        return;
    }
    if (!portal->app->config.registers) {
        b24bg_out_text(out, "nothing: B24bgWorkerURL and B24bgErrorURL are not set");
        return;
    }
    if (!b24bg_render_is_registration(portal)) {
        b24bg_out_text(out, "registered for single users, below");
        return;
    }
    if (!snapshot->task_runs) {
        b24bg_out_text(out, "nothing before the background task runs; then: ");
    }
    if (portal->shown.has) {
        next_by_state(out, snapshot, portal);
    } else {
        b24bg_out_text(out, "asks the portal");
    }
}

/* Events */

static const char *const events[] = {
    [B24BG_SHOWN_EVENT_INSTALLED] = "installed",
    [B24BG_SHOWN_EVENT_UPDATED] = "application updated",
    [B24BG_SHOWN_EVENT_UNINSTALLED] = "uninstalled",
    [B24BG_SHOWN_EVENT_FORGOTTEN] = "forgotten by command",
    [B24BG_SHOWN_EVENT_RENAMED] = "renamed",
    [B24BG_SHOWN_EVENT_NOTICE] = "disabled by Bitrix24",
    [B24BG_SHOWN_EVENT_SILENT] = "no loads any more",
    [B24BG_SHOWN_EVENT_DISABLED] = "confirmed lost",
    [B24BG_SHOWN_EVENT_BOUND] = "registered",
    [B24BG_SHOWN_EVENT_REBOUND] = "registered again",
    [B24BG_SHOWN_EVENT_FALSE_ALARM] = "still there, says the portal",
    [B24BG_SHOWN_EVENT_REBIND_FAILED] = "could not be registered again",
    [B24BG_SHOWN_EVENT_BLOCKED] = "blocked: ",
    [B24BG_SHOWN_EVENT_UNBOUND] = "taken away by command",
    [B24BG_SHOWN_EVENT_REFRESHED] = "tokens refreshed",
    [B24BG_SHOWN_EVENT_BUDGET] = " slow loads",
    [B24BG_SHOWN_EVENT_TOKEN_EXPIRING] = "tokens not used for long",
};
_Static_assert(sizeof(events) / sizeof(events[0]) == B24BG_SHOWN_EVENT_COUNT,
               "words for each event");

const char *b24bg_event_reason(const b24bg_shown_event_t *event)
{
    int has_reason =
        event->event == B24BG_SHOWN_EVENT_BLOCKED && event->number < B24BG_BLOCKED_COUNT;

    return has_reason ? b24bg_registration_reason_name((b24bg_registration_reason_e)event->number)
                      : "";
}

void b24bg_words_event(b24bg_out_t *out, const b24bg_shown_event_t *event)
{
    if (event->event == B24BG_SHOWN_EVENT_BUDGET) {
        b24bg_out_number(out, event->number);
    }
    b24bg_out_text(out, events[event->event]);
    b24bg_out_text(out, b24bg_event_reason(event));
}

/* The whole */

void b24bg_words_count(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot)
{
    if (!snapshot->has_task) {
        b24bg_out_text(out, "loads are served and counted; no app has a B24bgClient");
        return;
    }
    if (!snapshot->store_read) {
        b24bg_out_text(out, "no portal is known yet");
        return;
    }
    b24bg_out_number(out, (apr_uint64_t)snapshot->registrations);
    b24bg_out_text(out, snapshot->registrations == 1 ? " registration, " : " registrations, ");
    b24bg_out_number(out, (apr_uint64_t)snapshot->registered);
    b24bg_out_text(out, " in place");
}

static void portal_problem(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                           const b24bg_render_problem_t *problem)
{
    const b24bg_render_portal_t *portal = problem->portal;

    b24bg_out_text(out, portal->app->counts.name);
    b24bg_out_text(out, " ");
    b24bg_words_portal(out, portal);
    b24bg_out_text(out, ": ");
    switch (problem->problem) {
    case B24BG_PROBLEM_BUDGET:
        b24bg_out_number(out, portal->budgets[portal->best].used);
        b24bg_out_text(out, " of ");
        b24bg_out_number(out, (apr_uint64_t)portal->app->config.budget_limit);
        b24bg_out_text(out, " slow loads used (");
        b24bg_out_text(out, b24bg_budget_source_name(portal->best));
        b24bg_out_text(out, ")");
        break;
    case B24BG_PROBLEM_TOKEN:
        b24bg_out_text(out, "token not refreshed for ");
        b24bg_words_span(out, snapshot->now - portal->tokens);
        break;
    default:
        b24bg_words_state(out, portal);
    }
}

void b24bg_words_problem(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                         const b24bg_render_problem_t *problem)
{
    switch (problem->problem) {
    case B24BG_PROBLEM_TASK_NEVER:
        b24bg_out_text(out, "the background task has not run yet, so nothing is known of any "
                            "registration");
        break;
    case B24BG_PROBLEM_STORE_UNREAD:
        b24bg_out_text(out, "the store could not be read yet, so nothing is known of any portal");
        break;
    case B24BG_PROBLEM_TASK_DEAD:
        b24bg_out_text(out, "the background task has not run ");
        if (snapshot->health.last_run > snapshot->now) {
            b24bg_out_text(out, "since the clock was set back");
        } else {
            b24bg_out_text(out, "for ");
            b24bg_words_span(out, snapshot->now - snapshot->health.last_run);
        }
        b24bg_out_text(out, ", so what is shown is what it knew then");
        break;
    case B24BG_PROBLEM_STORE_DOWN:
        b24bg_out_text(out, "the store is down, what comes in is kept in the journal");
        break;
    default:
        portal_problem(out, snapshot, problem);
    }
}
