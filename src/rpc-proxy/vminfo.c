/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vminfo.h"

#include "connection.h"
#include "db-client.h"
#include "log.h"
#include "parse.h"
#include "ruleset.h"
#include "strbuf.h"
#include "vm-keys.h"

#define RULES_NODE "rpc-firewall-rules"
#define VM_RULES_MAX 4096 /* rules of one VM */

struct VmInfo {
        Proxy *proxy;
        DbMirror *mirror;
        bool loaded;
};

bool vminfo_loaded(const VmInfo *v)
{
        return v && v->loaded;
}

static const DbNode *vm_node(const VmInfo *v, const char *uuid)
{
        const DbNode *root = v && v->loaded && v->mirror ? dbmirror_root(v->mirror) : NULL;

        return root && uuid[0] ? dbnode_find(root, uuid) : NULL;
}

const char *vminfo_property(const VmInfo *v, const char *uuid, const char *name)
{
        const DbNode *vm = vm_node(v, uuid);
        const VmKey *k = vm_key_find(name);
        const char *text;
        bool b;

        if (!vm || !k || !k->path)
                return NULL;
        text = dbnode_text(vm, k->path);
        if (!*text)
                text = k->fallback;
        if (k->type != VMKEY_BOOL)
                return text;
        if (!text || parse_bool(text, &b) < 0)
                return NULL;
        return b != !!(k->flags & VMKEY_INVERTED) ? "true" : "false";
}

typedef struct Numbered {
        uint64_t number;
        PolicyText rule;
} Numbered;

static int compare_numbers(const void *a, const void *b)
{
        uint64_t x = ((const Numbered *) a)->number, y = ((const Numbered *) b)->number;

        return x < y ? -1 : x > y;
}

void vminfo_rules_free(PolicyText *rules, int n)
{
        for (int i = 0; i < n; i++)
                free((char *) rules[i].file);
        free(rules);
}

int vminfo_rules(const VmInfo *v, const char *uuid, PolicyText **ret)
{
        const DbNode *vm, *rules;
        _cleanup_free_ Numbered *list = NULL;
        PolicyText *out;
        int n = 0, r = 0;

        if (!vminfo_loaded(v) || !v->mirror)
                return -ENODATA;
        vm = vm_node(v, uuid);
        rules = vm ? dbnode_find(vm, RULES_NODE) : NULL;
        for (const DbNode *i = rules ? dbnode_first(rules) : NULL; i; i = dbnode_next(i)) {
                Numbered *grown;
                uint64_t number;

                if (parse_u64(dbnode_name(i), &number) < 0 || n >= VM_RULES_MAX) {
                        r = -EINVAL;
                        break;
                }
                grown = reallocarray(list, (size_t) n + 1, sizeof *list);
                if (!grown) {
                        r = -ENOMEM;
                        break;
                }
                list = grown;
                list[n] = (Numbered) { number, { dbnode_text(i, NULL),
                                                 strformat("/vm/%s/" RULES_NODE "/%s", uuid, dbnode_name(i)) } };
                if (!list[n++].rule.file) {
                        r = -ENOMEM;
                        break;
                }
        }
        out = r < 0 ? NULL : calloc((size_t) n + 1, sizeof *out);
        if (!out) {
                for (int i = 0; i < n; i++)
                        free((char *) list[i].rule.file);
                return r < 0 ? r : -ENOMEM;
        }
        if (n > 0)
                qsort(list, (size_t) n, sizeof *list, compare_numbers);
        for (int i = 0; i < n; i++)
                out[i] = list[i].rule;
        *ret = out;
        return n;
}

static void on_loaded(_unused_ DbMirror *m, void *userdata)
{
        VmInfo *v = userdata;

        v->loaded = true;
        ruleset_vm_changed(v->proxy->rules, NULL);
        connections_retry(v->proxy);
}

static void on_changed(_unused_ DbMirror *m, const char *path, _unused_ const char *kind, void *userdata)
{
        VmInfo *v = userdata;
        const char *rest = startswith(path, "/vm");
        char uuid[37];

        /* Properties are looked up when they are needed; only rules are kept in another form. */
        if (!rest || strlen(rest) < 37) {
                ruleset_vm_changed(v->proxy->rules, NULL);
                return;
        }
        memcpy(uuid, rest + 1, 36);
        uuid[36] = '\0';
        rest += 37;
        if (!*rest || startswith(rest, "/" RULES_NODE))
                ruleset_vm_changed(v->proxy->rules, uuid);
}

int vminfo_new(Proxy *p, VmInfo **ret)
{
        VmInfo *v = calloc(1, sizeof *v);

        if (!v)
                return -ENOMEM;
        v->proxy = p;
        *ret = v;
        return 0;
}

VmInfo *vminfo_free(VmInfo *v)
{
        if (v) {
                dbmirror_free(v->mirror);
                free(v);
        }
        return NULL;
}

int vminfo_bus_up(VmInfo *v, sd_bus *bus)
{
        static const DbMirrorEvents events = { .loaded = on_loaded, .changed = on_changed };
        int r;

        r = dbmirror_new(bus, "/vm", &events, v, &v->mirror);
        return r < 0 ? log_errno(r, "Cannot follow the database") : 0;
}

void vminfo_bus_down(VmInfo *v)
{
        v->loaded = false;
        v->mirror = dbmirror_free(v->mirror);
}
