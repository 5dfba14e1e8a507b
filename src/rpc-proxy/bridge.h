/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A descriptor in place of a link, for libraries that want one: a socket pair, and bytes carried between. */
#include "link.h"

/*
 * Takes over link, also when it fails. Returns the descriptor, which is the caller's to close; the bridge
 * frees itself when either side ends.
 */
int bridge_new(sd_event *event, Link *link, int64_t priority);
