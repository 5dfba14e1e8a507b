/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands of `oxt policy`: questions about rules (oxt-policy.c), and about what was denied (oxt-denials.c). */
#include "stack.h"

int policy_log(int argc, char *argv[], void *userdata);
int policy_learn_rules(int argc, char *argv[], void *userdata);
