/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "templates.h"

#include <dirent.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "vm-keys.h"

#define TREE_DEPTH_MAX 16

static char *flavour(void)
{
        char *text = NULL, *end;

        if (read_file("/etc/xenclient.flavour", 256, &text, NULL) < 0)
                return strdup("default");
        end = strchr(text, '\n');
        if (end)
                *end = '\0';
        if (!*strstrip(text) || strchr(text, '/') || text[0] == '.') {
                free(text);
                return strdup("default");
        }
        return text;
}

/* The two folders, the stack's own first. */
static int folders(Manager *m, char *ret[static 2])
{
        _cleanup_free_ char *f = flavour();

        ret[0] = f ? paths_format(manager_paths(m), PATH_TEMPLATES, "%s", f) : NULL;
        ret[1] = f ? strformat("%s/templates/%s", data_dir(), f) : NULL;
        if (ret[0] && ret[1])
                return 0;
        free(ret[0]);
        free(ret[1]);
        return -ENOMEM;
}

int template_load(Manager *m, const char *name, json_object **ret)
{
        _cleanup_json_ json_object *o = NULL;
        char *dirs[2];
        int r;

        if (!*name) {
                *ret = json_object_new_object();
                return *ret ? 0 : -ENOMEM;
        }
        if (strchr(name, '/') || name[0] == '.')
                return -EINVAL;
        r = folders(m, dirs);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
                _cleanup_free_ char *path = path_join(dirs[i], name);

                r = path ? json_read_file(path, TEMPLATE_MAX_BYTES, TREE_DEPTH_MAX + 2, &o) : -ENOMEM;
                if (r != -ENOENT)
                        break;
        }
        free(dirs[0]);
        free(dirs[1]);
        if (r >= 0 && !json_object_is_type(o, json_type_object))
                r = -EBADMSG;
        if (r >= 0)
                r = tree_normalise(o, TREE_DEPTH_MAX);
        if (r >= 0)
                *ret = TAKE_PTR(o);
        return r;
}

int template_list(Manager *m, char ***ret)
{
        char *dirs[2];
        int r;

        r = folders(m, dirs);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
                DIR *d = opendir(dirs[i]);
                struct dirent *e;

                while (d && r >= 0 && (e = readdir(d))) {
                        char *dot = strrchr(e->d_name, '.');

                        if (e->d_name[0] == '.')
                                continue;
                        if (dot)
                                *dot = '\0';
                        if (!strv_contains(*ret, e->d_name))
                                r = strv_extend(ret, e->d_name);
                }
                if (d)
                        (void) closedir(d);
        }
        free(dirs[0]);
        free(dirs[1]);
        return r;
}

/* Trees */

int json_merge(json_object *a, json_object *b)
{
        json_object_object_foreach(b, key, value)
        {
                json_object *old = NULL;
                int r;

                if (json_object_object_get_ex(a, key, &old) && json_object_is_type(old, json_type_object) &&
                    json_object_is_type(value, json_type_object))
                        r = json_merge(old, value);
                else
                        r = json_object_object_add(a, key, json_object_get(value));
                if (r < 0)
                        return -ENOMEM;
        }
        return 0;
}

const char *tree_get(json_object *tree, const char *path, const char *fallback)
{
        while (tree && *path) {
                _cleanup_free_ char *name = strndup(path, strcspn(path, "/"));
                size_t n = strcspn(path, "/");

                if (!name || !json_object_is_type(tree, json_type_object) ||
                    !json_object_object_get_ex(tree, name, &tree))
                        return fallback;
                path += n + (path[n] == '/');
        }
        return tree && json_object_is_type(tree, json_type_string) ? json_object_get_string(tree) : fallback;
}

int tree_set(json_object *tree, const char *path, const char *value)
{
        size_t n = strcspn(path, "/");
        _cleanup_free_ char *name = strndup(path, n);
        json_object *child = NULL;

        if (!name)
                return -ENOMEM;
        if (!path[n])
                return json_object_object_add(tree, name, json_object_new_string(value)) < 0 ? -ENOMEM : 0;
        if (!json_object_object_get_ex(tree, name, &child) || !json_object_is_type(child, json_type_object)) {
                child = json_object_new_object();
                if (!child || json_object_object_add(tree, name, child) < 0)
                        return -ENOMEM;
        }
        return tree_set(child, path + n + 1, value);
}

