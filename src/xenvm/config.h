/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The configuration of one VM: the xenvm config file, read into typed fields. The keys are the rows of
 * src/schema/xenvm-keys.inc; each row is a field of VmConfig of the same name. The grammar, types,
 * errors and checks are those of OpenXT's xenvm (see xenvm.conf(5)).
 *
 * A bad line never discards good ones: problems are collected, and the caller decides (strict mode,
 * vmconfig_check_start()) what they mean. Nothing here touches disks, devices or the network.
 */
#include "util.h"
#include "xenvm-keys.h"

#define CONFIG_FILE_MAX (1 * MIB)
#define CONFIG_LIST_MAX 256

/* What was found wrong in a file. */
typedef enum ConfigSeverity {
        CONFIG_NOTE,  /* taken, but worth a warning */
        CONFIG_LAX,   /* a warning; in strict mode an error */
        CONFIG_ERROR, /* the line was left out; in strict mode the monitor does not start */
        CONFIG_FATAL, /* the monitor does not start */
} ConfigSeverity;

typedef struct ConfigProblem {
        ConfigSeverity severity;
        unsigned line; /* 0: of the file as a whole */
        char *key;     /* as written */
        char *text;    /* as the contract has it, e.g. "expect int arg" */
        char *detail;  /* what was found and what is accepted, or NULL */
} ConfigProblem;

typedef struct ConfigProblems {
        ConfigProblem *items;
        size_t n;
        size_t n_errors; /* CONFIG_ERROR and CONFIG_FATAL */
        size_t n_lax;
        bool fatal;
        bool critical; /* a bad line of a key that chooses disks, devices or privilege: no start */
} ConfigProblems;

void config_problems_done(ConfigProblems *p);
#define _cleanup_problems_ _cleanup_(config_problems_done)
/* "config error: KEY: TEXT (line N of FILE: DETAIL)", or "config warning: …"; to free, NULL: no memory. */
char *config_problem_format(const ConfigProblem *p, const char *file, bool strict);
/* True if the monitor must end with exit status 3. */
bool config_problems_stop(const ConfigProblems *p, bool strict);

typedef enum VmAction { VM_ACTION_DESTROY, VM_ACTION_RESTART, VM_ACTION_PRESERVE } VmAction;
const char *vm_action_to_text(VmAction a);

typedef enum VmStartupMode {
        VM_STARTUP_START,
        VM_STARTUP_PAUSED,
        VM_STARTUP_SHUTDOWN,
        VM_STARTUP_RESTORE,
        VM_STARTUP_RESTORE_DELETE,
} VmStartupMode;

typedef struct VmStartup {
        VmStartupMode mode;
        char *file; /* to restore */
} VmStartup;

typedef enum VmNotifyTarget { VM_NOTIFY_NONE, VM_NOTIFY_DBUS, VM_NOTIFY_UNIX, VM_NOTIFY_TCP } VmNotifyTarget;

typedef struct VmNotify {
        VmNotifyTarget target;
        char *path;     /* unix: the socket; dbus: the text behind "dbus,", or NULL */
        char ip[16];    /* tcp: a numeric IPv4 address */
        uint16_t port;
} VmNotify;

typedef enum VmDisplayKind { VM_DISPLAY_NONE, VM_DISPLAY_VNC, VM_DISPLAY_SDL, VM_DISPLAY_GTK, VM_DISPLAY_INTEL } VmDisplayKind;

typedef struct VmDisplay {
        VmDisplayKind kind;
        bool unused_port;
        bool port_given; /* the file writes a port: only then, or with unused_port, there is TCP */
        int64_t port;    /* VNC display number */
        char *keymap;    /* vnc */
        char *text;      /* sdl, gtk, intel: what stood behind the colon, or NULL */
} VmDisplay;

typedef enum VmDiskType {
        VM_DISK_PHY,
        VM_DISK_FILE,
        VM_DISK_VHD,
        VM_DISK_QCOW,
        VM_DISK_QCOW2,
        VM_DISK_AIO,
        VM_DISK_VDI,
        _VM_DISK_TYPE_MAX,
} VmDiskType;
const char *vm_disk_type_to_text(VmDiskType t); /* as in the file; lists print "phys" for phy */

typedef enum VmSnapshot {
        VM_SNAPSHOT_NONE,
        VM_SNAPSHOT_TEMPORARY,
        VM_SNAPSHOT_TEMPORARY_ENCRYPTED,
        VM_SNAPSHOT_COALESCE,
        VM_SNAPSHOT_SCRIPTED,
        VM_SNAPSHOT_SCRIPTED_AUTHOR,
        VM_SNAPSHOT_SCRIPTED_NO_SNAPSHOT,
        _VM_SNAPSHOT_MAX,
} VmSnapshot;
const char *vm_snapshot_to_text(VmSnapshot s);

