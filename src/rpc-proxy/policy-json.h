/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A question about one message, and its answer, as JSON: what `oxt policy test` asks, of files or of
 * the running proxy (org.oxt.RpcProxy1.Judge(s question) -> s answer).
 *
 *     question: {"subject": "inc-method-call", "solicited": false, "destination": S, "path": S,
 *                "interface": S, "member": S, "sender": S, "arg0": S, "property": S,
 *                "domid": N, "uuid": S, "stubdom": false, "vm": {"type": S, "name": S, "<property>": "true"|"false"}}
 *     answer:   {"verdict": "allow"|"deny", "rule": RULE or null, "reason": S (where no rule decided),
 *                "near": {"rule": RULE, "differs": S, "differences": [{"condition", "name", "wanted", "found"}]} or null}
 *     RULE:     {"rule": text, "file": S, "line": N}
 *
 * What is left out of a question is missing from the message or unknown of the VM.
 */
#include "json.h"
#include "policy.h"

typedef struct PolicyQuestion {
        PolicyMessage message; /* the texts belong to the JSON */
        PolicyClient client;   /* its property callback reads the JSON */
} PolicyQuestion;

/* Borrows o. Returns 0, or -EINVAL for an unknown subject or members of wrong types. */
int policy_question_read(json_object *o, PolicyQuestion *ret);
/* Decides, and explains a denial. Returns 0 or -ENOMEM; *ret has one reference. */
int policy_answer(const Policy *p, const PolicyClient *client, const PolicyMessage *m, json_object **ret);
/* {"rule", "file", "line"}, or NULL (JSON null) for no rule. */
json_object *policy_rule_json(const PolicyRule *r);
