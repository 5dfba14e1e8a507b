/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Rules that would have allowed what was denied, for a person to review. */
#include "json.h"

/*
 * records: a JSON array of denial records (audit.h); those of another VM than uuid (NULL: any) are left
 * out. *ret_rules gets one rule for each different message, none that another of them covers;
 * *ret_notes one line for each kind of denial that no rule can lift, and for the records that are missing. Both may come
 * out NULL (none). Returns 0 or -ENOMEM.
 */
int policy_learn(json_object *records, const char *uuid, char ***ret_rules, char ***ret_notes);
