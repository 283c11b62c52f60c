/* The output filter that lets a portal frame its worker, whatever headers the site sends with all
 * its pages. */
#include "mod_b24bg.h"

#include "b24bg_framing.h"

#include <http_log.h>
#include <http_protocol.h>

APLOG_USE_MODULE(b24bg);

#define FILTER "B24BG_FRAMING"
#define CSP "Content-Security-Policy"

/* Behind mod_headers, which is a filter of this type and adds what `Header` says, in front of
 * httpd's own, which sends the headers. */
#define FILTER_TYPE ((ap_filter_type)(AP_FTYPE_CONTENT_SET + 1))

static void tell(request_rec *r, const b24bg_request_t *request, const char *names)
{
    if (b24bg_main->table && b24bg_table_claim_framing(b24bg_main->table, request->count.app)) {
        ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                      "B24BG0107: headers of this site taken out of the worker's answers, with "
                      "them no portal could frame it: app=%s headers=\"%s\"",
                      request->app->name, names);
    }
}

/* Our own frame-ancestors comes last: nothing that is there before it is taken for somebody
 * else's. */
static apr_status_t filter(ap_filter_t *f, apr_bucket_brigade *brigade)
{
    const b24bg_request_t *request = f->ctx;
    request_rec *r = f->r;
    const char *names = b24bg_framing_clear(r->headers_out, r->err_headers_out);

    ap_remove_output_filter(f);
    if (names) {
        tell(r, request, names);
    }
    if (request->csp) {
        apr_table_addn(r->headers_out, CSP, request->csp);
    }
    return ap_pass_brigade(f->next, brigade);
}

void b24bg_framing_register(void)
{
    ap_register_output_filter(FILTER, filter, NULL, FILTER_TYPE);
}

void b24bg_framing_add(request_rec *r, b24bg_request_t *request, const char *csp)
{
    request->csp = csp;
    ap_add_output_filter(FILTER, request, r, r->connection);
}
