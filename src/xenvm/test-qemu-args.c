/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Golden texts: each NAME.conf of test/data/qemu and test/data/xenvm gives the command line qemu/NAME.args; each
 * refused-*.conf is refused with the words of its first line. Every key that there is makes a difference in one of them,
 * or is in the table below with the case that shows what it does. With UPDATE_GOLDEN set, the .args are written.
 */
#include <assert.h>
#include <glob.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "qemu-args.h"
#include "strbuf.h"

/* Keys that are not on the command line. */
static const struct {
        XenvmKey key;
        const char *file, *name; /* below test/, a case or what else is there of the key */
} elsewhere[] = {
        { XENVM_KEY_startup, "test-xenvm-save.py", "def startup_restore" },
        { XENVM_KEY_debug, "test-xenvm-commands.py", "def debug_log" },
        { XENVM_KEY_output, "test-xenvm-commands.py", "def debug_log" },
        { XENVM_KEY_no_mem_check, "test-xenvm-commands.py", "def memory_check" },
        { XENVM_KEY_on_halt, "test-xenvm.py", "def ends_of_guests" },
        { XENVM_KEY_on_reboot, "test-xenvm.py", "def ends_of_guests" },
        { XENVM_KEY_on_crash, "test-xenvm.py", "def ends_of_guests" },
        { XENVM_KEY_notify, "test-xenvm.py", "def text_notifications" },
        { XENVM_KEY_cpu_weight, "test-confine.py", "def alone" },
        { XENVM_KEY_cpus_affinity, "test-xenvm.py", "def affinity" },
        { XENVM_KEY_disable_migrate, "test-xenvm-commands.py", "def not_saved" },
        { XENVM_KEY_qemu_dm_path, "test-xenvm-peer.py", "def bad_starts" },
        { XENVM_KEY_qemu_dm_timeout, "test-xenvm-peer.py", "def bad_starts" },
        { XENVM_KEY_backend, "test-xenvm-commands.py", "def other_backend" },
        /* Without an effect on QEMU: they are kept, and those of Xen are tried there. */
        { XENVM_KEY_hap, "xen/cases/config.py", "\"hap=" },
        { XENVM_KEY_smbios_pt, "xen/cases/hvm.py", "\\nsmbios-pt=" },
        { XENVM_KEY_smbios_oem_types_pt, "test-xenvm-commands.py", "def stored_keys" },
        { XENVM_KEY_pci_msitranslate, "xen/cases/config.py", "\"pci-msitranslate=" },
        { XENVM_KEY_pci_power_management, "test-xenvm-commands.py", "def stored_keys" },
        { XENVM_KEY_stubdom_memory_kib, "xen/cases/config.py", "\"stubdom-memory=" },
        { XENVM_KEY_stubdom_kernel, "xen/cases/config.py", "\"stubdom-kernel=" },
        { XENVM_KEY_stubdom_initrd, "xen/cases/config.py", "\"stubdom-initrd=" },
        { XENVM_KEY_stubdom_cmdline, "xen/cases/config.py", "\"stubdom-cmdline=" },
        { XENVM_KEY_vtpm_backend, "xen/cases/config.py", "\"vtpm-backend=" },
        { XENVM_KEY_extra_maxmem, "test-xenvm-commands.py", "def stored_keys" },
        { XENVM_KEY_pci_script, "test-xenvm-commands.py", "def stored_keys" },
        { XENVM_KEY_qemu_pv, "test-xenvm-commands.py", "def stored_keys" },
        { XENVM_KEY_xci_service, "test-xenvm-commands.py", "def stored_keys" },
};

static bool seen[_XENVM_KEY_MAX];

static char *run(const char *path, char **ret_why)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_strv_ char **args = NULL, **warnings = NULL;
        _cleanup_(qemu_files_done) QemuFiles files = { 0 };
        _cleanup_config_ VmConfig *c = NULL;
        QemuLink links[4] = { 0 };
        QemuEnv env = { .accel = "tcg", .dir = "/run/oxt/vm/x", .qmp_fd = 3, .rpc_fd = 4, .now = 1700000000, .links = links,
                        .first_file = 5 };
        StrBuf b = STRBUF_INIT;
        char *text;
        int r;

        assert(vmconfig_load(path, NULL, &problems, &c) == 0);
        env.uuid = c->uuid;
        if (qemu_wants_tpm(c))
                env.tpm_socket = "/run/oxt/vm/x/tpm.sock";
        if (qemu_wants_uefi(c)) {
                env.firmware_code = "/usr/share/OVMF/OVMF_CODE_4M.fd";
                env.firmware_vars = "/srv/vars.fd";
        }
        if (!streq(c->accel, "auto"))
                env.accel = c->accel;
        assert(c->nic.n <= ELEMENTSOF(links));
        for (size_t i = 0; i < c->nic.n; i++)
                if (streq(c->nic.items[i].bridge, "user"))
                        links[i].kind = QEMU_LINK_USER;
        r = qemu_args(c, &env, &args, &files, &warnings, ret_why);
        if (r < 0)
                return NULL;
        for (char **w = warnings; w && *w; w++)
                strbuf_addf(&b, "# %s\n", *w);
        for (size_t k = 0; k < files.n; k++)
                strbuf_addf(&b, "# descriptor %d: %s, %s\n", files.items[k].number, files.items[k].owner, files.items[k].path);
        for (char **a = args; *a; a++)
                strbuf_addf(&b, "%s\n", *a);
        assert(strbuf_take(&b, &text) == 0);
        return text;
}

