/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as a xenvm config: it is read, and what was taken of it comes back the same from a copy and a re-reading. */
#include <assert.h>

#include "config.h"
#include "strbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const VmConfig *a, const VmConfig *b)
{
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                size_t n = vmconfig_count(a, k);

                assert(vmconfig_count(b, k) == n);
                for (size_t i = 0; i < n; i++) {
                        _cleanup_free_ char *x = NULL, *y = NULL;

                        assert(vmconfig_format(a, k, i, &x) == 0 && vmconfig_format(b, k, i, &y) == 0);
                        assert(streq(x, y));
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_problems_ ConfigProblems problems = { 0 }, none = { 0 };
        _cleanup_config_ VmConfig *c = NULL, *copy = NULL, *again = NULL, *kept = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        _cleanup_free_ char *why = NULL, *text = NULL;

        if (size > 65536 || vmconfig_parse((const char *) data, size, NULL, &problems, &c) < 0)
                return 0;
        assert(vmconfig_copy(c, &copy) == 0);
        compare(c, copy);
        assert(vmconfig_text(c, &text) == 0 && vmconfig_from_text(text, c->uuid, &kept) == 0);
        compare(c, kept);
        for (size_t i = 0; i < problems.n; i++) {
                _cleanup_free_ char *s = config_problem_format(&problems.items[i], "f", true);

                assert(s);
        }
        (void) vmconfig_required_kib(c);
        (void) vmconfig_check_start(c, &why);
        /* In its one fixed form it is a file without faults. */
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++)
                for (size_t i = 0; i < vmconfig_count(c, k); i++) {
                        _cleanup_free_ char *s = NULL;

                        if (!vmconfig_given(c, k))
                                continue;
                        assert(vmconfig_format(c, k, i, &s) == 0);
                        strbuf_addf(&b, "%s=%s\n", xenvm_keys[k].name, s);
                }
        assert(vmconfig_parse(strempty(b.data), b.len, c->uuid, &none, &again) == 0);
        assert(none.n_errors == 0);
        compare(c, again);
        return 0;
}
