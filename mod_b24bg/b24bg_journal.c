#include "b24bg_journal.h"

#include <apr_siphash.h>
#include <apr_strings.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Begins every record. Its first byte and its line end stand in no urlencoded text: nobody can
 * hide a record in a payload and have it read after a crash has torn the record around it. */
#define MAGIC_SIZE 8
static const unsigned char magic[MAGIC_SIZE] = {0xB2, '4', 'b', 'g', 'j', '1', '\r', '\n'};

/* The hash is a checksum, against accidents: who can write the file needs no forgery. */
static const unsigned char checksum_key[APR_SIPHASH_KSIZE] = "b24bg journal 1";

/* In front of the payload, in the byte order of the machine, which the file never leaves. */
typedef struct {
    unsigned char magic[MAGIC_SIZE];
    apr_uint64_t checksum; /* of all that follows, payload included */
    apr_uint64_t length;   /* of the payload */
    apr_int64_t at;
    unsigned char id[B24BG_JOURNAL_ID_SIZE];
} header_t;
static_assert(sizeof(header_t) == MAGIC_SIZE + 3 * 8 + B24BG_JOURNAL_ID_SIZE,
              "what is written holds no padding");

#define RECORD_MAX (sizeof(header_t) + B24BG_JOURNAL_PAYLOAD_MAX)
/* What a reader holds at once: several of the largest records, hundreds of the usual ones. */
#define BUFFER_SIZE (4 * RECORD_MAX)

/* Between two attempts at the lock. */
#define LOCK_SLICE (2 * (APR_USEC_PER_SEC / 1000))

/* The file */

/* A quota and a limit of the process are full disks for whoever has to make room. */
static apr_status_t disk_error(int error)
{
    return error == EDQUOT || error == EFBIG ? APR_ENOSPC : error;
}

/* O_NONBLOCK: a request must not wait for the reader of a pipe that stands in the file's place. */
static apr_status_t open_file(const char *path, int flags, int *fd, struct stat *info)
{
    apr_status_t rv = APR_SUCCESS;
    int opened;

    do {
        opened = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    } while (opened < 0 && errno == EINTR);
    if (opened < 0) {
        return disk_error(errno);
    }
    if (fstat(opened, info) != 0) {
        rv = errno;
    } else if (!S_ISREG(info->st_mode)) {
        rv = APR_EFTYPE;
    }
    if (rv != APR_SUCCESS) {
        close(opened);
        return rv;
    }
    *fd = opened;
    return APR_SUCCESS;
}

static apr_status_t sync_data(int fd)
{
    int result;

    do {
        result = fdatasync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? APR_SUCCESS : disk_error(errno);
}

/* The file's name is on the disk when its folder is. Some file systems flush no folders and say
 * EINVAL; there is nothing to be had from them. */
static apr_status_t sync_folder(const char *path, apr_pool_t *scratch)
{
    const char *slash = strrchr(path, '/');
    const char *folder =
        slash ? apr_pstrmemdup(scratch, path, (apr_size_t)(slash - path) + 1) : ".";
    apr_status_t rv = APR_SUCCESS;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return errno;
    }
    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            rv = errno == EINVAL ? APR_SUCCESS : disk_error(errno);
            break;
        }
    }
    close(fd);
    return rv;
}

static apr_status_t lock_shared(int fd)
{
    apr_interval_time_t waited = 0;

    while (flock(fd, LOCK_SH | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            return errno;
        }
        if (waited >= B24BG_JOURNAL_LOCK_WAIT) {
            return APR_TIMEUP;
        }
        apr_sleep(LOCK_SLICE);
        waited += LOCK_SLICE;
    }
    return APR_SUCCESS;
}

/* Closing is not enough: a child forked by another thread holds the same lock until it execs. */
static void unlock(int fd)
{
    flock(fd, LOCK_UN);
}

/* Appending */

