/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A VM that serves others' networks came (back) up: cards that knew another domain of it are connected anew. On Xen
 * the card is unplugged and plugged in with the new domain behind it; elsewhere, where cards hang on the host, its
 * cable is pulled and put in again, so that the guest asks the new server for its address. A card that is in the
 * way is tried again each second, thirty times.
 */
#include "vm.h"

/* The VM has booted. Does nothing when it serves nobody. */
void network_backend_up(Vm *backend);
/* The VM was built: its cards are connected with those who serve them now. */
void network_served(Vm *vm);
/* The VM was found running: cards, its own and those that it serves, whose backend came back while nobody looked. */
void network_found(const Vm *found);
/* The network daemon says that the network is there again, served by that VM (as "/ndvm/<uuid, '-' as '_'>"). */
void network_backend_state(Manager *m, const char *state, const char *backend);
/* The VM ends: nothing of it is connected any more. */
void network_reconnects_drop(Vm *vm);
