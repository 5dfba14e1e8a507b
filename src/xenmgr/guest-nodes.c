/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest-nodes.h"

#include <ctype.h>
#include <unistd.h>

#include "caps.h"
#include "cd-drives.h"
#include "fs.h"
#include "json.h"
#include "lifecycle.h"
#include "log.h"
#include "strbuf.h"

#define NODES_MAX 32
#define NODE_MAX 64
#define VALUE_MAX 64

struct GuestNodes {
        size_t n;
        struct {
                char node[NODE_MAX + 1], value[VALUE_MAX + 1];
        } nodes[NODES_MAX];
};

struct GuestNodes *guest_nodes_free(struct GuestNodes *g)
{
        free(g);
        return NULL;
}

/* Nodes and what is done when one is written */

static bool is_printable(const char *s)
{
        for (; *s; s++)
                if (!isprint((unsigned char) *s))
                        return false;
        return true;
}

static bool is_number(const char *s)
{
        return *s && strlen(s) <= 10 && strspn(s, "0123456789") == strlen(s);
}

static bool is_flag(const char *s)
{
        return streq(s, "0") || streq(s, "1");
}

static bool is_power_state(const char *s)
{
        return streq(s, "0") || streq(s, "3") || streq(s, "4");
}

static void store_tools(Vm *vm, bool installed, const char *version)
{
        char path[VM_PATH_MAX];
        DbTx *tx;

        if (vm_bool(vm, "pv-addons-installed", false) == installed &&
            (!version || streq(vm_text(vm, "pv-addons-version", ""), version)))
                return;
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, vm_db_path(vm, path, "pv-addons-installed"), installed ? "true" : "false");
        if (version)
                (void) db_tx_write(tx, vm_db_path(vm, path, "pv-addons-version"), version);
        vm_commit_quietly(vm, tx, "pv-addons");
}

/* The version counts when all its parts are there. */
static void on_tools(Vm *vm, _unused_ const char *node, _unused_ const char *value)
{
        static const char *const parts[] = { "Major", "Minor", "Micro", "Build" };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        bool whole = true;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                char part[NODE_MAX];
                const char *v;

                snprintf(part, sizeof part, "attr/PVAddons/%sVersion", parts[i]);
                v = guest_node(vm, part);
                whole = whole && v;
                strbuf_addf(&b, "%s%s", i ? "." : "", strempty(v));
        }
        if (streq(strempty(guest_node(vm, "attr/PVAddons/Installed")), "1"))
                store_tools(vm, true, whole ? b.data : NULL);
}

static void on_tools_gone(Vm *vm, _unused_ const char *node, const char *value)
{
        if (streq(value, "1"))
                store_tools(vm, false, "");
}

static void on_power_state(Vm *vm, _unused_ const char *node, const char *value)
{
        char text[32];

        snprintf(text, sizeof text, "power-state:%s", value);
        lifecycle_notify(vm, text);
}

static void on_cd_lock(Vm *vm, const char *node, const char *value)
{
        char id[NODE_MAX];

        snprintf(id, sizeof id, "%s", node + strlen("bsgdev/"));
        *strchrnul(id, '/') = '\0';
        cd_drive_locked(vm, id, streq(value, "1"));
}

/* A star stands for the number of a CD drive. */
static const struct {
        const char *node;
        bool (*ok)(const char *untrusted_value);
        void (*written)(Vm *vm, const char *node, const char *value);
} known_nodes[] = {
        { "attr/PVAddons/Installed", is_flag, on_tools },
        { "attr/PVAddons/MajorVersion", is_number, on_tools },
        { "attr/PVAddons/MinorVersion", is_number, on_tools },
        { "attr/PVAddons/MicroVersion", is_number, on_tools },
        { "attr/PVAddons/BuildVersion", is_number, on_tools },
        { "attr/PVAddonsUninstalled", is_flag, on_tools_gone },
        { "power-state", is_power_state, on_power_state },
        { "bsgdev/*/lock", is_flag, on_cd_lock },
};

