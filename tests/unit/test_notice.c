/* b24bg_notice: protocol.md 3.2 and 3.3; spec.md 4.2. */
#include "unit.h"

#include "b24bg_form.h"
#include "b24bg_install.h"
#include "b24bg_notice.h"

#include <apr_strings.h>

#include <string.h>

#define OVERTIME "ERROR_PLACEMENT_LOADING_OVERTIME"
#define DESCRIPTION "Worker switched off: it loaded for over 5 seconds more than 10 times"
#define NOTICE_A                                                                                   \
    "error=" OVERTIME "&error_description=Worker+switched+off%3A+it+loaded+for+over+5+seconds"     \
    "+more+than+10+times"
#define NOTICE_B                                                                                   \
    NOTICE_A                                                                                       \
    "&ts=1761990000&auth%5Bdomain%5D=xxx.bitrix24.com"                                             \
    "&auth%5Bclient_endpoint%5D=https%3A%2F%2Fxxx.bitrix24.com%2Frest%2F"                          \
    "&auth%5Bserver_endpoint%5D=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"                         \
    "&auth%5Bmember_id%5D=da45a03b265edd8787f8a258d793cc5d"
#define NOTICE_C NOTICE_B "&auth%5Bapplication_token%5D=ec1b2074a9d3f5c81b6e40d27a95cf38"
#define NOTICE_E "{\"error\": \"" OVERTIME "\", \"error_description\": \"" DESCRIPTION "\"}"

/* Keys */

#define KEY "0123456789abcdef0123456789abcdef"
/* printf 0123456789abcdef0123456789abcdef | sha1sum */
#define HASH "b1775a785f09a6ebaf2dc33d6eaeb98974d9cdb8"

static const struct key {
    const char *name;
    const char *path;
    int is_key;
} keys[] = {
    {"as registered", "/b24/error/" KEY, 1},
    {"at the root", "/" KEY, 1},
    {"deep", "/a/b/c/d/" KEY, 1},
    {"upper case", "/b24/error/0123456789ABCDEF0123456789abcdef", 1},
    {"behind another one", "/b24/error/ffffffffffffffffffffffffffffffff/" KEY, 1},
    {"none", "/b24/error", 0},
    {"empty", "/b24/error/", 0},
    {"no path", "", 0},
    {"no slash", KEY, 0},
    {"slash behind", "/b24/error/" KEY "/", 0},
    {"a digit too few", "/b24/error/0123456789abcdef0123456789abcde", 0},
    {"a digit too many", "/b24/error/" KEY "0", 0},
    {"no digit at the start", "/b24/error/g123456789abcdef0123456789abcdef", 0},
    {"no digit at the end", "/b24/error/0123456789abcdef0123456789abcdeg", 0},
    {"a parameter behind", "/b24/error/" KEY ";x=1", 0},
    {"a query behind", "/b24/error/" KEY "?x=1", 0},
};

static void key_of_a_path(void **state)
{
    const struct key *row = *state;
    char hash[B24BG_KEY_HASH_LENGTH + 1] = "";
    const char *path = unit_copy(row->path, strlen(row->path) + 1, 0);

    assert_int_equal(row->is_key, b24bg_notice_key(path, hash));
    assert_string_equal(row->is_key ? HASH : "", hash);
}

/* Reading */

typedef struct {
    const char *name;
    const char *body;
    const char *query;
    const char *error;
    const char *description;
    int cut;
} row_t;

