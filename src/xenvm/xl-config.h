/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * xl's guest configuration (xl.cfg) as a list of items: reading it as the parser of Xen 4.17 does, and
 * writing values. Which keys there are, and what they mean, is the converter's business.
 */
#include "strbuf.h"

#define XL_FILE_MAX (1 * MIB)

typedef enum XlKind { XL_STRING, XL_NUMBER, XL_LIST } XlKind;

typedef struct XlValue {
        XlKind kind;
        char *text;  /* string: without quotes and escapes; number: as written */
        char quote;  /* string: the one it was written with */
        int64_t number;
        struct XlValue *items; /* list */
        size_t n_items;
} XlValue;

typedef struct XlItem {
        char *key;
        XlValue value;
        unsigned line;
        bool used; /* for the converter */
} XlItem;

typedef struct XlFile {
        XlItem *items; /* a repeated key only once, with its last value */
        size_t n_items;
        char **comments; /* what stands behind '#' in comment lines, without blanks around */
} XlFile;

/* Returns 0, -EBADMSG with *ret_why (to free; names the line), or -ENOMEM. */
int xl_parse(const char *text, size_t size, XlFile **ret, char **ret_why);
XlFile *xl_free(XlFile *f);
DEFINE_CLEANUP(XlFile *, xl_free)
#define _cleanup_xl_ _cleanup_(xl_freep)

/* The item of that key, marked as used; NULL: none. */
XlItem *xl_take(XlFile *f, const char *key);
/* A number, or a string that is one; false if it is neither. Leading 0 is octal. */
bool xl_value_number(const XlValue *v, int64_t *ret);

/* The value in xl's syntax, on one line, each string in the quotes that it had. */
void xl_print(const XlValue *v, StrBuf *b);
/* A string in single quotes. Returns -EINVAL if it holds a control character, which xl cannot express. */
int xl_quote(const char *s, StrBuf *b);
