/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Xen back end: libxl behind backend.h. It is a module of its own (xenvm-xen.so), so that a host
 * without Xen needs none of its libraries.
 *
 * A domain is known by its domid, which libxl gives at creation. libxl never acts when a guest ends: the
 * dead domain stays until kill(), which is what the monitor wants.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "xen-control.h"
#include "xen-ids.h"
#include "xen-vm.h"

static const char *vm_error(Vm *vm, int rc)
{
        return xenhost_error(vm->host, rc);
}

static void finish(Vm *vm, int r, const char *text)
{
        VmDone done = vm->done;
        _cleanup_free_ char *why = r < 0 ? strformat("%s%s%s", strempty(vm->what), vm->what ? ": " : "", text) : NULL;

        vm_let_go(vm);
        vm->done = NULL;
        if (!done)
                return;
        if (r < 0)
                log_warning("%s", strempty(why));
        AS_USER;
        done(vm->userdata, r, r >= 0 ? text : why ? why : "out of memory");
}

void vm_finish(Vm *vm, int rc, const char *text)
{
        if (rc == 0)
                finish(vm, 0, text);
        else
                finish(vm, rc == ERROR_ABORTED ? -ECANCELED : rc == ERROR_NOPARAVIRT ? -EOPNOTSUPP : -EIO, vm_error(vm, rc));
}

void vm_fail(Vm *vm, const char *why)
{
        finish(vm, -EIO, why);
}

/* Whether vm->domid is this VM's: also that of a creation which failed or was cut short, and has left what it had made. */
static bool is_there(Vm *vm)
{
        libxl_dominfo info;
        bool there;

        if (vm->domid == (uint32_t) INVALID_DOMID)
                return false;
        libxl_dominfo_init(&info);
        there = libxl_domain_info(xenhost_ctx(vm->host), &info, vm->domid) == 0 && xen_domain_is(&info, vm->spec.uuid);
        libxl_dominfo_dispose(&info);
        return there;
}

void vm_answer(VmDone done, void *userdata, const char *text)
{
        AS_USER;

        done(userdata, 0, text);
}

static void vm_kill(Vm *vm);
static void on_killed(void *userdata, int rc);

static void on_op_done(void *userdata, int rc)
{
        Vm *vm = userdata;

        vm->op = NULL;
        if (vm->kill_waiting) {
                vm->kill_waiting = false;
                vm->state_fd = safe_close(vm->state_fd);
                if (vm->then == on_killed)
                        vm->exists &= rc != 0; /* the destruction before this one was enough */
                else
                        vm->exists = vm->exists || is_there(vm);
                vm_kill(vm);
        } else
                vm->then(vm, rc);
}

XenOp *vm_continue(Vm *vm, XenOpDone then)
{
        vm->op = xenop_new(vm->host, on_op_done, vm);
        vm->then = then;
        vm->round_trips++;
        return vm->op;
}

void vm_on_plain_done(void *userdata, int rc)
{
        vm_finish(userdata, rc, NULL);
}

bool vm_busy(const Vm *vm)
{
        return vm->done || vm->op;
}

XenOp *vm_begin(Vm *vm, const char *what, VmDone done, void *userdata, XenOpDone on_done, int *ret_r)
{
        if (vm_busy(vm)) {
                *ret_r = -EBUSY;
                return NULL;
        }
        if (!vm_continue(vm, on_done)) {
                *ret_r = -ENOMEM;
                return NULL;
        }
        vm->what = what;
        vm->done = done;
        vm->userdata = userdata;
        *ret_r = 0;
        return vm->op;
}

int vm_soon(Vm *vm, const char *what, VmDone done, void *userdata, XenOpDone on_done)
{
        int r;
        XenOp *op = vm_begin(vm, what, done, userdata, on_done, &r);

        if (op)
                xenop_finish(op, 0);
        return r;
}

static void on_refused(void *userdata, _unused_ int rc)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->why);

        vm_fail(vm, strempty(why));
}

int vm_refuse(Vm *vm, const char *what, VmDone done, void *userdata, int r, char *why)
{
        int k = vm_soon(vm, what, done, userdata, on_refused);

        if (k < 0) {
                free(why);
                return k;
        }
        free(vm->why);
        vm->why = why ? why : strdup(strerror(-r));
        return 0;
}

int vm_started(XenOp *op, int rc)
{
        if (rc != 0)
                xenop_finish(op, rc);
        return 0;
}

/* Events */

