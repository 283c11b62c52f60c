/* What the files of `b24bgctl check` share: the findings, and what they are about. */
#ifndef B24BGCTL_CHECK_H
#define B24BGCTL_CHECK_H

#include "b24bgctl.h"

typedef enum {
    B24BGCTL_FOUND_OK,
    B24BGCTL_FOUND_NOTE, /* worth knowing; changes no exit code */
    B24BGCTL_FOUND_WARNING,
    B24BGCTL_FOUND_CRITICAL
} b24bgctl_found_e;

typedef struct {
    b24bgctl_found_e severity;
    const char *what; /* a word: what was looked at; static */
    const char *text;
    const char *remedy; /* static; "": none is needed */
} b24bgctl_finding_t;

typedef struct {
    const char *scheme; /* "https" or "http" */
    const char *host;   /* lower case; an IPv6 address without brackets */
    int port;
} b24bgctl_origin_t;

typedef struct {
    apr_pool_t *pool;
    b24bgctl_facts_t facts;
    b24bgctl_manner_t manner;
    b24bgctl_origin_t worker;
    b24bgctl_origin_t portal;
    apr_array_header_t *findings; /* b24bgctl_finding_t */
    apr_time_t certificate_expires;
    apr_interval_time_t shortest; /* of the loads; -1: not measured */
    apr_interval_time_t median;
    apr_interval_time_t longest;
} b24bgctl_check_t;

/* The text's control characters are taken out. No argument may hold a secret. */
void b24bgctl_find(b24bgctl_check_t *check, b24bgctl_found_e severity, const char *what,
                   const char *remedy, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* b24bgctl_check_way.c: the name, its addresses, and what listens there. 0: nothing is in reach. */
int b24bgctl_check_way(b24bgctl_check_t *check);
/* What the certificate of an answer, or of an answer that did not come, says. */
void b24bgctl_check_tls(b24bgctl_check_t *check, const b24bgctl_result_t *result);

/* b24bgctl_check_frame.c: the headers by which a browser refuses a frame or takes its rights. */
void b24bgctl_check_frame(b24bgctl_check_t *check, const b24bgctl_result_t *result);

/* b24bgctl_check_webhook.c: asks the portal what placements it offers. */
int b24bgctl_is_webhook(const b24bgctl_check_t *check, const char *url);
void b24bgctl_check_webhook(b24bgctl_check_t *check, const char *webhook);

#endif
