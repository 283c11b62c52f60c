/* Response headers that keep a page from being framed, and how they are taken out.
 *
 * Pure. Thread: any; nothing is shared.
 */
#ifndef B24BG_FRAMING_H
#define B24BG_FRAMING_H

#include <apr_tables.h>

/* Takes out of `headers` and `more` what a site sets for all its pages and what a worker in a
 * portal's frame cannot live with (protocol.md 1.8): X-Frame-Options, Permissions-Policy (and its
 * old name, Feature-Policy), and the frame-ancestors of each Content-Security-Policy, whose other
 * directives stay. Returns the names of what was taken out, each once, as "X-Frame-Options,
 * frame-ancestors", or NULL. Results are allocated in the tables' pools. */
const char *b24bg_framing_clear(apr_table_t *headers, apr_table_t *more);

#endif
