/* What the tests of b24bg_rest share: answers as the HTTP client hands them over. */
#ifndef REST_H
#define REST_H

#include "unit.h"

#include "b24bg_rest.h"

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

#endif
