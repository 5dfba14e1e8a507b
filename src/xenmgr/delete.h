/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Deleting VMs. What is to go is written down, then the VM leaves the database, then the files go, then
 * vm_deleted is told. A manager that was killed in between is succeeded by one that finishes it, or, where the
 * VM is still in the database, leaves it as it was.
 */
#include "manager.h"
#include "vm.h"

typedef enum DeleteFiles {
        DELETE_DISKS,   /* by the rules of the contract: its VHDs and their keys, but what is shared or another VM's too */
        DELETE_IMAGES,  /* those, and what came into the storage for it, named after its uuid; the answer tells what went */
        DELETE_NOTHING, /* its files stay; the answer has the same form */
} DeleteFiles;

/* Deletes a VM that does not run; answers c. */
int delete_vm(Vm *vm, bool unrestricted, DeleteFiles files, Call *c);
/* Whether a VM, but this one, has a disk of that path, which is mapped: what is stored names a file in two ways. */
bool disk_is_used(Manager *m, const Vm *vm, const char *mapped);
/* The VM has left the database: removes the files that go with it. Harmless where there are none. */
void delete_files(Manager *m, const char *uuid);
/* Removes a file of a disk without waiting for its room. Returns 0, also where there is none, or negative errno. */
int remove_image(Manager *m, const char *path);
/* Deletes the record of a disk and, once it has left the database, its image and key if nothing else needs them; answers c. */
int delete_disk(Vm *vm, unsigned id, Call *c);
/* Removes the folder of a VM that is gone, with what its monitor left. */
void delete_runtime(Manager *m, const char *uuid);
/* Once the VMs are known: what was interrupted, and files of disks that nobody needs any more. */
void delete_resume(Manager *m);
