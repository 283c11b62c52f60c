/* What the tests of b24bg_table share: tables in shared memory, portals by number, processes. */
#ifndef TABLE_H
#define TABLE_H

#include "unit.h"

#include "b24bg_table.h"

#include <apr_strings.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOW 1700000000000000
#define DOMAIN "xxx.bitrix24.com"

static const unsigned char key[APR_SIPHASH_KSIZE] = "0123456789abcdef";

/* Memory that children share, as the server's segment; it stays mapped until the program ends. */
static inline b24bg_table_t *new_table(apr_uint32_t portals)
{
    apr_size_t size = b24bg_table_size(portals);
    void *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(base != MAP_FAILED);
    return b24bg_table_create(base, portals, key);
}

static inline const char *portal_id(char *text, apr_uint32_t number)
{
    apr_snprintf(text, B24BG_MEMBER_ID_LENGTH + 1, "%032x", number);
    return text;
}

static inline b24bg_portal_ref_t load_at(b24bg_table_t *table, int app, apr_uint32_t number,
                                         apr_time_t now)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {app, portal_id(text, number), 0};

    return b24bg_table_portal(table, &id, DOMAIN, now);
}

static inline b24bg_portal_ref_t load(b24bg_table_t *table, apr_uint32_t number, apr_time_t now)
{
    return load_at(table, 0, number, now);
}

static inline b24bg_table_request_t accepted(b24bg_portal_ref_t portal, apr_time_t now)
{
    b24bg_table_request_t request;

    memset(&request, 0, sizeof(request));
    request.kind = B24BG_KIND_WORKER;
    request.reason = B24BG_REASON_UNKNOWN_PORTAL;
    request.portal = portal;
    request.is_load = 1;
    request.now = now;
    return request;
}

/* A portal of the store, or (user != 0) a personal registration there. */
static inline int know_user(b24bg_table_t *table, apr_uint32_t number, apr_int64_t user,
                            const char *token)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_known_portal_t portal = {
        {0, portal_id(text, number), user}, "https://" DOMAIN, token, NOW, 0, 0, 0};

    return b24bg_table_know(table, &portal);
}

static inline int know(b24bg_table_t *table, apr_uint32_t number, const char *token)
{
    return know_user(table, number, 0, token);
}

static inline void unknow(b24bg_table_t *table, apr_uint32_t number)
{
    char text[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_portal_id_t id = {0, portal_id(text, number), 0};

    assert_int_equal(b24bg_table_unknow(table, &id), 1);
}

static inline b24bg_portal_counts_t read_place(b24bg_table_t *table, apr_uint32_t slot,
                                               apr_time_t now)
{
    b24bg_portal_counts_t portal;

    memset(&portal, 0, sizeof(portal));
    assert_int_equal(b24bg_table_read_portal(table, slot, now, &portal), 1);
    return portal;
}

static inline void table_pause(long microseconds)
{
    struct timespec time = {0, microseconds * 1000};

    nanosleep(&time, NULL);
}

/* The children's work; a child ends with 0 if all it saw was as promised. */
typedef int (*work_t)(b24bg_table_t *table, apr_uint32_t self);

static inline void run_children(work_t work, b24bg_table_t *table, apr_uint32_t count)
{
    pid_t pids[8];
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            alarm(20); /* an endless loop shows as a death by SIGALRM */
            _exit(work(table, i));
        }
    }
    for (i = 0; i < count; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

#endif
