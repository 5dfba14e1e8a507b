/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xenvm-commands.h"

#include "strbuf.h"

#define REQUIRED(name, type, bare) { name, XENVM_ARG_##type, true, NULL, bare }
#define OPTIONAL(name, type, fallback, bare) { name, XENVM_ARG_##type, false, fallback, bare }

const XenvmCommandInfo xenvm_commands[_XENVM_CMD_MAX] = {
        [XENVM_CMD_START] = { "start", { OPTIONAL("paused", BOOL, "false", "paused") },
                              "Build the VM and run it; paused: stop before its first instruction" },
        [XENVM_CMD_PAUSE] = { "pause", { { 0 } }, "Stop the virtual CPUs" },
        [XENVM_CMD_UNPAUSE] = { "unpause", { { 0 } }, "Let the virtual CPUs run" },
        [XENVM_CMD_HALT] = { "halt", { OPTIONAL("forced", BOOL, "false", "force") },
                             "Ask the guest to power off and wait for it; forced: do not ask" },
        [XENVM_CMD_REBOOT] = { "reboot",
                               { OPTIONAL("forced", BOOL, "false", "force"), OPTIONAL("auto-start", BOOL, "false", NULL) },
                               "Halt for a reboot; auto-start: start again afterwards" },
        [XENVM_CMD_DESTROY] = { "destroy", { { 0 } }, "Kill the VM at once" },
        [XENVM_CMD_SUSPEND] = { "suspend",
                                { OPTIONAL("live", BOOL, "false", "live"), REQUIRED("file", TEXT, "") },
                                "Save the VM to a file and end it" },
        [XENVM_CMD_RESTORE] = { "restore",
                                { REQUIRED("file", TEXT, ""), OPTIONAL("paused", BOOL, "false", NULL),
                                  OPTIONAL("delete", BOOL, "true", NULL) },
                                "Begin where a saved VM was; delete: remove the file after success" },
        [XENVM_CMD_CHECKPOINT] = { "checkpoint", { REQUIRED("file", TEXT, "") },
                                   "Save the VM to a file and let it go on" },
        [XENVM_CMD_CANCEL] = { "cancel", { { 0 } }, "Give up the suspend or checkpoint that is under way" },
        [XENVM_CMD_PROGRESS] = { "progress", { { 0 } }, "What long command is under way, and how far it is" },
        [XENVM_CMD_S3SUSPEND] = { "s3suspend", { OPTIONAL("timeout", INT, "30", NULL) },
                                  "Ask the guest to sleep (S3) and wait until it does" },
        [XENVM_CMD_S4SUSPEND] = { "s4suspend", { OPTIONAL("timeout", INT, "30", NULL) },
                                  "Ask the guest to hibernate (S4) and wait until it has" },
        [XENVM_CMD_TRIGGER] = { "trigger", { REQUIRED("params", TEXT, "") }, "s3resume: wake the guest from S3" },
        [XENVM_CMD_GET_DOMID] = { "get-domid", { { 0 } }, "Number of the domain; -1: none" },
        [XENVM_CMD_GET_STUBDOMID] = { "get-stubdomid", { { 0 } }, "Number of the stub domain; -1: none" },
        [XENVM_CMD_GET_STATUS] = { "get-status", { { 0 } }, "State of the VM" },
        [XENVM_CMD_GET_ACPI_STATE] = { "get-acpi-state", { { 0 } }, "ACPI power state of the guest, 0 to 5" },
        [XENVM_CMD_GET_VNC] = { "get-vnc", { { 0 } }, "TCP port of the VNC server; empty: none" },
        [XENVM_CMD_GET] = { "get", { REQUIRED("field", TEXT, "") },
                            "A field of the configuration of the next start, required-to-boot-kib, or on Xen host-free-kib" },
        [XENVM_CMD_SET] = { "set", { REQUIRED("field", TEXT, ""), REQUIRED("value", TEXT, "") },
                            "Change a field of the configuration for the next start" },
        [XENVM_CMD_READ_CONFIG] = { "read-config", { OPTIONAL("path", TEXT, NULL, "") },
                                    "Read the config file (or another one) for the next start" },
        [XENVM_CMD_DISK_ADD] = { "disk-add",
                                 { REQUIRED("path", TEXT, NULL), REQUIRED("device", TEXT, NULL),
                                   REQUIRED("type", TEXT, NULL), REQUIRED("mode", TEXT, NULL),
                                   REQUIRED("devtype", TEXT, NULL) },
                                 "Add a disk for the next start" },
        [XENVM_CMD_NIC_ADD] = { "nic-add",
                                { OPTIONAL("bridge", TEXT, NULL, NULL), OPTIONAL("mac", TEXT, NULL, NULL),
                                  OPTIONAL("model", TEXT, NULL, NULL), OPTIONAL("network", TEXT, NULL, NULL) },
                                "Add a network card for the next start" },
        [XENVM_CMD_PCI_ADD] = { "pci-add",
                                { REQUIRED("id", INT, NULL), REQUIRED("domain", INT, NULL), REQUIRED("bus", INT, NULL),
                                  REQUIRED("slot", INT, NULL), REQUIRED("func", INT, NULL),
                                  OPTIONAL("bind", BOOL, "true", NULL), OPTIONAL("msitranslate", BOOL, NULL, NULL),
                                  OPTIONAL("power_mgmt", BOOL, NULL, NULL) },
                                "Add a PCI device of the host for the next start" },
        [XENVM_CMD_DISK_LIST] = { "disk-list", { { 0 } }, "Disks, one a line" },
        [XENVM_CMD_NIC_LIST] = { "nic-list", { { 0 } }, "Table of network cards" },
        [XENVM_CMD_PCI_LIST] = { "pci-list", { { 0 } }, "Table of PCI devices of the running VM" },
        [XENVM_CMD_DISK_DEL] = { "disk-del", { { 0 } }, "Answered with an error; see device" },
        [XENVM_CMD_NIC_DEL] = { "nic-del", { { 0 } }, "Answered with an error; see device" },
        [XENVM_CMD_PCI_DEL] = { "pci-del", { { 0 } }, "Answered with an error; see device" },
        [XENVM_CMD_DEVICE] = { "device",
                               { REQUIRED("type", TEXT, ""), REQUIRED("cmd", TEXT, ""), OPTIONAL("extra", TEXT, NULL, "") },
                               "Devices of the running VM: type disk, nic, pci or usb; cmd list, add or del" },
        [XENVM_CMD_CD_EJECT] = { "cd-eject", { REQUIRED("virtpath", TEXT, "") }, "Empty a CD drive" },
        [XENVM_CMD_CD_INSERT_FILE] = { "cd-insert-file",
                                       { REQUIRED("virtpath", TEXT, ""), REQUIRED("physpath", TEXT, "") },
                                       "Put an image file into a CD drive" },
        [XENVM_CMD_CD_INSERT_REAL] = { "cd-insert-real",
                                       { REQUIRED("virtpath", TEXT, ""), REQUIRED("physpath", TEXT, "") },
                                       "Connect a CD drive to a device of the host" },
        [XENVM_CMD_NIC_NETWORK_SWITCH] = { "nic-network-switch",
                                           { REQUIRED("id", INT, NULL), REQUIRED("network", TEXT, NULL) },
                                           "Move a running network card to another network or bridge" },
        [XENVM_CMD_SET_NIC_BACKEND_DOM] = { "set-nic-backend-dom",
                                            { REQUIRED("id", INT, NULL), REQUIRED("domid", INT, NULL) },
                                            "Attach a network card to another back-end domain" },
        [XENVM_CMD_SET_MEM_TARGET] = { "set-mem-target", { REQUIRED("mb", INT, "") },
                                       "Ask the guest to use so many MiB" },
        [XENVM_CMD_BOOT_SENTINEL] = { "boot-sentinel", { { 0 } }, "Note in the timeline that the guest's services are up" },
        [XENVM_CMD_CONSOLE] = { "console", { { 0 } }, "Where the serial console is: a terminal, or unix: and a socket" },
        [XENVM_CMD_SCREENSHOT] = { "screenshot", { REQUIRED("file", TEXT, "") },
                                   "Write what is on the screen to a PNG file" },
        [XENVM_CMD_USAGE] = { "usage", { { 0 } }, "What the VM has used so far, as JSON" },
        [XENVM_CMD_PUBLISH] = { "publish", { REQUIRED("name", TEXT, ""), REQUIRED("value", TEXT, "") },
                                "On Xen: show other programs of the host what the manager knows of the running VM, in xenstore" },
        [XENVM_CMD_TIMELINE] = { "timeline", { { 0 } }, "What happened when during the last start, and why it failed" },
        [XENVM_CMD_HELP] = { "help", { { 0 } }, "This list" },
        [XENVM_CMD_QUIT] = { "quit", { { 0 } }, "End the monitor; the VM stays as it is" },
};

