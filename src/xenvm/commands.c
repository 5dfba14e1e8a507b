/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a command's name and texts to what it does. Short commands answer at once, from memory where they can. */
#include <unistd.h>

#include "devices.h"
#include "log.h"
#include "monitor.h"
#include "parse.h"
#include "strbuf.h"
#include "xenvm-commands.h"

/* The arguments of one command, checked; in the order of the table's row. text NULL: not given. */
typedef struct Values {
        struct {
                const char *text;
                int64_t number;
                bool flag;
        } v[XENVM_ARGS_MAX];
} Values;

static void reply_int(Request *q, int64_t i)
{
        char text[24];

        snprintf(text, sizeof text, "%lld", (long long) i);
        request_done(q, text);
}

static void on_simple(void *userdata, int r, const char *text)
{
        Request *q = userdata;

        if (r < 0)
                request_fail(q, REQUEST_FAILED, "%s", text);
        else
                request_done(q, text);
        request_unref(q);
}

static const char *refusal(int r)
{
        return r == -EBUSY      ? "Vm_bad_state: another change is under way"
               : r == -ENOTCONN ? "Vm_bad_state: the device model cannot be asked now"
                                : strerror(-r);
}

/* Gives on_simple() a reference of its own; takes it back where the call failed at once. */
#define ASYNC(q, call)                                                                             \
        do {                                                                                       \
                int _r = ((void) request_ref(q), (call));                                          \
                if (_r < 0)                                                                        \
                        on_simple(q, _r, refusal(_r));                                             \
        } while (0)

static bool running(Monitor *m, Request *q)
{
        if (m->vm && m->state != STATE_CREATING_DOMAIN)
                return true;
        request_fail(q, REQUEST_FAILED, "Vm_bad_state: no domain id: the state is %s, a running VM is expected",
                     vm_state_to_text(m->state));
        return false;
}

/* What is being built, saved or ended is not changed. */
static bool changeable(Monitor *m, Request *q)
{
        if (!running(m, q))
                return false;
        if (!op_holds_vm(m))
                return true;
        request_fail(q, REQUEST_FAILED, "Vm_bad_state: %s is under way (state %s)", op_name(m->op->kind), vm_state_to_text(m->state));
        return false;
}

static void run_start(Monitor *m, Request *q, const Values *a)
{
        op_start(m, q, a->v[0].flag);
}

/* pause and unpause change the state when QEMU has said yes. */
typedef struct StateChange {
        Monitor *monitor;
        Request *request;
        VmState to;
} StateChange;

static void on_state_changed(void *userdata, int r, const char *text)
{
        StateChange *c = userdata;

        if (r >= 0) {
                if (c->to == STATE_RUNNING)
                        timeline_reach(&c->monitor->timeline, TIMELINE_RUNNING);
                monitor_set_state(c->monitor, c->to);
        }
        on_simple(c->request, r, text);
        free(c);
}

static void change_state(Monitor *m, Request *q, int (*call)(Vm *, VmDone, void *), VmState to)
{
        StateChange *c = calloc(1, sizeof *c);
        int r;

        if (!c) {
                request_fail(q, REQUEST_FAILED, "out of memory");
                return;
        }
        *c = (StateChange) { m, request_ref(q), to };
        r = call(m->vm, on_state_changed, c);
        if (r < 0)
                on_state_changed(c, r, refusal(r));
}

static void run_pause(Monitor *m, Request *q, _unused_ const Values *a)
{
        if (m->state != STATE_RUNNING || m->op)
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: the state is %s, running is expected", vm_state_to_text(m->state));
        else
                change_state(m, q, m->backend->pause, STATE_PAUSED);
}

static void run_unpause(Monitor *m, Request *q, _unused_ const Values *a)
{
        if (m->state == STATE_RUNNING)
                request_done(q, NULL);
        else if ((m->state != STATE_PAUSED && m->state != STATE_CREATED) || m->op)
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: the state is %s, paused or created is expected",
                             vm_state_to_text(m->state));
        else
                change_state(m, q, m->backend->run, STATE_RUNNING);
}

static void run_halt(Monitor *m, Request *q, const Values *a)
{
        op_halt(m, q, a->v[0].flag);
}

