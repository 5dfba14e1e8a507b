/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A reader for the XML of org.freedesktop.DBus.Introspectable, and for nothing else: elements and
 * attributes, no DTD, no namespaces. What it does not know it skips. The text comes from any service
 * on the bus, so size, depth and counts are bounded.
 */
#include "util.h"

#define INTROSPECTION_MAX (8 * MIB)

typedef enum IntroKind { INTRO_METHOD, INTRO_PROPERTY, INTRO_SIGNAL } IntroKind;

typedef struct IntroArg {
        char *name; /* "" if it has none */
        char *type;
        bool out;
} IntroArg;

typedef struct IntroMember {
        IntroKind kind;
        char *name;
        char *type;   /* properties */
        char *access; /* properties: read, write, readwrite */
        IntroArg *args;
        size_t n_args;
} IntroMember;

typedef struct IntroInterface {
        char *name;
        IntroMember *members; /* in the order of the text */
        size_t n_members;
} IntroInterface;

typedef struct Introspection {
        IntroInterface *interfaces;
        size_t n_interfaces;
        char **children; /* names of the nodes below */
} Introspection;

/* Returns 0, -EBADMSG (not such XML), -EFBIG (a bound was passed) or -ENOMEM. */
int introspection_parse(const char *untrusted_xml, Introspection **ret);
Introspection *introspection_free(Introspection *x);
DEFINE_CLEANUP(Introspection *, introspection_free)
#define _cleanup_introspection_ _cleanup_(introspection_freep)

/* NULL: not there. */
const IntroInterface *introspection_interface(const Introspection *x, const char *name);
const IntroMember *interface_member(const IntroInterface *i, IntroKind kind, const char *name);
/* The first interface, in the order of the text, that has such a member. */
const IntroMember *introspection_member(const Introspection *x, IntroKind kind, const char *name,
                                        const IntroInterface **ret_interface);
/* The types of all `in` arguments, one after the other; NULL: out of memory. */
char *member_in_signature(const IntroMember *m);
