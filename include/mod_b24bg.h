/* What the mod_b24bg*.c files share: the configuration, the request's record, the hooks of each
 * file. Private to the module; the b24bg_*.c files know nothing of it.
 */
#ifndef MOD_B24BG_H
#define MOD_B24BG_H

#include "b24bg_form.h"
#include "b24bg_page.h"
#include "b24bg_registration.h"
#include "b24bg_rest.h"
#include "b24bg_table.h"
#include "b24bg_value.h"

#include <httpd.h>
#include <ap_mmn.h>
#include <http_config.h>

#include <apr_thread_mutex.h>

/* Oldest httpd tested: 2.4.71, Debian 12. */
#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 142)
#error "mod_b24bg is tested with httpd 2.4.71 and newer; lower this line at your own risk"
#endif

extern module AP_MODULE_DECLARE_DATA b24bg_module;

/* What tells one state of a file from another without reading it. All zero: no file. */
typedef struct {
    apr_ino_t inode;
    apr_off_t size;
    apr_time_t mtime;
    apr_time_t ctime;
} b24bg_file_state_t;

/* An app's own page (B24bgPage). The text changes while requests use it, so they copy it under
 * the mutex; copying 64 KiB takes microseconds. */
typedef struct {
    const char *path;          /* NULL: the built-in page */
    apr_thread_mutex_t *mutex; /* NULL before child_init, when there is one thread */
    apr_pool_t *pool;          /* owns the texts; replaced with them */
    const char *text;          /* as it is in the file */
    b24bg_page_t page;         /* as it is served */
    b24bg_file_state_t state;  /* of the file when the text was read */
    b24bg_file_state_t seen;   /* at the last look */
    int missing;               /* the file could not be read last time, and that is logged */
} b24bg_own_page_t;

/* B24bgVerify: what a load must prove. */
typedef enum { B24BG_VERIFY_KNOWN, B24BG_VERIFY_STRICT, B24BG_VERIFY_OFF } b24bg_verify_e;

