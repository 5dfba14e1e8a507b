/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Config files and lines against what test/data/xenvm says of them, and what has no line of its own. */
#include <assert.h>
#include <glob.h>

#include "config.h"
#include "md5.h"
#include "strbuf.h"
#include "test-vectors.h"

static char *take_word(char **s)
{
        char *w = *s, *e = strchrnul(w, ' ');

        *s = *e ? e + 1 : e;
        *e = '\0';
        return w;
}

static void fail(const char *name, const char *what, const char *expected, const char *found)
{
        fprintf(stderr, "%s: %s: expected '%s', found '%s'\n", name, what, expected, found);
        exit(1);
}

static void expect_text(const char *name, const char *what, const char *expected, const char *found)
{
        if (!streq(expected, found))
                fail(name, what, expected, found);
}

static const ConfigProblem *next_problem(const ConfigProblems *p, size_t *i, ConfigSeverity from, ConfigSeverity to)
{
        while (*i < p->n) {
                const ConfigProblem *x = &p->items[(*i)++];

                if (x->severity >= from && x->severity <= to)
                        return x;
        }
        return NULL;
}

static void expect_problem(const char *name, const char *expected, const ConfigProblem *p)
{
        _cleanup_free_ char *found = p ? strformat("%s: %s", p->key, p->text) : strdup("nothing");

        if (!startswith(found, expected))
                fail(name, "problem", expected, found);
}

static void check(const char *name, const char *text, size_t size, char *expectations)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL, *copy = NULL, *again = NULL;
        _cleanup_free_ char *kept = NULL;
        size_t error = 0, n_errors = 0;
        bool strict = false, starts = false;
        const ConfigProblem *last = NULL;
        char *save = NULL;
        int r;

        r = vmconfig_parse(text, size, NULL, &problems, &c);
        assert(r == 0 || r == -EBADMSG);
        if (c) {
                /* A copy is the same in all that can be asked of it, and so is what was kept as text. */
                assert(vmconfig_copy(c, &copy) == 0);
                assert(vmconfig_text(c, &kept) == 0 && vmconfig_from_text(kept, c->uuid, &again) == 0);
                for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                        size_t n = vmconfig_count(c, k);

                        assert(vmconfig_count(copy, k) == n && vmconfig_count(again, k) == n);
                        for (size_t i = 0; i < n; i++) {
                                _cleanup_free_ char *a = NULL, *b = NULL, *d = NULL;

                                assert(vmconfig_format(c, k, i, &a) == 0 && vmconfig_format(copy, k, i, &b) == 0 &&
                                       vmconfig_format(again, k, i, &d) == 0);
                                expect_text(name, "copy", a, b);
                                expect_text(name, "text", a, d);
                        }
                }
        }
        for (char *line = strtok_r(expectations, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *rest = line, *verb = take_word(&rest);
                _cleanup_free_ char *found = NULL;

                if (streq(verb, "error") || streq(verb, "fatal")) {
                        last = next_problem(&problems, &error, CONFIG_ERROR, CONFIG_FATAL);
                        expect_problem(name, rest, last);
                        n_errors++;
                        assert(last->severity == (verb[0] == 'f' ? CONFIG_FATAL : CONFIG_ERROR));
                        assert(config_problems_stop(&problems, false) == (verb[0] == 'f'));
                        assert(config_problems_stop(&problems, true));
                        continue;
                }
                if (streq(verb, "detail")) {
                        expect_text(name, verb, rest, strempty(last->detail));
                        continue;
                }
                if (streq(verb, "warning")) {
                        size_t i = 0;

                        expect_problem(name, rest, next_problem(&problems, &i, CONFIG_NOTE, CONFIG_LAX));
                        continue;
                }
                assert(c);
                if (streq(verb, "strict")) {
                        strict = true;
                } else if (streq(verb, "starts")) {
                        starts = true;
                        if (vmconfig_check_start(c, &found) < 0)
                                fail(name, "check_start", "0", found);
                } else if (streq(verb, "refused")) {
                        assert(vmconfig_check_start(c, &found) == -EINVAL);
                        if (!strstr(found, rest))
                                fail(name, verb, rest, found);
                } else if (streq(verb, "get")) {
                        char *field = take_word(&rest);

                        assert(vmconfig_get(c, field, &found) == 0);
                        expect_text(name, field, rest, found);
                } else if (streq(verb, "is")) {
                        char *field = take_word(&rest);

                        assert(vmconfig_format(c, xenvm_key_find(field), 0, &found) == 0);
                        expect_text(name, field, rest, found);
                } else if (streq(verb, "count")) {
                        size_t n = vmconfig_count(c, xenvm_key_find(take_word(&rest)));

                        found = strformat("%zu", n);
                        expect_text(name, verb, rest, found);
                } else if (streq(verb, "item")) {
                        XenvmKey key = xenvm_key_find(take_word(&rest));
                        size_t i = strtoul(take_word(&rest), NULL, 10);

                        assert(i < vmconfig_count(c, key));
                        assert(vmconfig_format(c, key, i, &found) == 0);
                        expect_text(name, verb, rest, found);
                } else if (streq(verb, "device")) {
                        size_t i = strtoul(take_word(&rest), NULL, 10);

                        assert(i < c->disk.n);
                        found = strformat("%u", c->disk.items[i].device);
                        expect_text(name, verb, rest, found);
                } else if (streq(verb, "mac")) {
                        size_t i = strtoul(take_word(&rest), NULL, 10);

                        assert(i < c->nic.n && strlen(c->nic.items[i].mac) == 17);
                        if (!streq(rest, "ANY") && !startswith(c->nic.items[i].mac, rest))
                                fail(name, verb, rest, c->nic.items[i].mac);
                } else
                        fail(name, "test data", "a known word", verb);
        }
        if (problems.n_errors != n_errors) {
                expect_problem(name, "no more errors", next_problem(&problems, &error, CONFIG_ERROR, CONFIG_FATAL));
                assert(false);
        }
        assert(!starts || problems.n == 0 || strict);
        assert(config_problems_stop(&problems, true) == (n_errors > 0 || strict));
        printf("ok %s\n", name);
}

