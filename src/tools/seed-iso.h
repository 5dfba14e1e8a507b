/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The CD that cloud-init reads its data from ("NoCloud"): a small ISO 9660 file system with the volume
 * name cidata and a few files, whose names the kernel shows in lower case.
 */
#include "util.h"

#define SEED_FILE_MAX (1 * MIB)

typedef struct SeedFile {
        const char *name; /* e.g. "user-data"; at most 30 letters, digits, '-' or '.' */
        const void *data;
        size_t size;
} SeedFile;

/* Returns the image, to free, and its size; NULL: no memory, or a file that is too large or badly named. */
uint8_t *seed_iso(const SeedFile *files, size_t n, size_t *ret_size);
