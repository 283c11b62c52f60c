#include "b24bg_form.h"
#include "b24bg_install.h"
#include "b24bg_journal.h"
#include "b24bg_notice.h"
#include "b24bg_task_parts.h"

#include <apr_escape.h>
#include <apr_file_info.h>
#include <apr_strings.h>

#include <string.h>

/* Records taken from the journal in one transaction: about 2 MiB of them. */
#define IMPORT_MOST 1000
/* Messages looked at at once, notices first. */
#define INBOX_MOST 8192
/* Of notices and silences, each of which takes some calls of the store. */
#define NEWS_MOST 256
/* How often the journal is counted while it cannot be imported: a full one is 64 MiB. */
#define COUNT_EVERY apr_time_from_sec(5)
/* What the inbox calls a message that is no installation. */
#define EVENT_NOTICE "notice"
#define EVENT_SILENCE "silence"

/* Journal -> inbox */

typedef struct {
    b24bg_task_t *task;
    apr_pool_t *pool;
    apr_array_header_t *messages;
    unsigned strange;     /* records of another version that were put aside */
    apr_status_t refused; /* why one could not be, if one could not */
} import_t;

/* The app and the event of a record; 0 if it is none of ours. */
static int read_record(apr_pool_t *pool, b24bg_store_message_t *message)
{
    b24bg_install_t install;
    b24bg_notice_t notice;
    const char *key_hash;

    if (b24bg_install_decode(pool, message->fields, &message->app, &install)) {
        message->event = b24bg_install_event(install.kind);
        return 1;
    }
    message->event = EVENT_NOTICE;
    return b24bg_notice_decode(pool, message->fields, &message->app, &key_hash, &notice);
}

static int is_imported(const b24bg_task_t *task, const char *id)
{
    return apr_hash_get(task->imported, id, APR_HASH_KEY_STRING) != NULL;
}

static void remember_imported(b24bg_task_t *task, const char *id)
{
    id = apr_pstrdup(task->imported_pool, id);
    apr_hash_set(task->imported, id, APR_HASH_KEY_STRING, id);
}

/* What another version of the module has answered 200 is not ours to throw away. */
static const char *aside(const b24bg_task_t *task, apr_pool_t *pool)
{
    return apr_pstrcat(pool, task->config->journal, ".unread", NULL);
}

static void put_aside(import_t *import, const b24bg_journal_record_t *record, const char *id)
{
    apr_status_t rv = b24bg_journal_append(aside(import->task, import->pool), record, import->pool);

    if (rv == APR_SUCCESS) {
        import->strange++;
        remember_imported(import->task, id);
    } else {
        import->refused = rv;
    }
}

/* Ends the reading when there is enough for one transaction. */
static apr_status_t import_record(void *baton, const b24bg_journal_record_t *record)
{
    import_t *import = baton;
    b24bg_store_message_t message = {0};

    message.id = apr_pescape_hex(import->pool, record->id, sizeof(record->id), 0);
    if (is_imported(import->task, message.id)) {
        return APR_SUCCESS;
    }
    if (import->messages->nelts == IMPORT_MOST) {
        return APR_INCOMPLETE;
    }
    message.fields = apr_pstrmemdup(import->pool, record->payload, record->length);
    message.received = message.due = record->at;
    if (read_record(import->pool, &message)) {
        APR_ARRAY_PUSH(import->messages, b24bg_store_message_t) = message;
    } else {
        put_aside(import, record, message.id);
    }
    return APR_SUCCESS;
}

static void forget_imported(b24bg_task_t *task)
{
    apr_pool_clear(task->imported_pool);
    task->imported = apr_hash_make(task->imported_pool);
}

void b24bg_task_inbox_begin(b24bg_task_t *task)
{
    apr_pool_create(&task->imported_pool, task->pool);
    forget_imported(task);
}

/* What is wrong with the journal is told once a minute. */
static int may_warn(b24bg_task_t *task)
{
    if (task->now - task->unreadable_warned < B24BG_TASK_WARN_EVERY) {
        return 0;
    }
    task->unreadable_warned = task->now;
    return 1;
}

/* Bytes of which no record can be read are torn, and must not fill the journal for ever. */
static int has_bytes(const char *path, apr_pool_t *scratch)
{
    apr_finfo_t info;

    return apr_stat(&info, path, APR_FINFO_SIZE, scratch) == APR_SUCCESS && info.size > 0;
}

