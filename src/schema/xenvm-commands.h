/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The commands of a VM's monitor: one table for D-Bus, the unix socket, xenvm-cmd, `help` and the man page.
 * A new command is one row in xenvm-commands.c, one word here and one handler in src/xenvm.
 */
#include "util.h"

typedef enum XenvmCommand {
        XENVM_CMD_START,
        XENVM_CMD_PAUSE,
        XENVM_CMD_UNPAUSE,
        XENVM_CMD_HALT,
        XENVM_CMD_REBOOT,
        XENVM_CMD_DESTROY,
        XENVM_CMD_SUSPEND,
        XENVM_CMD_RESTORE,
        XENVM_CMD_CHECKPOINT,
        XENVM_CMD_CANCEL,
        XENVM_CMD_PROGRESS,
        XENVM_CMD_S3SUSPEND,
        XENVM_CMD_S4SUSPEND,
        XENVM_CMD_TRIGGER,
        XENVM_CMD_GET_DOMID,
        XENVM_CMD_GET_STUBDOMID,
        XENVM_CMD_GET_STATUS,
        XENVM_CMD_GET_ACPI_STATE,
        XENVM_CMD_GET_VNC,
        XENVM_CMD_GET,
        XENVM_CMD_SET,
        XENVM_CMD_READ_CONFIG,
        XENVM_CMD_DISK_ADD,
        XENVM_CMD_NIC_ADD,
        XENVM_CMD_PCI_ADD,
        XENVM_CMD_DISK_LIST,
        XENVM_CMD_NIC_LIST,
        XENVM_CMD_PCI_LIST,
        XENVM_CMD_DISK_DEL,
        XENVM_CMD_NIC_DEL,
        XENVM_CMD_PCI_DEL,
        XENVM_CMD_DEVICE,
        XENVM_CMD_CD_EJECT,
        XENVM_CMD_CD_INSERT_FILE,
        XENVM_CMD_CD_INSERT_REAL,
        XENVM_CMD_NIC_NETWORK_SWITCH,
        XENVM_CMD_SET_NIC_BACKEND_DOM,
        XENVM_CMD_SET_MEM_TARGET,
        XENVM_CMD_BOOT_SENTINEL,
        XENVM_CMD_PUBLISH,
        XENVM_CMD_CONSOLE,
        XENVM_CMD_SCREENSHOT,
        XENVM_CMD_USAGE,
        XENVM_CMD_TIMELINE,
        XENVM_CMD_HELP,
        XENVM_CMD_QUIT,
        _XENVM_CMD_MAX,
} XenvmCommand;

typedef enum XenvmArgType { XENVM_ARG_TEXT, XENVM_ARG_BOOL, XENVM_ARG_INT } XenvmArgType;

typedef struct XenvmArg {
        const char *name;
        XenvmArgType type;
        bool required;
        const char *fallback; /* of an optional one; NULL: absent */
        /* As a word without '=' in xenvm-cmd: NULL: no; "": any word, in the order of the arguments; else: this word means true. */
        const char *bare;
} XenvmArg;

#define XENVM_ARGS_MAX 10

typedef struct XenvmCommandInfo {
        const char *name;
        XenvmArg args[XENVM_ARGS_MAX];
        const char *text; /* one line, no full stop */
} XenvmCommandInfo;

extern const XenvmCommandInfo xenvm_commands[_XENVM_CMD_MAX];

/* Other spellings; preset is an argument that the spelling implies, as "name=value", or NULL. */
typedef struct XenvmAlias {
        const char *name;
        XenvmCommand command;
        const char *preset;
} XenvmAlias;

extern const XenvmAlias xenvm_aliases[];

/* name or alias; with '_' for '-' too, as on D-Bus. Returns _XENVM_CMD_MAX if there is none. *ret_preset may be NULL. */
XenvmCommand xenvm_command_find(const char *name, const char **ret_preset);

/* What `help` prints: a line for each command. To free; NULL: out of memory. */
char *xenvm_commands_help(void);

/*
 * xenvm-cmd's words behind the command, made into name/value pairs (a NULL-terminated list of "name=value").
 * Returns 0, -EINVAL with *ret_why (to free), or -ENOMEM.
 */
int xenvm_command_words(XenvmCommand command, char *const words[], char ***ret, char **ret_why);
