/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The policy of rpc-proxy: rules, and the decision about one message. Pure: no I/O but
 * policy_load_file(), no clock, no state beside the immutable Policy. docs/policy.md has the language.
 *
 * Each condition of a rule is true, false or unknown (the message lacks the field, the client's VM or
 * its property is not known). An allow rule matches when all its conditions are true, a deny rule when
 * none is false: what is missing never opens anything and never slips past a deny. The last rule that
 * matches decides; none: deny.
 */
#include "util.h"

typedef enum PolicyDirection {
        POLICY_INC, /* from the client into the bus */
        POLICY_OUT, /* from the bus to the client */
} PolicyDirection;

typedef enum PolicyType { /* values of the D-Bus header's type byte */
        POLICY_ANY = 0,   /* in rules only */
        POLICY_CALL = 1,
        POLICY_RETURN = 2,
        POLICY_ERROR = 3,
        POLICY_SIGNAL = 4,
        _POLICY_TYPE_MAX,
} PolicyType;

/* A message as far as rules look at it. NULL: the message does not have it. All texts stay the caller's. */
typedef struct PolicyMessage {
        PolicyDirection direction;
        PolicyType type;
        const char *destination, *path, *interface, *member, *sender;
        /*
         * The first argument if it is a text (type s). The interface of a call to
         * org.freedesktop.DBus.Properties is taken from here, so it must be filled in for those.
         */
        const char *arg0;
        const char *property_name; /* second argument of Properties.Get and Set, if a text */
        /*
         * Something that is expected: a return or error whose call the proxy delivered, a signal of the
         * VM's own agent, a call of the host to a guest. For these there is no default deny: of the inc-
         * rules only those for exactly that type count (`deny all` does not stop replies), of the out-
         * rules all, and the message passes where none of them denies it.
         */
        bool solicited;
} PolicyMessage;

static inline bool policy_can_be_solicited(PolicyDirection d, PolicyType t)
{
        return d == POLICY_INC ? t != POLICY_CALL : t != POLICY_SIGNAL;
}

typedef struct PolicyClient {
        int64_t domid;    /* negative: unknown. 0: the host, which policy_decide() exempts from all rules */
        const char *uuid; /* NULL: unknown */
        bool stubdom;
        /*
         * A property of the client's VM as text: "true" or "false" for booleans, or "type", "name".
         * NULL: unknown. May itself be NULL. Must be quick: it is called during decisions.
         */
        const char *(*property)(void *userdata, const char *name);
        void *userdata;
} PolicyClient;

/* What a rule's condition is about. The order is that in which differences are told. */
typedef enum PolicyField {
        POLICY_DESTINATION,
        POLICY_INTERFACE,
        POLICY_MEMBER,
        POLICY_PATH,
        POLICY_PROPERTY, /* name: the interface, value: the property's name */
        POLICY_ARG0,
        POLICY_SENDER,
        POLICY_DOM_UUID,
        POLICY_DOM_ID,   /* value: decimal without leading zeros */
        POLICY_DOM_TYPE, /* name: "type" */
        POLICY_DOM_NAME, /* name: "name" */
        POLICY_BOOLEAN,  /* name: the VM property, value: "true" or "false" */
        _POLICY_FIELD_MAX,
} PolicyField;

typedef struct PolicyCondition {
        PolicyField field;
        const char *name, *value;
} PolicyCondition;

typedef struct PolicyRule {
        bool allow;
        bool stubdom; /* a rule without `stubdom` means stubdom false */
        PolicyDirection direction;
        PolicyType type;
        unsigned n_conditions;
        const PolicyCondition *conditions;
        const char *text; /* as written, without comment and surrounding blanks */
        const char *file; /* path, or the database path of a VM rule */
        unsigned line;    /* from 1 */
} PolicyRule;

typedef struct Policy Policy;

/* One syntax error. All texts are valid during the call only. */
typedef struct PolicyError {
        const char *file;
        unsigned line, column; /* from 1; columns count characters */
        const char *message;   /* one line that says what is accepted there */
} PolicyError;

/* Where errors go; called once for each bad line, in order. May be NULL. */
typedef struct PolicyErrors {
        void (*on_error)(void *userdata, const PolicyError *e);
        void *userdata;
} PolicyErrors;

