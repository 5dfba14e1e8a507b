/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* SQLite alone: commits the rows of one write of dbd (node, history, revision) on a copy of its database. */

typedef struct Rows Rows;

Rows *rows_open(const char *path); /* ends the program on failure */
void rows_commit(Rows *r);