/* The file without the lines of a key, which it has. */
static char *run_without(const char *path, XenvmKey key)
{
        _cleanup_free_ char *text = NULL, *why = NULL, *line_of = NULL;
        char *result, *state = NULL, other[] = "/tmp/test-qemu-args-XXXXXX";
        int fd = mkstemp(other);

        assert(fd >= 0 && read_file(path, 64 * KIB, &text, NULL) == 0);
        for (char *l = strtok_r(text, "\n", &state); l; l = strtok_r(NULL, "\n", &state)) {
                free(line_of);
                line_of = strndup(l, strcspn(l, "= "));
                if (xenvm_key_find(line_of) != key)
                        assert(dprintf(fd, "%s\n", l) > 0);
        }
        close(fd);
        result = run(other, &why);
        assert(unlink(other) == 0);
        return result ? result : TAKE_PTR(why);
}

/* Which keys of the file make a difference to what came out. */
static void look_at_keys(const char *path, const char *outcome)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL;

        assert(vmconfig_load(path, NULL, &problems, &c) == 0);
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                if (vmconfig_given(c, k) && !seen[k]) {
                        _cleanup_free_ char *without = run_without(path, k);

                        seen[k] = !streq(without, outcome);
                }
}

/* Whether a file of test/ tells of the name. */
static bool is_told(const char *file, const char *name)
{
        _cleanup_free_ char *path = strformat(TEST_DATA "/../%s", file), *text = NULL;

        assert(read_file(path, MIB, &text, NULL) == 0);
        return strstr(text, name);
}

int main(void)
{
        unsigned n_golden = 0, n_refused = 0, n_bad = 0;
        glob_t g;

        log_init("test-qemu-args", LOG_ERR);
        assert(glob(TEST_DATA "/qemu/*.conf", 0, NULL, &g) == 0 && glob(TEST_DATA "/xenvm/*.conf", GLOB_APPEND, NULL, &g) == 0);
        for (size_t i = 0; i < g.gl_pathc; i++) {
                const char *path = g.gl_pathv[i], *name = strrchr(path, '/') + 1;
                _cleanup_free_ char *golden = strformat(TEST_DATA "/qemu/%.*s.args", (int) (strlen(name) - 5), name), *expected = NULL, *text = NULL,
                                    *why = NULL;

                text = run(path, &why);
                look_at_keys(path, text ? text : why);
                if (streq(name, "xenmgr.conf")) { /* a line of every kind, also of those that only Xen can do */
                        assert(!text && strstr(why, "passthrough-io"));
                        continue;
                }
                if (startswith(name, "refused-")) {
                        assert(read_file(path, 4096, &expected, NULL) == 0);
                        expected[strcspn(expected, "\n")] = '\0';
                        n_refused++;
                        if (!text && strstr(why, expected + 2))
                                continue;
                        fprintf(stderr, "%s: expected a refusal with '%s', got '%s'\n", name, expected + 2, strempty(why));
                        n_bad++;
                        continue;
                }
                n_golden++;
                if (!text) {
                        fprintf(stderr, "%s: refused: %s\n", name, why);
                        n_bad++;
                        continue;
                }
                if (getenv("UPDATE_GOLDEN"))
                        assert(write_file_atomic(golden, text, strlen(text), 0644) == 0);
                if (read_file(golden, 64 * KIB, &expected, NULL) < 0 || !streq(expected, text)) {
                        fprintf(stderr, "%s: the command line is not that of %s:\n%s", name, golden, text);
                        n_bad++;
                }
        }
        globfree(&g);
        for (size_t i = 0; i < ELEMENTSOF(elsewhere); i++) {
                if (seen[elsewhere[i].key] || !is_told(elsewhere[i].file, elsewhere[i].name)) {
                        fprintf(stderr, "the row of %s is wrong\n", xenvm_keys[elsewhere[i].key].name);
                        n_bad++;
                }
                seen[elsewhere[i].key] = true;
        }
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                if (!seen[k]) {
                        fprintf(stderr, "nothing shows what the key %s does\n", xenvm_keys[k].name);
                        n_bad++;
                }
        assert(n_golden >= 8 && n_refused >= 14);
        return n_bad > 0;
}
