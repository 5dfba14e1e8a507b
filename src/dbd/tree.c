/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"

#include <sys/random.h>

#include "path.h"

#define INDEX_MIN 16

struct Mutation {
        enum { MUTATION_CONTENT, MUTATION_ADD, MUTATION_REMOVE } type;
        uint8_t kind;  /* CONTENT: the content that is not in the node at the moment */
        void *content;
        Node *parent, *node, *prev; /* prev: its place, for REMOVE */
};

/* Nodes */

static uint64_t hash_seed;

static uint64_t name_hash(const char *s, size_t n)
{
        uint64_t h = hash_seed;

        for (size_t i = 0; i < n; i++) {
                h = (h ^ (uint8_t) s[i]) * 0x9e3779b97f4a7c15;
                h ^= h >> 29;
        }
        return h ^ h >> 32;
}

Blob *blob_new(const void *data, size_t size)
{
        Blob *b = malloc(sizeof *b + size);

        if (b) {
                b->size = size;
                if (size > 0)
                        memcpy(b->data, data, size);
        }
        return b;
}

Node *node_new(const char *name, size_t name_len, NodeKind kind, void *content)
{
        Node *n = name_len < UINT32_MAX ? malloc(MAX2(sizeof *n, offsetof(Node, name) + name_len + 1)) : NULL;

        if (!n) {
                content_free(kind, content);
                return NULL;
        }
        *n = (Node) { .content = content, .name_len = (uint32_t) name_len, .kind = (uint8_t) kind };
        memcpy(n->name, name, name_len);
        n->name[name_len] = '\0';
        return n;
}

void content_free(NodeKind kind, void *content)
{
        if (kind == NODE_INNER && content) {
                Children *c = content;

                for (Node *n = c->first, *next; n; n = next) {
                        next = n->next;
                        node_free(n);
                }
                free(c->index);
        }
        free(content);
}

Node *node_free(Node *n)
{
        if (n)
                content_free(n->kind, n->content);
        free(n);
        return NULL;
}

static bool node_named(const Node *n, const char *name, size_t len)
{
        return n->name_len == len && memcmp(n->name, name, len) == 0;
}

static uint32_t index_slot(const Children *c, const char *name, size_t len)
{
        uint32_t mask = c->index_size - 1, i = (uint32_t) name_hash(name, len) & mask;

        while (c->index[i] && !node_named(c->index[i], name, len))
                i = (i + 1) & mask;
        return i;
}

static int children_reindex(Children *c, uint32_t size)
{
        Node **index = calloc(size, sizeof(Node *));

        if (!index)
                return -ENOMEM;
        free(c->index);
        c->index = index;
        c->index_size = size;
        for (Node *n = c->first; n; n = n->next)
                c->index[index_slot(c, n->name, n->name_len)] = n;
        return 0;
}

Node *node_child(const Node *n, const char *name, size_t len)
{
        const Children *c = node_children(n);

        if (!c)
                return NULL;
        if (c->index)
                return c->index[index_slot(c, name, len)];
        for (Node *k = c->first; k; k = k->next)
                if (node_named(k, name, len))
                        return k;
        return NULL;
}

/* Links child behind prev (NULL: as the first). */
static int node_link(Node *parent, Node *child, Node *prev)
{
        Children *c = parent->content;

        if (!c) {
                c = parent->content = calloc(1, sizeof *c);
                if (!c)
                        return -ENOMEM;
        }
        if (c->n + 1 >= INDEX_MIN && (c->n + 1) * 4 > c->index_size * 3 &&
            children_reindex(c, c->index_size ? c->index_size * 2 : INDEX_MIN * 2) < 0)
                return -ENOMEM;
        if (c->index)
                c->index[index_slot(c, child->name, child->name_len)] = child;
        child->prev = prev;
        child->next = prev ? prev->next : c->first;
        *(prev ? &prev->next : &c->first) = child;
        *(child->next ? &child->next->prev : &c->last) = child;
        c->n++;
        return 0;
}