/* libxl tells of a domain's end once: after a guest was stopped for a save it has to be asked anew. */
static int vm_watch_end(Vm *vm)
{
        if (vm->death)
                libxl_evdisable_domain_death(xenhost_ctx(vm->host), vm->death);
        vm->death = NULL;
        return libxl_evenable_domain_death(xenhost_ctx(vm->host), vm->domid, 0, &vm->death);
}

/* It was stopped for a save that did not come to its end. */
static void vm_wake(Vm *vm)
{
        if (libxl_domain_resume(xenhost_ctx(vm->host), vm->domid, 1, NULL) != 0)
                log_warning("Domain %u, stopped for a save, could not be resumed", vm->domid);
        else if (vm_watch_end(vm) != 0)
                log_warning("The end of domain %u will not be noticed", vm->domid);
}

static void on_domain(void *userdata, uint32_t domid, int reason)
{
        Vm *vm = userdata;
        VmEnd end;

        if (reason == XEN_DOMAIN_BUILT) {
                (void) vm_turn_over(vm);
                vm->spec.events->phase(vm->spec.userdata, TIMELINE_QMP_READY);
                return;
        }
        if (!vm->exists || domid != vm->domid || vm->killing)
                return;
        switch (reason) {
        case XEN_DOMAIN_GONE:
                vm->exists = false;
                vm->status = VM_STATUS_ENDED;
                vm->spec.events->gone(vm->spec.userdata, "the domain was destroyed by somebody else");
                return;
        case LIBXL_SHUTDOWN_REASON_SUSPEND:
                /* Of our own save; or of a former monitor's, which was killed in the middle of it. */
                if (!vm->saving && vm->status == VM_STATUS_RUNNING)
                        vm_wake(vm);
                return;
        case LIBXL_SHUTDOWN_REASON_REBOOT:
        case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
                end = VM_END_REBOOT;
                break;
        case LIBXL_SHUTDOWN_REASON_CRASH:
                end = VM_END_CRASH;
                break;
        case LIBXL_SHUTDOWN_REASON_WATCHDOG:
                end = VM_END_WATCHDOG;
                break;
        default:
                end = VM_END_POWEROFF;
                break;
        }
        vm->status = VM_STATUS_ENDED;
        vm->spec.events->ended(vm->spec.userdata, end);
}

static void on_progress(void *userdata, uint64_t done, uint64_t total)
{
        Vm *vm = userdata;

        if (vm->spec.events->progress)
                vm->spec.events->progress(vm->spec.userdata, done, total);
}

static void on_sleep_state(void *userdata, int acpi_state)
{
        Vm *vm = userdata;

        vm->spec.events->power_state(vm->spec.userdata, acpi_state);
}

/* Its devices are gone with it: what is left of the guest can only be ended. */
static void on_model_ended(void *userdata)
{
        Vm *vm = userdata;

        if (!vm->exists || vm->killing || vm->status == VM_STATUS_ENDED)
                return;
        log_error("The device model of domain %u has ended", vm->domid);
        vm->status = VM_STATUS_ENDED;
        vm->spec.events->ended(vm->spec.userdata, VM_END_CRASH);
}

static const XenHvmEvents hvm_events = { .sleep_state = on_sleep_state, .model_ended = on_model_ended };

static const XenHostEvents host_events = { .domain = on_domain, .progress = on_progress };

/* Life */

/* Who waits for what is under way gets an answer; the monitor's own operations do not listen any more. */
static void give_up(Vm *vm)
{
        VmDone done = vm->killing ? NULL : TAKE_PTR(vm->done);

        if (!done)
                return;
        AS_USER;
        done(vm->userdata, -ECANCELED, VM_GIVEN_UP);
}

Vm *xen_free(Vm *vm)
{
        bool busy;

        if (!vm)
                return NULL;
        give_up(vm);
        busy = vm->op; /* libxl is in the middle of something that only ends with the process, and what it was given is its own */
        if (vm->death)
                libxl_evdisable_domain_death(xenhost_ctx(vm->host), vm->death);
        (void) vm_turn_over(vm);
        free(vm->turn.why);
        xenchannel_free(vm->channel);
        xenhvm_free(vm->watch);
        vm_store_close(vm);
        xenhost_free(vm->host);
        if (busy)
                return NULL;
        vm_let_go(vm);
        if (vm->config_made)
                libxl_domain_config_dispose(&vm->config);
        firmware_done(&vm->tables);
        safe_close(vm->state_fd);
        free(vm->why);
        free(vm);
        return NULL;
}

