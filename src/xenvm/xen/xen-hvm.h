/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What libxl does not tell of an HVM guest: the end of its device model, its ACPI sleep state, and whether
 * it listens to its power button. The hypervisor is asked (libxenctrl), and the device model's process watched.
 */
#include <stdint.h>
#include <systemd/sd-event.h>

typedef struct XenHvm XenHvm;

typedef struct XenHvmEvents {
        void (*sleep_state)(void *userdata, int acpi_state); /* it has changed */
        void (*model_ended)(void *userdata);                 /* once */
} XenHvmEvents;

/* model: the process of the device model, or -1 (a stub domain). Returns 0 or negative errno; end with xenhvm_free(). */
int xenhvm_new(sd_event *event, uint32_t domid, int64_t model, const XenHvmEvents *events, void *userdata, XenHvm **ret);
XenHvm *xenhvm_free(XenHvm *h);

/* The guest is awake and has enabled its power button; negative errno: the hypervisor does not say. */
int xenhvm_hears_button(XenHvm *h);
