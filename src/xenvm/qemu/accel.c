/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "accel.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "strbuf.h"

#define PROBE_MAX_MSEC 1000
#define GUEST_MEMORY (16 * MIB)
#define EXITS 500

enum { ANSWER_WORKS = 0, ANSWER_NONE = 1, ANSWER_BROKEN = 2, ANSWER_SLOW = 3 };

static const char *const answers[] = {
        [ANSWER_WORKS] = "a small guest ran at full speed",
        [ANSWER_NONE] = "/dev/kvm cannot be used",
        [ANSWER_BROKEN] = "a small guest did not run as it should",
        [ANSWER_SLOW] = "a small guest crawled",
};

/* 16-bit code that writes to ever other memory and leaves to the host by I/O, EXITS times, then halts. */
static const uint8_t guest_code[] = {
        0xb9, EXITS & 0xff, EXITS >> 8,     /*     mov  cx, EXITS                         */
        0x89, 0xc8,                         /* 1:  mov  ax, cx                            */
        0xc1, 0xe0, 0x04,                   /*     shl  ax, 4                             */
        0x8e, 0xd8,                         /*     mov  ds, ax       : another 256 bytes  */
        0x88, 0x0e, 0x00, 0x00,             /*     mov  [0], cl                           */
        0x66, 0xbb, 0x40, 0x9c, 0x00, 0x00, /*     mov  ebx, 40000                        */
        0x66, 0x4b,                         /* 2:  dec  ebx                               */
        0x75, 0xfc,                         /*     jnz  2b                                */
        0xe6, 0x80,                         /*     out  0x80, al                          */
        0x49,                               /*     dec  cx                                */
        0x75, 0xe6,                         /*     jnz  1b                                */
        0xf4,                               /*     hlt                                    */
};

static int run_guest(void)
{
        struct kvm_userspace_memory_region region = { .memory_size = GUEST_MEMORY };
        struct kvm_sregs sregs;
        struct kvm_regs regs = { .rip = 0xf000, .rflags = 2 };
        struct kvm_run *run;
        int kvm, vm, cpu, size, exits = 0;
        uint8_t *memory;

        kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (kvm < 0 || ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
                return ANSWER_NONE;
        vm = ioctl(kvm, KVM_CREATE_VM, 0);
        size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (vm < 0 || size < (int) sizeof *run)
                return ANSWER_NONE;
        memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return ANSWER_BROKEN;
        memcpy(memory + 0xf000, guest_code, sizeof guest_code);
        region.userspace_addr = (uintptr_t) memory;
        if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                return ANSWER_BROKEN;
        cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
        run = cpu < 0 ? MAP_FAILED : mmap(NULL, (size_t) size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
        if (run == MAP_FAILED || ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
                return ANSWER_BROKEN;
        sregs.cs.base = sregs.cs.selector = 0;
        if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(cpu, KVM_SET_REGS, &regs) < 0)
                return ANSWER_BROKEN;
        for (;;) {
                if (ioctl(cpu, KVM_RUN, 0) < 0)
                        return ANSWER_BROKEN;
                if (run->exit_reason == KVM_EXIT_HLT)
                        return exits == EXITS ? ANSWER_WORKS : ANSWER_BROKEN;
                if (run->exit_reason != KVM_EXIT_IO)
                        return ANSWER_BROKEN;
                exits++;
        }
}

static char *answer_path(const Paths *p)
{
        return paths_format(p, PATH_XENVM_STATE, "accel");
}

static int boot_id(char buf[static 40])
{
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_file("/proc/sys/kernel/random/boot_id", 64, &text, NULL);
        if (r < 0)
                return r;
        snprintf(buf, 40, "%s", strstrip(text));
        return 0;
}

int accel_known(const Paths *p, char **ret_why)
{
        _cleanup_free_ char *path = answer_path(p), *text = NULL;
        char boot[40], *rest;
        uint64_t answer;

        if (!path)
                return -ENOMEM;
        if (boot_id(boot) < 0 || read_file(path, 256, &text, NULL) < 0 || !startswith(text, boot))
                return -ENOENT;
        rest = strstrip(text + strlen(boot));
        if (parse_u64(rest, &answer) < 0 || answer >= ELEMENTSOF(answers))
                return -ENOENT;
        if (ret_why) {
                *ret_why = strdup(answers[answer]);
                if (!*ret_why)
                        return -ENOMEM;
        }
        return answer == ANSWER_WORKS;
}

static void remember(const Paths *p, int answer)
{
        _cleanup_free_ char *path = answer_path(p), *text = NULL;
        char boot[40];
        int r;

        if (!path || boot_id(boot) < 0)
                return;
        text = strformat("%s %d\n", boot, answer);
        r = text ? write_file_atomic(path, text, strlen(text), 0644) : -ENOMEM;
        if (r < 0)
                log_debug("Cannot remember whether KVM works: %s", strerror(-r));
}

/* Runs the small guest in a process of its own, which is killed when it takes too long. Returns one of ANSWER_*, or negative errno. */
static int try_guest(void)
{
        _cleanup_close_ int pidfd = -EBADF;
        pid_t pid = fork();
        int n, r, status;

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(run_guest());
        }
        pidfd = pidfd_open(pid, 0);
        do
                n = pidfd < 0 ? -1 : poll(&(struct pollfd) { .fd = pidfd, .events = POLLIN }, 1, PROBE_MAX_MSEC);
        while (n < 0 && errno == EINTR);
        r = n < 0 ? -errno : n == 0 ? ANSWER_SLOW : ANSWER_BROKEN;
        (void) kill(pid, SIGKILL);
        if (waitpid(pid, &status, 0) == pid && n > 0 && WIFEXITED(status) && WEXITSTATUS(status) < (int) ELEMENTSOF(answers))
                r = WEXITSTATUS(status);
        return r;
}

int accel_find_out(const Paths *p, char **ret_why)
{
        int r = accel_known(p, ret_why);

        if (r != -ENOENT)
                return r;
        r = try_guest();
        if (r < 0)
                return r;
        remember(p, r);
        if (ret_why) {
                *ret_why = strdup(answers[r]);
                if (!*ret_why)
                        return -ENOMEM;
        }
        return r == ANSWER_WORKS;
}