typedef struct VmDisk {
        char *path; /* "" for an empty CD drive */
        VmDiskType type;
        char *virtpath;  /* as written: hda, xvdb, or a number */
        unsigned device; /* major * 256 + minor */
        bool writable, cdrom;
        VmSnapshot snapshot;
        char *key_file; /* dm-crypt over the image; NULL: none */
        char *cipher;   /* with key_file */
        int64_t key_size; /* bits */
        char *key_dir;  /* directories in which the tap layer looks for keys, comma separated, or NULL */
        int64_t backend_domid;
        int64_t bps, iops; /* at most so many bytes and requests in a second; 0: no limit */
        unsigned line;
} VmDisk;

/* A port of the host's loopback address that leads into the guest. */
typedef struct VmForward {
        bool udp;
        uint16_t host, guest;
} VmForward;

#define VM_FORWARDS_MAX 16

typedef struct VmNic {
        int64_t id;     /* always assigned once the config is loaded */
        char *bridge, *network, *model; /* "" if not given */
        char mac[18];   /* always filled in once the config is loaded */
        bool mac_given; /* else derived from id, model and uuid */
        bool wireless;
        int64_t backend_domid;
        VmForward forwards[VM_FORWARDS_MAX];
        size_t n_forwards;
        int64_t rate; /* at most so many bytes in a second; 0: no limit */
        unsigned line;
} VmNic;

typedef struct VmPci {
        int64_t devid;
        bool bind; /* first, or any line of the same devid: give it to the pass-through driver */
        uint16_t domain;
        uint8_t bus, slot, func;
        int64_t msitranslate, power_mgmt; /* 0, 1, or XENVM_UNSET: the config's pci_* fields say */
        int64_t guest_slot, vdevfn;       /* XENVM_UNSET: any */
        unsigned line;
} VmPci;

typedef struct VmCpuid {
        int64_t leaf, subleaf; /* subleaf XENVM_UNSET: none */
        char mask[4][33];      /* eax, ebx, ecx, edx; "" for those not given */
} VmCpuid;

typedef struct VmAffinity {
        int64_t vcpu;
        uint64_t cpus; /* a bit for each host CPU */
} VmAffinity;

typedef struct VmPair {
        char *name;
        char *value; /* NULL: name alone */
} VmPair;

typedef struct VmRange {
        uint64_t start, end; /* both included */
} VmRange;

#define VM_LIST(type, element)                                                                             \
        typedef struct type {                                                                              \
                element *items;                                                                            \
                size_t n;                                                                                  \
        } type
VM_LIST(VmDisks, VmDisk);
VM_LIST(VmNics, VmNic);   /* sorted by id */
VM_LIST(VmPcis, VmPci);
VM_LIST(VmCpuids, VmCpuid);
VM_LIST(VmAffinities, VmAffinity);
VM_LIST(VmPairs, VmPair);
VM_LIST(VmRanges, VmRange);
VM_LIST(VmPaths, char *);
#undef VM_LIST

/* One setting that was made, in file order; scalars once, the last one. For copies and the converter. */
typedef struct VmSetting {
        XenvmKey key;
        char *value;
        unsigned line;
        bool from_command; /* in the unit of get and set */
} VmSetting;

#define XENVM_CTYPE_UUID char *
#define XENVM_CTYPE_TEXT char *
#define XENVM_CTYPE_OPT_TEXT char *
#define XENVM_CTYPE_BOOL bool
#define XENVM_CTYPE_INT int64_t
#define XENVM_CTYPE_OPT_INT int64_t
#define XENVM_CTYPE_CHOICE char *
#define XENVM_CTYPE_ACTION VmAction
#define XENVM_CTYPE_STARTUP VmStartup
#define XENVM_CTYPE_NOTIFY VmNotify
#define XENVM_CTYPE_DISPLAY VmDisplay
#define XENVM_CTYPE_DISK VmDisks
#define XENVM_CTYPE_NIC VmNics
#define XENVM_CTYPE_PCI VmPcis
#define XENVM_CTYPE_CPUID VmCpuids
#define XENVM_CTYPE_AFFINITY VmAffinities
#define XENVM_CTYPE_PAIR VmPairs
#define XENVM_CTYPE_PAIR_WITH_VALUE VmPairs
#define XENVM_CTYPE_RANGE VmRanges
#define XENVM_CTYPE_PATH VmPaths

/*
 * The fields: uuid, name, startup, … as in xenvm-keys.inc, e.g. c->hvm, c->memory_kib (-1: not given),
 * c->disk.items[0].path, c->on_halt. Written only by config.c.
 */
typedef struct VmConfig {
#define SECTION(title)
#define KEY(field, name, alias, type, ...) XENVM_CTYPE_##type field;
#include "xenvm-keys.inc"
#undef KEY
#undef SECTION
        char *file;          /* where it came from, or NULL */
        bool uuid_generated; /* neither file nor command line gave one */
        bool blocked;        /* a line of a critical key was bad: vmconfig_check_start() refuses */
        char *blocked_why;
        VmSetting *settings;
        size_t n_settings;
} VmConfig;

