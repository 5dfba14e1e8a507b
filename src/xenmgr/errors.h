/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The manager's numbered errors. They go over D-Bus as org.freedesktop.DBus.Error.Failed with the text
 * "NNN:text"; clients cut at the first colon.
 */
#include "service.h"

typedef enum ErrorCode {
        ERROR_NO_MEMORY = 101,
        ERROR_BAD_STATE = 102,
        ERROR_WRONG_REASON = 103,
        ERROR_DID_NOT_SHUT_DOWN = 104,
        ERROR_ALREADY_CREATED = 105,
        ERROR_CAPABILITIES = 106,
        ERROR_DISK_MOUNT = 107,
        ERROR_MONITOR = 199,
        ERROR_VM_POLICY = 202,
        ERROR_RUNNING = 204,
        ERROR_TOO_MANY_VMS = 205,
        ERROR_NO_DISK = 206,
        ERROR_DISK_TYPE = 207,
        ERROR_NEEDS_TOOLS = 213,
        ERROR_NOT_GATHERING = 216,
        ERROR_MEASURED = 217,
        ERROR_AMT_TAKEN = 219,
        ERROR_HOST_POLICY = 220,
        ERROR_NO_NIC = 222,
        ERROR_IO = 223,
        ERROR_NO_SLEEP = 227,
        ERROR_NO_HIBERNATE = 228,
        ERROR_DEVICE_TAKEN = 230,
        ERROR_GPU_SECONDARY = 231,
        ERROR_BACKEND_DOWN = 232,
        ERROR_OEM_TAKEN = 233,
        ERROR_UNKNOWN_GPU = 234,
        ERROR_LANGUAGE = 236,
        ERROR_FIREWALL_RULE = 237,
        ERROR_KEY_EXISTS = 238,
        ERROR_KEYED_ALREADY = 239,
        ERROR_NETWORK_DAEMON = 240,
        ERROR_FILE_MISSING = 242,
} ErrorCode;

typedef struct ErrorRow {
        ErrorCode code;
        const char *text;
        const char *token; /* what a monitor's error text holds when it means this; NULL: monitors do not say it */
} ErrorRow;

/* Ends with a row without text. */
extern const ErrorRow error_rows[];

/* The text of a code, without the number. Never NULL. */
const char *error_text(ErrorCode code);

/* "NNN:text", or "NNN:text: detail". NULL on out of memory. */
char *error_format(ErrorCode code, const char *detail);

/* Answers a call with a numbered error; detail may be NULL. Returns 0. */
int call_fail_code(Call *c, ErrorCode code, const char *detail);
/* Answers a call with a text as it is (numbered already, or unnumbered). Returns 0. */
int call_fail_text(Call *c, const char *text);

/*
 * Makes the manager's text of an error that a monitor answered: the code is found by the token that
 * the text holds. NULL on out of memory.
 */
char *error_from_monitor(const char *text);
