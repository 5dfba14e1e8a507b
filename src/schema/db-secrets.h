/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Paths of the database whose values are secret: pass phrases and keys. The database serves them as any
 * other value to who may read them, but they never appear in its history or in a log.
 */
#include <stdbool.h>

/* path is absolute, each name with one '/' before it. */
bool db_path_secret(const char *path);
