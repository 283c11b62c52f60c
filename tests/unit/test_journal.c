/* b24bg_journal: spec.md sections 4 and 8; what the header promises, also to processes that are
 * killed, to disks that are full, and to files that somebody has damaged.
 */
#include "unit.h"

#include "b24bg_journal.h"

#include <apr_strings.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define T0 APR_INT64_C(1700000000000000)
/* Records of one test: more than it can append in its time. */
#define NUMBERS 200000
/* How long the tests with kill -9 go on. */
#define KILLING (APR_USEC_PER_SEC * 3 / 2)

/* The flushes: seen, and told to fail. The journal's calls come here before the C library's. */

static struct {
    int pretend;  /* count only: for tests that append thousands of times */
    int error;    /* of the flush of a file */
    int files;    /* flushed */
    int folders;  /* flushed */
    off_t folder; /* size of the journal when its folder was flushed last */
    int locked;   /* flushes of the file while somebody held its lock */
    int forking;  /* let a child come to be while the file is flushed */
    pid_t child;
    const char *path; /* of the journal, if the above is asked for */
} flush;

/* As another thread may do it: the child holds a copy of every descriptor, and does not exec. */
static void fork_in_flush(void)
{
    flush.forking = 0;
    flush.child = fork();
    if (flush.child == 0) {
        alarm(20);
        pause();
        _exit(0);
    }
}

static void look_at_lock(void)
{
    int fd = flush.path ? open(flush.path, O_RDWR | O_CLOEXEC) : -1;

    if (fd >= 0) {
        flush.locked += flock(fd, LOCK_EX | LOCK_NB) != 0;
        close(fd);
    }
}

static int fake_flush(int fd, long call)
{
    struct stat info;
    int is_folder = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);

    if (is_folder) {
        flush.folders++;
        flush.folder = flush.path && stat(flush.path, &info) == 0 ? info.st_size : -1;
    } else {
        flush.files++;
        look_at_lock();
        if (flush.forking) {
            fork_in_flush();
        }
        if (flush.error) {
            errno = flush.error;
            return -1;
        }
    }
    return flush.pretend ? 0 : (int)syscall(call, fd);
}

