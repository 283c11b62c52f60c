/* B24bgPage: reading the file, and looking after it in every child. */
#include "mod_b24bg.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>
#include <mod_watchdog.h>

APLOG_USE_MODULE(b24bg);

/* An administrator who saves a page and reloads a browser sees the new one. */
#define PAGE_INTERVAL APR_USEC_PER_SEC

#define FILE_STATE (APR_FINFO_MIN | APR_FINFO_INODE)

static b24bg_file_state_t state_of(const apr_finfo_t *info)
{
    b24bg_file_state_t state = {info->inode, info->size, info->mtime, info->ctime};

    return state;
}

static b24bg_file_state_t look_at(const char *path, apr_pool_t *scratch)
{
    b24bg_file_state_t none = {0, 0, 0, 0};
    apr_finfo_t info;

    return apr_stat(&info, path, FILE_STATE, scratch) == APR_SUCCESS ? state_of(&info) : none;
}

static int is_same(const b24bg_file_state_t *one, const b24bg_file_state_t *other)
{
    return one->inode == other->inode && one->size == other->size && one->mtime == other->mtime &&
           one->ctime == other->ctime;
}

static const char *unreadable(apr_pool_t *pool, apr_status_t rv)
{
    char reason[120];

    return apr_psprintf(pool, "a readable file is allowed: %s",
                        apr_strerror(rv, reason, sizeof(reason)));
}

/* What is open is looked at, and not what has that name by now. A file that gets shorter meanwhile
 * is read as far as it goes. */
static const char *read_page(b24bg_own_page_t *page, apr_file_t *file, apr_pool_t *pool)
{
    apr_size_t length = 0;
    apr_finfo_t info;
    apr_status_t rv = apr_file_info_get(&info, FILE_STATE, file);
    char *text;

    if (rv != APR_SUCCESS) {
        return unreadable(pool, rv);
    }
    if (info.filetype != APR_REG || info.size > B24BG_PAGE_OWN_MAX) {
        return apr_psprintf(pool, "a file of at most %d bytes is allowed", B24BG_PAGE_OWN_MAX);
    }
    text = apr_palloc(pool, (apr_size_t)info.size + 1);
    rv = info.size ? apr_file_read_full(file, text, (apr_size_t)info.size, &length) : APR_SUCCESS;
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EOF(rv)) {
        return unreadable(pool, rv);
    }
    if (memchr(text, '\0', length)) {
        return "text without NUL bytes is allowed: save it as UTF-8";
    }
    text[length] = '\0';
    page->text = text;
    page->state = state_of(&info);
    return NULL;
}

const char *b24bg_own_page_load(b24bg_own_page_t *page, apr_pool_t *pool)
{
    /* A pipe is refused, and nobody waits for its other end. */
    apr_int32_t how = APR_READ | APR_BINARY | APR_FOPEN_NONBLOCK;
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, page->path, how, 0, pool);
    const char *error;

    if (rv != APR_SUCCESS) {
        return unreadable(pool, rv);
    }
    error = read_page(page, file, pool);
    apr_file_close(file);
    return error;
}

void b24bg_own_page_complete(b24bg_own_page_t *page, const b24bg_app_t *app, apr_pool_t *pool)
{
    b24bg_page_complete(pool, page->text, app->beacon, app->slow_limit, &page->page);
}

static void swap_page(b24bg_own_page_t *page, const b24bg_own_page_t *fresh)
{
    apr_pool_t *old = page->pool;

    apr_thread_mutex_lock(page->mutex);
    page->pool = fresh->pool;
    page->text = fresh->text;
    page->page = fresh->page;
    apr_thread_mutex_unlock(page->mutex);
    page->state = fresh->state;
    if (old) {
        apr_pool_destroy(old);
    }
}

/* 1 where there is another page than the one that is served, which two looks in a row have found
 * the same: of a file that is being written a part would be served, or nothing. */
