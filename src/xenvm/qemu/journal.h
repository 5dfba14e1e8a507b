/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The event journal: a second QMP monitor of QEMU on a pair of FIFOs, P.in and P.out. QEMU holds both open,
 * so what it says while no monitor process lives waits in P.out (the kernel's pipe buffer, then QEMU's own
 * memory). A line is taken out of the FIFO only after its handler has returned: it is looked at through
 * tee(2) first. A monitor that is killed in between sees the event again, so handlers must be repeatable
 * and must have written down what they decided when they return.
 */
#include <systemd/sd-event.h>

#include "json.h"

typedef struct Journal Journal;

typedef struct JournalHandlers {
        void (*event)(void *userdata, const char *untrusted_name, json_object *untrusted_data);
} JournalHandlers;

/* Makes the FIFOs prefix.in and prefix.out, removing old ones, and puts the negotiation into prefix.in. */
int journal_create(sd_event *event, const char *prefix, const JournalHandlers *handlers, void *userdata, Journal **ret);
/* The two FIFOs just made, for who gives them to QEMU's user; they stay the journal's. */
void journal_fds(const Journal *j, int *ret_in, int *ret_out);
/* Opens those of a QEMU that runs. Events that waited are delivered from the event loop. */
int journal_open(sd_event *event, const char *prefix, const JournalHandlers *handlers, void *userdata, Journal **ret);
/*
 * Delivers what waits right now, as far as a pipe holds it. To be called when QEMU is gone, so that its last words are heard before
 * its end is judged. The journal may be freed by a handler; then 1 is returned.
 */
int journal_drain(Journal *j);
/* May be called from a handler. */
Journal *journal_free(Journal *j);
DEFINE_CLEANUP(Journal *, journal_free)

void journal_unlink(const char *prefix);
