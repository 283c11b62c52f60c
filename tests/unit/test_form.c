/* b24bg_form: protocol.md 1.2, 1.3, 1.5, 3.2; spec.md 4.1 and 4.2. */
#include "unit.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <string.h>

#define REFUSE B24BG_FORM_REFUSE_TWICE
#define LAST B24BG_FORM_LAST_WINS

/* The pairs as text: name=value, one a line. */
static const char *show(const apr_table_t *fields)
{
    const apr_array_header_t *list = apr_table_elts(fields);
    const char *shown = "";
    int i;

    for (i = 0; i < list->nelts; i++) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(list, i, apr_table_entry_t);
        shown = apr_pstrcat(unit_pool, shown, entry->key, "=", entry->val, "\n", NULL);
    }
    return shown;
}

/* Parses a copy that has exactly the one writable byte behind it that the contract asks for. */
static b24bg_form_result_e parse(const char *text, size_t length, b24bg_form_twice_e twice,
                                 b24bg_form_t *form)
{
    return b24bg_form_parse(unit_pool, unit_copy(text, length, 1), length, twice, form);
}

typedef struct {
    const char *name;
    const char *text;
    b24bg_form_twice_e twice;
    b24bg_form_result_e result;
    const char *expected; /* the pairs, or the culprit */
    size_t length;        /* 0: up to the NUL */
} row_t;

