/* A request for the error URL: its path, a line end, its query, a line end, its body; as a whole,
 * and cut. The whole input also as a record of the journal.
 */
#include "b24bg_notice.h"
#include "fuzz.h"

#include <string.h>

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
#define HASH "0123456789abcdef0123456789abcdef01234567"

static void check_hash(const char *hash)
{
    FUZZ_CHECK(strlen(hash) == B24BG_KEY_HASH_LENGTH);
    FUZZ_CHECK(strspn(hash, "0123456789abcdef") == B24BG_KEY_HASH_LENGTH);
}

static void try_key(const char *path)
{
    char hash[B24BG_KEY_HASH_LENGTH + 1] = "untouched";
    const char *last = strrchr(path, '/');
    int is_key = last && strlen(last + 1) == B24BG_KEY_LENGTH &&
                 strspn(last + 1, "0123456789abcdefABCDEF") == B24BG_KEY_LENGTH;

    FUZZ_CHECK(b24bg_notice_key(path, hash) == is_key);
    if (is_key) {
        check_hash(hash);
    } else {
        FUZZ_CHECK(strcmp(hash, "untouched") == 0);
    }
}

/* Fit for a log line, for a command line, and for a database in UTF-8. */
static void check_notice(const b24bg_notice_t *notice)
{
    const unsigned char *at = (const unsigned char *)notice->description;

    FUZZ_CHECK(*notice->error && strspn(notice->error, WORD) == strlen(notice->error));
    FUZZ_CHECK(strlen(notice->error) + strlen(notice->description) <= B24BG_NOTICE_MAX);
    FUZZ_CHECK(fuzz_is_utf8(notice->description));
    for (; *at; at++) {
        FUZZ_CHECK(*at >= 0x20 && *at != 0x7F && *at != '"');
        FUZZ_CHECK(!(at[0] == 0xC2 && at[1] < 0xA0));
    }
}

static void check_round_trip(apr_pool_t *pool, const char *app, const char *hash,
                             const b24bg_notice_t *notice)
{
    const char *text = b24bg_notice_encode(pool, app, hash, notice);
    const char *app_again;
    const char *hash_again;
    b24bg_notice_t again;

    FUZZ_CHECK(b24bg_notice_decode(pool, text, &app_again, &hash_again, &again));
    FUZZ_CHECK(strcmp(app, app_again) == 0 && strcmp(hash, hash_again) == 0);
    FUZZ_CHECK(strcmp(notice->error, again.error) == 0);
    FUZZ_CHECK(strcmp(notice->description, again.description) == 0);
}

static void try_read(apr_pool_t *pool, const char *query, const uint8_t *data, size_t size, int cut)
{
    b24bg_notice_text_t body = {fuzz_text(pool, data, size), size, cut};
    b24bg_notice_t notice;
    int good = b24bg_notice_read(pool, &body,
                                 fuzz_text(pool, (const uint8_t *)query, strlen(query)), &notice);

    FUZZ_CHECK(body.length <= size);
    if (notice.error) {
        FUZZ_CHECK(good);
        check_notice(&notice);
        check_round_trip(pool, "telephony", HASH, &notice);
    } else {
        FUZZ_CHECK(!*notice.description);
    }
}

/* What a journal might hold; the app's name is whatever stands there. */
static void try_decode(apr_pool_t *pool, const char *text)
{
    b24bg_notice_t notice;
    const char *hash;
    const char *app;

    if (b24bg_notice_decode(pool, text, &app, &hash, &notice)) {
        FUZZ_CHECK(*app);
        check_hash(hash);
        check_notice(&notice);
    }
}

/* The next line of the input, which begins behind it from now on. */
static char *line(apr_pool_t *pool, const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size ? memchr(*data, '\n', *size) : NULL;
    size_t length = end ? (size_t)(end - *data) : *size;
    char *text = fuzz_text(pool, *data, length);

    *data += length + (end != NULL);
    *size -= length + (end != NULL);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *query;

    try_decode(pool, fuzz_text(pool, data, size));
    try_key(line(pool, &data, &size));
    query = line(pool, &data, &size);
    try_read(pool, query, data, size, 0);
    try_read(pool, query, data, size, 1);
    apr_pool_destroy(pool);
    return 0;
}
