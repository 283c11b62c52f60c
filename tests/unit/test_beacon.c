/* b24bg_beacon: spec.md 4.1. */
#include "unit.h"

#include "b24bg_beacon.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

#define NOON apr_time_from_sec(1761998400)

static const unsigned char key[APR_SIPHASH_KSIZE] = "0123456789abcdef";
static const unsigned char other_key[APR_SIPHASH_KSIZE] = "0123456789abcdeg";
static const b24bg_beacon_subject_t render = {5, 77, 3, NOON, 0xfedcba98};

static char *tag_of(const b24bg_beacon_subject_t *subject)
{
    char *tag = unit_copy("", 0, B24BG_BEACON_TAG_LENGTH);

    b24bg_beacon_tag(key, subject, tag);
    return apr_pstrmemdup(unit_pool, tag, B24BG_BEACON_TAG_LENGTH);
}

static int check(const char *tag, apr_time_t now)
{
    b24bg_beacon_subject_t subject;

    return b24bg_beacon_check(key, render.app, tag, now, &subject);
}

/* SipHash-2-4 of "000000050000004d000000036905f640fedcba98", computed with another
 * implementation; machines that share a key must agree. */
static void test_text(void **state)
{
    (void)state;
    assert_string_equal(tag_of(&render), "0000004d000000036905f640fedcba98f8908f8549072fee");
}

typedef struct {
    const char *name;
    b24bg_beacon_subject_t subject;
} subject_t;

static const subject_t subjects[] = {
    {"ordinary", {5, 77, 3, NOON, 0xfedcba98}},
    {"zeros", {0, 0, 0, NOON, 0}},
    {"largest", {63, APR_UINT32_MAX, APR_UINT32_MAX, NOON, APR_UINT32_MAX}},
    {"no row", {-1, 1, 1, NOON, 1}},
};

static void test_round_trip(void **state)
{
    const b24bg_beacon_subject_t *subject = &((const subject_t *)*state)->subject;
    const char *tag = tag_of(subject);
    b24bg_beacon_subject_t read;

    assert_int_equal(strspn(tag, "0123456789abcdef"), B24BG_BEACON_TAG_LENGTH);
    assert_int_equal(b24bg_beacon_check(key, subject->app, tag, NOON, &read), 1);
    assert_int_equal(read.app, subject->app);
    assert_int_equal(read.slot, subject->slot);
    assert_int_equal(read.generation, subject->generation);
    assert_int_equal(read.nonce, subject->nonce);
    assert_true(read.rendered == subject->rendered);
}

/* Renders that differ in one thing have different tags, in the MAC as well. */
static void test_everything_counts(void **state)
{
    b24bg_beacon_subject_t others[5];
    const char *tag = tag_of(&render);
    size_t i;

    (void)state;
    for (i = 0; i < 5; i++) {
        others[i] = render;
    }
    others[0].app++;
    others[1].slot++;
    others[2].generation++;
    others[3].rendered += apr_time_from_sec(1);
    others[4].nonce++;
    for (i = 0; i < 5; i++) {
        assert_string_not_equal(tag_of(&others[i]) + 32, tag + 32);
    }
}

typedef struct {
    const char *name;
    int seconds; /* after the render */
    int good;
} age_t;

static const age_t ages[] = {
    {"at once", 0, 1},          {"a minute", 60, 1},       {"ten minutes", 600, 1},
    {"and a second", 601, 0},   {"a day", 86400, 0},       {"clock set back", -60, 1},
    {"further back", -61, 0},   {"a day back", -86400, 0}, {"year 1970", -1761998400, 0},
    {"32 bits", 2147483647, 0},
};

static void test_age(void **state)
{
    const age_t *row = *state;

    assert_int_equal(check(tag_of(&render), NOON + apr_time_from_sec(row->seconds)), row->good);
}

/* Parts of a second are not in the tag and make no difference. */
static void test_parts_of_a_second(void **state)
{
    b24bg_beacon_subject_t late = render;

    (void)state;
    late.rendered = NOON + 999999;
    assert_int_equal(check(tag_of(&late), NOON + apr_time_from_sec(600) + 999999), 1);
    assert_int_equal(check(tag_of(&late), NOON + apr_time_from_sec(601)), 0);
    assert_int_equal(check(tag_of(&late), NOON - apr_time_from_sec(60)), 1);
}

/* A tag that was altered in any one place, whatever comes there, is none; the same digit in another
 * case is another text, so that a tag cannot be told of twice. */
