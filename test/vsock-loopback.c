/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD in tests: AF_VSOCK where the kernel has no transport that reaches itself. A listener of port P
 * is the abstract unix socket OXT_VSOCK/P, and a client that is bound to the abstract name OXT_VSOCK/cid/C/... has
 * the CID C. (A CID is what the kernel says of a client; so is the name that a unix socket is bound to.)
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define REAL(function) ((__typeof__(&function)) dlsym(RTLD_NEXT, #function))

__attribute__((visibility("default"))) int socket(int domain, int type, int protocol)
{
        return REAL(socket)(domain == AF_VSOCK ? AF_UNIX : domain, type, protocol);
}

__attribute__((visibility("default"))) int bind(int fd, const struct sockaddr *address, socklen_t size)
{
        const struct sockaddr_vm *vm = (const struct sockaddr_vm *) address;
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int n;

        if (address->sa_family != AF_VSOCK)
                return REAL(bind)(fd, address, size);
        n = snprintf(un.sun_path + 1, sizeof un.sun_path - 1, "%s/%u", getenv("OXT_VSOCK"), vm->svm_port);
        return REAL(bind)(fd, (struct sockaddr *) &un, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) n));
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
        struct sockaddr_un un = { 0 };
        socklen_t un_size = sizeof un - 1;
        unsigned cid = 0;
        int client;

        if (!address || *size != sizeof(struct sockaddr_vm))
                return REAL(accept4)(fd, address, size, flags);
        client = REAL(accept4)(fd, (struct sockaddr *) &un, &un_size, flags);
        if (client >= 0 && strncmp(un.sun_path + 1, getenv("OXT_VSOCK"), strlen(getenv("OXT_VSOCK"))) == 0)
                (void) sscanf(un.sun_path + 1 + strlen(getenv("OXT_VSOCK")), "/cid/%u/", &cid);
        *(struct sockaddr_vm *) address = (struct sockaddr_vm) { .svm_family = AF_VSOCK, .svm_cid = cid };
        return client;
}
