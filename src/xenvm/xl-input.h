/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The way from xl to xenvm: the items of an xl file on one side, lines of a xenvm config on the other.
 * The first failure is remembered in r; whatever is asked of it afterwards does nothing.
 */
#include "xl-convert-internal.h"

typedef struct InputLine {
        XenvmKey key;
        char *value;
} InputLine;

typedef struct Input {
        XlFile *file;
        Conversion *conversion;
        bool hvm;
        InputLine *lines;
        size_t n;
        StrBuf comments; /* "# xl: …" */
        int r;
} Input;

void input_done(Input *in);

/* Adds a line to the xenvm config. */
void input_put(Input *in, XenvmKey key, const char *value);
void input_put_number(Input *in, XenvmKey key, int64_t n);
void input_put_bool(Input *in, XenvmKey key, bool b);
/* Keeps an item that xenvm cannot say, or not wholly, as a comment, with a warning. */
void input_keep(Input *in, const XlItem *item, const char *why);
/* Fails. */
void input_bad(Input *in, const XlItem *item, const char *expected);

/* The text of a string or number; NULL (having failed) for a list. */
const char *input_text(Input *in, const XlItem *item);
/* False (having failed) if it is no number. */
bool input_number(Input *in, const XlItem *item, int64_t *ret);
/* A number that may be missing. */
int64_t input_take_number(Input *in, const char *key, int64_t fallback);
/* Calls f for each string: of a list, or the one that stands alone. */
void input_each_string(Input *in, const XlItem *item, void (*f)(Input *, const XlItem *, const char *, void *), void *data);
/* Takes the settings of one group that mean the same in both. */
void input_take_scalars(Input *in, XlGroup group);

/* xl-convert-from-devices.c */
void input_take_device_model(Input *in);
void input_take_devices(Input *in);
