/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The tree in memory, and changes that can be taken back.
 *
 * A change never touches the tree for good at once: it is made, noted in a TreeLog together with the
 * rows that have to be stored, and taken back with treelog_undo(); when the rows are on disk,
 * treelog_redo() makes it again. Each of the two takes constant time for each step, however large the
 * subtree that comes or goes. So between two turns of the event loop the tree shows committed state
 * alone, several requests can build on each other within one commit, and a commit that fails needs
 * nothing but to be forgotten.
 *
 * Children are a linked list in the order in which they were made; from INDEX_MIN children on there
 * is a hash index. Ids grow, and a node keeps its id and place when its content changes, so the order
 * of ids is the order of siblings and parents come before children: the store needs no other.
 */
#include "util.h"

typedef enum NodeKind {
        NODE_EMPTY,  /* JSON null */
        NODE_STRING, /* content: the text */
        NODE_INT,    /* content of these: their JSON text as `read` gives it */
        NODE_FLOAT,
        NODE_BOOL,
        NODE_ARRAY,  /* content: JSON text without blanks */
        NODE_BINARY, /* content: Blob */
        NODE_INNER,  /* content: Children, NULL if none */
        _NODE_KIND_MAX,
} NodeKind;

typedef struct Blob {
        size_t size;
        uint8_t data[];
} Blob;

typedef struct Node {
        struct Node *next, *prev; /* siblings */
        void *content;
        int64_t id;
        uint32_t name_len;
        uint8_t kind;
        char name[];
} Node;

typedef struct Children {
        Node *first, *last;
        Node **index; /* NULL while they are few */
        uint32_t n, index_size;
} Children;

#define NODE_ROOT_ID 1
/* Deeper trees are refused: a bound for everything that recurses. */
#define TREE_DEPTH_MAX 2000

typedef struct Tree {
        Node *root;
        int64_t next_id;
} Tree;

/* A node by itself, without id. content is taken over, also on failure (NULL). */
Node *node_new(const char *name, size_t name_len, NodeKind kind, void *content);
Node *node_free(Node *n);
DEFINE_CLEANUP(Node *, node_free)
void content_free(NodeKind kind, void *content);
Blob *blob_new(const void *data, size_t size);

static inline const Children *node_children(const Node *n)
{
        return n->kind == NODE_INNER ? n->content : NULL;
}

static inline const Node *node_first(const Node *n)
{
        const Children *c = node_children(n);

        return c ? c->first : NULL;
}

static inline bool node_has_text(const Node *n)
{
        return n->kind >= NODE_STRING && n->kind <= NODE_ARRAY;
}

Node *node_child(const Node *n, const char *name, size_t name_len);
/* Adds child at the end; the name must not exist yet. Returns 0 or -ENOMEM (child stays the caller's). */
int node_add(Node *parent, Node *child);
/* Number of nodes and bytes of names and contents in the subtree, n included. */
void node_measure(const Node *n, size_t *nodes, size_t *bytes);
bool node_equal(const Node *a, const Node *b); /* kinds, contents, names and order of children; not own names */

int tree_init(Tree *t);
void tree_done(Tree *t);
Node *tree_find(const Tree *t, const char *path);

/* One row of the store. The pointers belong to nodes of the log or tree. */
typedef struct TreeRow {
        enum { ROW_INSERT, ROW_UPDATE, ROW_DELETE } type;
        uint8_t kind;
        int64_t id, parent;
        const char *name;
        uint32_t name_len;
        const void *content; /* as in Node; not for inner nodes */
} TreeRow;

typedef struct Mutation Mutation;

typedef struct TreeLog {
        Tree *tree;
        Mutation *mutations;
        size_t n_mutations, size_mutations;
        TreeRow *rows;
        size_t n_rows, size_rows;
        bool undone;
        size_t n_redone; /* mutations that were made again */
} TreeLog;

/* Where a change to a path begins: nodes above this stay as they are. */
typedef struct TreeTop {
        Node *node;      /* the node that is changed, or NULL if one is added */
        size_t path_len; /* what of the (normal) path leads to it */
} TreeTop;

void tree_top(const Tree *t, const char *normal_path, TreeTop *ret);

/*
 * The contract's operations. They return 1 (changed), 0 (nothing to do), -EROFS (a binary node is the
 * target or in the way), -ENAMETOOLONG (too deep) or -ENOMEM; after a failure the log has to be undone.
 */
int tree_write(TreeLog *log, const char *path, const char *value);
int tree_rm(TreeLog *log, const char *path);
/* Puts the content of subtree (taken over, whatever happens) at path. */
int tree_inject(TreeLog *log, const char *path, Node *subtree);

void treelog_undo(TreeLog *log);
/* Makes the first n mutations again (all: SIZE_MAX), those that are not yet. */
void treelog_redo(TreeLog *log, size_t n);
/* Frees what the change replaced, or, where it was undone, what it would have added. */
void treelog_done(TreeLog *log);
