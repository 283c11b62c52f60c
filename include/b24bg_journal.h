/* The journal: what was answered 200 and must survive a crash until the store has it.
 *
 * One file, append-only. A record is one write(2) and one fdatasync(2); it carries a length and a
 * checksum, so that what a crash tore is recognised and skipped wherever it lies. Any number of
 * processes append at once, each write(2) under a shared flock(2); any number of background tasks
 * read without a lock and retire under an exclusive one that they only try. The file is opened for
 * every call: a request pays for a disk flush anyway, and nobody holds a descriptor of a file that
 * has been replaced.
 *
 * Pure. Thread: any, of any process. Time in is apr_time_t, microseconds.
 */
#ifndef B24BG_JOURNAL_H
#define B24BG_JOURNAL_H

#include <apr_pools.h>
#include <apr_time.h>

/* Random bytes that name a record; the store drops the second of two with the same name. */
#define B24BG_JOURNAL_ID_SIZE 16
/* Largest payload: fields of an installation take 2 KiB (protocol.md 5.3). */
#define B24BG_JOURNAL_PAYLOAD_MAX 16384
/* Largest file: some 50,000 records. More says that the store has been away for days or that
 * somebody is flooding the URL; either way no 200 is given away that could not be kept. */
#define B24BG_JOURNAL_FILE_MAX (64 * 1024 * 1024)
/* Longest wait for the shared lock. It is held exclusively while a file is emptied, which waits for
 * no disk: what is read then was read just before. */
#define B24BG_JOURNAL_LOCK_WAIT (100 * (APR_USEC_PER_SEC / 1000))

typedef struct {
    unsigned char id[B24BG_JOURNAL_ID_SIZE];
    apr_time_t at;
    const char *payload; /* any bytes; NUL-terminated when read */
    apr_size_t length;
} b24bg_journal_record_t;

/* Appends one record and waits until it is on the disk. APR_SUCCESS is a promise: it will be read
 * until it is retired, whatever dies. Else nothing is promised, and it may be read all the same:
 * APR_ENOSPC (disk, quota or B24BG_JOURNAL_FILE_MAX full), APR_EINVAL (payload too large),
 * APR_TIMEUP (lock), APR_EFTYPE (no regular file), or what the system said. The file is made with
 * mode 0600 if it is not there; a symbolic link in its place is refused. */
apr_status_t b24bg_journal_append(const char *path, const b24bg_journal_record_t *record,
                                  apr_pool_t *scratch);

/* Called for each whole record. A status other than APR_SUCCESS ends the reading and refuses the
 * record: it counts as not read. `record` lives until the call returns. */
typedef apr_status_t (*b24bg_journal_record_cb)(void *baton, const b24bg_journal_record_t *record);

typedef struct {
    apr_off_t end;      /* everything before it has been read; 0 for a missing file */
    apr_uint32_t whole; /* records handed over and taken */
    apr_uint32_t torn;  /* places where bytes had to be skipped */
    /* For b24bg_journal_retire: the name of the first of those records, and where the last one
     * ends. Set if there are any. */
    unsigned char first_id[B24BG_JOURNAL_ID_SIZE];
    apr_off_t last_end;
} b24bg_journal_position_t;

/* Reads all whole records from the start; what is appended meanwhile is for the next time. A torn
 * tail may be a record that is being written: it is left, too. A missing file has no records.
 * Returns what the callback said, if it ended the reading; *position is set in any case. */
apr_status_t b24bg_journal_read(const char *path, b24bg_journal_record_cb record_cb, void *baton,
                                b24bg_journal_position_t *position, apr_pool_t *scratch);

/* Empties the file if no record stands in it that was not read; call when the store has committed
 * all that was read. *retired tells whether it did; 0 is no error: an appender was faster or holds
 * the lock, and the next step tries again, or another process has emptied it since. */
apr_status_t b24bg_journal_retire(const char *path, const b24bg_journal_position_t *position,
                                  int *retired, apr_pool_t *scratch);

#endif
