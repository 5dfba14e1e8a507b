/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * D-Bus values as words of a command line, and as text. The forms are those of OpenXT's xec: strings
 * as they are, [a,b] for arrays and structures, {k:v} for dictionaries, strings inside those in
 * quotes; beyond them SIGNATURE:VALUE for variants. What is read must be a value to its end.
 */
#include <systemd/sd-bus.h>

#include "strbuf.h"

/* The length of the first complete type of a signature, 0 if there is none. */
size_t signature_first(const char *signature);
/* The number of complete types, or -EINVAL. */
int signature_count(const char *signature);

/*
 * Appends one value of the (single complete) type. Returns 0, -EINVAL with *ret_why (static or in
 * buf: what was expected), or the error of sd-bus.
 */
int dbus_text_append(sd_bus_message *m, const char *type, const char *text, const char **ret_why);

/* Writes the next value of the message in xec's form, without a newline behind it. */
int dbus_text_print(sd_bus_message *m, StrBuf *b);
/* The same as JSON; dictionaries with text keys as objects, byte arrays as arrays of numbers. */
int dbus_text_print_json(sd_bus_message *m, StrBuf *b);

/* Appends a text in JSON's quotes. */
void json_quote(StrBuf *b, const char *s);
/* The entry of a dictionary or of getall: "key" in quotes, filled up to width characters, and " = ". */
void dbus_text_key(StrBuf *b, const char *key, unsigned width);