static apr_uint64_t checksum(const char *record, apr_size_t length)
{
    const apr_size_t from = offsetof(header_t, length);

    return apr_siphash24(record + from, sizeof(header_t) - from + length, checksum_key);
}

static const char *assemble(const b24bg_journal_record_t *record, apr_pool_t *scratch)
{
    char *bytes = apr_palloc(scratch, sizeof(header_t) + record->length);
    header_t header;

    memcpy(header.magic, magic, MAGIC_SIZE);
    header.checksum = 0;
    header.length = record->length;
    header.at = record->at;
    memcpy(header.id, record->id, sizeof(header.id));
    memcpy(bytes, &header, sizeof(header));
    if (record->length > 0) {
        memcpy(bytes + sizeof(header), record->payload, record->length);
    }
    header.checksum = checksum(bytes, record->length);
    memcpy(bytes, &header, sizeof(header));
    return bytes;
}

/* Never in two parts: between them another appender's record would come to stand. What a short
 * write has left is torn, and skipped by readers. */
static apr_status_t write_once(int fd, const char *bytes, apr_size_t size)
{
    ssize_t written;

    do {
        written = write(fd, bytes, size);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return disk_error(errno);
    }
    return (apr_size_t)written == size ? APR_SUCCESS : APR_ENOSPC;
}

/* The lock keeps a file from being emptied between the look at what is in it and the emptying. It
 * is not needed for the flush: a whole record stays until it has been read and committed. So a
 * slow disk keeps nobody from retiring. */
static apr_status_t write_locked(int fd, const char *bytes, apr_size_t size)
{
    apr_status_t rv = lock_shared(fd);

    if (rv == APR_SUCCESS) {
        rv = write_once(fd, bytes, size);
        unlock(fd);
    }
    return rv;
}

apr_status_t b24bg_journal_append(const char *path, const b24bg_journal_record_t *record,
                                  apr_pool_t *scratch)
{
    apr_size_t size = sizeof(header_t) + record->length;
    struct stat info;
    apr_status_t rv;
    int fd = -1;

    if (record->length > B24BG_JOURNAL_PAYLOAD_MAX) {
        return APR_EINVAL;
    }
    rv = open_file(path, O_WRONLY | O_APPEND | O_CREAT, &fd, &info);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* Appenders that pass at once may overshoot, each by its one record. */
    if (info.st_size + (apr_off_t)size > (apr_off_t)B24BG_JOURNAL_FILE_MAX) {
        rv = APR_ENOSPC;
        goto leave;
    }
    /* Whoever made the file may have died since. One that holds anything was flushed to its
     * folder by whoever found it empty, before the first byte. */
    if (info.st_size == 0) {
        rv = sync_folder(path, scratch);
    }
    if (rv == APR_SUCCESS) {
        rv = write_locked(fd, assemble(record, scratch), size);
    }
    if (rv == APR_SUCCESS) {
        rv = sync_data(fd);
    }
leave:
    close(fd);
    return rv;
}

/* Looking for whole records */

typedef struct {
    int fd;
    apr_off_t size; /* of the file when the scan began: appenders cannot keep it from ending */
    apr_off_t base; /* where in the file the buffer begins */
    char *buffer;   /* BUFFER_SIZE and one byte more, for the NUL behind a payload */
    apr_size_t filled;
    apr_size_t at;   /* in the buffer: what has not been looked at */
    apr_off_t cut;   /* where the first record begins that the end of the file cuts off, or -1 */
    apr_off_t start; /* of the record that was found */
    header_t header; /* its header */
    char *payload;   /* its payload, in the buffer */
} scan_t;

static void scan_create(scan_t *scan, int fd, apr_off_t size, apr_pool_t *scratch)
{
    memset(scan, 0, sizeof(*scan));
    scan->fd = fd;
    scan->size = size;
    scan->buffer = apr_palloc(scratch, BUFFER_SIZE + 1);
}

static void scan_begin(scan_t *scan, apr_off_t from)
{
    scan->base = from;
    scan->filled = 0;
    scan->at = 0;
    scan->cut = -1;
}