/* \t, \r and \0 in the text of a block; returns the new length. */
static size_t unescape(char *s)
{
        char *o = s;

        for (const char *p = s; *p; p++) {
                char c = *p;

                if (c == '\\' && p[1] && strchr("tr0", p[1])) {
                        p++;
                        c = *p == 't' ? '\t' : *p == 'r' ? '\r' : '\0';
                }
                *o++ = c;
        }
        return (size_t) (o - s);
}

static void check_vector(const char *name, char *input, char *expectations)
{
        check(name, input, unescape(input), expectations);
}

static void test_files(void)
{
        glob_t g;

        assert(glob(TEST_DATA "/xenvm/*.conf", 0, NULL, &g) == 0 && g.gl_pathc >= 5);
        for (size_t i = 0; i < g.gl_pathc; i++) {
                _cleanup_free_ char *text = NULL, *expectations = NULL, *path = strdup(g.gl_pathv[i]);
                size_t size;

                assert(read_file(path, MIB, &text, &size) == 0);
                memcpy(path + strlen(path) - 5, "", 1);
                path = realloc(path, strlen(path) + 8);
                strcat(path, ".expect");
                assert(read_file(path, MIB, &expectations, NULL) == 0);
                check(path, text, size, expectations);
        }
        globfree(&g);
}

static void expect_set(VmConfig *c, const char *field, const char *value, const char *after)
{
        _cleanup_free_ char *why = NULL, *found = NULL;

        assert(vmconfig_set(c, field, value, &why) == 0);
        assert(vmconfig_get(c, field, &found) == 0);
        expect_text(field, "set", after, found);
}

static void test_commands(void)
{
        static const char text[] = "uuid = 00000000-0000-0000-0000-000000000002\nmemory = 64\nnic =\n";
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL, *copy = NULL, *idle = NULL, *again = NULL;
        _cleanup_free_ char *kept = NULL;
        _cleanup_free_ char *why = NULL, *found = NULL;

        assert(vmconfig_parse(text, sizeof text - 1, NULL, &problems, &c) == 0);
        expect_set(c, "memory", "131072", "131072");
        expect_set(c, "memory", "131073", "131073");
        expect_set(c, "hvm", "YES", "true");
        expect_set(c, "hpet", "1", "1");
        expect_set(c, "hpet", "", "");
        expect_set(c, "display", "vnc:keymap=de", "vnc:port=0,keymap=de");
        expect_set(c, "notify", "dbus", "dbus");
        expect_set(c, "name", "a b", "a b");
        expect_set(c, "stubdom-memory", "4096", "4096");

        /* A bad value changes nothing and says what is accepted; 64 KiB is less than 1 MiB. */
        assert(vmconfig_set(c, "memory", "64M", &why) == -EINVAL);
        assert(strstr(why, "expect int arg") && strstr(why, "whole number"));
        free(TAKE_PTR(why));
        assert(vmconfig_set(c, "memory", "64", &why) == -EINVAL);
        free(TAKE_PTR(why));
        assert(vmconfig_set(c, "name", "a\nhvm = true", &why) == -EINVAL);
        assert(c->memory_kib == 131073);
        /* Lists and the monitor's own keys are not fields of get and set. */
        assert(vmconfig_set(c, "disk", "/a:phy:hda:w:disk", &found) == -ENOENT);
        assert(vmconfig_set(c, "uuid", "00000000-0000-0000-0000-000000000003", &found) == -ENOENT);
        assert(vmconfig_get(c, "startup", &found) == -ENOENT);
        assert(vmconfig_get(c, "no-such", &found) == -ENOENT);

        /* The next generation: a copy with what was set, and cards that keep their addresses. */
        assert(vmconfig_copy(c, &copy) == 0);
        assert(copy->memory_kib == 131073 && copy->hvm && streq(copy->name, "a b"));
        assert(vmconfig_text(c, &kept) == 0 && vmconfig_from_text(kept, c->uuid, &again) == 0);
        assert(again->memory_kib == 131073 && again->hvm && streq(again->name, "a b") && again->nic.n == c->nic.n);
        assert(vmconfig_from_text("0 f no-such x\n", c->uuid, &idle) == -EBADMSG && vmconfig_from_text("0 f memory\n", c->uuid, &idle) == -EBADMSG);
        free(TAKE_PTR(why));
        assert(vmconfig_add(copy, XENVM_KEY_nic, "bridge=b0", &why) == 0);
        assert(copy->nic.n == 2 && copy->nic.items[1].id == 1 && streq(copy->nic.items[1].mac, "f6:f7:ac:df:87:66"));
        assert(vmconfig_add(copy, XENVM_KEY_nic, "id=1", &why) == -EINVAL && strstr(why, "two cards"));
        assert(copy->nic.n == 2 && c->nic.n == 1);
        free(TAKE_PTR(why));
        assert(vmconfig_add(copy, XENVM_KEY_disk, "/a:phy:hda:w:disk", &why) == 0 && copy->disk.n == 1);
        assert(vmconfig_add(copy, XENVM_KEY_disk, "/b:phy:hda:w:disk", &why) == -EINVAL && copy->disk.n == 1);

        /* A monitor without a file. */
        assert(vmconfig_new("00000000-0000-0000-0000-000000000001", &idle) == 0);
        assert(idle->startup.mode == VM_STARTUP_SHUTDOWN && !idle->uuid_generated && idle->memory_kib == -1);
}