static const row_t rows[] = {
    {"nothing", "", REFUSE, B24BG_FORM_OK, "", 0},
    {"one pair", "a=1", REFUSE, B24BG_FORM_OK, "a=1\n", 0},
    {"order is kept", "b=2&a=1&c=3", REFUSE, B24BG_FORM_OK, "b=2\na=1\nc=3\n", 0},
    {"empty value", "a=&b=2", REFUSE, B24BG_FORM_OK, "a=\nb=2\n", 0},
    {"empty value at the end", "a=1&b=", REFUSE, B24BG_FORM_OK, "a=1\nb=\n", 0},
    {"name alone", "a&b=2", REFUSE, B24BG_FORM_OK, "a=\nb=2\n", 0},
    {"name alone at the end", "a=1&b", REFUSE, B24BG_FORM_OK, "a=1\nb=\n", 0},
    {"empty name", "=1&a=2", REFUSE, B24BG_FORM_OK, "=1\na=2\n", 0},
    {"equals sign in a value", "a=b=c", REFUSE, B24BG_FORM_OK, "a=b=c\n", 0},
    {"empty first pair", "&DOMAIN=x", LAST, B24BG_FORM_OK, "DOMAIN=x\n", 0},
    {"empty pairs everywhere", "&&a=1&&&b=2&&", REFUSE, B24BG_FORM_OK, "a=1\nb=2\n", 0},
    {"only empty pairs", "&&&", REFUSE, B24BG_FORM_OK, "", 0},
    {"plus is a blank", "a+b=c+d+", REFUSE, B24BG_FORM_OK, "a b=c d \n", 0},
    {"escapes in name and value", "%61%5Bb%5D=%3D%26%25%2B", REFUSE, B24BG_FORM_OK, "a[b]==&%+\n",
     0},
    {"lower-case escapes", "a=%2f%c3%a9", REFUSE, B24BG_FORM_OK, "a=/\xC3\xA9\n", 0},
    {"an escaped & does not end a pair", "a=1%26b=2", REFUSE, B24BG_FORM_OK, "a=1&b=2\n", 0},
    {"an escaped % is not decoded again", "a=%2541", REFUSE, B24BG_FORM_OK, "a=%41\n", 0},
    {"raw colon", "DOMAIN=portal.example.local:8080", LAST, B24BG_FORM_OK,
     "DOMAIN=portal.example.local:8080\n", 0},
    {"control characters are data", "a=%0D%0A%09", REFUSE, B24BG_FORM_OK, "a=\r\n\t\n", 0},
    {"bytes that are not UTF-8", "a=%FF%FE", REFUSE, B24BG_FORM_OK, "a=\xFF\xFE\n", 0},
    {"a semicolon separates nothing", "a=1;b=2", REFUSE, B24BG_FORM_OK, "a=1;b=2\n", 0},

    {"escape cut after %", "a=1&b=%", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"escape cut after one digit", "a=1&b=%4", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"escape cut by the next pair", "b=%4&c1=2", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"escape cut by the equals sign", "b%4=1", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"first digit bad", "b=%g1", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"second digit bad", "b=%1g", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"just below 0", "b=%/0", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"just above 9", "b=%:0", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"just below A", "b=%@0", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"a sign is no digit", "b=%-1", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"a blank is no digit", "b=%+1", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"control byte plus 0x20 is no digit", "b=%\x11\x11", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"%u is not known", "b=%u0041", REFUSE, B24BG_FORM_BAD_ESCAPE, "b", 0},
    {"bad escape in a name", "good=1&bad%zz=1", REFUSE, B24BG_FORM_BAD_ESCAPE, "bad", 0},
    {"bad escape in a query", "DOMAIN=%", LAST, B24BG_FORM_BAD_ESCAPE, "DOMAIN", 0},
    {"escapes end at the given length", "a=%41", REFUSE, B24BG_FORM_BAD_ESCAPE, "a", 4},
    {"culprit is cleaned", "x%0D%0A%22y=%", REFUSE, B24BG_FORM_BAD_ESCAPE, "a field", 0},
    {"culprit is cut", "0123456789012345678901234567890123456789012345678901234567890123456789=%",
     REFUSE, B24BG_FORM_BAD_ESCAPE, "a field", 0},
    {"culprit is no token", "ec1b2074a9d3f5c81b6e40d27a95cf38=%", REFUSE, B24BG_FORM_BAD_ESCAPE,
     "a field", 0},
    {"longest name shown", "auth[application_token]=%", REFUSE, B24BG_FORM_BAD_ESCAPE,
     "auth[application_token]", 0},

    {"raw NUL in a value", "a=1\0002", REFUSE, B24BG_FORM_NUL, "a", 5},
    {"raw NUL in a name", "a\0b=1", REFUSE, B24BG_FORM_NUL, "a", 5},
    {"escaped NUL in a value", "a=1%002", REFUSE, B24BG_FORM_NUL, "a", 0},
    {"escaped NUL in a name", "%00a=1", REFUSE, B24BG_FORM_NUL, "a field", 0},
    {"NUL in a query", "DOMAIN=a%00.b", LAST, B24BG_FORM_NUL, "DOMAIN", 0},

    {"twice", "a=1&b=2&a=3", REFUSE, B24BG_FORM_TWICE, "a", 0},
    {"twice with the same value", "a=1&a=1", REFUSE, B24BG_FORM_TWICE, "a", 0},
    {"twice, once escaped", "member_id=1&member%5Fid=2", REFUSE, B24BG_FORM_TWICE, "member_id", 0},
    {"twice without a name", "=1&=2", REFUSE, B24BG_FORM_TWICE, "a field", 0},
    {"twice without a value", "a&a", REFUSE, B24BG_FORM_TWICE, "a", 0},
    {"case makes another name", "member_id=1&MEMBER_ID=2", REFUSE, B24BG_FORM_OK,
     "member_id=1\nMEMBER_ID=2\n", 0},
    {"last wins, the first's place", "DOMAIN=evil&LANG=en&DOMAIN=good", LAST, B24BG_FORM_OK,
     "DOMAIN=good\nLANG=en\n", 0},
    {"last wins, even if empty", "DOMAIN=evil&DOMAIN", LAST, B24BG_FORM_OK, "DOMAIN=\n", 0},
    {"last wins, case heeded", "DOMAIN=a&domain=b", LAST, B24BG_FORM_OK, "DOMAIN=a\ndomain=b\n", 0},
};

