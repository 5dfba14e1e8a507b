/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * CD drives of the host, "a:b:c:d". A drive is held by at most one VM: the one into whose own drive it was put, which is
 * how a drive is assigned to a running VM here, or else one whose guest says so (node bsgdev/<a_b_c_d>/lock, where the
 * drive is passed through). A sticky assignment is in the database, and carried out at each start of its VM.
 */
#include "uevent.h"
#include "vm.h"

/* The guest of vm took the drive (its id with '_') or gave it back. */
void cd_drive_locked(Vm *vm, const char *node_id, bool locked);
/* vm was built and does not run yet: gives it the drives that are its own. */
void cd_drives_apply(Vm *vm);
/* vm is ending: tells of the drives that it held. Called while what its guest wrote is still known. */
void cd_drives_released(Vm *vm);
/* The VM is deleted: adds to the transaction that no drive is assigned to it any more. 0 or negative errno. */
int cd_drives_forget(const Manager *m, const char *uuid, DbTx *tx);

/*
 * The kernel told of a disk or SCSI device. What is in a drive that a VM was given is shown in the VM's own: another disc, or
 * none; a guest's word alone gets it nothing. Where the eject button is pressed while the drive is locked, it lets go and
 * opens. A drive that was pulled out is held by nobody.
 */
void cd_drives_block_event(Manager *m, const Uevent *e);
void cd_drives_scsi_event(Manager *m, const Uevent *e);

/* In org.xenclient.xenmgr.host. */
int method_list_cds(Call *c);
int method_get_cd(Call *c);
int method_assign_cd(Call *c);
int method_eject_cd(Call *c);