int fdatasync(int fd)
{
    return fake_flush(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return fake_flush(fd, SYS_fsync);
}

/* Files */

static apr_status_t remove_folder(void *path)
{
    char *slash = strrchr(path, '/');

    unlink(path);
    *slash = '\0';
    rmdir(path);
    return APR_SUCCESS;
}

/* The path of a journal that is not there, in a folder of its own that ends with the test. */
static const char *new_path(void)
{
    const char *base = getenv("TMPDIR");
    char *path = apr_pstrcat(unit_pool, base ? base : "/tmp", "/b24bg-journal-XXXXXX", NULL);

    assert_non_null(mkdtemp(path));
    path = apr_pstrcat(unit_pool, path, "/journal", NULL);
    apr_pool_cleanup_register(unit_pool, apr_pstrdup(unit_pool, path), remove_folder,
                              apr_pool_cleanup_null);
    memset(&flush, 0, sizeof(flush));
    return path;
}

/* The same for tests that do not die and append much. */
static const char *new_fast_path(void)
{
    const char *path = new_path();

    flush.pretend = 1;
    return path;
}

static size_t size_of(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

static char *content(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes;

    assert_non_null(file);
    *size = size_of(path);
    bytes = apr_palloc(unit_pool, *size + 1);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void put(const char *path, const char *bytes, size_t size, const char *mode)
{
    FILE *file = fopen(path, mode);

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Records that a number names: what they must hold can be told from it. */

static apr_size_t payload_length(uint32_t number)
{
    return number % 5 == 0 ? 0 : number * 2654435761u % 700;
}

static char payload_byte(uint32_t number, apr_size_t i)
{
    return (char)(number * 31 + i * 7 + (i >> 8));
}

static void make_record(uint32_t number, b24bg_journal_record_t *record, char *payload)
{
    apr_size_t i;

    memset(record->id, 'i', sizeof(record->id));
    memcpy(record->id, &number, sizeof(number));
    record->at = T0 + number;
    record->length = payload_length(number);
    record->payload = payload;
    for (i = 0; i < record->length; i++) {
        payload[i] = payload_byte(number, i);
    }
}

/* The number, or NUMBERS if anything is not as it was appended. */
static uint32_t number_of(const b24bg_journal_record_t *record)
{
    uint32_t number;
    apr_size_t i;

    memcpy(&number, record->id, sizeof(number));
    if (record->at != T0 + number || record->length != payload_length(number) ||
        record->payload[record->length] != '\0') {
        return NUMBERS;
    }
    for (i = sizeof(number); i < sizeof(record->id); i++) {
        if (record->id[i] != 'i') {
            return NUMBERS;
        }
    }
    for (i = 0; i < record->length; i++) {
        if (record->payload[i] != payload_byte(number, i)) {
            return NUMBERS;
        }
    }
    return number < NUMBERS ? number : NUMBERS;
}

static apr_status_t append_number(const char *path, uint32_t number)
{
    char payload[700];
    b24bg_journal_record_t record;
    apr_pool_t *pool;
    apr_status_t rv;

    apr_pool_create(&pool, NULL);
    make_record(number, &record, payload);
    rv = b24bg_journal_append(path, &record, pool);
    apr_pool_destroy(pool);
    return rv;
}

static void append(const char *path, uint32_t number)
{
    assert_int_equal(append_number(path, number), APR_SUCCESS);
}

typedef struct {
    uint32_t *numbers;
    int count;
    int wrong; /* records that are not as they were appended */
} list_t;

static list_t new_list(void)
{
    list_t list = {apr_palloc(unit_pool, NUMBERS * sizeof(uint32_t)), 0, 0};

    return list;
}

static apr_status_t add_to_list(void *baton, const b24bg_journal_record_t *record)
{
    list_t *list = baton;
    uint32_t number = number_of(record);

    if (number == NUMBERS || list->count == NUMBERS) {
        list->wrong++;
    } else {
        list->numbers[list->count++] = number;
    }
    return APR_SUCCESS;
}

static b24bg_journal_position_t read_list(const char *path, list_t *list)
{
    b24bg_journal_position_t position;
    apr_pool_t *pool;

    apr_pool_create(&pool, unit_pool);
    list->count = list->wrong = 0;
    assert_int_equal(b24bg_journal_read(path, add_to_list, list, &position, pool), APR_SUCCESS);
    assert_int_equal(list->wrong, 0);
    assert_int_equal(position.whole, list->count);
    assert_true(position.end >= 0 && (size_t)position.end <= size_of(path));
    apr_pool_destroy(pool);
    return position;
}

static int retire(const char *path, const b24bg_journal_position_t *position)
{
    int retired = -1;
    apr_pool_t *pool;

    apr_pool_create(&pool, unit_pool);
    assert_int_equal(b24bg_journal_retire(path, position, &retired, pool), APR_SUCCESS);
    apr_pool_destroy(pool);
    return retired;
}

/* These numbers and no others, in this order; the last of them is followed by NUMBERS. */
static b24bg_journal_position_t expect(const char *path, const uint32_t *numbers)
{
    list_t list = new_list();
    b24bg_journal_position_t position = read_list(path, &list);
    int i;

    for (i = 0; numbers[i] != NUMBERS; i++) {
        assert_true(i < list.count);
        assert_int_equal(list.numbers[i], numbers[i]);
    }
    assert_int_equal(list.count, i);
    return position;
}

#define EXPECT(path, ...) expect(path, (const uint32_t[]){__VA_ARGS__, NUMBERS})
#define EXPECT_NOTHING(path) expect(path, (const uint32_t[]){NUMBERS})

/* Children */

/* In a child: what it says is its exit code. assert_* would go on with the parent's tests. */
#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: in a child: %s\n", __FILE__, __LINE__, #condition);            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static int exit_code(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void kill_child(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What is appended is read */

typedef struct {
    const char *name;
    const char *payload;
    apr_size_t length;
    apr_time_t at;
} sample_t;

static char largest[B24BG_JOURNAL_PAYLOAD_MAX];

static const sample_t samples[] = {
    {"nothing", "", 0, T0},
    {"no pointer", NULL, 0, T0},
    {"text", "event=ONAPPINSTALL&auth%5Bmember_id%5D=da45", 43, T0},
    {"NUL", "\0a\0", 3, T0},
    {"line ends", "\r\n\r\n", 4, T0},
    {"largest", largest, sizeof(largest), T0},
    {"time zero", "x", 1, 0},
    {"before 1970", "x", 1, -1},
    {"end of time", "x", 1, APR_INT64_MAX},
};

typedef struct {
    const b24bg_journal_record_t *record;
    int count;
} expected_t;

static apr_status_t compare(void *baton, const b24bg_journal_record_t *record)
{
    expected_t *expected = baton;

    expected->count++;
    assert_memory_equal(record->id, expected->record->id, sizeof(record->id));
    assert_true(record->at == expected->record->at);
    assert_int_equal(record->length, expected->record->length);
    if (record->length) {
        assert_memory_equal(record->payload, expected->record->payload, record->length);
    }
    assert_int_equal(record->payload[record->length], '\0');
    return APR_SUCCESS;
}

static void test_round_trip(void **state)
{
    const sample_t *sample = *state;
    const char *path = new_path();
    b24bg_journal_record_t record = {"0123456789abcde", sample->at, sample->payload, 0};
    expected_t expected = {&record, 0};
    b24bg_journal_position_t position;

    memset(largest, 0xB2, sizeof(largest));
    record.length = sample->length;
    assert_int_equal(b24bg_journal_append(path, &record, unit_pool), APR_SUCCESS);
    assert_int_equal(b24bg_journal_read(path, compare, &expected, &position, unit_pool),
                     APR_SUCCESS);
    assert_int_equal(expected.count, 1);
    assert_int_equal(position.whole, 1);
    assert_int_equal(position.torn, 0);
    assert_int_equal(position.end, size_of(path));
    assert_int_equal(retire(path, &position), 1);
    assert_int_equal(size_of(path), 0);
}

static void test_too_large(void **state)
{
    const char *path = new_path();
    b24bg_journal_record_t record = {"", T0, largest, B24BG_JOURNAL_PAYLOAD_MAX + 1};

    (void)state;
    assert_int_equal(b24bg_journal_append(path, &record, unit_pool), APR_EINVAL);
    record.length = (apr_size_t)-1;
    assert_int_equal(b24bg_journal_append(path, &record, unit_pool), APR_EINVAL);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_order(void **state)
{
    const char *path = new_path();

    (void)state;
    append(path, 3);
    append(path, 1);
    append(path, 2);
    EXPECT(path, 3, 1, 2);
    EXPECT(path, 3, 1, 2);
}

static void test_again_after_retiring(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;
    int round;

    (void)state;
    for (round = 1; round < 5; round++) {
        append(path, (uint32_t)round);
        position = EXPECT(path, (uint32_t)round);
        assert_int_equal(retire(path, &position), 1);
        position = EXPECT_NOTHING(path);
        assert_int_equal(position.end, 0);
        assert_int_equal(retire(path, &position), 0);
    }
}

static void test_missing_file(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position = EXPECT_NOTHING(path);

    (void)state;
    assert_int_equal(position.end, 0);
    assert_int_equal(position.torn, 0);
    assert_int_equal(retire(path, &position), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_empty_file(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    put(path, "", 0, "wb");
    position = EXPECT_NOTHING(path);
    assert_int_equal(position.end, 0);
    assert_int_equal(position.torn, 0);
    retire(path, &position);
    append(path, 1);
    EXPECT(path, 1);
}

static void test_relative_path(void **state)
{
    const char *path = new_path();
    char before[4096];
    char *folder = apr_pstrmemdup(unit_pool, path, (apr_size_t)(strrchr(path, '/') - path));

    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(folder), 0);
    append("journal", 1);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(flush.folders, 1);
    EXPECT(path, 1);
}

/* What stands in the file's place */

static void test_mode(void **state)
{
    const char *path = new_path();
    struct stat info;
    mode_t before = umask(0);

    (void)state;
    append(path, 1);
    umask(before);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void refused(const char *path, apr_status_t expected)
{
    b24bg_journal_position_t position = {.end = 1, .whole = 1};
    list_t list = new_list();
    int retired = -1;

    assert_int_equal(append_number(path, 1), expected);
    assert_int_equal(b24bg_journal_read(path, add_to_list, &list, &position, unit_pool), expected);
    assert_int_equal(list.count, 0);
    position.end = position.whole = 1;
    assert_int_equal(b24bg_journal_retire(path, &position, &retired, unit_pool), expected);
    assert_int_equal(retired, 0);
}

static void test_symbolic_link(void **state)
{
    const char *path = new_path();
    const char *target = new_path();

    (void)state;
    assert_int_equal(symlink(target, path), 0);
    refused(path, ELOOP);
    assert_int_not_equal(access(target, F_OK), 0);
    put(target, "keep", 4, "wb");
    refused(path, ELOOP);
    assert_int_equal(size_of(target), 4);
}

/* Nobody reads from it and nobody writes to it: a plain open(2) would wait for ever. */
static void test_pipe(void **state)
{
    const char *path = new_path();
    pid_t pid;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        b24bg_journal_position_t position;
        list_t list = new_list();
        alarm(5);
        CHILD_CHECK(append_number(path, 1) == ENXIO);
        CHILD_CHECK(b24bg_journal_read(path, add_to_list, &list, &position, unit_pool) ==
                    APR_EFTYPE);
        _exit(0);
    }
    assert_int_equal(exit_code(pid), 0);
}

static void test_folder_in_its_place(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;
    list_t list = new_list();

    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(append_number(path, 1), EISDIR);
    assert_int_equal(b24bg_journal_read(path, add_to_list, &list, &position, unit_pool),
                     APR_EFTYPE);
    assert_int_equal(rmdir(path), 0);
}

static void test_missing_folder(void **state)
{
    const char *path = apr_pstrcat(unit_pool, new_path(), "/journal", NULL);

    (void)state;
    assert_true(APR_STATUS_IS_ENOENT(append_number(path, 1)));
    EXPECT_NOTHING(path);
}

/* Flushes */

static void test_flushed(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    flush.path = path;
    append(path, 1);
    assert_int_equal(flush.files, 1);
    assert_int_equal(flush.folders, 1);
    assert_int_equal(flush.folder, 0); /* before anything was in it */
    append(path, 2);
    assert_int_equal(flush.files, 2);
    assert_int_equal(flush.folders, 1);
    position = EXPECT(path, 1, 2);
    assert_int_equal(retire(path, &position), 1);
    assert_int_equal(flush.files, 3);
}

/* Whoever made it died before it was flushed to its folder. */
static void test_folder_flushed_for_another(void **state)
{
    const char *path = new_path();

    (void)state;
    put(path, "", 0, "wb");
    append(path, 1);
    assert_int_equal(flush.folders, 1);
}

typedef struct {
    const char *name;
    int error;
    apr_status_t expected;
} flush_error_t;

static const flush_error_t flush_errors[] = {
    {"EIO", EIO, EIO},
    {"ENOSPC", ENOSPC, APR_ENOSPC},
    {"EDQUOT", EDQUOT, APR_ENOSPC},
};

static void test_flush_fails(void **state)
{
    const flush_error_t *row = *state;
    const char *path = new_path();
    list_t list = new_list();

    append(path, 1);
    flush.error = row->error;
    assert_int_equal(append_number(path, 2), row->expected);
    flush.error = 0;
    append(path, 3);
    read_list(path, &list); /* 2 may be there or not */
    assert_int_equal(list.numbers[0], 1);
    assert_int_equal(list.numbers[list.count - 1], 3);
}

/* Damage */

/* Cut after every byte, as by a crash in the middle of a write; what is appended to that is whole.
 */
static void test_cut_everywhere(void **state)
{
    const char *path = new_fast_path();
    static const uint32_t all[] = {5, 12, 1, NUMBERS};
    size_t ends[4] = {0};
    size_t size;
    size_t cut;
    char *bytes;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        append(path, all[i]);
        ends[i + 1] = size_of(path);
    }
    bytes = content(path, &size);
    for (cut = 0; cut <= size; cut++) {
        uint32_t whole[6] = {0};
        b24bg_journal_position_t position;
        int clean;
        for (i = 0; i < 3 && ends[i + 1] <= cut; i++) {
            whole[i] = all[i];
        }
        clean = ends[i] == cut;
        whole[i] = NUMBERS;
        put(path, bytes, cut, "wb");
        position = expect(path, whole);
        assert_int_equal(position.torn, 0);
        assert_int_equal(position.end, ends[i]);
        append(path, 7);
        whole[i] = 7;
        whole[i + 1] = NUMBERS;
        assert_int_equal(retire(path, &position), 0);
        position = expect(path, whole);
        assert_int_equal(position.torn, !clean);
        assert_int_equal(position.end, size_of(path));
        assert_int_equal(retire(path, &position), 1);
    }
}

/* A torn tail alone is taken away with what was read. */
static void test_torn_tail_retired(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    append(path, 1);
    append(path, 2);
    assert_int_equal(truncate(path, (off_t)size_of(path) - 1), 0);
    position = EXPECT(path, 1);
    assert_int_equal(retire(path, &position), 1);
    assert_int_equal(size_of(path), 0);
}

typedef struct {
    const char *name;
    int damaged;
} damage_t;

static const damage_t damages[] = {{"first", 0}, {"middle", 1}, {"last", 2}};

/* Lengths of 2^14 and more are too large to be meant. */
#define LENGTH_BITS 14

/* Every bit of one of three records: header, id, time, length, checksum and payload. The others
 * are read as if nothing had happened. */
static void test_flipped_bits(void **state)
{
    const damage_t *row = *state;
    const char *path = new_fast_path();
    static const uint32_t all[] = {5, 12, 1};
    uint32_t others[3] = {0, 0, NUMBERS};
    size_t ends[4] = {0};
    size_t size;
    size_t bit;
    char *bytes;
    int cut = 0;
    int fd;
    int i;
    int j = 0;

    for (i = 0; i < 3; i++) {
        append(path, all[i]);
        ends[i + 1] = size_of(path);
        if (i != row->damaged) {
            others[j++] = all[i];
        }
    }
    bytes = content(path, &size);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (bit = 8 * ends[row->damaged]; bit < 8 * ends[row->damaged + 1]; bit++) {
        char *byte = &bytes[bit / 8];
        char flipped = (char)(*byte ^ 1 << bit % 8);
        b24bg_journal_position_t position;
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)bit / 8), 1);
        position = expect(path, others);
        if (position.torn == 0) { /* the last one may have more length than there is */
            cut++;
            assert_int_equal(position.end, ends[row->damaged]);
        } else {
            assert_int_equal(position.torn, 1);
            assert_int_equal(position.end, size);
        }
        assert_int_equal(pwrite(fd, byte, 1, (off_t)bit / 8), 1);
    }
    close(fd);
    assert_true(cut <= (row->damaged == 2 ? LENGTH_BITS : 0));
    EXPECT(path, 5, 12, 1);
}

typedef struct {
    const char *name;
    size_t size;
    int kind; /* a byte to repeat, or RANDOM, or MAGIC: how a record begins */
} garbage_t;

#define RANDOM 256
#define MAGIC 257

static const garbage_t garbages[] = {
    {"one NUL", 1, 0},
    {"NULs, as a crash leaves them", 4096, 0},
    {"many NULs", 300000, 0},
    {"one byte", 1, 'x'},
    {"text", 1000, 'x'},
    {"random", 1000, RANDOM},
    {"more random", 300000, RANDOM},
    {"beginnings", 800, MAGIC},
    {"more beginnings", 300000, MAGIC},
    {"0xB2", 300000, 0xB2},
};

static char *make_garbage(const garbage_t *row, const char *path)
{
    char *bytes = apr_palloc(unit_pool, row->size);
    size_t size;
    const char *record;
    size_t i;

    append(path, 1);
    record = content(path, &size);
    for (i = 0; i < row->size; i++) {
        bytes[i] = (char)(row->kind == RANDOM  ? (int)unit_random(256)
                          : row->kind == MAGIC ? record[i % 8]
                                               : row->kind);
    }
    return bytes;
}

static void test_garbage_alone(void **state)
{
    const garbage_t *row = *state;
    const char *path = new_fast_path();
    b24bg_journal_position_t position;

    put(path, make_garbage(row, path), row->size, "wb");
    position = EXPECT_NOTHING(path);
    assert_int_equal(position.torn, 1);
    assert_true(position.end > 0 && (size_t)position.end + 64 > row->size);
    assert_int_equal(retire(path, &position), 1);
    assert_int_equal(size_of(path), 0);
    append(path, 1);
    EXPECT(path, 1);
}

static void test_garbage_between(void **state)
{
    const garbage_t *row = *state;
    const char *path = new_fast_path();
    char *bytes = make_garbage(row, path); /* leaves 1 */
    b24bg_journal_position_t position;

    put(path, bytes, row->size, "ab");
    append(path, 2);
    put(path, bytes, row->size, "ab");
    append(path, 3);
    append(path, 4);
    position = EXPECT(path, 1, 2, 3, 4);
    assert_int_equal(position.torn, 2);
    assert_int_equal(position.end, size_of(path));
    assert_int_equal(retire(path, &position), 1);
}

static void test_garbage_in_front(void **state)
{
    const garbage_t *row = *state;
    const char *path = new_fast_path();
    b24bg_journal_position_t position;

    put(path, make_garbage(row, path), row->size, "wb");
    append(path, 2);
    position = EXPECT(path, 2);
    assert_int_equal(position.torn, 1);
    append(path, 3);
    assert_int_equal(retire(path, &position), 0);
    position = EXPECT(path, 2, 3);
    assert_int_equal(retire(path, &position), 1);
}

/* A record's header with a length that leads past all that follows. */
static void test_length_past_the_end(void **state)
{
    const char *path = new_fast_path();
    b24bg_journal_record_t record = {"", T0, largest, sizeof(largest)};
    b24bg_journal_position_t position;
    size_t before;
    uint32_t i;

    (void)state;
    append(path, 1);
    before = size_of(path);
    assert_int_equal(b24bg_journal_append(path, &record, unit_pool), APR_SUCCESS);
    assert_int_equal(truncate(path, (off_t)before + 60), 0);
    for (i = 2; i <= 4; i++) {
        append(path, i);
    }
    position = EXPECT(path, 1, 2, 3, 4);
    assert_int_equal(position.torn, 1);
    assert_int_equal(position.end, size_of(path));
}

/* Every seventh of many records is damaged in its middle, in a file of several megabytes. */
static void test_large_file(void **state)
{
    const char *path = new_fast_path();
    list_t list = new_list();
    b24bg_journal_position_t position;
    char *bytes;
    size_t size;
    uint32_t number;
    uint32_t damaged = 0;
    int i = 0;

    (void)state;
    for (number = 1; number <= 5000; number++) {
        append(path, number);
        if (number % 7 == 0) {
            size = size_of(path);
            assert_int_equal(truncate(path, (off_t)size - 1 - number % 40), 0);
            damaged++;
        }
    }
    bytes = content(path, &size);
    for (i = 0; i < 2; i++) {
        put(path, bytes, size, "ab");
    }
    position = read_list(path, &list);
    assert_int_equal(list.count, 3 * (5000 - damaged));
    assert_int_equal(position.torn, 3 * damaged);
    for (i = 0, number = 1; i < list.count; i++, number = number % 5000 + 1) {
        number += number % 7 == 0;
        assert_int_equal(list.numbers[i], number);
    }
    assert_int_equal(position.end, 3 * size);
}

/* Records of all sizes, so that their ends fall everywhere on the reader's buffer. */
static void test_sizes(void **state)
{
    const char *path = new_fast_path();
    b24bg_journal_record_t record = {"", T0, largest, 0};
    b24bg_journal_position_t position;
    list_t list = new_list();
    apr_pool_t *pool;
    uint32_t count = 0;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    for (record.length = 0; record.length <= sizeof(largest);
         record.length += 1 + unit_random(60)) {
        apr_pool_clear(pool);
        assert_int_equal(b24bg_journal_append(path, &record, pool), APR_SUCCESS);
        count++;
    }
    apr_pool_clear(pool);
    assert_int_equal(b24bg_journal_read(path, add_to_list, &list, &position, pool), APR_SUCCESS);
    assert_int_equal(position.whole, count);
    assert_int_equal(position.torn, 0);
    assert_int_equal(position.end, size_of(path));
}

/* The largest ones, at every place of the buffer's border where one byte decides. */
static void test_largest_on_borders(void **state)
{
    const char *path = new_fast_path();
    b24bg_journal_record_t record = {"", T0, largest, sizeof(largest)};
    apr_pool_t *pool;
    size_t before;
    int i;

    (void)state;
    apr_pool_create(&pool, unit_pool);
    for (before = 0; before <= 64; before++) {
        b24bg_journal_position_t position;
        expected_t expected = {&record, 0};
        unlink(path);
        put(path, largest, before, "wb");
        for (i = 0; i < 9; i++) {
            assert_int_equal(b24bg_journal_append(path, &record, pool), APR_SUCCESS);
        }
        assert_int_equal(b24bg_journal_read(path, compare, &expected, &position, pool),
                         APR_SUCCESS);
        assert_int_equal(expected.count, 9);
        assert_int_equal(position.torn, before > 0);
        apr_pool_clear(pool);
    }
}

/* A payload that holds a whole record is one record. */
static void test_record_in_payload(void **state)
{
    const char *path = new_path();
    b24bg_journal_record_t record = {"outer", T0, NULL, 0};
    expected_t expected = {&record, 0};
    b24bg_journal_position_t position;
    size_t size;

    (void)state;
    append(path, 1);
    record.payload = content(path, &size);
    record.length = size;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(b24bg_journal_append(path, &record, unit_pool), APR_SUCCESS);
    assert_int_equal(b24bg_journal_read(path, compare, &expected, &position, unit_pool),
                     APR_SUCCESS);
    assert_int_equal(expected.count, 1);
}

/* A callback that refuses */

typedef struct {
    int left;
    apr_status_t status;
} refusal_t;

static apr_status_t refuse(void *baton, const b24bg_journal_record_t *record)
{
    refusal_t *refusal = baton;

    (void)record;
    return refusal->left-- > 0 ? APR_SUCCESS : refusal->status;
}

static const refusal_t refusals[] = {{0, APR_EGENERAL}, {1, APR_EGENERAL}, {2, APR_EGENERAL},
                                     {0, APR_EOF},      {1, APR_EOF},      {2, APR_EOF}};

static void test_callback_refuses(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const char *path = new_fast_path();
        refusal_t refusal = refusals[i];
        b24bg_journal_position_t position;
        append(path, 1);
        append(path, 2);
        append(path, 3);
        assert_int_equal(b24bg_journal_read(path, refuse, &refusal, &position, unit_pool),
                         refusal.status);
        assert_int_equal(refusal.left, -1); /* not called again */
        assert_int_equal(position.whole, refusals[i].left);
        assert_int_equal(retire(path, &position), 0);
        EXPECT(path, 1, 2, 3);
    }
}

/* What is appended while one reads is for the next time: a flood cannot keep the reading from
 * coming to its end. */
typedef struct {
    const char *path;
    b24bg_journal_record_t record;
    int appended;
} flood_t;

static apr_status_t append_two(void *baton, const b24bg_journal_record_t *record)
{
    flood_t *flood = baton;
    int i;

    (void)record;
    for (i = 0; i < 2; i++) {
        assert_int_equal(b24bg_journal_append(flood->path, &flood->record, unit_pool), APR_SUCCESS);
        assert_true(flood->appended++ < 100);
    }
    return APR_SUCCESS;
}

static void test_append_while_reading(void **state)
{
    flood_t flood = {new_fast_path(), {"", T0, largest, sizeof(largest)}, 0};
    b24bg_journal_position_t position;
    int i;

    (void)state;
    for (i = 0; i < 6; i++) { /* more than the reader holds at once */
        assert_int_equal(b24bg_journal_append(flood.path, &flood.record, unit_pool), APR_SUCCESS);
    }
    assert_int_equal(b24bg_journal_read(flood.path, append_two, &flood, &position, unit_pool),
                     APR_SUCCESS);
    assert_int_equal(position.whole, 6);
    assert_int_equal(position.torn, 0);
    assert_int_equal(retire(flood.path, &position), 0);
    assert_int_equal(position.end * 3, size_of(flood.path));
}

/* Two that read and retire */

/* While one's store is committing the other retires, and the file grows again. */
typedef struct {
    const char *name;
    uint32_t read;
    uint32_t later[4]; /* 0 ends them; payloads: 1 has 61 bytes, 2 426, 6 578, 8 304, 5 to 20 0 */
} stale_t;

static const stale_t stales[] = {
    {"nothing", 1, {0}},
    {"shorter", 1, {5, 0}},
    {"as long", 5, {10, 0}},
    {"longer", 8, {6, 0}},
    {"many", 5, {1, 2, 6, 0}},
    {"more", 5, {10, 15, 0}},
    {"the end on a border", 5, {10, 15, 20, 0}},
};

static void test_stale_position(void **state)
{
    const stale_t *row = *state;
    const char *path = new_path();
    b24bg_journal_position_t slow;
    b24bg_journal_position_t fast;
    uint32_t expected[4] = {0};
    int i;

    append(path, row->read);
    slow = EXPECT(path, row->read);
    fast = EXPECT(path, row->read);
    assert_int_equal(retire(path, &fast), 1);
    for (i = 0; row->later[i]; i++) {
        append(path, row->later[i]);
        expected[i] = row->later[i];
    }
    expected[i] = NUMBERS;
    assert_int_equal(retire(path, &slow), 0);
    fast = expect(path, expected);
    assert_int_equal(retire(path, &fast), i > 0);
}

/* A file that was removed and made anew, as by an administrator. */
static void test_replaced_file(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    append(path, 1);
    position = EXPECT(path, 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(retire(path, &position), 0);
    append(path, 2);
    append(path, 3);
    assert_int_equal(retire(path, &position), 0);
    EXPECT(path, 2, 3);
}

/* While one is reading the other retires, and the file grows again. */
typedef struct {
    const char *path;
    uint32_t before; /* records at first */
    uint32_t after;  /* records at last */
    uint32_t at;     /* the call in which it happens */
    uint32_t calls;
    int new; /* of the new records were handed over */
    int wrong;
} emptied_t;

static apr_status_t empty_meanwhile(void *baton, const b24bg_journal_record_t *record)
{
    emptied_t *emptied = baton;
    uint32_t number = number_of(record);
    uint32_t i;

    emptied->wrong += number == NUMBERS;
    emptied->new += number > emptied->before;
    if (emptied->calls++ == emptied->at) {
        list_t list = new_list();
        b24bg_journal_position_t position = read_list(emptied->path, &list);
        assert_int_equal(retire(emptied->path, &position), 1);
        for (i = 1; i <= emptied->after; i++) {
            append(emptied->path, emptied->before + i);
        }
    }
    return APR_SUCCESS;
}

static void test_emptied_while_reading(void **state)
{
    static const uint32_t counts[] = {0, 1, 2, 3, 100, 1000, 2000};
    const uint32_t many = sizeof(counts) / sizeof(counts[0]);
    uint32_t i;

    (void)state;
    for (i = 0; i < 3 * many * many; i++) {
        const char *path = new_fast_path();
        emptied_t emptied = {path, counts[i % many], counts[i / many % many], 0, 0, 0, 0};
        b24bg_journal_position_t position;
        list_t list = new_list();
        uint32_t number;
        int retired;
        emptied.at = i / (many * many) * emptied.before / 3;
        for (number = 1; number <= emptied.before; number++) {
            append(path, number);
        }
        assert_int_equal(b24bg_journal_read(path, empty_meanwhile, &emptied, &position, unit_pool),
                         APR_SUCCESS);
        assert_int_equal(emptied.wrong, 0);
        retired = retire(path, &position);
        if (emptied.before && emptied.new < (int)emptied.after) {
            assert_int_equal(retired, 0);
            read_list(path, &list);
            assert_int_equal(list.count, emptied.after);
        }
        apr_pool_clear(unit_pool);
    }
}

/* The lock */

static int hold(const char *path, int kind)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, kind | LOCK_NB), 0);
    return fd;
}

