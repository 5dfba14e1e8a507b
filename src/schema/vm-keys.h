/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one table of VM properties. It says for each D-Bus property of a VM where it is stored below
 * /vm/<uuid>/, its type, what is read when nothing is stored, who may set it, and what it does.
 * xenmgr serves the interfaces com.citrix.xenclient.xenmgr.vm and .vm.unrestricted from it, rpc-proxy
 * finds the paths of the booleans that rules may ask for, tools and documentation list it.
 */
#include "util.h"

typedef enum VmKeyType {
        VMKEY_BOOL,  /* D-Bus b; stored as true/false, read as parse_bool() does */
        VMKEY_INT,   /* D-Bus i; stored in decimal, read as schema_parse_int() does */
        VMKEY_TEXT,  /* D-Bus s */
        VMKEY_ENUM,  /* D-Bus s, one of `choices` */
        VMKEY_LIST,  /* D-Bus s, items joined with ';'; stored as children 0, 1, … */
        VMKEY_PATHS, /* D-Bus ao, computed */
} VmKeyType;

typedef enum VmKeyFlags {
        VMKEY_READ_ONLY = 1 << 0,
        VMKEY_UNRESTRICTED = 1 << 1, /* only on the unrestricted interface */
        VMKEY_UNCHECKED = 1 << 2,    /* set without a look at policies/modify-vm-settings */
        VMKEY_OPTIONAL = 1 << 3,     /* an empty text, or a number below 1, removes the node */
        VMKEY_HOST_ONLY = 1 << 4,    /* never set by a guest: programs, arguments, files, devices; what it may do */
        VMKEY_STRIP = 1 << 5,        /* blanks at both ends are cut */
        VMKEY_ALWAYS = 1 << 6,       /* written and told even if equal */
        VMKEY_SILENT = 1 << 7,       /* a change is not told by vm_config_changed */
        VMKEY_INVERTED = 1 << 8,     /* the node holds the opposite */
        VMKEY_ADMIN = 1 << 9,        /* set by a guest only where it is the host's user interface, of type uivm */
} VmKeyFlags;

typedef enum VmKeyEffect {
        VMKEY_EFFECT_COMPUTED, /* nothing is stored: read from other values or from the running VM */
        VMKEY_EFFECT_STORED,   /* kept for clients; nothing of ours acts on it */
        VMKEY_EFFECT_MANAGER,  /* xenmgr acts on it (start, shutdown, delete, autostart, …) */
        VMKEY_EFFECT_CONFIG,   /* a line of the monitor's configuration at the next start, see `line` */
        VMKEY_EFFECT_LIVE,     /* acts on a running VM at once */
        VMKEY_EFFECT_PROXY,    /* conditions of rpc-proxy's rules */
        VMKEY_EFFECT_DETECTED, /* written when it is seen in the guest */
} VmKeyEffect;

typedef struct VmKey {
        const char *property; /* D-Bus name */
        const char *path;     /* below /vm/<uuid>/; NULL: computed */
        VmKeyType type;
        unsigned flags;
        const char *fallback; /* text that is read when nothing is stored */
        const char *choices;  /* for VMKEY_ENUM, blank separated */
        VmKeyEffect effect;
        const char *line;     /* key of the monitor's configuration file, or NULL */
        const char *text;
} VmKey;

extern const VmKey vm_keys[]; /* ends with a row without property */
extern const size_t n_vm_keys;

/* The row of that property, or NULL. */
const VmKey *vm_key_find(const char *property);
/*
 * The row that a database path (relative to /vm/<uuid>/) belongs to: its own node or one below it.
 * NULL: none, e.g. for disks, nics and rules.
 */
const VmKey *vm_key_of_path(const char *path);

/* "b", "i", "s" or "ao". */
const char *vm_key_signature(const VmKey *k);

/*
 * Whether a guest may write that text at the path (relative to /vm/<uuid>/), by whatever way it asks.
 * Refused are keys marked VMKEY_HOST_ONLY or VMKEY_ADMIN, everything that is in no table (rules, policies,
 * passthrough), and paths of disks outside of /storage. Deny in doubt.
 */
bool vm_path_guest_may_write(const char *path, const char *untrusted_value);

/* Whether the text is a good value of the key; *ret_why (static) says what is accepted. */
bool vm_key_check(const VmKey *k, const char *text, const char **ret_why);

/* A number as the database's writers make them: decimal or 0x, '-' allowed, blanks around. 0 or -EINVAL. */
int schema_parse_int(const char *s, int64_t *ret);
