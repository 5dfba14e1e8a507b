/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A serial line as the contract sets it up: raw, 8N1, no flow control, speed left alone, input drained. */

/* Returns a descriptor that does not block, or negative errno. Also takes what is no terminal (a FIFO, a pty). */
int serial_open(const char *device);