static void test_parse(void **state)
{
    const row_t *row = *state;
    b24bg_form_t form = {NULL, "untouched"};
    size_t length = row->length ? row->length : strlen(row->text);

    assert_int_equal(parse(row->text, length, row->twice, &form), row->result);
    if (row->result == B24BG_FORM_OK) {
        assert_string_equal(show(form.fields), row->expected);
        assert_null(form.culprit);
    } else {
        assert_non_null(form.fields); /* what stands in front of the fault */
        assert_string_equal(form.culprit, row->expected);
    }
}

/* The samples of protocol.md 1.5 and 3.2, byte for byte. */
#define AUTH                                                                                       \
    "AUTH_ID=4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60&AUTH_EXPIRES=3600"   \
    "&REFRESH_ID=31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
#define ENDPOINT                                                                                   \
    "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"                                   \
    "&APPLICATION_TOKEN=ec1b2074a9d3f5c81b6e40d27a95cf38&APPLICATION_SCOPE=placement"
#define REST                                                                                       \
    "&member_id=da45a03b265edd8787f8a258d793cc5d&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER"        \
    "&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22URI%22%3A%22"              \
    "%5C%2Fcompany%5C%2Fpersonal%5C%2Fuser%5C%2F1%5C%2Fblog%5C%2F%22%7D"
#define NOTICE                                                                                     \
    "error=ERROR_PLACEMENT_LOADING_OVERTIME&error_description=Worker+switched+off%3A+it+loaded+"   \
    "for+over+5+seconds+more+than+10+times"
#define CONTEXT                                                                                    \
    "&ts=1761990000&auth%5Bdomain%5D=xxx.bitrix24.com"                                             \
    "&auth%5Bclient_endpoint%5D=https%3A%2F%2Fxxx.bitrix24.com%2Frest%2F"                          \
    "&auth%5Bserver_endpoint%5D=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"                         \
    "&auth%5Bmember_id%5D=da45a03b265edd8787f8a258d793cc5d"

typedef struct {
    const char *name;
    const char *text;
    size_t length;
    int fields;
    const char *field;
    const char *value;
} golden_t;

static const golden_t golden[] = {
    {"V1 new body", AUTH ENDPOINT REST, 533, 10, "PLACEMENT_OPTIONS",
     "{\"ID\":\"PAGE_BACKGROUND_WORKER\",\"URI\":\"\\/company\\/personal\\/user\\/1\\/blog\\/\"}"},
    {"V1 endpoint", AUTH ENDPOINT REST, 533, 10, "SERVER_ENDPOINT",
     "https://oauth.bitrix.info/rest/"},
    {"V2 old body", AUTH REST, 396, 7, "member_id", "da45a03b265edd8787f8a258d793cc5d"},
    {"V5 notice A", NOTICE, 127, 2, "error_description",
     "Worker switched off: it loaded for over 5 seconds more than 10 times"},
    {"V5 notice B", NOTICE CONTEXT, 363, 7, "auth[member_id]", "da45a03b265edd8787f8a258d793cc5d"},
};

static void test_golden(void **state)
{
    const golden_t *row = *state;
    b24bg_form_t form;

    assert_int_equal(strlen(row->text), row->length);
    assert_int_equal(parse(row->text, row->length, REFUSE, &form), B24BG_FORM_OK);
    assert_int_equal(apr_table_elts(form.fields)->nelts, row->fields);
    assert_string_equal(b24bg_form_get(form.fields, row->field), row->value);
}

/* `count` pairs f0=0&f1=1... */
static const char *many(int count)
{
    const char *text = "";
    int i;

    for (i = 0; i < count; i++) {
        text = apr_psprintf(unit_pool, "%s%sf%d=%d", text, i ? "&" : "", i, i);
    }
    return text;
}