static void node_unlink(Node *parent, Node *child)
{
        Children *c = parent->content;

        if (c->index) {
                uint32_t mask = c->index_size - 1, hole = index_slot(c, child->name, child->name_len);

                /* Entries behind the hole move up where that brings them nearer to their own slot. */
                for (uint32_t i = (hole + 1) & mask; c->index[i]; i = (i + 1) & mask) {
                        uint32_t own = (uint32_t) name_hash(c->index[i]->name, c->index[i]->name_len) & mask;

                        if (((i - own) & mask) >= ((i - hole) & mask)) {
                                c->index[hole] = c->index[i];
                                hole = i;
                        }
                }
                c->index[hole] = NULL;
        }
        *(child->prev ? &child->prev->next : &c->first) = child->next;
        *(child->next ? &child->next->prev : &c->last) = child->prev;
        child->prev = child->next = NULL;
        c->n--;
}

int node_add(Node *parent, Node *child)
{
        const Children *c = node_children(parent);

        return node_link(parent, child, c ? c->last : NULL);
}

static size_t content_size(const Node *n)
{
        return node_has_text(n) ? strlen(n->content) : n->kind == NODE_BINARY ? ((const Blob *) n->content)->size : 0;
}

void node_measure(const Node *n, size_t *nodes, size_t *bytes)
{
        ++*nodes;
        *bytes += n->name_len + content_size(n);
        for (const Node *k = node_first(n); k; k = k->next)
                node_measure(k, nodes, bytes);
}

bool node_equal(const Node *a, const Node *b)
{
        const Node *x, *y;

        if (a->kind != b->kind)
                return false;
        if (node_has_text(a))
                return streq(a->content, b->content);
        if (a->kind == NODE_BINARY)
                return content_size(a) == content_size(b) &&
                       memcmp(((const Blob *) a->content)->data, ((const Blob *) b->content)->data, content_size(a)) == 0;
        for (x = node_first(a), y = node_first(b); x && y; x = x->next, y = y->next)
                if (!node_named(x, y->name, y->name_len) || !node_equal(x, y))
                        return false;
        return x == y;
}

/* The tree */

int tree_init(Tree *t)
{
        if (!hash_seed && getrandom(&hash_seed, sizeof hash_seed, 0) != sizeof hash_seed)
                return -errno;
        *t = (Tree) { .root = node_new("", 0, NODE_INNER, NULL), .next_id = NODE_ROOT_ID + 1 };
        if (!t->root)
                return -ENOMEM;
        t->root->id = NODE_ROOT_ID;
        return 0;
}

void tree_done(Tree *t)
{
        t->root = node_free(t->root);
}

Node *tree_find(const Tree *t, const char *path)
{
        Node *n = t->root;
        const char *name;
        size_t len;

        while (n && (name = path_next(&path, &len)))
                n = node_child(n, name, len);
        return n;
}

void tree_top(const Tree *t, const char *normal_path, TreeTop *ret)
{
        const char *p = normal_path, *name;
        Node *n = t->root;
        size_t len;

        while ((name = path_next(&p, &len))) {
                Node *child = node_child(n, name, len);

                if (!child) {
                        /* Either a child is added to n, or n itself becomes an inner node. */
                        *ret = n->kind == NODE_INNER
                                       ? (TreeTop) { NULL, (size_t) (p - normal_path) }
                                       : (TreeTop) { n, MAX2((size_t) (name - normal_path), (size_t) 2) - 1 };
                        return;
                }
                n = child;
        }
        *ret = (TreeTop) { n, strlen(normal_path) };
}

/* Changes */

static void *array_add(void **array, size_t *n, size_t *size, size_t item)
{
        if (*n == *size) {
                size_t more = *size ? *size * 2 : 4;
                void *p = reallocarray(*array, more, item);

                if (!p)
                        return NULL;
                *array = p;
                *size = more;
        }
        return (char *) *array + (*n)++ * item;
}

static Mutation *log_mutation(TreeLog *log)
{
        return array_add((void **) &log->mutations, &log->n_mutations, &log->size_mutations, sizeof(Mutation));
}

static int log_row(TreeLog *log, TreeRow row)
{
        TreeRow *r = array_add((void **) &log->rows, &log->n_rows, &log->size_rows, sizeof row);

        if (!r)
                return -ENOMEM;
        *r = row;
        return 0;
}