/* flock(2) belongs to an open file, so another one of this process is as good as another process.
 */
static void test_locked_exclusively(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;
    apr_time_t start;
    apr_time_t time;
    int fd;

    (void)state;
    append(path, 1);
    fd = hold(path, LOCK_EX);
    start = apr_time_now();
    assert_int_equal(append_number(path, 2), APR_TIMEUP);
    time = apr_time_now() - start;
    assert_true(time >= B24BG_JOURNAL_LOCK_WAIT && time < 20 * B24BG_JOURNAL_LOCK_WAIT);
    position = EXPECT(path, 1);
    assert_int_equal(retire(path, &position), 0);
    close(fd);
    append(path, 3);
    position = EXPECT(path, 1, 3);
    assert_int_equal(retire(path, &position), 1);
}

static void test_locked_by_an_appender(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;
    int fd;

    (void)state;
    append(path, 1);
    fd = hold(path, LOCK_SH);
    append(path, 2);
    position = EXPECT(path, 1, 2);
    assert_int_equal(retire(path, &position), 0);
    EXPECT(path, 1, 2);
    close(fd);
    assert_int_equal(retire(path, &position), 1);
}

static void *release_later(void *fd)
{
    apr_sleep(B24BG_JOURNAL_LOCK_WAIT / 4);
    close(*(int *)fd);
    return NULL;
}

