/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * VHD images, by Microsoft's published "Virtual Hard Disk Image Format Specification". Numbers are big-endian. A footer
 * ends each. A dynamic one has only the blocks that were written; a copy of the footer, a header and a table of the blocks
 * are in front of them.
 */
#define VHD_SECTOR 512u

#define VHD_FOOTER_SIZE 512
#define VHD_FOOTER_MAGIC "conectix"  /* these 8 bytes begin it */
#define VHD_FOOTER_HEADER_AT 16      /* 64 bits: where the header is */
#define VHD_FOOTER_BYTES_AT_FIRST 40 /* 64 bits: as the image was made */
#define VHD_FOOTER_BYTES 48          /* 64 bits: what the guest sees */
#define VHD_FOOTER_TYPE 60           /* 32 bits: */
enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };
#define VHD_FOOTER_SUM 64

#define VHD_HEADER_SIZE 1024
#define VHD_HEADER_MAGIC "cxsparse"
#define VHD_HEADER_TABLE_AT 16   /* 64 bits: where the table is, 32 bits for each block: its first sector or: */
#define VHD_UNUSED_BLOCK 0xffffffffu
#define VHD_HEADER_BLOCKS 28     /* 32 bits: how many */
#define VHD_HEADER_BLOCK_SIZE 32 /* 32 bits */
#define VHD_HEADER_SUM 36
