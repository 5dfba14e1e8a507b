/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree against a model of plain structures that follows the contract's words: 100,000 random
 * operations, same answers. A part of them is taken back and made again, or given up; what remains is
 * stored as dbd stores it and read back from the file.
 */
#include <assert.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json-tree.h"
#include "path.h"
#include "store.h"
#include "strbuf.h"

#define OPERATIONS 100000

typedef struct Model {
        char name[8];
        bool inner;
        char *json; /* of a leaf */
        struct Model *kids[32];
        size_t n;
} Model;

static uint32_t random_state = 12345;

static uint32_t rnd(uint32_t n)
{
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 8) % n;
}

static void model_clear(Model *m)
{
        for (size_t i = 0; i < m->n; i++) {
                model_clear(m->kids[i]);
                free(m->kids[i]);
        }
        free(m->json);
        m->json = NULL;
        m->n = 0;
        m->inner = false;
}

static Model *model_kid(Model *m, const char *name)
{
        for (size_t i = 0; m->inner && i < m->n; i++)
                if (streq(m->kids[i]->name, name))
                        return m->kids[i];
        return NULL;
}

static Model *model_find(Model *m, char *const *names, size_t n)
{
        for (size_t i = 0; m && i < n; i++)
                m = model_kid(m, names[i]);
        return m;
}

static Model *model_make(Model *m, char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                Model *k = model_kid(m, names[i]);

                if (!k) {
                        if (!m->inner) {
                                model_clear(m);
                                m->inner = true;
                        }
                        assert(m->n < ELEMENTSOF(m->kids));
                        k = m->kids[m->n++] = calloc(1, sizeof *k);
                        snprintf(k->name, sizeof k->name, "%s", names[i]);
                }
                m = k;
        }
        return m;
}

static void model_dump(StrBuf *b, const Model *m, int indent)
{
        if (!m->inner) {
                strbuf_add(b, m->json ? m->json : "null");
                return;
        }
        if (m->n == 0) {
                strbuf_add(b, "{ }");
                return;
        }
        strbuf_add(b, "{");
        for (size_t i = 0; i < m->n; i++) {
                strbuf_addf(b, "%s\n%*s\"%s\": ", i ? "," : "", indent + 2, "", m->kids[i]->name);
                model_dump(b, m->kids[i], indent + 2);
        }
        strbuf_addf(b, "\n%*s}", indent, "");
}

static Model *model_copy(const Model *m)
{
        Model *c = calloc(1, sizeof *c);

        *c = *m;
        c->json = m->json ? strdup(m->json) : NULL;
        for (size_t i = 0; i < m->n; i++)
                c->kids[i] = model_copy(m->kids[i]);
        return c;
}

/* Random JSON of the model's form, put into m. */
static void model_random(Model *m, int depth)
{
        static const char *const leaves[] = { "\"text\"", "5", "-7", "1.500000", "true", "false", "[]", "\"a\\/b\"" };

        model_clear(m);
        if (depth > 0 && rnd(2)) {
                m->inner = true;
                for (uint32_t n = rnd(4); n > 0; n--) {
                        char name[2] = { (char) ('a' + rnd(6)), 0 }, *names[] = { name };

                        if (!model_kid(m, name))
                                model_random(model_make(m, names, 1), depth - 1);
                }
        } else if (rnd(8))
                m->json = strdup(leaves[rnd(ELEMENTSOF(leaves))]);
}

static char *dump(const Model *m)
{
        StrBuf b = STRBUF_INIT;
        char *s;

        if (m)
                model_dump(&b, m, 0);
        else
                strbuf_add(&b, "null");
        strbuf_addc(&b, '\n');
        assert(strbuf_take(&b, &s) == 0);
        return s;
}

static void check_same(Model *m, const Tree *t, char *const *names, size_t n, const char *path)
{
        Model *want = model_find(m, names, n);
        const Node *got = tree_find(t, path), *k;
        _cleanup_free_ char *text = dump(want);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        size_t i = 0;

        json_write(&b, got);
        if (!streq(b.data, text))
                fprintf(stderr, "%s: got %s, want %s", path, b.data, text);
        assert(streq(b.data, text));
        assert(!want == !got);
        for (k = got ? node_first(got) : NULL; k; k = k->next, i++)
                assert(want->inner && i < want->n && streq(want->kids[i]->name, k->name));
        assert(!want || i == (want->inner ? want->n : 0));
}

static const char *random_path(char *names[], size_t *n, char buf[static 64])
{
        static char letters[] = "abcdef";
        static char name[6][2];
        char *p = buf;

        *n = rnd(20) ? 1 + rnd(4) : 0;
        if (rnd(2) || *n == 0)
                *p++ = '/';
        for (size_t i = 0; i < *n; i++) {
                uint32_t k = rnd(6);

                name[k][0] = letters[k];
                names[i] = name[k];
                *p++ = letters[k];
                *p++ = '/';
                if (!rnd(10))
                        *p++ = '/';
        }
        *p = '\0';
        return buf;
}

