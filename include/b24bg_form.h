/* application/x-www-form-urlencoded bytes -> a bounded apr_table_t, strictly.
 *
 * Pure. Thread: any; nothing is shared. The table points into the caller's buffer, so it lives as
 * long as the shorter of buffer and pool.
 */
#ifndef B24BG_FORM_H
#define B24BG_FORM_H

#include <apr_pools.h>
#include <apr_tables.h>

/* The longest documented form, ONAPPINSTALL, has 18 fields (protocol.md 5.3). The bound also keeps
 * the search for duplicates, which is quadratic, below 2,100 comparisons. */
#define B24BG_FORM_FIELDS_MAX 64

typedef enum {
    B24BG_FORM_OK,
    B24BG_FORM_BAD_ESCAPE, /* "%" without two hexadecimal digits behind it */
    B24BG_FORM_NUL,        /* a NUL byte, raw or escaped */
    B24BG_FORM_TWICE,      /* a name that stood before, where that is not allowed */
    B24BG_FORM_TOO_MANY    /* more than B24BG_FORM_FIELDS_MAX fields */
} b24bg_form_result_e;

/* What a name that stands twice means. */
typedef enum {
    B24BG_FORM_REFUSE_TWICE, /* bodies: no honest form has it */
    B24BG_FORM_LAST_WINS     /* queries: Bitrix24 appends its own behind the handler's */
} b24bg_form_twice_e;

/* What a text says. */
typedef struct {
    apr_table_t *fields; /* the decoded pairs in their order; on failure those before the fault */
    const char *culprit; /* on failure: the field, fit for display ("a field" where its name might
                            be a secret); else NULL */
} b24bg_form_t;

/* Decodes text[0..length) in place; text[length] must be writable. Empty pairs are skipped, a name
 * without "=" has the value "". */
b24bg_form_result_e b24bg_form_parse(apr_pool_t *pool, char *text, apr_size_t length,
                                     b24bg_form_twice_e twice, b24bg_form_t *form);

/* The value of a field, or NULL. Unlike apr_table_get it heeds case, as Bitrix24 does:
 * member_id and MEMBER_ID are two fields. */
const char *b24bg_form_get(const apr_table_t *fields, const char *name);

/* The length in bytes of the UTF-8 character at the start of text; 0 if none is there, as at the
 * end of the text. Surrogates and overlong forms are none (RFC 3629). */
apr_size_t b24bg_form_character(const char *text);
/* 1 if that character is a control character (C0, DEL, or C1, which takes two bytes), or the text
 * ends there. */
int b24bg_form_is_control(const char *character);

/* A copy of text fit for a log line or a plain text answer: control characters (C1 in UTF-8
 * included) become blanks, double quotes become single ones, and it is cut to at most `longest`
 * bytes, never inside a UTF-8 character. */
char *b24bg_form_clean(apr_pool_t *pool, const char *text, apr_size_t longest);

/* Overwrites in place the value of every field of an encoded query that is secret in this protocol
 * (APP_SID, tokens, in whatever way their names are written) with "-". For what goes to logs. */
void b24bg_form_hide(char *query);

#endif
