/* What the tests of b24bg_rest share: answers as the HTTP client hands them over. */
#ifndef REST_H
#define REST_H

#include "unit.h"

#include "b24bg_rest.h"

#include <apr_strings.h>

#include <string.h>

/* The body ends where its memory ends, but for the NUL that http promises. */
static inline b24bg_http_answer_t answer_of(int status, const char *body, apr_size_t length)
{
    b24bg_http_answer_t answer = {B24BG_HTTP_ANSWERED, 0, NULL, 0, NULL, ""};
    char *copy = unit_copy(body, length, 1);

    copy[length] = '\0';
    answer.status = status;
    answer.body = copy;
    answer.length = length;
    return answer;
}

/* The sample with one text, which must be there, in the place of another. */
static inline const char *changed(const char *sample, const char *from, const char *to)
{
    const char *found = strstr(sample, from);

    assert_non_null(found);
    return apr_pstrcat(unit_pool, apr_pstrmemdup(unit_pool, sample, (apr_size_t)(found - sample)),
                       to, found + strlen(from), NULL);
}

#endif
