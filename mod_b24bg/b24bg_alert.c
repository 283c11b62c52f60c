#include "b24bg_alert.h"

#include "b24bg_form.h"

#include <apr_strings.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Texts behind the administrator's own arguments. */
#define TEXTS 5
/* What a step reads of one command's output at most; the rest waits in the pipe, or the command. */
#define READ_MOST 65536
/* Descriptors in the child: the outputs' pipe is moved out of the way of 0 to 3 first. */
#define STATUS_FD 3
#define HIGH_FD 10
/* Where close_range is missing and the limit on descriptors is none. */
#define DESCRIPTORS_MOST 65536
/* Longest wait for what was killed at the end; then init reaps it, when this process is gone. */
#define REAP_MOST (200 * (APR_USEC_PER_SEC / 1000))
#define REAP_SLICE (5 * (APR_USEC_PER_SEC / 1000))
#define WHY_LONGEST 128

const b24bg_alert_limits_t b24bg_alert_limits = {
    .timeout = apr_time_from_sec(10),
    .quiet = apr_time_from_sec(3600),
    .retry_first = apr_time_from_sec(30),
    .tries = 5,
    .running = 4,
    .waiting = 64,
};

typedef struct job_t job_t;

/* One alert from being accepted to being handled or given up. Lives in a pool of its own. */
struct job_t {
    job_t *next;
    apr_pool_t *pool;
    b24bg_alert_t alert;
    char **arguments;    /* the child's, NULL at the end */
    apr_uint64_t print;  /* of event, app and portal */
    apr_uint64_t portal; /* of app and portal */
    apr_int64_t kept;    /* 0: it is kept here alone */
    int tries;
    apr_time_t due;
    pid_t pid; /* 0: it is waiting */
    apr_time_t started;
    int killed;
    int output_fd, status_fd; /* -1: closed */
    char output[B24BG_ALERT_OUTPUT_MAX + 1];
    apr_size_t output_length;
    int output_ended; /* the first line is over */
};

typedef struct {
    apr_uint64_t print;
    apr_time_t at;
} told_t;

struct b24bg_alerts_t {
    apr_pool_t *pool;
    b24bg_alert_limits_t limits;
    b24bg_alert_report_cb report_cb;
    void *baton;
    job_t *jobs; /* oldest first */
    int running, waiting;
    told_t told[B24BG_ALERT_REMEMBERED];
    int told_count;
};

/* Texts */

/* `room` counts the NUL. */
static void clean(char *to, const char *from, apr_size_t room)
{
    apr_size_t length;

    for (; *from; from += length ? length : 1) {
        length = b24bg_form_character(from);
        if (room <= (length && !b24bg_form_is_control(from) ? length : 1)) {
            break;
        }
        if (length && !b24bg_form_is_control(from)) {
            memcpy(to, from, length);
            to += length;
            room -= length;
        } else {
            *to++ = length ? ' ' : '?';
            room--;
        }
    }
    *to = '\0';
}

static const char *cleaned(apr_pool_t *pool, const char *text)
{
    char *copy;
    apr_size_t room;

    if (!text) {
        return "";
    }
    room = strnlen(text, B24BG_ALERT_ARGUMENT_MAX) + 1;
    copy = apr_palloc(pool, room);
    clean(copy, text, room);
    return copy;
}

/* FNV-1a, 64 bits, of each text with its NUL: a collision would silence one alert for an hour. */
static apr_uint64_t fingerprint(const char *const *texts, int count)
{
    apr_uint64_t print = APR_UINT64_C(14695981039346656037);
    int i;

    for (i = 0; i < count; i++) {
        const char *byte = texts[i];
        do {
            print = (print ^ (unsigned char)*byte) * APR_UINT64_C(1099511628211);
        } while (*byte++);
    }
    return print;
}

/* What was told when */

static told_t *find_told(b24bg_alerts_t *alerts, apr_uint64_t print)
{
    int i;

    for (i = 0; i < alerts->told_count; i++) {
        if (alerts->told[i].print == print) {
            return &alerts->told[i];
        }
    }
    return NULL;
}

