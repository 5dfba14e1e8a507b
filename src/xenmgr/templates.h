/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Templates: files that hold a VM's tree as JSON, all leaves texts. Those of the stack
 * (/usr/share/xenmgr-1.0/templates/<flavour> or its place in another stack) go before those that come
 * with oxt. The flavour is the line in /etc/xenclient.flavour, else "default".
 */
#include "json.h"
#include "manager.h"

#define TEMPLATE_MAX_BYTES (1 * MIB)

/* Reads one; "" is the empty one. 0, -ENOENT, -EINVAL (a name with '/'), -EBADMSG (no JSON object of texts). */
int template_load(Manager *m, const char *name, json_object **ret);
/* Names (extension dropped), in directory order, each once. */
int template_list(Manager *m, char ***ret);
/* Merges b over a: objects recursively, everything else is b's. */
int json_merge(json_object *a, json_object *b);
/* The text at a path of an object tree, or fallback. Sets it, making what is on the way. */
const char *tree_get(json_object *tree, const char *path, const char *fallback);
int tree_set(json_object *tree, const char *path, const char *value);
/*
 * Whether all leaves are texts, no name holds '/' or is empty, and it is not too deep. Numbers and
 * booleans are made texts.
 */
int tree_normalise(json_object *tree, int depth);
/* The first path in it that a guest may not write; NULL: none. To free. */
char *tree_denied_to_guests(json_object *tree);
/* The same for a template of the host: what in it a guest's VM may not have, or its name where it is for services. */
char *template_denied_to_guests(const char *name, json_object *tree);

/* Puts the reference hashes of disks that are stored for that uuid into the tree. */
int tree_keep_sums(Manager *m, const char *uuid, json_object *tree);

/* Injects the active service VMs (at each start of the daemon). */
int templates_configure_services(Manager *m);
