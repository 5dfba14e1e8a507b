/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * json-c, made strict: one whole value, valid UTF-8, bounded depth. Getters check the type and give
 * the fallback where the member is missing or of another type, so that a peer cannot confuse a reader.
 */
#include <json-c/json.h>

#include "util.h"

/* Parses size bytes. Returns 0, -EBADMSG (not one strict JSON value) or -ENOMEM. */
int json_parse(const char *text, size_t size, int max_depth, json_object **ret);
/* The same of a file of at most max_size bytes, or what read_file() fails with. */
int json_read_file(const char *path, size_t max_size, int max_depth, json_object **ret);

const char *json_get_text(json_object *o, const char *member, const char *fallback);
int64_t json_get_int(json_object *o, const char *member, int64_t fallback);
bool json_get_bool(json_object *o, const char *member, bool fallback);
json_object *json_get_member(json_object *o, const char *member, json_type type); /* borrowed; NULL if not so */

static inline void json_object_putp(json_object **o)
{
        if (*o)
                json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_object_putp)
