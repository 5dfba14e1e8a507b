/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image.h"
#include "sandbox.h"

static int image_of(const uint8_t *data, size_t size)
{
        int fd = memfd_create("image", MFD_CLOEXEC);

        assert(fd >= 0 && write(fd, data, size) == (ssize_t) size);
        return fd;
}

static void put_entry(uint8_t *sector, unsigned slot, uint8_t type, uint32_t start, uint32_t sectors)
{
        uint8_t *p = sector + 446 + (size_t) slot * 16;

        p[4] = type;
        memcpy(p + 8, &start, 4);
        memcpy(p + 12, &sectors, 4);
        sector[510] = 0x55;
        sector[511] = 0xaa;
}

static int find(int fd, unsigned number, Image *ret)
{
        const char *why;

        assert(image_open(fd, IMAGE_RAW, ret, &why) == 0);
        return partition_find(ret, number, &why);
}

static void test_mbr(void)
{
        static uint8_t disk[64 * 512];
        _cleanup_close_ int fd = -EBADF;
        Image i;

        put_entry(disk, 0, 0x83, 2, 10);
        put_entry(disk, 1, 0x05, 20, 30);
        put_entry(disk, 2, 0x83, 60, 10); /* longer than the disk */
        put_entry(disk + 20 * 512, 0, 0x83, 1, 4);
        put_entry(disk + 20 * 512, 1, 0x05, 10, 5);
        put_entry(disk + 30 * 512, 0, 0x83, 2, 3);
        put_entry(disk + 30 * 512, 1, 0x05, 10, 5); /* names itself: without end */
        fd = image_of(disk, sizeof disk);
        assert(find(fd, 1, &i) == 0 && i.start == 1024 && i.length == 5120);
        assert(find(fd, 5, &i) == 0 && i.start == 21 * 512 && i.length == 4 * 512);
        assert(find(fd, 6, &i) == 0 && i.start == 32 * 512);
        assert(find(fd, 100, &i) == 0 && find(fd, 1000, &i) == -ENOENT);
        assert(find(fd, 3, &i) == -EBADMSG && find(fd, 4, &i) == -ENOENT && find(fd, 0, &i) == -ENOENT);
}

static void test_gpt(void)
{
        static uint8_t disk[64 * 512];
        const uint64_t at = 2, first = 40, last = 49;
        const uint32_t n = 4, size = 128;
        _cleanup_close_ int fd = -EBADF;
        Image i;

        put_entry(disk, 0, 0xee, 1, 63);
        memcpy(disk + 512, "EFI PART", 8);
        memcpy(disk + 512 + 72, &at, 8);
        memcpy(disk + 512 + 80, &n, 4);
        memcpy(disk + 512 + 84, &size, 4);
        memcpy(disk + 1024 + 128 + 32, &first, 8);
        memcpy(disk + 1024 + 128 + 40, &last, 8);
        fd = image_of(disk, sizeof disk);
        assert(find(fd, 2, &i) == 0 && i.start == 40 * 512 && i.length == 10 * 512);
        assert(find(fd, 1, &i) == -ENOENT && find(fd, 5, &i) == -ENOENT);
}

/* A part is all that is read, whatever is asked for. */
static void test_bounds(void)
{
        static const uint8_t disk[4096];
        _cleanup_close_ int fd = image_of(disk, sizeof disk);
        const char *why;
        uint8_t b[16];
        Image i;

        assert(image_open(fd, IMAGE_RAW, &i, &why) == 0 && i.length == sizeof disk);
        assert(image_read(&i, 4080, b, 16) == 0 && image_read(&i, 4081, b, 16) == -EIO);
        assert(image_read(&i, UINT64_MAX, b, 16) == -EIO && image_read(&i, UINT64_MAX - 15, b, 16) == -EIO);
        assert(image_open(fd, IMAGE_VHD, &i, &why) == -EBADMSG);
}

/* How a child ends that does this inside. */
static int inside(void (*act)(void))
{
        pid_t pid = fork();
        int status;

        assert(pid >= 0);
        if (pid == 0) {
                if (sandbox_enter(256 * MIB, 4096, 5) < 0)
                        _exit(99);
                act();
                _exit(0);
        }
        assert(waitpid(pid, &status, 0) == pid);
        return status;
}

static void do_memory(void)
{
        void *p = malloc(8 * MIB);

        if (!p)
                _exit(1);
        memset(p, 1, 8 * MIB);
        free(p);
}

static void do_open(void)
{
        (void) !open("/dev/null", O_RDONLY);
}

static void do_socket(void)
{
        (void) !socket(AF_UNIX, SOCK_STREAM, 0);
}

static void do_fork(void)
{
        (void) !fork();
}

static void do_executable(void)
{
        (void) !mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_much(void)
{
        if (malloc(1024 * MIB))
                _exit(1);
}

static void test_sandbox(void)
{
#if !defined(__SANITIZE_ADDRESS__)
        void (*const forbidden[])(void) = { do_open, do_socket, do_fork, do_executable };

        assert(inside(do_memory) == 0 && inside(do_much) == 0);
        for (size_t i = 0; i < ELEMENTSOF(forbidden); i++) {
                int status = inside(forbidden[i]);

                assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        }
#else
        assert(inside(do_memory) == 0);
        (void) do_open, (void) do_socket, (void) do_fork, (void) do_executable, (void) do_much;
#endif
}

int main(void)
{
        test_mbr();
        test_gpt();
        test_bounds();
        test_sandbox();
        return 0;
}
