/* Any bytes as the body of a beacon, and as a tag; the first of them as a render whose tag is made
 * and altered.
 */
#include "b24bg_beacon.h"
#include "fuzz.h"

#include <string.h>

#define NOW apr_time_from_sec(1761998400)

static const unsigned char key[APR_SIPHASH_KSIZE] = "0123456789abcdef";

/* A tag that is good is the only text of its render. */
static void try_tag(const char *tag)
{
    b24bg_beacon_subject_t subject;
    char again[B24BG_BEACON_TAG_LENGTH];

    if (b24bg_beacon_check(key, 5, tag, NOW, &subject)) {
        FUZZ_CHECK(subject.app == 5);
        FUZZ_CHECK(subject.rendered >= NOW - B24BG_BEACON_AGE_MAX);
        FUZZ_CHECK(subject.rendered <= NOW + B24BG_BEACON_AHEAD_MAX);
        b24bg_beacon_tag(key, &subject, again);
        FUZZ_CHECK(strlen(tag) == sizeof(again) && memcmp(tag, again, sizeof(again)) == 0);
    }
}

static void try_read(const char *text, size_t size)
{
    b24bg_beacon_report_t report;

    if (!b24bg_beacon_read(text, size, &report)) {
        return;
    }
    FUZZ_CHECK(size <= B24BG_BEACON_MAX);
    FUZZ_CHECK(report.tag[0] && report.tag[B24BG_BEACON_TAG_LENGTH] == '\0');
    FUZZ_CHECK(memmem(text, size, report.tag, strlen(report.tag)));
    FUZZ_CHECK(report.load_ms >= -1 && report.load_ms <= B24BG_BEACON_MS_MAX);
    FUZZ_CHECK(report.sampled == 0 || report.sampled == 1);
    FUZZ_CHECK(report.failed >= 0 && report.failed <= B24BG_BEACON_FAILED_MAX);
    FUZZ_CHECK(memmem(text, size, report.load_ms == -1 ? "failed=" : "ms=", 3));
    try_tag(report.tag);
}

static void try_render(const uint8_t *data)
{
    b24bg_beacon_subject_t subject = {5, 0, 0, 0, 0};
    b24bg_beacon_subject_t read;
    char tag[B24BG_BEACON_TAG_LENGTH + 1] = "";
    uint32_t age;

    memcpy(&subject.slot, data, 4);
    memcpy(&subject.generation, data + 4, 4);
    memcpy(&subject.nonce, data + 8, 4);
    memcpy(&age, data + 12, 4);
    subject.rendered = NOW - apr_time_from_sec(age % 600);
    b24bg_beacon_tag(key, &subject, tag);
    FUZZ_CHECK(b24bg_beacon_check(key, 5, tag, NOW, &read));
    FUZZ_CHECK(read.slot == subject.slot && read.generation == subject.generation);
    FUZZ_CHECK(read.nonce == subject.nonce && read.rendered == subject.rendered);
    FUZZ_CHECK(!b24bg_beacon_check(key, 6, tag, NOW, &read));
    tag[data[16] % B24BG_BEACON_TAG_LENGTH] ^= (char)(1 << data[17] % 8);
    FUZZ_CHECK(!b24bg_beacon_check(key, 5, tag, NOW, &read));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size);

    try_read(text, size);
    try_tag(text);
    if (size >= 18) {
        try_render(data);
    }
    apr_pool_destroy(pool);
    return 0;
}
