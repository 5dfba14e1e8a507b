/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What becomes of each key of the config file on Xen: for which guests it has an effect, and which; for
 * the others a warning when it is given. docs/backends.md has the same rows, and a unit test sees to it.
 */
#include "xenvm-keys.h"

typedef enum XenGuests {
        XEN_NONE = 0,
        XEN_PV = 1 << 0,
        XEN_PVH = 1 << 1,
        XEN_HVM = 1 << 2,
        XEN_PARAVIRTUAL = XEN_PV | XEN_PVH,
        XEN_HARDWARE = XEN_PVH | XEN_HVM,
        XEN_ALL = XEN_PV | XEN_PVH | XEN_HVM,
} XenGuests;

typedef struct XenKey {
        unsigned guests;  /* of XenGuests */
        const char *text; /* the effect, or why there is none */
} XenKey;

extern const XenKey xen_keys[_XENVM_KEY_MAX];

/* "PV, PVH", "all", "none"; static. */
const char *xen_guests_to_text(unsigned guests);
