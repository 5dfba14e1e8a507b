/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Showing trees and their differences, a line for each leaf. */
#include "tree.h"

/*
 * Calls each() for every leaf that is in one of the two trees (either may be NULL) and not equal in
 * the other. path is where both are; old and new are the leaf as JSON, NULL where there is none.
 * Returns how many there were.
 */
size_t trees_compare(const Node *a, const Node *b, const char *path,
                     void (*each)(const char *path, const char *old, const char *new, void *userdata), void *userdata);

/* An each() that prints "- path = old" and "+ path = new". */
void print_difference(const char *path, const char *old, const char *new, void *userdata);