static void test_lock_released_in_time(void **state)
{
    const char *path = new_path();
    int fd = hold(path, LOCK_EX);
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, release_later, &fd), 0);
    append(path, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    EXPECT(path, 1);
}

/* A child that was forked at the worst moment holds copies of all descriptors until it execs; with
 * them it would hold the lock. */
static void test_lock_not_inherited(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    flush.forking = 1;
    append(path, 1);
    position = EXPECT(path, 1);
    assert_int_equal(retire(path, &position), 1);
    assert_true(flush.child > 0);
    kill_child(flush.child);
    append(path, 2);
    position = EXPECT(path, 2);
    flush.forking = 1;
    assert_int_equal(retire(path, &position), 1);
    append(path, 3);
    position = EXPECT(path, 3);
    assert_int_equal(retire(path, &position), 1);
    kill_child(flush.child);
}

/* A slow disk keeps neither retiring nor appending waiting for the other. */
static void test_no_lock_while_flushing(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;

    (void)state;
    flush.path = path;
    append(path, 1);
    append(path, 2);
    position = EXPECT(path, 1, 2);
    assert_int_equal(retire(path, &position), 1);
    assert_int_equal(flush.files, 3);
    assert_int_equal(flush.locked, 0);
}

static int open_descriptors(void)
{
    int count = 0;
    int fd;

    for (fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

static void test_descriptors(void **state)
{
    const char *path = new_path();
    refusal_t refusal = {0, APR_EGENERAL};
    b24bg_journal_position_t position;
    int before = open_descriptors();
    int fd;

    (void)state;
    append(path, 1);
    position = EXPECT(path, 1);
    b24bg_journal_read(path, refuse, &refusal, &position, unit_pool);
    retire(path, &position);
    flush.error = EIO;
    append_number(path, 2);
    flush.error = 0;
    fd = hold(path, LOCK_EX);
    append_number(path, 3);
    retire(path, &position);
    close(fd);
    position = EXPECT(path, 1, 2);
    retire(path, &position);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    append_number(path, 4);
    b24bg_journal_read(path, refuse, &refusal, &position, unit_pool);
    rmdir(path);
    assert_int_equal(open_descriptors(), before);
}

/* Interrupted system calls */

static void on_alarm(int number)
{
    (void)number;
}

static void test_signals(void **state)
{
    const char *path = new_path();
    struct sigaction action = {.sa_handler = on_alarm};
    struct sigaction before;
    struct itimerval every = {{0, 300}, {0, 300}};
    struct itimerval never = {{0, 0}, {0, 0}};
    list_t list = new_list();
    uint32_t number;

    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    for (number = 1; number <= 100; number++) {
        append(path, number);
        read_list(path, &list);
    }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(list.count, 100);
}

/* No room */

static void test_file_max(void **state)
{
    const char *path = new_fast_path();
    b24bg_journal_position_t position;
    size_t record;

    (void)state;
    append(path, 1);
    record = size_of(path);
    assert_int_equal(truncate(path, (off_t)(B24BG_JOURNAL_FILE_MAX - record)), 0);
    append(path, 1);
    assert_int_equal(size_of(path), B24BG_JOURNAL_FILE_MAX);
    assert_int_equal(append_number(path, 5), APR_ENOSPC);
    assert_int_equal(size_of(path), B24BG_JOURNAL_FILE_MAX);
    position = EXPECT(path, 1, 1);
    assert_int_equal(position.torn, 1);
    assert_int_equal(retire(path, &position), 1);
    append(path, 5);
    EXPECT(path, 5);
}

static void test_file_max_less_one(void **state)
{
    const char *path = new_fast_path();
    size_t record;

    (void)state;
    append(path, 1);
    record = size_of(path);
    assert_int_equal(truncate(path, (off_t)(B24BG_JOURNAL_FILE_MAX - record + 1)), 0);
    assert_int_equal(append_number(path, 1), APR_ENOSPC);
}

static void quota_child(const char *path)
{
    struct rlimit limit;
    list_t list = new_list();
    b24bg_journal_position_t position;
    rlim_t before;
    apr_pool_t *pool = unit_pool;

    signal(SIGXFSZ, SIG_IGN);
    CHILD_CHECK(append_number(path, 1) == APR_SUCCESS);
    CHILD_CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    before = limit.rlim_cur;
    limit.rlim_cur = size_of(path) + 100;
    CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHILD_CHECK(append_number(path, 2) == APR_ENOSPC); /* a part of it fits */
    CHILD_CHECK(append_number(path, 3) == APR_ENOSPC); /* nothing does */
    CHILD_CHECK(b24bg_journal_read(path, add_to_list, &list, &position, pool) == APR_SUCCESS);
    CHILD_CHECK(list.count == 1 && position.torn == 0);
    limit.rlim_cur = before;
    CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHILD_CHECK(append_number(path, 4) == APR_SUCCESS);
    _exit(0);
}

static void test_limit(void **state)
{
    const char *path = new_path();
    b24bg_journal_position_t position;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        quota_child(path);
    }
    assert_int_equal(exit_code(pid), 0);
    position = EXPECT(path, 1, 4);
    assert_int_equal(position.torn, 1);
    assert_int_equal(retire(path, &position), 1);
}

#define CANNOT_MOUNT 77

static void full_disk_child(const char *path)
{
    const char *folder = apr_pstrmemdup(unit_pool, path, (apr_size_t)(strrchr(path, '/') - path));
    b24bg_journal_position_t position;
    list_t list = new_list();
    uint32_t number = 0;
    int retired;
    apr_status_t rv;

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", folder, "tmpfs", 0, "size=64k,mode=0700") != 0) {
        _exit(CANNOT_MOUNT);
    }
    do {
        rv = append_number(path, ++number);
    } while (rv == APR_SUCCESS && number < 10000);
    CHILD_CHECK(rv == APR_ENOSPC);
    CHILD_CHECK(append_number(path, 7) == APR_ENOSPC);
    CHILD_CHECK(b24bg_journal_read(path, add_to_list, &list, &position, unit_pool) == APR_SUCCESS);
    CHILD_CHECK(list.count == (int)number - 1 && list.wrong == 0 && position.torn == 0);
    CHILD_CHECK(b24bg_journal_retire(path, &position, &retired, unit_pool) == APR_SUCCESS);
    CHILD_CHECK(retired);
    CHILD_CHECK(append_number(path, 8) == APR_SUCCESS);
    list.count = 0;
    CHILD_CHECK(b24bg_journal_read(path, add_to_list, &list, &position, unit_pool) == APR_SUCCESS);
    CHILD_CHECK(list.count == 1 && list.numbers[0] == 8);
    _exit(0);
}

