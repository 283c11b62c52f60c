#include "fuzz.h"

#include <apr_general.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

apr_pool_t *fuzz_pool(void)
{
    static int initialized;
    apr_pool_t *pool;

    if (!initialized) {
        apr_initialize();
        initialized = 1;
    }
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        abort();
    }
    return pool;
}

static apr_status_t free_text(void *text)
{
    free(text);
    return APR_SUCCESS;
}

char *fuzz_text(apr_pool_t *pool, const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text) {
        abort();
    }
    if (size) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    apr_pool_cleanup_register(pool, text, free_text, apr_pool_cleanup_null);
    return text;
}

void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, condition);
    abort();
}

/* The bytes that may follow a first byte: how many, and the bounds of the first of them. RFC 3629
 * section 4. */
static int tail(unsigned char first, unsigned char *least, unsigned char *most)
{
    *least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0x80) {
        return 0;
    }
    if (first < 0xC2 || first > 0xF4) {
        return -1;
    }
    return first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
}

int fuzz_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        unsigned char least;
        unsigned char most;
        int more = tail(*at++, &least, &most);
        if (more < 0) {
            return 0;
        }
        for (; more > 0; more--, at++) {
            if (*at < least || *at > most) {
                return 0;
            }
            least = 0x80;
            most = 0xBF;
        }
    }
    return 1;
}
