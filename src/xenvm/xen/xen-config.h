/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A VM's configuration as libxl wants it. Which key goes where: docs/backends.md. */
#include "config.h"
#include "paths.h"
#include "strbuf.h"
#include "xen-firmware.h"
#include "xen-loop.h"

/*
 * Fills *ret (initialised here; the caller disposes of it, also after a failure). paths: contract paths
 * of images are mapped. tables: of the host, to be
 * kept until libxl is through with the config. Returns 0, -EOPNOTSUPP or -EINVAL with *ret_why (to free: the key and the
 * reason), or -ENOMEM. Keys without an effect are named, a line each, in *notes (may be NULL).
 */
int xen_config_make(libxl_ctx *ctx, const VmConfig *c, const Paths *paths, const FirmwareTables *tables, libxl_domain_config *ret,
                    StrBuf *notes, char **ret_why);

/* Whether a device model draws what the guest shows. */
bool xen_config_has_screen(const VmConfig *c);
int xen_disk_make(const VmDisk *d, const Paths *paths, libxl_device_disk *ret, char **ret_why);
int xen_nic_make(const VmNic *n, bool emulated, libxl_device_nic *ret, char **ret_why);
int xen_pci_make(const VmConfig *c, const VmPci *p, libxl_device_pci *ret);
