/* The beacon: what the worker page tells of its own load, and the tag that says whose load it was.
 *
 * The tag is a text that the page carries, with a keyed MAC, so that only loads that were served
 * can be told of. It is no secret: the browser has it.
 *
 * Pure; nothing is allocated. Thread: any; nothing is shared.
 */
#ifndef B24BG_BEACON_H
#define B24BG_BEACON_H

#include <apr.h>
#include <apr_siphash.h>
#include <apr_time.h>

/* Four numbers of 32 bits and a MAC of 64, in lower-case hexadecimal digits. */
#define B24BG_BEACON_TAG_LENGTH 48
/* How old a tag may be: spec.md 4.1. */
#define B24BG_BEACON_AGE_MAX apr_time_from_sec(600)
/* How far in the future: a clock that is set back must not silence the pages that are open. */
#define B24BG_BEACON_AHEAD_MAX apr_time_from_sec(60)
/* Longest body. The page's own has some 72 bytes; the rest is for fields of later versions. */
#define B24BG_BEACON_MAX 256
/* A load that took longer counts as one of ten minutes; nobody waits longer for a page. */
#define B24BG_BEACON_MS_MAX 600000
/* More scripts do not fit the page. */
#define B24BG_BEACON_FAILED_MAX 100

/* One render of the page. */
typedef struct {
    int app;                 /* its row in the table */
    apr_uint32_t slot;       /* the portal's place in the table, */
    apr_uint32_t generation; /* and which of those that had it */
    apr_time_t rendered;     /* to the second */
    apr_uint32_t nonce;      /* what tells it from others of the same second */
} b24bg_beacon_subject_t;

/* Writes the tag of a render: B24BG_BEACON_TAG_LENGTH bytes, no NUL. `key`: APR_SIPHASH_KSIZE
 * random bytes, the same for all processes of a server. */
void b24bg_beacon_tag(const unsigned char *key, const b24bg_beacon_subject_t *subject, char *tag);

/* 1 if the tag is one of this key and app (which is not in its text: the URL tells it), and
 * neither too old nor ahead of its time; then *subject says of which render. One render has one
 * text only. */
int b24bg_beacon_check(const unsigned char *key, int app, const char *tag, apr_time_t now,
                       b24bg_beacon_subject_t *subject);

/* What a beacon says; all of it is a claim of the browser. A page sends at most two with its tag:
 * one of its load, and one at the end if scripts failed. Whoever counts each tag once must keep
 * those two apart. */
typedef struct {
    char tag[B24BG_BEACON_TAG_LENGTH + 1];
    int load_ms; /* 0..B24BG_BEACON_MS_MAX, or -1: it is of the scripts */
    int sampled; /* 1: the page drew itself, 1 in 100, it was not over half the limit */
    int failed;  /* scripts, 0..B24BG_BEACON_FAILED_MAX */
} b24bg_beacon_report_t;

/* Reads text[0..length): name=value with & between two, as tag=...&ms=1234&sampled=1 or
 * tag=...&failed=2, in any order; other fields are ignored. Numbers are digits alone, too large
 * ones are cut to their bound. 0, and nothing is set, if it is too long, a field is wrong or there
 * twice, or it says nothing. The tag is not checked. */
int b24bg_beacon_read(const char *text, apr_size_t length, b24bg_beacon_report_t *report);

#endif