static void run_reboot(Monitor *m, Request *q, const Values *a)
{
        op_reboot(m, q, a->v[0].flag, a->v[1].flag);
}

static void run_destroy(Monitor *m, Request *q, _unused_ const Values *a)
{
        op_destroy(m, q);
}

static void run_suspend(Monitor *m, Request *q, const Values *a)
{
        op_suspend(m, q, a->v[1].text, a->v[0].flag);
}

static void run_restore(Monitor *m, Request *q, const Values *a)
{
        op_restore(m, q, a->v[0].text, a->v[1].flag, a->v[2].flag);
}

static void run_checkpoint(Monitor *m, Request *q, const Values *a)
{
        op_checkpoint(m, q, a->v[0].text);
}

static void run_cancel(Monitor *m, Request *q, _unused_ const Values *a)
{
        op_cancel(m, q);
}

static void run_progress(Monitor *m, Request *q, _unused_ const Values *a)
{
        _cleanup_free_ char *text = NULL;

        if (!m->op) {
                request_done(q, "idle");
                return;
        }
        text = m->op->total > 0
                       ? strformat("%s: %llu of %llu MiB (%llu %%)", op_name(m->op->kind), (unsigned long long) (m->op->done / MIB),
                                   (unsigned long long) (m->op->total / MIB),
                                   (unsigned long long) (m->op->done * 100 / m->op->total))
                       : strformat("%s: since %.1f s", op_name(m->op->kind), (double) (now_usec() - m->op->begin) / 1e6);
        request_done(q, text ? text : op_name(m->op->kind));
}

static void run_s3suspend(Monitor *m, Request *q, const Values *a)
{
        op_sleep(m, q, OP_S3, a->v[0].number);
}

static void run_s4suspend(Monitor *m, Request *q, const Values *a)
{
        op_sleep(m, q, OP_S4, a->v[0].number);
}

static void run_trigger(Monitor *m, Request *q, const Values *a)
{
        if (!streq(a->v[0].text, "s3resume"))
                request_fail(q, REQUEST_FAILED, "unknown trigger: %s", a->v[0].text);
        else if (m->state != STATE_RUNNING)
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: the state is %s, running is expected", vm_state_to_text(m->state));
        else if (!vmconfig_is_hvm(m->config))
                request_fail(q, REQUEST_FAILED, "guest is not HVM");
        else
                ASYNC(q, m->backend->ask(m->vm, VM_ASK_WAKE, on_simple, q));
}

static void run_get_domid(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_int(q, m->domid);
}

static void run_get_stubdomid(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_int(q, m->vm && m->backend->stubdomid ? m->backend->stubdomid(m->vm) : -1);
}

static void run_get_status(Monitor *m, Request *q, _unused_ const Values *a)
{
        request_done(q, vm_state_to_text(m->state));
}

static void run_get_acpi_state(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_int(q, m->acpi_state);
}

static void run_get_vnc(Monitor *m, Request *q, _unused_ const Values *a)
{
        if (!m->vm || m->state == STATE_CREATING_DOMAIN || m->config->display.kind != VM_DISPLAY_VNC)
                request_done(q, "");
        else
                ASYNC(q, m->backend->vnc_port(m->vm, on_simple, q));
}

static void run_get(Monitor *m, Request *q, const Values *a)
{
        _cleanup_free_ char *value = NULL;
        int r;

        if (m->backend->free_kib && streq(a->v[0].text, "host-free-kib")) {
                reply_int(q, m->backend->free_kib());
                return;
        }
        r = vmconfig_get(monitor_next_config(m), a->v[0].text, &value);
        if (r < 0)
                request_fail(q, REQUEST_FAILED, "Unknown_field(\"%s\")", a->v[0].text);
        else
                request_done(q, value);
}

static void run_set(Monitor *m, Request *q, const Values *a)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        r = monitor_copy_next(m, &c);
        if (r >= 0)
                r = vmconfig_set(c, a->v[0].text, a->v[1].text, &why);
        if (r == -ENOENT)
                request_fail(q, REQUEST_FAILED, "Unknown_field(\"%s\")", a->v[0].text);
        else if (r < 0)
                request_fail(q, REQUEST_FAILED, "%s: %s", a->v[0].text, why ? why : strerror(-r));
        else {
                monitor_take_next(m, TAKE_PTR(c));
                request_done(q, NULL);
        }
}

