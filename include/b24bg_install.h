/* Installation pages and ONAPP* events: decoded fields -> what the journal keeps, and back.
 *
 * Pure. Thread: any; nothing is shared. Everything in a b24bg_install_t is a claim of the client
 * until the auth server has confirmed it. Sources: protocol.md 5.3 and 5.4.
 */
#ifndef B24BG_INSTALL_H
#define B24BG_INSTALL_H

#include "b24bg_placement.h"

#include <apr_pools.h>
#include <apr_tables.h>

/* Tokens are 32 to 70 characters in all samples (protocol.md 1.3); far more is no token. */
#define B24BG_INSTALL_TOKEN_MAX 512

typedef enum {
    B24BG_INSTALL_PAGE,      /* the installation page in the administrator's browser */
    B24BG_INSTALL_EVENT,     /* ONAPPINSTALL */
    B24BG_INSTALL_UPDATE,    /* ONAPPUPDATE */
    B24BG_INSTALL_UNINSTALL, /* ONAPPUNINSTALL */
    B24BG_INSTALL_OTHER      /* an event that is none of our business */
} b24bg_install_kind_e;

typedef struct {
    b24bg_install_kind_e kind;
    const char *member_id;         /* 32 hex digits, lower case */
    const char *server_endpoint;   /* as sent, "" if not */
    const char *access_token;      /* secret; "" for UNINSTALL */
    const char *refresh_token;     /* secret; "" if not sent */
    const char *application_token; /* secret; "" if not sent */
} b24bg_install_t;

/* Reads either form: B24BG_REASON_ACCEPTED, or why not, and then *field names the field (static).
 * For kind OTHER nothing but the kind is set. Copies go to pool. */
b24bg_reason_e b24bg_install_read(apr_pool_t *pool, const apr_table_t *body,
                                  b24bg_install_t *install, const char **field);

/* "install", "update" or "uninstall": the store's word. */
const char *b24bg_install_event(b24bg_install_kind_e kind);

/* As urlencoded text for journal and store, with the app's name in it; secret. */
char *b24bg_install_encode(apr_pool_t *pool, const char *app, const b24bg_install_t *install);

/* The reverse, of what encode made: 0 if the text is something else. `text` is not changed. */
int b24bg_install_decode(apr_pool_t *pool, const char *text, const char **app,
                         b24bg_install_t *install);

#endif
