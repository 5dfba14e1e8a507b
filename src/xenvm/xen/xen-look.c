/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people look at: the console, and what the VM uses of the host. And what is asked before there is a Vm. */
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"
#include "xen-vm.h"

char *xen_console(const Vm *vm, char **ret_why)
{
        char *tty = NULL, *copy;
        struct stat folder;

        /* That of an hvm VM is its serial port, that of others Xen's own. */
        if (libxl_primary_console_get_tty(xenhost_ctx(vm->host), vm->domid, &tty) != 0 || !tty || !*tty) {
                free(tty);
                *ret_why = strdup("the VM has no console (an hvm VM needs serial = pty)");
                return NULL;
        }
        /* The terminal is root's; the manager is to open it, whose the VM's folder is. */
        if (stat(vm->spec.dir, &folder) >= 0 && chown(tty, folder.st_uid, (gid_t) -1) < 0)
                log_warning("%s stays root's: %s", tty, strerror(errno));
        copy = strdup(tty);
        free(tty);
        return copy;
}

/* Disks of blkback are counted by the kernel, in sectors; those of other back ends are unknown. */
static int64_t count_sectors(uint32_t domid, const char *counter)
{
        _cleanup_free_ char *pattern = strformat("/sys/bus/xen-backend/devices/vbd-%u-*/statistics/%s", domid, counter);
        glob_t g = { 0 };
        int64_t sum = -1;

        if (pattern && glob(pattern, 0, NULL, &g) == 0)
                for (size_t i = 0; i < g.gl_pathc; i++) {
                        _cleanup_free_ char *text = NULL;
                        uint64_t n;

                        if (read_file(g.gl_pathv[i], 64, &text, NULL) >= 0 && parse_u64(strstrip(text), &n) >= 0)
                                sum = MAX2(sum, (int64_t) 0) + (int64_t) (n * 512);
                }
        globfree(&g);
        return sum;
}

int xen_usage(Vm *vm, VmDone done, void *userdata)
{
        VmUsage u = VM_USAGE_UNKNOWN;
        _cleanup_free_ char *text = NULL;
        libxl_dominfo info;

        libxl_dominfo_init(&info);
        if (vm->exists && libxl_domain_info(xenhost_ctx(vm->host), &info, vm->domid) == 0) {
                u.cpu_usec = (int64_t) (info.cpu_time / 1000);
                u.memory_kib = (int64_t) info.current_memkb;
        }
        libxl_dominfo_dispose(&info);
        u.disk_read = count_sectors(vm->domid, "rd_sect");
        u.disk_written = count_sectors(vm->domid, "wr_sect");
        for (size_t i = 0; i < vm->spec.config->nic.n; i++) {
                _cleanup_free_ char *name = strformat("vif%u.%lld", vm->domid, (long long) vm->spec.config->nic.items[i].id);

                if (name)
                        usage_add_interface(&u, name);
        }
        text = usage_text(&u);
        vm_answer(done, userdata, text ? text : "{}");
        return 0;
}

bool xen_domain_is(const libxl_dominfo *info, const char *uuid)
{
        char text[37];

        snprintf(text, sizeof text, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(info->uuid));
        return !info->dying && strcasecmp(text, uuid) == 0;
}

int64_t xen_free_kib(void)
{
        libxl_ctx *ctx = xenhost_look();
        uint64_t kib;
        int64_t found = ctx && libxl_get_free_memory(ctx, &kib) == 0 ? (int64_t) kib : -1;

        (void) libxl_ctx_free(ctx);
        return found;
}

int xen_host(HostFacts *ret)
{
        libxl_ctx *ctx = xenhost_look();
        libxl_physinfo host;
        int rc;

        if (!ctx)
                return -EIO;
        libxl_physinfo_init(&host);
        rc = libxl_get_physinfo(ctx, &host);
        if (rc == 0) {
                uint64_t page_kib = (uint64_t) sysconf(_SC_PAGESIZE) / KIB;

                *ret = (HostFacts) { .total_kib = host.total_pages * page_kib, .free_kib = host.free_pages * page_kib, .cpus = host.nr_cpus };
        }
        libxl_physinfo_dispose(&host);
        (void) libxl_ctx_free(ctx);
        return rc == 0 ? 0 : -EIO;
}

int64_t xen_find(const char *uuid)
{
        libxl_ctx *ctx = xenhost_look();
        libxl_dominfo *list;
        int64_t found = -1;
        int n = 0;

        if (!ctx)
                return -1;
        list = libxl_list_domain(ctx, &n);
        for (int i = 0; list && i < n; i++)
                if (xen_domain_is(&list[i], uuid))
                        found = list[i].domid;
        libxl_dominfo_list_free(list, n);
        (void) libxl_ctx_free(ctx);
        return found;
}
