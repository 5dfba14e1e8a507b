/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands of `oxt`, one file each (oxt-<command>.c); the table is in oxt.c. */
#include "stack.h"

int oxt_up(int argc, char *argv[], void *userdata);
int oxt_down(int argc, char *argv[], void *userdata);
int oxt_status(int argc, char *argv[], void *userdata);
int oxt_logs(int argc, char *argv[], void *userdata);
int oxt_config(int argc, char *argv[], void *userdata);
int oxt_doctor(int argc, char *argv[], void *userdata);
int oxt_enable(int argc, char *argv[], void *userdata);
int oxt_top(int argc, char *argv[], void *userdata);
int oxt_policy(int argc, char *argv[], void *userdata);
int oxt_db(int argc, char *argv[], void *userdata);