static void test_field_bound(void **state)
{
    const char *most = many(B24BG_FORM_FIELDS_MAX);
    const char *over = many(B24BG_FORM_FIELDS_MAX + 1);
    b24bg_form_t form;

    (void)state;
    assert_int_equal(parse(most, strlen(most), REFUSE, &form), B24BG_FORM_OK);
    assert_int_equal(apr_table_elts(form.fields)->nelts, B24BG_FORM_FIELDS_MAX);
    assert_string_equal(b24bg_form_get(form.fields, "f63"), "63");
    assert_int_equal(parse(over, strlen(over), REFUSE, &form), B24BG_FORM_TOO_MANY);
    assert_string_equal(form.culprit, "f64");
    assert_int_equal(parse(over, strlen(over), LAST, &form), B24BG_FORM_TOO_MANY);
}

/* A field that stands twice does not take a second place where the last one wins. */
static void test_field_bound_last_wins(void **state)
{
    const char *text =
        apr_pstrcat(unit_pool, many(B24BG_FORM_FIELDS_MAX), "&f0=again&&f1=too", NULL);
    b24bg_form_t form;

    (void)state;
    assert_int_equal(parse(text, strlen(text), LAST, &form), B24BG_FORM_OK);
    assert_int_equal(apr_table_elts(form.fields)->nelts, B24BG_FORM_FIELDS_MAX);
    assert_string_equal(b24bg_form_get(form.fields, "f0"), "again");
    assert_string_equal(b24bg_form_get(form.fields, "f1"), "too");
    assert_int_equal(parse(text, strlen(text), REFUSE, &form), B24BG_FORM_TWICE);
}

static void test_get(void **state)
{
    b24bg_form_t form;

    (void)state;
    assert_int_equal(parse("member_id=1&=2&status", 21, REFUSE, &form), B24BG_FORM_OK);
    assert_string_equal(b24bg_form_get(form.fields, "member_id"), "1");
    assert_string_equal(b24bg_form_get(form.fields, ""), "2");
    assert_string_equal(b24bg_form_get(form.fields, "status"), "");
    assert_null(b24bg_form_get(form.fields, "MEMBER_ID"));
    assert_null(b24bg_form_get(form.fields, "member_i"));
    assert_null(b24bg_form_get(form.fields, "member_id2"));
    assert_null(b24bg_form_get(apr_table_make(unit_pool, 1), "member_id"));
}

/* Every byte, plain or escaped, in any order, comes back as it went in. */
static void test_round_trip(void **state)
{
    int round;

    (void)state;
    for (round = 0; round < 300; round++) {
        char text[2048];
        char expected[1024];
        size_t length = 0;
        size_t wanted = 0;
        int pairs = (int)unit_random(12);
        b24bg_form_t form;
        int i;

        for (i = 0; i < pairs; i++) {
            size_t value = unit_random(20);
            length += (size_t)apr_snprintf(text + length, 8, "%sk%d=", i ? "&" : "", i);
            wanted += (size_t)apr_snprintf(expected + wanted, 8, "k%d=", i);
            while (value--) {
                unsigned char c = (unsigned char)(1 + unit_random(255));
                int plain = !strchr("%&+", c) && unit_random(2);
                length += (size_t)apr_snprintf(text + length, 4, plain ? "%c" : "%%%02x", c);
                expected[wanted++] = (char)c;
            }
            expected[wanted++] = '\n';
        }
        expected[wanted] = '\0';
        assert_int_equal(parse(text, length, REFUSE, &form), B24BG_FORM_OK);
        assert_string_equal(show(form.fields), expected);
    }
}

typedef struct {
    const char *name;
    const char *text;
    apr_size_t longest;
    const char *expected;
} clean_t;

