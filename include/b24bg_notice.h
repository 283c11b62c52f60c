/* A notice: what the error URL is told when a registration was deleted. Protocol.md section 3.
 *
 * Pure. Thread: any; nothing is shared. Everything in a notice is a claim of whoever knows the URL.
 */
#ifndef B24BG_NOTICE_H
#define B24BG_NOTICE_H

#include <apr_pools.h>

/* A key is 128 random bits in hexadecimal: protocol.md 3.3. */
#define B24BG_KEY_LENGTH 32
/* Of a key only the SHA-1 of its lower-case digits is kept, in lower-case hexadecimal. The key is
 * random, so nothing but a preimage would help who has the hash. */
#define B24BG_KEY_HASH_LENGTH 40
/* Most bytes of code and description together: spec.md 4.2. */
#define B24BG_NOTICE_MAX 300

/* 1 if the last segment of a URL's path is a key; then `hash` (B24BG_KEY_HASH_LENGTH + 1 bytes) is
 * its hash. `path`: decoded, without a query: "/b24/error/<32 hex digits>". Upper-case digits count
 * as lower. */
int b24bg_notice_key(const char *path, char *hash);

/* A body in memory with a NUL behind it; it is parsed in place. */
typedef struct {
    char *data;
    apr_size_t length;
    int cut; /* there was more of it */
} b24bg_notice_text_t;

typedef struct {
    const char *error;       /* Bitrix24's code as one word [A-Za-z0-9_.-]+; NULL: no notice */
    const char *description; /* UTF-8, fit for a log line (b24bg_form_clean); "" if none */
} b24bg_notice_t;

/* Reads body and query, variants A to E of protocol.md 3.2; the body wins. Both are changed. Of a
 * body that was cut the whole members are taken, and of the description what is there; a code that
 * lies behind the cut is "-". Of a form with a fault the pairs in front of it. 0 if the body is
 * something and no code was found, or the query has a fault and none; the notice is then empty.
 * Strings are allocated in pool. */
int b24bg_notice_read(apr_pool_t *pool, b24bg_notice_text_t *body, char *query,
                      b24bg_notice_t *notice);

/* As urlencoded text for journal and store; no secret. Its first field tells it from an
 * installation's. `app`: an app's label. `notice` has a code. */
char *b24bg_notice_encode(apr_pool_t *pool, const char *app, const char *key_hash,
                          const b24bg_notice_t *notice);

/* The reverse, of what encode made: 0 if the text is something else. `text` is not changed. */
int b24bg_notice_decode(apr_pool_t *pool, const char *text, const char **app, const char **key_hash,
                        b24bg_notice_t *notice);

#endif