/* Does one operation on a copy of the model; returns the copy. */
static Model *model_operate(const Model *m, uint32_t kind, char *const *names, size_t n, const char *value, Model *subtree)
{
        Model *c = model_copy(m), *x;

        if (kind == 0) { /* write */
                x = model_find(c, names, n);
                if (!x || !x->inner) {
                        x = model_make(c, names, n);
                        model_clear(x);
                        x->json = strformat("\"%s\"", value);
                }
        } else if (kind == 1) { /* rm */
                if (n == 0)
                        model_clear(c);
                else if (model_find(c, names, n)) {
                        Model *parent = model_find(c, names, n - 1);
                        size_t i = 0;

                        while (!streq(parent->kids[i]->name, names[n - 1]))
                                i++;
                        model_clear(parent->kids[i]);
                        free(parent->kids[i]);
                        memmove(parent->kids + i, parent->kids + i + 1, (parent->n - i - 1) * sizeof(Model *));
                        parent->n--;
                }
        } else { /* inject */
                x = model_make(c, names, n);
                model_clear(x);
                x->inner = subtree->inner;
                x->json = subtree->json ? strdup(subtree->json) : NULL;
                x->n = subtree->n;
                for (size_t i = 0; i < subtree->n; i++)
                        x->kids[i] = model_copy(subtree->kids[i]);
        }
        return c;
}

static void test_model(void)
{
        char file[] = "/tmp/oxt-test-tree-XXXXXX", buf[64], value[16], *names[8];
        Model *m = calloc(1, sizeof *m);
        Store *s = NULL;
        size_t n, changed = 0;
        Tree t, again;
        int fd, r;

        fd = mkstemp(file);
        assert(fd >= 0 && close(fd) == 0);
        assert(store_open(file, true, true, &s) >= 0);
        assert(tree_init(&t) >= 0 && store_save(s, &t) >= 0);
        m->inner = true;
        assert(store_begin(s) >= 0);
        for (int i = 0; i < OPERATIONS; i++) {
                const char *path = random_path(names, &n, buf);
                TreeLog log = { .tree = &t };
                uint32_t kind = rnd(5) % 3;
                Model subtree = { 0 }, *next;
                bool given_up = rnd(8) == 0;

                snprintf(value, sizeof value, "v%d", i % 50);
                if (kind == 2)
                        model_random(&subtree, 3);
                next = model_operate(m, kind, names, n, value, &subtree);
                if (kind == 0)
                        r = tree_write(&log, path, value);
                else if (kind == 1)
                        r = tree_rm(&log, path);
                else {
                        _cleanup_free_ char *text = dump(&subtree);
                        Node *node;

                        assert(json_read(text, strlen(text), 20, &node, NULL) == 0);
                        r = tree_inject(&log, path, node);
                }
                assert(r >= 0);
                check_same(next, &t, names, n, path);
                treelog_undo(&log);
                check_same(m, &t, names, n, path);
                if (given_up) {
                        treelog_done(&log);
                        check_same(m, &t, NULL, 0, "/");
                } else {
                        assert(store_apply(s, log.rows, log.n_rows) >= 0);
                        treelog_redo(&log, SIZE_MAX);
                        treelog_done(&log);
                        check_same(next, &t, names, n, path);
                        model_clear(m);
                        free(m);
                        m = next;
                        next = NULL;
                        changed += r > 0;
                }
                if (next) {
                        model_clear(next);
                        free(next);
                }
                model_clear(&subtree);
                if (i % 500 == 0)
                        check_same(m, &t, NULL, 0, "/");
                if (i % 10000 == 0 || i == OPERATIONS - 1) {
                        assert(store_commit(s) >= 0 && store_begin(s) >= 0);
                        assert(store_load(s, &again) >= 0);
                        assert(node_equal(t.root, again.root));
                        tree_done(&again);
                }
        }
        assert(changed > OPERATIONS / 3);
        assert(store_commit(s) >= 0);
        store_free(s);
        tree_done(&t);
        model_clear(m);
        free(m);
        (void) unlink(file);
}

/* Several logs that build on each other are taken back in reverse and made again in order. */
static void test_batches(void)
{
        Tree t;

        assert(tree_init(&t) >= 0);
        for (int round = 0; round < 300; round++) {
                TreeLog logs[40] = { 0 };
                _cleanup_strbuf_ StrBuf before = STRBUF_INIT, middle = STRBUF_INIT, after = STRBUF_INIT;
                char buf[64], *names[8];
                size_t n;

                json_write(&before, t.root);
                for (size_t i = 0; i < ELEMENTSOF(logs); i++) {
                        const char *path = random_path(names, &n, buf);

                        logs[i].tree = &t;
                        assert((rnd(3) ? tree_write(&logs[i], path, "x") : tree_rm(&logs[i], path)) >= 0);
                }
                json_write(&middle, t.root);
                for (size_t i = ELEMENTSOF(logs); i-- > 0;)
                        treelog_undo(&logs[i]);
                json_write(&after, t.root);
                assert(streq(before.data, after.data));
                if (rnd(4)) {
                        for (size_t i = 0; i < ELEMENTSOF(logs); i++)
                                treelog_redo(&logs[i], SIZE_MAX);
                        after.len = 0;
                        json_write(&after, t.root);
                        assert(streq(middle.data, after.data));
                }
                for (size_t i = 0; i < ELEMENTSOF(logs); i++)
                        treelog_done(&logs[i]);
        }
        tree_done(&t);
}

