/* b24bg_alert with real commands: small scripts in a temporary folder, and a clock that the tests
 * set. What a script has to say it writes to files there.
 */
#include "unit.h"

#include "b24bg_alert.h"

#include <apr_file_info.h>
#include <apr_strings.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MEMBER "0123456789abcdef0123456789abcdef"
#define NOW APR_INT64_C(1714560000000000)
#define SECOND APR_USEC_PER_SEC
#define HOUR (3600 * SECOND)
/* Real time: how long a command may take until a test fails, and how often is looked. */
#define PATIENCE (20 * SECOND)
#define SLICE (2 * (SECOND / 1000))
/* A step waits for nothing; this much is for a slow machine. */
#define STEP_MOST (2 * SECOND)

#define REPORTS_MOST 64

typedef struct {
    b24bg_alert_result_e result;
    int tries, known;
    apr_int64_t kept;
    const char *why, *output, *event, *member_id, *detail;
    apr_time_t next;
} seen_t;

static struct {
    const char *folder;
    apr_pool_t *pool; /* of the alerts */
    b24bg_alerts_t *alerts;
    b24bg_alert_limits_t limits;
    seen_t seen[REPORTS_MOST];
    int count;
    int most_running;
} world;

/* The world */

static void see(void *baton, const b24bg_alert_report_t *report)
{
    seen_t *seen = &world.seen[world.count % REPORTS_MOST];

    assert_ptr_equal(&world, baton);
    world.count++;
    seen->result = report->result;
    seen->tries = report->tries;
    seen->known = report->known;
    seen->kept = report->kept;
    seen->next = report->next;
    seen->why = apr_pstrdup(unit_pool, report->why);
    seen->output = apr_pstrdup(unit_pool, report->output);
    seen->event = apr_pstrdup(unit_pool, report->alert->event);
    seen->member_id = apr_pstrdup(unit_pool, report->alert->member_id);
    seen->detail = apr_pstrdup(unit_pool, report->alert->detail);
}

static void begin(void)
{
    memset(&world, 0, sizeof(world));
    world.folder = unit_folder("alert");
    world.limits = b24bg_alert_limits;
}

static void open_alerts(void)
{
    apr_pool_create(&world.pool, unit_pool);
    world.alerts = b24bg_alert_create(world.pool, &world.limits, see, &world);
}

/* Nothing is left behind: no zombie, no child. */
static void close_alerts(void)
{
    apr_pool_destroy(world.pool);
    assert_int_equal(-1, waitpid(-1, NULL, WNOHANG));
    assert_int_equal(ECHILD, errno);
}

static const char *path_of(const char *name)
{
    return apr_pstrcat(unit_pool, world.folder, "/", name, NULL);
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(0, fclose(file));
    assert_int_equal(0, chmod(path, mode));
    return path;
}

/* A shell script whose own first argument, $1, is the folder. */
static const char *const *script(const char *body)
{
    const char **command = apr_pcalloc(unit_pool, 3 * sizeof(*command));

    command[0] = write_file("script", apr_pstrcat(unit_pool, "#!/bin/sh\n", body, NULL), 0755);
    command[1] = world.folder;
    return command;
}

static int exists(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

/* "" for a file that is not there. */
static const char *content(const char *name)
{
    char *text = apr_pcalloc(unit_pool, 65536);
    FILE *file = fopen(path_of(name), "r");

    if (file) {
        assert_true(fread(text, 1, 65535, file) < 65535);
        fclose(file);
    }
    return text;
}

/* Steps at `now` until there are `count` reports. */
static void step_until(int count, apr_time_t now)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (world.count < count) {
        apr_time_t before = apr_time_now();
        int running = b24bg_alert_step(world.alerts, now);
        assert_true(apr_time_now() - before < STEP_MOST);
        if (running > world.most_running) {
            world.most_running = running;
        }
        assert_true(before < end);
        apr_sleep(SLICE);
    }
    assert_int_equal(count, world.count);
}

static void step_until_exists(const char *name, apr_time_t now)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (!exists(name)) {
        b24bg_alert_step(world.alerts, now);
        assert_true(apr_time_now() < end);
        apr_sleep(SLICE);
    }
}

static int add(const char *const *command, const char *event, const char *member_id, apr_time_t now)
{
    b24bg_alert_t alert = {command, event, "telephony", member_id, "example.bitrix24.com",
                           "detail"};

    return b24bg_alert_add(world.alerts, &alert, now);
}

