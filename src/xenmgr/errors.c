/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "errors.h"

#include "strbuf.h"

const ErrorRow error_rows[] = {
        { ERROR_NO_MEMORY, "Not enough memory", "Not_enough_free_memory" },
        { ERROR_NO_MEMORY, "Not enough memory", "Could not allocate memory for HVM guest" },
        { ERROR_BAD_STATE, "The VM is in an unexpected state", "Vm_bad_state" },
        { ERROR_WRONG_REASON, "The VM ended for another reason", "Vm_shutdown_wrong_reason" },
        { ERROR_DID_NOT_SHUT_DOWN, "The VM did not shut down", "Vm_didnt_shutdown" },
        { ERROR_ALREADY_CREATED, "The VM is created already", "Vm_is_already_created" },
        { ERROR_CAPABILITIES, "The VM needs what this host cannot do", "RequiresMoreCapabilities" },
        { ERROR_DISK_MOUNT, "A disk cannot be opened", "Device.Tap2.Mount_failure" },
        { ERROR_MONITOR, "The VM's monitor failed", NULL },
        { ERROR_VM_POLICY, "The VM's policy does not allow changes of its settings", NULL },
        { ERROR_RUNNING, "The VM is running; shut it down first", NULL },
        { ERROR_TOO_MANY_VMS, "There are too many VMs", NULL },
        { ERROR_NO_DISK, "There is no such disk", NULL },
        { ERROR_DISK_TYPE, "The disk is of the wrong type", NULL },
        { ERROR_NEEDS_TOOLS, "The guest tools must be installed in the VM", NULL },
        { ERROR_NOT_GATHERING, "No diagnostics are being gathered", NULL },
        { ERROR_MEASURED, "A measured disk is not what it was", NULL },
        { ERROR_AMT_TAKEN, "Another VM with AMT passthrough is running", NULL },
        { ERROR_HOST_POLICY, "The host's policy does not allow this", NULL },
        { ERROR_NO_NIC, "There is no such network interface", NULL },
        { ERROR_IO, "I/O error", NULL },
        { ERROR_NO_SLEEP, "The guest did not fall asleep in time", NULL },
        { ERROR_NO_HIBERNATE, "The guest did not hibernate in time", NULL },
        { ERROR_DEVICE_TAKEN, "A device is passed to another VM already", NULL },
        { ERROR_GPU_SECONDARY, "The graphics card cannot be a secondary adapter", NULL },
        { ERROR_BACKEND_DOWN, "The VM that serves its network is not running", NULL },
        { ERROR_OEM_TAKEN, "OEM ACPI features are in use by a running VM", NULL },
        { ERROR_UNKNOWN_GPU, "There is no such GPU", NULL },
        { ERROR_LANGUAGE, "The language is not supported", NULL },
        { ERROR_FIREWALL_RULE, "The firewall rule cannot be read", NULL },
        { ERROR_KEY_EXISTS, "The key file exists already", NULL },
        { ERROR_KEYED_ALREADY, "The disk has a key already", NULL },
        { ERROR_NETWORK_DAEMON, "The network daemon is not ready", NULL },
        { ERROR_FILE_MISSING, "The file is missing", NULL },
        { 0 }
};

const char *error_text(ErrorCode code)
{
        for (const ErrorRow *e = error_rows; e->text; e++)
                if (e->code == code)
                        return e->text;
        return "Unknown error";
}

char *error_format(ErrorCode code, const char *detail)
{
        return detail && *detail ? strformat("%d:%s: %s", code, error_text(code), detail)
                                 : strformat("%d:%s", code, error_text(code));
}

int call_fail_code(Call *c, ErrorCode code, const char *detail)
{
        _cleanup_free_ char *text = error_format(code, detail);

        return call_fail_text(c, text);
}

int call_fail_text(Call *c, const char *text)
{
        return call_fail(c, DBUS_ERROR_FAILED, "%s", text ? text : "Out of memory");
}

char *error_from_monitor(const char *text)
{
        const char *detail = startswith(text, "exception: ");

        if (!detail)
                detail = text;
        for (const ErrorRow *e = error_rows; e->text; e++)
                if (e->token && strstr(text, e->token))
                        return error_format(e->code, detail);
        return error_format(ERROR_MONITOR, detail);
}
