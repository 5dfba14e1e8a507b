/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* VHD images: the footer is read here, without a tool. */
#include "util.h"

#define VHD_KEY_MARK ".key-set" /* the file beside an image with a key, by its name */

typedef struct VhdInfo {
        int64_t virtual_bytes, used_bytes;
        bool has_key;
        bool differencing; /* it builds on another */
} VhdInfo;

/* 0, or negative errno (-EBADMSG: no VHD). */
int vhd_info(const char *path, VhdInfo *ret);
/* Makes a dynamic VHD of that size; fails with -EEXIST. */
int vhd_create(const char *path, uint64_t bytes);
/* 0, or -EEXIST when the image has a key already. */
int vhd_check_unkeyed(const char *path);
/* Records the fingerprint of a key file beside the image, so that tools find that it has one. */
int vhd_set_key(const char *path, const char *key_path);
