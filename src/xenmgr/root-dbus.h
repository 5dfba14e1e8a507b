/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The object "/". */
#include "manager.h"

extern const BusInterface *const root_interfaces[];
/* Fills the tables of host-wide properties; once. */
void root_properties_init(void);
/* Those that wait for a script get none: the bus is going. */
void scripts_drop(Manager *m);
/* In config-dbus.c and diag-dbus.c */
extern const BusInterface config_interface, config_ui_interface, diag_interface;
void config_properties_init(void);
/* The node at path, or what is below it, is another now: tells of it where it is a property that does. */
void config_changed(Manager *m, const char *path);
/* The language of the UI, "en-us" where none is set. NULL on out of memory. */
char *config_language(Manager *m);
/* In report.c */
int method_status_report(Call *c);
