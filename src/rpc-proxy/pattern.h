/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Could a message of that form be allowed? In a pattern a missing field may be anything. Used where not a
 * message is judged but what may come: match rules, and whether a name may be known to a guest.
 */
#include "policy.h"

bool pattern_could_be_allowed(const Policy *p, const PolicyClient *client, const PolicyMessage *pattern);
