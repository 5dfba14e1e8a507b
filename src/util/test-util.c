/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs.h"
#include "iso.h"
#include "json.h"
#include "log.h"
#include "options.h"
#include "nearest.h"
#include "parse.h"
#include "paths.h"
#include "settings.h"
#include "sha.h"
#include "spawn.h"
#include "strbuf.h"
#include "uevent.h"

static void test_parse(void)
{
        int64_t i = 7;
        uint64_t u = 7;
        bool b = true;
        char buf[37];

        assert(parse_i64("-9223372036854775808", &i) == 0 && i == INT64_MIN);
        assert(parse_i64("9223372036854775808", &i) == -ERANGE && i == INT64_MIN);
        assert(parse_i64("", &i) == -EINVAL && parse_i64("-", &i) == -EINVAL && parse_i64(" 1", &i) == -EINVAL);
        assert(parse_u64("18446744073709551615", &u) == 0 && u == UINT64_MAX);
        assert(parse_u64("18446744073709551616", &u) == -ERANGE && parse_u64("1x", &u) == -EINVAL);
        assert(parse_bool("no", &b) == 0 && !b && parse_bool("True", &b) == -EINVAL);
        assert(uuid_random(buf) && uuid_valid(buf) && buf[14] == '4');
        assert(!uuid_valid("00000000-0000-0000-0000-00000000000") && !uuid_valid("00000000_0000-0000-0000-000000000000"));
        assert(streq(uuid_to_path("00000000-0000-0000-0000-000000000001", buf), "00000000_0000_0000_0000_000000000001"));
        assert(!uuid_from_path("00000000_0000_0000_0000_00000000000g", buf));
        assert(utf8_valid("h\xc3\xa9", 3) && !utf8_valid("\xc0\x80", 2) && !utf8_valid("\xed\xa0\x80", 3));
        assert(!utf8_valid("a\0b", 3) && !utf8_valid("\xf4\x90\x80\x80", 4) && !utf8_valid("\xe2\x82", 2));
}

static void test_strbuf(void)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT, u = STRBUF_INIT;
        _cleanup_strv_ char **l = NULL;
        _cleanup_free_ char *s = NULL;
        char text[] = " \t x y \n";

        for (int i = 0; i < 1000; i++)
                strbuf_addf(&b, "%d,", i);
        assert(strbuf_take(&b, &s) == 0 && endswith(s, "998,999,"));
        strbuf_add_padded(&b, "ü", 3);
        strbuf_add_padded(&b, "long", 3);
        assert(streq(b.data, "ü  long"));
        strbuf_add_utf8(&u, "/ü/\xfc.img\xe2\x82 €");
        assert(streq(u.data, "/ü/\\xfc.img\\xe2\\x82 €"));
        assert(strv_split("a::b:", ':', &l) == 0 && strv_length(l) == 4 && streq(l[1], "") && streq(l[2], "b"));
        assert(strv_contains(l, "a") && !strv_contains(l, "c"));
        assert(streq(strstrip(text), "x y"));
        assert(words_contain("a bc", "bc") && !words_contain("a bc", "b") && !words_contain("a bc", ""));
        assert(words_contain(" br0  br1", "br1") && !words_contain("br0 br1", "br") && !words_contain("", "br0") &&
               !words_contain(NULL, "br0"));
}

