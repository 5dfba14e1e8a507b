/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversions between xenvm and xl: single ones from test/data/xl, and whole round trips. */
#include <assert.h>
#include <glob.h>

#include "fs.h"
#include "test-vectors.h"
#include "xl-convert-internal.h"

static void fail(const char *name, const char *expected, const Conversion *c)
{
        fprintf(stderr, "%s: expected '%s'; error: %s\n%s", name, expected, strempty(c->error), strempty(c->text));
        for (char **w = c->warnings; w && *w; w++)
                fprintf(stderr, "warning: %s\n", *w);
        exit(1);
}

static bool has_line(const char *text, const char *line)
{
        size_t n = strlen(line);

        for (const char *p = text; (p = strstr(p, line)); p++)
                if ((p == text || p[-1] == '\n') && (p[n] == '\n' || p[n] == '\0'))
                        return true;
        return false;
}

static size_t count_lines(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static void check(const char *name, char *input, char *expectations)
{
        _cleanup_conversion_ Conversion c = { 0 };
        bool from_xl = startswith(input, "xl\n");
        char *save = NULL, *text = strchr(input, '\n') + 1, *o = text;
        int r;

        for (const char *p = text; *p; p++) /* \r and \t; \n in strings is xl's own */
                if (p[0] == '\\' && (p[1] == 'r' || p[1] == 't'))
                        *o++ = *++p == 'r' ? '\r' : '\t';
                else
                        *o++ = *p;
        *o = '\0';
        r = from_xl ? convert_xl_to_xenvm(text, strlen(text), &c) : convert_xenvm_to_xl(text, strlen(text), &c);
        for (char *line = strtok_r(expectations, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *s;

                if ((s = startswith(line, "fails "))) {
                        if (r != -EINVAL || !strstr(c.error, s))
                                fail(name, line, &c);
                        return;
                }
                if ((s = startswith(line, "unreadable "))) {
                        if (r != -EBADMSG || !strstr(c.error, s))
                                fail(name, line, &c);
                        return;
                }
                if (r < 0)
                        fail(name, line, &c);
                if ((s = startswith(line, "+ "))) {
                        if (!has_line(c.text, s))
                                fail(name, line, &c);
                } else if ((s = startswith(line, "- "))) {
                        if (endswith(s, "\\n") ? has_line(c.text, strndupa(s, strlen(s) - 2)) : !!strstr(c.text, s))
                                fail(name, line, &c);
                } else if ((s = startswith(line, "warnings "))) {
                        if (strv_length(c.warnings) != strtoul(s, NULL, 10))
                                fail(name, line, &c);
                } else if ((s = startswith(line, "lines "))) {
                        if (count_lines(c.text) != strtoul(s, NULL, 10))
                                fail(name, line, &c);
                } else
                        fail(name, "test data", &c);
        }
        printf("ok %s\n", name);
}

static char *reread(const char *path, const char *pattern)
{
        char *text;

        assert(read_file(path, MIB, &text, NULL) == 0 && *pattern);
        return text;
}

static VmConfig *parse(const char *text)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        VmConfig *c;

        assert(vmconfig_parse(text, strlen(text), "00000000-0000-0000-0000-00000000000a", &problems, &c) == 0);
        return c;
}

/* xenvm to xl to xenvm keeps every setting, and a second turn gives the same text. */
static void test_round_trip_xenvm(void)
{
        glob_t g;

        assert(glob(TEST_DATA "/xenvm/*.conf", 0, NULL, &g) == 0 && g.gl_pathc >= 5);
        for (size_t i = 0; i < g.gl_pathc; i++) {
                _cleanup_free_ char *text = reread(g.gl_pathv[i], "*.conf");
                _cleanup_conversion_ Conversion xl = { 0 }, back = { 0 }, again = { 0 };
                _cleanup_config_ VmConfig *a = NULL, *b = NULL;

                if (convert_xenvm_to_xl(text, strlen(text), &xl) < 0)
                        fail(g.gl_pathv[i], "to xl", &xl);
                if (convert_xl_to_xenvm(xl.text, strlen(xl.text), &back) < 0)
                        fail(g.gl_pathv[i], "back", &back);
                assert(convert_xenvm_to_xl(back.text, strlen(back.text), &again) == 0);
                a = parse(text);
                b = parse(back.text);
                for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                        if (!vmconfig_given(a, k))
                                continue;
                        if (vmconfig_count(a, k) != vmconfig_count(b, k))
                                fail(g.gl_pathv[i], xenvm_keys[k].name, &back);
                        for (size_t n = 0; n < vmconfig_count(a, k); n++) {
                                _cleanup_free_ char *x = NULL, *y = NULL;

                                assert(vmconfig_format(a, k, n, &x) == 0 && vmconfig_format(b, k, n, &y) == 0);
                                if (k == XENVM_KEY_nic) {
                                        assert(streq(a->nic.items[n].bridge, b->nic.items[n].bridge));
                                        assert(streq(a->nic.items[n].network, b->nic.items[n].network));
                                        assert(a->nic.items[n].wireless == b->nic.items[n].wireless);
                                        assert(a->nic.items[n].id == b->nic.items[n].id);
                                } else if (!streq(x, y) && k != XENVM_KEY_pci)
                                        fail(g.gl_pathv[i], x, &back);
                        }
                }
                if (!streq(xl.text, again.text))
                        fail("the second turn differs from", xl.text, &again);
        }
        globfree(&g);
}

/* xl to xenvm to xl: no item is lost. */
static void test_round_trip_xl(void)
{
        glob_t g;

        assert(glob(TEST_DATA "/xl/*.cfg", 0, NULL, &g) == 0 && g.gl_pathc >= 2);
        for (size_t i = 0; i < g.gl_pathc; i++) {
                _cleanup_free_ char *text = reread(g.gl_pathv[i], "*.cfg"), *why = NULL;
                _cleanup_conversion_ Conversion xenvm = { 0 }, back = { 0 };
                _cleanup_xl_ XlFile *a = NULL, *b = NULL;

                if (convert_xl_to_xenvm(text, strlen(text), &xenvm) < 0)
                        fail(g.gl_pathv[i], "to xenvm", &xenvm);
                if (convert_xenvm_to_xl(xenvm.text, strlen(xenvm.text), &back) < 0)
                        fail(g.gl_pathv[i], "back", &back);
                assert(xl_parse(text, strlen(text), &a, &why) == 0);
                assert(xl_parse(back.text, strlen(back.text), &b, &why) == 0);
                for (size_t k = 0; k < a->n_items; k++) {
                        const char *key = a->items[k].key;

                        /* These have another spelling on the way back, or are what xl does anyway. */
                        if (streq(key, "builder") || streq(key, "device_model_version") || streq(key, "pci_seize") ||
                            streq(key, "device_model_args"))
                                continue;
                        if (!xl_take(b, key))
                                fail(g.gl_pathv[i], key, &back);
                }
        }
        globfree(&g);
}

int main(void)
{
        assert(vectors_check(TEST_DATA "/xl/vectors.txt", check) > 70);
        test_round_trip_xenvm();
        test_round_trip_xl();
        return 0;
}