const XenvmAlias xenvm_aliases[] = {
        { "shutdown", XENVM_CMD_HALT, NULL },
        { "restart", XENVM_CMD_REBOOT, "auto-start=true" },
        { "status", XENVM_CMD_GET_STATUS, NULL },
        { "domid", XENVM_CMD_GET_DOMID, NULL },
        { "vnc", XENVM_CMD_GET_VNC, NULL },
        { "restore-no-del", XENVM_CMD_RESTORE, "delete=false" },
        { 0 }
};

static bool same_name(const char *table, const char *given)
{
        for (; *table && *given; table++, given++)
                if (*table != *given && !(*table == '-' && *given == '_'))
                        return false;
        return !*table && !*given;
}

XenvmCommand xenvm_command_find(const char *name, const char **ret_preset)
{
        const char *preset = NULL;
        XenvmCommand c = 0;

        while (c < _XENVM_CMD_MAX && !same_name(xenvm_commands[c].name, name))
                c++;
        for (const XenvmAlias *a = xenvm_aliases; c == _XENVM_CMD_MAX && a->name; a++)
                if (same_name(a->name, name)) {
                        c = a->command;
                        preset = a->preset;
                }
        if (ret_preset)
                *ret_preset = preset;
        return c;
}

static const char *const type_names[] = { [XENVM_ARG_TEXT] = "TEXT", [XENVM_ARG_BOOL] = "true|false", [XENVM_ARG_INT] = "NUMBER" };