/* Gone, or dead and not yet reaped by whom it was given to. */
static int is_dead(pid_t pid)
{
    char path[64], state = 'X';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file) {
        return 1;
    }
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
        state = 'X';
    }
    fclose(file);
    return state == 'Z' || state == 'X';
}

static void wait_until_dead(pid_t pid)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (!is_dead(pid)) {
        assert_true(apr_time_now() < end);
        apr_sleep(SLICE);
    }
}

/* `flags`: only those that have none of them. */
static int open_descriptors(int flags)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        count += !(fcntl(atoi(entry->d_name), F_GETFD) & flags);
    }
    closedir(dir);
    return count;
}

/* What the command gets */

static void arguments_as_they_are(void **state)
{
    b24bg_alert_t alert = {
        NULL,
        "rebound",
        "telephony",
        MEMBER,
        "пример.bitrix24.ru",
        " two  spaces \"quotes\" 'single' $(id) `id` ; | & * \\ \xf0\x9f\x98\x80"};
    const char *command[6] = {NULL, NULL, "own argument", "", "--option=$HOME", NULL};

    (void)state;
    begin();
    open_alerts();
    memcpy(command, script("for a; do printf '<%s>\\n' \"$a\"; done >\"$1/arguments\"\n"),
           2 * sizeof(command[0]));
    alert.command = command;
    assert_int_equal(1, b24bg_alert_add(world.alerts, &alert, NOW));
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[0].result);
    assert_string_equal("", world.seen[0].why);
    assert_string_equal(apr_psprintf(unit_pool,
                                     "<%s>\n<own argument>\n<>\n<--option=$HOME>\n<rebound>\n"
                                     "<telephony>\n<" MEMBER ">\n<%s>\n<%s>\n",
                                     world.folder, alert.domain, alert.detail),
                        content("arguments"));
    close_alerts();
}

static const struct text {
    const char *name;
    const char *given, *cleaned;
} texts[] = {
    {"nothing", NULL, ""},
    {"empty", "", ""},
    {"control characters", "a\tb\nc\x1b[31m\x7f", "a b c [31m "},
    {"C1 control characters",
     "a\xc2\x80"
     "b\xc2\x9f"
     "c\xc2\xa0",
     "a b c\xc2\xa0"},
    {"no UTF-8", "\xff\x80 \xc3( \xe2\x82 \xf5\x80\x80\x80", "?? ?( ?? ????"},
    {"overlong", "\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", "?? ??? ????"},
    {"surrogate", "\xed\xa0\x80", "???"},
    {"largest", "\xf4\x8f\xbf\xbf \xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf ????"},
    {"cut short", "caf\xc3", "caf?"},
    {"Cyrillic and more", "привет €😀", "привет €😀"},
};

static void texts_are_cleaned(void **state)
{
    const struct text *row = *state;
    const char *given = row->given ? unit_copy(row->given, strlen(row->given) + 1, 0) : NULL;
    const char *const command[] = {"/bin/true", NULL};
    b24bg_alert_t alert = {command, "e", "a", "m", "d", given};

    begin();
    open_alerts();
    assert_int_equal(1, b24bg_alert_add(world.alerts, &alert, NOW));
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[0].result);
    assert_string_equal(row->cleaned, world.seen[0].detail);
    close_alerts();
}

static const struct cut {
    const char *name;
    const char *last; /* character behind `before` letters */
    int before, length;
} cuts[] = {
    {"fits", "x", B24BG_ALERT_ARGUMENT_MAX - 1, B24BG_ALERT_ARGUMENT_MAX},
    {"one too many", "x", B24BG_ALERT_ARGUMENT_MAX, B24BG_ALERT_ARGUMENT_MAX},
    {"a character that fits", "€", B24BG_ALERT_ARGUMENT_MAX - 3, B24BG_ALERT_ARGUMENT_MAX},
    {"a character that would be cut", "€", B24BG_ALERT_ARGUMENT_MAX - 2,
     B24BG_ALERT_ARGUMENT_MAX - 2},
    {"far too many", "x", 5 * B24BG_ALERT_ARGUMENT_MAX, B24BG_ALERT_ARGUMENT_MAX},
};