int vm_new(const VmSpec *spec, Vm **ret, const char **ret_why)
{
        _cleanup_(xen_freep) Vm *vm = calloc(1, sizeof *vm);
        int r;

        if (!vm)
                return -ENOMEM;
        vm->spec = *spec;
        vm->state_fd = vm->turn.fd = -EBADF;
        vm->tables = (FirmwareTables) FIRMWARE_TABLES_INIT;
        vm->hvm = vmconfig_is_hvm(spec->config);
        r = xenhost_new(spec->event, &host_events, vm, &vm->host, ret_why);
        if (r < 0)
                return r;
        r = vm_store_open(vm);
        if (r == -ENODEV)
                *ret_why = "xenstore does not answer";
        if (r < 0)
                return r;
        *ret = TAKE_PTR(vm);
        return 0;
}

static int xen_available(const char **ret_why)
{
        if (!xen_control_access(F_OK)) {
                *ret_why = "this host does not run on Xen";
                return -ENODEV;
        }
        if (!xen_control_access(R_OK | W_OK)) {
                *ret_why = "the hypervisor's control device cannot be opened (it takes root)";
                return -EACCES;
        }
        return 0;
}

int vm_make_config(Vm *vm, char **ret_why)
{
        _cleanup_strbuf_ StrBuf notes = STRBUF_INIT;
        int r;

        r = vm->hvm ? firmware_read(vm->spec.config, &vm->tables) : 0;
        if (r < 0)
                return r;
        vm->config_made = true;
        r = xen_config_make(xenhost_ctx(vm->host), vm->spec.config, vm->spec.paths, &vm->tables, &vm->config, &notes, ret_why);
        if (r >= 0 && notes.data)
                for (char *line = notes.data, *next; *line; line = next) {
                        next = strchrnul(line, '\n');
                        next += *next == '\n' ? (*next = '\0', 1) : 0;
                        log_notice("%s", line);
                }
        return r;
}

static int xen_describe(const VmSpec *spec, char **ret, char **ret_why)
{
        _cleanup_(xen_freep) Vm *vm = NULL;
        const char *why = "it cannot be asked";
        char *json;
        int r;

        r = vm_new(spec, &vm, &why);
        if (r < 0) {
                *ret_why = strdup(why);
                return r;
        }
        r = vm_make_config(vm, ret_why);
        if (r < 0)
                return r;
        json = libxl_domain_config_to_json(xenhost_ctx(vm->host), &vm->config);
        if (!json)
                return -ENOMEM;
        *ret = json;
        return 0;
}

static void watch_hvm(Vm *vm)
{
        _cleanup_free_ char *text = NULL;
        int64_t model = -1;
        char path[64];
        int r;

        snprintf(path, sizeof path, "/local/domain/%u/image/device-model-pid", vm->domid);
        text = vm_store_read(vm, path);
        if (text)
                (void) parse_i64(text, &model);
        r = xenhvm_new(vm->spec.event, vm->domid, model, &hvm_events, vm, &vm->watch);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Domain %u's sleep and the end of its device model will not be noticed", vm->domid);
}

int vm_follow(Vm *vm)
{
        int r;

        vm->exists = true;
        vm_store_watch(vm);
        r = xenchannel_new(vm->spec.event, vm->spec.dir, vm->domid, &vm->channel);
        if (r < 0)
                log_errno_full(LOG_WARNING, r, "Domain %u has no channel to its host", vm->domid);
        if (vm->hvm)
                watch_hvm(vm);
        /* The end of a domain that ended while nobody looked is told by this very call. */
        return vm_watch_end(vm);
}

static void on_adopted(void *userdata, int rc)
{
        Vm *vm = userdata;
        libxl_dominfo info;

        libxl_dominfo_init(&info);
        if (rc == 0)
                rc = libxl_domain_info(xenhost_ctx(vm->host), &info, vm->domid);
        if (rc == 0 && !xen_domain_is(&info, vm->spec.uuid)) /* the number was used again */
                rc = ERROR_DOMAIN_NOTFOUND;
        if (rc == 0) {
                bool stopped = info.shutdown && info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;

                /* Stopped for a save: that it is on the disk is what the intent to end it says; else it goes on. */
                if (stopped && !vm->saved)
                        vm->status = VM_STATUS_RUNNING;
                else if (info.shutdown)
                        vm->status = VM_STATUS_ENDED;
                else if (!info.paused)
                        vm->status = VM_STATUS_RUNNING;
                /* One that is paused was complete if the record says so; else it is half made. */
                rc = vm_follow(vm);
        }
        libxl_dominfo_dispose(&info);
        vm_finish(vm, rc, NULL);
}

