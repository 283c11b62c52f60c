/* The rehearsals. */
#include "b24bgctl.h"

#include <apr_strings.h>

#include <stdio.h>

/* One second over the limit of a load: protocol.md section 12. */
#define SLOW_DEFAULT 6
#define COUNT_MOST 100000
#define SECONDS_MOST B24BGCTL_TIMEOUT_MOST
/* From here on an answer is worth a warning: most of a load's 5 s belong to the network. */
#define WARN_AFTER apr_time_from_sec(1)

/* Judging and telling */

static b24bgctl_exit_e judge(const b24bgctl_result_t *result)
{
    if (result->error || result->status < 200 || result->status >= 400) {
        return B24BGCTL_CRITICAL;
    }
    return result->status >= 300 || result->total > WARN_AFTER ? B24BGCTL_WARNING : B24BGCTL_GOOD;
}

static const char *hint_of(const b24bgctl_result_t *result)
{
    const char *hint = b24bgctl_status_hint(result->status);

    return !*hint && result->total > WARN_AFTER ? "slow: over 1 s" : hint;
}

static double milliseconds(apr_interval_time_t time)
{
    return (double)time / 1000.0;
}

static b24bgctl_exit_e tell(const char *what, const b24bgctl_result_t *result)
{
    static const char *const words[] = {"OK", "WARNING", "CRITICAL"};
    b24bgctl_exit_e verdict = judge(result);
    const char *hint = hint_of(result);

    if (result->error) {
        printf("CRITICAL: %s, no answer: %s\n", what, result->error);
        return verdict;
    }
    printf("%s: %s, status %ld, first byte %.1f ms, total %.1f ms, %" APR_INT64_T_FMT
           " bytes%s%s\n",
           words[verdict], what, result->status, milliseconds(result->first_byte),
           milliseconds(result->total), result->size, *hint ? "; " : "", hint);
    return verdict;
}

/* What to send where, and how. */
static int get_facts(b24bgctl_t *ctl, b24bgctl_facts_t *facts, b24bgctl_manner_t *manner)
{
    return b24bgctl_facts(ctl, facts) &&
           b24bgctl_url(ctl, "--url", ctl->options[B24BGCTL_URL], &facts->url) &&
           b24bgctl_manner(ctl, manner);
}

static b24bgctl_exit_e simulate(b24bgctl_t *ctl, b24bgctl_message_cb make_cb, const char *what)
{
    b24bgctl_facts_t facts;
    b24bgctl_manner_t manner;
    b24bgctl_result_t result;

    if (!get_facts(ctl, &facts, &manner)) {
        return B24BGCTL_USAGE;
    }
    b24bgctl_send_one(ctl->pool, &facts, make_cb, &manner, &result);
    return tell(what, &result);
}

/* Loads one after the other; the worst of them decides. */
static b24bgctl_exit_e load_often(apr_pool_t *pool, b24bgctl_facts_t *facts,
                                  const b24bgctl_manner_t *manner, long count)
{
    long counts[B24BGCTL_USAGE] = {0};
    b24bgctl_exit_e worst = B24BGCTL_GOOD;
    b24bgctl_result_t result;
    long i;

    for (i = 1; i <= count; i++) {
        b24bgctl_exit_e verdict;
        b24bgctl_send_one(pool, facts, b24bgctl_message_load, manner, &result);
        verdict = tell(apr_psprintf(pool, "load %ld", i), &result);
        worst = verdict > worst ? verdict : worst;
        counts[verdict]++;
        apr_pool_clear(pool);
    }
    printf("%ld loads: %ld good, %ld redirected or slow, %ld failed\n", count,
           counts[B24BGCTL_GOOD], counts[B24BGCTL_WARNING], counts[B24BGCTL_CRITICAL]);
    return worst;
}

b24bgctl_exit_e b24bgctl_load(b24bgctl_t *ctl)
{
    b24bgctl_facts_t facts;
    b24bgctl_manner_t manner;
    apr_pool_t *pool;
    long count = 1;

    if (!ctl->options[B24BGCTL_COUNT]) {
        return simulate(ctl, b24bgctl_message_load, "load");
    }
    if (!get_facts(ctl, &facts, &manner) ||
        !b24bgctl_number(ctl, B24BGCTL_COUNT, COUNT_MOST, &count)) {
        return B24BGCTL_USAGE;
    }
    apr_pool_create(&pool, ctl->pool);
    return load_often(pool, &facts, &manner, count);
}

b24bgctl_exit_e b24bgctl_slow(b24bgctl_t *ctl)
{
    long seconds = SLOW_DEFAULT;
    b24bgctl_exit_e verdict;
    b24bgctl_facts_t facts;
    b24bgctl_manner_t manner;
    b24bgctl_result_t result;

    if (!get_facts(ctl, &facts, &manner) ||
        !b24bgctl_number(ctl, B24BGCTL_SECONDS, SECONDS_MOST, &seconds)) {
        return B24BGCTL_USAGE;
    }
    manner.hold = apr_time_from_sec(seconds);
    b24bgctl_send_one(ctl->pool, &facts, b24bgctl_message_load, &manner, &result);
    verdict = tell("load", &result);
    if (result.held) {
        printf(
            "The page was left unread for %.1f s, which is not in the total. Nobody has counted\n"
            "a slow load: for the server this was an ordinary one, and Bitrix24 counts what\n"
            "its own page measures in a browser.\n",
            milliseconds(result.held) / 1000);
    }
    return verdict;
}

b24bgctl_exit_e b24bgctl_notice(b24bgctl_t *ctl)
{
    return simulate(ctl, b24bgctl_message_notice, "notice");
}

b24bgctl_exit_e b24bgctl_install(b24bgctl_t *ctl)
{
    int page = ctl->options[B24BGCTL_PAGE] != NULL;

    if (ctl->options[B24BGCTL_OLD] && !page) {
        b24bgctl_refuse(B24BGCTL_OLD, "it needs --page: the event has but one form");
        return B24BGCTL_USAGE;
    }
    return simulate(ctl, page ? b24bgctl_message_page : b24bgctl_message_event,
                    page ? "installation page" : "ONAPPINSTALL");
}
