/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a domain comes to be. Domains of one host are built one after the other, so that two never count on the same
 * free memory: a lock on a file is held from the look at it until libxl says that the domain is made. Who ends lets go
 * of it, however it ends.
 */
#include "fs.h"
#include "log.h"
#include "strbuf.h"
#include "xen-ids.h"
#include "xen-vm.h"

#define LOOK_AGAIN (USEC_PER_SEC / 20)
#define TURN_MAX (60 * USEC_PER_SEC) /* more than any domain takes: then what stands in the way is not one of ours */

static bool take(Vm *vm)
{
        vm->turn.fd = lock_file(paths_get(vm->spec.paths, PATH_BUILDVM_LOCK));
        if (vm->turn.fd != -EAGAIN && vm->turn.fd < 0)
                log_errno_full(LOG_WARNING, vm->turn.fd, "No lock for building one domain at a time");
        return vm->turn.fd != -EAGAIN;
}

static int on_look(sd_event_source *s, uint64_t usec, void *userdata)
{
        Vm *vm = userdata;
        AS_ROOT;

        if (!take(vm) && usec < vm->turn.until) {
                (void) sd_event_source_set_time_relative(s, LOOK_AGAIN);
                (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
                return 0;
        }
        vm->turn.timer = sd_event_source_disable_unref(vm->turn.timer);
        vm->turn.go(vm);
        return 0;
}

/* 1: it is this VM's turn. 0: it has to wait, and go is called from the event loop. Or negative errno. */
static int turn_take(Vm *vm, void (*go)(Vm *vm))
{
        vm->turn.go = go;
        vm->turn.until = now_usec() + TURN_MAX;
        if (take(vm))
                return 1;
        return MIN2(sd_event_add_time_relative(vm->spec.event, &vm->turn.timer, CLOCK_MONOTONIC, LOOK_AGAIN, 0, on_look, vm), 0);
}

bool vm_turn_over(Vm *vm)
{
        bool waited = vm->turn.timer;

        vm->turn.timer = sd_event_source_disable_unref(vm->turn.timer);
        vm->turn.fd = safe_close(vm->turn.fd);
        return waited;
}

static void on_drive_emptied(void *userdata, int rc)
{
        Vm *vm = userdata;

        if (rc != 0)
                log_warning("A CD drive of domain %u begins with an empty medium in it: %s", vm->domid, xenhost_error(vm->host, rc));
        if (!xen_empty_next_drive(vm, on_drive_emptied))
                vm_finish(vm, 0, NULL);
}

static void on_created(void *userdata, int rc)
{
        Vm *vm = userdata;

        vm->state_fd = safe_close(vm->state_fd);
        (void) vm_turn_over(vm);
        if (rc == 0) {
                vm->status = VM_STATUS_CREATED;
                vm_store_make_nodes(vm);
                if (vm_follow(vm) != 0)
                        log_warning("The end of domain %u will not be noticed", vm->domid);
                vm->spec.events->phase(vm->spec.userdata, TIMELINE_DEVICES);
                if (xen_empty_next_drive(vm, on_drive_emptied))
                        return;
        } else
                vm->status = VM_STATUS_ENDED;
        vm_finish(vm, rc, NULL);
}

/* libxl's own reckoning. Where it cannot tell, creation itself will. */
static int vm_check_memory(Vm *vm, char **ret_why)
{
        uint64_t need, have;

        if (vm->spec.config->no_mem_check ||
            libxl_domain_need_memory(xenhost_ctx(vm->host), &vm->config, vm->domid, &need) != 0 ||
            libxl_get_free_memory(xenhost_ctx(vm->host), &have) != 0 || need <= have)
                return 0;
        *ret_why = strformat("Not_enough_free_memory: %llu MiB are needed, %llu MiB are available",
                             (unsigned long long) need / 1024, (unsigned long long) have / 1024);
        return -ENOMEM;
}

/* What of the hardware an HVM guest takes. */
static int vm_check_capabilities(Vm *vm, char **ret_why)
{
        bool hvm = vm->config.c_info.type == LIBXL_DOMAIN_TYPE_HVM, directio = hvm && vm->spec.config->pci.n > 0;
        libxl_physinfo host;

        libxl_physinfo_init(&host);
        if (hvm && libxl_get_physinfo(xenhost_ctx(vm->host), &host) == 0) {
                hvm = !host.cap_hvm;
                directio = directio && !host.cap_hvm_directio;
        } else
                hvm = directio = false;
        libxl_physinfo_dispose(&host);
        if (!hvm && !directio)
                return 0;
        *ret_why = strformat("RequiresMoreCapabilities(\"%s%s%s\")", hvm ? "config requires hvm" : "", hvm && directio ? ", " : "",
                             directio ? "config requires directio" : "");
        return -EOPNOTSUPP;
}

/* It is this domain's turn. Refusals of libxl come through the operation. */
static void create_now(Vm *vm)
{
        libxl_asyncprogress_how console = { .callback = NULL }; /* as an event */
        libxl_ctx *ctx = xenhost_ctx(vm->host);
        int rc;

        vm->spec.events->phase(vm->spec.userdata, TIMELINE_SPAWNED);
        if (vm->state_fd >= 0) {
                libxl_domain_restore_params params;

                libxl_domain_restore_params_init(&params);
                params.stream_version = 2;
                rc = libxl_domain_create_restore(ctx, &vm->config, &vm->domid, vm->state_fd, -1, &params, xenop_how(vm->op), &console);
                libxl_domain_restore_params_dispose(&params);
        } else
                rc = libxl_domain_create_new(ctx, &vm->config, &vm->domid, xenop_how(vm->op), &console);
        (void) vm_started(vm->op, rc);
}

static void on_no_memory(void *userdata, _unused_ int rc)
{
        Vm *vm = userdata;
        _cleanup_free_ char *why = TAKE_PTR(vm->turn.why);

        (void) vm_turn_over(vm);
        vm->status = VM_STATUS_ENDED;
        vm->what = NULL; /* the text is the contract's */
        vm_fail(vm, why ? why : "out of memory");
}

static void create_later(Vm *vm)
{
        if (vm_check_memory(vm, &vm->turn.why) >= 0) {
                create_now(vm);
                return;
        }
        vm->then = on_no_memory;
        xenop_finish(vm->op, ERROR_NOMEM);
}

int xen_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why)
{
        _cleanup_(xen_freep) Vm *vm = NULL;
        const char *why = "libxl cannot be used";
        bool now = false;
        int r;

        r = vm_new(spec, &vm, &why);
        if (r < 0) {
                safe_close(spec->restore_fd);
                *ret_why = strdup(why);
                return r;
        }
        vm->state_fd = spec->restore_fd;
        vm->domid = (uint32_t) INVALID_DOMID;
        r = vm_make_config(vm, ret_why);
        if (r >= 0)
                r = vm_check_capabilities(vm, ret_why);
        if (r >= 0) {
                r = turn_take(vm, create_later);
                now = r > 0;
        }
        if (now)
                r = vm_check_memory(vm, ret_why);
        if (r < 0)
                return r;
        if (spec->restore_fd < 0)
                xen_fill_drives(vm);
        if (!vm_begin(vm, "Cannot create the domain", done, userdata, on_created, &r))
                return r;
        vm->status = VM_STATUS_OTHER;
        if (now)
                create_now(vm);
        *ret = TAKE_PTR(vm);
        return 0;
}
