/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Notifications of the monitor contract, in the order of the events, none merged. D-Bus ones wait until the
 * service is up; text ones each take a connection of their own, at most a second, off the command path.
 */
#include <systemd/sd-event.h>

#include "config.h"

#define NOTIFY_PING 0
#define NOTIFY_HUP 1
#define NOTIFY_ERROR 2
#define NOTIFY_RTC 0x1000
#define NOTIFY_NODE 0x2000
#define NOTIFY_STATE 0xf000

typedef struct Notify Notify;
/* Emits one as a D-Bus signal; negative: no bus now, keep it. */
typedef int (*NotifyEmit)(void *userdata, int code, const char *message);

int notify_new(sd_event *event, const char *uuid, NotifyEmit emit, void *userdata, Notify **ret);
Notify *notify_free(Notify *n);
DEFINE_CLEANUP(Notify *, notify_free)
/* Where they go from now on. target stays the caller's and must live as long as it is set. */
void notify_set_target(Notify *n, const VmNotify *target);
void notify_send(Notify *n, int code, const char *fmt, ...) _printf_(3, 4);
/* The bus is there: sends what waited. */
void notify_bus_up(Notify *n);
/* At the end of the process: gives what waits a last chance, at most a second. */
void notify_flush(Notify *n);
