/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ruleset.h"

#include <unistd.h>

#include "folder-watch.h"
#include "log.h"
#include "peer.h"
#include "strbuf.h"
#include "vminfo.h"

#define ADDED_MAX 1024 /* rules added at run time */

struct RuleSet {
        Proxy *proxy;
        char *paths[2];   /* the first that is there counts; [1] may be NULL */
        const char *path; /* the one whose rules are in force */
        Policy *file;   /* NULL: none usable */
        Policy *all;    /* file and what was added */
        char **added;
        char *error;
        FolderWatch *watches[2];
};

Policy *ruleset_policy(const RuleSet *r)
{
        return r->all;
}

const char *ruleset_path(const RuleSet *r)
{
        return r->path;
}

const char *ruleset_error(const RuleSet *r)
{
        return r->error;
}

/* Keeps the first error as one line. */
static void on_error(void *userdata, const PolicyError *e)
{
        char **why = userdata;

        if (!*why)
                *why = strformat("%s:%u:%u: %s", e->file, e->line, e->column, e->message);
}

static int extend(Policy *base, char *const *added, char **ret_why, Policy **ret)
{
        const PolicyErrors errors = { on_error, ret_why };
        _cleanup_free_ PolicyText *texts = NULL;
        size_t n = strv_length(added);

        if (n == 0) {
                *ret = policy_ref(base);
                return 0;
        }
        texts = calloc(n, sizeof *texts);
        if (!texts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                texts[i] = (PolicyText) { .text = added[i], .file = "add_rule" };
        return policy_extend(base, NULL, texts, n, &errors, ret);
}

static void apply_to_all(RuleSet *r)
{
        for (Peer *p = r->proxy->peers; p; p = p->next)
                ruleset_apply(r, p);
}

static void take(RuleSet *r, Policy *file, Policy *all)
{
        policy_unref(r->file);
        policy_unref(r->all);
        r->file = file;
        r->all = all;
        apply_to_all(r);
}

static const char *choose(const RuleSet *r)
{
        return r->paths[1] && access(r->paths[0], F_OK) < 0 && errno == ENOENT ? r->paths[1] : r->paths[0];
}

int ruleset_reload(RuleSet *r)
{
        const char *path = choose(r);
        _cleanup_free_ char *why = NULL;
        const PolicyErrors errors = { on_error, &why };
        _cleanup_policy_ Policy *file = NULL;
        Policy *all;
        int e;

        e = policy_load_file(path, &errors, &file);
        if (e >= 0)
                e = extend(file, r->added, &why, &all);
        if (e < 0) {
                free(r->error);
                r->error = why ? TAKE_PTR(why) : strformat("%s: %s", path, strerror(-e));
                log_error("The rules cannot be used: %s; %s", r->error ? r->error : "out of memory",
                          r->all ? "the old ones stay in force" : "everything is denied");
                return e;
        }
        free(r->error);
        r->error = NULL;
        r->path = path;
        log_info("%zu rules of %s are in force", policy_count(all), r->path);
        take(r, TAKE_PTR(file), all);
        return 0;
}

void ruleset_apply(RuleSet *r, Peer *peer)
{
        _cleanup_free_ char *why = NULL;
        const PolicyErrors errors = { on_error, &why };
        PolicyText *texts = NULL;
        Policy *policy = NULL;
        int n = 0, e = 0;

        if (!r)
                return;
        if (!r->all)
                why = strformat("the rules cannot be used: %s", strempty(r->error));
        else if (!peer->uuid[0])
                policy = policy_ref(r->all);
        else {
                n = vminfo_rules(r->proxy->vminfo, peer->uuid, &texts);
                if (n == -ENODATA)
                        why = strdup("the VM's own rules are not known while the database is away");
                else if (n == -EINVAL)
                        why = strformat("/vm/%s/rpc-firewall-rules: a rule's name is no number", peer->uuid);
                else if (n == 0)
                        policy = policy_ref(r->all);
                else if (n > 0)
                        e = policy_with_vm_rules(r->all, peer->uuid, texts, (size_t) n, &errors, &policy);
                if (!policy && !why)
                        why = strdup(strerror(n < 0 ? -n : -e));
        }
        vminfo_rules_free(texts, n);
        if (!policy && n != -ENODATA && !streq_ptr(why, peer->policy_why))
                log_error("All calls of the VM %s are denied: %s", peer->uuid[0] ? peer->uuid : "(unknown)", strempty(why));
        policy_unref(peer->policy);
        free(peer->policy_why);
        peer->policy = policy;
        peer->policy_why = TAKE_PTR(why);
}

void ruleset_vm_changed(RuleSet *r, const char *uuid)
{
        for (Peer *p = r ? r->proxy->peers : NULL; p; p = p->next)
                if (!uuid || streq(p->uuid, uuid))
                        ruleset_apply(r, p);
}

static int set_added(RuleSet *r, char **added, char **ret_why)
{
        Policy *all;
        int e;

        if (!r->file)
                e = -ENOENT;
        else
                e = extend(r->file, added, ret_why, &all);
        if (e < 0) {
                strv_free(added);
                return e;
        }
        strv_free(r->added);
        r->added = added;
        take(r, policy_ref(r->file), all);
        return 0;
}

static char **strv_copy_without(char *const *l, const char *without, bool *ret_found)
{
        _cleanup_strv_ char **copy = NULL;

        for (; l && *l; l++)
                if (without && streq(*l, without))
                        *ret_found = true;
                else if (strv_extend(&copy, *l) < 0)
                        return NULL;
        return TAKE_PTR(copy);
}

int ruleset_add(RuleSet *r, const char *text, char **ret_why)
{
        char **added;
        bool found;

        if (strv_length(r->added) >= ADDED_MAX)
                return -E2BIG;
        added = strv_copy_without(r->added, NULL, &found);
        if ((!added && strv_length(r->added) > 0) || strv_extend(&added, text) < 0) {
                strv_free(added);
                return -ENOMEM;
        }
        return set_added(r, added, ret_why);
}

int ruleset_delete(RuleSet *r, const char *text)
{
        _cleanup_free_ char *why = NULL;
        bool found = false;
        char **added = strv_copy_without(r->added, text, &found);

        if (!found) {
                strv_free(added);
                return -ENOENT;
        }
        return set_added(r, added, &why);
}

static void on_change(void *userdata, const char *name)
{
        RuleSet *r = userdata;

        for (size_t i = 0; i < ELEMENTSOF(r->paths) && r->paths[i]; i++)
                if (!name || streq(name, basename(r->paths[i]))) {
                        (void) ruleset_reload(r);
                        return;
                }
}

/* The folder is watched, since editors and our own writer replace the file. */
static int add_path(RuleSet *r, size_t i, const char *path)
{
        _cleanup_free_ char *dir = NULL;
        const char *slash;
        int e;

        r->paths[i] = strdup(path);
        slash = strrchr(path, '/');
        dir = slash ? strndup(path, MAX2((size_t) (slash - path), (size_t) 1)) : strdup(".");
        if (!r->paths[i] || !dir)
                return -ENOMEM;
        e = folder_watch_new(r->proxy->event, dir, IN_CLOSE_WRITE | IN_MOVED_TO, on_change, r, &r->watches[i]);
        if (e < 0)
                log_errno_full(LOG_WARNING, e, "Changes of %s are only seen with SIGHUP", path);
        return 0;
}

int ruleset_new(Proxy *p, const char *path, const char *other, RuleSet **ret)
{
        _cleanup_(ruleset_freep) RuleSet *r = calloc(1, sizeof *r);

        if (!r)
                return -ENOMEM;
        r->proxy = p;
        if (add_path(r, 0, path) < 0 || (other && add_path(r, 1, other) < 0))
                return -ENOMEM;
        r->path = choose(r);
        if (ruleset_reload(r) == -ENOMEM)
                return -ENOMEM;
        *ret = TAKE_PTR(r);
        return 0;
}

RuleSet *ruleset_free(RuleSet *r)
{
        if (!r)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(r->paths); i++) {
                folder_watch_free(r->watches[i]);
                free(r->paths[i]);
        }
        policy_unref(r->file);
        policy_unref(r->all);
        strv_free(r->added);
        free(r->error);
        free(r);
        return NULL;
}