/* The empty configuration of a monitor without a file: defaults, startup shutdown. */
int vmconfig_new(const char *uuid, VmConfig **ret);
VmConfig *vmconfig_free(VmConfig *c);
DEFINE_CLEANUP(VmConfig *, vmconfig_free)
#define _cleanup_config_ _cleanup_(vmconfig_freep)

/*
 * Reads a file (or size bytes of text). uuid: from the command line, wins over the file's; NULL: none.
 * Returns 0 (look at problems), -EBADMSG (a fatal problem, *ret is not set), or the errno of reading.
 * problems must be empty; it is the caller's to free.
 */
int vmconfig_load(const char *path, const char *uuid, ConfigProblems *problems, VmConfig **ret);
int vmconfig_parse(const char *text, size_t size, const char *uuid, ConfigProblems *problems, VmConfig **ret);

/*
 * Two generations: the monitor runs on one VmConfig and changes a copy, which takes its place at the
 * next start. A copy has the same settings, and so the same ids and addresses.
 */
int vmconfig_copy(const VmConfig *c, VmConfig **ret);
/* As text, and the same again of that, as exactly as a copy, but for the file that it came from. Return 0, -ENOMEM, or -EBADMSG or -EINVAL. */
int vmconfig_text(const VmConfig *c, char **ret);
int vmconfig_from_text(const char *text, const char *uuid, VmConfig **ret);

/* The commands get and set (KiB for memory fields). get also knows required-to-boot-kib. -ENOENT: no such field. */
int vmconfig_get(const VmConfig *c, const char *field, char **ret);
/*
 * Returns 0, -ENOENT (no such field, or not one for set), -EINVAL (*ret_why, to free, says what is
 * accepted; nothing was changed) or -ENOMEM.
 */
int vmconfig_set(VmConfig *c, const char *field, const char *value, char **ret_why);
/*
 * Adds an element to a list, in the syntax of the file (disk-add, nic-add, pci-add). Returns 0,
 * -EINVAL with *ret_why, or -ENOMEM. Pointers into the lists are void afterwards.
 */
int vmconfig_add(VmConfig *c, XenvmKey key, const char *value, char **ret_why);
/*
 * Takes an element out of a list; or says that one was changed in place. Others keep what was assigned to them (ids,
 * addresses), also in copies. Return 0 or -ENOMEM.
 */
int vmconfig_remove(VmConfig *c, XenvmKey key, size_t i);
int vmconfig_changed(VmConfig *c, XenvmKey key);
/* Reads one element without a config, for `device add`: the caller frees with vm_disk_done() and so on. */
int vmconfig_parse_disk(const char *value, VmDisk *ret, char **ret_why);
int vmconfig_parse_nic(const char *value, VmNic *ret, char **ret_why);
int vmconfig_parse_pci(const char *value, VmPci *ret, char **ret_why);
void vm_disk_done(VmDisk *d);
void vm_nic_done(VmNic *n);

/* What a start needs of the config itself: 0, or -EINVAL with *ret_why (to free). */
int vmconfig_check_start(const VmConfig *c, char **ret_why);

/*
 * The same text, or another one that begins with a key (and says which disk or card it means), with the line that made that setting:
 * "TEXT (line N of FILE)". To free; NULL: no memory.
 */
char *vmconfig_locate(const VmConfig *c, const char *text);

/* virt-type wins over hvm. */
bool vmconfig_is_hvm(const VmConfig *c);

/* KiB that the host must have free for a start. */
uint64_t vmconfig_required_kib(const VmConfig *c);

/* 6 octets as text, derived from id, model and uuid; stable for ever. */
void vm_mac_derive(int64_t id, const char *model, const char *uuid, char ret[static 18]);
/* major * 256 + minor of hda, xvdb1, sda or a plain number; -EINVAL. */
int vm_device_number(const char *virtpath, unsigned *ret);
/* An image whose key lies in its key-dir is encrypted by OpenXT's tap layer: without that a guest would see, and spoil, noise. */
bool vm_disk_has_key(const VmDisk *d);
/* A VHD that has only what differs from another, its parent. QEMU takes it, and shows zeros where the parent's blocks are. */
bool vm_vhd_has_parent(int fd);
#define VHD_PARENT_REFUSED "it is a VHD that builds on another (a snapshot or child), which QEMU cannot read"
/* pci: the effective values, with the config's defaults. */
bool vm_pci_msitranslate(const VmConfig *c, const VmPci *p);
bool vm_pci_power_mgmt(const VmConfig *c, const VmPci *p);

/* Values as the file would have them, in one fixed form; -ENOMEM. For lists: element i. */
int vmconfig_format(const VmConfig *c, XenvmKey key, size_t i, char **ret);
/* The number of elements of a list; of a scalar 1, or 0 if it is unset. */
size_t vmconfig_count(const VmConfig *c, XenvmKey key);
/* True if the config makes this setting (else the field has its default). */
bool vmconfig_given(const VmConfig *c, XenvmKey key);
