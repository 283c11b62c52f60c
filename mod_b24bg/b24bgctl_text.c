/* Times and ages, as the command line shows them. */
#include "b24bgctl.h"

#include <apr_strings.h>

#include <jansson.h>

const char *b24bgctl_time_text(apr_pool_t *pool, apr_time_t time, const char *format)
{
    char text[32];
    apr_size_t length;
    apr_time_exp_t parts;

    if (!time || apr_time_exp_gmt(&parts, time) != APR_SUCCESS ||
        apr_strftime(text, &length, sizeof(text), format, &parts) != APR_SUCCESS) {
        return "-";
    }
    return apr_pstrdup(pool, text);
}

json_t *b24bgctl_json_time(apr_pool_t *pool, apr_time_t time)
{
    return time ? json_string(b24bgctl_time_text(pool, time, "%Y-%m-%dT%H:%M:%SZ")) : json_null();
}

const char *b24bgctl_age_text(apr_pool_t *pool, apr_interval_time_t age)
{
    apr_int64_t minutes = apr_time_sec(age) / 60;
    apr_int64_t hours = minutes / 60;

    if (age < 0) {
        return "-";
    }
    if (hours < 2) {
        return apr_psprintf(pool, "%" APR_INT64_T_FMT "m", minutes);
    }
    return hours < 48 ? apr_psprintf(pool, "%" APR_INT64_T_FMT "h", hours)
                      : apr_psprintf(pool, "%" APR_INT64_T_FMT "d", hours / 24);
}