static int xen_adopt(const VmSpec *spec, const MonitorRecord *record, VmDone done, void *userdata, Vm **ret)
{
        _cleanup_(xen_freep) Vm *vm = NULL;
        const char *why = "libxl cannot be used";
        libxl_dominfo info;
        int r;

        r = vm_new(spec, &vm, &why);
        if (r < 0) {
                log_error("Cannot adopt domain %d: %s", (int) record->domid, why);
                return r;
        }
        vm->domid = (uint32_t) record->domid;
        vm->status = streq_ptr(record->state, "paused")    ? VM_STATUS_PAUSED
                     : streq_ptr(record->state, "created") ? VM_STATUS_CREATED
                                                           : VM_STATUS_OTHER;
        vm->saved = streq_ptr(record->intent, "suspend");
        libxl_dominfo_init(&info);
        r = libxl_domain_info(xenhost_ctx(vm->host), &info, vm->domid);
        libxl_dominfo_dispose(&info);
        if (r != 0)
                return -ESRCH;
        r = vm_soon(vm, "Cannot adopt the domain", done, userdata, on_adopted);
        if (r >= 0)
                *ret = TAKE_PTR(vm);
        return r;
}

static VmStatus xen_status(const Vm *vm)
{
        return vm->status;
}

static int64_t xen_domid(const Vm *vm)
{
        return vm->exists ? (int64_t) vm->domid : -1;
}

static ProcessRef xen_process(_unused_ const Vm *vm)
{
        return (ProcessRef) { 0 };
}

static int64_t xen_stubdomid(const Vm *vm)
{
        uint32_t domid = vm->exists ? libxl_get_stubdom_id(xenhost_ctx(vm->host), vm->domid) : 0;

        return domid > 0 && domid != (uint32_t) INVALID_DOMID ? (int64_t) domid : -1;
}

static char *xen_details(_unused_ const Vm *vm)
{
        return NULL;
}

static unsigned xen_round_trips(const Vm *vm)
{
        return vm->round_trips;
}

static void on_running(void *userdata, int rc)
{
        Vm *vm = userdata;

        if (rc == 0 && vm->suspended && vm->saved_paused) {
                XenOp *op = vm_continue(vm, on_running);

                vm->saved_paused = false;
                if (op)
                        (void) vm_started(op, libxl_domain_unpause(xenhost_ctx(vm->host), vm->domid, xenop_how(op)));
                else
                        vm_finish(vm, ERROR_NOMEM, NULL);
                return;
        }
        if (rc == 0) {
                vm->status = VM_STATUS_RUNNING;
                if (vm->suspended && vm_watch_end(vm) != 0)
                        log_warning("The end of domain %u will not be noticed", vm->domid);
                vm->suspended = false;
        }
        vm_finish(vm, rc, NULL);
}

static int xen_run(Vm *vm, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot run the domain", done, userdata, on_running, &r);
        if (!op)
                return r;
        r = vm->suspended ? libxl_domain_resume(xenhost_ctx(vm->host), vm->domid, 1, xenop_how(op))
                          : libxl_domain_unpause(xenhost_ctx(vm->host), vm->domid, xenop_how(op));
        return vm_started(op, r);
}

static void on_paused(void *userdata, int rc)
{
        Vm *vm = userdata;

        if (rc == 0)
                vm->status = VM_STATUS_PAUSED;
        vm_finish(vm, rc, NULL);
}

static int xen_pause(Vm *vm, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot pause the domain", done, userdata, on_paused, &r);
        if (!op)
                return r;
        return vm_started(op, libxl_domain_pause(xenhost_ctx(vm->host), vm->domid, xenop_how(op)));
}

static bool is_gone(Vm *vm)
{
        libxl_dominfo info;
        int rc;

        libxl_dominfo_init(&info);
        rc = libxl_domain_info(xenhost_ctx(vm->host), &info, vm->domid);
        libxl_dominfo_dispose(&info);
        return rc == ERROR_DOMAIN_NOTFOUND;
}

