/* What the unit tests share: rows of a table as tests of their own, a fresh pool for each, and
 * numbers that only look random.
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <apr_pools.h>

/* Empty at the start of each test. */
extern apr_pool_t *unit_pool;

/* Registers a test. Every row of a table is one, so that a failure names its row and the count at
 * the end tells how much was tried. `row` reaches the test as *state. */
void unit_add(const char *test_name, const char *row_name, CMUnitTestFunction test,
              const void *row);

#define UNIT_ADD(test) unit_add(#test, NULL, test, NULL)
#define UNIT_ADD_ROWS(test, rows)                                                                  \
    do {                                                                                           \
        size_t unit_row;                                                                           \
        for (unit_row = 0; unit_row < sizeof(rows) / sizeof((rows)[0]); unit_row++) {              \
            unit_add(#test, (rows)[unit_row].name, test, &(rows)[unit_row]);                       \
        }                                                                                          \
    } while (0)

/* Runs what was registered; the value is main's. */
int unit_run(const char *suite);

/* A number below `limit`, the same sequence in every run: what failed once fails again. */
uint32_t unit_random(uint32_t limit);

/* A copy that ends where its memory ends, so that AddressSanitizer sees the first byte beyond it;
 * `more` bytes are added behind it, filled with '~'. Lives as long as the test. */
char *unit_copy(const char *text, size_t length, size_t more);

/* A new folder whose path has this name in it; ends with the test, whatever is in it by then. */
const char *unit_folder(const char *name);

#endif
