/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of connection.h share, and nobody else needs. */
#include "connection.h"

#define SCRATCH_SIZE (256 * KIB)

#define BUS_CLOSED "the bus closed it; it may have sent a malformed body"

/* connection-io.c. The buffer that is read into, shared by all: its bytes are done with when an event is. */
extern uint8_t connection_scratch[SCRATCH_SIZE];

static inline bool side_busy(const Side *s)
{
        return s->out_used > s->out_at;
}

static inline size_t side_waiting(const Side *s)
{
        return s->in_used - s->in_at;
}

/* Keeps bytes for later, as far as the peer may; else the connection ends and the result is negative. */
int side_keep_in(Connection *c, Side *s, const void *data, size_t n);
int side_keep_out(Connection *c, Side *s, const void *data, size_t n);
void side_drop_in(Connection *c, Side *s);
void side_drop_out(Connection *c, Side *s);
void side_flush(Connection *c, Side *s);
/* Adds bytes that stay where they are until connection_flush(), which every event of a connection ends with. */
void connection_batch(Connection *c, Side *to, const void *data, size_t n);
void connection_flush(Connection *c);

/* connection-calls.c */
unsigned connections_window(const Proxy *p);
/* While more than one peer calls, sees to it that those who wait are asked when the places are more again. */
void connections_await_calm(Proxy *p);
void connection_send_barrier(Connection *c);

/* connection-setup.c */
void connection_open_bus(Connection *c);
void connection_setup(Connection *c);
void connection_sasl(Connection *c, const uint8_t *data, size_t n);
/* Begins with the client's messages once everything is there that they are judged by. */
void connection_go_on(Connection *c);

/* connection.c */
void connection_on_bus(void *userdata, bool in, bool out);
/* Handles whole messages that were kept for a side. */
void connection_pump_kept(Connection *c, Side *from);
uint32_t connection_seconds(void);
void connections_tick(Proxy *p);