/* Has the largest record in the buffer, or all there is. A file that ends before its size was
 * emptied meanwhile. */
static apr_status_t fill(scan_t *scan)
{
    apr_size_t left = scan->filled - scan->at;

    if (left >= RECORD_MAX || scan->base + (apr_off_t)scan->filled >= scan->size) {
        return APR_SUCCESS;
    }
    memmove(scan->buffer, scan->buffer + scan->at, left);
    scan->base += (apr_off_t)scan->at;
    scan->at = 0;
    scan->filled = left;
    while (scan->filled < BUFFER_SIZE && scan->base + (apr_off_t)scan->filled < scan->size) {
        apr_off_t offset = scan->base + (apr_off_t)scan->filled;
        apr_size_t room = BUFFER_SIZE - scan->filled;
        apr_off_t there = scan->size - offset;
        ssize_t count = pread(scan->fd, scan->buffer + scan->filled,
                              there < (apr_off_t)room ? (apr_size_t)there : room, offset);
        if (count < 0 && errno != EINTR) {
            return errno;
        }
        if (count == 0) {
            scan->size = offset;
        }
        scan->filled += count > 0 ? (apr_size_t)count : 0;
    }
    return APR_SUCCESS;
}

typedef enum { WHOLE, CUT, DAMAGED } look_e;

/* What stands at the next place; CUT only where the file ends. */
static look_e look(const scan_t *scan, header_t *header)
{
    const char *from = scan->buffer + scan->at;
    apr_size_t left = scan->filled - scan->at;

    if (memcmp(from, magic, left < MAGIC_SIZE ? left : MAGIC_SIZE) != 0) {
        return DAMAGED;
    }
    if (left < sizeof(*header)) {
        return CUT;
    }
    memcpy(header, from, sizeof(*header));
    if (header->length > B24BG_JOURNAL_PAYLOAD_MAX) {
        return DAMAGED;
    }
    if (left - sizeof(*header) < header->length) {
        return CUT;
    }
    return checksum(from, (apr_size_t)header->length) == header->checksum ? WHOLE : DAMAGED;
}

/* To the next byte that may begin a record. A length is not believed, not even one that leads past
 * the end: whole records may stand behind a damaged one. */
static void skip(scan_t *scan)
{
    const char *next = scan->buffer + scan->at + 1;
    const char *end = scan->buffer + scan->filled;

    next = memchr(next, magic[0], (apr_size_t)(end - next));
    scan->at = (apr_size_t)((next ? next : end) - scan->buffer);
}

/* Finds the next whole record; APR_EOF where there is none. */
static apr_status_t scan_next(scan_t *scan)
{
    for (;;) {
        apr_status_t rv = fill(scan);
        look_e found;

        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (scan->at == scan->filled) {
            return APR_EOF;
        }
        found = look(scan, &scan->header);
        if (found == WHOLE) {
            scan->start = scan->base + (apr_off_t)scan->at;
            scan->payload = scan->buffer + scan->at + sizeof(header_t);
            scan->at += sizeof(header_t) + (apr_size_t)scan->header.length;
            scan->cut = -1;
            return APR_SUCCESS;
        }
        if (found == CUT && scan->cut < 0) {
            scan->cut = scan->base + (apr_off_t)scan->at;
        }
        skip(scan);
    }
}

/* Reading */

static apr_status_t hand_over(const scan_t *scan, b24bg_journal_record_cb record_cb, void *baton)
{
    b24bg_journal_record_t record;
    char *end = scan->payload + scan->header.length;
    char behind = *end;
    apr_status_t rv;

    memcpy(record.id, scan->header.id, sizeof(record.id));
    record.at = scan->header.at;
    record.payload = scan->payload;
    record.length = (apr_size_t)scan->header.length;
    *end = '\0';
    rv = record_cb(baton, &record);
    *end = behind;
    return rv;
}

