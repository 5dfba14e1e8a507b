/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the table of VM properties, or with "host" that of the host, a row a line, for tests that go through all of it. */
#include "host-keys.h"

static const char *const effects[] = {
        [VMKEY_EFFECT_COMPUTED] = "computed", [VMKEY_EFFECT_STORED] = "stored", [VMKEY_EFFECT_MANAGER] = "manager",
        [VMKEY_EFFECT_CONFIG] = "config",     [VMKEY_EFFECT_LIVE] = "live",     [VMKEY_EFFECT_PROXY] = "proxy",
        [VMKEY_EFFECT_DETECTED] = "detected",
};

static const struct {
        unsigned flag;
        const char *name;
} flags[] = {
        { VMKEY_READ_ONLY, "read-only" }, { VMKEY_UNRESTRICTED, "unrestricted" }, { VMKEY_INVERTED, "inverted" },
        { VMKEY_HOST_ONLY, "host-only" },
        { VMKEY_ADMIN, "admin" },
        { HOSTKEY_UI, "ui" },
        { HOSTKEY_SIGNAL, "signal" },
        { HOSTKEY_FILE, "file" },
};

int main(int argc, _unused_ char *argv[])
{
        for (const VmKey *k = argc > 1 ? host_keys : vm_keys; k->property; k++) {
                printf("%s\t%s\t%s\t", k->property, strempty(k->path), vm_key_signature(k));
                printf("%s\t%s\t%s\t", k->type == VMKEY_LIST ? "list" : strempty(k->choices), effects[k->effect],
                       strempty(k->line));
                for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                        if (k->flags & flags[i].flag)
                                printf("%s ", flags[i].name);
                putchar('\n');
        }
        return 0;
}