static const row_t rows[] = {
    {"A", NOTICE_A, "", OVERTIME, DESCRIPTION, 0},
    {"B", NOTICE_B, "", OVERTIME, DESCRIPTION, 0},
    {"C", NOTICE_C, "", OVERTIME, DESCRIPTION, 0},
    {"D of A", "", NOTICE_A, OVERTIME, DESCRIPTION, 0},
    {"D of C", "", NOTICE_C, OVERTIME, DESCRIPTION, 0},
    {"E", NOTICE_E, "", OVERTIME, DESCRIPTION, 0},
    {"E behind a byte order mark", "\xEF\xBB\xBF \r\n" NOTICE_E, "", OVERTIME, DESCRIPTION, 0},
    {"E with escapes", "{\"error\":\"\\u0041\",\"error_description\":\"\\u0436\"}", "", "A",
     "\xD0\xB6", 0},
    {"behind other pairs", "ts=1&&" NOTICE_A, "", OVERTIME, DESCRIPTION, 0},
    {"in front of a fault", NOTICE_A "&x=%", "", OVERTIME, DESCRIPTION, 0},
    {"a fault in the description", "error=A&error_description=%ZZ", "", "A", "", 0},
    {"a fault in the query", "error=A", "x=%ZZ", "A", "", 0},
    {"a fault in the body", "x=%ZZ", "error=A", "A", "", 0},
    {"broken JSON and a query", "{\"error\":\"B\"", "error=A", "A", "", 0},
    {"twice, the last one", "error=A&error=B", "", "B", "", 0},
    {"body before query", "error=A&error_description=a", "error=B&error_description=b", "A", "a",
     0},
    {"no description from elsewhere", "error=A", "error=B&error_description=b", "A", "", 0},
    {"an empty code is none", "error=", "error=B", "B", "", 0},
    {"cut in a pair", "error=A&error_description=a&x=1%4", "", "A", "a", 1},
    {"cut in the description", "error=A&error_description=abc", "", "A", "abc", 1},
    {"cut in an escape", "error=A&error_description=ab%2", "", "A", "ab", 1},
    {"cut behind a %", "error=A&error_description=ab%", "", "A", "ab", 1},
    {"cut in front of the code", "error_description=abc", "", "-", "abc", 1},
    {"cut in the code behind a description", "error_description=abc&error=A", "", "-", "abc", 1},
    {"NULs", "error=A&error_description=a%00b%2500&x=%00", "", "A", "a b%00", 0},
    {"JSON with NULs", "{\"error\":\"A\",\"error_description\":\"a\\u0000b\"}", "", "A", "a b", 0},
    {"JSON with a NUL in its code", "{\"error\":\"X\\u0000\"}", "", "X_", "", 0},
    {"JSON cut in its description", "{\"a\":[\"{\"],\"error\":\"A\",\"error_description\":\"a b",
     "", "A", "a b", 1},
    {"JSON cut in an escape", "{\"error\":\"A\",\"error_description\":\"a\\\"b\\", "", "A", "a'b",
     1},
    {"JSON cut in a long escape", "{\"error\":\"A\",\"error_description\":\"a\\u04", "", "A", "a",
     1},
    {"JSON cut between surrogates", "{\"error\":\"A\",\"error_description\":\"a\\ud83d\\ude", "",
     "A", "a", 1},
    {"JSON cut behind a surrogate", "{\"error\":\"A\",\"error_description\":\"a\\ud83d", "", "A",
     "a", 1},
    {"JSON cut in a character", "{\"error\":\"A\",\"error_description\":\"a\xE2\x82", "", "A", "a",
     1},
    {"JSON cut elsewhere", "{\"error\":\"A\",\"error_description\":\"a\",\"auth\":{\"x\":\"y", "",
     "A", "a", 1},
    {"JSON cut in front of the code", "{\"error_description\":\"a", "", "-", "a", 1},
    {"JSON cut in the code", "{\"error_description\":\"a\",\"error\":\"A", "", "-", "a", 1},
    {"JSON cut behind its end", "{\"error\":\"A\",\"error_description\":\"a\"}  ", "", "A", "a", 1},
    {"cut behind a pair", "error=A&", "", "A", "", 1},
    {"cut in the code", "error=A", "error=B", "B", "", 1},

    {"one word", "error=a+b%0A%22c%22%3D%C3%A9x", "", "a_b__c____x", "", 0},
    {"marks of a word", "error=A_b.C-9", "", "A_b.C-9", "", 0},
    {"controls and quotes", "error=A&error_description=a%0D%0Ab%1B%7F%22c%22%C2%85.", "", "A",
     "a  b  'c'  .", 0},
    {"windows-1251", "error=A&error_description=%C2%E8%E4%E6%E5%F2", "", "A", "??????", 0},
    {"surrogate, overlong, too large",
     "error=A&error_description=%ED%A0%80+%C0%AF+%E0%80%80+%F4%90%80%80+%F5", "", "A",
     "??? ?? ??? ???? ?", 0},
    {"all lengths of UTF-8", "error=A&error_description=%7E%C3%BF%E2%82%AC%ED%9F%BF%F0%9F%98%80",
     "", "A", "~\xC3\xBF\xE2\x82\xAC\xED\x9F\xBF\xF0\x9F\x98\x80", 0},
};