static int log_deleted(TreeLog *log, const Node *n)
{
        int r = log_row(log, (TreeRow) { .type = ROW_DELETE, .id = n->id });

        for (const Node *k = node_first(n); r >= 0 && k; k = k->next)
                r = log_deleted(log, k);
        return r;
}

/* Gives ids to a subtree, parents first, and notes its rows. */
static int log_inserted(TreeLog *log, Node *n, int64_t parent)
{
        int r;

        n->id = log->tree->next_id++;
        r = log_row(log, (TreeRow) { .type = ROW_INSERT, .kind = n->kind, .id = n->id, .parent = parent, .name = n->name,
                                     .name_len = n->name_len, .content = n->kind == NODE_INNER ? NULL : n->content });
        for (Node *k = (Node *) node_first(n); r >= 0 && k; k = k->next)
                r = log_inserted(log, k, n->id);
        return r;
}

static void mutation_swap(Mutation *m)
{
        void *content = m->node->content;
        uint8_t kind = m->node->kind;

        m->node->content = m->content;
        m->node->kind = m->kind;
        m->content = content;
        m->kind = kind;
}

/* Gives n another content, which is taken over whatever happens. */
static int change_content(TreeLog *log, Node *n, NodeKind kind, void *content)
{
        Mutation *m = log_mutation(log);
        int r = 0;

        if (!m) {
                content_free(kind, content);
                return -ENOMEM;
        }
        *m = (Mutation) { .type = MUTATION_CONTENT, .kind = (uint8_t) kind, .content = content, .node = n };
        for (const Node *k = node_first(n); r >= 0 && k; k = k->next)
                r = log_deleted(log, k);
        mutation_swap(m);
        if (r >= 0)
                r = log_row(log, (TreeRow) { .type = ROW_UPDATE, .kind = n->kind, .id = n->id,
                                             .content = n->kind == NODE_INNER ? NULL : n->content });
        for (Node *k = (Node *) node_first(n); r >= 0 && k; k = k->next)
                r = log_inserted(log, k, n->id);
        return r;
}

static int change_add(TreeLog *log, Node *parent, Node *child)
{
        Mutation *m = log_mutation(log);

        if (!m || node_add(parent, child) < 0) {
                log->n_mutations -= m != NULL;
                node_free(child);
                return -ENOMEM;
        }
        *m = (Mutation) { .type = MUTATION_ADD, .parent = parent, .node = child };
        return log_inserted(log, child, parent->id);
}

static int change_remove(TreeLog *log, Node *parent, Node *child)
{
        Mutation *m = log_mutation(log);
        int r;

        if (!m)
                return -ENOMEM;
        *m = (Mutation) { .type = MUTATION_REMOVE, .parent = parent, .node = child, .prev = child->prev };
        r = log_deleted(log, child);
        node_unlink(parent, child);
        return r;
}

/*
 * Puts content at path, making inner nodes on the way. What is missing is built first and linked
 * last, so that each step of the log stands for a whole subtree.
 */
static int put_content(TreeLog *log, const char *path, NodeKind kind, void *content)
{
        Node *n = log->tree->root, *top = NULL, *bottom = NULL, *child;
        const char *name;
        size_t len;
        int r;

        while ((name = path_next(&path, &len))) {
                child = top ? NULL : node_child(n, name, len);
                if (child) {
                        n = child;
                        continue;
                }
                if (!top && n->kind != NODE_INNER) {
                        r = change_content(log, n, NODE_INNER, NULL);
                        if (r < 0)
                                goto failed;
                }
                child = node_new(name, len, NODE_INNER, NULL);
                r = -ENOMEM;
                if (!child)
                        goto failed;
                if (bottom && node_add(bottom, child) < 0) {
                        node_free(child);
                        goto failed;
                }
                bottom = child;
                if (!top)
                        top = child;
        }
        if (!top)
                return change_content(log, n, kind, content);
        bottom->kind = (uint8_t) kind;
        bottom->content = content;
        return change_add(log, n, top);
failed:
        node_free(top);
        content_free(kind, content);
        return r;
}

