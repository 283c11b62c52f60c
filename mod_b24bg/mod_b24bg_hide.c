/* Secrets in the URL: APP_SID and tokens in the query, the key at the end of the error URL. They
 * must not reach access logs and server-status, which show the request line. */
#include "mod_b24bg.h"

#include "b24bg_form.h"

#include <apr_strings.h>
#include <scoreboard.h>

/* The longest <Location> for notices that the URL lies in, or NULL. */
static const char *error_place(const request_rec *r)
{
    const char *longest = NULL;
    int i;

    for (i = 0; i < b24bg_main->places->nelts; i++) {
        const b24bg_place_t *place = &APR_ARRAY_IDX(b24bg_main->places, i, b24bg_place_t);
        if (place->kind == B24BG_KIND_ERROR && place->path &&
            strncmp(r->uri, place->path, strlen(place->path)) == 0 &&
            (!longest || strlen(place->path) > strlen(longest))) {
            longest = place->path;
        }
    }
    return longest;
}

/* The path as it may be shown: of an error URL, what lies behind its Location is a key. */
static char *shown_path(const request_rec *r, b24bg_kind_e kind)
{
    const char *place = kind == B24BG_KIND_ERROR ? error_place(r) : NULL;

    if (kind != B24BG_KIND_ERROR) {
        return apr_pstrmemdup(r->pool, r->unparsed_uri, strcspn(r->unparsed_uri, "?"));
    }
    return apr_pstrcat(r->pool, place ? place : "", place && strcmp(r->uri, place) == 0 ? "" : "/-",
                       NULL);
}

void b24bg_hide_in_line(request_rec *r, b24bg_request_t *request)
{
    const char *version = strrchr(r->the_request, ' ');

    if (r->args) {
        request->shown_args = apr_pstrdup(r->pool, r->args);
        b24bg_form_hide(request->shown_args);
    }
    r->unparsed_uri = apr_pstrcat(r->pool, shown_path(r, request->count.kind),
                                  request->shown_args ? "?" : NULL, request->shown_args, NULL);
    r->the_request =
        apr_pstrcat(r->pool, r->method, " ", r->unparsed_uri,
                    version && strncmp(version, " HTTP/", 6) == 0 ? version : "", NULL);
    if (r->connection->sbh) {
        ap_update_child_status(r->connection->sbh, SERVER_BUSY_WRITE, r);
    }
}

void b24bg_hide_in_url(request_rec *r, const b24bg_request_t *request)
{
    if (request->shown_args) {
        r->args = request->shown_args;
    }
    if (request->count.kind == B24BG_KIND_ERROR) {
        r->uri = shown_path(r, B24BG_KIND_ERROR);
        r->filename = r->uri;
        r->path_info = NULL;
    }
}