static void run_read_config(Monitor *m, Request *q, const Values *a)
{
        _cleanup_free_ char *why = NULL;

        if (monitor_read_config(m, a->v[0].text, &why) < 0)
                request_fail(q, REQUEST_FAILED, "%s", strempty(why));
        else
                request_done(q, NULL);
}

static void add_element(Monitor *m, Request *q, XenvmKey key, const char *value)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_free_ char *why = NULL;
        int r;

        r = value ? monitor_copy_next(m, &c) : -ENOMEM;
        if (r >= 0)
                r = vmconfig_add(c, key, value, &why);
        if (r < 0) {
                request_fail(q, REQUEST_FAILED, "%s", why ? why : strerror(-r));
                return;
        }
        monitor_take_next(m, TAKE_PTR(c));
        request_done(q, NULL);
}

static void run_disk_add(Monitor *m, Request *q, const Values *a)
{
        _cleanup_free_ char *value = strformat("%s:%s:%s:%s:%s", a->v[0].text, a->v[2].text, a->v[1].text, a->v[3].text,
                                               a->v[4].text);

        add_element(m, q, XENVM_KEY_disk, value);
}

static void run_nic_add(Monitor *m, Request *q, const Values *a)
{
        static const char *const names[] = { "bridge", "mac", "model", "network" };
        _cleanup_free_ char *value = NULL;
        StrBuf b = STRBUF_INIT;

        strbuf_add(&b, "");
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (a->v[i].text)
                        strbuf_addf(&b, "%s%s=%s", b.len > 0 ? "," : "", names[i], a->v[i].text);
        (void) strbuf_take(&b, &value);
        add_element(m, q, XENVM_KEY_nic, value);
}

static void run_pci_add(Monitor *m, Request *q, const Values *a)
{
        _cleanup_free_ char *value = NULL;
        StrBuf b = STRBUF_INIT;

        for (int i = 1; i <= 4; i++)
                if (a->v[i].number < 0 || a->v[i].number > 0xffff) {
                        request_fail(q, REQUEST_BAD_ARGUMENTS, "tasks argument using invalid type: %s",
                                     xenvm_commands[XENVM_CMD_PCI_ADD].args[i].name);
                        return;
                }
        strbuf_addf(&b, "%lld,%s%04x:%02x:%02x.%x", (long long) a->v[0].number, a->v[5].flag ? "bind," : "",
                    (unsigned) a->v[1].number, (unsigned) a->v[2].number, (unsigned) a->v[3].number,
                    (unsigned) a->v[4].number);
        if (a->v[6].text)
                strbuf_addf(&b, ",msitranslate=%d", a->v[6].flag);
        if (a->v[7].text)
                strbuf_addf(&b, ",power_mgmt=%d", a->v[7].flag);
        (void) strbuf_take(&b, &value);
        add_element(m, q, XENVM_KEY_pci, value);
}

static void reply_text(Request *q, char *text)
{
        if (text)
                request_done(q, text);
        else
                request_fail(q, REQUEST_FAILED, "out of memory");
        free(text);
}

static void run_disk_list(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_text(q, devices_list_disks(m));
}

static void run_nic_list(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_text(q, devices_nic_table(m));
}

static void run_pci_list(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_text(q, devices_pci_table(m));
}

static void run_not_implemented(_unused_ Monitor *m, Request *q, _unused_ const Values *a)
{
        /* The contract's own words. */
        request_fail(q, REQUEST_FAILED, "not implemented");
}

static void run_device(Monitor *m, Request *q, const Values *a)
{
        devices_command(m, q, a->v[0].text, a->v[1].text, a->v[2].text);
}

static void run_cd_eject(Monitor *m, Request *q, const Values *a)
{
        if (changeable(m, q))
                devices_set_medium(m, q, a->v[0].text, NULL);
}

static void run_cd_insert(Monitor *m, Request *q, const Values *a)
{
        if (changeable(m, q))
                devices_set_medium(m, q, a->v[0].text, a->v[1].text);
}

static void run_nic_network_switch(Monitor *m, Request *q, const Values *a)
{
        if (changeable(m, q))
                devices_switch_network(m, q, a->v[0].number, a->v[1].text);
}

