#include "b24bg_render_parts.h"

#include <apr_strings.h>

#include <string.h>

void b24bg_out_begin(b24bg_out_t *out, b24bg_render_cb write, void *baton,
                     void (*escape)(b24bg_out_t *out, char character))
{
    out->write = write;
    out->baton = baton;
    out->escape = escape;
    out->used = 0;
}

void b24bg_out_end(b24bg_out_t *out)
{
    if (out->used) {
        out->write(out->baton, out->buffer, out->used);
        out->used = 0;
    }
}

void b24bg_out_raw(b24bg_out_t *out, const char *text)
{
    apr_size_t length = strlen(text);

    while (length) {
        apr_size_t part = sizeof(out->buffer) - out->used;
        part = part < length ? part : length;
        memcpy(out->buffer + out->used, text, part);
        out->used += part;
        text += part;
        length -= part;
        if (out->used == sizeof(out->buffer)) {
            b24bg_out_end(out);
        }
    }
}

void b24bg_out_char(b24bg_out_t *out, char character)
{
    out->buffer[out->used++] = character;
    if (out->used == sizeof(out->buffer)) {
        b24bg_out_end(out);
    }
}

void b24bg_out_text(b24bg_out_t *out, const char *text)
{
    for (; *text; text++) {
        out->escape(out, *text >= ' ' && *text <= '~' ? *text : '?');
    }
}

void b24bg_out_number(b24bg_out_t *out, apr_uint64_t number)
{
    char digits[21];
    char *at = digits + sizeof(digits) - 1;

    *at = '\0';
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    b24bg_out_raw(out, at);
}

void b24bg_out_seconds(b24bg_out_t *out, apr_uint64_t microseconds)
{
    unsigned fraction = (unsigned)(microseconds % APR_USEC_PER_SEC);
    char digits[8];
    int length;

    b24bg_out_number(out, microseconds / APR_USEC_PER_SEC);
    if (fraction) {
        length = apr_snprintf(digits, sizeof(digits), ".%06u", fraction);
        while (digits[length - 1] == '0') {
            digits[--length] = '\0';
        }
        b24bg_out_raw(out, digits);
    }
}

void b24bg_out_plain(b24bg_out_t *out, char character)
{
    b24bg_out_char(out, character);
}

void b24bg_out_html(b24bg_out_t *out, char character)
{
    switch (character) {
    case '&':
        b24bg_out_raw(out, "&amp;");
        break;
    case '<':
        b24bg_out_raw(out, "&lt;");
        break;
    case '>':
        b24bg_out_raw(out, "&gt;");
        break;
    case '"':
        b24bg_out_raw(out, "&quot;");
        break;
    case '\'':
        b24bg_out_raw(out, "&#39;");
        break;
    default:
        b24bg_out_char(out, character);
    }
}
