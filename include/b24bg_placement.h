/* Decoded fields of a worker POST -> a typed request, or the reason why not.
 *
 * Pure. Thread: any; nothing is shared. What a b24bg_placement_t points to belongs to the tables
 * and the pool it was read with.
 */
#ifndef B24BG_PLACEMENT_H
#define B24BG_PLACEMENT_H

#include <apr_pools.h>
#include <apr_tables.h>

/* The only placement this product serves: protocol.md 1.3. */
#define B24BG_PLACEMENT_CODE "PAGE_BACKGROUND_WORKER"
/* member_id is 32 hexadecimal digits: protocol.md 1.3. */
#define B24BG_MEMBER_ID_LENGTH 32
/* "host:port": 253 characters of host (RFC 1035), a colon, five digits. */
#define B24BG_DOMAIN_MAX (253 + 6)
/* "https://" in front of that. */
#define B24BG_ORIGIN_MAX (8 + B24BG_DOMAIN_MAX)

/* What is said of a request in notes, counters and metrics: spec.md section 6. */
#define B24BG_VERDICT_LIST(X)                                                                      \
    X(OK, "ok")                                                                                    \
    X(UNKNOWN, "unknown")                                                                          \
    X(BADTOKEN, "badtoken")                                                                        \
    X(REFUSED, "refused")                                                                          \
    X(MALFORMED, "malformed")

/* Every way a request can end: identifier, name in counters and logs, verdict, HTTP status, what
 * the client is told behind the field's name (spec.md 4.1; MALFORMED_NOTICE is answered 200). */
#define B24BG_REASON_LIST(X)                                                                       \
    X(ACCEPTED, "accepted", OK, 200, "")                                                           \
    X(UNKNOWN_PORTAL, "unknown_portal", UNKNOWN, 200, "")                                          \
    X(METHOD, "method", REFUSED, 405, "is not allowed here")                                       \
    X(NOT_FORM, "not_form", MALFORMED, 415, "application/x-www-form-urlencoded is expected")       \
    X(TOO_LARGE, "too_large", REFUSED, 413, "the body is larger than this server takes")           \
    X(BODY_CUT, "body_cut", MALFORMED, 400, "the body could not be read to its end")               \
    X(BAD_ESCAPE, "bad_escape", MALFORMED, 400, "holds a % without two hexadecimal digits")        \
    X(NUL, "nul", MALFORMED, 400, "holds a NUL byte")                                              \
    X(FIELD_TWICE, "field_twice", MALFORMED, 400, "is there twice")                                \
    X(TOO_MANY_FIELDS, "too_many_fields", MALFORMED, 400, "one field too many")                    \
    X(DOMAIN_MISSING, "domain_missing", MALFORMED, 400, "is missing from the query")               \
    X(DOMAIN_BAD, "domain_bad", MALFORMED, 400, "is not a host name with an optional port")        \
    X(MEMBER_ID_MISSING, "member_id_missing", MALFORMED, 400, "is missing from the body")          \
    X(MEMBER_ID_BAD, "member_id_bad", MALFORMED, 400, "is not 32 hexadecimal digits")              \
    X(PLACEMENT, "placement", MALFORMED, 400, "is not " B24BG_PLACEMENT_CODE)                      \
    X(OUTSIDE, "outside", REFUSED, 403, "is none of the portals served here")                      \
    X(BAD_TOKEN, "bad_token", BADTOKEN, 403, "is not that of this portal")                         \
    X(STRICT, "strict", REFUSED, 403, "is not that of a portal verified here")                     \
    X(TOKEN_MISSING, "token_missing", MALFORMED, 400, "is missing or empty")                       \
    X(TOKEN_BAD, "token_bad", MALFORMED, 400, "is not a token")                                    \
    X(EVENT_MISSING, "event_missing", MALFORMED, 400,                                              \
      "this is neither an installation page nor an event")                                         \
    X(EVENT_IGNORED, "event_ignored", OK, 200, "")                                                 \
    X(JOURNAL, "journal", REFUSED, 503, "it could not be kept safely; see the error log")          \
    X(BEACON, "beacon", REFUSED, 204, "")                                                          \
    X(MALFORMED_NOTICE, "malformed_notice", MALFORMED, 200, "")

#define B24BG_VERDICT_ENUM(id, name) B24BG_VERDICT_##id,
typedef enum { B24BG_VERDICT_LIST(B24BG_VERDICT_ENUM) B24BG_VERDICT_COUNT } b24bg_verdict_e;
#undef B24BG_VERDICT_ENUM

#define B24BG_REASON_ENUM(id, name, verdict, status, text) B24BG_REASON_##id,
typedef enum { B24BG_REASON_LIST(B24BG_REASON_ENUM) B24BG_REASON_COUNT } b24bg_reason_e;
#undef B24BG_REASON_ENUM

typedef struct {
    const char *name;
    b24bg_verdict_e verdict;
    int status; /* HTTP */
    const char *text;
} b24bg_reason_t;

/* Never NULL; static. */
const b24bg_reason_t *b24bg_reason(b24bg_reason_e reason);
const char *b24bg_verdict_name(b24bg_verdict_e verdict);

/* 1 if text is a member_id; then `to` (B24BG_MEMBER_ID_LENGTH + 1 bytes) has it in lower case. */
int b24bg_placement_member_id(const char *text, char *to);

/* 1 if both secrets are the same; takes as long for a wrong one as for the right one of the same
 * length. The pure twin of httpd's ap_streq_timingsafe. */
int b24bg_placement_same_secret(const char *one, const char *other);

/* A load as Bitrix24 announces it. Everything in it is a claim of the client. */
typedef struct {
    char member_id[B24BG_MEMBER_ID_LENGTH + 1]; /* lower case */
    char domain[B24BG_DOMAIN_MAX + 1];          /* lower case, no trailing dot */
    const char *app_sid;                        /* or NULL; secret */
    const char *application_token;              /* or NULL; secret */
    const char *options;                        /* PLACEMENT_OPTIONS as sent, or NULL */
    apr_int64_t user; /* of a personal registration: "u" as b24bg_value_handler_url has put it into
                         the handler's URL; 0: none */
} b24bg_placement_t;

/* Reads what protocol.md 1.2 and 1.3 describe: DOMAIN and APP_SID from the query alone, the rest
 * from the body alone, by name; whatever else is there is ignored. Returns
 * B24BG_REASON_ACCEPTED, or why not, and then *field names the field (static). */
b24bg_reason_e b24bg_placement_read(const apr_table_t *query, const apr_table_t *body,
                                    b24bg_placement_t *placement, const char **field);

/* PLACEMENT_OPTIONS never fails a load: protocol.md 1.4. */
typedef enum {
    B24BG_OPTIONS_EMPTY, /* absent, "", [], null, undefined */
    B24BG_OPTIONS_OK,
    B24BG_OPTIONS_BROKEN /* not JSON; to be treated as empty, and counted */
} b24bg_options_e;

/* Classifies the text. The documented shape costs no allocation (engineering.md section 5: the
 * allocations are jansson's cost); whatever else it is, jansson decides. */
b24bg_options_e b24bg_placement_options_check(const char *text);

/* The decoded URI of the portal page that hosts the frame, or NULL where there is none. Any
 * employee can choose it. Allocated in pool. */
const char *b24bg_placement_options_uri(apr_pool_t *pool, const char *text);

#endif
