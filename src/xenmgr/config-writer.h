/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From a VM's tree in the database to the configuration file of its monitor (the xenvm dialect with
 * today's keys). config_write() is pure: everything from outside is in ConfigInput.
 */
#include "json.h"
#include "vm.h"

typedef struct ConfigNic {
        unsigned id;
        int64_t backend_domid; /* 0: none */
        const char *bridge;    /* NULL: the network is not known */
        bool wireless;         /* of a wifi or modem network */
} ConfigNic;

typedef struct ConfigInput {
        const char *uuid;
        json_object *vm;          /* the tree below /vm/<uuid>: objects and texts */
        const Paths *paths;       /* maps the contract's paths; NULL: they stay */
        const ConfigNic *nics;    /* one for each nic record that counts */
        size_t n_nics;
        char *const *pci;         /* "dddd:bb:ss.f", sorted, some with ",guest_slot=<n>"; NULL: none */
        char *const *cd_drives;   /* "a:b:c:d" */
        char *const *key_dirs;    /* that exist, beside the VM's own */
        char *const *missing;     /* paths of vhd files that do not exist: left out */
        const char *kernel, *initrd; /* taken out of a disk, where no file is configured; NULL: none */
        char *const *watched;     /* nodes of xenstore that the monitor shall tell of, beside power-state; NULL: none */
        const char *ovf_iso;      /* or NULL */
        const char *amt_mac;      /* for nics that have none, of a VM with AMT passthrough; or NULL */
        const char *stubdom_uuid; /* fresh, for a VM with stub domain */
        int64_t memory_mib;       /* in place of what is configured; 0: that */
        bool cd_exclusive;
        bool xengfx; /* /config/xengfx exists */
} ConfigInput;

/*
 * *ret: the file's text. Returns 0; -EINVAL with *ret_why (a whole error text, to free) when a value is
 * not of the type that the monitor wants; another negative errno.
 */
int config_write(const ConfigInput *in, char **ret, char **ret_why);

/* Gathers the input for a VM and makes the text that a start would write now. Errors as above. */
int config_for_start(Vm *vm, char **ret, char **ret_why);

/* Writes that text to <runtime>/vm/<uuid>/xenvm.conf. Errors as above. */
int config_write_for_start(Vm *vm, char **ret_why);

/* What stands behind "vif=" for one nic of a running VM, to free; NULL: none, or it cannot be written. */
char *config_nic_line(Vm *vm, unsigned id);

/* The network of a nic record, with the names of old databases and the default. */
const char *config_network(const char *stored);

/* The tree as JSON: inner nodes are objects, all others texts. NULL on out of memory. */
json_object *dbnode_to_json(const DbNode *n);
