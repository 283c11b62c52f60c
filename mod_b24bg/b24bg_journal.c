#include "b24bg_journal.h"

#include <apr_errno.h>
#include <apr_siphash.h>
#include <apr_strings.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Begins every record; what a search for the next whole one looks for. */
static const unsigned char magic[8] = {'B', '2', '4', 'J', 0x0D, 0x0A, 0x1A, 0x01};
/* Not a secret: the hash serves as a checksum. */
static const unsigned char checksum_key[APR_SIPHASH_KSIZE] = "b24bg journal 1";

#define LOCK_SLICE (5 * (APR_USEC_PER_SEC / 1000))

/* Before the payload, in the byte order of the machine: a journal never leaves it. */
typedef struct {
    unsigned char magic[8];
    unsigned char id[B24BG_JOURNAL_ID_SIZE];
    int64_t at;
    uint64_t length;
    uint64_t checksum; /* over all of the above and the payload */
} header_t;
static_assert(sizeof(header_t) == B24BG_JOURNAL_HEAD_SIZE, "no padding: it is written as it is");

#define RECORD_MAX (sizeof(header_t) + B24BG_JOURNAL_PAYLOAD_MAX)
/* What the reader holds at once; more than a record, so that one always fits. */
#define WINDOW (4 * RECORD_MAX)

static uint64_t checksum_of(const unsigned char *record, apr_size_t payload, apr_pool_t *scratch)
{
    apr_size_t head = offsetof(header_t, checksum);
    unsigned char *text = apr_palloc(scratch, head + payload);

    memcpy(text, record, head);
    memcpy(text + head, record + sizeof(header_t), payload);
    return apr_siphash24(text, head + payload, checksum_key);
}

/* flock(2), tried until it is had or the time is over; APR_TIMEUP then. */
static apr_status_t lock(int file, int kind, apr_interval_time_t patience)
{
    apr_interval_time_t waited = 0;

    while (flock(file, kind | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            return errno;
        }
        if (waited >= patience) {
            return APR_TIMEUP;
        }
        apr_sleep(LOCK_SLICE);
        waited += LOCK_SLICE;
    }
    return APR_SUCCESS;
}

/* A new file is only there for good when its folder is on the disk. */
static apr_status_t sync_folder(const char *path, apr_pool_t *scratch)
{
    const char *slash = strrchr(path, '/');
    const char *folder =
        slash ? apr_pstrmemdup(scratch, path, (apr_size_t)(slash - path) + 1) : ".";
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    apr_status_t rv = APR_SUCCESS;

    if (file < 0) {
        return errno;
    }
    if (fsync(file) != 0) {
        rv = errno;
    }
    close(file);
    return rv;
}

/* Appending */

static apr_status_t write_record(int file, const unsigned char *bytes, apr_size_t length)
{
    struct stat info;
    ssize_t written;

    if (fstat(file, &info) != 0) {
        return errno;
    }
    if (!S_ISREG(info.st_mode)) {
        return APR_EINVAL;
    }
    if (info.st_size + (off_t)length > B24BG_JOURNAL_FILE_MAX) {
        return APR_ENOSPC;
    }
    do {
        written = write(file, bytes, length);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return errno;
    }
    if ((apr_size_t)written != length) {
        return APR_ENOSPC; /* what is there of it is torn, and passed over when it is read */
    }
    return fdatasync(file) == 0 ? APR_SUCCESS : errno;
}

static apr_status_t open_to_append(const char *path, int *file, apr_pool_t *scratch)
{
    static const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW;

    *file = open(path, flags);
    if (*file >= 0 || errno != ENOENT) {
        return *file >= 0 ? APR_SUCCESS : errno;
    }
    *file = open(path, flags | O_CREAT, 0600);
    return *file >= 0 ? sync_folder(path, scratch) : errno;
}

