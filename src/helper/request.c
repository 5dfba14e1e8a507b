/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <limits.h>

#include "json.h"
#include "parse.h"
#include "usb.h"
#include "vfio.h"

typedef struct Parameter {
        const char *name;
        bool (*take)(const char *untrusted_text, HelperRequest *r);
        const char *why;
} Parameter;

static const struct {
        const char *word, *path;
} device_table[] = {
        { "vhost-net", "/dev/vhost-net" },
        { "vhost-vsock", "/dev/vhost-vsock" },
};

/* What the kernel takes for a network device, and no more: 1 to 15 of letters, digits, '-', '_' and '.'. */
static bool take_interface(const char *untrusted_text, char ret[static 16])
{
        size_t n = strlen(untrusted_text);

        if (n == 0 || n > 15 || untrusted_text[0] == '.' || untrusted_text[0] == '-')
                return false;
        for (size_t i = 0; i < n; i++) {
                char c = untrusted_text[i];

                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.'))
                        return false;
        }
        memcpy(ret, untrusted_text, n + 1);
        return true;
}

static bool take_bridge(const char *untrusted_text, HelperRequest *r)
{
        return take_interface(untrusted_text, r->bridge);
}

/* Only names that tap-create gives. */
static bool take_tap(const char *untrusted_text, HelperRequest *r)
{
        const char *number = startswith(untrusted_text, "oxt");

        return number && *number && strspn(number, "0123456789") == strlen(number) && take_interface(untrusted_text, r->tap);
}

static bool take_device(const char *untrusted_text, HelperRequest *r)
{
        if (!helper_device_path(untrusted_text))
                return false;
        snprintf(r->device, sizeof r->device, "%s", untrusted_text);
        return true;
}

static bool take_usb(const char *untrusted_text, HelperRequest *r)
{
        if (!usb_name_valid(untrusted_text))
                return false;
        snprintf(r->usb, sizeof r->usb, "%s", untrusted_text);
        return true;
}

static bool take_uuid(const char *untrusted_text, HelperRequest *r)
{
        if (!uuid_valid(untrusted_text))
                return false;
        memcpy(r->uuid, untrusted_text, sizeof r->uuid);
        return true;
}

static bool take_pid(const char *untrusted_text, HelperRequest *r)
{
        int64_t pid;

        if (parse_i64(untrusted_text, &pid) < 0 || pid <= 1 || pid > INT_MAX)
                return false;
        r->pid = (pid_t) pid;
        return true;
}

static bool take_weight(const char *untrusted_text, HelperRequest *r)
{
        uint64_t weight;

        if (parse_u64(untrusted_text, &weight) < 0 || weight > 10000)
                return false;
        r->weight = (unsigned) weight;
        return true;
}

static bool take_accel(const char *untrusted_text, HelperRequest *r)
{
        r->kvm = streq(untrusted_text, "kvm");
        return r->kvm || streq(untrusted_text, "tcg");
}

static bool take_pci(const char *untrusted_text, HelperRequest *r)
{
        char word[16];

        if (strlen(untrusted_text) >= sizeof r->pci)
                return false;
        for (const char *p = untrusted_text; *p; p += strcspn(p, " "), p += *p == ' ') {
                snprintf(word, sizeof word, "%.*s", (int) MIN2(strcspn(p, " "), sizeof word - 1), p);
                if (!pci_name_valid(word))
                        return false;
        }
        memcpy(r->pci, untrusted_text, strlen(untrusted_text) + 1);
        return true;
}

static bool take_device_pci(const char *untrusted_text, HelperRequest *r)
{
        return pci_name_valid(untrusted_text) && take_pci(untrusted_text, r);
}

/* Less than a packet in a second is a mistake. */
static bool take_rate(const char *untrusted_text, HelperRequest *r)
{
        return parse_u64(untrusted_text, &r->rate) >= 0 && r->rate >= 1500 && r->rate <= INT64_MAX;
}

static bool take_cpus(const char *untrusted_text, HelperRequest *r)
{
        return parse_u64(untrusted_text, &r->cpus) >= 0 && r->cpus != 0;
}

