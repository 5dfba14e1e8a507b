/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Between D-Bus values and the texts of the database. */
#include "service.h"
#include "vm-keys.h"

/*
 * Appends the stored text as a value of the key's type. A text that is not of the type fails the call,
 * but not a GetAll: one bad value must not hide all others, so the default is given.
 */
int value_append(Call *c, const VmKey *k, const char *text, sd_bus_message *reply);
/* Reads a value of signature b, i or s as text (true/false, decimal); to free. */
int value_read(sd_bus_message *message, const char *signature, char **ret);

/* In vm-records.c: stores the network of a nic and moves a running one. */
struct Vm;
int nic_set_network(struct Vm *vm, unsigned id, const char *network, Call *c);
