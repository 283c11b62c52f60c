/* The background task's alerts: kept in the store, so that they and the limit of one an hour
 * outlive the process. The commands are real, small scripts that write to files in the world's
 * folder. */
#include "task_world.h"

#include "b24bg_task_parts.h"

/* Real time: how long a command may take until a test fails, and how often is looked. */
#define PATIENCE apr_time_from_sec(20)
#define SLICE (2 * (APR_USEC_PER_SEC / 1000))
/* After the first failure; and after a try was begun, if nobody tells how it ended. */
#define AGAIN apr_time_from_sec(30)

/* A command that runs until end_hanging. */
#define HANG "while [ ! -e \"$1/end\" ]; do sleep 0.01; done; exit 1"

static const b24bg_store_portal_t portal = {
    .app = "telephony", .member_id = MEMBER, .domain = "crm.example.com"};

/* The events that the command was run with, and took: "disabled rebound ". */
static const char *told(void)
{
    char *text = apr_pcalloc(world.pool, 1000);
    FILE *file = fopen(apr_pstrcat(world.pool, world.folder, "/told", NULL), "r");

    if (file) {
        assert_true(fread(text, 1, 999, file) < 999);
        fclose(file);
    }
    return text;
}

static int exists(const char *name)
{
    return access(apr_pstrcat(world.pool, world.folder, "/", name, NULL), F_OK) == 0;
}

static void touch(const char *name)
{
    FILE *file = fopen(apr_pstrcat(world.pool, world.folder, "/", name, NULL), "w");

    assert_non_null(file);
    fclose(file);
}

/* Its text runs with the folder in $1 and the event in $2, before it writes that down. */
static void use_script(const char *text)
{
    const char **command = apr_pcalloc(world.pool, 3 * sizeof(*command));
    FILE *file;

    command[0] = apr_pstrcat(world.pool, world.folder, "/script", NULL);
    command[1] = world.folder;
    file = fopen(command[0], "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\nprintf '%%s ' \"$2\" >>\"$1/told\"\n", text);
    fclose(file);
    assert_int_equal(0, chmod(command[0], 0755));
    world.app.alert_command = command;
}

static void begin_with(const char *text)
{
    begin();
    use_script(text);
    step();
}

static void happen(const char *event)
{
    b24bg_task_alert(world.task, &world.app, event, &portal, "detail");
}

static void step_until_told(const char *events)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (strcmp(told(), events) != 0) {
        step();
        if (apr_time_now() > end) {
            fail_msg("told: %s in place of %s", told(), events);
        }
        apr_sleep(SLICE);
    }
}

static void step_until_exists(const char *name)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (!exists(name)) {
        step();
        assert_true(apr_time_now() < end);
        apr_sleep(SLICE);
    }
}

static void step_until_logged(const char *text)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (!strstr(world.log, text)) {
        step();
        if (apr_time_now() > end) {
            fail_msg("no %s in:\n%s", text, world.log);
        }
        apr_sleep(SLICE);
    }
}

static int is_running(void)
{
    return b24bg_alert_places(world.task->alerts) < b24bg_alert_limits.running;
}

/* A step that leaves nothing running has nothing to begin. */
static void nothing_more_is_told(const char *events)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    do {
        step();
        apr_sleep(SLICE);
        assert_true(apr_time_now() < end);
    } while (is_running());
    assert_string_equal(events, told());
}

/* Another process takes over from one that has ended in good order. */
static void reload(void)
{
    apr_pool_destroy(world.task_pool);
    start_task("two");
    step();
}

/* The process is killed: nothing of it runs any more, and it has told nobody. */
static b24bg_task_t *kill_and_start(void)
{
    b24bg_task_t *dead = world.task;

    start_task("two");
    world.now += B24BG_TASK_LEASE;
    step();
    return dead;
}

static void end_hanging(void)
{
    touch("end");
    end();
}

