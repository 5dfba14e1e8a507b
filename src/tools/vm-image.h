/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Images that are given to VMs: what they are, and how they come into the storage folder. */
#include "util.h"

typedef enum ImageKind { IMAGE_QCOW2, IMAGE_VHD, IMAGE_ISO, IMAGE_RAW, _IMAGE_KIND_MAX } ImageKind;

typedef struct Image {
        ImageKind kind;
        uint64_t size; /* of the file */
} Image;

const char *image_kind_to_text(ImageKind k);      /* for people */
const char *image_kind_to_phys_type(ImageKind k); /* the disk property phys-type */
const char *image_kind_to_suffix(ImageKind k);

/* Looks at the content, not at the name. 0, -EMEDIUMTYPE (nothing that could be a disk), or the errno of reading. */
int image_probe(const char *path, Image *ret);

typedef enum ImageCopy { IMAGE_CLONED, IMAGE_COPIED } ImageCopy;
/*
 * Copies to target, which must not exist; holes stay holes, and where the file system can do it, the
 * data is shared instead (IMAGE_CLONED). The copy belongs to the owner of target's directory.
 * progress: called now and then with the bytes done, or NULL. Returns an ImageCopy or negative errno;
 * after a failure there is no target.
 */
int image_copy(const char *source, const char *target, void (*progress)(uint64_t done, uint64_t size));
/* Writes a small image in the same way. */
int image_write(const char *target, const void *data, size_t size);