static void test_full_disk(void **state)
{
    const char *path = new_path();
    pid_t pid = fork();
    int code;

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        full_disk_child(path);
    }
    code = exit_code(pid);
    assert_true(code == 0 || code == CANNOT_MOUNT); /* without root test_limit has to do */
}

/* Many at once. They share who has seen which number: `appended` if it was promised, `stored` if
 * a reader has handed it to its store. */

typedef struct {
    _Atomic uint32_t next;
    _Atomic unsigned char appended[NUMBERS];
    _Atomic unsigned char stored[NUMBERS];
} ledger_t;

static ledger_t *new_ledger(void)
{
    ledger_t *ledger =
        mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(ledger != MAP_FAILED);
    return ledger;
}

static void append_some(const char *path, ledger_t *ledger, int count)
{
    while (count-- > 0) {
        uint32_t number = ++ledger->next;
        apr_status_t rv;
        CHILD_CHECK(number < NUMBERS);
        rv = append_number(path, number);
        CHILD_CHECK(rv == APR_SUCCESS || rv == APR_TIMEUP);
        ledger->appended[number] = rv == APR_SUCCESS;
    }
}

static pid_t start_appender(const char *path, ledger_t *ledger, int count)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        append_some(path, ledger, count);
        _exit(0);
    }
    return pid;
}

