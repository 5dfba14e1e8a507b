/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Images that are given to VMs: what they are. */
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