static void texts_are_cut(void **state)
{
    const struct cut *row = *state;
    const char *const command[] = {"/bin/true", NULL};
    char *given = apr_pcalloc(unit_pool, (apr_size_t)row->before + 8);
    b24bg_alert_t alert = {command, "e", "a", "m", "d", given};

    memset(given, 'a', (apr_size_t)row->before);
    strcat(given, row->last);
    begin();
    open_alerts();
    b24bg_alert_add(world.alerts, &alert, NOW);
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[0].result);
    assert_int_equal(row->length, strlen(world.seen[0].detail));
    assert_memory_equal(given, world.seen[0].detail, (apr_size_t)row->length);
    close_alerts();
}

static void no_descriptor_but_three(void **state)
{
    int low = open("/dev/zero", O_RDONLY);
    int high = fcntl(low, F_DUPFD, 200);
    int before;

    (void)state;
    begin();
    assert_true(low >= 0 && high >= 200);
    before = open_descriptors(0);
    open_alerts();
    add(script("ls /proc/self/fd >\"$1/fds\"\n" /* 3 is the folder itself */
               "readlink /proc/self/fd/0 >\"$1/stdin\"\n"
               "readlink /proc/$$/fd/1 | cut -d: -f1 >\"$1/stdout\"\n"),
        "rebound", MEMBER, NOW);
    step_until(1, NOW);
    assert_string_equal("0\n1\n2\n3\n", content("fds"));
    assert_string_equal("/dev/null\n", content("stdin"));
    assert_string_equal("pipe\n", content("stdout"));
    assert_int_equal(before, open_descriptors(0));
    close(high);
    close(low);
    close_alerts();
}

/* Other threads of the server start programs, too. */
static void nothing_for_the_programs_of_others(void **state)
{
    const char *const hang[] = {"/bin/sh", "-c", "sleep 1000", NULL};
    int before = open_descriptors(FD_CLOEXEC);

    (void)state;
    begin();
    open_alerts();
    add(hang, "rebound", MEMBER, NOW);
    assert_int_equal(1, b24bg_alert_step(world.alerts, NOW));
    assert_int_equal(before, open_descriptors(FD_CLOEXEC));
    close_alerts();
}

static void run_without_standard_descriptors(void)
{
    const char *const *command = script("ls /proc/self/fd >\"$1/fds\"; echo out\n");

    close(0);
    close(1);
    close(2);
    open_alerts();
    add(command, "rebound", MEMBER, NOW);
    while (!world.count) {
        b24bg_alert_step(world.alerts, NOW);
        apr_sleep(SLICE);
    }
    _exit(world.seen[0].result == B24BG_ALERT_HANDLED && strcmp(world.seen[0].output, "out") == 0
              ? 0
              : 1);
}

/* The pipes then take the places of 0 to 3, which the child needs for itself. */
static void standard_descriptors_closed(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    begin();
    pid = fork();
    if (pid == 0) {
        run_without_standard_descriptors();
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_int_equal(0, status);
    assert_string_equal("0\n1\n2\n3\n", content("fds"));
}

/* 32 and 33 belong to glibc, which lets nobody set them; whoever started us may have. */
#define GLIBC_SIGNALS (3ULL << 31)

static void signals_as_at_the_beginning(void **state)
{
    unsigned long long masked, ignored;
    sigset_t blocked, before;
    void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
    void (*user_before)(int) = signal(SIGUSR1, SIG_IGN);

    (void)state;
    begin();
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    open_alerts();
    add(script("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 >\"$1/signals\"\n"), "rebound",
        MEMBER, NOW);
    step_until(1, NOW);
    assert_int_equal(2, sscanf(content("signals"), "%llx %llx", &masked, &ignored));
    assert_int_equal(0, masked);
    assert_int_equal(0, ignored & ~GLIBC_SIGNALS);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_int_equal(1, sigismember(&blocked, SIGTERM));
    assert_int_equal(0, sigismember(&blocked, SIGINT));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, pipe_before);
    signal(SIGUSR1, user_before);
    close_alerts();
}

static void surroundings(void **state)
{
    (void)state;
    begin();
    setenv("B24BG_SECRET", "secret", 1);
    open_alerts();
    add(script("tr '\\0' '\\n' </proc/$$/environ >\"$1/environment\"\n"
               "pwd >\"$1/folder\"\n"
               "read -r pid name state parent group session rest </proc/$$/stat\n"
               "[ $$ = $group ] && [ $$ = $session ] && echo alone >\"$1/session\"\n"),
        "rebound", MEMBER, NOW);
    step_until(1, NOW);
    unsetenv("B24BG_SECRET");
    assert_string_equal("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                        "LANG=C.UTF-8\n",
                        content("environment"));
    assert_string_equal("/\n", content("folder"));
    assert_string_equal("alone\n", content("session"));
    close_alerts();
}

