/* What the mod_b24bg*.c files share: the configuration, the request's record, the hooks of each
 * file. Private to the module; the b24bg_*.c files know nothing of it.
 */
#ifndef MOD_B24BG_H
#define MOD_B24BG_H

#include "b24bg_page.h"
#include "b24bg_table.h"
#include "b24bg_value.h"

#include <httpd.h>
#include <ap_mmn.h>
#include <http_config.h>

#include <apr_hash.h>
#include <apr_thread_mutex.h>

/* Oldest httpd tested: 2.4.71, Debian 12. */
#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 142)
#error "mod_b24bg is tested with httpd 2.4.71 and newer; lower this line at your own risk"
#endif

extern module AP_MODULE_DECLARE_DATA b24bg_module;

/* An app's own page (B24bgPage). The text changes while requests use it, so they copy it under
 * the mutex; copying 64 KiB takes microseconds. */
typedef struct {
    const char *path;          /* NULL: the built-in page */
    apr_thread_mutex_t *mutex; /* NULL before child_init, when there is one thread */
    apr_pool_t *pool;          /* owns text; replaced with it */
    const char *text;
    apr_size_t length;
    apr_time_t mtime;
    apr_off_t size;
    int missing; /* the file could not be read last time, and that is logged */
} b24bg_own_page_t;

/* <B24bgApp>. Read only after start, own_page apart. */
typedef struct b24bg_app_t {
    const char *name;
    const char *defined_at; /* "file:line" */
    int row;                /* in the table */
    const char *worker_url;
    const char *error_url;
    apr_array_header_t *scripts; /* const char * */
    const char *bx24;            /* URL, NULL: not attached */
    int bx24_set;
    apr_size_t max_body;
    apr_array_header_t *portals; /* const char *, patterns; empty: any */
    apr_time_t slow_limit;
    apr_int64_t slow_count;
    int allow_http;
    const char *page; /* built in */
    apr_size_t page_length;
    b24bg_own_page_t own_page;
    const char *csp; /* frame-ancestors for portals nobody verified, or NULL */
} b24bg_app_t;

/* Per server: the apps it knows, inherited ones included. */
typedef struct {
    apr_array_header_t *apps; /* b24bg_app_t * */
} b24bg_server_t;

/* Per Location or Directory. */
typedef struct {
    const char *use; /* B24bgUse, or NULL */
} b24bg_location_t;

/* A section whose SetHandler names one of our handlers. */
typedef struct {
    const server_rec *server;
    const char *path; /* of a <Location>, else NULL */
    int kind;         /* b24bg_kind_e */
    const char *at;   /* "file:line" */
} b24bg_place_t;

/* What all servers share; lives in pconf. */
typedef struct {
    apr_array_header_t *apps;   /* b24bg_app_t *, of all servers */
    apr_array_header_t *uses;   /* every B24bgUse, for the check */
    apr_array_header_t *places; /* b24bg_place_t, known once the configuration is checked */
    b24bg_app_t *open_app;      /* the <B24bgApp> being read */
    b24bg_app_t *default_app;   /* meant where a server knows no app */
    apr_uint32_t max_portals;
    int configured;       /* some directive of ours was there */
    b24bg_table_t *table; /* NULL: the module is not used */
} b24bg_main_t;

extern b24bg_main_t *b24bg_main;

/* A request on one of our URLs. Lives in r->pool. */
typedef struct {
    b24bg_app_t *app; /* set when handled */
    b24bg_table_request_t count;
    const char *member_id; /* of a well-formed load, else NULL */
    int handled;           /* our handler ran: count it at the end */
} b24bg_request_t;

/* mod_b24bg_config.c */
extern const command_rec b24bg_directives[];
void b24bg_config_begin(apr_pool_t *pconf);
void *b24bg_config_create_server(apr_pool_t *pool, server_rec *s);
void *b24bg_config_merge_server(apr_pool_t *pool, void *base, void *add);
void *b24bg_config_create_location(apr_pool_t *pool, char *place);
void *b24bg_config_merge_location(apr_pool_t *pool, void *base, void *add);
/* OK, or an httpd error after it has logged what is wrong and where. */
int b24bg_config_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
/* 1 if anything in the configuration asks for the module; known after the check. */
int b24bg_config_is_used(void);
/* The kind of our handler that these sections set, or -1. */
int b24bg_config_kind_here(request_rec *r);
/* The app of a request, or NULL where the Location would have to say which (B24bgUse). */
b24bg_app_t *b24bg_config_app(const server_rec *s, const b24bg_location_t *location);
/* The kind that a handler's name stands for, or -1. */
int b24bg_config_kind(const char *handler);

/* mod_b24bg_request.c */
int b24bg_request_translate(request_rec *r);
int b24bg_request_map(request_rec *r);
int b24bg_request_handler(request_rec *r);
int b24bg_request_finish(request_rec *r);

/* mod_b24bg_status.c */
/* Sets the notes of spec.md section 6. */
void b24bg_status_note(request_rec *r, const b24bg_request_t *request);

/* mod_b24bg_background.c */
/* Reads the app's own page into memory: NULL, or what is wrong. Allocated in pool. */
const char *b24bg_background_load_page(b24bg_own_page_t *page, apr_pool_t *pool);
/* Has the pages looked after in each child; call in post_config. */
apr_status_t b24bg_background_register(apr_pool_t *pconf, server_rec *s);
void b24bg_background_child(apr_pool_t *pchild, server_rec *s);

#endif