static void on_killed(void *userdata, int rc)
{
        Vm *vm = userdata;

        /* It may have been destroyed as its guest ended, while this waited. */
        if (rc == 0 || is_gone(vm)) {
                _cleanup_free_ char *screen = path_join(vm->spec.dir, "vnc.sock"); /* the device model's, which was killed */

                vm->exists = false;
                vm->status = VM_STATUS_ENDED;
                rc = 0;
                if (screen)
                        (void) unlink(screen);
        }
        vm_finish(vm, rc, NULL);
}

/* vm->done is that of the kill by now. */
static void vm_kill(Vm *vm)
{
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        XenOp *op = vm_continue(vm, on_killed);

        if (!op) {
                vm_finish(vm, ERROR_NOMEM, NULL);
                return;
        }
        if (vm->death) {
                libxl_evdisable_domain_death(ctx, vm->death);
                vm->death = NULL;
        }
        if (vm->exists)
                (void) vm_started(op, libxl_domain_destroy(ctx, vm->domid, xenop_how(op)));
        else
                xenop_finish(op, 0);
}

static int xen_kill(Vm *vm, _unused_ bool gently, VmDone done, void *userdata)
{
        give_up(vm);
        vm->killing = true;
        if (vm->op) {
                /* What is under way does not matter any more, but libxl must be through with it first: with a destruction wholly. */
                if (vm_turn_over(vm))
                        xenop_finish(vm->op, ERROR_ABORTED);
                else if (vm->then != on_killed)
                        xenop_abort(vm->op);
                vm->kill_waiting = true;
        }
        vm->what = "Cannot destroy the domain";
        vm->done = done;
        vm->userdata = userdata;
        if (!vm->kill_waiting)
                vm_kill(vm);
        return 0;
}

static void on_saved(void *userdata, int rc)
{
        Vm *vm = userdata;

        vm->saving = false;
        vm->state_fd = safe_close(vm->state_fd);
        if (rc == 0) {
                vm->suspended = true;
                vm->status = VM_STATUS_PAUSED;
        } else
                vm_wake(vm);
        vm_finish(vm, rc, NULL);
}

static int xen_save(Vm *vm, int fd, bool live, VmDone done, void *userdata)
{
        XenOp *op;
        int r;

        op = vm_begin(vm, "Cannot save the domain", done, userdata, on_saved, &r);
        if (!op)
                return r;
        vm->saving = true;
        vm->saved_paused = vm->status == VM_STATUS_PAUSED;
        vm->state_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (vm->state_fd < 0)
                return vm_started(op, ERROR_FAIL);
        return vm_started(op, libxl_domain_suspend(xenhost_ctx(vm->host), vm->domid, vm->state_fd, live ? LIBXL_SUSPEND_LIVE : 0,
                                                   xenop_how(op)));
}

static void xen_save_cancel(Vm *vm)
{
        if (vm->op)
                xenop_abort(vm->op);
}

static char *xen_cannot_save(const Vm *vm)
{
        if (vm->spec.config->disable_migrate)
                return strdup("disable-migrate is set");
        if (vm_busy(vm))
                return strdup("Vm_bad_state: another change is under way");
        /* The guest has a part in it. */
        return vm->status == VM_STATUS_PAUSED && !vm->hvm ? strdup("it is paused, and a guest of its kind must run to be saved") : NULL;
}

const Backend xen_functions = {
        .name = "xen",
        .available = xen_available,
        .describe = xen_describe,
        .create = xen_create,
        .adopt = xen_adopt,
        .free = xen_free,
        .status = xen_status,
        .end_stays = true,
        .domid = xen_domid,
        .find = xen_find,
        .publish = xen_publish,
        .show = xen_show,
        .stubdomid = xen_stubdomid,
        .checks_memory = true,
        .host = xen_host,
        .free_kib = xen_free_kib,
        .process = xen_process,
        .details = xen_details,
        .round_trips = xen_round_trips,
        .run = xen_run,
        .pause = xen_pause,
        .ask = xen_ask,
        .kill = xen_kill,
        .save = xen_save,
        .save_cancel = xen_save_cancel,
        .cannot_save = xen_cannot_save,
        .restores_plugging = true,
        .attach = xen_attach,
        .detach = xen_detach,
        .set_medium = xen_set_medium,
        .set_link = xen_set_link,
        .set_nic_backend = xen_set_nic_backend,
        .set_memory = xen_set_memory,
        .vnc_port = xen_vnc_port,
        .console = xen_console,
        .usage = xen_usage,
        .screenshot = xen_screenshot,
};
