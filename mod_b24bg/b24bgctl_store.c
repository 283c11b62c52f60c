/* The store, as the command line finds and opens it, and portals in it. */
#include "b24bgctl.h"

#include "b24bg_form.h"
#include "b24bg_placement.h"

#include <apr_cstr.h>
#include <apr_strings.h>

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* B24bgStateDir's default. */
#define STATE_DIR "/var/lib/b24bg"
#define STORE_NAME "b24bg.db"

/* Where the store is. */
typedef struct {
    const char *driver;
    const char *params; /* pgsql: may hold a password */
    const char *name;   /* to be shown */
} place_t;

/* Finding it */

/* 0: said why not. */
static int find_place(b24bgctl_t *ctl, place_t *place)
{
    const char *store = ctl->options[B24BGCTL_STORE];
    const char *dir = ctl->options[B24BGCTL_STATE_DIR];

    if (store && dir) {
        b24bgctl_fail(B24BGCTL_USAGE, "--store and --state-dir name two stores; give one");
        return 0;
    }
    if (store && strncmp(store, "pgsql:", 6) == 0) {
        place->driver = "pgsql";
        place->params = store + 6;
        place->name = "the PostgreSQL database";
        return 1;
    }
    place->driver = "sqlite3";
    if (!store) {
        place->params = apr_pstrcat(ctl->pool, dir ? dir : STATE_DIR, "/" STORE_NAME, NULL);
    } else if (strncmp(store, "sqlite3:", 8) == 0) {
        place->params = store + 8;
    } else {
        place->params = store;
    }
    place->name = place->params;
    if (store && place->params == store &&
        store[strspn(store, "abcdefghijklmnopqrstuvwxyz0123456789_")] == ':') {
        b24bgctl_fail(B24BGCTL_USAGE,
                      "--store: a path, sqlite3:PATH or pgsql:PARAMETERS is allowed");
        return 0;
    }
    return 1;
}

/* Whom root has to become. A symbolic link counts as its own owner's word, unless that is root;
 * a file of root's is that of the folder's owner, who could put another in its place. */
static int find_owner(apr_pool_t *pool, const char *path, struct stat *owner)
{
    const char *slash = strrchr(path, '/');
    const char *folder = slash ? apr_pstrmemdup(pool, path, (apr_size_t)(slash - path) + 1) : ".";

    if (lstat(path, owner) != 0) {
        return 0;
    }
    if (S_ISLNK(owner->st_mode) && owner->st_uid == 0 && stat(path, owner) != 0) {
        return 0;
    }
    return owner->st_uid != 0 || stat(folder, owner) == 0;
}

/* SQLite makes its -wal and -shm files as whoever opens the store first. Were they root's, the
 * server could not open it any more. And a folder of www-data's is no place for root to follow
 * names in. For good: nothing that comes later needs root. */
static int become_owner(apr_pool_t *pool, const char *path)
{
    struct stat owner;

    if (geteuid() != 0) {
        return 1;
    }
    if (!find_owner(pool, path, &owner)) {
        return 0;
    }
    return owner.st_uid == 0 || (setgroups(1, &owner.st_gid) == 0 && setgid(owner.st_gid) == 0 &&
                                 setuid(owner.st_uid) == 0);
}

