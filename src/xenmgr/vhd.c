/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhd.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"
#include "strbuf.h"
#include "unaligned.h"
#include "vhd-format.h"

#define BLOCK (2 * MIB)
#define EPOCH_2000 946684800

/* One's complement of the sum of all bytes, the sum's own place counted as zero. */
static void put_checksum(uint8_t *data, size_t size, size_t at)
{
        uint32_t sum = 0;

        put_be32(data + at, 0);
        for (size_t i = 0; i < size; i++)
                sum += data[i];
        put_be32(data + at, ~sum);
}

int vhd_info(const char *path, VhdInfo *ret)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        _cleanup_free_ char *mark = NULL;
        uint8_t footer[VHD_FOOTER_SIZE];
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size < VHD_FOOTER_SIZE ||
            pread(fd, footer, sizeof footer, st.st_size - VHD_FOOTER_SIZE) != VHD_FOOTER_SIZE ||
            memcmp(footer, VHD_FOOTER_MAGIC, 8) != 0)
                return -EBADMSG;
        mark = strformat("%s" VHD_KEY_MARK, path);
        *ret = (VhdInfo) { .virtual_bytes = (int64_t) get_be64(footer + VHD_FOOTER_BYTES),
                           .used_bytes = st.st_size,
                           .has_key = mark && access(mark, F_OK) == 0,
                           .differencing = get_be32(footer + VHD_FOOTER_TYPE) == VHD_DIFFERENCING };
        return 0;
}

/* The geometry that the format's text derives from the number of sectors. */
static uint32_t geometry(uint64_t sectors)
{
        uint64_t cylinders, heads, per_track, x;

        sectors = MIN2(sectors, (uint64_t) 65535 * 16 * 255);
        if (sectors >= (uint64_t) 65535 * 16 * 63) {
                per_track = 255;
                heads = 16;
                x = sectors / per_track;
        } else {
                per_track = 17;
                x = sectors / per_track;
                heads = MAX2((x + 1023) / 1024, (uint64_t) 4);
                if (x >= heads * 1024 || heads > 16) {
                        per_track = 31;
                        heads = 16;
                        x = sectors / per_track;
                }
                if (x >= heads * 1024) {
                        per_track = 63;
                        heads = 16;
                        x = sectors / per_track;
                }
        }
        cylinders = x / heads;
        return (uint32_t) (cylinders << 16 | heads << 8 | per_track);
}

int vhd_create(const char *path, uint64_t bytes)
{
        uint64_t blocks = (bytes + BLOCK - 1) / BLOCK, table = (blocks * 4 + 511) / 512 * 512;
        uint8_t footer[VHD_FOOTER_SIZE] = { 0 }, header[VHD_HEADER_SIZE] = { 0 };
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ uint8_t *bat = NULL;
        int r = 0;

        memcpy(footer, VHD_FOOTER_MAGIC, 8);
        put_be32(footer + 8, 2); /* reserved, always set */
        put_be32(footer + 12, 0x00010000);
        put_be64(footer + VHD_FOOTER_HEADER_AT, VHD_FOOTER_SIZE);
        put_be32(footer + 24, (uint32_t) (time(NULL) - EPOCH_2000));
        memcpy(footer + 28, "oxt ", 4);
        put_be32(footer + 32, 0x00010000);
        put_be64(footer + VHD_FOOTER_BYTES_AT_FIRST, bytes);
        put_be64(footer + VHD_FOOTER_BYTES, bytes);
        put_be32(footer + 56, geometry(bytes / 512));
        put_be32(footer + VHD_FOOTER_TYPE, VHD_DYNAMIC);
        if (getrandom(footer + 68, 16, 0) != 16)
                return -EIO;
        put_checksum(footer, VHD_FOOTER_SIZE, VHD_FOOTER_SUM);

        memcpy(header, VHD_HEADER_MAGIC, 8);
        put_be64(header + 8, UINT64_MAX);
        put_be64(header + VHD_HEADER_TABLE_AT, VHD_FOOTER_SIZE + VHD_HEADER_SIZE);
        put_be32(header + 24, 0x00010000);
        put_be32(header + VHD_HEADER_BLOCKS, (uint32_t) blocks);
        put_be32(header + VHD_HEADER_BLOCK_SIZE, BLOCK);
        put_checksum(header, VHD_HEADER_SIZE, VHD_HEADER_SUM);

        bat = malloc(table);
        if (!bat)
                return -ENOMEM;
        memset(bat, 0xff, table);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd < 0)
                return -errno;
        if (write(fd, footer, VHD_FOOTER_SIZE) != VHD_FOOTER_SIZE || write(fd, header, VHD_HEADER_SIZE) != VHD_HEADER_SIZE ||
            write(fd, bat, table) != (ssize_t) table || write(fd, footer, VHD_FOOTER_SIZE) != VHD_FOOTER_SIZE || fsync(fd) < 0)
                r = errno ? -errno : -EIO;
        if (r < 0)
                (void) unlink(path);
        return r;
}

int vhd_check_unkeyed(const char *path)
{
        VhdInfo info;
        int r = vhd_info(path, &info);

        return r < 0 ? r : info.has_key ? -EEXIST : 0;
}

int vhd_set_key(const char *path, const char *key_path)
{
        _cleanup_free_ char *mark = strformat("%s" VHD_KEY_MARK, path), *text = strformat("%s\n", key_path);

        return mark && text ? write_file_atomic(mark, text, strlen(text), 0640) : -ENOMEM;
}
