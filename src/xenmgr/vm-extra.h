/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The smaller interfaces of a VM: firewall rules, PCI rules, product properties, authentication. */
#include "vm.h"

int method_list_argo_rules(Call *c);
int method_add_argo_rule(Call *c);
int method_delete_argo_rule(Call *c);
int fill_net_rules(Call *c, sd_bus_message *reply);
int method_add_net_rule(Call *c);
int method_delete_net_rule(Call *c);

extern const BusInterface vm_interface_auth, vm_interface_pci, vm_interface_product;
