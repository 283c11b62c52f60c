#include "b24bg_beacon.h"

#include "b24bg_placement.h"

#include <apr_lib.h>
#include <apr_siphash.h>

#include <string.h>

/* Hexadecimal digits of a number of 32 bits. */
#define NUMBER 8

static void write_hex(char *to, apr_uint64_t value, int digits)
{
    for (; digits > 0; value >>= 4) {
        to[--digits] = "0123456789abcdef"[value & 15];
    }
}

/* Takes anything for a digit: what was no digit does not come out when it is written again. */
static apr_uint32_t read_hex(const char *from)
{
    apr_uint32_t value = 0;
    int i;

    for (i = 0; i < NUMBER; i++) {
        value = value << 4 | ((apr_uint32_t)from[i] + (apr_isalpha(from[i]) ? 9 : 0)) % 16;
    }
    return value;
}

void b24bg_beacon_tag(const unsigned char *key, const b24bg_beacon_subject_t *subject, char *tag)
{
    char message[NUMBER + B24BG_BEACON_TAG_LENGTH];
    const apr_size_t length = 5 * NUMBER;

    write_hex(message, (apr_uint32_t)subject->app, NUMBER);
    write_hex(message + NUMBER, subject->slot, NUMBER);
    write_hex(message + 2 * NUMBER, subject->generation, NUMBER);
    write_hex(message + 3 * NUMBER, (apr_uint32_t)apr_time_sec(subject->rendered), NUMBER);
    write_hex(message + 4 * NUMBER, subject->nonce, NUMBER);
    write_hex(message + length, apr_siphash24(message, length, key), 2 * NUMBER);
    memcpy(tag, message + NUMBER, B24BG_BEACON_TAG_LENGTH);
}

int b24bg_beacon_check(const unsigned char *key, int app, const char *tag, apr_time_t now,
                       b24bg_beacon_subject_t *subject)
{
    b24bg_beacon_subject_t claimed = {app, 0, 0, 0, 0};
    char good[B24BG_BEACON_TAG_LENGTH + 1];
    apr_time_t age;

    if (strlen(tag) != B24BG_BEACON_TAG_LENGTH) {
        return 0;
    }
    claimed.slot = read_hex(tag);
    claimed.generation = read_hex(tag + NUMBER);
    claimed.rendered = apr_time_from_sec(read_hex(tag + 2 * NUMBER));
    claimed.nonce = read_hex(tag + 3 * NUMBER);
    b24bg_beacon_tag(key, &claimed, good);
    good[B24BG_BEACON_TAG_LENGTH] = '\0';
    age = apr_time_from_sec(apr_time_sec(now)) - claimed.rendered;
    if (!b24bg_placement_same_secret(tag, good) || age > B24BG_BEACON_AGE_MAX ||
        age < -B24BG_BEACON_AHEAD_MAX) {
        return 0;
    }
    *subject = claimed;
    return 1;
}

/* -1 if it is no number. */
static int read_number(const char *from, const char *end, int most)
{
    int number = from < end ? 0 : -1;

    for (; from < end; from++) {
        if (!apr_isdigit(*from)) {
            return -1;
        }
        number = number * 10 + (*from - '0');
        number = number < most ? number : most;
    }
    return number;
}

/* One field; its value begins at `value` and ends at `end`. */
static int read_field(const char *name, const char *value, const char *end,
                      b24bg_beacon_report_t *report)
{
    const struct {
        const char *name;
        int *number;
        int most;
    } fields[] = {{"ms=", &report->load_ms, B24BG_BEACON_MS_MAX},
                  {"sampled=", &report->sampled, 1},
                  {"failed=", &report->failed, B24BG_BEACON_FAILED_MAX}};
    apr_size_t length = (apr_size_t)(value - name);
    apr_size_t i;

    if (length == 4 && memcmp(name, "tag=", length) == 0) {
        if (report->tag[0] || end - value != B24BG_BEACON_TAG_LENGTH) {
            return 0;
        }
        memcpy(report->tag, value, B24BG_BEACON_TAG_LENGTH);
        return 1;
    }
    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (length == strlen(fields[i].name) && memcmp(name, fields[i].name, length) == 0) {
            int is_first = *fields[i].number == -1;
            *fields[i].number = read_number(value, end, fields[i].most);
            return is_first && *fields[i].number != -1;
        }
    }
    return 1;
}

int b24bg_beacon_read(const char *text, apr_size_t length, b24bg_beacon_report_t *report)
{
    b24bg_beacon_report_t found = {"", -1, -1, -1};
    const char *end = text + length;

    if (length > B24BG_BEACON_MAX) {
        return 0;
    }
    while (text < end) {
        const char *stop = memchr(text, '&', (apr_size_t)(end - text));
        const char *value;
        stop = stop ? stop : end;
        value = memchr(text, '=', (apr_size_t)(stop - text));
        if (!read_field(text, value ? value + 1 : stop, stop, &found)) {
            return 0;
        }
        text = stop + (stop < end);
    }
    if (!found.tag[0] || (found.load_ms == -1 && found.failed == -1)) {
        return 0;
    }
    found.sampled = found.sampled == 1;
    found.failed = found.failed == -1 ? 0 : found.failed;
    *report = found;
    return 1;
}