/* <B24bgApp>. Read only after start, own_page apart. */
typedef struct b24bg_app_t {
    const char *name;
    const char *defined_at; /* "file:line" */
    int row;                /* in the table */
    const char *worker_url; /* NULL: nothing is registered */
    const char *error_url;  /* of an app with a client: NULL if worker_url is */
    const char *title;
    apr_array_header_t *users;   /* apr_int64_t; empty: one registration for all */
    apr_array_header_t *scripts; /* const char * */
    const char *bx24;            /* URL, NULL: not attached */
    int bx24_set;
    apr_int64_t max_body;
    apr_array_header_t *portals; /* const char *, patterns; empty: any */
    apr_time_t slow_limit;
    apr_int64_t slow_count;
    apr_array_header_t *budget_warn; /* apr_int64_t, rising; not empty once the app is read */
    int budget_warn_set;
    b24bg_page_beacon_e beacon;
    b24bg_registration_policy_t policy;
    apr_time_t silence;               /* 0: nobody asks */
    const char *const *alert_command; /* as b24bg_alert_t has it, or NULL */
    int allow_http;
    b24bg_verify_e verify;
    b24bg_rest_app_t rest; /* client_id NULL: nobody is called; its patterns are `portals` */
    apr_array_header_t *auth_servers; /* const char *; what rest points to */
    b24bg_page_t page;                /* built in */
    b24bg_own_page_t own_page;
    const char *install_page;
    apr_size_t install_page_length;
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

/* A B24bgUse, kept until all apps are known. */
typedef struct {
    const char *name;
    const char *at;   /* "file:line" */
    const char *path; /* of its section */
    server_rec *server;
} b24bg_use_t;

/* A section whose SetHandler names one of our handlers. */
typedef struct {
    const server_rec *server;
    const char *section; /* its argument */
    const char *path;    /* the same if it is a <Location>, else NULL */
    int kind;            /* b24bg_kind_e */
    const char *at;      /* "file:line" */
} b24bg_place_t;

/* What all servers share; lives in pconf. */
typedef struct {
    apr_array_header_t *apps;   /* b24bg_app_t *, of all servers */
    apr_array_header_t *uses;   /* b24bg_use_t, every B24bgUse, for the check */
    apr_array_header_t *places; /* b24bg_place_t, known once the configuration is checked */
    b24bg_app_t *open_app;      /* the <B24bgApp> being read */
    b24bg_app_t *default_app;   /* meant where a server knows no app */
    apr_int64_t max_portals;
    const char *state_dir;
    const char *journal; /* path, in state_dir */
    const char *store_driver;
    const char *store_params; /* NULL: b24bg.db in state_dir; may hold a password */
    int server_status;        /* B24bgServerStatus */
    int configured;           /* some directive of ours was there, or the status handler */
    b24bg_table_t *table;     /* NULL: the module is not used */
} b24bg_main_t;

extern b24bg_main_t *b24bg_main;

/* What worker and error URL allow. */
#define B24BG_ALLOW "GET, HEAD, POST, OPTIONS"

/* A request on one of our URLs. Lives in r->pool. */
typedef struct {
    b24bg_app_t *app; /* set when handled */
    b24bg_table_request_t count;
    const char *member_id; /* of a well-formed load, else NULL */
    char *args;            /* the query, "" if none; to be parsed in place */
    char *shown_args;      /* the query without secrets, or NULL */
    const char *csp;       /* frame-ancestors of a page that is framed, or NULL */
    int handled;           /* our handler ran: count it at the end */
    int load_ms;           /* what a beacon has told, -1: nothing */
    int is_look;           /* GET or HEAD of a worker page, which is not counted */
} b24bg_request_t;

/* mod_b24bg_directives.c */
extern const command_rec b24bg_directives[];

/* mod_b24bg_app.c */

/* <B24bgApp name>, with all that is in it; a command function of httpd's. */
const char *b24bg_app_open(cmd_parms *cmd, void *conf, const char *arguments);

/* mod_b24bg_config.c */
b24bg_app_t *b24bg_config_new_app(apr_pool_t *pool, const char *name);
/* B24bgBudgetWarn's default, by the count of B24bgSlowLimit, where it was not given. */
void b24bg_config_budget(b24bg_app_t *app);
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
/* The status handler is none of the kinds: it serves no app, and is not counted. */
int b24bg_config_is_status(const char *handler);
int b24bg_config_is_status_here(request_rec *r);
/* The app of a request, or NULL where the Location would have to say which (B24bgUse). */
b24bg_app_t *b24bg_config_app(const server_rec *s, const b24bg_location_t *location);
/* The kind that a handler's name stands for, or -1. */
int b24bg_config_kind(const char *handler);

/* mod_b24bg_body.c */
/* A body in memory, with a NUL behind it. */
typedef struct {
    char *data;
    apr_size_t length;
    apr_size_t room; /* what data has space for, the NUL apart */
    int cut;         /* it was longer than the limit */
} b24bg_body_t;

/* 1 if Content-Type says application/x-www-form-urlencoded, whatever its parameters. */
int b24bg_body_is_form(const request_rec *r);
/* Content-Length as httpd has accepted it, or -1. */
apr_int64_t b24bg_body_announced(const request_rec *r);
/* Reads the whole body, or up to the limit, and then body->cut is set. Returns OK, or a status as
 * a handler returns it. Waits for the client as long as httpd's timeouts allow. */
int b24bg_body_read(request_rec *r, apr_size_t limit, b24bg_body_t *body);
/* Nobody waits for a body that will not be used: without this, httpd reads it to its end before
 * the answer leaves. The connection ends with the answer. */
void b24bg_body_give_up(request_rec *r);

/* mod_b24bg_request.c */
int b24bg_request_translate(request_rec *r);
int b24bg_request_map(request_rec *r);
int b24bg_request_handler(request_rec *r);
void b24bg_request_error(request_rec *r);
int b24bg_request_finish(request_rec *r);
/* Sets what all answers carry: spec.md section 4. */
void b24bg_answer_headers(request_rec *r);
/* What the URLs share. Handlers return what these return. */
/* 200 and an empty body. */
int b24bg_answer_empty(request_rec *r);
/* 204. */
int b24bg_answer_nothing(request_rec *r);
/* 200 and a page; `csp` NULL: no such header. The page must outlive the answer. */
int b24bg_answer_framed(request_rec *r, b24bg_request_t *request, const char *csp, const char *page,
                        apr_size_t length);
int b24bg_answer_options(request_rec *r, b24bg_request_t *request, const char *allow);
/* Refuses with the reason's status and a text "field: why". */
int b24bg_refuse(request_rec *r, b24bg_request_t *request, b24bg_reason_e why, const char *field);
int b24bg_refuse_method(request_rec *r, b24bg_request_t *request, const char *allow);
/* The body could not be read: `status` is what b24bg_body_read said. */
int b24bg_refuse_body(request_rec *r, b24bg_request_t *request, int status);
/* Reads a form's whole body. 1: *body holds it. 0: the answer is out, or *status says what the
 * handler must return. */
int b24bg_receive_form(request_rec *r, b24bg_request_t *request, b24bg_body_t *body, int *status);
b24bg_reason_e b24bg_form_reason(b24bg_form_result_e result);
/* Appends to the journal; APR_SUCCESS: it is on the disk. */
apr_status_t b24bg_keep(request_rec *r, const char *text);
/* 1 once a minute for each *last (0 at first): what any client can cause must not fill the error
 * log. */
int b24bg_is_minute_over(volatile apr_uint32_t *last);

/* mod_b24bg_beacon.c: what pages tell of their own load */
/* A tag for this render, or NULL where none belongs. */
const char *b24bg_beacon_make(request_rec *r, const b24bg_request_t *request);
int b24bg_serve_beacon(request_rec *r, b24bg_request_t *request);
/* Writes one line where slow loads have just reached a number of B24bgBudgetWarn. */
void b24bg_budget_warn(request_rec *r, const b24bg_app_t *app, b24bg_portal_ref_t place);

/* mod_b24bg_framing.c: headers of the site that would keep a page from being framed */
void b24bg_framing_register(void);
/* Has this answer's headers cleared of them; `csp` is our own, or NULL. */
void b24bg_framing_add(request_rec *r, b24bg_request_t *request, const char *csp);

/* mod_b24bg_notice.c */
int b24bg_serve_error(request_rec *r, b24bg_request_t *request);

/* mod_b24bg_install.c */
int b24bg_serve_install(request_rec *r, b24bg_request_t *request);

/* mod_b24bg_hide.c */
/* Takes secrets out of what loggers and server-status show and nobody decides anything by: the
 * request line. Call as early as the request is known to be ours. */
void b24bg_hide_in_line(request_rec *r, b24bg_request_t *request);
/* Takes them out of what the request is decided by: call when that is done. */
void b24bg_hide_in_url(request_rec *r, const b24bg_request_t *request);

/* mod_b24bg_status.c */
/* Sets the notes of spec.md section 6. */
void b24bg_status_note(request_rec *r, const b24bg_request_t *request);
int b24bg_status_handler(request_rec *r);
/* Adds the section of mod_status, where that is loaded; call with the other hooks. */
void b24bg_status_register(void);

/* mod_b24bg_page.c */
/* Reads the app's own page into memory: NULL, or what is wrong. Allocated in pool. */
const char *b24bg_own_page_load(b24bg_own_page_t *page, apr_pool_t *pool);
/* Makes of it what is served, once the app's directives are known. */
void b24bg_own_page_complete(b24bg_own_page_t *page, const b24bg_app_t *app, apr_pool_t *pool);
/* Has the pages looked after in each child; call in post_config. */
apr_status_t b24bg_own_page_register(apr_pool_t *pconf, server_rec *s);
void b24bg_own_page_child(apr_pool_t *pchild, server_rec *s);

/* mod_b24bg_background.c: the task of apps that have a client */
/* Makes the state directory and registers the watchdog; call in post_config. */
apr_status_t b24bg_background_register(apr_pool_t *pconf, server_rec *s);
void b24bg_background_child(apr_pool_t *pchild, server_rec *s);
void b24bg_background_stopping(apr_pool_t *pchild, int graceful);

#endif
