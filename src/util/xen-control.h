/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/* Xen's control domain: whether the hypervisor's device is there (F_OK), or this process may use it (R_OK | W_OK). */
bool xen_control_access(int mode);
