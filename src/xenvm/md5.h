/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* MD5 (RFC 1321), for MAC addresses that must stay as OpenXT derived them; not for security. */
#include "util.h"

void md5(const void *data, size_t size, uint8_t ret[static 16]);
