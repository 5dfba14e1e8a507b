/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Strict reading of numbers, booleans and uuids. All return 0, -EINVAL (not of the form) or -ERANGE
 * and leave *ret alone on failure. Nothing may stand before or behind the value.
 */
#include "util.h"

int parse_i64(const char *s, int64_t *ret);  /* optional '-', decimal digits */
int parse_u64(const char *s, uint64_t *ret); /* decimal digits */
int parse_bool(const char *s, bool *ret);    /* true yes 1 / false no 0, as the database's readers */

/*
 * Checks the form 8-4-4-4-12 of hex digits. Upper case is accepted; the texts below are always kept
 * as written, since database nodes and bus names carry them.
 */
bool uuid_valid(const char *s);
/* A random (version 4) uuid in lower case; buf has room for 37 bytes. Returns buf or NULL (no entropy). */
char *uuid_random(char buf[static 37]);
/* '-' <-> '_', for object paths and bus names; buf has room for 37 bytes. Needs a valid uuid. */
char *uuid_to_path(const char *uuid, char buf[static 37]);
char *uuid_from_path(const char *path_element, char buf[static 37]); /* NULL if not one */

/* True if all of s (n bytes) is UTF-8 as D-Bus wants it: no NUL, no surrogates, no overlong forms. */
bool utf8_valid(const char *s, size_t n);