static const Parameter parameter_bridge = { "bridge", take_bridge, "bridge: not the name of a network device" };
static const Parameter parameter_tap = { "tap", take_tap, "tap: not a name that tap-create gives" };
static const Parameter parameter_device = { "device", take_device, "device: not one of the list" };
static const Parameter parameter_usb = { "device", take_usb, "device: not the place of a USB device" };
static const Parameter parameter_uuid = { "uuid", take_uuid, "uuid: not a uuid" };
static const Parameter parameter_pid = { "pid", take_pid, "pid: not a process number as a text" };
static const Parameter parameter_weight = { "weight", take_weight, "weight: not a number from 0 to 10000 as a text" };
static const Parameter parameter_accel = { "accel", take_accel, "accel: not kvm or tcg" };
static const Parameter parameter_pci = { "pci", take_pci, "pci: not a list of PCI devices" };
static const Parameter parameter_device_pci = { "device", take_device_pci, "device: not a PCI device, DDDD:BB:SS.F" };
static const Parameter parameter_rate = { "rate", take_rate, "rate: not a number of bytes, 1500 or more, as a text" };
static const Parameter parameter_cpus = { "cpus", take_cpus, "cpus: not a number as a text, with a bit for each CPU" };

static const struct {
        const char *name;
        const Parameter *parameters[4];
} request_table[_HELPER_REQUEST_MAX] = {
        [HELPER_PCI_BIND] = { "pci-bind", { &parameter_device_pci } },
        [HELPER_PCI_RELEASE] = { "pci-release", { &parameter_device_pci } },
        [HELPER_TAP_CREATE] = { "tap-create", { &parameter_bridge } },
        [HELPER_TAP_LIMIT] = { "tap-limit", { &parameter_tap, &parameter_rate } },
        [HELPER_TAP_MOVE] = { "tap-move", { &parameter_tap, &parameter_bridge } },
        [HELPER_DEVICE_OPEN] = { "device-open", { &parameter_device } },
        [HELPER_USB_OPEN] = { "usb-open", { &parameter_usb } },
        [HELPER_VM_SCOPE] = { "vm-scope", { &parameter_uuid, &parameter_pid } },
        [HELPER_VM_START] = { "vm-start", { &parameter_uuid, &parameter_weight, &parameter_accel, &parameter_pci } },
        [HELPER_VM_END] = { "vm-end", { &parameter_uuid } },
        [HELPER_CONSOLE_GIVE] = { "console-give", { &parameter_pid } },
        [HELPER_CPU_BIND] = { "cpu-bind", { &parameter_pid, &parameter_cpus } },
        [HELPER_HOST_INFO] = { "host-info", { NULL } },
        [HELPER_MONITOR_START] = { "monitor-start", { &parameter_uuid } },
};

const char *helper_request_name(HelperRequestId id)
{
        return request_table[id].name;
}

const char *helper_device_path(const char *device)
{
        for (size_t i = 0; i < ELEMENTSOF(device_table); i++)
                if (streq(device_table[i].word, device))
                        return device_table[i].path;
        return NULL;
}

int helper_request_parse(const char *untrusted_line, size_t n, HelperRequest *ret, const char **ret_why)
{
        _cleanup_json_ json_object *o = NULL;
        HelperRequest r = { .id = 0 };
        const char *name;
        size_t n_parameters = 0;

        *ret_why = "not a JSON object with the member \"request\"";
        if (n > HELPER_LINE_MAX || memchr(untrusted_line, '\0', n) || json_parse(untrusted_line, n, 2, &o) < 0)
                return -EINVAL;
        name = json_get_text(o, "request", NULL);
        if (!name)
                return -EINVAL;
        while (r.id < _HELPER_REQUEST_MAX && !streq(request_table[r.id].name, name))
                r.id++;
        *ret_why = "there is no such request";
        if (r.id == _HELPER_REQUEST_MAX)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(request_table[0].parameters) && request_table[r.id].parameters[i]; i++) {
                const Parameter *p = request_table[r.id].parameters[i];
                const char *untrusted_text = json_get_text(o, p->name, NULL);

                *ret_why = p->why;
                /* A text with a NUL inside is longer than it looks. */
                if (!untrusted_text || strlen(untrusted_text) != (size_t) json_object_get_string_len(json_get_member(o, p->name, json_type_string)) ||
                    !p->take(untrusted_text, &r))
                        return -EINVAL;
                n_parameters++;
        }
        *ret_why = "there are members that this request does not have";
        if ((size_t) json_object_object_length(o) != n_parameters + 1)
                return -EINVAL;
        *ret = r;
        return 0;
}
