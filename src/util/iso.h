/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A small CD: an ISO 9660 file system with a few files in its root, whose names the kernel shows in lower case.
 */
#include "util.h"

#define ISO_FILE_MAX (1 * MIB)
#define ISO_FILES_MAX 64

typedef struct IsoFile {
        const char *name; /* e.g. "user-data"; at most 30 letters, digits, '-' or '.' */
        const void *data;
        size_t size;
} IsoFile;

/* Whether a file may have that name. */
bool iso_name_valid(const char *name);
/* Returns the image, to free, and its size; NULL: no memory, or a file that is too large or badly named. */
uint8_t *iso_image(const char *volume, const IsoFile *files, size_t n, size_t *ret_size);