static void tell_aside(b24bg_task_t *task, const import_t *import)
{
    const char *path = aside(task, import->pool);
    char reason[120];

    if (import->strange) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0314: journal: %u records of another version of this module were put "
                       "into \"%s\"",
                       import->strange, path);
    }
    if (import->refused && may_warn(task)) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0334: journal: records of another version of this module cannot be "
                       "put into \"%s\": %s; the journal is not emptied",
                       path, apr_strerror(import->refused, reason, sizeof(reason)));
    }
}

static void tell_unreadable(b24bg_task_t *task, apr_status_t rv)
{
    char reason[120];

    if (may_warn(task)) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0312: the journal \"%s\" cannot be read: %s; what is in it waits",
                       task->config->journal, apr_strerror(rv, reason, sizeof(reason)));
    }
}

static void tell_torn(b24bg_task_t *task, const b24bg_journal_position_t *position)
{
    if (position->torn) {
        b24bg_task_say(task, B24BG_LOG_WARNING,
                       "B24BG0304: journal: %u torn places passed over; they were never answered "
                       "200",
                       position->torn);
    }
}

/* 0 if the store failed. */
static int import_messages(b24bg_task_t *task, const apr_array_header_t *messages)
{
    int i;

    if (messages->nelts == 0) {
        return 1;
    }
    if (!b24bg_task_done(task, b24bg_store_inbox_add(task->store, messages))) {
        return 0;
    }
    for (i = 0; i < messages->nelts; i++) {
        remember_imported(task, APR_ARRAY_IDX(messages, i, b24bg_store_message_t).id);
    }
    task->inbox_asked = 1;
    return 1;
}

/* It goes when the store has all of it; torn places are told of then, and not at each look. */
static void retire_journal(b24bg_task_t *task, const b24bg_journal_position_t *position,
                           apr_pool_t *scratch)
{
    int retired = 0;

    if (b24bg_journal_retire(task->config->journal, position, &retired, scratch) == APR_SUCCESS &&
        retired) {
        task->journal_records = 0;
        forget_imported(task);
        tell_torn(task, position);
    }
}

void b24bg_task_import_journal(b24bg_task_t *task, apr_pool_t *scratch)
{
    import_t import = {task, scratch, apr_array_make(scratch, 8, sizeof(b24bg_store_message_t)), 0,
                       APR_SUCCESS};
    const char *path = task->config->journal;
    b24bg_journal_position_t position;
    apr_status_t rv = b24bg_journal_read(path, import_record, &import, &position, scratch);

    tell_aside(task, &import);
    if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        tell_unreadable(task, rv);
        return;
    }
    task->journal_records = position.whole;
    if (position.end == 0 && !has_bytes(path, scratch)) {
        return;
    }
    if (import_messages(task, import.messages) && rv == APR_SUCCESS && !import.refused) {
        retire_journal(task, &position, scratch);
    }
}

static apr_status_t count_record(void *baton, const b24bg_journal_record_t *record)
{
    (void)baton;
    (void)record;
    return APR_SUCCESS;
}

void b24bg_task_count_journal(b24bg_task_t *task, apr_pool_t *scratch)
{
    b24bg_journal_position_t position;

    if (task->now < task->journal_due) {
        return;
    }
    task->journal_due = task->now + COUNT_EVERY;
    if (b24bg_journal_read(task->config->journal, count_record, NULL, &position, scratch) ==
        APR_SUCCESS) {
        task->journal_records = position.whole;
    }
}

/* Silence */

void b24bg_task_report_silence(b24bg_task_t *task, apr_pool_t *scratch,
                               const b24bg_store_registration_t *registration)
{
    apr_array_header_t *messages = apr_array_make(scratch, 1, sizeof(b24bg_store_message_t));
    b24bg_store_message_t *message = apr_array_push(messages);
    unsigned char id[B24BG_JOURNAL_ID_SIZE];

    task->config->random(id, sizeof(id));
    memset(message, 0, sizeof(*message));
    message->id = apr_pescape_hex(scratch, id, sizeof(id), 0);
    message->app = registration->app;
    message->event = EVENT_SILENCE;
    message->fields = apr_psprintf(scratch, "member_id=%s&user_id=%" APR_INT64_T_FMT,
                                   registration->member_id, registration->user_id);
    message->received = message->due = task->now;
    if (b24bg_task_done(task, b24bg_store_inbox_add(task->store, messages))) {
        task->inbox_asked = 1;
    }
}

/* Inbox -> whoever it is for */

/* What a message says of a registration. */
typedef struct {
    const b24bg_store_message_t *message;
    const b24bg_task_app_t *app;
    b24bg_registration_event_e event;
    const char *word;   /* of the history */
    const char *detail; /* of the history */
    b24bg_store_registration_t *registration;
} news_t;

