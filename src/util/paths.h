/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where things are. A stack is named by its state and runtime directory. The system stack (bus
 * "system", default directories) uses the paths of the contract (/config, /storage, /var/run/xenvm,
 * …); every other stack maps the same names below its own two directories, through the one table in
 * paths.c. Two stacks with different directories share nothing.
 *
 * The two directories come from, in this order: option, environment (OXT_STATE_DIR,
 * OXT_RUNTIME_DIR), default: /var/lib/oxt and /run/oxt for root; for a user ~/.local/state/oxt and
 * $XDG_RUNTIME_DIR/oxt, or where that is not set a directory of mode 0700 in the temporary folder.
 */
#include "util.h"

typedef enum PathId {
        PATH_STATE,        /* lasting data */
        PATH_RUNTIME,      /* sockets, runtime files; gone after a reboot */
        PATH_BUS_SOCKET,   /* the private bus */
        PATH_UP_LOCK,      /* held by the supervisor */
        PATH_UP_SOCKET,    /* status and commands of the supervisor */
        PATH_NOTIFY,       /* sd_notify socket of the supervisor */
        PATH_DAEMONS,      /* one runtime file for each daemon: pid, start time */
        PATH_LOGS,         /* logs of the daemons of a private stack */
        PATH_VM_LOGS,      /* logs of the VMs' monitors; the manager's user can write it */
        PATH_DB,           /* dbd's SQLite file is in here */
        PATH_CONFIG,       /* contract: /config */
        PATH_STORAGE,      /* contract: /storage */
        PATH_DISKS,        /* contract: /storage/disks */
        PATH_ISOS,         /* contract: /storage/isos */
        PATH_VM,           /* <runtime>/vm: one directory for each VM that has a monitor */
        PATH_CHANNELS,     /* <runtime>/channel: announcements of guest channels for rpc-proxy */
        PATH_XENVM_SOCKETS, /* contract: /var/run/xenvm */
        PATH_XENVM_STATE,  /* contract: /var/lib/xenvm */
        PATH_XENVM_DEBUG,  /* contract: /tmp, for xenvm-debug-<uuid> */
        PATH_DOMID,        /* the counter that gives domids where there is no Xen */
        PATH_HELPER_SOCKET, /* oxt-helper */
        PATH_DBD_PIDFILE,  /* contract: /var/run/dbd.pid */
        PATH_RULES,        /* contract: /etc/rpc-proxy.rules */
        PATH_TEMPLATES,    /* installed templates */
        PATH_XUI,          /* contract: /usr/lib/xui */
        PATH_BUILDVM_LOCK, /* contract: /var/lock/xen-buildvm-lock */
        _PATH_MAX,
} PathId;

typedef struct Paths {
        bool system; /* the system stack */
        char *path[_PATH_MAX];
} Paths;

/*
 * Fills *ret. state_dir, runtime_dir: from options, or NULL. bus: "system", "private" or NULL (from
 * OXT_BUS, else private). Fails with -ENAMETOOLONG (printed) when a socket path would not fit into
 * 107 bytes. Creates nothing.
 */
int paths_init(Paths *ret, const char *state_dir, const char *runtime_dir, const char *bus);
void paths_done(Paths *p);

static inline const char *paths_get(const Paths *p, PathId id)
{
        return p->path[id];
}

/* "<dir of id>/<formatted>"; NULL on out of memory. */
char *paths_format(const Paths *p, PathId id, const char *fmt, ...) _printf_(3, 4);

/*
 * Maps a path as the contract and OpenXT's databases write it ("/storage/disks/a.vhd", "/config/x") to
 * where it is in this stack; any other path comes back as it is. NULL on out of memory.
 */
char *paths_map(const Paths *p, const char *path);

/*
 * Opens a VM's disk, a mapped path. One below the storage folder must not leave it, whoever made links there; paths elsewhere
 * could only be set by the host. flags as open(2) takes them. Returns the descriptor or negative errno.
 */
int paths_open_disk(const Paths *p, const char *path, int flags);

/*
 * Where our own programs and data are: below the installation prefix, or, when the running program
 * lies in a build tree, in that tree. Needs no Paths. The result is static.
 */
const char *programs_dir(void); /* the folder of the running program */
const char *installed_prefix(void); /* what the running program is installed below; NULL: it lies in a build tree */
const char *data_dir(void);     /* $OXT_DATA_DIR, else <prefix>/share/oxt, else <source>/data */
