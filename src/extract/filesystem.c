/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "filesystem.h"

#include <ext2fs/ext2fs.h>
#include <unistd.h>

#define PIECE (256 * KIB)

/* The library opens by name; there is one image at a time. */
static const Image *open_image;

static errcode_t channel_open(const char *name, int flags, io_channel *ret);

static errcode_t channel_close(io_channel c)
{
        if (--c->refcount > 0)
                return 0;
        free(c->name);
        free(c);
        return 0;
}

static errcode_t channel_set_block_size(io_channel c, int size)
{
        c->block_size = size;
        return 0;
}

/* A negative count is one of bytes. */
static errcode_t channel_read64(io_channel c, unsigned long long block, int count, void *data)
{
        uint64_t size = count < 0 ? (uint64_t) -(int64_t) count : (uint64_t) count * (uint64_t) c->block_size;

        if (c->block_size <= 0 || block > UINT64_MAX / (uint64_t) c->block_size)
                return EXT2_ET_SHORT_READ;
        return image_read(open_image, block * (uint64_t) c->block_size, data, size) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t channel_read(io_channel c, unsigned long block, int count, void *data)
{
        return channel_read64(c, block, count, data);
}

static errcode_t channel_write64(io_channel c _unused_, unsigned long long block _unused_, int count _unused_, const void *data _unused_)
{
        return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_write(io_channel c _unused_, unsigned long block _unused_, int count _unused_, const void *data _unused_)
{
        return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_flush(io_channel c _unused_)
{
        return 0;
}

static struct struct_io_manager manager = {
        .magic = EXT2_ET_MAGIC_IO_MANAGER,
        .name = "oxt image",
        .open = channel_open,
        .close = channel_close,
        .set_blksize = channel_set_block_size,
        .read_blk = channel_read,
        .read_blk64 = channel_read64,
        .write_blk = channel_write,
        .write_blk64 = channel_write64,
        .flush = channel_flush,
};

static errcode_t channel_open(const char *name, _unused_ int flags, io_channel *ret)
{
        io_channel c = calloc(1, sizeof *c);

        if (!c)
                return EXT2_ET_NO_MEMORY;
        c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
        c->manager = &manager;
        c->name = strdup(name);
        c->block_size = 1024;
        c->refcount = 1;
        if (!c->name) {
                free(c);
                return EXT2_ET_NO_MEMORY;
        }
        *ret = c;
        return 0;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0 && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        p += k;
                        n -= (size_t) k;
                }
        }
        return 0;
}

static int64_t copy_open(ext2_file_t file, int fd, const char **ret_why)
{
        _cleanup_free_ uint8_t *data = malloc(PIECE);
        __u64 size = 0;
        int64_t sum = 0;

        *ret_why = "the file cannot be read";
        if (!data)
                return -ENOMEM;
        if (ext2fs_file_get_lsize(file, &size))
                return -EIO;
        if (size == 0 || size > EXTRACT_FILE_MAX) {
                *ret_why = size == 0 ? "the file is empty" : "the file is larger than 512 MiB";
                return -EFBIG;
        }
        while ((__u64) sum < size) {
                unsigned got = 0;

                if (ext2fs_file_read(file, data, PIECE, &got) || got == 0)
                        return -EIO;
                if (write_all(fd, data, got) < 0) {
                        *ret_why = "the copy cannot be written";
                        return -EIO;
                }
                sum += got;
        }
        return sum;
}

static int64_t copy_path(ext2_filsys fs, const char *path, int fd, const char **ret_why)
{
        struct ext2_inode inode;
        ext2_file_t file;
        ext2_ino_t ino;
        int64_t r;

        *ret_why = "there is no such file in the file system";
        if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino) || ext2fs_read_inode(fs, ino, &inode))
                return -ENOENT;
        *ret_why = "it is no regular file";
        if (!LINUX_S_ISREG(inode.i_mode) || ext2fs_file_open(fs, ino, 0, &file))
                return -EINVAL;
        r = copy_open(file, fd, ret_why);
        (void) ext2fs_file_close(file);
        return r;
}

int64_t filesystem_copy(const Image *i, const char *path, int fd, const char **ret_why)
{
        ext2_filsys fs = NULL;
        int64_t r;

        open_image = i;
        *ret_why = "there is no ext2, ext3 or ext4 file system";
        if (ext2fs_open2("image", NULL, EXT2_FLAG_64BITS, 0, 0, &manager, &fs))
                return -EBADMSG;
        r = copy_path(fs, path, fd, ret_why);
        (void) ext2fs_close_free(&fs);
        return r;
}