static void finish(b24bg_task_t *task, const b24bg_store_message_t *message)
{
    b24bg_task_done(task, b24bg_store_inbox_done(task->store, message->id, task->now));
}

/* The portal, or NULL; wiped ones count as gone. */
static b24bg_store_portal_t *portal_of(b24bg_task_t *task, apr_pool_t *pool,
                                       const b24bg_store_registration_t *registration)
{
    b24bg_store_portal_t *portal = NULL;

    if (!b24bg_task_done(task, b24bg_store_portal_get(task->store, pool, registration->app,
                                                      registration->member_id, &portal))) {
        return NULL;
    }
    return portal->installed ? portal : NULL;
}

static void log_silence(b24bg_task_t *task, apr_pool_t *pool, const news_t *news)
{
    const b24bg_store_portal_t *portal = portal_of(task, pool, news->registration);

    if (!portal) {
        return;
    }
    b24bg_task_say(task, B24BG_LOG_WARNING,
                   "B24BG0327: no loads any more, the portal is asked: app=%s portal=%s domain=%s "
                   "user=%" APR_INT64_T_FMT " silent_for=%" APR_INT64_T_FMT "s",
                   portal->app, portal->member_id, portal->domain, news->registration->user_id,
                   (apr_int64_t)apr_time_sec(news->app->silence));
}

/* Applies it to the registration and finishes the message in one transaction. */
static void apply_news(b24bg_task_t *task, apr_pool_t *pool, const news_t *news)
{
    b24bg_store_registration_t *registration = news->registration;
    const char *alert = news->event == B24BG_EVENT_SILENCE ? "silent" : NULL;
    b24bg_store_reason_t reason = {
        news->message->id, news->word, news->detail,
        task->now,         NULL,       b24bg_task_alert_of(pool, news->app, alert, news->detail)};
    int changes = b24bg_task_registration_apply(task, pool, news->app, registration, news->event);

    if (news->event == B24BG_EVENT_NOTICE) {
        registration->noticed =
            task->now; /* when it was taken, which is what counts for the next */
        changes = 1;
    }
    if (!changes) {
        finish(task, news->message);
    } else if (b24bg_task_done(task,
                               b24bg_store_registration_put(task->store, registration, &reason))) {
        task->registrations_due = task->refresh_due = task->alerts_due = 0;
        if (news->event == B24BG_EVENT_SILENCE) {
            log_silence(task, pool, news);
        }
    }
}

/* The first notice of a key is acted on at once; the next ones wait, so that whoever has the key
 * cannot have us call the portal as often as he likes. A time in the future is one of a clock that
 * was set back. */
static apr_time_t may_ask(const b24bg_task_t *task, const b24bg_store_registration_t *registration)
{
    int is_next = registration->noticed > registration->bound && registration->noticed <= task->now;

    return is_next ? registration->noticed + B24BG_TASK_ASK_EVERY : 0;
}

/* Known already: it tells of the registration before this one, or the portal was asked since it
 * came, by clocks that may differ a little. */
static int is_answered(const b24bg_task_t *task, const b24bg_store_message_t *message,
                       const b24bg_store_registration_t *registration, const char *key_hash)
{
    return strcmp(registration->old_key_hash, key_hash) == 0 ||
           (registration->checked > message->received + B24BG_TASK_CLOCKS_APART &&
            registration->checked <= task->now);
}

static void take_notice(b24bg_task_t *task, apr_pool_t *pool, news_t *news)
{
    const b24bg_store_message_t *message = news->message;
    const char *key_hash;
    b24bg_notice_t notice;
    const char *app;

    if (!b24bg_notice_decode(pool, message->fields, &app, &key_hash, &notice) ||
        !b24bg_task_done(task, b24bg_store_registration_by_key(task->store, pool, key_hash,
                                                               &news->registration))) {
        if (task->store) {
            finish(task, message);
        }
        return;
    }
    news->event = B24BG_EVENT_NOTICE;
    news->word = "notice";
    news->detail = apr_pstrcat(pool, notice.error, " ", notice.description, NULL);
    if (strcmp(news->registration->app, message->app) != 0 ||
        is_answered(task, message, news->registration, key_hash)) {
        finish(task, message);
    } else if (task->now < may_ask(task, news->registration)) {
        b24bg_task_done(task, b24bg_store_inbox_later(task->store, message->id,
                                                      may_ask(task, news->registration)));
    } else {
        apply_news(task, pool, news);
    }
}

