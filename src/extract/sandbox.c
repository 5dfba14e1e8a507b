/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the numbers of system calls are not known here"
#endif

static const uint32_t allowed[] = {
        SYS_read, SYS_pread64, SYS_write, SYS_lseek, SYS_close, SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex,
        SYS_getrandom, SYS_clock_gettime, SYS_rt_sigreturn, SYS_exit, SYS_exit_group,
};

#define N_ALLOWED ELEMENTSOF(allowed)

static int limit(int what, uint64_t value)
{
        const struct rlimit l = { value, value };

        return setrlimit((__rlimit_resource_t) what, &l) < 0 ? -errno : 0;
}

static int filter_system_calls(void)
{
        struct sock_filter f[N_ALLOWED + 16];
        unsigned short n = 0;
        struct sock_fprog program;

        f[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        f[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        for (size_t i = 0; i < N_ALLOWED; i++) /* each jumps to the last line */
                f[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t) (N_ALLOWED - i + 4), 0);
        /* Memory, but none that could be executed. */
        f[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]));
        f[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        program = (struct sock_fprog) { .len = n, .filter = f };
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int sandbox_enter(uint64_t memory, uint64_t output, unsigned cpu_seconds)
{
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
                return -errno;
        r = limit(RLIMIT_FSIZE, output);
        if (r >= 0)
                r = limit(RLIMIT_CPU, cpu_seconds);
        if (r >= 0)
                r = limit(RLIMIT_CORE, 0);
        /* The sanitizers need far more, and calls of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(OXT_FUZZ)
        if (r >= 0)
                r = limit(RLIMIT_AS, memory);
        if (r >= 0)
                r = filter_system_calls();
#else
        (void) memory;
        (void) filter_system_calls;
#endif
        return r;
}