static told_t *place_for_told(b24bg_alerts_t *alerts)
{
    told_t *oldest = alerts->told;
    int i;

    if (alerts->told_count < B24BG_ALERT_REMEMBERED) {
        return &alerts->told[alerts->told_count++];
    }
    for (i = 1; i < alerts->told_count; i++) {
        if (alerts->told[i].at < oldest->at) {
            oldest = &alerts->told[i];
        }
    }
    return oldest;
}

/* 1 if it was told within `quiet`; else it is from now on. A time that is not yet, of a clock that
 * was set back, is long ago. */
static int told_before(b24bg_alerts_t *alerts, apr_uint64_t print, apr_time_t now)
{
    told_t *told = find_told(alerts, print);

    if (told && told->at <= now && now - told->at < alerts->limits.quiet) {
        return 1;
    }
    if (!told) {
        told = place_for_told(alerts);
        told->print = print;
    }
    told->at = now;
    return 0;
}

static void forget_told(b24bg_alerts_t *alerts, apr_uint64_t print)
{
    told_t *told = find_told(alerts, print);

    if (told) {
        *told = alerts->told[--alerts->told_count];
    }
}

/* The child. fork and exec by hand: apr_proc_create runs every pool's cleanups in the child, where
 * a lock may be held by a thread that is not there, and makes no process group; posix_spawn closes
 * descriptors one by one, by number, and httpd's are not all close-on-exec. Between the two only
 * what POSIX calls async-signal-safe is called. */

typedef struct {
    char *const *arguments; /* execve takes no const, and changes nothing */
    int output_fd, status_fd;
    int descriptors; /* where there is no close_range: their number */
} child_t;

static char *const environment[] = {
    (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    (char *)"LANG=C.UTF-8", NULL};

static void default_signals(void)
{
    struct sigaction action;
    int number;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    for (number = 1; number < NSIG; number++) {
        sigaction(number, &action, NULL); /* fails for those that are always default */
    }
}

/* 0 to 2 and STATUS_FD, and no other. */
static int place_descriptors(const child_t *child)
{
    int output_fd = fcntl(child->output_fd, F_DUPFD, HIGH_FD);
    int status_fd = fcntl(child->status_fd, F_DUPFD, HIGH_FD);
    int null_fd = open("/dev/null", O_RDONLY);
    int number;

    if (output_fd < 0 || status_fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 ||
        dup2(output_fd, 1) < 0 || dup2(output_fd, 2) < 0 || dup2(status_fd, STATUS_FD) < 0 ||
        fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC) < 0) {
        return 0;
    }
#ifdef SYS_close_range
    if (syscall(SYS_close_range, STATUS_FD + 1, ~0u, 0) == 0) {
        return 1;
    }
#endif
    for (number = STATUS_FD + 1; number < child->descriptors; number++) {
        close(number);
    }
    return 1;
}

static void be_the_child(const child_t *child) __attribute__((noreturn));

/* All signals are blocked: a handler of httpd's must not run here. */
static void be_the_child(const child_t *child)
{
    int status_fd = child->status_fd;
    sigset_t none;
    int error;

    setsid();
    default_signals();
    if (place_descriptors(child)) {
        status_fd = STATUS_FD;
        if (chdir("/") == 0) {
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            execve(child->arguments[0], child->arguments, environment);
        }
    }
    error = errno;
    if (write(status_fd, &error, sizeof(error)) < 0) {
        _exit(126);
    }
    _exit(127);
}

static int descriptors_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur > INT_MAX) {
        return DESCRIPTORS_MOST;
    }
    return (int)limit.rlim_cur;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* The reading end never blocks; both close on exec, for what other threads start meanwhile. */
static int open_pipe(int *reading, int *writing)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return 0;
    }
    *reading = ends[0];
    *writing = ends[1];
    return fcntl(*reading, F_SETFL, O_NONBLOCK) == 0;
}

/* 0, or why there is no child. */
static int fork_child(job_t *job)
{
    child_t child = {job->arguments, -1, -1, descriptors_limit()};
    sigset_t all, before;
    int error = 0;
    pid_t pid;

    if (!open_pipe(&job->output_fd, &child.output_fd) ||
        !open_pipe(&job->status_fd, &child.status_fd)) {
        error = errno;
    } else {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pid = fork();
        if (pid == 0) {
            be_the_child(&child);
        }
        error = pid < 0 ? errno : 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        job->pid = pid < 0 ? 0 : pid;
    }
    close_fd(&child.output_fd);
    close_fd(&child.status_fd);
    if (error) {
        close_fd(&job->output_fd);
        close_fd(&job->status_fd);
    }
    return error;
}