static void test_uuid(void)
{
        static const char text[] = "uuid = 00000000-0000-0000-0000-000000000002\n";
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL, *random = NULL, *copy = NULL;

        /* The command line wins. */
        assert(vmconfig_parse(text, sizeof text - 1, "00000000-0000-0000-0000-000000000009", &problems, &c) == 0);
        assert(streq(c->uuid, "00000000-0000-0000-0000-000000000009"));
        /* Without any, a random one, which copies keep. */
        assert(vmconfig_parse("", 0, NULL, &problems, &random) == 0);
        assert(random->uuid_generated && random->uuid[14] == '4');
        assert(vmconfig_copy(random, &copy) == 0 && streq(copy->uuid, random->uuid));
}

static void test_limits(void)
{
        _cleanup_problems_ ConfigProblems problems = { 0 };
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        for (int i = 0; i < 5000; i++)
                strbuf_add(&b, "extra-hvm = usb\nnonsense = 1\n");
        assert(vmconfig_parse(b.data, b.len, NULL, &problems, &c) == 0);
        assert(c->extra_hvm.n == CONFIG_LIST_MAX);
        assert(problems.n_errors == 5000 + 5000 - CONFIG_LIST_MAX && problems.n <= 1001);
}

/* The table itself: names are unique, texts are there, every default passes its own check and is what get prints. */
static void test_table(void)
{
        _cleanup_config_ VmConfig *c = NULL;

        assert(vmconfig_new(NULL, &c) == 0);
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                const XenvmKeyInfo *info = &xenvm_keys[k];
                char buf[160];

                assert(xenvm_key_find(info->name) == k);
                assert(!info->alias || xenvm_key_find(info->alias) == k);
                assert(info->text && *info->text && info->text[strlen(info->text) - 1] != '.');
                assert(xenvm_key_accepts(k, buf, sizeof buf));
                assert(!xenvm_type_is_list(info->type) || (!info->fallback && !(info->flags & XENVM_GS)));
                if (info->flags & XENVM_GS) {
                        _cleanup_free_ char *first = NULL, *again = NULL, *why = NULL;

                        assert(vmconfig_get(c, info->name, &first) == 0);
                        if (k == XENVM_KEY_memory_kib) {
                                expect_text(info->name, "default", "-1", first);
                                continue;
                        }
                        assert(vmconfig_set(c, info->name, first, &why) == 0);
                        assert(vmconfig_get(c, info->name, &again) == 0);
                        expect_text(info->name, "set what get gave", first, again);
                }
        }
}

static void test_md5(void)
{
        static const struct {
                const char *text, *digest;
        } vectors[] = {
                { "", "d41d8cd98f00b204e9800998ecf8427e" },
                { "abc", "900150983cd24fb0d6963f7d28e17f72" },
                { "abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b" },
                { "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                  "57edf4a22be3c955ac49da2e2107b67a" },
        };

        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                uint8_t d[16];
                char hex[33];

                md5(vectors[i].text, strlen(vectors[i].text), d);
                for (int j = 0; j < 16; j++)
                        snprintf(hex + 2 * j, 3, "%02x", d[j]);
                expect_text("md5", vectors[i].text, vectors[i].digest, hex);
        }
}

int main(void)
{
        test_md5();
        test_table();
        assert(vectors_check(TEST_DATA "/xenvm/vectors.txt", check_vector) > 80);
        test_files();
        test_commands();
        test_uuid();
        test_limits();
        return 0;
}
