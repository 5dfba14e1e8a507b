/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include <unistd.h>

#include "unaligned.h"
#include "vhd-format.h"

#define BLOCK_MAX (64 * MIB)

static int read_at(const Image *i, uint64_t offset, void *buf, size_t n)
{
        uint8_t *p = buf;

        if (offset > i->file_size || n > i->file_size - offset)
                return -EIO;
        while (n > 0) {
                ssize_t k = pread(i->fd, p, n, (off_t) offset);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EIO;
                p += k;
                offset += (uint64_t) k;
                n -= (size_t) k;
        }
        return 0;
}

static int open_dynamic(Image *i, uint64_t header_at, const char **ret_why)
{
        uint8_t header[VHD_HEADER_SIZE];
        int r = read_at(i, header_at, header, sizeof header);

        *ret_why = "the header of the VHD is damaged";
        if (r < 0)
                return r;
        if (memcmp(header, VHD_HEADER_MAGIC, 8) != 0)
                return -EBADMSG;
        i->table = get_be64(header + VHD_HEADER_TABLE_AT);
        i->n_blocks = get_be32(header + VHD_HEADER_BLOCKS);
        i->block_size = get_be32(header + VHD_HEADER_BLOCK_SIZE);
        if (i->block_size < VHD_SECTOR || i->block_size > BLOCK_MAX || (i->block_size & (i->block_size - 1)) ||
            i->n_blocks == 0 || i->table > i->file_size || (uint64_t) i->n_blocks * 4 > i->file_size - i->table ||
            (uint64_t) i->n_blocks * i->block_size < i->size)
                return -EBADMSG;
        /* In front of each block, whole sectors: a bit for each sector of the block. */
        i->bitmap_size = (i->block_size / VHD_SECTOR / 8 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
        return 0;
}

static int open_vhd(Image *i, const char **ret_why)
{
        uint8_t footer[VHD_FOOTER_SIZE];
        uint32_t type;
        int r;

        *ret_why = "it is no VHD";
        if (i->file_size < VHD_FOOTER_SIZE)
                return -EBADMSG;
        r = read_at(i, i->file_size - VHD_FOOTER_SIZE, footer, sizeof footer);
        if (r >= 0 && memcmp(footer, VHD_FOOTER_MAGIC, 8) != 0) /* a dynamic one that was cut has a copy in front */
                r = read_at(i, 0, footer, sizeof footer);
        if (r < 0)
                return r;
        if (memcmp(footer, VHD_FOOTER_MAGIC, 8) != 0)
                return -EBADMSG;
        i->size = get_be64(footer + VHD_FOOTER_BYTES);
        type = get_be32(footer + VHD_FOOTER_TYPE);
        if (type == VHD_DYNAMIC)
                return open_dynamic(i, get_be64(footer + VHD_FOOTER_HEADER_AT), ret_why);
        *ret_why = type == VHD_DIFFERENCING ? "a VHD that builds on another is not read" : "the VHD is damaged";
        if (type != VHD_FIXED || i->size > i->file_size - VHD_FOOTER_SIZE)
                return type == VHD_DIFFERENCING ? -EOPNOTSUPP : -EBADMSG;
        return 0;
}

int image_open(int fd, ImageFormat format, Image *ret, const char **ret_why)
{
        off_t end = lseek(fd, 0, SEEK_END);
        Image i = { .fd = fd };
        int r = 0;

        *ret_why = "the image cannot be read";
        if (end < 0)
                return -errno;
        i.file_size = i.size = (uint64_t) end;
        if (format == IMAGE_VHD)
                r = open_vhd(&i, ret_why);
        if (r < 0)
                return r;
        i.length = i.size;
        *ret = i;
        return 0;
}

/* A piece that lies in one block. */
static int read_block(const Image *i, uint64_t offset, void *buf, size_t n)
{
        uint64_t block = offset / i->block_size;
        uint8_t entry[4];
        uint32_t sector;
        int r;

        if (block >= i->n_blocks)
                return -EIO;
        r = read_at(i, i->table + block * 4, entry, sizeof entry);
        if (r < 0)
                return r;
        sector = get_be32(entry);
        if (sector == VHD_UNUSED_BLOCK) {
                memset(buf, 0, n);
                return 0;
        }
        return read_at(i, (uint64_t) sector * VHD_SECTOR + i->bitmap_size + offset % i->block_size, buf, n);
}

int image_read(const Image *i, uint64_t offset, void *buf, size_t n)
{
        uint8_t *p = buf;

        if (offset > i->length || n > i->length - offset)
                return -EIO;
        offset += i->start;
        if (i->n_blocks == 0)
                return read_at(i, offset, buf, n);
        while (n > 0) {
                size_t k = MIN2(n, i->block_size - (size_t) (offset % i->block_size));
                int r = read_block(i, offset, p, k);

                if (r < 0)
                        return r;
                p += k;
                offset += k;
                n -= k;
        }
        return 0;
}
