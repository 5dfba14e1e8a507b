/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Domain numbers where there is no Xen: one counter for the whole stack, a new number for each start of a VM. */
#include "paths.h"

/*
 * Takes the next number, from 1 on. Returns 0 or negative errno; -EBADMSG: the counter is damaged (it is
 * never guessed: a number must not be given twice).
 */
int domid_next(const Paths *p, int64_t *ret);