/* What it gives back */

static void failure_is_tried_again(void **state)
{
    (void)state;
    begin();
    open_alerts();
    add(script("echo >>\"$1/runs\"; [ $(wc -l <\"$1/runs\") -ge 3 ] || exit 7\n"), "rebound",
        MEMBER, NOW);
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_AGAIN, world.seen[0].result);
    assert_string_equal("exit code 7", world.seen[0].why);
    assert_int_equal(1, world.seen[0].tries);
    assert_int_equal(NOW + 30 * SECOND, world.seen[0].next);
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW + 30 * SECOND - 1));
    step_until(2, NOW + 30 * SECOND);
    assert_int_equal(NOW + 90 * SECOND, world.seen[1].next);
    step_until(3, NOW + 90 * SECOND);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[2].result);
    assert_int_equal(3, world.seen[2].tries);
    assert_string_equal("\n\n\n", content("runs"));
    close_alerts();
}

static void failure_is_given_up(void **state)
{
    apr_time_t now = NOW;
    int i;

    (void)state;
    begin();
    open_alerts();
    add(script("echo >>\"$1/runs\"; echo sorry >&2; kill -9 $$\n"), "rebound", MEMBER, now);
    for (i = 1; i <= 5; i++) {
        step_until(i, now);
        now = world.seen[i - 1].next;
        assert_string_equal("ended by signal 9", world.seen[i - 1].why);
        assert_string_equal("sorry", world.seen[i - 1].output);
        assert_int_equal(i < 5 ? B24BG_ALERT_AGAIN : B24BG_ALERT_GIVEN_UP,
                         world.seen[i - 1].result);
    }
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW + 100 * HOUR));
    assert_string_equal("\n\n\n\n\n", content("runs"));
    close_alerts();
}

static void output_is_one_line(void **state)
{
    char *line = apr_pcalloc(unit_pool, 1001);

    (void)state;
    begin();
    open_alerts();
    add(script("printf '\\r\\n\\nfirst \\033[31mline\\377\\nsecond\\n'\n"), "a", MEMBER, NOW);
    step_until(1, NOW);
    assert_string_equal("first  [31mline?", world.seen[0].output);
    memset(line, 'x', 1000);
    add(script(apr_pstrcat(unit_pool, "printf ", line, "\n", NULL)), "b", MEMBER, NOW);
    step_until(2, NOW);
    assert_int_equal(B24BG_ALERT_OUTPUT_MAX, strlen(world.seen[1].output));
    /* More than a pipe holds. */
    add(script("head -c 3000000 /dev/zero | tr '\\0' 'y'; exit 3\n"), "c", MEMBER, NOW);
    step_until(3, NOW);
    assert_string_equal("exit code 3", world.seen[2].why);
    close_alerts();
}

static const struct broken {
    const char *name;
    const char *file; /* NULL: a path that is given as it is */
    mode_t mode;
    const char *path;
    const char *why;
} broken[] = {
    {"missing", NULL, 0, "/nowhere/to be/found", "cannot be run: No such file or directory"},
    {"not absolute", NULL, 0, "bin/true", "cannot be run: No such file or directory"},
    {"a folder", NULL, 0, "/tmp", "cannot be run: Permission denied"},
    {"below a file", NULL, 0, "/bin/sh/x", "cannot be run: Not a directory"},
    {"not executable", "#!/bin/sh\n", 0644, NULL, "cannot be run: Permission denied"},
    {"no interpreter", "echo hello\n", 0755, NULL, "cannot be run: Exec format error"},
    {"missing interpreter", "#!/nowhere/sh\n", 0755, NULL,
     "cannot be run: No such file or directory"},
};

static void cannot_be_run(void **state)
{
    const struct broken *row = *state;
    const char *command[2] = {row->path, NULL};
    int before;

    begin();
    if (row->file) {
        command[0] = write_file("broken", row->file, row->mode);
    }
    before = open_descriptors(0);
    open_alerts();
    add(command, "rebound", MEMBER, NOW);
    add(command, "disabled", MEMBER, NOW);
    step_until(2, NOW);
    assert_int_equal(B24BG_ALERT_GIVEN_UP, world.seen[0].result);
    assert_string_equal(row->why, world.seen[0].why);
    assert_int_equal(0, world.seen[0].known);
    assert_int_equal(1, world.seen[1].known);
    add(command, "blocked", MEMBER, NOW + HOUR);
    step_until(3, NOW + HOUR);
    assert_int_equal(0, world.seen[2].known);
    assert_int_equal(before, open_descriptors(0));
    close_alerts();
}