/* Many children: the index finds each, whatever comes and goes, and order is kept. */
static void test_index(void)
{
        TreeLog log = { 0 };
        char path[32];
        Tree t;
        int i;

        assert(tree_init(&t) >= 0);
        log.tree = &t;
        for (i = 0; i < 5000; i++) {
                snprintf(path, sizeof path, "/n/%d", i);
                assert(tree_write(&log, path, path) == 1);
        }
        for (i = 0; i < 5000; i += 3) {
                snprintf(path, sizeof path, "/n/%d", i);
                assert(tree_rm(&log, path) == 1);
        }
        treelog_done(&log);
        i = 0;
        for (const Node *k = node_first(tree_find(&t, "/n")); k; k = k->next, i++) {
                while (i % 3 == 0)
                        i++;
                snprintf(path, sizeof path, "/n/%d", i);
                assert(streq(k->name, path + 3) && tree_find(&t, path) == k);
        }
        for (i = 0; i < 5000; i++) {
                snprintf(path, sizeof path, "/n/%d", i);
                assert(!tree_find(&t, path) == (i % 3 == 0));
        }
        tree_done(&t);
}

static void test_bounds(void)
{
        _cleanup_free_ char *deep = malloc(TREE_DEPTH_MAX * 2 + 100);
        TreeLog log = { 0 };
        Node *n;
        char *p = deep;
        Tree t;

        assert(tree_init(&t) >= 0);
        log.tree = &t;
        for (int i = 0; i < TREE_DEPTH_MAX + 5; i++)
                p = stpcpy(p, "/d");
        assert(tree_write(&log, deep, "1") == -ENAMETOOLONG);
        deep[TREE_DEPTH_MAX * 2 - 20] = '\0';
        assert(tree_write(&log, deep, "1") == 1);
        assert(json_read("{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{\"h\":{\"i\":{\"j\":{\"k\":1}}}}}}}}}}}", 69, 50, &n, NULL) == 0);
        assert(tree_inject(&log, deep, n) == -ENAMETOOLONG);
        treelog_undo(&log);
        treelog_done(&log);
        assert(!node_first(t.root));
        tree_done(&t);
        /* Depth of the text itself. */
        memset(deep, '[', TREE_DEPTH_MAX + 50);
        assert(json_read(deep, TREE_DEPTH_MAX + 50, TREE_DEPTH_MAX, &n, NULL) == -EBADMSG);
}

static void test_json(void)
{
        static const char *const bad[] = { "{", "[1,]", "{\"a\":1,}", "01", "-", "\"\\u0000\"", "\"\\ud800\"", "\"\xff\"", "\"\xed\xa0\x80\"",
                                           "{\"\":1}", "{\"a/b\":1}", "tru", "nul", "1e", "\"open", "'a'", "NaN", "1e999", "+1", ".5",
                                           "{1:2}", "9223372036854775808" };
        Node *n;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                if (json_read(bad[i], strlen(bad[i]), 100, &n, NULL) != -EBADMSG)
                        fprintf(stderr, "taken: %s\n", bad[i]);
                assert(json_read(bad[i], strlen(bad[i]), 100, &n, NULL) == -EBADMSG);
        }
        assert(json_read(" \n", 2, 100, &n, NULL) == -ENODATA);
        /* Of equal keys the first counts. */
        assert(json_read("{\"a\":1,\"a\":2}", 13, 100, &n, NULL) == 0);
        assert(streq(node_child(n, "a", 1)->content, "1") && !node_child(n, "a", 1)->next);
        node_free(n);
}

static void test_paths(void)
{
        static const char *const table[][2] = { { "", "/" }, { "/", "/" }, { "//a//b/", "/a/b" }, { "a/b", "/a/b" }, { "/../.", "/../." } };
        _cleanup_free_ char *below = path_below("/dom-store/u", "../../x//y");

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *n = path_normalize(table[i][0]);

                assert(streq(n, table[i][1]));
        }
        assert(streq(below, "/dom-store/u/../../x/y"));
        assert(path_within("/a/b", "/a") && path_within("/a", "/a") && path_within("/a", "/") && !path_within("/ab", "/a"));
        assert(!path_within("/a", "/a/b") && path_depth("//a//b/") == 2 && path_depth("/") == 0);
}

int main(void)
{
        test_paths();
        test_json();
        test_bounds();
        test_index();
        test_batches();
        test_model();
        return 0;
}
