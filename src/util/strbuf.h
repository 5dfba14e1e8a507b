/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A growing text and a growing list of texts. A failed allocation is remembered: later calls do
 * nothing and the final strbuf_take() reports -ENOMEM once, so that callers check a single time.
 */
#include <stdarg.h>

#include "util.h"

typedef struct StrBuf {
        char *data; /* terminated once anything was added */
        size_t len, size;
        bool oom;
} StrBuf;

#define STRBUF_INIT { 0 }

/* Frees; b is then empty and can be used again. */
void strbuf_done(StrBuf *b);
/* Append n bytes, a text, one byte, a formatted text. */
void strbuf_addn(StrBuf *b, const char *s, size_t n);
void strbuf_add(StrBuf *b, const char *s);
void strbuf_addc(StrBuf *b, char c);
void strbuf_addf(StrBuf *b, const char *fmt, ...) _printf_(2, 3);
/* The text, filled with blanks to width characters (of UTF-8, not bytes); a longer one stays as it is. */
void strbuf_add_padded(StrBuf *b, const char *s, unsigned width);
/* The text as XML has it in content and in attributes with double quotes. */
void strbuf_add_xml(StrBuf *b, const char *s);
/* The text, with \xNN for each byte of it that is not UTF-8. */
void strbuf_add_utf8(StrBuf *b, const char *s);
/* Hands the text over (never NULL on success) and leaves b empty. Returns 0 or -ENOMEM. */
int strbuf_take(StrBuf *b, char **ret);

#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* NULL-terminated arrays of texts; NULL is the empty one. The array owns its texts. */
char **strv_free(char **l);
size_t strv_length(char *const *l);
bool strv_contains(char *const *l, const char *s);
/* Appends a copy of s. Returns 0 or -ENOMEM; on failure *l is as it was. */
int strv_extend(char ***l, const char *s);
int strv_extendf(char ***l, const char *fmt, ...) _printf_(2, 3);
/* Splits s at every sep; empty fields are kept. */
int strv_split(const char *s, char sep, char ***ret);

DEFINE_CLEANUP(char **, strv_free)
#define _cleanup_strv_ _cleanup_(strv_freep)

/* asprintf that returns the text or NULL. */
char *strformat(const char *fmt, ...) _printf_(1, 2);
char *strformatv(const char *fmt, va_list ap) _printf_(1, 0);
/* Is word in a list of words separated by blanks? No list (NULL) has a word, and no list has the empty one. */
bool words_contain(const char *words, const char *word);
/* Cuts blanks (space, tab, CR, LF) from both ends in place and returns the start. */
char *strstrip(char *s);