/* Time */

static void hang_is_killed_with_its_group(void **state)
{
    pid_t pid, child;
    int before;

    (void)state;
    begin();
    before = open_descriptors(0);
    open_alerts();
    add(script("[ ! -e \"$1/ready\" ] || kill -9 $$\n"
               "trap '' TERM HUP INT\n"
               "sh -c 'trap \"\" TERM HUP; sleep 1000; :' & echo $! >\"$1/child\"\n"
               "echo $$ >\"$1/pid\"; mv \"$1/pid\" \"$1/ready\"\n"
               "sleep 1000; sleep 1000\n"),
        "rebound", MEMBER, NOW);
    step_until_exists("ready", NOW);
    pid = atoi(content("ready"));
    child = atoi(content("child"));
    assert_int_equal(1, b24bg_alert_step(world.alerts, NOW + 10 * SECOND - 1));
    apr_sleep(10 * SLICE);
    assert_false(is_dead(pid));
    assert_false(is_dead(child));
    step_until(1, NOW + 10 * SECOND);
    assert_int_equal(B24BG_ALERT_AGAIN, world.seen[0].result);
    assert_string_equal("not done after 10 s, killed", world.seen[0].why);
    wait_until_dead(pid);
    wait_until_dead(child);
    step_until(2, world.seen[0].next);
    assert_string_equal("ended by signal 9", world.seen[1].why);
    assert_int_equal(before, open_descriptors(0));
    close_alerts();
}

static void clock_set_back_kills_later(void **state)
{
    const char *const hang[] = {"/bin/sh", "-c", "sleep 1000", NULL};

    (void)state;
    begin();
    world.limits.tries = 1;
    open_alerts();
    add(hang, "rebound", MEMBER, NOW);
    b24bg_alert_step(world.alerts, NOW);
    b24bg_alert_step(world.alerts, NOW - HOUR);
    assert_int_equal(1, b24bg_alert_step(world.alerts, NOW - HOUR + 10 * SECOND - 1));
    step_until(1, NOW - HOUR + 10 * SECOND);
    assert_int_equal(B24BG_ALERT_GIVEN_UP, world.seen[0].result);
    close_alerts();
}

static void hang_delays_nothing(void **state)
{
    const char *const hang[] = {"/bin/sh", "-c", "sleep 1000", NULL};
    const char *const quick[] = {"/bin/true", NULL};
    int i;

    (void)state;
    begin();
    open_alerts();
    for (i = 0; i < 3; i++) {
        add(hang, "rebound", apr_itoa(unit_pool, i), NOW);
    }
    for (i = 0; i < 20; i++) {
        add(quick, "rebound", apr_itoa(unit_pool, 100 + i), NOW);
    }
    step_until(20, NOW);
    for (i = 0; i < 20; i++) {
        assert_int_equal(B24BG_ALERT_HANDLED, world.seen[i].result);
    }
    assert_int_equal(4, world.most_running);
    close_alerts();
}

static void one_at_a_time_for_a_portal(void **state)
{
    const char *const *command;

    (void)state;
    begin();
    command =
        script("echo \"$2 begins\" >>\"$1/order\"; sleep 0.05; echo \"$2 ends\" >>\"$1/order\"\n");
    open_alerts();
    add(command, "disabled", MEMBER, NOW);
    add(command, "rebound", MEMBER, NOW);
    step_until(2, NOW);
    assert_string_equal("disabled begins\ndisabled ends\nrebound begins\nrebound ends\n",
                        content("order"));
    assert_int_equal(1, world.most_running);
    close_alerts();
}

/* The last thing that is told of a portal is the last thing that happened. */
static void an_older_one_holds_the_younger_back(void **state)
{
    const char *const *command;

    (void)state;
    begin();
    command = script("echo \"$2 $4\" >>\"$1/order\"\n"
                     "[ $2$4 != disabled0 ] || [ $(grep -c disabled.0 \"$1/order\") = 2 ]\n");
    open_alerts();
    add(command, "disabled", "0", NOW);
    add(command, "rebound", "0", NOW);
    add(command, "rebound", "1", NOW);
    step_until(2, NOW);
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW + 30 * SECOND - 1));
    step_until(4, NOW + 30 * SECOND);
    assert_string_equal("disabled", world.seen[2].event);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[2].result);
    assert_string_equal("rebound", world.seen[3].event);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[3].result);
    close_alerts();
}

