#include "unit.h"

#include <apr_general.h>
#include <apr_strings.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TESTS_MAX 2048

apr_pool_t *unit_pool;

static struct CMUnitTest tests[TESTS_MAX];
static size_t tests_count;

static int set_up(void **state)
{
    (void)state;
    return apr_pool_create(&unit_pool, NULL) == APR_SUCCESS ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    apr_pool_destroy(unit_pool);
    unit_pool = NULL;
    return 0;
}

void unit_add(const char *test_name, const char *row_name, CMUnitTestFunction test, const void *row)
{
    struct CMUnitTest *added = &tests[tests_count++];
    size_t size = strlen(test_name) + (row_name ? strlen(row_name) : 0) + 3;
    char *name = malloc(size);

    if (!name || tests_count == TESTS_MAX) {
        fprintf(stderr, "unit_add: no room for %s\n", test_name);
        abort();
    }
    snprintf(name, size, "%s%s%s", test_name, row_name ? ": " : "", row_name ? row_name : "");
    added->name = name;
    added->test_func = test;
    added->setup_func = set_up;
    added->teardown_func = tear_down;
    added->initial_state = (void *)(uintptr_t)row; /* cmocka's state is not const; ours is */
}

int unit_run(const char *suite)
{
    int failed;
    size_t i;

    apr_initialize();
    failed = _cmocka_run_group_tests(suite, tests, tests_count, NULL, NULL);
    apr_terminate();
    for (i = 0; i < tests_count; i++) {
        free((char *)(uintptr_t)tests[i].name);
    }
    return failed != 0;
}

/* Knuth's 64-bit linear congruence; the low bits are weak and dropped. */
uint32_t unit_random(uint32_t limit)
{
    static uint64_t state = 20240501;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % limit;
}

static apr_status_t free_copy(void *copy)
{
    free(copy);
    return APR_SUCCESS;
}

char *unit_copy(const char *text, size_t length, size_t more)
{
    char *copy = malloc(length + more);

    if (!copy) {
        abort();
    }
    if (length) {
        memcpy(copy, text, length);
    }
    memset(copy + length, '~', more);
    apr_pool_cleanup_register(unit_pool, copy, free_copy, apr_pool_cleanup_null);
    return copy;
}

static apr_status_t remove_folder(void *data)
{
    const char *command = apr_pstrcat(unit_pool, "rm -rf '", (const char *)data, "'", NULL);

    return system(command) == 0 ? APR_SUCCESS : APR_EGENERAL;
}

const char *unit_folder(const char *name)
{
    char *folder = apr_pstrcat(unit_pool, "/tmp/b24bg-", name, ".XXXXXX", NULL);

    assert_non_null(mkdtemp(folder));
    apr_pool_cleanup_register(unit_pool, folder, remove_folder, apr_pool_cleanup_null);
    return folder;
}