/* No link and no ".." leads out. */
static void test_open_below(void)
{
        char dir[] = "/tmp/oxt-test-XXXXXX";
        _cleanup_free_ char *root = NULL, *inside = NULL, *out = NULL, *up = NULL, *secret = NULL;
        _cleanup_close_ int fd = -EBADF;

        assert(mkdtemp(dir));
        root = path_join(dir, "root");
        inside = path_join(root, "file");
        out = path_join(root, "out");
        up = path_join(root, "../secret");
        secret = path_join(dir, "secret");
        assert(mkdir_parents(root, 0700) == 0 && write_file_atomic(inside, "x", 1, 0600) == 0 && write_file_atomic(secret, "x", 1, 0600) == 0);
        assert(symlink("../secret", out) == 0);
        fd = open_below(root, inside, O_RDONLY);
        assert(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
        assert(open_below(root, out, O_RDONLY) == -EXDEV && open_below(root, up, O_RDONLY) == -EXDEV);
        assert(open_below(root, secret, O_RDONLY) == -ENOENT);
        assert(remove_tree(dir) == 0);
}

static void test_fs(void)
{
        char dir[] = "/tmp/oxt-test-XXXXXX";
        _cleanup_free_ char *path = NULL, *deep = NULL, *text = NULL;
        _cleanup_close_ int one = -EBADF, two = -EBADF, pidfd = -EBADF;
        uint64_t start;
        size_t size;

        assert(mkdtemp(dir));
        assert((path = path_join(dir, "/file")) && endswith(path, "/file") && !strstr(path, "//"));
        assert(write_file_atomic(path, "abc", 3, 0640) == 0 && write_file_atomic(path, "hello", 5, 0640) == 0);
        assert(read_file(path, 5, &text, &size) == 0 && size == 5 && streq(text, "hello"));
        free(TAKE_PTR(text));
        assert(read_file(path, 4, &text, NULL) == -EFBIG);
        assert((deep = path_join(dir, "a/b/c")) && mkdir_parents(deep, 0700) == 0 && mkdir_parents(deep, 0700) == 0);
        {
                _cleanup_free_ char *tree = path_join(dir, "a"), *link = path_join(dir, "a/b/link");

                assert(symlink(path, link) == 0);
                assert(remove_tree(tree) == 0 && access(tree, F_OK) < 0 && access(path, F_OK) == 0);
                assert(remove_tree(tree) == 0);
        }
        one = lock_file(path);
        assert(one >= 0);
        two = lock_file(path);
        assert(two == -EAGAIN);
        assert(process_start_time(getpid(), &start) == 0 && (pidfd = process_open(getpid(), start)) >= 0);
        assert(process_open(getpid(), start + 1) == -ESRCH);
        {
                char longest[200];

                memset(longest, 'x', sizeof longest - 1);
                longest[0] = '/';
                longest[sizeof longest - 1] = '\0';
                assert(unix_connect(longest) == -ENAMETOOLONG);
        }
}

static void test_json(void)
{
        static const char *const bad[] = { "", "{", "{\"a\":1} x", "{'a':1}", "[1,]", "\"\xff\"", "NaN", "[-Infinity]" };
        static const char good[] = "{\"a\":\"x\",\"n\":18446744073709551615,\"b\":true} \n";
        _cleanup_json_ json_object *o = NULL;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(json_parse(bad[i], strlen(bad[i]), 8, &o) == -EBADMSG);
        assert(json_parse("[[[[]]]]", 8, 3, &o) == -EBADMSG);
        assert(json_parse(good, strlen(good), 8, &o) == 0);
        assert(streq(json_get_text(o, "a", "?"), "x") && streq(json_get_text(o, "n", "?"), "?") && json_get_bool(o, "b", false));
}

static bool flag;
static const char *text;
static int64_t number;

static void test_options(void)
{
        static const Option table[] = { { "flag", 'f', NULL, OPTION_FLAG, &flag, "A flag", NULL },
                                        { "text", 't', "T", OPTION_STRING, &text, "A text", "one two" },
                                        { "number", 0, "N", OPTION_INT, &number, "A number", NULL },
                                        { 0 } };
        const Program p = { "t", "[OPTIONS]", "Tests.", table, NULL, PROGRAM_PERMUTE, NULL, NULL };
        const Program q = { "t", "[OPTIONS]", "Tests.", table, NULL, 0, NULL, NULL };
        char *a[] = { "t", "w1", "-f", "--text=two", "w2", "--number", "-5", "--", "-x", NULL };
        char *b[] = { "t", "set-thing", "-f", NULL }, *c[] = { "t", "--text", "three", NULL };
        int status = -1, i;

        i = options_parse(&p, 9, a, 2, &status);
        assert(i == 6 && flag && streq(text, "two") && number == -5);
        assert(streq(a[6], "w1") && streq(a[7], "w2") && streq(a[8], "-x"));
        flag = false;
        assert(options_parse(&q, 3, b, 2, &status) == 1 && !flag);
        assert(options_parse(&q, 3, c, 2, &status) < 0 && status == 2);
}

static int leaf_runs;

static int run_leaf(int argc, char *argv[], void *userdata)
{
        static const Option table[] = { { "kind", 'k', "KIND", OPTION_STRING, &text, "A kind", "red blue" }, { 0 } };
        static const Program leaf = { "t do", "[OPTIONS]", "Does.", table, NULL, PROGRAM_PERMUTE, NULL, NULL };
        int status, first = options_parse(&leaf, argc, argv, 2, &status);

        leaf_runs += first >= 0 && !userdata;
        return first < 0 ? status : 0;
}

static void more_words(int n_words, char *words[])
{
        printf("after-%d-%s\n", n_words, n_words ? words[n_words - 1] : "none");
}

/* What --complete prints behind those words. */
static char *completion(const Program *p, const char *line)
{
        _cleanup_free_ char *copy = strformat("t --complete%s%s", *line ? " " : "", line);
        _cleanup_strv_ char **argv = NULL;
        char path[] = "/tmp/test-util-XXXXXX", *out;
        int fd = mkstemp(path), saved = dup(1), status = -1;

        assert(fd >= 0 && saved >= 0 && copy && strv_split(copy, ' ', &argv) == 0);
        fflush(stdout);
        assert(dup2(fd, 1) == 1);
        assert(options_parse(p, (int) strv_length(argv), argv, 2, &status) < 0 && status == 0);
        fflush(stdout);
        assert(dup2(saved, 1) == 1);
        assert(read_file(path, 4096, &out, NULL) == 0 && unlink(path) == 0);
        close(fd);
        close(saved);
        return out;
}

static void test_completion(void)
{
        static const Option table[] = { { "flag", 'f', NULL, OPTION_FLAG, &flag, "A flag", NULL },
                                        { "text", 't', "T", OPTION_STRING, &text, "A text", "one two" },
                                        { "file", 0, "F", OPTION_STRING, &text, "A file", NULL },
                                        { 0 } };
        static const Verb verbs[] = { { "do", "", 0, -1, run_leaf, "Does" }, { "end", "", 0, 0, run_leaf, "Ends" }, { 0 } };
        const Program p = { "t", "[OPTIONS]", "Tests.", table, verbs, 0, NULL, NULL, .complete = more_words };
        static const struct {
                const char *line, *output;
        } cases[] = {
                { "", "do\nend\n--flag\n--text\n--file\n--help\n--version\nafter-0-none\n" },
                { "--flag", "do\nend\n--flag\n--text\n--file\n--help\n--version\nafter-1---flag\n" },
                { "--text", "one\ntwo\nafter-1---text\n" },
                { "-t", "one\ntwo\nafter-1--t\n" },
                { "--file", "after-1---file\n" },
                { "--text one do", "--kind\n--help\n--version\n" },
                { "do x --kind", "red\nblue\n" },
                { "end", "--flag\n--text\n--file\n--help\n--version\nafter-1-end\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *out = completion(&p, cases[i].line);

                if (!streq(out, cases[i].output))
                        fprintf(stderr, "--complete %s:\n%s", cases[i].line, out);
                assert(streq(out, cases[i].output));
        }
        assert(leaf_runs == 0);
}

static void test_paths(void)
{
        char *mapped, *long_dir = strformat("/%0100d", 1);
        Paths p;

        assert(paths_init(&p, "/s/", "/r", NULL) == 0);
        assert(streq(paths_get(&p, PATH_DISKS), "/s/storage/disks") && streq(paths_get(&p, PATH_VM), "/r/vm"));
        mapped = paths_map(&p, "/storage/disks/a.vhd");
        assert(streq(mapped, "/s/storage/disks/a.vhd"));
        free(mapped);
        mapped = paths_map(&p, "/storage2/a");
        assert(streq(mapped, "/storage2/a"));
        free(mapped);
        paths_done(&p);
        assert(paths_init(&p, "/var/lib/oxt", "/run/oxt", "system") == 0 && streq(paths_get(&p, PATH_CONFIG), "/config"));
        paths_done(&p);
        assert(paths_init(&p, "/s", long_dir, NULL) == -ENAMETOOLONG);
        free(long_dir);
}

static void test_settings(void)
{
        for (SettingId id = 0; id < _SETTING_MAX; id++) {
                char *why = NULL;

                assert(setting_table[id].name && setting_table[id].text && setting_find(setting_table[id].name) == id);
                assert(setting_check(id, setting_table[id].value, &why) == 0);
        }
}

static void test_spawn(void)
{
        SpawnOptions o = SPAWN_OPTIONS_INIT;
        char *args[] = { "-c", "echo out; echo three >&3; ls /proc/self/fd | wc -l >&3", NULL };
        char buf[64] = "";
        int out[2], three[2], status;
        pid_t pid;

        assert(pipe(out) == 0 && pipe(three) == 0);
        o.path = "/bin/sh";
        o.stdout_fd = out[1];
        o.fds = &three[1];
        o.n_fds = 1;
        assert(spawn(SPAWN_HOOK, args, &o, &pid, NULL) == 0);
        assert(waitpid(pid, &status, 0) == pid && status == 0);
        assert(read(out[0], buf, sizeof buf) == 4 && startswith(buf, "out\n"));
        /* 0 1 2 3 and the one with which ls reads the folder: nothing of ours was inherited. */
        memset(buf, 0, sizeof buf);
        assert(read(three[0], buf, sizeof buf) > 6 && streq(buf, "three\n5\n"));
        o.path = "/nonexistent";
        assert(spawn(SPAWN_HOOK, args, &o, &pid, NULL) == -ENOENT);
}

/* Descriptors in any order, also such as have the numbers that others are to get, or lie right behind those. */
static void test_spawn_descriptors(void)
{
        SpawnOptions o = SPAWN_OPTIONS_INIT;
        char *args[] = { "-c", "for fd in 3 4 5 6; do read word <&$fd; echo $word; done", NULL };
        char buf[64] = "";
        int order[] = { 3, 1, 0, 2 }, fds[4], out[2], status;
        ssize_t n = 0, r;
        pid_t pid;

        for (int i = 0; i < 4; i++) {
                char word[8];
                int p[2];

                assert(pipe(p) == 0);
                snprintf(word, sizeof word, "word%d\n", i);
                assert(write(p[1], word, 6) == 6 && close(p[1]) == 0);
                /* 7 to 10: the numbers behind those that the child gets them as. */
                fds[order[i]] = fcntl(p[0], F_DUPFD_CLOEXEC, 7);
        }
        assert(pipe(out) == 0);
        o.path = "/bin/sh";
        o.stdout_fd = out[1];
        o.fds = fds;
        o.n_fds = 4;
        assert(spawn(SPAWN_HOOK, args, &o, &pid, NULL) == 0);
        assert(waitpid(pid, &status, 0) == pid && status == 0 && close(out[1]) == 0);
        while ((r = read(out[0], buf + n, sizeof buf - 1 - (size_t) n)) > 0)
                n += r;
        assert(streq(buf, "word2\nword1\nword3\nword0\n"));
}

static void test_log(void)
{
        char buf[12];

        assert(streq(log_untrusted(buf, sizeof buf, "a\nb"), "a\\x0ab"));
        assert(streq(log_untrusted(buf, sizeof buf, "aaaaaaaaaaaaaaaaaaaaa"), "aaaaaaaa..."));
}

static void test_nearest(void)
{
        static const char *const words[] = { "memory", "memory-max", "on_halt", "vcpus", "name" };
        static const struct {
                const char *word, *best;
        } cases[] = {
                { "memroy", "memory" }, { "Memory", "memory" }, { "on-halt", "on_halt" }, { "memory_max", "memory-max" },
                { "cpus", "vcpus" },    { "x", NULL },          { "entirely-else", NULL }, { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *best = NULL;
                Nearest n;

                nearest_init(&n, cases[i].word);
                for (size_t j = 0; j < ELEMENTSOF(words); j++)
                        if (nearest_try(&n, words[j]))
                                best = words[j];
                assert(streq_ptr(best, cases[i].best));
        }
        assert(edit_distance("abc", "acb") == 2 && edit_distance("", "ab") == 4);
}

static void check_sha(Sha s, const char *word, size_t times, size_t step, const char *sum)
{
        _cleanup_free_ char *all = malloc(strlen(word) * times + 1);
        char hex[SHA_HEX_MAX];
        size_t size;

        assert(all);
        all[0] = '\0';
        for (size_t i = 0; i < times; i++)
                memcpy(all + i * strlen(word), word, strlen(word));
        size = strlen(word) * times;
        for (size_t i = 0; i < size; i += step)
                sha_add(&s, all + i, MIN2(step, size - i));
        sha_end_hex(&s, hex);
        assert(streq(hex, sum));
}

/* The examples of FIPS 180, in pieces of every size. */
static void test_sha(void)
{
        static const struct {
                const char *word;
                size_t times;
                const char *sha1, *sha256;
        } examples[] = {
                { "", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
                { "abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d",
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
                { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
                { "a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(examples); i++)
                for (size_t step = examples[i].times > 1 ? 777 : 1; step < (examples[i].times > 1 ? 778 : 200); step++) {
                        check_sha((Sha) SHA1_INIT, examples[i].word, examples[i].times, step, examples[i].sha1);
                        check_sha((Sha) SHA256_INIT, examples[i].word, examples[i].times, step, examples[i].sha256);
                }
}

/* As a reader sees it: every file of a full root has its record, none across the end of a sector, and its contents. */
static void test_iso(void)
{
        IsoFile files[ISO_FILES_MAX];
        char names[ISO_FILES_MAX][31];
        uint8_t *image;
        size_t size, seen = 0;

        for (size_t i = 0; i < ISO_FILES_MAX; i++) {
                snprintf(names[i], sizeof names[i], "a-name-of-thirty-letters-no-%02zu", i);
                files[i] = (IsoFile) { names[i], names[i], i % 2 ? strlen(names[i]) : 0 };
        }
        image = iso_image("V", files, ISO_FILES_MAX, &size);
        assert(image && size % 2048 == 0);
        const uint8_t *root = image + 16 * 2048 + 156;
        size_t at = root[2] * 2048, end = at + (root[10] | (size_t) root[11] << 8);
        while (at < end) {
                const uint8_t *record = image + at;

                if (*record == 0) { /* the rest of the sector is empty */
                        at += 2048 - at % 2048;
                        continue;
                }
                assert(at % 2048 + *record <= 2048);
                at += *record;
                if (record[32] == 1) /* the folder and the one above */
                        continue;
                size_t start = (record[2] | (size_t) record[3] << 8) * 2048;
                assert(strncasecmp((const char *) record + 33, names[seen], 30) == 0);
                assert(record[10] == files[seen].size && start + files[seen].size <= size);
                assert(memcmp(image + start, names[seen], files[seen].size) == 0);
                seen++;
        }
        assert(seen == ISO_FILES_MAX);
        free(image);
        assert(!iso_image("V", files, ISO_FILES_MAX + 1, &size));
        files[0].name = "a/b";
        assert(!iso_image("V", files, 1, &size));
        files[0] = (IsoFile) { "a", "", ISO_FILE_MAX + 1 };
        assert(!iso_image("V", files, 1, &size));
}

static void test_uevent(void)
{
        static const char good[] = "change@/devices/x/sr0\0ACTION=change\0DEVPATH=/devices/x/sr0\0SUBSYSTEM=block\0"
                                   "DISK_MEDIA_CHANGE=1\0DEVNAME=sr0";
        static const struct {
                const char *text;
                size_t n;
        } bad[] = {
#define BAD(s) { s, sizeof(s) }
                BAD(""),
                BAD("change@/devices/x"),
                BAD("change@/devices/x\0ACTION=change\0DEVPATH=/devices/x"),
                BAD("change@/devices/x\0ACTION=change\0SUBSYSTEM=block"),
                BAD("change@/devices/x\0DEVPATH=/devices/x\0SUBSYSTEM=block"),
                BAD("change@/devices/x\0ACTION=change\0DEVPATH=devices/x\0SUBSYSTEM=block"),
                BAD("libudev\0ACTION=change\0DEVPATH=/devices/x\0SUBSYSTEM=block"),
#undef BAD
        };
        char buf[UEVENT_MAX];
        long enough;
        Uevent e;

        assert(uevent_parse(good, sizeof good, &e) == 0);
        assert(streq(e.action, "change") && streq(e.subsystem, "block") && streq(e.devpath, "/devices/x/sr0"));
        assert(streq(uevent_value(&e, "DEVNAME"), "sr0") && streq(uevent_value(&e, "DISK_MEDIA_CHANGE"), "1"));
        assert(!uevent_value(&e, "DEV") && !uevent_value(&e, "change@/devices/x/sr0"));
        /* Cut off, it counts where a text ends and all that is needed is there; nothing behind the end is read. */
        enough = (const char *) memmem(good, sizeof good, "SUBSYSTEM=block", 16) + 16 - good;
        for (long n = 1; n < (long) sizeof good; n++) {
                _cleanup_free_ char *cut = memcpy(malloc((size_t) n), good, (size_t) n);

                assert((uevent_parse(cut, (size_t) n, &e) == 0) == (!good[n - 1] && n >= enough));
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(uevent_parse(bad[i].text, bad[i].n, &e) == -EBADMSG);
        assert(uevent_read(-1, buf, &e) == -EBADF);
}

int main(void)
{
        test_uevent();
        test_nearest();
        log_init("test-util", LOG_INFO);
        test_parse();
        test_strbuf();
        test_fs();
        test_open_below();
        test_json();
        test_options();
        test_completion();
        test_paths();
        test_settings();
        test_spawn();
        test_spawn_descriptors();
        test_log();
        test_sha();
        test_iso();
        return 0;
}
