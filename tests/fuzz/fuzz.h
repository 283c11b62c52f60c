/* What the fuzz targets share. Each target is one LLVMFuzzerTestOneInput; libFuzzer drives it, or
 * replay.c, which runs the files of tests/fuzz/corpus/ through it in the ordinary check.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <apr_pools.h>

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A pool for one input; apr_pool_destroy ends it. */
apr_pool_t *fuzz_pool(void);

/* A copy of the bytes up to `size` with a NUL behind them, at the end of its memory, so that
 * AddressSanitizer sees the first byte beyond it. Lives as long as the pool. */
char *fuzz_text(apr_pool_t *pool, const uint8_t *data, size_t size);

/* A promise of a header; a broken one is a crash like any other. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fuzz_fail(__FILE__, __LINE__, #condition);                                             \
        }                                                                                          \
    } while (0)

void fuzz_fail(const char *file, int line, const char *condition) __attribute__((noreturn));

/* 1 for well-formed UTF-8. */
int fuzz_is_utf8(const char *text);

#endif