static int read_notice(const char *body, const char *query, int cut, b24bg_notice_t *notice)
{
    b24bg_notice_text_t text = {unit_copy(body, strlen(body) + 1, 0), strlen(body), cut};

    return b24bg_notice_read(unit_pool, &text, unit_copy(query, strlen(query) + 1, 0), notice);
}

static void variants(void **state)
{
    const row_t *row = *state;
    b24bg_notice_t notice;

    assert_int_equal(1, read_notice(row->body, row->query, row->cut, &notice));
    assert_string_equal(row->error, notice.error);
    assert_string_equal(row->description, notice.description);
}

static const struct nothing {
    const char *name;
    const char *body;
    const char *query;
    int cut;
} nothing[] = {
    {"nothing", "", "", 0},
    {"blanks", " \r\n", "", 0},
    {"other fields of a query", "", "x=1", 0},
};

static void no_notice(void **state)
{
    const struct nothing *row = *state;
    b24bg_notice_t notice;

    assert_int_equal(1, read_notice(row->body, row->query, row->cut, &notice));
    assert_null(notice.error);
    assert_string_equal("", notice.description);
}

static const struct unreadable {
    const char *name;
    const char *body;
    const char *query;
} unreadable[] = {
    {"bad escape", "error_description=%ZZ", ""},
    {"bad escape in the code", "error=%ZZ", ""},
    {"NUL", "x=%00", ""},
    {"bad query", "", "x=%"},
    {"JSON cut", "{\"error\":\"X\"", ""},
    {"JSON with bytes behind it", "{\"error\":\"X\"}}", ""},
    {"other fields", "ts=1&auth[domain]=x", "x=1"},
    {"names that differ in case", "Error=1&ERROR=2&error_description=x", ""},
    {"text", "hello", ""},
    {"a list", "[{\"error\":\"X\"}]", ""},
    {"parts", "--b\r\nContent-Disposition: form-data; name=\"error\"\r\n\r\nX\r\n--b--\r\n", ""},
    {"empty code in JSON", "{\"error\":\"\"}", ""},
    {"an object for a code", "{\"error\":{\"a\":1}}", ""},
    {"JSON that is no UTF-8", "{\"error\":\"\xFF\"}", ""},
};

static void no_code_in_a_body(void **state)
{
    const struct unreadable *row = *state;
    b24bg_notice_t notice;

    assert_int_equal(0, read_notice(row->body, row->query, 0, &notice));
    assert_null(notice.error);
    assert_string_equal("", notice.description);
}

static void cut_in_the_only_pair(void **state)
{
    b24bg_notice_t notice;

    (void)state;
    assert_int_equal(0, read_notice("error=A", "", 1, &notice));
    assert_int_equal(0, read_notice("{\"error\":\"A", "", 1, &notice));
    assert_int_equal(0, read_notice("{", "", 1, &notice));
}

/* json_loads would stop at it. */
static void raw_nul_behind_json(void **state)
{
    static const char body[] = "{\"error\":\"X\"}\0x";
    b24bg_notice_text_t text = {unit_copy(body, sizeof(body), 0), sizeof(body) - 1, 0};
    b24bg_notice_t notice;

    (void)state;
    assert_int_equal(0, b24bg_notice_read(unit_pool, &text, unit_copy("", 1, 0), &notice));
}

static void deep_json(void **state)
{
    enum { DEPTH = 100000 };
    char *body = apr_palloc(unit_pool, DEPTH + 1);
    b24bg_notice_t notice;

    (void)state;
    memset(body, '[', DEPTH);
    body[0] = '{';
    body[DEPTH] = '\0';
    assert_int_equal(0, read_notice(body, "", 0, &notice));
}

/* Code and description together, and no character of two bytes cut in the middle. */
static const struct length {
    const char *name;
    int code;        /* letters */
    int description; /* characters of two bytes */
    size_t expected; /* bytes of both */
} lengths[] = {
    {"both short", 10, 10, 30},         {"just fits", 100, 100, 300},
    {"a byte too long", 101, 100, 299}, {"long description", 32, 30000, 300},
    {"long code", 1000, 1000, 300},     {"long code alone", 1000, 0, 300},
};