#define POLICY_FILE_MAX (16 * MIB)

/*
 * Reads rules; file is the name for messages. All or nothing: 0, -EBADMSG (told to errors), -ENOMEM.
 * The result has one reference.
 */
int policy_parse(const char *text, size_t size, const char *file, const PolicyErrors *errors, Policy **ret);
/* The same from a file; also errno of reading it (-EFBIG above POLICY_FILE_MAX), which is not told to errors. */
int policy_load_file(const char *path, const PolicyErrors *errors, Policy **ret);
/* The same; its rules come behind those of base, which is shared. */
int policy_load_behind(Policy *base, const char *path, const PolicyErrors *errors, Policy **ret);

/* One rule that comes from elsewhere than a rules file. */
typedef struct PolicyText {
        const char *text;
        const char *file; /* where it is, e.g. its database path */
} PolicyText;

/*
 * A policy that has the rules of base and behind them those of texts; base is shared, not copied.
 * With uuid they are a VM's own rules: each holds for that VM alone, whatever dom-uuid it names, and
 * words behind a complete rule are ignored. Without, each text is exactly one rule. Returns as policy_parse().
 */
int policy_extend(Policy *base, const char *uuid, const PolicyText *texts, size_t n, const PolicyErrors *errors,
                  Policy **ret);

static inline int policy_with_vm_rules(Policy *base, const char *uuid, const PolicyText *texts, size_t n,
                                       const PolicyErrors *errors, Policy **ret)
{
        return policy_extend(base, uuid, texts, n, errors, ret);
}

Policy *policy_ref(Policy *p);
Policy *policy_unref(Policy *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Policy *, policy_unref)
#define _cleanup_policy_ _cleanup_(policy_unrefp)

/* All rules in order, those of the base first. rule: i below the count; valid as long as the policy. */
size_t policy_count(const Policy *p);
const PolicyRule *policy_rule(const Policy *p, size_t i);

typedef struct PolicyVerdict {
        bool allow;
        const PolicyRule *rule; /* that decided; NULL: none matched, or the host */
} PolicyVerdict;

/* The decision. Allocates nothing and does not grow with the number of rules. */
PolicyVerdict policy_decide(const Policy *p, const PolicyClient *client, const PolicyMessage *m);
/* The same without the exemption of domain 0. */
PolicyVerdict policy_judge(const Policy *p, const PolicyClient *client, const PolicyMessage *m);
/* The same by looking at each rule; what policy_judge() must agree with. */
PolicyVerdict policy_judge_each(const Policy *p, const PolicyClient *client, const PolicyMessage *m);

/* One condition that did not hold, as words of the rule language. */
typedef struct PolicyDifference {
        const char *condition; /* "destination", "if-boolean P", "subject", "stubdom", … see name */
        const char *name;      /* of the VM property or property interface, else NULL */
        const char *wanted;    /* what the rule says */
        const char *found;     /* what the message or client has; NULL: missing or unknown */
} PolicyDifference;

#define POLICY_DIFFERENCES_MAX 16

typedef struct PolicyNearMiss {
        const PolicyRule *rule; /* the allow rule that came closest; NULL: none had anything in common */
        unsigned n_differences; /* 0: it matched, but the deciding rule stands behind it */
        PolicyDifference differences[POLICY_DIFFERENCES_MAX];
} PolicyNearMiss;

/* Why not? Looks at every rule: for records that are kept, not for each message. */
void policy_explain(const Policy *p, const PolicyClient *client, const PolicyMessage *m, PolicyNearMiss *ret);
/* The near miss in one line, e.g. `member is "b", not "a"`; untrusted texts made printable. Returns 0 or -ENOMEM. */
int policy_near_miss_text(const PolicyNearMiss *n, char **ret);

/* Words of the language. subject gives static text such as "inc-method-call"; parse returns 0 or -EINVAL. */
const char *policy_subject(PolicyDirection d, PolicyType t);
int policy_subject_parse(const char *s, PolicyDirection *ret_direction, PolicyType *ret_type);
const char *policy_field_word(PolicyField f);
