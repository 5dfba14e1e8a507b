/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The rules in force: the rules file, rules that were added at run time behind it, and for each peer
 * the VM's own rules behind those. Every change is parsed apart and takes the old one's place at once
 * and for open connections too, or not at all.
 */
#include "policy.h"
#include "proxy.h"

/*
 * Reads the file; one that cannot be used is logged and everything is denied until it is mended. Each time it is the one at
 * path or, where that is missing, the one at other (NULL: none).
 */
int ruleset_new(Proxy *p, const char *path, const char *other, RuleSet **ret);
RuleSet *ruleset_free(RuleSet *r);
DEFINE_CLEANUP(RuleSet *, ruleset_free)

/* Reads the file again. On failure, which is logged, the old rules stay. */
int ruleset_reload(RuleSet *r);

/* Gives the peer its rules (peer->policy, or peer->policy_why). */
void ruleset_apply(RuleSet *r, Peer *peer);
/* The database's rules of that VM changed; NULL: of any. */
void ruleset_vm_changed(RuleSet *r, const char *uuid);

/* Rules at run time. Returns 0, -EBADMSG with *ret_why (to free), -ENOENT (none of that text), -E2BIG. */
int ruleset_add(RuleSet *r, const char *text, char **ret_why);
int ruleset_delete(RuleSet *r, const char *text);

/* The rules for everybody; NULL: none usable. Borrowed. */
Policy *ruleset_policy(const RuleSet *r);
/* Where they are from, or those that cannot be used at first. */
const char *ruleset_path(const RuleSet *r);
/* Why the file as it is now is not in force; NULL: it is. */
const char *ruleset_error(const RuleSet *r);
