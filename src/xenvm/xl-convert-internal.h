/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What both directions of the converter share. */
#include "config.h"
#include "xl-config.h"
#include "xl-convert.h"

#define HVM_LOADER "/usr/lib/xen/boot/hvmloader"

/* The comment in a file of ours that makes its type "pvh" known. */
#define XL_PVH_MARK "xenvm: virt-type = pvh"

/* Parts of the output, in the order in which they are written. */
typedef enum XlGroup { XL_IDENTITY, XL_MEMORY, XL_PLATFORM, XL_DEVICE_MODEL, XL_DEVICES, XL_ACTIONS } XlGroup;

typedef enum XlForm { XL_FORM_TEXT, XL_FORM_INT, XL_FORM_BOOL } XlForm;

/* Settings that mean the same in both; all others have code of their own. */
typedef struct XlScalar {
        XlGroup group;
        XenvmKey key;
        const char *xl;
        XlForm form;
        bool always;             /* to xl: written even where the xenvm file does not give it, for hvm */
        const char *hvm_default; /* from xl: what xl takes for hvm when it is missing; NULL: as xenvm */
} XlScalar;

extern const XlScalar xl_scalars[];
extern const size_t n_xl_scalars;
extern const char *const xl_timer_modes[4];

/* Warns; returns 0 or -ENOMEM. */
int conversion_warn(Conversion *c, const char *fmt, ...) _printf_(2, 3);
/* Sets the error and returns -EINVAL (or -ENOMEM). */
int conversion_fail(Conversion *c, const char *fmt, ...) _printf_(2, 3);

/* xl-convert-devices.c: one device each. To xl: the text of the string, without quotes. */
int xl_format_disk(Conversion *c, const VmDisk *d, StrBuf *b);
void xl_format_nic(const VmConfig *config, const VmNic *n, size_t position, StrBuf *b);
void xl_format_pci(const VmConfig *config, const VmPci *p, StrBuf *b);
/* From xl: the value of the xenvm line. *lossy: something in it has no counterpart; then b may stay empty. */
int xl_read_disk(Conversion *c, const XlItem *item, const char *s, StrBuf *b, bool *lossy);
int xl_read_nic(Conversion *c, const XlItem *item, const char *s, StrBuf *b, bool *lossy);
int xl_read_pci(Conversion *c, const XlItem *item, const char *s, int64_t msitranslate, int64_t power_mgmt, bool seize,
                StrBuf *b, bool *lossy);

/* A config made from xl's, for the way back; uuid: for derived addresses where the file has none. */
int convert_xl_to_config(const char *text, size_t size, const char *uuid, Conversion *ret, VmConfig **ret_config);
