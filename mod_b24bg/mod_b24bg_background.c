/* The watchdog that runs the background task, and its end.
 *
 * httpd tells a watchdog little about stopping: its STOPPING state comes only by luck, and the
 * child normally exits in the middle of a callback. What works in every MPM and every way to stop:
 * child_stopping sets a flag that the task's calls look at, and a cleanup of pchild, which runs
 * before the child frees anything, waits until the callback has returned. A child that is told to
 * stop gracefully may live on for minutes: where it gets a callback behind the flag (Apache 2.4.71:
 * one, STOPPING), the task leaves at once, so that the next generation's need not wait for its
 * lease.
 */
#include "mod_b24bg.h"

#include "b24bg_task.h"

#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>
#include <mod_watchdog.h>
#include <unixd.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

APLOG_USE_MODULE(b24bg);

/* How often the task looks for work, and how long one step may wait for calls under way. */
#define STEP_EVERY AP_WD_TM_SLICE
#define STEP_WAIT (50 * (APR_USEC_PER_SEC / 1000))
/* Longest wait for the callback at the end: engineering.md section 5. */
#define STOP_WAIT apr_time_from_sec(2)
#define STOP_SLICE (10 * (APR_USEC_PER_SEC / 1000))

/* One child's, but for what the first line points to. */
static struct {
    volatile apr_uint32_t *begun; /* some child of this generation has, or had, a task; or NULL */
    volatile int stop;            /* read by curl's progress callback too */
    volatile int ending;          /* the child frees everything */
    volatile apr_uint32_t busy;   /* a step is running */
    int failed;                   /* the task could not start, and that is logged */
    apr_pool_t *pool;             /* the task's own root pool: it is for one thread alone */
    b24bg_task_config_t config;
    b24bg_task_t *task;
} background;

static const int log_levels[] = {APLOG_CRIT, APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO};

/* The line carries its own tag. */
static void write_log(void *baton, b24bg_log_level_e level, const char *line)
{
    ap_log_error(APLOG_MARK, log_levels[level], 0, (server_rec *)baton, "%s", line);
}

/* Keys are made of it, and the lease's name. There is no going on without. */
static void fill_random(void *bytes, apr_size_t length)
{
    apr_status_t rv = apr_generate_random_bytes(bytes, length);

    ap_assert(rv == APR_SUCCESS);
}

static apr_array_header_t *task_apps(apr_pool_t *pool)
{
    apr_array_header_t *apps = apr_array_make(pool, 4, sizeof(const b24bg_task_app_t *));
    int i;

    for (i = 0; i < b24bg_main->apps->nelts; i++) {
        const b24bg_app_t *app = APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *);
        b24bg_task_app_t *task_app;
        if (!app->rest.client_id) {
            continue;
        }
        task_app = apr_pcalloc(pool, sizeof(*task_app));
        task_app->name = app->name;
        task_app->row = app->row;
        task_app->rest = app->rest;
        task_app->rest.http.patience = B24BG_TASK_PATIENCE;
        task_app->worker_url = app->worker_url;
        task_app->error_url = app->error_url;
        task_app->title = app->title;
        task_app->users = app->users;
        task_app->policy = app->policy;
        task_app->silence = app->silence;
        task_app->alert_command = app->alert_command;
        task_app->budget_warn = app->budget_warn;
        task_app->slow_count = app->slow_count;
        task_app->beacons = app->beacon != B24BG_PAGE_BEACON_OFF;
        task_app->all_beacons = app->beacon == B24BG_PAGE_BEACON_ALL;
        APR_ARRAY_PUSH(apps, const b24bg_task_app_t *) = task_app;
    }
    return apps;
}

static const char *store_params(apr_pool_t *pool)
{
    if (b24bg_main->store_params) {
        return b24bg_main->store_params;
    }
    return apr_pstrcat(pool, b24bg_main->state_dir, "/b24bg.db", NULL);
}

/* A name for the lease that no other process on any machine has. */
static const char *lease_holder(apr_pool_t *pool)
{
    apr_uint32_t random[2];
    char host[APRMAXHOSTLEN + 1] = "?";

    apr_gethostname(host, sizeof(host), pool);
    fill_random(random, sizeof(random));
    return apr_psprintf(pool, "%s/%" APR_PID_T_FMT "/%08x%08x", host, getpid(), random[0],
                        random[1]);
}

static apr_status_t start_task(void)
{
    b24bg_task_config_t *config = &background.config;
    apr_status_t rv = apr_pool_create(&background.pool, NULL);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = b24bg_http_create(background.pool, &background.stop, &config->http);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(background.pool);
        background.pool = NULL;
        return rv;
    }
    config->apps = task_apps(background.pool);
    config->journal = b24bg_main->journal;
    config->store_driver = b24bg_main->store_driver;
    config->store_params = store_params(background.pool);
    config->holder = lease_holder(background.pool);
    config->table = b24bg_main->table;
    config->stop = &background.stop;
    config->log = write_log;
    config->log_baton = ap_server_conf;
    config->random = fill_random;
    background.task = b24bg_task_create(background.pool, config);
    if (background.begun) {
        apr_atomic_set32(background.begun, 1);
    }
    return APR_SUCCESS;
}

