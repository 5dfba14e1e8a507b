/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the host may ask this machine for. */
#include "util.h"

typedef enum PowerRequest { POWER_OFF, POWER_REBOOT, POWER_SLEEP, POWER_HIBERNATE, _POWER_MAX } PowerRequest;

/* Begins it and returns at once: 0, or -errno when this guest cannot do it. */
int power_request(PowerRequest request);
