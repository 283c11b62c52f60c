/* Response headers that keep a page from being framed, and how they are taken out.
 *
 * Pure. Thread: any; nothing is shared.
 */
#ifndef B24BG_FRAMING_H
#define B24BG_FRAMING_H

#include <apr_tables.h>

/* Takes out of `headers` what a site sets for all its pages and what a worker in a portal's frame
 * cannot live with (protocol.md 1.8): X-Frame-Options, Permissions-Policy (and its old name,
 * Feature-Policy), and the frame-ancestors of each Content-Security-Policy, whose other directives
 * stay. Returns the names of what was taken out, as "X-Frame-Options, frame-ancestors", or NULL.
 * Results are allocated in the table's pool. */
const char *b24bg_framing_clear(apr_table_t *headers);

#endif
