/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * MD5 (RFC 1321), only for MAC addresses of nics: guests of old hosts know their cards by addresses
 * that were derived with it. It protects nothing.
 */
#include "util.h"

/* The sum of size bytes. */
void md5(const void *data, size_t size, uint8_t ret[static 16]);
