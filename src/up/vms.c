/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vms.h"

#include <poll.h>

#include "daemon.h"
#include "runtime.h"
#include "strbuf.h"

#define CALL_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define DESTROY_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define VMS_MAX 4096

void vmlist_done(VmList *l)
{
        for (size_t i = 0; i < l->n; i++) {
                free(l->vm[i].path);
                free(l->vm[i].name);
                free(l->vm[i].uuid);
                free(l->vm[i].state);
        }
        free(l->vm);
        *l = (VmList) { 0 };
}

int stack_bus_open(const Stack *s, sd_bus **ret)
{
        _cleanup_free_ char *address = stack_bus_address(s);
        int r;

        if (!address)
                return -ENOMEM;
        r = bus_open(address, ret);
        if (r >= 0)
                (void) sd_bus_set_method_call_timeout(*ret, CALL_TIMEOUT_USEC);
        return r;
}

static char *get_text(sd_bus *bus, const char *path, const char *property)
{
        char *text = NULL;

        return sd_bus_get_property_string(bus, XENMGR_SERVICE, path, XENMGR_VM_INTERFACE, property, NULL, &text) >= 0 ? text : NULL;
}

/* Not sd_bus_get_property_trivial(), which refuses names with a hyphen. */
static int32_t get_int(sd_bus *bus, const char *path, const char *property, int32_t fallback)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int32_t v;

        if (sd_bus_call_method(bus, XENMGR_SERVICE, path, "org.freedesktop.DBus.Properties", "Get", NULL, &reply, "ss",
                               XENMGR_VM_INTERFACE, property) < 0 || sd_bus_message_read(reply, "v", "i", &v) < 0)
                return fallback;
        return v;
}

int vmlist_get(sd_bus *bus, VmList *ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(vmlist_done) VmList l = { 0 };
        const char *path;
        int r;

        r = sd_bus_call_method(bus, XENMGR_SERVICE, "/", XENMGR_SERVICE, "list_vms", NULL, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "o");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(reply, 'o', &path)) > 0 && l.n < VMS_MAX) {
                VmInfo *more = reallocarray(l.vm, l.n + 1, sizeof *more);

                if (!more)
                        return -ENOMEM;
                l.vm = more;
                l.vm[l.n++] = (VmInfo) {
                        .path = strdup(path),
                        .name = get_text(bus, path, "name"),
                        .uuid = get_text(bus, path, "uuid"),
                        .state = get_text(bus, path, "state"),
                        .domid = get_int(bus, path, "domid", -1),
                        .memory = get_int(bus, path, "memory", 0),
                        .priority = get_int(bus, path, "shutdown-priority", 0),
                };
                if (!l.vm[l.n - 1].path)
                        return -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret = l;
        l = (VmList) { 0 };
        return 0;
}

static bool vm_runs(const VmInfo *vm)
{
        return vm->state && !streq(vm->state, "stopped");
}

/* How many different priorities below that one the VMs that run have, and the highest of these. */
static unsigned count_stages(const VmList *l, int64_t below, int64_t *ret_highest)
{
        int64_t highest = INT64_MIN;

        for (size_t i = 0; i < l->n; i++)
                if (vm_runs(&l->vm[i]) && l->vm[i].priority < below)
                        highest = MAX2(highest, (int64_t) l->vm[i].priority);
        *ret_highest = highest;
        return highest == INT64_MIN ? 0 : 1 + count_stages(l, highest, &(int64_t) { 0 });
}

/* Asks all of one priority. */
static void ask_stage(sd_bus *bus, const VmList *l, int64_t priority, void (*say)(const char *text))
{
        for (size_t i = 0; i < l->n; i++) {
                const VmInfo *vm = &l->vm[i];
                _cleanup_free_ char *text = NULL;

                if (!vm_runs(vm) || vm->priority != priority)
                        continue;
                text = strformat("shutting down the VM %s (%s)", strempty(vm->name), strempty(vm->uuid));
                if (text)
                        say(text);
                /* Its answer comes when the VM is down, which the loop sees by itself. */
                (void) sd_bus_call_method_async(bus, NULL, XENMGR_SERVICE, vm->path, XENMGR_VM_INTERFACE, "shutdown", NULL,
                                                NULL, NULL);
        }
}

/* A domain of Xen has no process that could be ended later. */
static void destroy_domains(const Stack *s, sd_bus *bus, const VmList *l)
{
        for (size_t i = 0; i < l->n; i++) {
                _cleanup_(monitor_record_done) MonitorRecord record = { 0 };

                if (vm_runs(&l->vm[i]) && l->vm[i].uuid && monitor_record_read(&s->paths, l->vm[i].uuid, &record) >= 0 &&
                    streq_ptr(record.backend, "xen"))
                        (void) sd_bus_call_method(bus, XENMGR_SERVICE, l->vm[i].path, XENMGR_VM_INTERFACE, "destroy", NULL, NULL, NULL);
        }
}

int vms_shutdown(const Stack *s, uint64_t timeout_usec, void (*say)(const char *text))
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        uint64_t end = now_usec() + timeout_usec, stage_end = 0;
        int64_t asked = INT64_MAX; /* the priority of the last that were asked */
        int r;

        r = stack_bus_open(s, &bus);
        if (r < 0)
                return r;
        for (;;) {
                _cleanup_(vmlist_done) VmList l = { 0 };
                int64_t highest;
                unsigned stages;
                uint64_t now;
                int n = 0;

                r = vmlist_get(bus, &l);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < l.n; i++)
                        n += vm_runs(&l.vm[i]);
                if (n == 0)
                        return 0;
                now = now_usec();
                /* Those that were asked and still run are waited for until their time is over. */
                (void) count_stages(&l, INT64_MAX, &highest);
                if (highest < asked || now >= stage_end) {
                        stages = count_stages(&l, asked, &highest);
                        if (stages > 0) {
                                ask_stage(bus, &l, highest, say);
                                asked = highest;
                                stage_end = now + (end > now ? (end - now) / stages : 0);
                        }
                }
                if (now >= end) {
                        (void) sd_bus_set_method_call_timeout(bus, DESTROY_TIMEOUT_USEC);
                        destroy_domains(s, bus, &l);
                        return n;
                }
                (void) sd_bus_flush(bus);
                (void) poll(NULL, 0, 100);
        }
}