apr_status_t b24bg_journal_append(const char *path, const b24bg_journal_record_t *record,
                                  apr_pool_t *scratch)
{
    apr_size_t length = sizeof(header_t) + record->length;
    unsigned char *bytes;
    header_t *header;
    apr_status_t rv;
    int file;

    if (record->length > B24BG_JOURNAL_PAYLOAD_MAX) {
        return APR_EINVAL;
    }
    bytes = apr_pcalloc(scratch, length);
    header = (header_t *)bytes;
    memcpy(header->magic, magic, sizeof(magic));
    memcpy(header->id, record->id, sizeof(header->id));
    header->at = record->at;
    header->length = record->length;
    memcpy(bytes + sizeof(header_t), record->payload, record->length);
    header->checksum = checksum_of(bytes, record->length, scratch);
    rv = open_to_append(path, &file, scratch);
    if (rv == APR_SUCCESS) {
        rv = lock(file, LOCK_SH, B24BG_JOURNAL_LOCK_WAIT);
        rv = rv == APR_SUCCESS ? write_record(file, bytes, length) : rv;
    }
    if (file >= 0) {
        close(file); /* and with it the lock */
    }
    return rv;
}

/* Reading */

typedef struct {
    int file;
    unsigned char *bytes; /* WINDOW of them */
    apr_size_t start;     /* of what is not looked at yet */
    apr_size_t end;
    int at_end; /* the file has no more */
    apr_pool_t *scratch;
} window_t;

/* Moves what is left to the front and fills up behind it. */
static apr_status_t fill(window_t *window)
{
    memmove(window->bytes, window->bytes + window->start, window->end - window->start);
    window->end -= window->start;
    window->start = 0;
    while (!window->at_end && window->end < WINDOW) {
        ssize_t count = read(window->file, window->bytes + window->end, WINDOW - window->end);
        if (count < 0 && errno != EINTR) {
            return errno;
        }
        window->at_end = count == 0;
        window->end += count > 0 ? (apr_size_t)count : 0;
    }
    return APR_SUCCESS;
}

typedef enum { WHOLE, TORN, SHORT } look_e;

/* What stands at the start of the window. SHORT: it may be a record whose rest is not there. */
static look_e look(window_t *window, header_t *header)
{
    apr_size_t there = window->end - window->start;
    const unsigned char *at = window->bytes + window->start;
    apr_pool_t *scratch;
    look_e result;

    if (there < sizeof(header_t)) {
        return memcmp(at, magic, there < sizeof(magic) ? there : sizeof(magic)) == 0 ? SHORT : TORN;
    }
    memcpy(header, at, sizeof(*header));
    if (memcmp(header->magic, magic, sizeof(magic)) != 0 ||
        header->length > B24BG_JOURNAL_PAYLOAD_MAX) {
        return TORN;
    }
    if (there < sizeof(header_t) + header->length) {
        return SHORT;
    }
    apr_pool_create(&scratch, window->scratch);
    result = checksum_of(at, header->length, scratch) == header->checksum ? WHOLE : TORN;
    apr_pool_destroy(scratch);
    return result;
}

/* The next place behind the start that may begin a record, or the end. */
static void skip(window_t *window)
{
    const unsigned char *at = window->bytes + window->start + 1;
    const unsigned char *end = window->bytes + window->end;

    while ((at = memchr(at, magic[0], (apr_size_t)(end - at))) != NULL) {
        apr_size_t there = (apr_size_t)(end - at);
        if (memcmp(at, magic, there < sizeof(magic) ? there : sizeof(magic)) == 0) {
            window->start = (apr_size_t)(at - window->bytes);
            return;
        }
        at++;
    }
    window->start = window->end;
}

static apr_status_t hand_over(window_t *window, const header_t *header,
                              b24bg_journal_record_cb record_cb, void *baton)
{
    b24bg_journal_record_t record;
    apr_pool_t *pool;
    apr_status_t rv;

    apr_pool_create(&pool, window->scratch);
    memcpy(record.id, header->id, sizeof(record.id));
    record.at = header->at;
    record.length = (apr_size_t)header->length;
    record.payload = apr_pstrmemdup(
        pool, (const char *)window->bytes + window->start + sizeof(header_t), record.length);
    rv = record_cb(baton, &record);
    apr_pool_destroy(pool);
    return rv;
}

/* Goes on from position->end. A SHORT one at the end of the file may be in the making, or torn
 * with whole records behind it: those are looked for, and only then was it torn. */