/* Before setsid there is no group yet, and nobody in it either. Never after it was reaped: the
 * number may be somebody else's by then. */
static void kill_job(const job_t *job)
{
    kill(-job->pid, SIGKILL);
    kill(job->pid, SIGKILL);
}

/* Jobs */

static void end_job(b24bg_alerts_t *alerts, job_t *job)
{
    job_t **link = &alerts->jobs;

    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    apr_pool_destroy(job->pool);
}

static void report(b24bg_alerts_t *alerts, const job_t *job, b24bg_alert_report_t *what)
{
    char output[B24BG_ALERT_OUTPUT_MAX + 1];

    clean(output, job->output, sizeof(output));
    what->alert = &job->alert;
    what->tries = job->tries;
    what->kept = job->kept;
    what->output = output;
    alerts->report_cb(alerts->baton, what);
}

static void drop_oldest(b24bg_alerts_t *alerts)
{
    b24bg_alert_report_t dropped = {.result = B24BG_ALERT_DROPPED,
                                    .why = "too many alerts are waiting"};
    job_t *job = alerts->jobs;

    while (job->pid) {
        job = job->next;
    }
    forget_told(alerts, job->print);
    report(alerts, job, &dropped);
    alerts->waiting--;
    end_job(alerts, job);
}

/* The job is not running. */
static void failed(b24bg_alerts_t *alerts, job_t *job, const char *why, apr_time_t now)
{
    b24bg_alert_report_t what = {.result = B24BG_ALERT_AGAIN, .why = why};
    apr_interval_time_t wait = alerts->limits.retry_first;
    int i;

    if (job->tries >= alerts->limits.tries) {
        what.result = B24BG_ALERT_GIVEN_UP;
        report(alerts, job, &what);
        end_job(alerts, job);
        return;
    }
    for (i = 1; i < job->tries && wait < alerts->limits.quiet; i++) {
        wait *= 2;
    }
    job->due = what.next = now + wait;
    report(alerts, job, &what);
    if (job->kept) {
        end_job(alerts, job);
    } else {
        alerts->waiting++;
    }
}

/* What may be over by itself soon. All else, a missing file before all, needs the administrator. */
static int may_pass(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE ||
           error == ETXTBSY || error == EINTR || error == EIO;
}

static void cannot_run(b24bg_alerts_t *alerts, job_t *job, int error, apr_time_t now)
{
    const char *key[] = {"", job->arguments[0]};
    b24bg_alert_report_t what = {.result = B24BG_ALERT_GIVEN_UP};
    char why[WHY_LONGEST];
    char text[WHY_LONGEST / 2];

    apr_snprintf(why, sizeof(why), "cannot be run: %s", apr_strerror(error, text, sizeof(text)));
    if (may_pass(error)) {
        failed(alerts, job, why, now);
        return;
    }
    what.why = why;
    what.known = told_before(alerts, fingerprint(key, 2), now);
    report(alerts, job, &what);
    end_job(alerts, job);
}

static void start(b24bg_alerts_t *alerts, job_t *job, apr_time_t now)
{
    int error;

    job->tries++;
    job->started = now;
    job->killed = 0;
    job->output_length = 0;
    job->output[0] = '\0';
    job->output_ended = 0;
    alerts->waiting--;
    error = job->arguments[0][0] == '/' ? fork_child(job) : ENOENT;
    if (error) {
        cannot_run(alerts, job, error, now);
    } else {
        alerts->running++;
    }
}

/* The oldest of a portal: "rebound" must not overtake "disabled", nor one that will be tried again.
 */
static const job_t *first_of(const b24bg_alerts_t *alerts, apr_uint64_t portal)
{
    const job_t *job = alerts->jobs;

    while (job && job->portal != portal) {
        job = job->next;
    }
    return job;
}