static void store_goes_down(void)
{
    world.task_config->store_params = apr_pstrcat(world.pool, world.folder, "/none/b24bg.db", NULL);
    world.task->store = NULL;
    world.task->leader = 0;
    apr_pool_clear(world.task->store_pool);
    step();
    assert_null(world.task->store);
}

static void store_comes_back(void)
{
    world.task_config->store_params = world.db;
    world.now += B24BG_TASK_REOPEN_EVERY;
    step();
    assert_non_null(world.task->store);
}

static void the_limit_is_the_spec_s(void **state)
{
    (void)state;
    assert_true(B24BG_STORE_ALERT_QUIET == b24bg_alert_limits.quiet);
}

static void the_limit_outlives_the_process(void **state)
{
    (void)state;
    begin_with("");
    happen("disabled");
    happen("rebound");
    step_until_told("disabled rebound ");
    step_until_logged("B24BG0331: B24bgAlertCmd has taken: event=rebound");
    reload();
    happen("disabled");
    happen("rebound");
    nothing_more_is_told("disabled rebound ");
    world.now += B24BG_STORE_ALERT_QUIET;
    step();
    happen("disabled");
    step_until_told("disabled rebound disabled ");
    end();
}

static void what_waits_outlives_the_process(void **state)
{
    (void)state;
    begin_with("[ -e \"$1/ready\" ] || exit 3");
    happen("disabled");
    step_until_logged("try=1 why=\"exit code 3\"");
    touch("ready");
    reload();
    world.now += AGAIN - 1;
    nothing_more_is_told("");
    world.now += B24BG_TASK_REFRESH_EVERY;
    step_until_told("disabled ");
    end();
}

static void what_ran_when_its_process_was_killed_is_run_again(void **state)
{
    (void)state;
    begin_with("[ -e \"$1/ready\" ] || { >\"$1/ready\"; " HANG "; }");
    happen("disabled");
    happen("rebound");
    step_until_exists("ready");
    kill_and_start();
    nothing_more_is_told(""); /* nobody knows that he is dead */
    world.now += AGAIN;
    step_until_told("disabled rebound ");
    end_hanging();
}

static void nobody_hears_how_it_ends_five_times(void **state)
{
    int i;

    (void)state;
    begin_with(HANG);
    happen("disabled");
    for (i = 0; i < b24bg_alert_limits.tries; i++) {
        step();
        assert_true(is_running());
        kill_and_start();
        world.now += AGAIN;
    }
    step();
    logged("w B24BG0332: B24bgAlertCmd failed: event=disabled app=telephony portal=" MEMBER
           " try=5 why=\"the server stopped while it ran\" output=\"\"; it is not tried again");
    world.now += AGAIN;
    step();
    assert_false(is_running());
    end_hanging();
}

static void a_reload_lets_a_command_end(void **state)
{
    b24bg_task_t *leaving;

    (void)state;
    begin_with("echo >\"$1/began-$2\"; while [ ! -e \"$1/ready\" ]; do sleep 0.01; done");
    happen("disabled");
    step_until_exists("began-disabled");
    happen("rebound");
    leaving = world.task;
    assert_int_equal(0, b24bg_task_leave(leaving, world.now, 0));
    start_task("two");
    step();
    assert_int_equal(1, world.task->leader); /* at once */
    touch("ready");
    while (!b24bg_task_leave(leaving, world.now, 0)) {
        apr_sleep(SLICE);
    }
    world.now += B24BG_TASK_REFRESH_EVERY;
    step_until_told("disabled rebound ");
    world.now += AGAIN;
    nothing_more_is_told("disabled rebound ");
    end();
}

static void an_older_one_holds_the_younger_back(void **state)
{
    (void)state;
    begin_with("[ $2 = rebound ] || [ -e \"$1/ready\" ] || exit 3");
    happen("disabled");
    step_until_logged("try=1 why=\"exit code 3\"");
    happen("rebound");
    nothing_more_is_told("");
    touch("ready");
    world.now += AGAIN;
    step_until_told("disabled rebound ");
    end();
}

