/* The worker page: built once at start, served as it is.
 *
 * Pure, and the only place that escapes HTML. Thread: any; nothing is shared. Results live as long
 * as the pool.
 */
#ifndef B24BG_PAGE_H
#define B24BG_PAGE_H

#include <apr_pools.h>
#include <apr_tables.h>

/* Bound of the built-in page: spec.md 4.1. It then fits two network packets with its headers. */
#define B24BG_PAGE_MAX 2048
/* Bound of an administrator's own page: it is held in memory by every process. */
#define B24BG_PAGE_OWN_MAX 65536
/* BX24.js: protocol.md 7.1. */
#define B24BG_PAGE_BX24 "https://api.bitrix24.com/api/v1/"

/* The built-in page. `urls` (const char *, may be empty) are the scripts to attach, in order, once
 * the frame's load event is over. NUL-terminated; *length is without the NUL. The script in it is
 * the same text for every configuration, so that a site's CSP can allow it by hash. */
const char *b24bg_page_build(apr_pool_t *pool, const apr_array_header_t *urls, apr_size_t *length);

/* The installation page: ends the installation at the portal (BX24.installFinish, protocol.md
 * 5.3) once its load event is over. `bx24` is the URL of BX24.js. */
const char *b24bg_page_install(apr_pool_t *pool, const char *bx24, apr_size_t *length);

/* What in an administrator's page delays its load event, or navigates (protocol.md 2.1, 2.2):
 * names as "<script src>", each once; an empty array where there is nothing. */
apr_array_header_t *b24bg_page_blockers(apr_pool_t *pool, const char *html);

#endif
