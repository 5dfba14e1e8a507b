/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "util.h"

/*
 * A PNG file (W3C PNG 1.2, with stored blocks as in RFC 1951 3.2.4) of a PPM one ("P6", 8 bits), as a device model without
 * a PNG library writes its screen. *ret is to free. -EBADMSG: it is no such picture; -ENOMEM.
 */
int png_from_ppm(const char *untrusted_ppm, size_t size, char **ret, size_t *ret_size);
