/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-keys.h"

#include <assert.h>

static void test_table(void)
{
        size_t restricted = 0, all = 0;

        for (const VmKey *k = vm_keys; k->property; k++) {
                const char *why;

                all++;
                if (!(k->flags & VMKEY_UNRESTRICTED))
                        restricted++;
                assert(vm_key_find(k->property) == k);
                assert(k->text && k->text[0]);
                assert((k->path == NULL) == (k->effect == VMKEY_EFFECT_COMPUTED));
                assert((k->type == VMKEY_ENUM) == (k->choices != NULL));
                /* A value is stored under one path; image-path is the one that has two names. */
                if (k->path)
                        assert(streq(vm_key_of_path(k->path)->path, k->path));
                if (k->fallback && k->fallback[0])
                        assert(vm_key_check(k, k->fallback, &why));
        }
        assert(all == n_vm_keys);
        assert(restricted == 145 && all == 148);
}

static void test_values(void)
{
        int64_t i = 7;
        const char *why;

        assert(schema_parse_int(" 0x10 ", &i) == 0 && i == 16);
        assert(schema_parse_int("-3", &i) == 0 && i == -3);
        assert(schema_parse_int("010", &i) == 0 && i == 10);
        assert(schema_parse_int("", &i) < 0 && schema_parse_int("0x", &i) < 0 && schema_parse_int("4 x", &i) < 0);
        assert(schema_parse_int("- 3", &i) < 0 && schema_parse_int("99999999999999999999", &i) < 0 && i == 10);
        assert(!vm_key_check(vm_key_find("memory"), "4294967296", &why));
        assert(!vm_key_check(vm_key_find("virt-type"), "xen", &why) && streq(why, "pv pvh hvm"));
        assert(vm_key_check(vm_key_find("acpi"), "yes", &why));
        assert(vm_key_of_path("config/extra-hvm/0") == vm_key_find("extra-hvm"));
        assert(!vm_key_of_path("config/kernelx") && !vm_key_of_path("config/disk/0/path"));
}

static void test_guest(void)
{
        static const char *const denied[][2] = {
                { "config/kernel", "/etc/shadow" },
                { "config/extra-hvm/0", "-drive" },
                { "run-pre-boot", "/bin/sh" },
                { "rpc-firewall-rules/0", "allow" },
                { "policies/modify-vm-settings", "true" },
                { "config/pci/0/bdf", "0000:00:02.0" },
                { "config/disk/0/path", "/etc/shadow" },
                { "config/disk/0/path", "/storage/../etc/shadow" },
                { "config/disk/0/path", "/storage/disks/.." },
                { "config/disk/0/shared/x", "true" },
                { "config/disk/x/path", "/storage/a" },
                { "config/disk/0/type", "phy" },
                { "config/nic/0/backend-uuid", "x" },
                { "backend", "x" },
                { "config", "{}" },
                { "", "{}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(denied); i++)
                assert(!vm_path_guest_may_write(denied[i][0], denied[i][1]));
        assert(vm_path_guest_may_write("name", "x"));
        assert(vm_path_guest_may_write("config/memory", "512"));
        assert(vm_path_guest_may_write("config/disk/0/path", "/storage/disks/a.vhd"));
        assert(vm_path_guest_may_write("config/nic/0/network", "/wired/0/bridged"));
}

int main(void)
{
        test_table();
        test_values();
        test_guest();
        return 0;
}