static apr_status_t read_on(window_t *window, b24bg_journal_record_cb record_cb, void *baton,
                            b24bg_journal_position_t *position)
{
    apr_off_t offset = position->end;
    apr_uint32_t torn = 0;
    header_t header;

    for (;;) {
        apr_size_t before;
        look_e found;
        apr_status_t rv = APR_SUCCESS;
        if (window->end - window->start < RECORD_MAX && !window->at_end) {
            rv = fill(window);
        }
        if (rv != APR_SUCCESS || window->start == window->end) {
            return rv;
        }
        found = look(window, &header);
        before = window->start;
        if (found == WHOLE) {
            rv = hand_over(window, &header, record_cb, baton);
            if (rv != APR_SUCCESS) {
                return rv;
            }
            window->start += sizeof(header_t) + (apr_size_t)header.length;
            position->whole++;
            position->torn += torn;
            torn = 0;
            position->end = offset + (apr_off_t)(window->start - before);
        } else {
            skip(window);
            torn = 1;
        }
        offset += (apr_off_t)(window->start - before);
    }
}

static apr_status_t open_to_read(const char *path, int flags, int *file)
{
    *file = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    return *file >= 0 ? APR_SUCCESS : errno;
}

static apr_status_t read_from(int file, b24bg_journal_record_cb record_cb, void *baton,
                              b24bg_journal_position_t *position, apr_pool_t *scratch)
{
    window_t window = {file, NULL, 0, 0, 0, NULL};
    apr_status_t rv;

    if (lseek(file, (off_t)position->end, SEEK_SET) < 0) {
        return errno;
    }
    apr_pool_create(&window.scratch, scratch);
    window.bytes = apr_palloc(window.scratch, WINDOW);
    rv = read_on(&window, record_cb, baton, position);
    apr_pool_destroy(window.scratch);
    return rv;
}

/* The first bytes hold the first record's random id: another file, or the same one after it was
 * emptied, begins otherwise. */
static apr_status_t read_head(int file, unsigned char *head, apr_size_t *length)
{
    ssize_t count = pread(file, head, B24BG_JOURNAL_HEAD_SIZE, 0);

    if (count < 0) {
        return errno;
    }
    *length = (apr_size_t)count;
    return APR_SUCCESS;
}

apr_status_t b24bg_journal_read(const char *path, b24bg_journal_record_cb record_cb, void *baton,
                                b24bg_journal_position_t *position, apr_pool_t *scratch)
{
    apr_status_t rv;
    int file;

    memset(position, 0, sizeof(*position));
    rv = open_to_read(path, O_RDONLY, &file);
    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_ENOENT(rv) ? APR_SUCCESS : rv;
    }
    rv = read_head(file, position->head, &position->head_length);
    if (rv == APR_SUCCESS) {
        rv = read_from(file, record_cb, baton, position, scratch);
    }
    close(file);
    return rv;
}

/* Retiring */

static apr_status_t refuse_record(void *baton, const b24bg_journal_record_t *record)
{
    (void)record;
    *(int *)baton = 1;
    return APR_EOF;
}

/* Under the exclusive lock nobody is writing: what is not whole by now never will be. */
static apr_status_t retire_locked(int file, const b24bg_journal_position_t *position, int *retired,
                                  apr_pool_t *scratch)
{
    b24bg_journal_position_t rest = *position;
    unsigned char head[B24BG_JOURNAL_HEAD_SIZE];
    apr_size_t head_length = 0;
    int more = 0;
    apr_status_t rv = read_head(file, head, &head_length);

    if (rv != APR_SUCCESS || head_length < position->head_length ||
        memcmp(head, position->head, position->head_length) != 0) {
        return rv; /* somebody else has retired it since */
    }
    rv = read_from(file, refuse_record, &more, &rest, scratch);
    if (more || rv != APR_SUCCESS) {
        return more ? APR_SUCCESS : rv;
    }
    if (ftruncate(file, 0) != 0 || fdatasync(file) != 0) {
        return errno;
    }
    *retired = 1;
    return APR_SUCCESS;
}

apr_status_t b24bg_journal_retire(const char *path, const b24bg_journal_position_t *position,
                                  int *retired, apr_pool_t *scratch)
{
    apr_status_t rv;
    int file;

    *retired = 0;
    if (position->whole == 0) {
        return APR_SUCCESS;
    }
    rv = open_to_read(path, O_RDWR, &file);
    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_ENOENT(rv) ? APR_SUCCESS : rv;
    }
    rv = lock(file, LOCK_EX, 0);
    if (rv == APR_SUCCESS) {
        rv = retire_locked(file, position, retired, scratch);
    }
    close(file);
    return rv == APR_TIMEUP ? APR_SUCCESS : rv;
}
