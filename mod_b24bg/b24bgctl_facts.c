/* Options of the rehearsals -> what a portal knows. */
#include "b24bgctl.h"

#include "b24bg_install.h"
#include "b24bg_placement.h"
#include "b24bg_value.h"

#include <apr_cstr.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <stdlib.h>
#include <string.h>

/* HANDLER and errorHandlerUrl are at most 255 (protocol.md 4.4); to try what is longer is fair. */
#define URL_LONGEST 2048
/* A secret in a file: a token or a URL, and a line end. */
#define SECRET_FILE_MOST (URL_LONGEST + 2)

static const char *read_secret_file(apr_pool_t *pool, const char *path)
{
    char *text = apr_palloc(pool, SECRET_FILE_MOST + 1);
    apr_size_t length = 0;
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_read_full(file, text, SECRET_FILE_MOST + 1, &length);
        apr_file_close(file);
    }
    /* It ends where there is room for more. */
    if (rv != APR_EOF) {
        return NULL;
    }
    while (length > 0 && apr_isspace(text[length - 1])) {
        length--;
    }
    text[length] = '\0';
    return text;
}

/* What follows --token in a list of processes is no secret, so it can come from elsewhere. Returns
 * NULL, or why it cannot be read. */
static const char *read_secret(apr_pool_t *pool, const char *given, const char **value)
{
    const char *why = NULL;

    *value = given;
    if (strncmp(given, "env:", 4) == 0) {
        *value = getenv(given + 4);
        why = "there is no such variable in the environment";
    } else if (strncmp(given, "file:", 5) == 0) {
        *value = read_secret_file(pool, given + 5);
        why = "the file cannot be read, or is too long";
    }
    return *value ? NULL : why;
}

/* *value stays as it is where the option is not given. */
static int get_token(b24bgctl_t *ctl, b24bgctl_option_e option, const char **value)
{
    const char *given = ctl->options[option];
    const char *wrong = given ? read_secret(ctl->pool, given, value) : NULL;

    if (wrong) {
        return b24bgctl_refuse(option, wrong);
    }
    return strlen(*value) <= B24BG_INSTALL_TOKEN_MAX ||
           b24bgctl_refuse(option, "no token is that long");
}

int b24bgctl_number(b24bgctl_t *ctl, b24bgctl_option_e option, long most, long *number)
{
    const char *given = ctl->options[option];
    const char *wrong;
    apr_int64_t value;

    if (!given) {
        return 1;
    }
    wrong = b24bg_value_number(ctl->pool, given, 1, most, &value);
    if (wrong) {
        return b24bgctl_refuse(option, wrong);
    }
    *number = (long)value;
    return 1;
}

/* NULL, or why it cannot be; the value is not repeated: it may hold a key or a password. */
static const char *wrong_url(apr_pool_t *pool, const char *url)
{
    if (apr_cstr_casecmpn(url, "https://", 8) != 0 && apr_cstr_casecmpn(url, "http://", 7) != 0) {
        return "a URL that begins with https:// or http:// is allowed";
    }
    return b24bg_value_url(pool, url, B24BG_VALUE_URL_HTTP, URL_LONGEST);
}

int b24bgctl_url(b24bgctl_t *ctl, const char *name, const char *given, const char **url)
{
    const char *wrong = given ? read_secret(ctl->pool, given, url) : "it is missing";

    if (!wrong) {
        wrong = wrong_url(ctl->pool, *url);
    }
    if (wrong) {
        b24bgctl_fail(B24BGCTL_USAGE, "%s: %s", name, wrong);
    }
    return !wrong;
}

static int get_member_id(b24bgctl_t *ctl, b24bgctl_facts_t *facts)
{
    const char *given = ctl->options[B24BGCTL_PORTAL];
    char lower[B24BG_MEMBER_ID_LENGTH + 1];

    if (given && !b24bg_placement_member_id(given, lower)) {
        return b24bgctl_refuse(B24BGCTL_PORTAL, "a member_id of 32 hexadecimal digits is allowed");
    }
    facts->member_id = given ? apr_pstrdup(ctl->pool, lower) : facts->member_id;
    return 1;
}

static int get_domain(b24bgctl_t *ctl, b24bgctl_facts_t *facts)
{
    const char *given = ctl->options[B24BGCTL_DOMAIN];

    if (given && (*given == '*' || b24bg_value_pattern(ctl->pool, given, &facts->domain))) {
        return b24bgctl_refuse(B24BGCTL_DOMAIN,
                               "a host is allowed, as crm.example.com or crm.example.com:8080");
    }
    return 1;
}

static int get_auth_server(b24bgctl_t *ctl, b24bgctl_facts_t *facts)
{
    const char *given = ctl->options[B24BGCTL_AUTH_SERVER];
    const char *wrong;
    apr_size_t length;

    if (!given) {
        return 1;
    }
    wrong = wrong_url(ctl->pool, given);
    if (wrong) {
        return b24bgctl_refuse(B24BGCTL_AUTH_SERVER, wrong);
    }
    length = strlen(given);
    length -= given[length - 1] == '/';
    facts->server_endpoint =
        apr_pstrcat(ctl->pool, apr_pstrmemdup(ctl->pool, given, length), "/rest/", NULL);
    return 1;
}

static int get_variant(b24bgctl_t *ctl, b24bgctl_facts_t *facts)
{
    const char *given = ctl->options[B24BGCTL_VARIANT];

    if (!given) {
        return 1;
    }
    facts->variant = (char)apr_toupper(*given);
    return (facts->variant >= 'A' && facts->variant <= 'E' && !given[1]) ||
           b24bgctl_refuse(B24BGCTL_VARIANT, "A, B, C, D or E is allowed");
}

int b24bgctl_facts(b24bgctl_t *ctl, b24bgctl_facts_t *facts)
{
    b24bgctl_message_sample(facts, ctl->options[B24BGCTL_OLD] != NULL);
    facts->now = apr_time_now();
    if (ctl->options[B24BGCTL_URI]) {
        facts->uri = ctl->options[B24BGCTL_URI];
    }
    return get_member_id(ctl, facts) && get_domain(ctl, facts) && get_auth_server(ctl, facts) &&
           get_variant(ctl, facts) && get_token(ctl, B24BGCTL_TOKEN, &facts->application_token) &&
           get_token(ctl, B24BGCTL_ACCESS_TOKEN, &facts->access_token) &&
           get_token(ctl, B24BGCTL_REFRESH_TOKEN, &facts->refresh_token);
}
