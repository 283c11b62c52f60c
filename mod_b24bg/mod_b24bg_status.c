/* What the module shows of itself: the access-log variables. */
#include "mod_b24bg.h"

#include <apr_strings.h>

/* Notes for %{...}n: spec.md section 6. Never a token, a key or an APP_SID: notes reach LogFormat
 * and whatever else reads them. */
void b24bg_status_note(request_rec *r, const b24bg_request_t *request)
{
    b24bg_verdict_e verdict = b24bg_reason(request->count.reason)->verdict;

    apr_table_setn(r->notes, "b24bg-app", request->app->name);
    apr_table_setn(r->notes, "b24bg-kind", b24bg_kind_name(request->count.kind));
    apr_table_setn(r->notes, "b24bg-verdict", b24bg_verdict_name(verdict));
    if (request->member_id) {
        apr_table_setn(r->notes, "b24bg-portal", request->member_id);
    }
    if (request->load_ms >= 0) {
        apr_table_setn(r->notes, "b24bg-load-ms", apr_itoa(r->pool, request->load_ms));
    }
}