static void test_altered(void **state)
{
    const char *tag = tag_of(&render);
    size_t at;
    int c;

    (void)state;
    for (at = 0; at < B24BG_BEACON_TAG_LENGTH; at++) {
        for (c = 1; c < 256; c++) {
            char *altered = apr_pstrdup(unit_pool, tag);
            altered[at] = (char)c;
            assert_int_equal(check(altered, NOON), altered[at] == tag[at]);
        }
    }
}

static void test_other_shapes(void **state)
{
    const char *tag = tag_of(&render);
    b24bg_beacon_subject_t subject = {-7, 7, 7, 7, 7};
    b24bg_beacon_subject_t old = render;

    (void)state;
    assert_int_equal(check("", NOON), 0);
    assert_int_equal(check(tag + 1, NOON), 0);
    assert_int_equal(check(apr_pstrcat(unit_pool, tag, "0", NULL), NOON), 0);
    assert_int_equal(check(apr_pstrcat(unit_pool, "0", tag, NULL), NOON), 0);
    assert_int_equal(check("                                                ", NOON), 0);
    assert_int_equal(b24bg_beacon_check(other_key, render.app, tag, NOON, &subject), 0);
    assert_int_equal(b24bg_beacon_check(key, render.app + 1, tag, NOON, &subject), 0);
    old.rendered -= apr_time_from_sec(3600);
    assert_int_equal(b24bg_beacon_check(key, render.app, tag_of(&old), NOON, &subject), 0);
    assert_int_equal(subject.app, -7); /* untouched */
    assert_int_equal(subject.slot, 7);
}

/* Bodies */

#define TAG "0000004d000000036905f740fedcba980123456789abcdef"
#define T "tag=" TAG
#define FORTY "0123456789012345678901234567890123456789"
#define BAD (-2)

typedef struct {
    const char *name;
    const char *text;
    int load_ms; /* BAD: refused */
    int sampled;
    int failed;
} body_t;

static const body_t bodies[] = {
    {"load", T "&ms=2600", 2600, 0, 0},
    {"sample", T "&ms=310&sampled=1", 310, 1, 0},
    {"scripts", T "&failed=2", -1, 0, 2},
    {"all at once", T "&ms=1&sampled=1&failed=1", 1, 1, 1},
    {"another order", "failed=3&ms=12&" T, 12, 0, 3},
    {"not sampled", T "&ms=5&sampled=0", 5, 0, 0},
    {"none failed", T "&failed=0", -1, 0, 0},
    {"no time at all", T "&ms=0", 0, 0, 0},
    {"bound of the time", T "&ms=600000", 600000, 0, 0},
    {"beyond the time", T "&ms=600001", 600000, 0, 0},
    {"beyond 32 bits", T "&ms=4294967297", 600000, 0, 0},
    {"beyond 64 bits", T "&ms=18446744073709551617", 600000, 0, 0},
    {"beyond everything", T "&ms=" FORTY FORTY FORTY, 600000, 0, 0},
    {"zeros in front", T "&ms=0000000000000000000000000000012", 12, 0, 0},
    {"beyond the samples", T "&ms=1&sampled=9", 1, 1, 0},
    {"bound of the scripts", T "&failed=100", -1, 0, 100},
    {"beyond the scripts", T "&failed=101", -1, 0, 100},
    {"far beyond the scripts", T "&failed=99999999999999999999", -1, 0, 100},
    {"fields of tomorrow", "v=2&" T "&ms=1&what=&ever&=x&tags=1&m=2&MS=3", 1, 0, 0},
    {"empty pairs", "&&" T "&&ms=1&&", 1, 0, 0},
    {"tag with a sign in it", "tag=" FORTY "%&/()=?!&ms=1", BAD, 0, 0},
    {"any tag of the length", "tag=" FORTY "%?/()=?!&ms=1", 1, 0, 0},
    {"nothing", "", BAD, 0, 0},
    {"blank", " ", BAD, 0, 0},
    {"signs", "&=&=&", BAD, 0, 0},
    {"tag alone", T, BAD, 0, 0},
    {"tag and sample alone", T "&sampled=1", BAD, 0, 0},
    {"no tag", "ms=1", BAD, 0, 0},
    {"empty tag", "tag=&ms=1", BAD, 0, 0},
    {"short tag", "tag=" FORTY "0123456&ms=1", BAD, 0, 0},
    {"long tag", T "0&ms=1", BAD, 0, 0},
    {"tag twice", T "&" T "&ms=1", BAD, 0, 0},
    {"time twice", T "&ms=1&ms=1", BAD, 0, 0},
    {"time twice, once bad", T "&ms=x&ms=1", BAD, 0, 0},
    {"sample twice", T "&ms=1&sampled=1&sampled=0", BAD, 0, 0},
    {"scripts twice", T "&failed=1&failed=2", BAD, 0, 0},
    {"empty time", T "&ms=", BAD, 0, 0},
    {"time without a sign", T "&ms", BAD, 0, 0},
    {"negative time", T "&ms=-1", BAD, 0, 0},
    {"plus", T "&ms=+1", BAD, 0, 0},
    {"fraction", T "&ms=1.5", BAD, 0, 0},
    {"exponent", T "&ms=1e3", BAD, 0, 0},
    {"hexadecimal", T "&ms=0x10", BAD, 0, 0},
    {"no number", T "&ms=NaN", BAD, 0, 0},
    {"infinite", T "&ms=Infinity", BAD, 0, 0},
    {"blank in front", T "&ms= 1", BAD, 0, 0},
    {"blank behind", T "&ms=1 ", BAD, 0, 0},
    {"line end behind", T "&ms=1\r\n", BAD, 0, 0},
    {"escaped digit", T "&ms=%31", BAD, 0, 0},
    {"bad sample", T "&ms=1&sampled=yes", BAD, 0, 0},
    {"bad scripts", T "&ms=1&failed=-1", BAD, 0, 0},
    {"JSON", "{\"tag\":\"" TAG "\",\"ms\":1}", BAD, 0, 0},
};

