/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The file of a saved VM: a header of SAVEFILE_HEADER_SIZE bytes, then the back end's stream.
 *
 *     "OxtSavedDomain 1\n", 4 bytes big-endian length, that much JSON, zeros
 *     JSON: {"backend", "uuid", "memory_kib", "size" and "sum" of the stream, "shape", "devices"}; behind it its own sum,
 *     16 hex digits (none in files of older builds, which have no "devices")
 *
 * It is written as FILE.tmp and renamed once it is whole; the header comes last, so that an interrupted save
 * leaves nothing that could be taken for a good one.
 */
#include "util.h"

#define SAVEFILE_HEADER_SIZE (64 * 1024)

typedef struct SaveHeader {
        char *backend, *uuid, *shape;
        char *devices; /* what was plugged and unplugged, a line each (devices.h); NULL or "": nothing */
        int64_t memory_kib, size;
        char sum[17];
} SaveHeader;

void save_header_done(SaveHeader *h);
/* Opens FILE.tmp, empty but for the room for the header; the offset is behind that. Returns the fd. */
int savefile_create(const char *file, char **ret_tmp);
/* What is then left to do: fsync(fd), the renaming, and fsync() of the folder. */
int savefile_write_header(int fd, const SaveHeader *h);
/* The descriptor of the folder that the file is in. */
int savefile_open_folder(const char *file);
/*
 * Opens a saved file; the offset is behind the header, which is well-formed and fits the file's size.
 * Returns the fd; else a negative errno with *ret_why (to free).
 */
int savefile_open(const char *file, SaveHeader *ret, char **ret_why);

/* The sum of the stream, a piece at a time. */
typedef struct SaveSum {
        int fd; /* borrowed */
        int64_t at, end;
        uint64_t state[4];
} SaveSum;

int savesum_begin(SaveSum *s, int fd);
/* Goes on for some milliseconds. Returns 1 when it is finished (text is set), 0: call again, or negative errno. */
int savesum_step(SaveSum *s, char text[static 17]);
