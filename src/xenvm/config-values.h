/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Reading, freeing and writing one value of each type of the config file. For config.c alone. */
#include "config.h"
#include "strbuf.h"

typedef struct ValueContext {
        bool from_command; /* KiB, as get and set have it */
        char *why;         /* set when a value is refused: the error text */
        bool choices_tell; /* the text of the error says too little: add what the key accepts */
        char **notes;      /* warnings about a value that is taken */
} ValueContext;

void value_context_done(ValueContext *v);

typedef struct ValueType {
        size_t size;
        /* Fills *ret (zeroed) and returns 0, or -EINVAL with v->why, or -ENOMEM; then *ret is freed by the caller. */
        int (*parse)(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret);
        void (*done)(void *value); /* NULL: nothing to free */
        /* As the file (or, with command, as `get`) has it. */
        void (*format)(const XenvmKeyInfo *k, const void *value, bool command, StrBuf *b);
} ValueType;

extern const ValueType value_types[];

/* All lists have this shape. */
typedef struct ValueList {
        char *items;
        size_t n;
} ValueList;

/* The integers of the file: decimal, 0x, 0o, 0b, '_' between digits. 0, -EINVAL, -ERANGE. */
int value_parse_int(const char *s, int64_t *ret);

/* Sets v->why and returns -EINVAL. */
int value_refuse(ValueContext *v, const char *fmt, ...) _printf_(2, 3);
int value_parse_bool(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret);

/* config-devices.c */
int value_parse_disk(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret);
int value_parse_nic(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret);
int value_parse_pci(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret);
void value_disk_done(void *value);
void value_nic_done(void *value);
void value_format_disk(const XenvmKeyInfo *k, const void *value, bool command, StrBuf *b);
void value_format_nic(const XenvmKeyInfo *k, const void *value, bool command, StrBuf *b);
void value_format_pci(const XenvmKeyInfo *k, const void *value, bool command, StrBuf *b);