/* Everything that was promised is stored or still there, and nothing stands there twice. */
static void check_ledger(const char *path, ledger_t *ledger)
{
    list_t list = new_list();
    uint32_t number;
    uint32_t promised = 0;
    int i;
    unsigned char *there = apr_pcalloc(unit_pool, NUMBERS);

    read_list(path, &list);
    for (i = 0; i < list.count; i++) {
        assert_int_equal(there[list.numbers[i]]++, 0);
    }
    for (number = 1; number <= ledger->next; number++) {
        promised += ledger->appended[number];
        assert_true(!ledger->appended[number] || ledger->stored[number] || there[number]);
    }
    assert_true(promised > 0);
    munmap(ledger, sizeof(*ledger));
}

static void test_processes(void **state)
{
    const char *path = new_path();
    ledger_t *ledger = new_ledger();
    b24bg_journal_position_t position;
    list_t list = new_list();
    pid_t pids[8];
    int i;

    (void)state;
    for (i = 0; i < 8; i++) {
        pids[i] = start_appender(path, ledger, 40);
    }
    for (i = 0; i < 8; i++) {
        assert_int_equal(exit_code(pids[i]), 0);
    }
    position = read_list(path, &list);
    assert_int_equal(list.count, 8 * 40);
    assert_int_equal(position.torn, 0);
    assert_int_equal(position.end, size_of(path));
    check_ledger(path, ledger);
}

