/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copies that mirrors keep: narrow and wide nodes, in the database's order, through all kinds of changes. */
#include "db-client.c"

#include <assert.h>

#define WIDE 3000

static const DbNode *vm(const DbNode *root, unsigned i)
{
        char path[64];

        snprintf(path, sizeof path, "/vm/uuid-%u", i);
        return dbnode_find(root, path);
}

/* All children of /vm whose number fits are there, in this order, and no others. */
static void check(const DbNode *root, unsigned step)
{
        const DbNode *n = dbnode_first(dbnode_find(root, "vm"));
        char name[32];

        for (unsigned i = 0; i < WIDE; i++) {
                if (i % step) {
                        assert(!vm(root, i));
                        continue;
                }
                snprintf(name, sizeof name, "uuid-%u", i);
                assert(n && n == vm(root, i) && streq(dbnode_name(n), name) && streq(dbnode_text(n, "config/memory"), name + 5));
                n = dbnode_next(n);
        }
        assert(!n);
}

int main(void)
{
        DbNode *root = dbnode_add(NULL, "", 0), *n;
        char path[64], json[128];

        assert(root);
        for (unsigned i = 0; i < WIDE; i++) {
                snprintf(path, sizeof path, "vm/uuid-%u", i);
                snprintf(json, sizeof json, "{\"name\": \"x\", \"config\": {\"memory\": \"%u\"}}", i);
                assert(dbnode_inject(root, path, json) == 0);
        }
        check(root, 1);
        assert(!dbnode_find(root, "vm/uuid-") && !dbnode_find(root, "vm/uuid-12345678") && !dbnode_find(root, "vm/"  "x"));
        assert(streq(dbnode_text(root, "vm"), "") && streq(dbnode_text(root, "vm/uuid-7"), ""));

        /* Removed, and made again behind the others. */
        for (unsigned i = 0; i < WIDE; i++)
                if (i % 3) {
                        n = (DbNode *) vm(root, i);
                        dbnode_unlink(n);
                        dbnode_free(n);
                }
        check(root, 3);
        for (unsigned round = 0; round < 5000; round++) {
                n = dbnode_make(root, "vm/again");
                assert(n && n == dbnode_find(root, "vm/again"));
                dbnode_unlink(n);
                dbnode_free(n);
                assert(!dbnode_find(root, "vm/again"));
        }
        check(root, 3);

        /* A wide node that becomes a leaf, and one again. */
        assert(dbnode_inject(root, "vm", "\"text\"") == 0 && streq(dbnode_text(root, "vm"), "text"));
        assert(!vm(root, 0) && !dbnode_first(dbnode_find(root, "vm")));
        assert(dbnode_inject(root, "vm/uuid-0", "{\"config\": {\"memory\": \"0\"}}") == 0);
        assert(vm(root, 0) && streq(dbnode_text(root, "vm"), ""));

        /* From both ends of a narrow one. */
        assert(dbnode_inject(root, "few", "{\"a\": \"1\", \"b\": \"2\", \"c\": \"3\"}") == 0);
        for (const char *order = "cab"; *order; order++) {
                char name[2] = { *order, '\0' };

                n = (DbNode *) dbnode_find(dbnode_find(root, "few"), name);
                assert(n);
                dbnode_unlink(n);
                dbnode_free(n);
                assert(!dbnode_find(dbnode_find(root, "few"), name));
        }
        assert(dbnode_find(root, "few") && !dbnode_first(dbnode_find(root, "few")));
        n = dbnode_make(root, "few/d");
        assert(n && dbnode_first(dbnode_find(root, "few")) == n && !dbnode_next(n));
        dbnode_free(root);
        return 0;
}
