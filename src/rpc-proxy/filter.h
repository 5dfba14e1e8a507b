/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What is done with each message: the one place where wire, policy and transport meet. */
#include "connection.h"

typedef enum Fate {
        FATE_PASS, /* as it is */
        FATE_DONE, /* dropped, answered, or sent in another form */
        FATE_HOLD, /* wait for a place in the window and ask again */
} Fate;

/* connection_end() may have been called. */
Fate filter_from_client(Connection *c, WireMessage *m);
/* The same for one that waits or stands behind others that do: answers and calls that are denied need no place. */
Fate filter_overtaking(Connection *c, WireMessage *m);
Fate filter_from_bus(Connection *c, WireMessage *m);