static int has_changed(b24bg_own_page_t *page, apr_pool_t *scratch)
{
    b24bg_file_state_t state = look_at(page->path, scratch);
    int rests = is_same(&state, &page->seen);

    page->seen = state;
    if (!is_same(&state, &page->state)) {
        return rests;
    }
    page->missing = 0;
    return 0;
}

static void tell_unusable(b24bg_app_t *app, const char *error)
{
    if (!app->own_page.missing) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
                     "B24BG0008: B24bgPage \"%s\" of app=%s: %s; the page read before is "
                     "still served",
                     app->own_page.path, app->name, error);
    }
    app->own_page.missing = 1;
}

/* The text gets a root pool of its own: pchild is not made for several threads. */
static void refresh_page(b24bg_app_t *app, apr_pool_t *scratch)
{
    b24bg_own_page_t *page = &app->own_page;
    b24bg_own_page_t fresh = *page;
    b24bg_file_state_t state;
    const char *error;

    if (!has_changed(page, scratch)) {
        return;
    }
    apr_pool_create(&fresh.pool, NULL);
    error = b24bg_own_page_load(&fresh, fresh.pool);
    state = look_at(page->path, scratch);
    if (!is_same(&state, &page->seen) || (!error && !is_same(&fresh.state, &state))) {
        apr_pool_destroy(fresh.pool); /* written to meanwhile */
        return;
    }
    if (error) {
        tell_unusable(app, error);
        apr_pool_destroy(fresh.pool);
        return;
    }
    page->missing = 0;
    b24bg_own_page_complete(&fresh, app, fresh.pool);
    swap_page(page, &fresh);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, ap_server_conf,
                 "B24BG0009: page read again, app=%s bytes=%" APR_SIZE_T_FMT, app->name,
                 page->page.length);
}

/* Runs in every child, each of which holds its own copies. `pool` lives for this one call. */
static apr_status_t look_after_pages(int state, void *data, apr_pool_t *pool)
{
    int i;

    (void)data;
    for (i = 0; state == AP_WATCHDOG_STATE_RUNNING && i < b24bg_main->apps->nelts; i++) {
        b24bg_app_t *app = APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *);
        if (app->own_page.mutex) {
            refresh_page(app, pool);
        }
    }
    return APR_SUCCESS;
}

static int any_own_page(void)
{
    int i;

    for (i = 0; i < b24bg_main->apps->nelts; i++) {
        if (APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *)->own_page.path) {
            return 1;
        }
    }
    return 0;
}

apr_status_t b24bg_own_page_register(apr_pool_t *pconf, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) * get_instance;
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) * register_callback;
    ap_watchdog_t *watchdog;
    apr_status_t rv;

    if (!any_own_page()) {
        return APR_SUCCESS;
    }
    get_instance = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    register_callback = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    if (!get_instance || !register_callback) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "B24BG0010: B24bgPage needs mod_watchdog; load it before mod_b24bg");
        return APR_EGENERAL;
    }
    rv = get_instance(&watchdog, "b24bg-pages", 0, 0, pconf);
    if (rv == APR_SUCCESS) {
        rv = register_callback(watchdog, PAGE_INTERVAL, NULL, look_after_pages);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "B24BG0011: no watchdog for B24bgPage");
    }
    return rv;
}

/* The mutexes outlive pchild: the watchdog may still be at it when that ends. */
void b24bg_own_page_child(apr_pool_t *pchild, server_rec *s)
{
    apr_pool_t *pool;
    int i;

    (void)pchild;
    if (!any_own_page() || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return;
    }
    for (i = 0; i < b24bg_main->apps->nelts; i++) {
        b24bg_own_page_t *page = &APR_ARRAY_IDX(b24bg_main->apps, i, b24bg_app_t *)->own_page;
        apr_status_t rv;
        if (!page->path) {
            continue;
        }
        rv = apr_thread_mutex_create(&page->mutex, APR_THREAD_MUTEX_DEFAULT, pool);
        if (rv != APR_SUCCESS) {
            page->mutex = NULL;
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s,
                         "B24BG0012: no mutex for B24bgPage \"%s\": this process serves it as it "
                         "was at start",
                         page->path);
        }
    }
}
