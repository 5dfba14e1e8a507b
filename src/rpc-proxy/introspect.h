/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Reads introspection data as far as a caller needs it: the types of a method's arguments. Elements that
 * it does not know, with namespaces or not, change nothing.
 */
#include "util.h"

#define INTROSPECT_MAX (4u << 20)

/*
 * Finds the `in` arguments of a method. Returns 0 and the signature (to be freed; "" for none), -ENOENT
 * (no such method), -EBADMSG (not XML, or types that make no signature) or -ENOMEM. The text is untrusted.
 */
int introspect_method(const char *xml, size_t size, const char *interface, const char *member, char **ret);