static void step(void)
{
    apr_status_t rv = background.task ? APR_SUCCESS : start_task();

    if (rv == APR_SUCCESS) {
        b24bg_task_step(background.task, apr_time_now(), STEP_WAIT);
    } else if (!background.failed) {
        background.failed = 1;
        ap_log_error(
            APLOG_MARK, APLOG_ERR, rv, ap_server_conf,
            "B24BG0401: the background task cannot start: libcurl could not be set up "
            "(it needs TLS and a resolver of its own); it is tried again, nothing is lost");
    }
}

/* There may be no other callback. */
static void leave(void)
{
    while (background.task && !background.ending &&
           !b24bg_task_leave(background.task, apr_time_now(), STEP_WAIT)) {
        apr_sleep(STOP_SLICE);
    }
}

/* Always APR_SUCCESS: anything else and httpd never calls again in this child. */
static apr_status_t run(int state, void *data, apr_pool_t *pool)
{
    (void)data;
    (void)pool;
    apr_atomic_set32(&background.busy, 1);
    if (background.stop) {
        leave();
    } else if (state == AP_WATCHDOG_STATE_RUNNING) {
        step();
    }
    apr_atomic_set32(&background.busy, 0);
    return APR_SUCCESS;
}

/* After a reload it takes a moment, or two seconds, until httpd runs the callback in one of the new
 * children. Where they are to end before that, nobody else writes what they have counted. A table
 * that no task has ever worked on has nothing to be written. */
static int has_no_task_begun(void)
{
    b24bg_table_health_t health;

    b24bg_table_read_health(b24bg_main->table, &health);
    return background.begun && !apr_atomic_read32(background.begun) && health.last_run &&
           health.store_up == 1;
}

static apr_status_t stop_and_wait(void *data)
{
    apr_interval_time_t waited;

    (void)data;
    background.stop = background.ending = 1;
    for (waited = 0; apr_atomic_read32(&background.busy) && waited < STOP_WAIT;
         waited += STOP_SLICE) {
        apr_sleep(STOP_SLICE);
    }
    if (apr_atomic_read32(&background.busy)) {
        return APR_SUCCESS;
    }
    if (has_no_task_begun()) {
        step(); /* under the stop flag it only reads the store; the task's end writes */
    }
    if (background.pool) {
        apr_pool_destroy(background.pool);
        background.pool = NULL;
        background.task = NULL;
    }
    return APR_SUCCESS;
}

void b24bg_background_stopping(apr_pool_t *pchild, int graceful)
{
    (void)pchild;
    (void)graceful;
    background.stop = 1;
}

void b24bg_background_child(apr_pool_t *pchild, server_rec *s)
{
    (void)s;
    if (b24bg_main->journal) {
        apr_pool_pre_cleanup_register(pchild, NULL, stop_and_wait);
    }
}

/* One that is there already must be a folder that the children can write to. */
static apr_status_t check_state_dir(const char *path)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        return errno;
    }
    if (!S_ISDIR(info.st_mode)) {
        return APR_ENOTDIR;
    }
    if (geteuid() != 0) {
        return access(path, W_OK | X_OK) == 0 ? APR_SUCCESS : errno;
    }
    return info.st_uid == ap_unixd_config.user_id && (info.st_mode & S_IRWXU) == S_IRWXU
               ? APR_SUCCESS
               : APR_EACCES;
}

/* 0700, and the children's own: they run as User, this as root. A folder that cannot be used is no
 * reason to stop: this runs at reloads too, and pages and notices need no folder. */
static void make_state_dir(server_rec *s)
{
    const char *path = b24bg_main->state_dir;
    apr_status_t rv = APR_SUCCESS;

    if (mkdir(path, 0700) == 0) {
        if (geteuid() == 0 && chown(path, ap_unixd_config.user_id, ap_unixd_config.group_id) != 0) {
            rv = errno;
        }
    } else if (errno != EEXIST) {
        rv = errno;
    } else {
        rv = check_state_dir(path);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(
            APLOG_MARK, APLOG_CRIT, rv, s,
            "B24BG0402: B24bgStateDir \"%s\" cannot be used, installations are answered 503; make "
            "it a folder of mode 0700 that is owned by the server's User",
            path);
    }
}

/* Without it all goes on as if there were a task. */
static volatile apr_uint32_t *share_word(apr_pool_t *pconf)
{
    apr_shm_t *memory;

    return apr_shm_create(&memory, sizeof(*background.begun), NULL, pconf) == APR_SUCCESS
               ? apr_shm_baseaddr_get(memory)
               : NULL;
}

apr_status_t b24bg_background_register(apr_pool_t *pconf, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *register_callback =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;
    apr_status_t rv;

    if (!b24bg_main->journal) {
        return APR_SUCCESS;
    }
    if (!get_instance || !register_callback) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "B24BG0403: B24bgClient needs mod_watchdog; load it before mod_b24bg");
        return APR_EGENERAL;
    }
    make_state_dir(s);
    background.begun = share_word(pconf);
    rv = get_instance(&watchdog, "b24bg", 0, 1, pconf);
    if (rv == APR_SUCCESS) {
        rv = register_callback(watchdog, STEP_EVERY, NULL, run);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "B24BG0404: no watchdog for B24bgClient");
    }
    return rv;
}
