/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One file of an ext2, ext3 or ext4 file system, by libext2fs on our own reader of images. The library runs where
 * nothing else can be done (sandbox.h).
 */
#include "image.h"

#define EXTRACT_FILE_MAX (512 * MIB)

/*
 * Writes the file to fd; links in the path are followed within the file system. Returns its size, or negative errno
 * with *ret_why (static).
 */
int64_t filesystem_copy(const Image *i, const char *path, int fd, const char **ret_why);
