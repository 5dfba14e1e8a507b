/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What host.c reads and host-dbus.c serves. Texts are to be freed; NULL: not there. */
#include "cd-drives.h"
#include "host.h"
#include "host-xen.h"
#include "pci.h"

#define DISPLAY_GPUS "/xenmgr/dh/gpu"
#define GPU_PLACEMENT "/xenmgr/gpu-placement"
#define SCSI_DEVICES "/sys/bus/scsi/devices"

typedef struct HostNic {
        char name[16], *model;
} HostNic;

#define CD_ID_MAX 32

/* When a drive's holder was told last: that is done once in a second. */
typedef struct CdTold {
        char id[CD_ID_MAX];
        uint64_t at;
        bool again; /* it has changed since */
} CdTold;

/* What is in it longer than a question is kept as host-events.h says. */
struct HostState {
        char *facts[8];
        char **cd_drives, **cd_names, **cd_usb_ids; /* of the same length */
        char **disks, **isos;
        HostNic nics[2]; /* wired, wireless */
        char *sound[2];  /* pcm, cards */
        CdTold cd_told[16];
        sd_event_source *storage_timer, *cd_timer;
        XenFacts *xen; /* NULL: no Xen host */
        bool ui_ready;
        bool licensed; /* as it was read or told last */
};

char *host_file_text(const char *path);
/* Adds the names in a folder that end so, but hidden ones, sorted. 0 (also when there is no folder) or -ENOMEM. */
int host_folder(const char *path, const char *suffix, char ***ret);
/* By the name of its property. */
const char *host_fact(Manager *m, const char *property);
int64_t host_storage_mib(Manager *m, bool only_free);
bool host_is_laptop(Manager *m);
char *host_nic(Manager *m, bool wireless, bool model);
/* GPUs: the boot VGA first, then, where the flavour can pass them on or all are wanted, the other display devices. */
size_t host_gpus(const PciDevice **ret, size_t max, bool all);

/* In host-devices.c: methods on devices. */
int fill_pci(Call *c, sd_bus_message *reply);
int fill_gpus(Call *c, sd_bus_message *reply);
int fill_dh_gpus(Call *c, sd_bus_message *reply);
int method_set_placement(Call *c);
int method_get_placement(Call *c);
int method_set_dh_gpu(Call *c);
int method_get_dh_gpu(Call *c);
int method_list_disks(Call *c);

/* In host-sound.c. */
int fill_pcm(Call *c, sd_bus_message *reply);
int fill_cards(Call *c, sd_bus_message *reply);
int method_card_mixer(Call *c); /* lists, gets or sets, by the number of arguments */
