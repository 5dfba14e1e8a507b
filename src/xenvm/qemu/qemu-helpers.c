/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a VM needs beside QEMU on the host's side: networks, TPM, firmware. */
#include <signal.h>
#include <sys/pidfd.h>

#include "log.h"
#include "qemu-vm.h"
#include "strbuf.h"

void host_side_done(HostSide *h)
{
        for (size_t i = 0; i < h->n_fds; i++)
                safe_close(h->fds[i]);
        free(h->fds);
        free(h->links);
        free(h->tpm_socket);
        free(h->firmware_code);
        free(h->firmware_vars);
        strv_free(h->paths);
        *h = (HostSide) { 0 };
}

int qemu_host_side(Vm *vm, _unused_ int first_fd, HostSide *ret, _unused_ char **ret_why)
{
        const VmConfig *c = vm->spec.config;

        ret->links = calloc(c->nic.n + 1, sizeof *ret->links);
        if (!ret->links)
                return -ENOMEM;
        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];

                if (streq(n->bridge, "user"))
                        ret->links[i].kind = QEMU_LINK_USER;
                else
                        log_warning("nic %lld: there is no bridge %s for it; the card is left without a cable", (long long) n->id,
                                    n->bridge);
        }
        return 0;
}

void qemu_helpers_kill(Vm *vm)
{
        for (unsigned i = 0; i < vm->n_helpers; i++) {
                Helper *h = &vm->helpers[i];

                if (h->pidfd >= 0)
                        (void) pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0);
                h->pidfd = safe_close(h->pidfd);
                free(h->name);
        }
        vm->n_helpers = 0;
}
