/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xen-firmware.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fs.h"
#include "parse.h"

#define SMBIOS_TABLE "/sys/firmware/dmi/tables/DMI"
#define ACPI_TABLES "/sys/firmware/acpi/tables/"
#define TABLE_MAX (1 * MIB)
/* Types from here on are the manufacturer's own. */
#define SMBIOS_OEM_FIRST 128

void smbios_select(const uint8_t *table, size_t size, const bool wanted[static 256], StrBuf *ret)
{
        size_t at = 0;

        /* type, length, handle in 16 bits, the rest of the length; then texts, the last of them empty */
        while (at + 4 <= size) {
                size_t end = at + table[at + 1];
                uint32_t n;

                if (table[at + 1] < 4)
                        return;
                while (end + 1 < size && (table[end] || table[end + 1]))
                        end++;
                end += 2;
                if (end > size)
                        return;
                n = (uint32_t) (end - at);
                if (wanted[table[at]]) {
                        strbuf_addn(ret, (const char *) &n, sizeof n);
                        strbuf_addn(ret, (const char *) table + at, n);
                }
                at = end;
        }
}

static void want_oem_types(const char *list, bool wanted[static 256])
{
        _cleanup_strv_ char **types = NULL;
        int64_t n;

        if (strv_split(list, ',', &types) < 0)
                return;
        for (char **t = types; t && *t; t++)
                if (parse_i64(strstrip(*t), &n) >= 0 && n >= SMBIOS_OEM_FIRST && n < 256)
                        wanted[n] = true;
}

static int keep(const char *name, StrBuf *b, int *ret_fd, char **ret_path)
{
        _cleanup_close_ int fd = -EBADF;

        if (b->oom)
                return -ENOMEM;
        if (b->len == 0)
                return 0;
        fd = memfd_create(name, MFD_CLOEXEC);
        if (fd < 0 || write(fd, b->data, b->len) != (ssize_t) b->len)
                return -errno;
        *ret_path = strformat("/proc/self/fd/%d", fd);
        if (!*ret_path)
                return -ENOMEM;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

void firmware_done(FirmwareTables *t)
{
        safe_close(t->smbios);
        safe_close(t->acpi);
        free(t->smbios_path);
        free(t->acpi_path);
        *t = (FirmwareTables) FIRMWARE_TABLES_INIT;
}

int firmware_read(const VmConfig *c, FirmwareTables *ret)
{
        static const char *const acpi_names[] = { "SLIC", "MSDM" }; /* by which a system knows its licence */
        _cleanup_strbuf_ StrBuf smbios = STRBUF_INIT, acpi = STRBUF_INIT;
        bool wanted[256] = { [1] = true, [2] = true, [3] = true, [11] = true, [22] = true, [39] = true };
        int r;

        if (c->smbios_pt) {
                _cleanup_free_ char *table = NULL;
                size_t size;

                want_oem_types(c->smbios_oem_types_pt, wanted);
                if (read_file(SMBIOS_TABLE, TABLE_MAX, &table, &size) >= 0)
                        smbios_select((const uint8_t *) table, size, wanted, &smbios);
        }
        for (size_t i = 0; c->acpi_pt && i < ELEMENTSOF(acpi_names); i++) {
                _cleanup_free_ char *path = path_join(ACPI_TABLES, acpi_names[i]), *table = NULL;
                size_t size;

                if (path && read_file(path, TABLE_MAX, &table, &size) >= 0)
                        strbuf_addn(&acpi, table, size);
        }
        r = keep("smbios", &smbios, &ret->smbios, &ret->smbios_path);
        return r < 0 ? r : keep("acpi", &acpi, &ret->acpi, &ret->acpi_path);
}