static void one_that_is_given_up_holds_nobody_back(void **state)
{
    (void)state;
    begin();
    world.limits.tries = 1;
    open_alerts();
    add(script("[ $2 != disabled ]\n"), "disabled", MEMBER, NOW);
    add(script("[ $2 != disabled ]\n"), "rebound", MEMBER, NOW);
    step_until(2, NOW);
    assert_int_equal(B24BG_ALERT_GIVEN_UP, world.seen[0].result);
    assert_string_equal("rebound", world.seen[1].event);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[1].result);
    close_alerts();
}

/* Kept by the caller */

static void run_kept(const char *const *command, apr_int64_t kept, int tries)
{
    b24bg_alert_t alert = {command, "disabled", "telephony", MEMBER, "example.bitrix24.com",
                           "detail"};

    b24bg_alert_run(world.alerts, &alert, kept, tries, NOW);
}

static void a_kept_one_is_run_once(void **state)
{
    const char *const *command;

    (void)state;
    begin();
    world.limits.running = 1;
    command = script("echo >>\"$1/runs\"; [ $(wc -l <\"$1/runs\") -ge 2 ] || exit 7\n");
    open_alerts();
    assert_int_equal(1, b24bg_alert_places(world.alerts));
    assert_int_equal(0, b24bg_alert_is_busy(world.alerts, "telephony", MEMBER));
    run_kept(command, 17, 2);
    assert_int_equal(0, b24bg_alert_places(world.alerts));
    assert_int_equal(1, b24bg_alert_is_busy(world.alerts, "telephony", MEMBER));
    assert_int_equal(0, b24bg_alert_is_busy(world.alerts, "crm", MEMBER));
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_AGAIN, world.seen[0].result);
    assert_int_equal(17, world.seen[0].kept);
    assert_int_equal(3, world.seen[0].tries);
    assert_int_equal(NOW + 120 * SECOND, world.seen[0].next);
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW + HOUR));
    assert_int_equal(0, b24bg_alert_is_busy(world.alerts, "telephony", MEMBER));
    run_kept(command, 18, 4);
    step_until(2, NOW);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[1].result);
    assert_int_equal(18, world.seen[1].kept);
    assert_int_equal(1, b24bg_alert_places(world.alerts));
    close_alerts();
}

/* A command that stops the server would do so for ever. */
static void a_kept_one_is_given_up_unheard(void **state)
{
    (void)state;
    begin();
    open_alerts();
    run_kept(script("echo >\"$1/runs\"\n"), 17, 5);
    assert_int_equal(1, world.count);
    assert_int_equal(B24BG_ALERT_GIVEN_UP, world.seen[0].result);
    assert_string_equal("the server stopped while it ran", world.seen[0].why);
    assert_int_equal(17, world.seen[0].kept);
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW));
    assert_false(exists("runs"));
    close_alerts();
}

static void the_end_is_seen_and_nothing_begun(void **state)
{
    const char *const quick[] = {"/bin/true", NULL};
    apr_time_t end = apr_time_now() + PATIENCE;

    (void)state;
    begin();
    open_alerts();
    run_kept(quick, 17, 0);
    add(quick, "disabled", "1", NOW);
    while (b24bg_alert_finish(world.alerts, NOW)) {
        assert_true(apr_time_now() < end);
        apr_sleep(SLICE);
    }
    assert_int_equal(1, world.count);
    assert_int_equal(17, world.seen[0].kept);
    step_until(2, NOW);
    assert_int_equal(0, world.seen[1].kept);
    close_alerts();
}

/* Bounds */

static const struct again {
    const char *name;
    const char *event, *app, *member_id;
    apr_interval_time_t after;
    int accepted;
} agains[] = {
    {"the same", "rebound", "telephony", MEMBER, 0, 0},
    {"the same, an hour less a moment", "rebound", "telephony", MEMBER, HOUR - 1, 0},
    {"the same, an hour later", "rebound", "telephony", MEMBER, HOUR, 1},
    {"the same, clock set back", "rebound", "telephony", MEMBER, -1, 1},
    {"another event", "disabled", "telephony", MEMBER, 0, 1},
    {"another app", "rebound", "crm", MEMBER, 0, 1},
    {"another portal", "rebound", "telephony", "fedcba9876543210fedcba9876543210", 0, 1},
    {"the same letters, cut elsewhere", "reboundtele", "phony", MEMBER, 0, 1},
};