static void take_silence(b24bg_task_t *task, apr_pool_t *pool, news_t *news)
{
    char *text = apr_pstrdup(pool, news->message->fields);
    apr_array_header_t *registrations;
    b24bg_form_t form;
    const char *member_id;
    int i;

    b24bg_form_parse(pool, text, strlen(text), B24BG_FORM_LAST_WINS, &form);
    member_id = b24bg_form_get(form.fields, "member_id");
    registrations = b24bg_task_registrations(task, pool, news->app, member_id ? member_id : "");
    for (i = 0; registrations && i < registrations->nelts; i++) {
        b24bg_store_registration_t *registration =
            &APR_ARRAY_IDX(registrations, i, b24bg_store_registration_t);
        const char *user = b24bg_form_get(form.fields, "user_id");
        if (registration->change && user && apr_atoi64(user) == registration->user_id) {
            news->registration = registration;
            news->event = B24BG_EVENT_SILENCE;
            news->word = "silent";
            news->detail = apr_psprintf(pool, "no load for %" APR_INT64_T_FMT " minutes",
                                        (apr_int64_t)(apr_time_sec(news->app->silence) / 60));
            apply_news(task, pool, news);
            return;
        }
    }
    if (registrations) {
        finish(task, news->message);
    }
}

/* 1 if it was a notice or a silence. */
static int take_message(b24bg_task_t *task, apr_pool_t *pool, const b24bg_store_message_t *message)
{
    news_t news = {message, b24bg_task_app(task, message->app), 0, NULL, "", NULL};

    if (!news.app) {
        b24bg_task_done(task, b24bg_store_inbox_later(task->store, message->id,
                                                      task->now + B24BG_TASK_RETRY_MOST));
    } else if (strcmp(message->event, EVENT_NOTICE) == 0) {
        take_notice(task, pool, &news);
        return 1;
    } else if (strcmp(message->event, EVENT_SILENCE) == 0) {
        take_silence(task, pool, &news);
        return 1;
    } else if (!apr_hash_get(task->verifying, message->id, APR_HASH_KEY_STRING)) {
        b24bg_task_verify(task, message);
    }
    return 0;
}

/* Of the notices with one key that are due the last one that came says all: what is asked because
 * of it answers the others. They are finished at once, however many there are. 0: the store failed.
 */
static int finish_repeated(b24bg_task_t *task, apr_pool_t *pool, apr_array_header_t *messages)
{
    apr_array_header_t *repeated = apr_array_make(pool, 8, sizeof(const char *));
    apr_hash_t *last = apr_hash_make(pool);
    int i;

    for (i = 0; i < messages->nelts; i++) {
        b24bg_store_message_t *message = &APR_ARRAY_IDX(messages, i, b24bg_store_message_t);
        b24bg_store_message_t *before;
        const char *key_hash;
        b24bg_notice_t notice;
        const char *app;
        if (strcmp(message->event, EVENT_NOTICE) != 0 ||
            !b24bg_notice_decode(pool, message->fields, &app, &key_hash, &notice)) {
            continue;
        }
        before = apr_hash_get(last, key_hash, APR_HASH_KEY_STRING);
        if (before && strcmp(before->app, message->app) == 0) {
            APR_ARRAY_PUSH(repeated, const char *) = before->id;
            before->id = NULL;
        }
        apr_hash_set(last, key_hash, APR_HASH_KEY_STRING, message);
    }
    return repeated->nelts == 0 ||
           b24bg_task_done(task, b24bg_store_inbox_done_all(task->store, repeated, task->now));
}

void b24bg_task_work_inbox(b24bg_task_t *task, apr_pool_t *scratch)
{
    apr_array_header_t *messages;
    int news = 0;
    int i;

    if (!task->leader || (!task->inbox_asked && task->now < task->inbox_due)) {
        return;
    }
    task->inbox_asked = 0;
    task->inbox_due = task->now + apr_time_from_sec(1);
    if (!b24bg_task_done(
            task, b24bg_store_inbox_due(task->store, scratch, task->now, INBOX_MOST, &messages))) {
        return;
    }
    if (!finish_repeated(task, scratch, messages)) {
        return;
    }
    for (i = 0; i < messages->nelts && news < NEWS_MOST && task->store; i++) {
        const b24bg_store_message_t *message = &APR_ARRAY_IDX(messages, i, b24bg_store_message_t);
        news += message->id && take_message(task, scratch, message);
    }
    task->inbox_asked |= news == NEWS_MOST;
}
