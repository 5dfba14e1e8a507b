/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the database says about VMs: the properties that rules may ask for and the VMs' own rules, from
 * a mirror of dbd's /vm. Nothing is fetched when a message is judged.
 */
#include "policy.h"
#include "proxy.h"

int vminfo_new(Proxy *p, VmInfo **ret);
VmInfo *vminfo_free(VmInfo *v);
DEFINE_CLEANUP(VmInfo *, vminfo_free)

/* Begins and ends following, with each connection to the bus. */
int vminfo_bus_up(VmInfo *v, sd_bus *bus);
void vminfo_bus_down(VmInfo *v);

/* Whether the database was read: before that, nothing is known of any VM. */
bool vminfo_loaded(const VmInfo *v);

/* A property as text (booleans: "true" or "false"); NULL: unknown. Valid until the next call. */
const char *vminfo_property(const VmInfo *v, const char *uuid, const char *name);

/*
 * The VM's own rules in the order of their numbers. Returns how many there are, at most max are filled
 * in; -ENODATA: the database was not read yet; -EINVAL: a rule's name is no number. The texts are valid
 * until the loop runs again; free() each file.
 */
int vminfo_rules(const VmInfo *v, const char *uuid, PolicyText **ret);
void vminfo_rules_free(PolicyText *rules, int n);