/* Opening would make what is not there. */
static b24bgctl_exit_e check_file(b24bgctl_t *ctl, const place_t *place)
{
    int was_root = geteuid() == 0;
    struct stat file;

    if (stat(place->params, &file) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return b24bgctl_fail(
            B24BGCTL_CRITICAL,
            "there is no store at %s. The first start of an Apache with B24bgClient makes it. If "
            "B24bgStateDir or B24bgStore puts it elsewhere, say where with --state-dir or --store",
            place->name);
    }
    if (!become_owner(ctl->pool, place->params) || access(place->params, R_OK | W_OK) != 0) {
        return b24bgctl_fail(B24BGCTL_CRITICAL, "%s cannot be opened: %s. %s", place->name,
                             strerror(errno),
                             was_root ? "The file and its folder should belong to the server's User"
                                      : "Run this as root or as the server's User");
    }
    if (stat(place->params, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size == 0) {
        return b24bgctl_fail(B24BGCTL_CRITICAL,
                             "%s is no store, but a folder or an empty file. In a state directory "
                             "the store is called " STORE_NAME,
                             place->name);
    }
    return B24BGCTL_GOOD;
}

b24bgctl_exit_e b24bgctl_store_open(b24bgctl_t *ctl, b24bg_store_t **store)
{
    b24bgctl_exit_e code = B24BGCTL_GOOD;
    const char *error = "";
    place_t place;

    if (!find_place(ctl, &place)) {
        return B24BGCTL_USAGE;
    }
    if (strcmp(place.driver, "sqlite3") == 0) {
        code = check_file(ctl, &place);
    }
    if (code == B24BGCTL_GOOD &&
        b24bg_store_open(ctl->pool, place.driver, place.params, store, &error) != APR_SUCCESS) {
        code = b24bgctl_fail(B24BGCTL_CRITICAL, "%s cannot be opened: %s", place.name, error);
    }
    return code;
}

b24bgctl_exit_e b24bgctl_store_fail(const b24bg_store_t *store, apr_status_t rv)
{
    const char *words = b24bg_store_error(store);
    char buffer[200];

    b24bgctl_fail(B24BGCTL_CRITICAL, "the store failed, nothing was changed: %s",
                  *words ? words : apr_strerror(rv, buffer, sizeof(buffer)));
    return B24BGCTL_CRITICAL;
}

/* Portals */

/* One that is still installed is meant before those that are not: a domain can be given to a new
 * portal when the old one has gone. */
static int is_better(const b24bg_store_portal_t *portal, const b24bg_store_portal_t *best)
{
    return !best || (portal->installed != 0) >= (best->installed != 0);
}

/* *found is NULL if there is none; *several: the domain does not say which. */
static void pick(const apr_array_header_t *portals, const char *app, const char *domain,
                 const b24bg_store_portal_t **found, int *several)
{
    int i;

    *found = NULL;
    *several = 0;
    for (i = 0; i < portals->nelts; i++) {
        const b24bg_store_portal_t *portal = &APR_ARRAY_IDX(portals, i, b24bg_store_portal_t);
        int same = strcmp(portal->app, app) == 0 && apr_cstr_casecmp(portal->domain, domain) == 0;
        if (same && is_better(portal, *found)) {
            *several = *found && (portal->installed != 0) == ((*found)->installed != 0);
            *found = portal;
        }
    }
}

/* *portal is NULL if there is none; *several as above. */
static apr_status_t look_up(b24bgctl_t *ctl, b24bg_store_t *store, const char *app,
                            const b24bg_store_portal_t **portal, int *several)
{
    const char *name = ctl->words[1];
    char member_id[B24BG_MEMBER_ID_LENGTH + 1];
    b24bg_store_portal_t *found = NULL;
    apr_array_header_t *portals;
    apr_status_t rv;

    *portal = NULL;
    *several = 0;
    if (b24bg_placement_member_id(name, member_id)) {
        rv = b24bg_store_portal_get(store, ctl->pool, app, member_id, &found);
        *portal = rv == APR_SUCCESS ? found : NULL;
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    rv = b24bg_store_portals_since(store, ctl->pool, -1, &portals);
    if (rv == APR_SUCCESS) {
        pick(portals, app, name, portal, several);
    }
    return rv;
}

b24bgctl_exit_e b24bgctl_find_portal(b24bgctl_t *ctl, b24bg_store_t *store,
                                     const b24bg_store_portal_t **portal)
{
    const char *app = ctl->words[0];
    const char *name = ctl->words[1];
    int several;
    apr_status_t rv = look_up(ctl, store, app, portal, &several);

    if (rv != APR_SUCCESS) {
        return b24bgctl_store_fail(store, rv);
    }
    if (*portal && !several) {
        return B24BGCTL_GOOD;
    }
    b24bgctl_fail(B24BGCTL_CRITICAL,
                  several ? "app \"%s\" has several portals with the domain \"%s\"; give the "
                            "member_id (b24bgctl portals lists them)"
                          : "app \"%s\" has no portal \"%s\" in the store (b24bgctl portals "
                            "lists them)",
                  b24bg_form_clean(ctl->pool, app, B24BGCTL_CELL_LONGEST),
                  b24bg_form_clean(ctl->pool, name, B24BGCTL_CELL_LONGEST));
    return B24BGCTL_CRITICAL;
}

apr_interval_time_t b24bgctl_token_age(const b24bg_store_portal_t *portal)
{
    if (!portal->refreshed || !*portal->refresh_token) {
        return -1;
    }
    return apr_time_now() > portal->refreshed ? apr_time_now() - portal->refreshed : 0;
}