static void once_an_hour(void **state)
{
    const struct again *row = *state;
    const char *const command[] = {"/bin/true", NULL};
    b24bg_alert_t alert = {command,        row->event,           row->app,
                           row->member_id, "other.bitrix24.com", "other"};

    begin();
    open_alerts();
    assert_int_equal(1, add(command, "rebound", MEMBER, NOW));
    assert_int_equal(row->accepted, b24bg_alert_add(world.alerts, &alert, NOW + row->after));
    step_until(1 + row->accepted, NOW + HOUR);
    close_alerts();
}

static void oldest_of_too_many_is_dropped(void **state)
{
    const char *const hang[] = {"/bin/sh", "-c", "sleep 1000", NULL};
    const char *const quick[] = {"/bin/true", NULL};

    (void)state;
    begin();
    world.limits.running = 1;
    world.limits.waiting = 2;
    open_alerts();
    add(hang, "rebound", "0", NOW);
    assert_int_equal(1, b24bg_alert_step(world.alerts, NOW)); /* no longer waiting */
    add(quick, "rebound", "1", NOW);
    add(quick, "rebound", "2", NOW);
    assert_int_equal(0, world.count);
    add(quick, "rebound", "3", NOW);
    assert_int_equal(1, world.count);
    assert_int_equal(B24BG_ALERT_DROPPED, world.seen[0].result);
    assert_string_equal("1", world.seen[0].member_id);
    assert_int_equal(0, world.seen[0].tries);
    /* It was never told, so it may come again. */
    assert_int_equal(1, add(quick, "rebound", "1", NOW));
    assert_string_equal("2", world.seen[1].member_id);
    step_until(3, NOW + 10 * SECOND); /* the hanging one; it waits for its next try */
    assert_string_equal("0", world.seen[2].member_id);
    step_until(5, NOW + 10 * SECOND);
    assert_string_equal("3", world.seen[3].member_id);
    assert_string_equal("1", world.seen[4].member_id);
    close_alerts();
}

static void memory_is_bounded(void **state)
{
    const char *const command[] = {"/bin/true", NULL};
    int i;

    (void)state;
    begin();
    world.limits.running = 0;
    world.limits.waiting = 2 * B24BG_ALERT_REMEMBERED;
    open_alerts();
    for (i = 0; i < B24BG_ALERT_REMEMBERED; i++) {
        assert_int_equal(1, add(command, "rebound", apr_itoa(unit_pool, i), NOW + i));
    }
    assert_int_equal(0, add(command, "rebound", "0", NOW + i));
    assert_int_equal(1, add(command, "rebound", "one more", NOW + i));
    assert_int_equal(0, add(command, "rebound", "1", NOW + i));
    assert_int_equal(1, add(command, "rebound", "0", NOW + i)); /* the oldest was forgotten */
    assert_int_equal(0, world.count);
    close_alerts();
}

/* Ends */

static void end_kills_with_the_group(void **state)
{
    pid_t pid, child;

    (void)state;
    begin();
    open_alerts();
    add(script("sleep 1000 & echo $! >\"$1/child\"\n"
               "echo $$ >\"$1/pid\"; mv \"$1/pid\" \"$1/ready\"; wait\n"),
        "rebound", MEMBER, NOW);
    step_until_exists("ready", NOW);
    pid = atoi(content("ready"));
    child = atoi(content("child"));
    close_alerts();
    assert_int_equal(-1, kill(pid, 0));
    wait_until_dead(child);
    assert_int_equal(0, world.count);
}

static void end_at_once_after_start(void **state)
{
    const char *const command[] = {"/bin/sh", "-c", "sleep 1000", NULL};
    int i;

    (void)state;
    begin();
    for (i = 0; i < 50; i++) {
        open_alerts();
        add(command, "rebound", MEMBER, NOW);
        b24bg_alert_step(world.alerts, NOW);
        close_alerts();
    }
}