static const clean_t clean_rows[] = {
    {"plain", "plain text, as it was", 100, "plain text, as it was"},
    {"nothing", "", 100, ""},
    {"line ends", "a\r\nb\tc", 100, "a  b c"},
    {"all of C0 and DEL", "\x01\x1F\x7F\x20", 100, "    "},
    {"escape sequences", "\x1B[31mred", 100, " [31mred"},
    {"double quotes", "say \"x\"", 100, "say 'x'"},
    {"single quotes stay", "it's", 100, "it's"},
    {"first of C1", "a\xC2\x80z", 100, "a  z"},
    {"CSI of C1",
     "a\xC2\x9B"
     "31m",
     100, "a  31m"},
    {"last of C1", "a\xC2\x9Fz", 100, "a  z"},
    {"behind C1: no-break space stays", "a\xC2\xA0z", 100, "a\xC2\xA0z"},
    {"C2 at the end", "a\xC2", 100, "a\xC2"},
    {"C1 bytes inside longer characters stay", "\xD0\x9F\xE2\x82\xAC", 100, "\xD0\x9F\xE2\x82\xAC"},
    {"C1 twice", "\xC2\x85\xC2\x85", 100, "    "},
    {"cut at ASCII", "abcdef", 3, "abc"},
    {"not cut at its length", "abc", 3, "abc"},
    {"cut to nothing", "abc", 0, ""},
    {"cut before a two-byte character", "ab\xD0\x9Fz", 3, "ab"},
    {"cut behind a two-byte character", "ab\xD0\x9Fz", 4, "ab\xD0\x9F"},
    {"cut at byte 2 of three", "\xE2\x82\xAC\xE2\x82\xAC", 4, "\xE2\x82\xAC"},
    {"cut at byte 3 of three", "\xE2\x82\xAC\xE2\x82\xAC", 5, "\xE2\x82\xAC"},
    {"cut at byte 4 of four", "a\xF0\x9F\x98\x80", 4, "a"},
    {"first character does not fit", "\xF0\x9F\x98\x80", 3, ""},
    {"C1 is cut as a whole", "ab\xC2\x9B", 3, "ab"},
    {"invalid UTF-8 does not vanish", "\x80\x80\x80\x80\x80\x80\x80\x80", 6,
     "\x80\x80\x80\x80\x80\x80"},
};

static void test_clean(void **state)
{
    const clean_t *row = *state;
    char *text = unit_copy(row->text, strlen(row->text) + 1, 0);
    const char *clean = b24bg_form_clean(unit_pool, text, row->longest);

    assert_string_equal(text, row->text);
    assert_string_equal(clean, row->expected);
}

typedef struct {
    const char *name;
    const char *text;
    int length; /* 0: none */
    int is_control;
} character_t;

static const character_t characters[] = {
    {"the end", "", 0, 1},
    {"first of C0", "\x01", 1, 1},
    {"last of C0", "\x1F", 1, 1},
    {"blank", " ", 1, 0},
    {"letter", "ab", 1, 0},
    {"last but DEL", "~", 1, 0},
    {"DEL", "\x7F", 1, 1},
    {"first of C1", "\xC2\x80", 2, 1},
    {"last of C1", "\xC2\x9F", 2, 1},
    {"no-break space", "\xC2\xA0", 2, 0},
    {"last of two bytes", "\xDF\xBFz", 2, 0},
    {"first of three bytes", "\xE0\xA0\x80", 3, 0},
    {"euro", "\xE2\x82\xAC", 3, 0},
    {"last before the surrogates", "\xED\x9F\xBF", 3, 0},
    {"first behind the surrogates", "\xEE\x80\x80", 3, 0},
    {"last of three bytes", "\xEF\xBF\xBF", 3, 0},
    {"first of four bytes", "\xF0\x90\x80\x80", 4, 0},
    {"last of all", "\xF4\x8F\xBF\xBF", 4, 0},
    {"continuation alone", "\x80", 0, 0},
    {"overlong in two", "\xC1\xBF", 0, 0},
    {"overlong in three", "\xE0\x9F\xBF", 0, 0},
    {"overlong in four", "\xF0\x8F\xBF\xBF", 0, 0},
    {"surrogate", "\xED\xA0\x80", 0, 0},
    {"beyond the last", "\xF4\x90\x80\x80", 0, 0},
    {"never a first byte", "\xFF", 0, 0},
    {"two bytes, cut", "\xD0", 0, 0},
    {"three bytes, cut", "\xE2\x82", 0, 0},
    {"four bytes, cut", "\xF0\x9F\x98", 0, 0},
    {"Latin-1", "\xE9t\xE9", 0, 0},
};