static void cut_at_300_bytes(void **state)
{
    const struct length *row = *state;
    char *body = apr_pcalloc(unit_pool, (size_t)row->code + 6 * (size_t)row->description + 64);
    b24bg_notice_t notice;
    int i;

    strcat(body, "error=");
    memset(body + strlen(body), 'A', (size_t)row->code);
    strcat(body, "&error_description=");
    for (i = 0; i < row->description; i++) {
        strcpy(body + 6 + row->code + 19 + 6 * i, "%D0%B6");
    }
    assert_int_equal(1, read_notice(body, "", 0, &notice));
    assert_int_equal(row->expected, strlen(notice.error) + strlen(notice.description));
    assert_int_equal(0, strlen(notice.description) % 2);
}

/* The journal */

static void journal_and_back(void **state)
{
    const row_t *row = *state;
    b24bg_notice_t before;
    b24bg_notice_t after;
    const char *text;
    const char *hash;
    const char *app;

    read_notice(row->body, row->query, row->cut, &before);
    text = b24bg_notice_encode(unit_pool, "telephony", HASH, &before);
    assert_int_equal(1, b24bg_notice_decode(unit_pool, text, &app, &hash, &after));
    assert_string_equal("telephony", app);
    assert_string_equal(HASH, hash);
    assert_string_equal(before.error, after.error);
    assert_string_equal(before.description, after.description);
}

/* Neither is taken for the other. */
static void not_an_installation(void **state)
{
    static const b24bg_notice_t before = {"A", "&app=x&kind=0&AUTH_ID=x&member_id="
                                               "da45a03b265edd8787f8a258d793cc5d"};
    b24bg_install_t install = {B24BG_INSTALL_EVENT,
                               "da45a03b265edd8787f8a258d793cc5d",
                               "",
                               "&notice=x&key_hash=" HASH "&error=x",
                               "",
                               ""};
    b24bg_notice_t notice;
    const char *hash;
    const char *app;

    (void)state;
    assert_int_equal(0, b24bg_install_decode(unit_pool,
                                             b24bg_notice_encode(unit_pool, "a", HASH, &before),
                                             &app, &install));
    assert_int_equal(0,
                     b24bg_notice_decode(unit_pool, b24bg_install_encode(unit_pool, "a", &install),
                                         &app, &hash, &notice));
}

static const struct garbage {
    const char *name;
    const char *text;
} garbage[] = {
    {"nothing", ""},
    {"no app", "key_hash=" HASH "&error=A"},
    {"empty app", "notice=&key_hash=" HASH "&error=A"},
    {"no hash", "notice=a&error=A"},
    {"hash of a digit less", "notice=a&key_hash=0123456789abcdef0123456789abcdef0123456&error=A"},
    {"hash of a digit more", "notice=a&key_hash=" HASH "0&error=A"},
    {"hash of other letters", "notice=a&key_hash=g123456789abcdef0123456789abcdef01234567&error=A"},
    {"no code", "notice=a&key_hash=" HASH},
    {"empty code", "notice=a&key_hash=" HASH "&error="},
    {"bad escape", "notice=a&key_hash=" HASH "&error=A&error_description=%"},
    {"twice", "notice=a&key_hash=" HASH "&error=A&error=B"},
};

static void garbage_in_the_journal(void **state)
{
    const struct garbage *row = *state;
    b24bg_notice_t notice;
    const char *hash;
    const char *app;

    assert_int_equal(0, b24bg_notice_decode(unit_pool, row->text, &app, &hash, &notice));
}

int main(void)
{
    UNIT_ADD_ROWS(key_of_a_path, keys);
    UNIT_ADD_ROWS(variants, rows);
    UNIT_ADD_ROWS(no_notice, nothing);
    UNIT_ADD_ROWS(no_code_in_a_body, unreadable);
    UNIT_ADD(cut_in_the_only_pair);
    UNIT_ADD(raw_nul_behind_json);
    UNIT_ADD(deep_json);
    UNIT_ADD_ROWS(cut_at_300_bytes, lengths);
    UNIT_ADD_ROWS(journal_and_back, rows);
    UNIT_ADD(not_an_installation);
    UNIT_ADD_ROWS(garbage_in_the_journal, garbage);
    return unit_run("notice");
}