static void add_synopsis(StrBuf *b, const XenvmCommandInfo *c)
{
        strbuf_add(b, c->name);
        for (const XenvmArg *a = c->args; a->name; a++)
                strbuf_addf(b, a->required ? " %s=%s" : " [%s=%s]", a->name, type_names[a->type]);
}

char *xenvm_commands_help(void)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        for (XenvmCommand c = 0; c < _XENVM_CMD_MAX; c++) {
                const XenvmCommandInfo *info = &xenvm_commands[c];
                unsigned required = 0, all = 0;

                for (const XenvmArg *a = info->args; a->name; a++) {
                        required += a->required;
                        all++;
                }
                strbuf_add(&b, c > 0 ? "\n" : "");
                add_synopsis(&b, info);
                if (required == all)
                        strbuf_addf(&b, " (%u): %s", all, info->text);
                else
                        strbuf_addf(&b, " (%u-%u): %s", required, all, info->text);
        }
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static bool has_name(char *const *l, const char *name)
{
        for (; l && *l; l++) {
                const char *rest = startswith(*l, name);

                if (rest && *rest == '=')
                        return true;
        }
        return false;
}

/* A value of its own can hold '=' too, as in `device nic add bridge=user`. */
static bool names_argument(const XenvmCommandInfo *info, const char *word)
{
        bool takes_words = false;

        for (const XenvmArg *a = info->args; a->name; a++) {
                const char *rest = startswith(word, a->name);

                if (rest && *rest == '=')
                        return true;
                takes_words |= a->bare && !a->bare[0];
        }
        return !takes_words && strchr(word, '=');
}

int xenvm_command_words(XenvmCommand command, char *const words[], char ***ret, char **ret_why)
{
        const XenvmCommandInfo *info = &xenvm_commands[command];
        _cleanup_strv_ char **l = NULL;

        for (; *words; words++) {
                const XenvmArg *match = NULL;
                int r;

                if (names_argument(info, *words)) {
                        r = strv_extend(&l, *words);
                        if (r < 0)
                                return r;
                        continue;
                }
                for (const XenvmArg *a = info->args; a->name && !match; a++)
                        if (a->bare && a->bare[0] && streq(a->bare, *words) && !has_name(l, a->name))
                                match = a;
                for (const XenvmArg *a = info->args; a->name && !match; a++)
                        if (a->bare && !a->bare[0] && !has_name(l, a->name))
                                match = a;
                if (!match) {
                        *ret_why = strformat("'%s' is not an argument of %s; arguments are written name=value", *words, info->name);
                        return *ret_why ? -EINVAL : -ENOMEM;
                }
                r = strv_extendf(&l, "%s=%s", match->name, match->bare[0] ? "true" : *words);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(l);
        return 0;
}
