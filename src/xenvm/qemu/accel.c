/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "accel.h"

#include <fcntl.h>
#include <linux/kvm.h>
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

#define PROBE_MAX_USEC (1 * USEC_PER_SEC)
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

struct AccelProbe {
        const Paths *paths;
        AccelDone done;
        void *userdata;
        pid_t pid;
        int pidfd;
        sd_event_source *exit_source, *deadline;
};

AccelProbe *accel_probe_free(AccelProbe *a)
{
        if (!a)
                return NULL;
        sd_event_source_disable_unref(a->exit_source);
        sd_event_source_disable_unref(a->deadline);
        if (a->pid > 0) {
                (void) kill(a->pid, SIGKILL);
                (void) waitpid(a->pid, NULL, 0);
        }
        safe_close(a->pidfd);
        free(a);
        return NULL;
}

static void finish(AccelProbe *a, int answer)
{
        remember(a->paths, answer);
        a->done(a->userdata, answer == ANSWER_WORKS, answers[answer]);
}

static int on_exit_child(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata)
{
        AccelProbe *a = userdata;
        int status = 0, answer = ANSWER_BROKEN;

        if (waitpid(a->pid, &status, 0) == a->pid && WIFEXITED(status) && WEXITSTATUS(status) < (int) ELEMENTSOF(answers))
                answer = WEXITSTATUS(status);
        a->pid = 0;
        finish(a, answer);
        return 0;
}

static int on_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        finish(userdata, ANSWER_SLOW);
        return 0;
}

static pid_t fork_guest(void)
{
        pid_t pid = fork();

        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(run_guest());
        }
        return pid;
}

int accel_probe(sd_event *event, const Paths *p, AccelDone done, void *userdata, AccelProbe **ret)
{
        _cleanup_(accel_probe_freep) AccelProbe *a = calloc(1, sizeof *a);
        int r;

        if (!a)
                return -ENOMEM;
        *a = (AccelProbe) { .paths = p, .done = done, .userdata = userdata, .pidfd = -EBADF };
        a->pid = fork_guest();
        if (a->pid < 0)
                return -errno;
        a->pidfd = pidfd_open(a->pid, 0);
        if (a->pidfd < 0)
                return -errno;
        r = sd_event_add_io(event, &a->exit_source, a->pidfd, 1 /* EPOLLIN */, on_exit_child, a);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &a->deadline, CLOCK_MONOTONIC, PROBE_MAX_USEC, 0, on_deadline, a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}


typedef struct Found {
        sd_event *event;
        bool kvm;
        const char *why;
} Found;

static void on_found(void *userdata, bool kvm, const char *why)
{
        Found *f = userdata;

        f->kvm = kvm;
        f->why = why;
        (void) sd_event_exit(f->event, 0);
}

int accel_find_out(const Paths *p, char **ret_why)
{
        _cleanup_(accel_probe_freep) AccelProbe *a = NULL;
        Found f = { 0 };
        int r;

        r = accel_known(p, ret_why);
        if (r != -ENOENT)
                return r;
        r = sd_event_new(&f.event);
        if (r < 0)
                return r;
        r = accel_probe(f.event, p, on_found, &f, &a);
        if (r >= 0)
                r = sd_event_loop(f.event);
        a = accel_probe_free(a);
        sd_event_unref(f.event);
        if (r < 0)
                return r;
        if (ret_why) {
                *ret_why = strdup(strempty(f.why));
                if (!*ret_why)
                        return -ENOMEM;
        }
        return f.kvm;
}