/* Keeps the beginning of the first line with anything in it, and drops the rest. */
static void keep_output(job_t *job, const char *bytes, apr_size_t length)
{
    apr_size_t i;

    for (i = 0; i < length && !job->output_ended; i++) {
        if (bytes[i] == '\n' || job->output_length == B24BG_ALERT_OUTPUT_MAX) {
            job->output_ended = job->output_length > 0;
        } else if (bytes[i] != '\0' && bytes[i] != '\r') {
            job->output[job->output_length++] = bytes[i];
        }
    }
    job->output[job->output_length] = '\0';
}

static void read_output(job_t *job)
{
    char bytes[4096];
    ssize_t got = 1;
    apr_size_t sum;

    for (sum = 0; job->output_fd >= 0 && sum < READ_MOST; sum += (apr_size_t)got) {
        got = read(job->output_fd, bytes, sizeof(bytes));
        if (got == 0) {
            close_fd(&job->output_fd);
        }
        if (got <= 0) {
            return;
        }
        keep_output(job, bytes, (apr_size_t)got);
    }
}

/* Why there was no exec; 0 if there was. */
static int exec_error(const job_t *job)
{
    int error;

    return read(job->status_fd, &error, sizeof(error)) == sizeof(error) ? error : 0;
}

static void stopped_running(b24bg_alerts_t *alerts, job_t *job)
{
    job->pid = 0;
    close_fd(&job->output_fd);
    close_fd(&job->status_fd);
    alerts->running--;
}

/* `status` is waitpid's. */
static void ended(b24bg_alerts_t *alerts, job_t *job, int status, apr_time_t now)
{
    b24bg_alert_report_t handled = {.result = B24BG_ALERT_HANDLED, .why = ""};
    int error = exec_error(job);
    char why[WHY_LONGEST];

    read_output(job);
    stopped_running(alerts, job);
    if (error) {
        cannot_run(alerts, job, error, now);
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        report(alerts, job, &handled);
        end_job(alerts, job);
    } else {
        if (WIFEXITED(status)) {
            apr_snprintf(why, sizeof(why), "exit code %d", WEXITSTATUS(status));
        } else if (job->killed) {
            apr_snprintf(why, sizeof(why), "not done after %d s, killed",
                         (int)apr_time_sec(alerts->limits.timeout));
        } else {
            apr_snprintf(why, sizeof(why), "ended by signal %d", WTERMSIG(status));
        }
        failed(alerts, job, why, now);
    }
}

/* Somebody else has waited for it, or SIGCHLD is ignored. It may have done its work: to run it
 * again would tell twice. */
static void ended_unseen(b24bg_alerts_t *alerts, job_t *job)
{
    b24bg_alert_report_t unseen = {.result = B24BG_ALERT_GIVEN_UP,
                                   .why = "its exit code was taken by another part of the server"};

    read_output(job);
    stopped_running(alerts, job);
    report(alerts, job, &unseen);
    end_job(alerts, job);
}

static void look_after(b24bg_alerts_t *alerts, job_t *job, apr_time_t now)
{
    int status;
    pid_t got;

    read_output(job);
    got = waitpid(job->pid, &status, WNOHANG);
    if (got == job->pid) {
        ended(alerts, job, status, now);
    } else if (got < 0 && errno == ECHILD) {
        ended_unseen(alerts, job);
    } else {
        if (now < job->started) {
            job->started = now; /* the clock was set back */
        }
        if (now - job->started >= alerts->limits.timeout) {
            job->killed = 1;
            kill_job(job);
        }
    }
}

static apr_status_t end_alerts(void *data)
{
    b24bg_alerts_t *alerts = data;
    apr_interval_time_t waited = 0;
    job_t *job;

    for (job = alerts->jobs; job; job = job->next) {
        if (job->pid) {
            kill_job(job);
        }
    }
    for (job = alerts->jobs; job; job = job->next) {
        while (job->pid && waitpid(job->pid, NULL, WNOHANG) == 0 && waited < REAP_MOST) {
            apr_sleep(REAP_SLICE);
            waited += REAP_SLICE;
        }
        close_fd(&job->output_fd);
        close_fd(&job->status_fd);
    }
    return APR_SUCCESS;
}

