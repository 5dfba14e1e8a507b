/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Arguments: JSON values to the body of a D-Bus message and back. Contract rpc-proxy.md 8.4 and 8.5,
 * with structs, nested variants, dictionaries with other keys and empty arrays working.
 */
#include "json.h"
#include "strbuf.h"
#include "wire.h"

#define JSON_WHY_MAX 200

/* Why a conversion failed, in words for the client; without colons, at which the UI cuts texts. */
typedef struct JsonWhy {
        char text[JSON_WHY_MAX];
} JsonWhy;

/*
 * Writes args (a JSON array) as a little-endian body of that signature, which must be valid. As many
 * values as types are needed. Returns 0, -EBADMSG (*ret_why), -EMSGSIZE (above max) or -ENOMEM;
 * *ret is to be freed.
 */
int json_body_write(json_object *args, const char *signature, size_t max, uint8_t **ret, size_t *ret_size,
                    JsonWhy *ret_why);

/* The signature that fits args where nobody says which it is. Returns 0, -EBADMSG (a null) or -ENOMEM. */
int json_body_guess(json_object *args, char **ret);

/* Appends the body's values, separated by commas. Returns their number, or -EBADMSG (*ret_why). */
int json_body_read(const WireMessage *m, StrBuf *out, JsonWhy *ret_why);

/* Appends a JSON string. s is UTF-8; U+2028 and U+2029 are escaped, since old readers take JSON as script. */
void json_add_string(StrBuf *b, const char *s);