int guest_nodes_known(char ***ret)
{
        _cleanup_strv_ char **l = NULL;

        for (size_t i = 0; i < ELEMENTSOF(known_nodes); i++)
                if (!strchr(known_nodes[i].node, '*') && !streq(known_nodes[i].node, "power-state") &&
                    strv_extend(&l, known_nodes[i].node) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(l);
        return 0;
}

static bool node_matches(const char *pattern, const char *node)
{
        size_t n = strcspn(pattern, "*"), id;

        if (!pattern[n])
                return streq(pattern, node);
        if (strncmp(pattern, node, n) != 0)
                return false;
        id = strspn(node + n, "0123456789_");
        return id > 0 && id < 32 && streq(node + n + id, pattern + n + 1);
}

const char *guest_node(const Vm *vm, const char *node)
{
        const struct GuestNodes *g = vm->guest_nodes;

        for (size_t i = 0; g && i < g->n; i++)
                if (streq(g->nodes[i].node, node))
                        return g->nodes[i].value;
        return NULL;
}

bool guest_sentinel(Vm *vm)
{
        return *strempty(guest_node(vm, vm_text(vm, "boot-sentinel", "")));
}

/* The file */

static char *record_path(const Vm *vm)
{
        return paths_format(manager_paths(vm->manager), PATH_VM, "%s/guest.json", vm->uuid);
}

static void record_write(Vm *vm)
{
        _cleanup_free_ char *path = record_path(vm);
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *nodes = json_object_new_object();
        const char *text;
        int r;

        (void) json_object_object_add(o, "version", json_object_new_int(1));
        (void) json_object_object_add(o, "domid", json_object_new_int64(vm->domid));
        for (size_t i = 0; i < vm->guest_nodes->n; i++)
                (void) json_object_object_add(nodes, vm->guest_nodes->nodes[i].node,
                                              json_object_new_string(vm->guest_nodes->nodes[i].value));
        (void) json_object_object_add(o, "nodes", nodes);
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        r = path && text ? write_file_atomic(path, text, strlen(text), 0600) : -ENOMEM;
        if (r < 0)
                log_warning("Cannot write what %s told of itself: %s", vm->uuid, strerror(-r));
}

/* Returns 1 when it is new, 0 when it was so already, or negative errno. */
static int node_set(Vm *vm, const char *node, const char *value)
{
        struct GuestNodes *g = vm->guest_nodes ? vm->guest_nodes : calloc(1, sizeof *g);
        size_t i = 0;

        if (!g)
                return -ENOMEM;
        vm->guest_nodes = g;
        while (i < g->n && !streq(g->nodes[i].node, node))
                i++;
        if (i == NODES_MAX)
                return -ENOSPC;
        if (i < g->n && streq(g->nodes[i].value, value))
                return 0;
        if (i == g->n)
                g->n++;
        snprintf(g->nodes[i].node, sizeof g->nodes[i].node, "%s", node);
        snprintf(g->nodes[i].value, sizeof g->nodes[i].value, "%s", value);
        return 1;
}

/* 1: it is new, and was written down; 0: it was so already, or cannot be kept. */
static int node_keep(Vm *vm, const char *node, const char *value)
{
        int r = vm_is_running(vm) ? node_set(vm, node, value) : 0;

        if (r < 0)
                log_warning("A node of %s is not kept: %s", vm->uuid, strerror(-r));
        if (r > 0)
                record_write(vm);
        return r > 0;
}

void guest_node_note(Vm *vm, const char *node, const char *value)
{
        (void) node_keep(vm, node, value);
}

void guest_node_written(Vm *vm, const char *untrusted_node, const char *untrusted_value)
{
        const char *sentinel = vm_text(vm, "boot-sentinel", "");
        bool is_sentinel = *sentinel && streq(untrusted_node, sentinel);
        size_t k = 0;

        while (k < ELEMENTSOF(known_nodes) && !node_matches(known_nodes[k].node, untrusted_node))
                k++;
        if (strlen(untrusted_node) > NODE_MAX || strlen(untrusted_value) > VALUE_MAX || !is_printable(untrusted_value) ||
            startswith(untrusted_node, GUEST_NODE_HOST) ||
            (!is_sentinel && (k == ELEMENTSOF(known_nodes) || !known_nodes[k].ok(untrusted_value)))) {
                char shown[NODE_MAX + 1];

                log_debug("%s wrote a node that does not count: %s", vm->uuid,
                          log_untrusted(shown, sizeof shown, untrusted_node));
                return;
        }
        if (!node_keep(vm, untrusted_node, untrusted_value))
                return;
        if (is_sentinel)
                lifecycle_sentinel(vm);
        else
                known_nodes[k].written(vm, untrusted_node, untrusted_value);
}

void guest_nodes_adopt(Vm *vm)
{
        _cleanup_free_ char *path = record_path(vm);
        _cleanup_json_ json_object *o = NULL;
        json_object *nodes;

        if (!path || json_read_file(path, 64 * KIB, 4, &o) < 0)
                return;
        nodes = json_get_member(o, "nodes", json_type_object);
        if (json_get_int(o, "version", 0) != 1 || json_get_int(o, "domid", -1) != vm->domid || !nodes)
                return;
        json_object_object_foreach(nodes, node, value)
        {
                (void) value;
                (void) node_set(vm, node, json_get_text(nodes, node, ""));
        }
}

void guest_nodes_forget(Vm *vm)
{
        _cleanup_free_ char *path = record_path(vm);

        vm->guest_nodes = guest_nodes_free(vm->guest_nodes);
        if (path)
                (void) unlink(path);
}

/* Signals of agents */

/* The host's own package of the tools says which version a guest that has them has. */
static void agent_tools(Vm *vm, bool installed)
{
        _cleanup_free_ char *conf = NULL, *version = NULL;
        unsigned dots = 0;

        if (installed && read_file("/etc/xenclient.conf", 64 * KIB, &conf, NULL) >= 0)
                version = lines_value(conf, "tools");
        for (const char *p = version; p && *p; p++)
                dots += *p == '.';
        store_tools(vm, installed, installed ? dots == 3 ? version : NULL : "");
}

static void on_sender_known(_unused_ void *userdata)
{
}

/* They count only when they come from the running VM that they speak of: the proxy's marker says it. */
static int on_agent_signal(sd_bus_message *message, void *userdata, _unused_ sd_bus_error *error)
{
        Manager *m = userdata;
        const char *member = strempty(sd_bus_message_get_member(message)), *node, *value;
        Caller caller;
        Vm *vm;

        if (!m->daemon->callers ||
            callermap_lookup(m->daemon->callers, sd_bus_message_get_sender(message), &caller, on_sender_known, m) <= 0)
                return 0;
        vm = manager_find_vm(m, caller.uuid);
        if (!vm || vm->domid != caller.domid)
                return 0;
        if (streq(member, "agent_started"))
                agent_tools(vm, true);
        else if (streq(member, "agent_uninstalled"))
                agent_tools(vm, false);
        else if (streq(member, "xorg_running"))
                timeline_mark(vm, "xorg");
        else if (streq(member, "node_written") && sd_bus_message_read(message, "ss", &node, &value) >= 0)
                guest_node_written(vm, node, value);
        return 0;
}

int guest_nodes_bus_up(Manager *m)
{
        return sd_bus_add_match(m->bus, &m->slots[m->n_slots++],
                                "type='signal',interface='com.citrix.xenclient.guest'", on_agent_signal, m);
}
