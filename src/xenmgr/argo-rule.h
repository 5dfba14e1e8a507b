/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/*
 * Reads a rule "from[:port] -> to[:port]" and gives its canonical text (lower case, one blank on either
 * side of the arrow), to free. 0, -EINVAL or -ENOMEM.
 */
int argo_rule_canonical(const char *rule, char **ret);
