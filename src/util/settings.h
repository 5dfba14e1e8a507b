/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Settings of the host: one table (settings.c) of name, type, default, bounds and text. A value comes
 * from, in this order: environment (OXT_ and the name in capitals, '.' and '-' as '_'), the stack's
 * <state>/oxt.conf, /etc/oxt/oxt.conf, default. Files hold lines `name = value`; `#` starts a comment
 * line. Options of a program that mean the same override them in that program.
 */
#include "paths.h"

typedef enum SettingId {
        SETTING_ACCEL,
        SETTING_BACKEND,
        SETTING_BUS,
        SETTING_HELPER_BRIDGES,
        SETTING_HELPER_PCI,
        SETTING_HELPER_USB,
        SETTING_LOG_SIZE,
        SETTING_LOG_KEEP,
        SETTING_PROXY_CONNECTIONS,
        SETTING_PROXY_MESSAGE_SIZE,
        SETTING_PROXY_QUEUED,
        SETTING_PROXY_WINDOW,
        SETTING_PROXY_PENDING,
        SETTING_PROXY_MATCHES,
        SETTING_PROXY_PATIENCE,
        SETTING_PROXY_AUTH_TIMEOUT,
        SETTING_PROXY_DENIALS,
        SETTING_DB_HISTORY_DAYS,
        SETTING_DB_HISTORY_SIZE,
        SETTING_DB_GUEST_VALUE,
        SETTING_DB_GUEST_PATH,
        SETTING_DB_GUEST_DEPTH,
        SETTING_DB_GUEST_NODES,
        SETTING_DB_GUEST_BYTES,
        SETTING_DB_GUEST_OPERATIONS,
        SETTING_DB_GUEST_WATCHES,
        SETTING_DB_GUEST_WAITING,
        SETTING_DB_GUEST_RATE,
        SETTING_STORAGE_BACKING,
        SETTING_VM_MEMORY,
        SETTING_VM_USERS,
        SETTING_WATCHDOG,
        _SETTING_MAX,
} SettingId;

typedef enum SettingType { SETTING_TEXT, SETTING_INT } SettingType;

typedef struct Setting {
        const char *name;
        SettingType type;
        const char *value; /* default */
        int64_t min, max;  /* for numbers */
        const char *choices; /* for texts, blank separated; NULL: any */
        const char *text;
} Setting;

extern const Setting setting_table[_SETTING_MAX];

/*
 * Reads both files. A line that cannot be taken is logged as a warning with file, line and what is
 * accepted, and left out. Returns how many such lines there were, or -errno on failure to read a
 * file that exists. p may be NULL: then only /etc/oxt/oxt.conf.
 */
int settings_load(const Paths *p);

/* The value in force; a text is valid until settings_load() is called again. */
const char *setting_text(SettingId id);
int64_t setting_int(SettingId id);

/* Where the value in force came from: "default", "environment" or the file's path. */
const char *setting_origin(SettingId id);

/* Checks a value for a setting; on failure *ret_why (to free) says what is accepted. */
int setting_check(SettingId id, const char *value, char **ret_why);
/* The row of that name, or _SETTING_MAX. */
SettingId setting_find(const char *name);
