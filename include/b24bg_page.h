/* The worker page: built once at start; of each load only the beacon's tag is new.
 *
 * Pure; escapes what it takes into its pages. Thread: any; nothing is shared. Results live as long
 * as the pool.
 */
#ifndef B24BG_PAGE_H
#define B24BG_PAGE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

/* Bound of the built-in page: spec.md 4.1. It then fits two network packets with its headers. */
#define B24BG_PAGE_MAX 2048
/* Bound of an administrator's own page: it is held in memory by every process. */
#define B24BG_PAGE_OWN_MAX 65536
/* BX24.js: protocol.md 7.1. */
#define B24BG_PAGE_BX24 "https://api.bitrix24.com/api/v1/"

/* B24bgBeacon: which loads the page tells its own time of. */
typedef enum {
    B24BG_PAGE_BEACON_OFF,
    B24BG_PAGE_BEACON_SLOW, /* those over half the limit, and 1 in 100 that the page draws */
    B24BG_PAGE_BEACON_ALL
} b24bg_page_beacon_e;

/* The built-in page. NUL-terminated; length is without the NUL. As it is it holds no beacon's tag
 * and sends no beacon: for GET, and for whoever gets no tag. */
typedef struct {
    const char *text;
    apr_size_t length;
    apr_size_t tag_offset; /* where b24bg_page_fill puts the tag; 0: nowhere */
    b24bg_page_beacon_e beacon;
    int told_over; /* milliseconds; a load of more is told of; -1: every one is */
} b24bg_page_t;

/* Builds it. `urls` (const char *, may be empty) are the scripts to attach, one after the other,
 * once the frame's load event is over; slow_limit is that of B24bgSlowLimit. The script in it is
 * the same text for every configuration and request, so that a site's CSP can allow it by hash; a
 * page that has nothing to attach or to tell has none. */
void b24bg_page_build(apr_pool_t *pool, const apr_array_header_t *urls, b24bg_page_beacon_e beacon,
                      apr_time_t slow_limit, b24bg_page_t *page);

/* An administrator's page (text without NUL bytes), with the built-in script at the end of its
 * body, so that its loads are told of as well; B24BG_PAGE_BEACON_OFF leaves it as it is. Otherwise
 * as b24bg_page_build. */
void b24bg_page_complete(apr_pool_t *pool, const char *html, b24bg_page_beacon_e beacon,
                         apr_time_t slow_limit, b24bg_page_t *page);

/* The page with the tag of one render (b24bg_beacon_tag): page->length bytes and a NUL, in pool;
 * the page's own text where no tag belongs. One copy, for it is made for every load. */
const char *b24bg_page_fill(apr_pool_t *pool, const b24bg_page_t *page, const char *tag);

/* The installation page: ends the installation at the portal (BX24.installFinish, protocol.md
 * 5.3) once its load event is over. `bx24` is the URL of BX24.js. */
const char *b24bg_page_install(apr_pool_t *pool, const char *bx24, apr_size_t *length);

/* What in an administrator's page delays its load event, or navigates (protocol.md 2.1, 2.2):
 * names as "<script src>", each once; an empty array where there is nothing. */
apr_array_header_t *b24bg_page_blockers(apr_pool_t *pool, const char *html);

#endif
