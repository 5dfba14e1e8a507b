/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The server's side of D-Bus authentication, towards a guest: a pure state machine over bytes. Who the
 * client is, is known from its channel; what it claims here is not looked at. Every EXTERNAL or
 * ANONYMOUS is accepted, everything else is answered with REJECTED, descriptors are not negotiated.
 */
#include "util.h"

#define SASL_LINE_MAX 512 /* bytes of one line with its end */
#define SASL_LINES_MAX 64 /* lines of one conversation */
#define SASL_REPLY_MAX 128 /* bytes that one line can be answered with */

typedef enum SaslState {
        SASL_NUL,      /* the first byte, which is a NUL */
        SASL_AUTH,     /* not accepted yet */
        SASL_DATA,     /* EXTERNAL without its response was begun */
        SASL_ACCEPTED, /* waiting for BEGIN */
        SASL_DONE,     /* what follows are messages */
        SASL_FAILED,
} SaslState;

typedef struct Sasl {
        SaslState state;
        unsigned n_lines;
        char line[SASL_LINE_MAX];
        size_t used;
        const char *why; /* with SASL_FAILED: static text */
} Sasl;

/*
 * Takes bytes until one line is complete or the conversation ended. guid: 32 hex digits that OK carries;
 * uuid: sent as DATA before it, or NULL. Returns how many bytes it took; reply gets the answer (possibly
 * empty), terminated.
 */
size_t sasl_input(Sasl *s, const void *untrusted_data, size_t size, const char *guid, const char *uuid,
                  char reply[static SASL_REPLY_MAX]);
