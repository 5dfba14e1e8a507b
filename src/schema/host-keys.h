/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one table of host-wide properties: those of com.citrix.xenclient.xenmgr.config and .config.ui on
 * the object "/". Rows are of the same kind as those of vm-keys.h; paths are absolute.
 */
#include "vm-keys.h"

typedef enum HostKeyFlags {
        HOSTKEY_UI = 1 << 16,      /* of the interface .config.ui */
        HOSTKEY_SIGNAL = 1 << 17,  /* setting it sends config_changed */
        HOSTKEY_FILE = 1 << 18,    /* the value is that a file exists (inverted with VMKEY_INVERTED) */
        HOSTKEY_MSEC = 1 << 19,    /* stored in seconds with a fraction, on D-Bus in milliseconds */
        HOSTKEY_CAPS = 1 << 20,    /* of /etc/caps.<flavour>; path is the key there */
        HOSTKEY_REMOVE = 1 << 21,  /* the node is removed when the value is the default */
} HostKeyFlags;

extern const VmKey host_keys[]; /* ends with a row without property */
extern const size_t n_host_keys;
