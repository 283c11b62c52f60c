/* What the writers of b24bg_render.h share: text on its way out, and sentences. Private to
 * b24bg_render*.c. Thread: as there.
 */
#ifndef B24BG_RENDER_PARTS_H
#define B24BG_RENDER_PARTS_H

#include "b24bg_render.h"

typedef struct b24bg_out_t b24bg_out_t;

/* Text on its way out; on the stack of who writes. */
struct b24bg_out_t {
    b24bg_render_cb write;
    void *baton;
    /* Writes one printable ASCII character as the format wants it. */
    void (*escape)(b24bg_out_t *out, char character);
    apr_size_t used;
    char buffer[B24BG_RENDER_PIECE];
};

/* b24bg_render_out.c */
void b24bg_out_begin(b24bg_out_t *out, b24bg_render_cb write, void *baton,
                     void (*escape)(b24bg_out_t *out, char character));
/* Writes what is left. */
void b24bg_out_end(b24bg_out_t *out);
/* The format's own text, as it is. */
void b24bg_out_raw(b24bg_out_t *out, const char *text);
void b24bg_out_char(b24bg_out_t *out, char character);
/* Everything else; one line of it, whatever it holds. */
void b24bg_out_text(b24bg_out_t *out, const char *text);
void b24bg_out_number(b24bg_out_t *out, apr_uint64_t number);
/* Microseconds as seconds, without a fraction that is 0. */
void b24bg_out_seconds(b24bg_out_t *out, apr_uint64_t microseconds);
/* An escape: the character itself. */
void b24bg_out_plain(b24bg_out_t *out, char character);
/* For HTML, text and attributes in double quotes. */
void b24bg_out_html(b24bg_out_t *out, char character);

/* b24bg_render_words.c: sentences for people, written with b24bg_out_text; plain ASCII. */
/* "40 s", "3 min", "5 h", "12 days". */
void b24bg_words_span(b24bg_out_t *out, apr_interval_time_t span);
/* "3 min ago", "never". */
void b24bg_words_ago(b24bg_out_t *out, apr_time_t now, apr_time_t then);
/* "14:02" within a day, else "2026-11-25 14:02"; UTC. */
void b24bg_words_clock(b24bg_out_t *out, apr_time_t now, apr_time_t at);
/* "crm.example.com", "crm.example.com, user 7". */
void b24bg_words_portal(b24bg_out_t *out, const b24bg_render_portal_t *portal);
/* "registered", "blocked: no-token". */
void b24bg_words_state(b24bg_out_t *out, const b24bg_render_portal_t *portal);
/* What the module does next. */
void b24bg_words_next(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                      const b24bg_render_portal_t *portal);
/* Why, of "blocked"; of others, and where nobody knows, "". Static. */
const char *b24bg_event_reason(const b24bg_shown_event_t *event);
void b24bg_words_event(b24bg_out_t *out, const b24bg_shown_event_t *event);
void b24bg_words_problem(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot,
                         const b24bg_render_problem_t *problem);
/* "12 registrations, 11 in place". */
void b24bg_words_count(b24bg_out_t *out, const b24bg_render_snapshot_t *snapshot);

/* b24bg_render.c */
/* 1, 0, or -1 where nobody knows, or looks after it. */
int b24bg_render_registered(const b24bg_render_portal_t *portal);
/* 0: a command took it away, or the application was uninstalled; so it is not missing. */
int b24bg_render_wanted(const b24bg_render_portal_t *portal);
/* 0: not installed here, so anybody may have made it up. */
int b24bg_render_is_row(const b24bg_render_portal_t *portal);
/* 0: no row, or the place of a portal whose registrations are all for single users. */
int b24bg_render_is_registration(const b24bg_render_portal_t *portal);
b24bg_level_e b24bg_problem_level(b24bg_problem_e problem);

/* A histogram of an app. */
typedef struct {
    const apr_time_t *bounds; /* microseconds; one less than counts */
    const apr_uint64_t *counts;
    int buckets;
    apr_uint64_t sum; /* microseconds */
} b24bg_histogram_t;

void b24bg_render_histogram(const b24bg_app_counts_t *counts, b24bg_metric_e metric,
                            b24bg_histogram_t *histogram);
apr_uint64_t b24bg_histogram_count(const b24bg_histogram_t *histogram);

#endif