static void taken(const scan_t *scan, b24bg_journal_position_t *position)
{
    if (position->whole == 0) {
        memcpy(position->first_id, scan->header.id, sizeof(position->first_id));
    }
    position->whole++;
    position->torn += scan->start > position->end;
    position->end = position->last_end = scan->base + (apr_off_t)scan->at;
}

static apr_status_t read_all(scan_t *scan, b24bg_journal_record_cb record_cb, void *baton,
                             b24bg_journal_position_t *position)
{
    apr_off_t end;
    apr_status_t rv;

    while ((rv = scan_next(scan)) == APR_SUCCESS) {
        rv = hand_over(scan, record_cb, baton);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        taken(scan, position);
    }
    if (!APR_STATUS_IS_EOF(rv)) {
        return rv;
    }
    end = scan->cut >= 0 ? scan->cut : scan->size;
    position->torn += end > position->end;
    position->end = end;
    return APR_SUCCESS;
}

apr_status_t b24bg_journal_read(const char *path, b24bg_journal_record_cb record_cb, void *baton,
                                b24bg_journal_position_t *position, apr_pool_t *scratch)
{
    struct stat info;
    scan_t scan;
    apr_status_t rv;
    int fd = -1;

    memset(position, 0, sizeof(*position));
    rv = open_file(path, O_RDONLY, &fd, &info);
    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_ENOENT(rv) ? APR_SUCCESS : rv;
    }
    scan_create(&scan, fd, info.st_size, scratch);
    scan_begin(&scan, 0);
    rv = read_all(&scan, record_cb, baton, position);
    close(fd);
    return rv;
}

/* Retiring */

/* Says in *unread whether a whole record stands in the file that was not read. The end of what was
 * read does not prove that: while the store committed, another process may have emptied the file,
 * and others filled it again, even past that end. But emptying takes everything. So if the first
 * whole record is still the one that was read first, all that was read stands there still, and
 * only what follows the last one is left to be looked at. */
static apr_status_t look_for_unread(scan_t *scan, const b24bg_journal_position_t *position,
                                    int *unread)
{
    apr_status_t rv;

    *unread = 1;
    scan_begin(scan, 0);
    rv = scan_next(scan);
    if (position->whole > 0) {
        if (rv != APR_SUCCESS ||
            memcmp(scan->header.id, position->first_id, sizeof(position->first_id)) != 0) {
            return APR_STATUS_IS_EOF(rv) ? APR_SUCCESS : rv;
        }
        scan_begin(scan, position->last_end);
        rv = scan_next(scan);
    }
    if (APR_STATUS_IS_EOF(rv)) {
        *unread = 0;
        rv = APR_SUCCESS;
    }
    return rv;
}

static apr_status_t empty(int fd, const b24bg_journal_position_t *position, int *retired,
                          apr_pool_t *scratch)
{
    struct stat info;
    scan_t scan;
    int unread;
    apr_status_t rv;

    if (fstat(fd, &info) != 0) {
        return errno;
    }
    scan_create(&scan, fd, info.st_size, scratch);
    rv = look_for_unread(&scan, position, &unread);
    if (rv != APR_SUCCESS || unread || info.st_size == 0) {
        return rv;
    }
    if (ftruncate(fd, 0) != 0) {
        return errno;
    }
    *retired = 1;
    return APR_SUCCESS;
}

/* The flush comes after the lock: appenders need not wait for it, and records that come back after
 * a crash in between have names that the store knows. */
apr_status_t b24bg_journal_retire(const char *path, const b24bg_journal_position_t *position,
                                  int *retired, apr_pool_t *scratch)
{
    struct stat info;
    apr_status_t rv;
    int fd = -1;

    *retired = 0;
    rv = open_file(path, O_RDWR, &fd, &info);
    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_ENOENT(rv) ? APR_SUCCESS : rv;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        rv = empty(fd, position, retired, scratch);
        unlock(fd);
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
        rv = errno;
    }
    if (*retired) {
        rv = sync_data(fd);
    }
    close(fd);
    return rv;
}
