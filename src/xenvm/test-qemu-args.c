/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Golden texts: each NAME.conf of test/data/qemu and test/data/xenvm gives the command line qemu/NAME.args; each
 * refused-*.conf is refused with the words of its first line. Together they have every key that there is. With
 * UPDATE_GOLDEN set, the .args are written.
 */
#include <assert.h>
#include <glob.h>

#include "fs.h"
#include "log.h"
#include "qemu-args.h"
#include "strbuf.h"

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
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                seen[k] |= vmconfig_given(c, k) && !strstr(path, "/xenmgr.conf");
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
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                if (!seen[k]) {
                        fprintf(stderr, "no config of test/data/qemu or test/data/xenvm has the key %s\n", xenvm_keys[k].name);
                        n_bad++;
                }
        assert(n_golden >= 8 && n_refused >= 14);
        return n_bad > 0;
}