static void run_set_nic_backend_dom(Monitor *m, Request *q, const Values *a)
{
        if (!m->backend->set_nic_backend || running(m, q))
                devices_set_nic_backend(m, q, a->v[0].number, a->v[1].number);
}

static void run_set_mem_target(Monitor *m, Request *q, const Values *a)
{
        int64_t mb = a->v[0].number;

        if (!m->vm)
                request_fail(q, REQUEST_FAILED, "no domain id");
        else if (mb <= 0 || mb > INT32_MAX)
                request_fail(q, REQUEST_FAILED, "mb = %lld: a number above 0 is accepted", (long long) mb);
        else
                ASYNC(q, m->backend->set_memory(m->vm, (uint64_t) mb * 1024, on_simple, q));
}

/* From xenmgr, which knows the name of the sentinel and hears what the guest writes. */
static void run_publish(Monitor *m, Request *q, const Values *a)
{
        int r;

        if (!running(m, q))
                return;
        r = m->backend->show ? m->backend->show(m->vm, a->v[0].text, a->v[1].text) : 0;
        if (r < 0)
                request_fail(q, REQUEST_FAILED, "'%s' cannot be shown: %s", a->v[0].text, strerror(-r));
        else
                request_done(q, NULL);
}

static void run_boot_sentinel(Monitor *m, Request *q, _unused_ const Values *a)
{
        if (!running(m, q))
                return;
        monitor_guest_reached(m, TIMELINE_SENTINEL);
        request_done(q, NULL);
}

static void run_console(Monitor *m, Request *q, _unused_ const Values *a)
{
        _cleanup_free_ char *place = NULL, *why = NULL;

        if (!running(m, q))
                return;
        if (m->backend->console)
                place = m->backend->console(m->vm, &why);
        if (place)
                request_done(q, place);
        else
                request_fail(q, REQUEST_FAILED, "%s", why ? why : "this back end has no consoles");
}

static void run_screenshot(Monitor *m, Request *q, const Values *a)
{
        if (!running(m, q))
                return;
        if (!m->backend->screenshot)
                request_fail(q, REQUEST_FAILED, "this back end has no pictures of the screen");
        else
                ASYNC(q, m->backend->screenshot(m->vm, a->v[0].text, on_simple, q));
}

static void run_usage(Monitor *m, Request *q, _unused_ const Values *a)
{
        if (!running(m, q))
                return;
        if (!m->backend->usage)
                request_fail(q, REQUEST_FAILED, "this back end does not count what a VM uses");
        else
                ASYNC(q, m->backend->usage(m->vm, on_simple, q));
}

static void run_timeline(Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_text(q, timeline_text(&m->timeline));
}

static void run_help(_unused_ Monitor *m, Request *q, _unused_ const Values *a)
{
        reply_text(q, xenvm_commands_help());
}

static void run_quit(Monitor *m, Request *q, _unused_ const Values *a)
{
        request_done(q, NULL);
        op_quit(m);
}