static int refuse_binary(const Tree *t, const char *path)
{
        const char *name;
        Node *n = t->root;
        size_t len, depth = 0;

        for (; n; depth++) {
                if (n->kind == NODE_BINARY)
                        return -EROFS;
                name = path_next(&path, &len);
                if (!name)
                        return 0;
                n = node_child(n, name, len);
        }
        return depth + path_depth(path) > TREE_DEPTH_MAX ? -ENAMETOOLONG : 0;
}

int tree_write(TreeLog *log, const char *path, const char *value)
{
        Node *n = tree_find(log->tree, path);
        char *copy;
        int r;

        if (n && n->kind == NODE_INNER)
                return 0;
        r = refuse_binary(log->tree, path);
        if (r < 0)
                return r;
        if (n && n->kind == NODE_STRING && streq(n->content, value))
                return 0;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        r = put_content(log, path, NODE_STRING, copy);
        return r < 0 ? r : 1;
}

int tree_rm(TreeLog *log, const char *path)
{
        Node *parent = NULL, *n = log->tree->root;
        const char *name;
        size_t len;
        int r;

        for (;;) {
                if (n->kind == NODE_BINARY)
                        return -EROFS;
                name = path_next(&path, &len);
                if (!name)
                        break;
                parent = n;
                n = node_child(n, name, len);
                if (!n)
                        return 0;
        }
        if (parent)
                r = change_remove(log, parent, n);
        else if (n->kind == NODE_EMPTY)
                return 0;
        else
                r = change_content(log, n, NODE_EMPTY, NULL);
        return r < 0 ? r : 1;
}

static size_t node_height(const Node *n)
{
        size_t h = 0;

        for (const Node *k = node_first(n); k; k = k->next)
                h = MAX2(h, node_height(k));
        return h + 1;
}

int tree_inject(TreeLog *log, const char *path, Node *subtree)
{
        int r = refuse_binary(log->tree, path);
        void *content;
        NodeKind kind;

        if (r >= 0 && path_depth(path) + node_height(subtree) > TREE_DEPTH_MAX)
                r = -ENAMETOOLONG;
        if (r < 0) {
                node_free(subtree);
                return r;
        }
        kind = subtree->kind;
        content = TAKE_PTR(subtree->content);
        subtree->kind = NODE_EMPTY;
        node_free(subtree);
        r = put_content(log, path, kind, content);
        return r < 0 ? r : 1;
}

void treelog_undo(TreeLog *log)
{
        for (size_t i = log->n_mutations; i-- > 0;) {
                Mutation *m = &log->mutations[i];

                switch (m->type) {
                case MUTATION_CONTENT:
                        mutation_swap(m);
                        break;
                case MUTATION_ADD:
                        node_unlink(m->parent, m->node);
                        break;
                case MUTATION_REMOVE:
                        /* It was linked here before: the space for it is still there. */
                        (void) node_link(m->parent, m->node, m->prev);
                        break;
                }
        }
        log->undone = true;
        log->n_redone = 0;
}

void treelog_redo(TreeLog *log, size_t n)
{
        for (; log->n_redone < MIN2(n, log->n_mutations); log->n_redone++) {
                Mutation *m = &log->mutations[log->n_redone];

                switch (m->type) {
                case MUTATION_CONTENT:
                        mutation_swap(m);
                        break;
                case MUTATION_ADD:
                        (void) node_add(m->parent, m->node);
                        break;
                case MUTATION_REMOVE:
                        node_unlink(m->parent, m->node);
                        break;
                }
        }
        if (log->n_redone == log->n_mutations)
                log->undone = false;
}

void treelog_done(TreeLog *log)
{
        for (size_t i = 0; i < log->n_mutations; i++) {
                Mutation *m = &log->mutations[i];

                if (m->type == MUTATION_CONTENT)
                        content_free(m->kind, m->content);
                else if ((m->type == MUTATION_ADD) == log->undone)
                        node_free(m->node);
        }
        free(log->mutations);
        free(log->rows);
        *log = (TreeLog) { 0 };
}