static void test_character(void **state)
{
    const character_t *row = *state;
    const char *text = unit_copy(row->text, strlen(row->text) + 1, 0);

    assert_int_equal(b24bg_form_character(text), row->length);
    assert_int_equal(b24bg_form_is_control(text), row->is_control);
}

typedef struct {
    const char *name;
    const char *text;
    const char *expected;
} hide_t;

static const hide_t hide_rows[] = {
    {"alone", "APP_SID=secret", "APP_SID=-"},
    {"last", "DOMAIN=x&APP_SID=secret", "DOMAIN=x&APP_SID=-"},
    {"first", "APP_SID=secret&DOMAIN=x", "APP_SID=-&DOMAIN=x"},
    {"one byte", "APP_SID=s&DOMAIN=x", "APP_SID=-&DOMAIN=x"},
    {"empty", "APP_SID=&DOMAIN=x", "APP_SID=&DOMAIN=x"},
    {"empty at the end", "APP_SID=", "APP_SID="},
    {"without a value", "APP_SID&DOMAIN=x", "APP_SID&DOMAIN=x"},
    {"without a value at the end", "DOMAIN=x&APP_SID", "DOMAIN=x&APP_SID"},
    {"twice", "APP_SID=one&a=b&APP_SID=two", "APP_SID=-&a=b&APP_SID=-"},
    {"side by side", "APP_SID=one&APP_SID=two", "APP_SID=-&APP_SID=-"},
    {"behind an empty pair", "&APP_SID=secret", "&APP_SID=-"},
    {"in front of an empty pair", "APP_SID=secret&", "APP_SID=-&"},
    {"escaped name", "%41PP%5FSID=secret", "%41PP%5FSID=-"},
    {"token of a notice", "auth%5Bapplication_token%5D=t&auth[domain]=d",
     "auth%5Bapplication_token%5D=-&auth[domain]=d"},
    {"tokens of a page", "AUTH_ID=a&REFRESH_ID=b&APPLICATION_TOKEN=c",
     "AUTH_ID=-&REFRESH_ID=-&APPLICATION_TOKEN=-"},
    {"broken escape in the name", "APP_SID%=x", "APP_SID%=x"},
    {"very long name",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=x",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=x"},
    {"value with an equals sign", "APP_SID=a=b=c&d=e", "APP_SID=-&d=e"},
    {"value that is the name", "APP_SID=APP_SID=APP_SID&a=b", "APP_SID=-&a=b"},
    {"value of another field", "a=APP_SID=x", "a=APP_SID=x"},
    {"longer name", "APP_SIDE=public&XAPP_SID=public", "APP_SIDE=public&XAPP_SID=public"},
    {"other case", "app_sid=secret", "app_sid=-"},
    {"nothing", "", ""},
    {"other fields", "DOMAIN=x&LANG=en", "DOMAIN=x&LANG=en"},
};

static void test_hide(void **state)
{
    const hide_t *row = *state;
    char *text = unit_copy(row->text, strlen(row->text) + 1, 0);

    b24bg_form_hide(text);
    assert_string_equal(text, row->expected);
    b24bg_form_hide(text);
    assert_string_equal(text, row->expected);
}

int main(void)
{
    UNIT_ADD_ROWS(test_parse, rows);
    UNIT_ADD_ROWS(test_golden, golden);
    UNIT_ADD(test_field_bound);
    UNIT_ADD(test_field_bound_last_wins);
    UNIT_ADD(test_get);
    UNIT_ADD(test_round_trip);
    UNIT_ADD_ROWS(test_character, characters);
    UNIT_ADD_ROWS(test_clean, clean_rows);
    UNIT_ADD_ROWS(test_hide, hide_rows);
    return unit_run("form");
}