static void (*const handlers[_XENVM_CMD_MAX])(Monitor *m, Request *q, const Values *a) = {
        [XENVM_CMD_START] = run_start,
        [XENVM_CMD_PAUSE] = run_pause,
        [XENVM_CMD_UNPAUSE] = run_unpause,
        [XENVM_CMD_HALT] = run_halt,
        [XENVM_CMD_REBOOT] = run_reboot,
        [XENVM_CMD_DESTROY] = run_destroy,
        [XENVM_CMD_SUSPEND] = run_suspend,
        [XENVM_CMD_RESTORE] = run_restore,
        [XENVM_CMD_CHECKPOINT] = run_checkpoint,
        [XENVM_CMD_CANCEL] = run_cancel,
        [XENVM_CMD_PROGRESS] = run_progress,
        [XENVM_CMD_S3SUSPEND] = run_s3suspend,
        [XENVM_CMD_S4SUSPEND] = run_s4suspend,
        [XENVM_CMD_TRIGGER] = run_trigger,
        [XENVM_CMD_GET_DOMID] = run_get_domid,
        [XENVM_CMD_GET_STUBDOMID] = run_get_stubdomid,
        [XENVM_CMD_GET_STATUS] = run_get_status,
        [XENVM_CMD_GET_ACPI_STATE] = run_get_acpi_state,
        [XENVM_CMD_GET_VNC] = run_get_vnc,
        [XENVM_CMD_GET] = run_get,
        [XENVM_CMD_SET] = run_set,
        [XENVM_CMD_READ_CONFIG] = run_read_config,
        [XENVM_CMD_DISK_ADD] = run_disk_add,
        [XENVM_CMD_NIC_ADD] = run_nic_add,
        [XENVM_CMD_PCI_ADD] = run_pci_add,
        [XENVM_CMD_DISK_LIST] = run_disk_list,
        [XENVM_CMD_NIC_LIST] = run_nic_list,
        [XENVM_CMD_PCI_LIST] = run_pci_list,
        [XENVM_CMD_DISK_DEL] = run_not_implemented,
        [XENVM_CMD_NIC_DEL] = run_not_implemented,
        [XENVM_CMD_PCI_DEL] = run_not_implemented,
        [XENVM_CMD_DEVICE] = run_device,
        [XENVM_CMD_CD_EJECT] = run_cd_eject,
        [XENVM_CMD_CD_INSERT_FILE] = run_cd_insert,
        [XENVM_CMD_CD_INSERT_REAL] = run_cd_insert,
        [XENVM_CMD_NIC_NETWORK_SWITCH] = run_nic_network_switch,
        [XENVM_CMD_SET_NIC_BACKEND_DOM] = run_set_nic_backend_dom,
        [XENVM_CMD_SET_MEM_TARGET] = run_set_mem_target,
        [XENVM_CMD_BOOT_SENTINEL] = run_boot_sentinel,
        [XENVM_CMD_PUBLISH] = run_publish,
        [XENVM_CMD_CONSOLE] = run_console,
        [XENVM_CMD_SCREENSHOT] = run_screenshot,
        [XENVM_CMD_USAGE] = run_usage,
        [XENVM_CMD_TIMELINE] = run_timeline,
        [XENVM_CMD_HELP] = run_help,
        [XENVM_CMD_QUIT] = run_quit,
};

/* The value of "name=value" in a list: the last one counts. */
static const char *find_value(char *const *l, const char *name)
{
        const char *found = NULL;
        size_t n = strlen(name);

        for (; l && *l; l++)
                if (strncmp(*l, name, n) == 0 && (*l)[n] == '=')
                        found = *l + n + 1;
        return found;
}

static int take_values(XenvmCommand command, const char *preset, char *const *arguments, Values *ret, const char **ret_name)
{
        const XenvmArg *args = xenvm_commands[command].args;
        char *const presets[] = { (char *) preset, NULL };

        for (size_t i = 0; i < XENVM_ARGS_MAX && args[i].name; i++) {
                const char *text = find_value(arguments, args[i].name);

                *ret_name = args[i].name;
                if (!text && preset)
                        text = find_value(presets, args[i].name);
                ret->v[i].text = text;
                if (!text && args[i].required)
                        return -ENOENT;
                if (!text)
                        text = args[i].fallback;
                if (!text)
                        continue;
                if (args[i].type == XENVM_ARG_BOOL && parse_bool(text, &ret->v[i].flag) < 0)
                        return -EINVAL;
                if (args[i].type == XENVM_ARG_INT && parse_i64(text, &ret->v[i].number) < 0)
                        return -EINVAL;
        }
        return 0;
}

void command_run(Monitor *m, Request *q, const char *name, char *const *arguments)
{
        const char *preset, *argument;
        XenvmCommand c = xenvm_command_find(name, &preset);
        Values values = { 0 };
        char shown[80];
        int r;

        log_info("Command %s", log_untrusted(shown, sizeof shown, name));
        if (c == _XENVM_CMD_MAX) {
                request_fail(q, REQUEST_UNKNOWN, "unknown RPC");
                return;
        }
        r = take_values(c, preset, arguments, &values, &argument);
        if (r < 0)
                request_fail(q, REQUEST_BAD_ARGUMENTS,
                             r == -ENOENT ? "tasks argument not found: %s" : "tasks argument using invalid type: %s", argument);
        else
                handlers[c](m, q, &values);
}
