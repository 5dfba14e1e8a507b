/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt vm usb: USB devices of this host for VMs that run. The VM's monitor plugs them; these commands only ask it. */
#include "log.h"
#include "oxt-vm.h"
#include "parse.h"
#include "strbuf.h"
#include "usb.h"

#define PLUG_USEC (30 * USEC_PER_SEC) /* a guest has 10 s to let go of a device */

/* Calls the monitor of the VM at that path; ret_text, if not NULL, takes its answer, to free. */
static int ask_monitor(VmCommand *c, const char *vm, const char *path, const char *command, const char *device, char **ret_text)
{
        _cleanup_free_ char *uuid = NULL, *name = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call = NULL, *reply = NULL;
        const char *text = NULL;
        char element[37];
        int r = vmcommand_get(c, path, XENMGR_VM, "uuid", &uuid);

        if (r < 0)
                return r;
        if (!uuid_valid(uuid))
                return -EINVAL;
        name = strformat("org.xen.vm.uuid_%s", uuid_to_path(uuid, element));
        if (!name)
                return log_oom();
        r = sd_bus_message_new_method_call(c->bus, &call, name, "/", name, "device");
        if (r >= 0)
                r = sd_bus_message_append(call, "a{ss}", 3, "type", "usb", "cmd", command, "extra", device);
        if (r >= 0)
                r = sd_bus_call(c->bus, call, PLUG_USEC, &error, &reply);
        if (r >= 0 && ret_text && sd_bus_message_read(reply, "s", &text) >= 0) {
                *ret_text = strdup(text);
                r = *ret_text ? 0 : log_oom();
        } else if (r < 0)
                fprintf(stderr, "%s: %s: %s\n", c->name, vm,
                        sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN) ? "the VM does not run"
                        : error.message                                             ? error.message
                                                                                    : strerror(-r));
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
        sd_bus_message_unref(reply);
        return r;
}

/* One line of the answer is that name. */
static bool has_line(const char *text, const char *name)
{
        size_t n = strlen(name);

        for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strncmp(p, name, n) == 0 && (p[n] == '\n' || !p[n]))
                        return true;
        return false;
}

static int usb_show(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm usb list", .synopsis = "[OPTIONS] [VM]", .complete = vmcommand_complete,
                                         .summary = "Lists the USB devices of this host, and marks those that a VM has." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_free_ char *path = NULL, *attached = NULL;
        _cleanup_free_ UsbDevice *l = NULL;
        int i, status, r;
        size_t n;

        i = vmcommand_open(&c, &program, 0, 1, argc, argv, &status);
        if (i < 0)
                return status;
        if (i < argc && (vmcommand_choose(&c, argv[i], &path) < 0 || ask_monitor(&c, argv[i], path, "list", "", &attached) < 0))
                return 1;
        r = usb_list(USB_SYSFS, &l, &n);
        if (r < 0) {
                fprintf(stderr, "%s: %s: %s\n", c.name, USB_SYSFS, strerror(-r));
                return 1;
        }
        if (n == 0)
                printf("This host has no USB devices.\n");
        else
                printf("%-12s %-9s  %s\n", "DEVICE", "ID", "WHAT");
        for (size_t k = 0; k < n; k++)
                printf("%-12s %04x:%04x  %s%s\n", l[k].name, l[k].vendor, l[k].product, l[k].text,
                       has_line(attached, l[k].name) ? " (attached)" : "");
        return fflush(stdout) == 0 ? 0 : 1;
}

/* DEVICE is a place (1-2.3), or VENDOR:PRODUCT where only one such device is plugged in. */
static int choose_device(const VmCommand *c, const char *choice, char ret[static sizeof ((UsbDevice *) NULL)->name])
{
        _cleanup_free_ UsbDevice *l = NULL;
        const UsbDevice *found = NULL;
        unsigned count = 0;
        size_t n = 0;
        int r = usb_list(USB_SYSFS, &l, &n);

        for (size_t i = 0; r >= 0 && i < n; i++) {
                char id[16];

                snprintf(id, sizeof id, "%04x:%04x", l[i].vendor, l[i].product);
                if (!streq(l[i].name, choice) && strcasecmp(id, choice) != 0)
                        continue;
                found = &l[i];
                count++;
        }
        if (count == 1) {
                snprintf(ret, sizeof found->name, "%s", found->name);
                return 0;
        }
        if (count > 1)
                fprintf(stderr, "%s: %u devices are %s; choose one by its place:\n", c->name, count, choice);
        else
                fprintf(stderr, "%s: this host has no USB device '%s'; 'oxt vm usb list' shows those there are\n", c->name, choice);
        for (size_t i = 0; count > 1 && i < n; i++)
                fprintf(stderr, "  %-12s %s\n", l[i].name, l[i].text);
        return count > 1 ? -ENOTUNIQ : -ENODEV;
}

/* The VMs, then the devices. */
static void complete_device(int n_words, char *words[])
{
        _cleanup_free_ UsbDevice *l = NULL;
        size_t n = 0;

        if (n_words == 0)
                vmcommand_complete(n_words, words);
        else if (usb_list(USB_SYSFS, &l, &n) >= 0)
                for (size_t i = 0; i < n; i++)
                        printf("%s\n", l[i].name);
}

static int usb_attach(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm usb attach", .synopsis = "[OPTIONS] VM DEVICE",
                                         .complete = complete_device,
                                         .summary = "Gives a USB device to a running VM: BUS-PORT, or VENDOR:PRODUCT if there is one such." };
        char name[sizeof ((UsbDevice *) NULL)->name];
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_free_ char *path = NULL;
        int i, status;

        i = vmcommand_open(&c, &program, 2, 2, argc, argv, &status);
        if (i < 0)
                return status;
        return vmcommand_choose(&c, argv[i], &path) < 0 || choose_device(&c, argv[i + 1], name) < 0 ||
               ask_monitor(&c, argv[i], path, "add", name, NULL) < 0;
}

static int usb_detach(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm usb detach", .synopsis = "[OPTIONS] VM DEVICE",
                                         .complete = complete_device,
                                         .summary = "Takes a USB device (BUS-PORT) from a running VM." };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        _cleanup_free_ char *path = NULL;
        int i, status;

        i = vmcommand_open(&c, &program, 2, 2, argc, argv, &status);
        if (i < 0)
                return status;
        /* The device itself may be pulled out already. */
        return vmcommand_choose(&c, argv[i], &path) < 0 || ask_monitor(&c, argv[i], path, "del", argv[i + 1], NULL) < 0;
}

static const Verb verbs[] = {
        { "list", "[OPTIONS] [VM]", 0, -1, usb_show, "List the USB devices of this host" },
        { "attach", "VM DEVICE", 0, -1, usb_attach, "Give one to a running VM" },
        { "detach", "VM DEVICE", 0, -1, usb_detach, "Take it away" },
        { 0 }
};

int vm_usb(int argc, char *argv[], _unused_ void *userdata)
{
        static const Program program = { .name = "oxt vm usb", .synopsis = "[OPTIONS] COMMAND ...", .verbs = verbs,
                                         .summary = "USB devices of this host for running VMs." };

        return stack_group(&program, argc, argv);
}
