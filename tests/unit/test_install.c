#include "unit.h"

#include "b24bg_form.h"
#include "b24bg_install.h"

#include <string.h>

#define MEMBER "da45a03b265edd8787f8a258d793cc5d"
#define EVENT_TAIL                                                                                 \
    "&data%5BVERSION%5D=1&ts=1761990000&auth%5Baccess_token%5D=acc&auth%5Brefresh_token%5D=ref"    \
    "&auth%5Bserver_endpoint%5D=https%3A%2F%2Foauth.bitrix.info%2Frest%2F&auth%5Bmember_id%5D="    \
    "DA45A03B265EDD8787F8A258D793CC5D&auth%5Bapplication_token%5D=app"
#define PAGE                                                                                       \
    "AUTH_ID=acc&AUTH_EXPIRES=3600&REFRESH_ID=ref&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info" \
    "%2Frest%2F&APPLICATION_TOKEN=app&member_id=" MEMBER "&status=L&PLACEMENT=DEFAULT"
#define UNINSTALL                                                                                  \
    "event=ONAPPUNINSTALL&data%5BCLEAN%5D=1&auth%5Bmember_id%5D=" MEMBER                           \
    "&auth%5Bapplication_token%5D=app"

static apr_table_t *fields_of(const char *text)
{
    b24bg_form_t form;
    char *copy = unit_copy(text, strlen(text), 1);

    assert_int_equal(B24BG_FORM_OK, b24bg_form_parse(unit_pool, copy, strlen(text),
                                                     B24BG_FORM_REFUSE_TWICE, &form));
    return form.fields;
}

static const struct good {
    const char *name;
    const char *text;
    b24bg_install_kind_e kind;
    const char *event;
    const char *access_token;
} good[] = {
    {"page", PAGE, B24BG_INSTALL_PAGE, "install", "acc"},
    {"install event", "event=ONAPPINSTALL" EVENT_TAIL, B24BG_INSTALL_EVENT, "install", "acc"},
    {"event in lower case", "event=onappinstall" EVENT_TAIL, B24BG_INSTALL_EVENT, "install", "acc"},
    {"update event", "event=ONAPPUPDATE" EVENT_TAIL, B24BG_INSTALL_UPDATE, "update", "acc"},
    {"uninstall event", UNINSTALL, B24BG_INSTALL_UNINSTALL, "uninstall", ""},
};

static void good_forms(void **state)
{
    const struct good *row = *state;
    b24bg_install_t install;
    const char *field;

    assert_int_equal(B24BG_REASON_ACCEPTED,
                     b24bg_install_read(unit_pool, fields_of(row->text), &install, &field));
    assert_int_equal(row->kind, install.kind);
    assert_string_equal(row->event, b24bg_install_event(install.kind));
    assert_string_equal(MEMBER, install.member_id);
    assert_string_equal(row->access_token, install.access_token);
    assert_string_equal("app", install.application_token);
}

/* What the journal keeps comes back as it was. */
static void journal_and_back(void **state)
{
    const struct good *row = *state;
    b24bg_install_t before;
    b24bg_install_t after;
    const char *field;
    const char *app;

    b24bg_install_read(unit_pool, fields_of(row->text), &before, &field);
    assert_int_equal(1, b24bg_install_decode(unit_pool,
                                             b24bg_install_encode(unit_pool, "telephony", &before),
                                             &app, &after));
    assert_string_equal("telephony", app);
    assert_int_equal(before.kind, after.kind);
    assert_string_equal(before.member_id, after.member_id);
    assert_string_equal(before.server_endpoint, after.server_endpoint);
    assert_string_equal(before.access_token, after.access_token);
    assert_string_equal(before.refresh_token, after.refresh_token);
    assert_string_equal(before.application_token, after.application_token);
}

