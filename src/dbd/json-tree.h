/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The JSON of the contract, from and to nodes. The reader is as lax as the original's (text behind the
 * first value is ignored, raw control characters in strings are taken, "1." is a number), but strict
 * where laxness would let something in that cannot be stored: invalid UTF-8, NUL, lone surrogates,
 * numbers out of range, names that no path can reach (empty, or with a '/'). The writer is strict.
 */
#include "strbuf.h"
#include "tree.h"

/*
 * Reads the first value in text. Returns 0 and a nameless node; -ENODATA (nothing but blanks), -EBADMSG
 * with *ret_at (may be NULL) the offset of the trouble, or -ENOMEM. Of equal keys the first counts.
 */
int json_read(const char *text, size_t size, size_t max_depth, Node **ret, size_t *ret_at);

/* The node as `dump` writes it, with a newline at the end; n may be NULL: "null". */
void json_write(StrBuf *b, const Node *n);

/* The same without the children of these names; names ends with NULL. */
void json_write_without(StrBuf *b, const Node *n, const char *const *names);

/*
 * The same without the newline, for texts kept in the database. Stops early, leaving garbage, once b is
 * longer than max.
 */
void json_write_bounded(StrBuf *b, const Node *n, size_t max);
/*
 * The same, with null in place of each node (n is at path) for whose path hidden() is true. Returns
 * whether there was one, or a binary node: whether the text is not the whole of n.
 */
bool json_write_hiding(StrBuf *b, const Node *n, size_t max, const char *path, bool (*hidden)(const char *path));
void json_write_string(StrBuf *b, const char *s);