static void one_that_is_given_up_holds_nobody_back(void **state)
{
    int i;

    (void)state;
    begin_with("[ $2 = rebound ] || exit 3");
    happen("disabled");
    happen("rebound");
    for (i = 1; i < b24bg_alert_limits.tries; i++) {
        step_until_logged(apr_psprintf(world.pool, "try=%d", i));
        nothing_more_is_told("");
        world.now += 8 * AGAIN; /* the longest wait */
    }
    step_until_told("rebound ");
    logged("try=5 why=\"exit code 3\" output=\"\"; it is not tried again");
    end();
}

/* Another machine: whoever has the lease runs it, and its limit holds there too. */
static void any_process_accepts(void **state)
{
    b24bg_task_t *leader;

    (void)state;
    begin_with("");
    leader = world.task;
    start_task("two");
    step();
    assert_int_equal(0, world.task->leader);
    happen("disabled");
    nothing_more_is_told("");
    world.task = leader;
    happen("disabled");
    world.now += B24BG_TASK_REFRESH_EVERY;
    step_until_told("disabled ");
    nothing_more_is_told("disabled ");
    end();
}

static void with_the_store_down_it_is_run_from_memory(void **state)
{
    (void)state;
    begin_with("[ -e \"$1/ready\" ] || exit 3");
    store_goes_down();
    happen("disabled");
    happen("disabled");
    step_until_logged("try=1 why=\"exit code 3\"");
    touch("ready");
    world.now += AGAIN;
    step_until_told("disabled ");
    nothing_more_is_told("disabled ");
    end();
}

static void what_was_taken_while_the_store_was_down_is_not_run_again(void **state)
{
    (void)state;
    begin_with("while [ ! -e \"$1/ready\" ]; do sleep 0.01; done");
    happen("disabled");
    step();
    store_goes_down();
    touch("ready");
    step_until_logged("B24BG0331");
    store_comes_back();
    world.now += AGAIN;
    nothing_more_is_told("disabled ");
    end();
}

static void a_command_that_was_taken_out_is_not_missed(void **state)
{
    const char *const *command;

    (void)state;
    begin_with("exit 3");
    command = world.app.alert_command;
    happen("disabled");
    step_until_logged("try=1");
    world.app.alert_command = NULL;
    happen("rebound");
    world.now += AGAIN;
    nothing_more_is_told("");
    world.app.alert_command = command;
    use_script("");
    happen("blocked");
    step_until_told("blocked ");
    nothing_more_is_told("blocked ");
    end();
}

static void the_clock_is_set_back(void **state)
{
    (void)state;
    begin_with("");
    happen("disabled");
    world.now -= 2 * B24BG_STORE_ALERT_QUIET;
    step_until_told("disabled ");
    end();
}

int main(void)
{
    UNIT_ADD(the_limit_is_the_spec_s);
    UNIT_ADD(the_limit_outlives_the_process);
    UNIT_ADD(what_waits_outlives_the_process);
    UNIT_ADD(what_ran_when_its_process_was_killed_is_run_again);
    UNIT_ADD(nobody_hears_how_it_ends_five_times);
    UNIT_ADD(a_reload_lets_a_command_end);
    UNIT_ADD(an_older_one_holds_the_younger_back);
    UNIT_ADD(one_that_is_given_up_holds_nobody_back);
    UNIT_ADD(any_process_accepts);
    UNIT_ADD(with_the_store_down_it_is_run_from_memory);
    UNIT_ADD(what_was_taken_while_the_store_was_down_is_not_run_again);
    UNIT_ADD(a_command_that_was_taken_out_is_not_missed);
    UNIT_ADD(the_clock_is_set_back);
    return unit_run("task_alert");
}