static const struct refused {
    const char *name;
    const char *text;
    b24bg_reason_e reason;
    const char *field;
} refused[] = {
    {"nothing", "", B24BG_REASON_EVENT_MISSING, "event"},
    {"a worker's field alone", "PLACEMENT=DEFAULT", B24BG_REASON_EVENT_MISSING, "event"},
    {"no member_id", "AUTH_ID=a", B24BG_REASON_MEMBER_ID_MISSING, "member_id"},
    {"no member_id in an event", "event=ONAPPINSTALL&auth[access_token]=a",
     B24BG_REASON_MEMBER_ID_MISSING, "auth[member_id]"},
    {"bad member_id", "AUTH_ID=a&member_id=xyz", B24BG_REASON_MEMBER_ID_BAD, "member_id"},
    {"empty token", "AUTH_ID=&member_id=" MEMBER, B24BG_REASON_TOKEN_MISSING, "AUTH_ID"},
    {"blank in a token", "AUTH_ID=a+b&member_id=" MEMBER, B24BG_REASON_TOKEN_BAD, "AUTH_ID"},
    {"line end in a token", "AUTH_ID=a&REFRESH_ID=b%0A&member_id=" MEMBER, B24BG_REASON_TOKEN_BAD,
     "REFRESH_ID"},
    {"bytes above ASCII", "AUTH_ID=a%FF&member_id=" MEMBER, B24BG_REASON_TOKEN_BAD, "AUTH_ID"},
    {"uninstall without a token", "event=ONAPPUNINSTALL&auth[member_id]=" MEMBER,
     B24BG_REASON_TOKEN_MISSING, "auth[application_token]"},
};

static void refused_forms(void **state)
{
    const struct refused *row = *state;
    b24bg_install_t install;
    const char *field;

    assert_int_equal(row->reason,
                     b24bg_install_read(unit_pool, fields_of(row->text), &install, &field));
    assert_string_equal(row->field, field);
}

static void other_events_are_not_ours(void **state)
{
    b24bg_install_t install;
    const char *field;

    (void)state;
    assert_int_equal(
        B24BG_REASON_ACCEPTED,
        b24bg_install_read(unit_pool, fields_of("event=ONAPPPAYMENT"), &install, &field));
    assert_int_equal(B24BG_INSTALL_OTHER, install.kind);
}

static void token_length(void **state)
{
    char text[B24BG_INSTALL_TOKEN_MAX + 64] = "member_id=" MEMBER "&AUTH_ID=";
    apr_size_t start = strlen(text);
    b24bg_install_t install;
    const char *field;

    (void)state;
    memset(text + start, 'a', B24BG_INSTALL_TOKEN_MAX);
    assert_int_equal(B24BG_REASON_ACCEPTED,
                     b24bg_install_read(unit_pool, fields_of(text), &install, &field));
    text[start + B24BG_INSTALL_TOKEN_MAX] = 'a';
    assert_int_equal(B24BG_REASON_TOKEN_BAD,
                     b24bg_install_read(unit_pool, fields_of(text), &install, &field));
}

static const struct garbage {
    const char *name;
    const char *text;
} garbage[] = {{"empty", ""},
               {"no app", "kind=0&member_id=" MEMBER "&AUTH_ID=a"},
               {"no kind", "app=a&member_id=" MEMBER "&AUTH_ID=a"},
               {"kind beyond", "app=a&kind=4&member_id=" MEMBER "&AUTH_ID=a"},
               {"kind of two digits", "app=a&kind=00&member_id=" MEMBER "&AUTH_ID=a"},
               {"bad escape", "app=%zz"},
               {"app twice", "app=a&app=b&kind=0&member_id=" MEMBER "&AUTH_ID=a"}};

static void garbage_in_the_journal(void **state)
{
    const struct garbage *row = *state;
    b24bg_install_t install;
    const char *app;

    assert_int_equal(0, b24bg_install_decode(unit_pool, row->text, &app, &install));
}

int main(void)
{
    UNIT_ADD_ROWS(good_forms, good);
    UNIT_ADD_ROWS(journal_and_back, good);
    UNIT_ADD_ROWS(refused_forms, refused);
    UNIT_ADD(other_events_are_not_ours);
    UNIT_ADD(token_length);
    UNIT_ADD_ROWS(garbage_in_the_journal, garbage);
    return unit_run("install");
}