int tree_normalise(json_object *tree, int depth)
{
        _cleanup_strv_ char **scalars = NULL;
        int r = 0;

        if (depth == 0)
                return -EBADMSG;
        json_object_object_foreach(tree, key, value)
        {
                if (!*key || strchr(key, '/'))
                        return -EBADMSG;
                if (json_object_is_type(value, json_type_object))
                        r = tree_normalise(value, depth - 1);
                else if (json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_boolean))
                        r = strv_extend(&scalars, key);
                else if (!json_object_is_type(value, json_type_string))
                        r = -EBADMSG;
                else if (json_object_get_string_len(value) > (int) VALUE_MAX_BYTES)
                        r = -EFBIG;
                if (r < 0)
                        return r;
        }
        for (char **k = scalars; k && *k; k++) {
                json_object *v = json_object_object_get(tree, *k);

                if (json_object_object_add(tree, *k, json_object_new_string(json_object_get_string(v))) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static char *find_denied(json_object *tree, const char *prefix, bool (*allowed)(const char *path, const char *value))
{
        json_object_object_foreach(tree, key, value)
        {
                _cleanup_free_ char *path = strformat("%s%s%s", prefix, *prefix ? "/" : "", key);
                char *denied;

                if (!path)
                        return NULL;
                if (json_object_is_type(value, json_type_object)) {
                        denied = find_denied(value, path, allowed);
                        if (denied)
                                return denied;
                } else if (!allowed(path, json_object_get_string(value)))
                        return TAKE_PTR(path);
        }
        return NULL;
}

char *tree_denied_to_guests(json_object *tree)
{
        return find_denied(tree, "", vm_path_guest_may_write);
}

/*
 * What a template that the host wrote may hold for a guest's VM: programs, files and labels of the host's choice, but
 * nothing that makes the VM more than a user's.
 */
static bool is_plain(const char *path, const char *value)
{
        static const char *const never[] = { "uuid", "rpc-firewall-rules", "config/pci", "parent-override" };
        const VmKey *k = vm_key_of_path(path);

        for (size_t i = 0; i < ELEMENTSOF(never); i++) {
                const char *rest = startswith(path, never[i]);

                if (rest && (!*rest || *rest == '/'))
                        return false;
        }
        if (streq(path, "type"))
                return streq(value, "svm") || streq(value, "pvm");
        return !k || !(k->flags & VMKEY_ADMIN) || startswith(path, "policies/") || streq(value, k->fallback);
}

char *template_denied_to_guests(const char *name, json_object *tree)
{
        return startswith(name, "service-") || startswith(name, "child-") ? strdup(name) : find_denied(tree, "", is_plain);
}

/* Service VMs */

static bool service_is_active(Manager *m, const char *tag)
{
        const char *mode = startswith(tag, "ndvm-");

        if (mode)
                return streq(mode, db_text(m, "/xenmgr/ndvm-mode", "hvm"));
        if (streq(tag, "usbvm"))
                return db_bool(m, "/xenmgr/usbvm-enable", false);
        return true;
}

static bool service_overwrites(Manager *m, const char *tag)
{
        char key[128];

        snprintf(key, sizeof key, "/xenmgr/overwrite-%s-settings", startswith(tag, "ndvm") ? "ndvm" : tag);
        return db_bool(m, key, true);
}

int tree_keep_sums(Manager *m, const char *uuid, json_object *tree)
{
        static const char *const sums[] = { "sha1sum", "sha256sum" };
        char path[128];
        const DbNode *disks;
        int r = 0;

        snprintf(path, sizeof path, "/vm/%s/config/disk", uuid);
        disks = db_node(m, path);
        for (const DbNode *d = disks ? dbnode_first(disks) : NULL; d; d = dbnode_next(d))
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(sums); i++) {
                        const char *sum = dbnode_text(d, sums[i]);

                        snprintf(path, sizeof path, "config/disk/%.32s/%s", dbnode_name(d), sums[i]);
                        r = *sum ? tree_set(tree, path, sum) : 0;
                }
        return r;
}

/* Whether the stored tree differs: a start of the daemon writes nothing that is there already. */
static bool tree_differs(const DbNode *n, json_object *tree)
{
        size_t count = 0;

        for (const DbNode *c = dbnode_first(n); c; c = dbnode_next(c))
                count++;
        if (count != (size_t) json_object_object_length(tree))
                return true;
        json_object_object_foreach(tree, key, value)
        {
                const DbNode *c = dbnode_find(n, key);

                if (!c)
                        return true;
                if (json_object_is_type(value, json_type_object)
                            ? tree_differs(c, value)
                            : dbnode_first(c) || !streq(dbnode_text(c, NULL), json_object_get_string(value)))
                        return true;
        }
        return false;
}

static int configure_service(Manager *m, const char *name, const char *tag)
{
        _cleanup_json_ json_object *tree = NULL;
        const char *uuid;
        const DbNode *old;
        char path[64];
        DbTx *tx;
        int r;

        r = template_load(m, name, &tree);
        if (r < 0)
                return r;
        uuid = tree_get(tree, "uuid", "");
        if (!uuid_valid(uuid))
                return -EBADMSG;
        snprintf(path, sizeof path, "/vm/%s", uuid);
        old = db_node(m, path);
        if (old && !service_overwrites(m, tag))
                return 0;
        r = tree_keep_sums(m, uuid, tree);
        if (r < 0 || (old && !tree_differs(old, tree)))
                return r;
        tx = db_tx_new();
        (void) db_tx_inject(tx, path, json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN));
        manager_commit_quietly(m, tx, path);
        return 0;
}

int templates_configure_services(Manager *m)
{
        _cleanup_strv_ char **names = NULL;
        int r;

        r = template_list(m, &names);
        for (char **n = names; r >= 0 && n && *n; n++) {
                const char *tag = startswith(*n, "service-");
                int k;

                if (!tag || !service_is_active(m, tag))
                        continue;
                k = configure_service(m, *n, tag);
                if (k < 0)
                        log_warning("The template %s cannot be used: %s", *n, strerror(-k));
        }
        return r;
}