b24bg_alerts_t *b24bg_alert_create(apr_pool_t *pool, const b24bg_alert_limits_t *limits,
                                   b24bg_alert_report_cb report_cb, void *baton)
{
    b24bg_alerts_t *alerts = apr_pcalloc(pool, sizeof(*alerts));

    alerts->pool = pool;
    alerts->limits = *limits;
    alerts->report_cb = report_cb;
    alerts->baton = baton;
    apr_pool_pre_cleanup_register(pool, alerts, end_alerts);
    return alerts;
}

static void set_arguments(job_t *job)
{
    const char *texts[TEXTS] = {job->alert.event, job->alert.app, job->alert.member_id,
                                job->alert.domain, job->alert.detail};
    int own = 0;

    while (job->alert.command[own]) {
        own++;
    }
    job->arguments = apr_pcalloc(job->pool, (apr_size_t)(own + TEXTS + 1) * sizeof(char *));
    memcpy(job->arguments, job->alert.command, (apr_size_t)own * sizeof(char *));
    memcpy(job->arguments + own, texts, sizeof(texts));
}

static job_t *make_job(b24bg_alerts_t *alerts, const b24bg_alert_t *alert, apr_time_t now)
{
    const char *key[3];
    apr_pool_t *pool;
    job_t *job;

    apr_pool_create(&pool, alerts->pool);
    job = apr_pcalloc(pool, sizeof(*job));
    job->pool = pool;
    job->alert.command = alert->command;
    key[0] = job->alert.event = cleaned(pool, alert->event);
    key[1] = job->alert.app = cleaned(pool, alert->app);
    key[2] = job->alert.member_id = cleaned(pool, alert->member_id);
    job->alert.domain = cleaned(pool, alert->domain);
    job->alert.detail = cleaned(pool, alert->detail);
    job->print = fingerprint(key, 3);
    job->portal = fingerprint(key + 1, 2);
    job->due = now;
    job->output_fd = job->status_fd = -1;
    set_arguments(job);
    return job;
}

static void queue(b24bg_alerts_t *alerts, job_t *job)
{
    job_t **link = &alerts->jobs;

    while (*link) {
        link = &(*link)->next;
    }
    *link = job;
    alerts->waiting++;
}

int b24bg_alert_add(b24bg_alerts_t *alerts, const b24bg_alert_t *alert, apr_time_t now)
{
    job_t *job = make_job(alerts, alert, now);

    if (told_before(alerts, job->print, now)) {
        apr_pool_destroy(job->pool);
        return 0;
    }
    while (alerts->waiting > 0 && alerts->waiting >= alerts->limits.waiting) {
        drop_oldest(alerts);
    }
    queue(alerts, job);
    return 1;
}

int b24bg_alert_places(const b24bg_alerts_t *alerts)
{
    return alerts->limits.running - alerts->running;
}

int b24bg_alert_is_busy(const b24bg_alerts_t *alerts, const char *app, const char *member_id)
{
    const char *key[] = {app, member_id};

    return first_of(alerts, fingerprint(key, 2)) != NULL;
}

void b24bg_alert_run(b24bg_alerts_t *alerts, const b24bg_alert_t *alert, apr_int64_t kept,
                     int tries, apr_time_t now)
{
    b24bg_alert_report_t unheard = {.result = B24BG_ALERT_GIVEN_UP,
                                    .why = "the server stopped while it ran"};
    job_t *job = make_job(alerts, alert, now);

    job->kept = kept;
    job->tries = tries;
    queue(alerts, job);
    if (tries < alerts->limits.tries) {
        start(alerts, job, now);
    } else {
        report(alerts, job, &unheard);
        alerts->waiting--;
        end_job(alerts, job);
    }
}

int b24bg_alert_finish(b24bg_alerts_t *alerts, apr_time_t now)
{
    job_t *job, *next;

    for (job = alerts->jobs; job; job = next) {
        next = job->next;
        if (job->pid) {
            look_after(alerts, job, now);
        }
    }
    return alerts->running;
}

int b24bg_alert_step(b24bg_alerts_t *alerts, apr_time_t now)
{
    job_t *job, *next;

    b24bg_alert_finish(alerts, now);
    for (job = alerts->jobs; job && alerts->running < alerts->limits.running; job = next) {
        next = job->next;
        if (!job->pid && job->due <= now && first_of(alerts, job->portal) == job) {
            start(alerts, job, now);
        }
    }
    return alerts->running;
}
