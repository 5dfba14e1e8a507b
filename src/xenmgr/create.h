/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Making and deleting VMs. A creation is one transaction: it is there as a whole or not at all. Slots
 * that creations under way have taken are not given again.
 */
#include "json.h"
#include "manager.h"

typedef struct CreateRequest {
        const char *template; /* name, "" for the empty one */
        const char *json;     /* merged over it; may be "" or NULL */
        const char *uuid;     /* NULL: of the template, else random */
        const char *name, *description, *image_path; /* NULL: not given */
        bool unrestricted;
        Vm *parent; /* of a child service VM: no slot, and its tree is changed too */
} CreateRequest;

/* Answers c with the path (or an error), once vm_created was sent. */
int create_vm(Manager *m, const CreateRequest *q, Call *c);
/* Whether a VM that appears is one that is being made here. */
bool create_is_ours(const Manager *m, const char *uuid);
/* At the end of the daemon. */
void create_forget(Manager *m);
void create_bus_down(Manager *m);
/* Finishes what a manager that was killed had begun: the hook is run, and vm_created told. */
void create_resume(Manager *m);
