/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What interfaces there are on our bus, and their members: data/interfaces.tsv. For lint. */
#include "util.h"

typedef struct Interfaces Interfaces;

typedef enum MemberKind {
        MEMBER_METHOD = 1 << 0,
        MEMBER_SIGNAL = 1 << 1,
        MEMBER_PROPERTY = 1 << 2,
} MemberKind;

/* Reads the table. Returns 0, errno of reading it, or -EBADMSG. */
int interfaces_load(const char *path, Interfaces **ret);
Interfaces *interfaces_free(Interfaces *l);
DEFINE_CLEANUP(Interfaces *, interfaces_free)

bool interfaces_has(const Interfaces *l, const char *interface);
/* Has the interface (NULL: any) such a member? kinds: or'ed. */
bool interfaces_has_member(const Interfaces *l, const char *interface, const char *member, unsigned kinds);
