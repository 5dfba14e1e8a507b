/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What was decided, and why. Each denial (with --verbose each decision) is one record: a line in the log,
 * `(<domid>-><target domid>) DENY …` as of old with the deciding rule behind it, fields in the journal,
 * a JSON text kept for Denials() and sent with the signal Denied or Allowed. Bounded for each peer and second, denials apart
 * from the others; what was left out is counted in the next one. Of the 512 that are kept a VM that is often denied loses
 * its own first.
 *
 * A record: {"time": microseconds since 1970, "domid", "uuid", "stubdom", "direction", "type", "sender",
 * "destination", "path", "interface", "member", "arg0", "serial", "verdict": "deny"|"allow", "rule",
 * "file", "line", "reason": where no rule decided, "near": {"rule", "file", "line", "differs"}, "omitted"}.
 * What is missing or unknown is left out.
 */
#include "peer.h"
#include "wire.h"

int audit_new(Proxy *p, Audit **ret);
Audit *audit_free(Audit *a);
DEFINE_CLEANUP(Audit *, audit_free)

/* why: what decided where it was no rule (static or short-lived text), else NULL. */
void audit_record(Audit *a, Peer *peer, const PolicyMessage *m, uint32_t serial, uint32_t reply_serial,
                  const PolicyVerdict *verdict, const char *why);

/* A warning about what a guest did with its connections, bounded in the same way. */
void audit_note(Peer *p, const char *fmt, ...) _printf_(2, 3);

/* The last n records, oldest first, as a JSON array; *ret is to be freed. */
int audit_list(const Audit *a, unsigned n, char **ret);
