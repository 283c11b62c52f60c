/* Any bytes as a journal, between two whole records: whatever they are, the two are read.
 *
 * The name of the second is a hash of the input, so that no input can hold a record that it would
 * complete.
 */
#include "b24bg_journal.h"
#include "fuzz.h"

#include <apr_siphash.h>
#include <apr_strings.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define T0 APR_INT64_C(1700000000000000)

/* Without flushes, which would be nearly all of the time. */
int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int fsync(int fd)
{
    (void)fd;
    return 0;
}

static char path[64];

static apr_status_t remove_folder(void *folder)
{
    unlink(path);
    rmdir(folder);
    return APR_SUCCESS;
}

/* In a folder that ends with the pool: libFuzzer leaves without atexit(3). */
static void make_folder(apr_pool_t *pool)
{
    char *folder = apr_pstrdup(pool, "/tmp/b24bg-fuzz-XXXXXX");

    FUZZ_CHECK(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/journal", folder);
    apr_pool_cleanup_register(pool, folder, remove_folder, apr_pool_cleanup_null);
}

static apr_off_t size_now(void)
{
    struct stat info;

    return stat(path, &info) == 0 ? info.st_size : 0;
}

static void put(const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(size == 0 || write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static b24bg_journal_record_t append(apr_pool_t *pool, apr_uint64_t name, const char *payload)
{
    b24bg_journal_record_t record;

    memset(&record, 0, sizeof(record));
    memcpy(record.id, &name, sizeof(name));
    record.at = T0;
    record.payload = payload;
    record.length = strlen(payload);
    FUZZ_CHECK(b24bg_journal_append(path, &record, pool) == APR_SUCCESS);
    return record;
}

/* What a reading saw: how much, a hash of it, and where it came by known records. */
typedef struct {
    const b24bg_journal_record_t *known;
    apr_uint32_t count;
    apr_uint32_t stop_at;    /* a record that is refused; counted from 1 */
    apr_uint32_t known_last; /* where `known` was last seen; counted from 1 */
    apr_uint32_t known_first;
    apr_uint64_t hash;
    apr_size_t bytes;
} seen_t;

static int same(const b24bg_journal_record_t *one, const b24bg_journal_record_t *two)
{
    return memcmp(one->id, two->id, sizeof(one->id)) == 0 && one->at == two->at &&
           one->length == two->length && memcmp(one->payload, two->payload, one->length) == 0;
}

static apr_status_t see(void *baton, const b24bg_journal_record_t *record)
{
    static const unsigned char key[APR_SIPHASH_KSIZE] = "fuzz";
    seen_t *seen = baton;

    FUZZ_CHECK(record->length <= B24BG_JOURNAL_PAYLOAD_MAX);
    FUZZ_CHECK(record->payload[record->length] == '\0');
    if (seen->count + 1 == seen->stop_at) {
        return APR_EGENERAL;
    }
    seen->count++;
    seen->bytes += record->length;
    seen->hash = seen->hash * 31 + apr_siphash24(record->payload, record->length, key);
    if (seen->known && same(record, seen->known)) {
        seen->known_last = seen->count;
        seen->known_first = seen->known_first ? seen->known_first : seen->count;
    }
    return APR_SUCCESS;
}

static b24bg_journal_position_t look(apr_pool_t *pool, seen_t *seen)
{
    b24bg_journal_position_t position;
    apr_status_t rv = b24bg_journal_read(path, see, seen, &position, pool);

    FUZZ_CHECK(rv == APR_SUCCESS || (rv == APR_EGENERAL && seen->stop_at));
    FUZZ_CHECK(position.whole == seen->count);
    FUZZ_CHECK(position.end >= (apr_off_t)seen->bytes && position.end <= size_now());
    FUZZ_CHECK(position.torn <= position.whole + 1);
    return position;
}

static int retire(apr_pool_t *pool, const b24bg_journal_position_t *position)
{
    int retired = -1;

    FUZZ_CHECK(b24bg_journal_retire(path, position, &retired, pool) == APR_SUCCESS);
    FUZZ_CHECK(retired == 0 || (retired == 1 && size_now() == 0));
    return retired;
}

/* The input alone: read twice alike, and retired unless something of it was refused. */
static void try_alone(apr_pool_t *pool, const uint8_t *data, size_t size)
{
    seen_t one = {0};
    seen_t two = {0};
    b24bg_journal_position_t position;

    unlink(path);
    put(data, size);
    position = look(pool, &one);
    look(pool, &two);
    FUZZ_CHECK(one.count == two.count && one.hash == two.hash);
    if (one.count) {
        seen_t part = {.stop_at = (one.count + 1) / 2};
        b24bg_journal_position_t before = look(pool, &part);
        FUZZ_CHECK(before.end < position.end);
        FUZZ_CHECK(!retire(pool, &before));
    }
    FUZZ_CHECK(retire(pool, &position) == (size > 0));
}

static void try_between(apr_pool_t *pool, const uint8_t *data, size_t size)
{
    static const unsigned char key[APR_SIPHASH_KSIZE] = "name";
    b24bg_journal_record_t first;
    b24bg_journal_record_t last;
    b24bg_journal_position_t before;
    b24bg_journal_position_t after;
    seen_t seen = {.known = &first};

    unlink(path);
    first = append(pool, 1, "event=ONAPPINSTALL");
    put(data, size);
    before = look(pool, &seen);
    FUZZ_CHECK(seen.known_first == 1);
    last = append(pool, apr_siphash24(data, size, key), "event=ONAPPUNINSTALL");
    FUZZ_CHECK(!retire(pool, &before));
    seen = (seen_t){.known = &last};
    after = look(pool, &seen);
    FUZZ_CHECK(seen.known_last == seen.count && seen.known_first == seen.count);
    FUZZ_CHECK(after.whole == before.whole + 1 && after.end == size_now());
    FUZZ_CHECK(retire(pool, &after));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();

    make_folder(pool);
    try_alone(pool, data, size);
    try_between(pool, data, size);
    apr_pool_destroy(pool);
    return 0;
}