typedef struct {
    const char *path;
    ledger_t *ledger;
} work_t;

static void *append_in_thread(void *baton)
{
    work_t *work = baton;

    append_some(work->path, work->ledger, 30);
    return NULL;
}

static void test_threads(void **state)
{
    work_t work = {new_path(), new_ledger()};
    list_t list = new_list();
    pthread_t threads[8];
    int i;

    (void)state;
    for (i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, append_in_thread, &work), 0);
    }
    for (i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    read_list(work.path, &list);
    assert_int_equal(list.count, 8 * 30);
    check_ledger(work.path, work.ledger);
}

/* One reader: what it has retired never comes back. It gets its turn while all are appending. */
static void test_append_while_retiring(void **state)
{
    const char *path = new_path();
    ledger_t *ledger = new_ledger();
    list_t list = new_list();
    unsigned char *retired = apr_pcalloc(unit_pool, NUMBERS);
    pid_t pids[4];
    int working = 4;
    int times = 0;
    int i;

    (void)state;
    for (i = 0; i < 4; i++) {
        pids[i] = start_appender(path, ledger, 100);
    }
    while (working > 0) {
        b24bg_journal_position_t position = read_list(path, &list);
        int status;
        assert_int_equal(position.torn, 0);
        for (i = 0; i < list.count; i++) {
            assert_int_equal(retired[list.numbers[i]], 0);
            ledger->stored[list.numbers[i]] = 1;
        }
        if (retire(path, &position)) {
            times++;
            for (i = 0; i < list.count; i++) {
                retired[list.numbers[i]] = 1;
            }
        }
        if (waitpid(pids[working - 1], &status, WNOHANG) > 0) {
            assert_int_equal(status, 0);
            working--;
        }
    }
    assert_true(times > 3);
    check_ledger(path, ledger);
}

