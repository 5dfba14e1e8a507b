/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The tags of a text of org.freedesktop.DBus.Introspectable, one after the other, with the attributes that
 * are of use there. Comments, the head, DOCTYPE and CDATA are passed over; text between tags, too. The text is
 * any service's, so it is untrusted; nothing is allocated and nothing refers to it. Needs util only.
 */
#include "util.h"

#define XML_TAG_MAX 256 /* a name or a signature of D-Bus has 255 bytes at most */

typedef struct XmlTag {
        char element[XML_TAG_MAX];
        /* Attributes as written; "" if missing, or longer than any name or type. */
        char name[XML_TAG_MAX], type[XML_TAG_MAX], direction[XML_TAG_MAX], access[XML_TAG_MAX];
        bool closes, empty; /* </x>, <x/> */
} XmlTag;

/* Begin with the text and its end. */
typedef struct XmlScanner {
        const char *p, *end;
} XmlScanner;

/* Returns 1 and the next tag, 0 at the end, or -EBADMSG (what follows is no tag; *ret is then undefined). */
int xml_next_tag(XmlScanner *s, XmlTag *ret);
