/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor's configuration: trees in test/data/xenmgr/config/NAME.json against NAME.conf. A member
 * "//input" of a tree says what comes from outside.
 */
#include "config-writer.h"

#include <assert.h>

#include "fs.h"
#include "mac.h"
#include "strbuf.h"

#define UUID "6f1c2d3e-4a5b-4c6d-8e7f-001122334455"

static json_object *read_tree(const char *name)
{
        _cleanup_free_ char *path = strformat(TEST_DATA "/xenmgr/config/%s.json", name);
        json_object *o = NULL;

        assert(path && json_read_file(path, MIB, 20, &o) >= 0);
        return o;
}

static char **texts(json_object *input, const char *member)
{
        json_object *l = input ? json_get_member(input, member, json_type_array) : NULL;
        char **ret = NULL;

        for (size_t i = 0; l && i < json_object_array_length(l); i++)
                assert(strv_extend(&ret, json_object_get_string(json_object_array_get_idx(l, i))) >= 0);
        return ret;
}

static int write_tree(json_object *tree, char **ret, char **ret_why)
{
        json_object *input = json_get_member(tree, "//input", json_type_object), *l;
        _cleanup_strv_ char **pci = texts(input, "pci"), **cd = texts(input, "cd"), **keys = texts(input, "key-dirs"),
                            **missing = texts(input, "missing");
        ConfigNic nics[8] = { 0 };
        ConfigInput in = { .uuid = UUID, .vm = tree, .pci = pci, .cd_drives = cd, .key_dirs = keys, .missing = missing,
                           .nics = nics, .cd_exclusive = true, .ovf_iso = input ? json_get_text(input, "ovf", NULL) : NULL,
                           .amt_mac = input ? json_get_text(input, "amt-mac", NULL) : NULL,
                           .stubdom_uuid = "00000000-0000-4000-8000-00000000abcd" };

        l = input ? json_get_member(input, "nics", json_type_array) : NULL;
        for (; l && in.n_nics < json_object_array_length(l); in.n_nics++) {
                json_object *n = json_object_array_get_idx(l, in.n_nics);

                nics[in.n_nics] = (ConfigNic) { .id = (unsigned) json_get_int(n, "id", 0),
                                                .backend_domid = json_get_int(n, "backend", 0),
                                                .bridge = json_get_text(n, "bridge", NULL),
                                                .wireless = json_get_bool(n, "wireless", false) };
        }
        return config_write(&in, ret, ret_why);
}

static void test_golden(const char *name)
{
        _cleanup_json_ json_object *tree = read_tree(name);
        _cleanup_free_ char *path = strformat(TEST_DATA "/xenmgr/config/%s.conf", name), *wanted = NULL, *have = NULL,
                            *why = NULL;
        int r = write_tree(tree, &have, &why);

        if (r < 0)
                fprintf(stderr, "%s: %s\n", name, strempty(why));
        assert(r >= 0);
        assert(read_file(path, MIB, &wanted, NULL) >= 0);
        if (!streq(wanted, have))
                fprintf(stderr, "%s: wanted\n%s\nhave\n%s\n", name, wanted, have);
        assert(streq(wanted, have));
}

/* A value that is not of its type, or would be a line of its own, never reaches the monitor. */
static void test_refused(void)
{
        static const struct {
                const char *tree, *why;
        } cases[] = {
                { "{}", "config/memory" },
                { "{\"config\":{\"memory\":\"-5\"}}", "config/memory" },
                { "{\"config\":{\"memory\":\"64\",\"vcpus\":\"abc\"}}", "config/vcpus" },
                { "{\"config\":{\"memory\":\"64\",\"acpi\":\"maybe\"}}", "config/acpi" },
                { "{\"config\":{\"memory\":\"64\",\"virt-type\":\"xen\"}}", "config/virt-type" },
                { "{\"config\":{\"memory\":\"64\",\"timer-mode\":\"x\"}}", "config/timer-mode" },
                { "{\"config\":{\"memory\":\"64\",\"cmdline\":\"a\\nkernel=/etc/shadow\"}}", "cmdline" },
                { "{\"config\":{\"memory\":\"64\",\"extra-xenvm\":{\"0\":\"a\\nb\"}}}", "extra-xenvm" },
                { "{\"config\":{\"memory\":\"64\",\"disk\":{\"0\":{\"path\":\"/a:b\",\"type\":\"file\",\"mode\":\"r\","
                  "\"devtype\":\"disk\"}}}}",
                  "colons" },
                { "{\"config\":{\"memory\":\"64\",\"disk\":{\"0\":{\"path\":\"/"
                  "a\",\"mode\":\"r\",\"devtype\":\"disk\"}}}}",
                  "type" },
                { "{\"config\":{\"memory\":\"64\",\"disk\":{\"0\":{\"path\":\"/a\",\"type\":\"file\",\"mode\":\"rw\","
                  "\"devtype\":\"disk\"}}}}",
                  "mode" },
                { "{\"config\":{\"memory\":\"64\",\"nic\":{\"0\":{\"network\":\"/a,mac=1\"}}},"
                  "\"//input\":{\"nics\":[{\"id\":0}]}}",
                  "commas" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_json_ json_object *tree = NULL;
                _cleanup_free_ char *have = NULL, *why = NULL;

                assert(json_parse(cases[i].tree, strlen(cases[i].tree), 20, &tree) >= 0);
                assert(write_tree(tree, &have, &why) == -EINVAL);
                if (!strstr(why, cases[i].why))
                        fprintf(stderr, "%s: %s\n", cases[i].tree, why);
                assert(strstr(why, cases[i].why));
        }
}

static void test_mac(void)
{
        static const struct {
                unsigned nic;
                const char *uuid, *mac;
        } vectors[] = {
                { 0, "00000000-0000-0000-0000-000000000001", "4e:1c:b4:98:ed:0a" },
                { 1, "00000000-0000-0000-0000-000000000001", "f2:48:68:4f:d0:81" },
                { 0, UUID, "86:d6:8e:3c:40:aa" },
        };
        char buf[18];

        for (size_t i = 0; i < ELEMENTSOF(vectors); i++)
                assert(streq(derive_mac(vectors[i].nic, vectors[i].uuid, buf), vectors[i].mac));
}

int main(void)
{
        test_golden("windows");
        test_golden("uivm");
        test_golden("odd");
        test_refused();
        test_mac();
        return 0;
}
