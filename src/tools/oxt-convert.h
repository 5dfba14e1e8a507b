/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

int oxt_convert(int argc, char *argv[], void *userdata);
