/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xen/hvm/params.h>
#include <xen/hvm/save.h>

#include "fs.h"
#include "log.h"
#include "strbuf.h"
#include "xen-hvm.h"
#include "xen-ids.h"

#define LOOK_EVERY (1 * USEC_PER_SEC)
#define ACPI_S3 3
#define POWER_BUTTON_ENABLED (1u << 8) /* of the ACPI register PM1_EN */

struct XenHvm {
        uint32_t domid;
        const XenHvmEvents *events;
        void *userdata;
        xc_interface *hypervisor;
        sd_event_source *timer, *model;
        int model_fd;
        uint64_t sleep_state; /* at the last look */
};

static int on_look(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        XenHvm *h = userdata;
        AS_ROOT;
        uint64_t state = 0;

        (void) sd_event_source_set_time_relative(s, LOOK_EVERY);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        /* A change alone is told: a guest's own words in xenstore are not overruled each second. */
        if (xc_hvm_param_get(h->hypervisor, h->domid, HVM_PARAM_ACPI_S_STATE, &state) < 0 || state == h->sleep_state || state > 5)
                return 0;
        h->sleep_state = state;
        h->events->sleep_state(h->userdata, (int) state);
        return 0;
}

static int model_ended(XenHvm *h)
{
        h->model = sd_event_source_disable_unref(h->model);
        h->events->model_ended(h->userdata);
        return 0;
}

static int on_model(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        return model_ended(userdata);
}

static int on_no_model(_unused_ sd_event_source *s, void *userdata)
{
        return model_ended(userdata);
}

/* Numbers of processes are used again: the one that is meant names its domain. */
static int open_model(uint32_t domid, int64_t pid)
{
        _cleanup_close_ int fd = pidfd_open((pid_t) pid, 0);
        _cleanup_free_ char *path = strformat("/proc/%lld/cmdline", (long long) pid), *line = NULL;
        char word[32];
        size_t size, n = (size_t) snprintf(word, sizeof word, "-xen-domid%c%u", '\0', domid) + 1;

        if (fd < 0 || !path || read_file(path, 256 * KIB, &line, &size) < 0 || !memmem(line, size, word, n))
                return -ESRCH;
        return TAKE_FD(fd);
}

int xenhvm_new(sd_event *event, uint32_t domid, int64_t model, const XenHvmEvents *events, void *userdata, XenHvm **ret)
{
        XenHvm *h = calloc(1, sizeof *h);
        int r;

        if (!h)
                return -ENOMEM;
        *h = (XenHvm) { .domid = domid, .events = events, .userdata = userdata, .model_fd = -EBADF };
        h->hypervisor = xc_interface_open(NULL, NULL, 0);
        r = h->hypervisor ? sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, LOOK_EVERY, 0, on_look, h) : -errno;
        if (r >= 0 && model > 1) {
                h->model_fd = open_model(domid, model);
                r = h->model_fd >= 0 ? sd_event_add_io(event, &h->model, h->model_fd, EPOLLIN, on_model, h)
                                     : sd_event_add_defer(event, &h->model, on_no_model, h);
        }
        if (r < 0)
                xenhvm_free(h);
        else
                *ret = h;
        return r < 0 ? r : 0;
}

XenHvm *xenhvm_free(XenHvm *h)
{
        if (!h)
                return NULL;
        sd_event_source_disable_unref(h->timer);
        sd_event_source_disable_unref(h->model);
        safe_close(h->model_fd);
        if (h->hypervisor)
                xc_interface_close(h->hypervisor);
        free(h);
        return NULL;
}

int xenhvm_hears_button(XenHvm *h)
{
        struct hvm_hw_pmtimer registers;
        uint64_t state = 0;

        if (xc_hvm_param_get(h->hypervisor, h->domid, HVM_PARAM_ACPI_S_STATE, &state) == 0 && state == ACPI_S3)
                return false;
        if (xc_domain_hvm_getcontext_partial(h->hypervisor, h->domid, HVM_SAVE_CODE(PMTIMER), 0, &registers, sizeof registers) < 0)
                return -errno;
        return (registers.pm1a_en & POWER_BUTTON_ENABLED) != 0;
}