static void what_it_leaves_behind_lives_on(void **state)
{
    pid_t child;

    (void)state;
    begin();
    open_alerts();
    add(script("sleep 1000 >/dev/null 2>&1 & echo $! >\"$1/child\"\n"), "rebound", MEMBER, NOW);
    step_until(1, NOW);
    assert_int_equal(B24BG_ALERT_HANDLED, world.seen[0].result);
    close_alerts();
    child = atoi(content("child"));
    assert_false(is_dead(child));
    kill(child, SIGKILL);
    wait_until_dead(child);
}

/* A server that ignores SIGCHLD, or a part of it that waits for any child. */
static void exit_code_taken(void **state)
{
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    const char *const command[] = {"/bin/true", NULL};

    (void)state;
    begin();
    open_alerts();
    add(command, "rebound", MEMBER, NOW);
    step_until(1, NOW);
    signal(SIGCHLD, before);
    assert_int_equal(B24BG_ALERT_GIVEN_UP, world.seen[0].result);
    assert_string_equal("its exit code was taken by another part of the server", world.seen[0].why);
    assert_int_equal(0, b24bg_alert_step(world.alerts, NOW + HOUR));
    close_alerts();
}

/* Other children are somebody else's to wait for. */
static void other_children_are_left_alone(void **state)
{
    const char *const command[] = {"/bin/true", NULL};
    int status;
    pid_t other;

    (void)state;
    begin();
    open_alerts();
    other = fork();
    if (other == 0) {
        _exit(42);
    }
    add(command, "rebound", MEMBER, NOW);
    step_until(1, NOW);
    assert_int_equal(other, waitpid(other, &status, 0));
    assert_int_equal(42, WEXITSTATUS(status));
    close_alerts();
}

static volatile int hammering;

static void *hammer(void *data)
{
    while (hammering) {
        char *memory = malloc(1 + (size_t)(uintptr_t)data);
        setenv("B24BG_HAMMER", memory ? "1" : "0", 1);
        free(memory);
    }
    return NULL;
}

/* Locks that other threads hold at the moment of the fork stay locked in the child for good. */
static void many_threads(void **state)
{
    const char *const command[] = {"/bin/true", NULL};
    pthread_t threads[4];
    size_t i;

    (void)state;
    begin();
    open_alerts();
    hammering = 1;
    for (i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(0, pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(i * 99)));
    }
    for (i = 0; i < 60; i++) {
        assert_int_equal(1, add(command, "rebound", apr_itoa(unit_pool, (int)i), NOW));
    }
    step_until(60, NOW);
    hammering = 0;
    for (i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    for (i = 0; i < 60; i++) {
        assert_int_equal(B24BG_ALERT_HANDLED, world.seen[i].result);
    }
    close_alerts();
}

int main(void)
{
    UNIT_ADD(arguments_as_they_are);
    UNIT_ADD_ROWS(texts_are_cleaned, texts);
    UNIT_ADD_ROWS(texts_are_cut, cuts);
    UNIT_ADD(no_descriptor_but_three);
    UNIT_ADD(nothing_for_the_programs_of_others);
    UNIT_ADD(standard_descriptors_closed);
    UNIT_ADD(signals_as_at_the_beginning);
    UNIT_ADD(surroundings);
    UNIT_ADD(failure_is_tried_again);
    UNIT_ADD(failure_is_given_up);
    UNIT_ADD(output_is_one_line);
    UNIT_ADD_ROWS(cannot_be_run, broken);
    UNIT_ADD(hang_is_killed_with_its_group);
    UNIT_ADD(clock_set_back_kills_later);
    UNIT_ADD(hang_delays_nothing);
    UNIT_ADD(one_at_a_time_for_a_portal);
    UNIT_ADD(an_older_one_holds_the_younger_back);
    UNIT_ADD(one_that_is_given_up_holds_nobody_back);
    UNIT_ADD(a_kept_one_is_run_once);
    UNIT_ADD(a_kept_one_is_given_up_unheard);
    UNIT_ADD(the_end_is_seen_and_nothing_begun);
    UNIT_ADD_ROWS(once_an_hour, agains);
    UNIT_ADD(oldest_of_too_many_is_dropped);
    UNIT_ADD(memory_is_bounded);
    UNIT_ADD(end_kills_with_the_group);
    UNIT_ADD(end_at_once_after_start);
    UNIT_ADD(what_it_leaves_behind_lives_on);
    UNIT_ADD(exit_code_taken);
    UNIT_ADD(other_children_are_left_alone);
    UNIT_ADD(many_threads);
    return unit_run("alert");
}
