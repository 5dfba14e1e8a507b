/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * USB devices of this host, as the kernel shows them in sysfs. A device is named by its place, BUS-PORT[.PORT…]
 * ("1-2.3"), which stays the same as long as the plug is not moved.
 */
#include "util.h"

#define USB_SYSFS "/sys/bus/usb/devices"

typedef struct UsbDevice {
        char name[32];
        unsigned bus, number;     /* its node is /dev/bus/usb/BUS/NUMBER */
        unsigned vendor, product;
        bool hub;                 /* the host's own */
        char text[96];            /* what it calls itself, made printable */
} UsbDevice;

bool usb_name_valid(const char *name);
/* sysfs: USB_SYSFS, but for tests. Returns 0, -EINVAL (no name of a device) or -ENODEV. */
int usb_read(const char *sysfs, const char *name, UsbDevice *ret);
/* All but hubs, by name; *ret to free. None is no error. */
int usb_list(const char *sysfs, UsbDevice **ret, size_t *ret_n);
/* The path of its device node. */
const char *usb_node(const UsbDevice *d, char buf[static 40]);
