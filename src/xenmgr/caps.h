/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/* What the flavour of the installation can do: /etc/caps.<flavour>, lines `key = value`, lower case. Read once. */
const char *caps_text(const char *key, const char *fallback);
bool caps_bool(const char *key, bool fallback);
int caps_list(const char *key, const char *fallback, char ***ret);
/* A value of a file of such lines; to free; NULL: not there. */
char *lines_value(const char *text, const char *key);
