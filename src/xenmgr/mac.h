/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/* The MAC address of a nic that has none configured: "xx:xx:xx:xx:xx:xx"; returns buf. */
char *derive_mac(unsigned nic, const char *uuid, char buf[static 18]);
