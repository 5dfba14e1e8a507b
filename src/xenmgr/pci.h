/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* PCI devices of the host, from sysfs, and those that a VM's rules choose. Addresses are "dddd:bb:ss.f". */
#include "vm.h"

typedef struct PciDevice {
        char address[13];
        uint32_t class; /* 16 bits: class and subclass */
        uint32_t vendor, device;
        bool boot_vga;
} PciDevice;

/* All devices, by address; they stay for as long as the function runs that asked (host-events.h). Returns the number. */
size_t pci_list(const PciDevice **ret);
const PciDevice *pci_find(const char *address);
/* "vendor device" from pci.ids, or a text with the numbers; to free. */
char *pci_name(const PciDevice *d);
bool pci_is_intel_gpu(const char *address);
bool pci_is_boot_vga(const char *address);

/* Appends a row addr, name, class, vendor-id, device-id to an open "aa{ss}". */
int pci_append_row(sd_bus_message *reply, const PciDevice *d);

/* One rule: either an address, or parts that must match (-1: any). */
typedef struct PciRule {
        char address[13]; /* "" : by parts */
        int64_t slot;     /* in the guest; -1: none */
        bool force_slot;  /* that of the host */
        int64_t class, vendor, device;
} PciRule;

/* The rules of a VM with their ids, ascending. Returns the number. */
size_t pci_rules_of_vm(Vm *vm, PciRule *ret, unsigned *ret_ids, size_t max);
/* "match class=0x%04X …" or "bdf=…[ @ slot]". */
char *pci_rule_text(const PciRule *r);
/* Reads "dddd:bb:ss.f[@slot]". 0 or -EINVAL. */
int pci_address_parse(const char *s, char ret_address[static 13], int64_t *ret_slot);

/* Addresses for a VM: its GPU and what its rules match; sorted. 0, or -ENODEV when a named one is absent. */
int pci_devices_of_vm(Vm *vm, char ***ret);
/* The slot in which the VM's rules want the device to be; -1: any. */
int64_t pci_guest_slot(Vm *vm, const char *address);