/* A background task whose store takes a while to commit. */
static void read_and_retire(const char *path, ledger_t *ledger, unsigned seed)
{
    list_t list = new_list();
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    for (;;) {
        b24bg_journal_position_t position;
        int retired;
        int i;
        list.count = 0;
        CHILD_CHECK(b24bg_journal_read(path, add_to_list, &list, &position, pool) == APR_SUCCESS);
        CHILD_CHECK(list.wrong == 0);
        for (i = 0; i < list.count; i++) {
            ledger->stored[list.numbers[i]] = 1;
        }
        seed = seed * 1103515245u + 12345u;
        apr_sleep(seed / 65536u % 4000);
        CHILD_CHECK(b24bg_journal_retire(path, &position, &retired, pool) == APR_SUCCESS);
        apr_pool_clear(pool);
    }
}

static pid_t start_retirer(const char *path, ledger_t *ledger, unsigned seed)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        read_and_retire(path, ledger, seed);
    }
    return pid;
}

/* Two generations of a server during a graceful restart. */
static void test_several_retire(void **state)
{
    const char *path = new_path();
    ledger_t *ledger = new_ledger();
    pid_t appenders[3];
    pid_t retirers[3];
    unsigned i;

    (void)state;
    for (i = 0; i < 3; i++) {
        retirers[i] = start_retirer(path, ledger, i);
        appenders[i] = start_appender(path, ledger, 120);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(exit_code(appenders[i]), 0);
    }
    for (i = 0; i < 3; i++) {
        kill_child(retirers[i]);
    }
    check_ledger(path, ledger);
}

/* Appenders die at any moment. They tell through a pipe what was promised to them. */

static pid_t start_reporter(const char *path, ledger_t *ledger, int pipe_end)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        for (;;) {
            uint32_t number = ++ledger->next;
            CHILD_CHECK(number < NUMBERS);
            CHILD_CHECK(append_number(path, number) == APR_SUCCESS);
            CHILD_CHECK(write(pipe_end, &number, sizeof(number)) == sizeof(number));
        }
    }
    return pid;
}

static void note_reports(ledger_t *ledger, int pipe_end)
{
    uint32_t number;

    while (read(pipe_end, &number, sizeof(number)) == sizeof(number)) {
        ledger->appended[number] = 1;
    }
}

static void test_killed_appenders(void **state)
{
    const char *path = new_path();
    ledger_t *ledger = new_ledger();
    apr_time_t end = apr_time_now() + KILLING;
    int ends[2];
    int i;

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (apr_time_now() < end) {
        pid_t pids[3];
        for (i = 0; i < 3; i++) {
            pids[i] = start_reporter(path, ledger, ends[1]);
        }
        apr_sleep(1000 + unit_random(20000));
        for (i = 0; i < 3; i++) {
            kill_child(pids[i]);
        }
        note_reports(ledger, ends[0]);
    }
    close(ends[0]);
    close(ends[1]);
    check_ledger(path, ledger);
}

/* And so do those that read and retire. */
static void test_everybody_killed(void **state)
{
    const char *path = new_path();
    ledger_t *ledger = new_ledger();
    apr_time_t end = apr_time_now() + KILLING;
    int ends[2];
    unsigned i;

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (apr_time_now() < end) {
        pid_t pids[4];
        for (i = 0; i < 2; i++) {
            pids[i] = start_reporter(path, ledger, ends[1]);
            pids[2 + i] = start_retirer(path, ledger, unit_random(1000000));
        }
        apr_sleep(1000 + unit_random(40000));
        for (i = 0; i < 4; i++) {
            kill_child(pids[i]);
        }
        note_reports(ledger, ends[0]);
    }
    close(ends[0]);
    close(ends[1]);
    check_ledger(path, ledger);
}

int main(void)
{
    UNIT_ADD_ROWS(test_round_trip, samples);
    UNIT_ADD(test_too_large);
    UNIT_ADD(test_order);
    UNIT_ADD(test_again_after_retiring);
    UNIT_ADD(test_missing_file);
    UNIT_ADD(test_empty_file);
    UNIT_ADD(test_relative_path);
    UNIT_ADD(test_mode);
    UNIT_ADD(test_symbolic_link);
    UNIT_ADD(test_pipe);
    UNIT_ADD(test_folder_in_its_place);
    UNIT_ADD(test_missing_folder);
    UNIT_ADD(test_flushed);
    UNIT_ADD(test_folder_flushed_for_another);
    UNIT_ADD_ROWS(test_flush_fails, flush_errors);
    UNIT_ADD(test_cut_everywhere);
    UNIT_ADD(test_torn_tail_retired);
    UNIT_ADD_ROWS(test_flipped_bits, damages);
    UNIT_ADD_ROWS(test_garbage_alone, garbages);
    UNIT_ADD_ROWS(test_garbage_between, garbages);
    UNIT_ADD_ROWS(test_garbage_in_front, garbages);
    UNIT_ADD(test_length_past_the_end);
    UNIT_ADD(test_large_file);
    UNIT_ADD(test_sizes);
    UNIT_ADD(test_largest_on_borders);
    UNIT_ADD(test_record_in_payload);
    UNIT_ADD(test_callback_refuses);
    UNIT_ADD(test_append_while_reading);
    UNIT_ADD_ROWS(test_stale_position, stales);
    UNIT_ADD(test_replaced_file);
    UNIT_ADD(test_emptied_while_reading);
    UNIT_ADD(test_locked_exclusively);
    UNIT_ADD(test_locked_by_an_appender);
    UNIT_ADD(test_lock_released_in_time);
    UNIT_ADD(test_lock_not_inherited);
    UNIT_ADD(test_no_lock_while_flushing);
    UNIT_ADD(test_descriptors);
    UNIT_ADD(test_signals);
    UNIT_ADD(test_file_max);
    UNIT_ADD(test_file_max_less_one);
    UNIT_ADD(test_limit);
    UNIT_ADD(test_full_disk);
    UNIT_ADD(test_processes);
    UNIT_ADD(test_threads);
    UNIT_ADD(test_append_while_retiring);
    UNIT_ADD(test_several_retire);
    UNIT_ADD(test_killed_appenders);
    UNIT_ADD(test_everybody_killed);
    return unit_run("journal");
}
