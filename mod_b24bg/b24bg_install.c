#include "b24bg_install.h"

#include "b24bg_form.h"

#include <apr_cstr.h>
#include <apr_escape.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

/* Where the two forms keep the same thing. */
typedef struct {
    const char *member_id;
    const char *server_endpoint;
    const char *access_token;
    const char *refresh_token;
    const char *application_token;
} names_t;

static const names_t page_names = {"member_id", "SERVER_ENDPOINT", "AUTH_ID", "REFRESH_ID",
                                   "APPLICATION_TOKEN"};
static const names_t event_names = {"auth[member_id]", "auth[server_endpoint]",
                                    "auth[access_token]", "auth[refresh_token]",
                                    "auth[application_token]"};
/* In the journal the names are those of the page, with these two in front. */
#define APP "app"
#define KIND "kind"

static const struct {
    const char *event; /* NULL: a page */
    b24bg_install_kind_e kind;
    const char *word;
} kinds[] = {{NULL, B24BG_INSTALL_PAGE, "install"},
             {"ONAPPINSTALL", B24BG_INSTALL_EVENT, "install"},
             {"ONAPPUPDATE", B24BG_INSTALL_UPDATE, "update"},
             {"ONAPPUNINSTALL", B24BG_INSTALL_UNINSTALL, "uninstall"}};

const char *b24bg_install_event(b24bg_install_kind_e kind)
{
    return kinds[kind].word;
}

/* OTHER for an unknown event; -1 if this is no installation at all. */
static int kind_of(const apr_table_t *body)
{
    const char *event = b24bg_form_get(body, "event");
    apr_size_t i;

    if (!event) {
        return b24bg_form_get(body, page_names.access_token) ? B24BG_INSTALL_PAGE : -1;
    }
    for (i = 1; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (apr_cstr_casecmp(event, kinds[i].event) == 0) {
            return kinds[i].kind;
        }
    }
    return B24BG_INSTALL_OTHER;
}

static const char *field_or_empty(const apr_table_t *body, const char *name)
{
    const char *value = b24bg_form_get(body, name);

    return value ? value : "";
}

static int is_token(const char *text)
{
    apr_size_t length = strlen(text);
    apr_size_t i;

    for (i = 0; i < length; i++) {
        if (!apr_isgraph(text[i])) {
            return 0;
        }
    }
    return length <= B24BG_INSTALL_TOKEN_MAX;
}

static b24bg_reason_e check_token(const char *text, int needed, const char *name,
                                  const char **field)
{
    *field = name;
    if (needed && !*text) {
        return B24BG_REASON_TOKEN_MISSING;
    }
    return is_token(text) ? B24BG_REASON_ACCEPTED : B24BG_REASON_TOKEN_BAD;
}

static b24bg_reason_e check_tokens(const names_t *names, const b24bg_install_t *install,
                                   const char **field)
{
    int uninstall = install->kind == B24BG_INSTALL_UNINSTALL;
    b24bg_reason_e reason =
        check_token(install->access_token, !uninstall, names->access_token, field);

    if (reason == B24BG_REASON_ACCEPTED) {
        reason = check_token(install->refresh_token, 0, names->refresh_token, field);
    }
    if (reason == B24BG_REASON_ACCEPTED) {
        reason =
            check_token(install->application_token, uninstall, names->application_token, field);
    }
    if (reason == B24BG_REASON_ACCEPTED) {
        reason = check_token(install->server_endpoint, 0, names->server_endpoint, field);
    }
    return reason;
}

static b24bg_reason_e read_fields(apr_pool_t *pool, const apr_table_t *body, const names_t *names,
                                  b24bg_install_t *install, const char **field)
{
    char *member_id = apr_palloc(pool, B24BG_MEMBER_ID_LENGTH + 1);
    const char *claimed = b24bg_form_get(body, names->member_id);

    *field = names->member_id;
    if (!claimed) {
        return B24BG_REASON_MEMBER_ID_MISSING;
    }
    if (!b24bg_placement_member_id(claimed, member_id)) {
        return B24BG_REASON_MEMBER_ID_BAD;
    }
    install->member_id = member_id;
    install->server_endpoint = field_or_empty(body, names->server_endpoint);
    install->access_token = field_or_empty(body, names->access_token);
    install->refresh_token = field_or_empty(body, names->refresh_token);
    install->application_token = field_or_empty(body, names->application_token);
    return check_tokens(names, install, field);
}

b24bg_reason_e b24bg_install_read(apr_pool_t *pool, const apr_table_t *body,
                                  b24bg_install_t *install, const char **field)
{
    int kind = kind_of(body);

    *field = "event";
    if (kind < 0) {
        return B24BG_REASON_EVENT_MISSING;
    }
    install->kind = (b24bg_install_kind_e)kind;
    if (kind == B24BG_INSTALL_OTHER) {
        return B24BG_REASON_ACCEPTED;
    }
    return read_fields(pool, body, kind == B24BG_INSTALL_PAGE ? &page_names : &event_names, install,
                       field);
}

char *b24bg_install_encode(apr_pool_t *pool, const char *app, const b24bg_install_t *install)
{
    return apr_psprintf(
        pool, APP "=%s&" KIND "=%d&%s=%s&%s=%s&%s=%s&%s=%s&%s=%s", app, (int)install->kind,
        page_names.member_id, install->member_id, page_names.server_endpoint,
        apr_pescape_urlencoded(pool, install->server_endpoint), page_names.access_token,
        apr_pescape_urlencoded(pool, install->access_token), page_names.refresh_token,
        apr_pescape_urlencoded(pool, install->refresh_token), page_names.application_token,
        apr_pescape_urlencoded(pool, install->application_token));
}

int b24bg_install_decode(apr_pool_t *pool, const char *text, const char **app,
                         b24bg_install_t *install)
{
    b24bg_form_t form;
    const char *kind;

    if (b24bg_form_parse(pool, apr_pstrdup(pool, text), strlen(text), B24BG_FORM_REFUSE_TWICE,
                         &form) != B24BG_FORM_OK) {
        return 0;
    }
    *app = b24bg_form_get(form.fields, APP);
    kind = b24bg_form_get(form.fields, KIND);
    if (!*app || !kind || !apr_isdigit(*kind) || kind[1] || *kind - '0' >= B24BG_INSTALL_OTHER) {
        return 0;
    }
    install->kind = (b24bg_install_kind_e)(*kind - '0');
    return read_fields(pool, form.fields, &page_names, install, &form.culprit) ==
           B24BG_REASON_ACCEPTED;
}
