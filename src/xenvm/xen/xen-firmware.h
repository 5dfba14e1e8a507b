/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Tables of the host's firmware for HVM guests (smbios-pt, acpi-pt), in the form in which Xen's loader for HVM
 * guests takes them.
 */
#include "config.h"
#include "strbuf.h"

/*
 * Adds the structures of the wanted types of an SMBIOS table, each behind its size in 32 bits. A table that
 * makes no sense from some place on is left there.
 */
void smbios_select(const uint8_t *table, size_t size, const bool wanted[static 256], StrBuf *ret);

/*
 * What the config asks for, as files without a name: descriptors to close, and paths to free by which this process
 * can open them. -EBADF and NULL: not asked for, or the host has nothing of it.
 */
typedef struct FirmwareTables {
        int smbios, acpi;
        char *smbios_path, *acpi_path;
} FirmwareTables;

#define FIRMWARE_TABLES_INIT { -EBADF, -EBADF, NULL, NULL }

int firmware_read(const VmConfig *c, FirmwareTables *ret);
void firmware_done(FirmwareTables *t);
