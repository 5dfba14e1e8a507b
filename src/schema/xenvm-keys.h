/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The keys of the xenvm configuration file. The rows are in xenvm-keys.inc; this header gives them as
 * an enum (XENVM_KEY_<field>) and a table. A new key is one row there.
 */
#include "util.h"

typedef enum XenvmType {
        /* scalars */
        XENVM_UUID,     /* char * */
        XENVM_TEXT,     /* char *, never NULL */
        XENVM_OPT_TEXT, /* char *, NULL: unset */
        XENVM_BOOL,     /* bool */
        XENVM_INT,      /* int64_t; without a default -1: not given */
        XENVM_OPT_INT,  /* int64_t, XENVM_UNSET: unset */
        XENVM_CHOICE,   /* char *, one of the words of `values` */
        XENVM_ACTION,
        XENVM_STARTUP,
        XENVM_NOTIFY,
        XENVM_DISPLAY,
        /* lists */
        XENVM_DISK,
        XENVM_NIC,
        XENVM_PCI,
        XENVM_CPUID,
        XENVM_AFFINITY,
        XENVM_PAIR,
        XENVM_PAIR_WITH_VALUE,
        XENVM_RANGE,
        XENVM_PATH,
} XenvmType;

#define XENVM_UNSET INT64_MIN

typedef enum XenvmKeyFlags {
        XENVM_GS = 1 << 0,              /* the commands get and set know the field */
        XENVM_KIB_IN_COMMANDS = 1 << 1, /* MiB in the file, KiB in get, set and VmConfig */
        XENVM_CRITICAL = 1 << 2,        /* chooses disks, devices or privilege: a bad line stops the start */
        XENVM_ADDITION = 1 << 3,        /* of oxt, not in OpenXT's xenvm */
} XenvmKeyFlags;

typedef enum XenvmKey {
#define SECTION(title)
#define KEY(field, ...) XENVM_KEY_##field,
#include "xenvm-keys.inc"
#undef KEY
#undef SECTION
        _XENVM_KEY_MAX,
} XenvmKey;

typedef struct XenvmKeyInfo {
        const char *name, *alias;
        XenvmType type;
        const char *fallback; /* the default, as the file would have it; NULL: unset */
        const char *unit;
        unsigned flags;
        int64_t min, max;
        const char *values; /* what is accepted, for messages; NULL: said by the type */
        const char *text;
} XenvmKeyInfo;

extern const XenvmKeyInfo xenvm_keys[_XENVM_KEY_MAX];

static inline bool xenvm_type_is_list(XenvmType type)
{
        return type >= XENVM_DISK;
}

/* The key of that name or alias, or _XENVM_KEY_MAX. */
XenvmKey xenvm_key_find(const char *name);
/* The key whose name is nearest to a mistyped one, or _XENVM_KEY_MAX when none is near. */
XenvmKey xenvm_key_nearest(const char *name);
/* What the key accepts, in words; buf has room for size bytes. Returns buf or a static text. */
const char *xenvm_key_accepts(XenvmKey key, char *buf, size_t size);