static void test_read(void **state)
{
    const body_t *row = *state;
    b24bg_beacon_report_t report = {"untouched", -7, -7, -7};
    const char *text = unit_copy(row->text, strlen(row->text), 0);
    int good = row->load_ms != BAD;

    assert_int_equal(b24bg_beacon_read(text, strlen(row->text), &report), good);
    if (good) {
        assert_int_equal(strlen(report.tag), B24BG_BEACON_TAG_LENGTH);
        assert_non_null(strstr(row->text, report.tag));
        assert_int_equal(report.load_ms, row->load_ms);
        assert_int_equal(report.sampled, row->sampled);
        assert_int_equal(report.failed, row->failed);
    } else {
        assert_string_equal(report.tag, "untouched");
        assert_int_equal(report.load_ms, -7);
        assert_int_equal(report.sampled, -7);
        assert_int_equal(report.failed, -7);
    }
}

static void test_size(void **state)
{
    char *text = apr_pstrcat(unit_pool, T "&ms=1&x=", FORTY FORTY FORTY FORTY FORTY FORTY, NULL);
    b24bg_beacon_report_t report;

    (void)state;
    assert_int_equal(b24bg_beacon_read(unit_copy(text, 256, 0), 256, &report), 1);
    assert_int_equal(b24bg_beacon_read(unit_copy(text, 257, 0), 257, &report), 0);
}

/* NULs are bytes like any other; a tag with one in it is shorter than a good one. */
static void test_nul(void **state)
{
    static const char in_number[] = T "&ms=1\0";
    static const char in_tag[] = "tag=0000004d\00000000036905f740fedcba980123456789abcdef&ms=1";
    b24bg_beacon_report_t report;

    (void)state;
    assert_int_equal(b24bg_beacon_read(in_number, sizeof(in_number) - 1, &report), 0);
    assert_int_equal(b24bg_beacon_read(in_tag, sizeof(in_tag) - 1, &report), 1);
    assert_int_equal(check(report.tag, NOON), 0);
}

/* From the page to the count: what the page sends is read, and its tag is good. */
static void test_whole_way(void **state)
{
    const char *tag = tag_of(&render);
    const char *text = apr_pstrcat(unit_pool, "tag=", tag, "&ms=600000&sampled=1", NULL);
    b24bg_beacon_report_t report;

    (void)state;
    assert_true(strlen(text) <= 75);
    assert_int_equal(b24bg_beacon_read(text, strlen(text), &report), 1);
    assert_string_equal(report.tag, tag);
    assert_int_equal(check(report.tag, NOON), 1);
}

int main(void)
{
    UNIT_ADD(test_text);
    UNIT_ADD_ROWS(test_round_trip, subjects);
    UNIT_ADD(test_everything_counts);
    UNIT_ADD_ROWS(test_age, ages);
    UNIT_ADD(test_parts_of_a_second);
    UNIT_ADD(test_altered);
    UNIT_ADD(test_other_shapes);
    UNIT_ADD_ROWS(test_read, bodies);
    UNIT_ADD(test_size);
    UNIT_ADD(test_nul);
    UNIT_ADD(test_whole_way);
    return unit_run("beacon");
}
