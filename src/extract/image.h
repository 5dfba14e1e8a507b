/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Reading a VM's disk: raw, or VHD (fixed and dynamic). What is in it is a guest's. Each read is checked against the
 * size; nothing is kept in memory.
 */
#include "util.h"

typedef struct Image {
        int fd; /* the caller's */
        uint64_t file_size;
        uint64_t size; /* that the guest sees */
        /* A part of it, see partition_find(). */
        uint64_t start, length;
        /* Dynamic VHD; 0 blocks: none. */
        uint64_t table;
        uint32_t n_blocks, block_size, bitmap_size;
} Image;

typedef enum ImageFormat { IMAGE_RAW, IMAGE_VHD, _IMAGE_FORMAT_MAX } ImageFormat;

/* Returns 0, or negative errno with *ret_why (static). */
int image_open(int fd, ImageFormat format, Image *ret, const char **ret_why);
/* Reads n bytes of the part; what lies behind its end is an error (-EIO). Returns 0 or negative errno. */
int image_read(const Image *i, uint64_t offset, void *buf, size_t n);
/*
 * Makes the part that partition, counted from 1, as MBR (with logical ones from 5 on) or GPT has it. Returns 0, or
 * negative errno with *ret_why (static).
 */
int partition_find(Image *i, unsigned number, const char **ret_why);
