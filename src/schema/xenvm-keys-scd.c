/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the keys of the xenvm config file for its man page. Runs at build time only. */
#include "xenvm-keys.h"

#define GS XENVM_GS
#define KIB_IN_COMMANDS XENVM_KIB_IN_COMMANDS
#define CRITICAL XENVM_CRITICAL
#define ADDITION XENVM_ADDITION

/* scdoc's own signs are taken as they are behind a backslash. */
static void print_plain(const char *s)
{
        for (; *s; s++) {
                if (strchr("_*\\<>[]`.#~", *s))
                        putchar('\\');
                putchar(*s);
        }
}

static void print_key(const XenvmKeyInfo *k, XenvmKey key)
{
        char buf[160];

        printf("*%s*", k->name);
        if (k->alias)
                printf(", *%s*", k->alias);
        printf("\n\t");
        print_plain(k->text);
        printf(".");
        if (!xenvm_type_is_list(k->type)) {
                printf(" Default: ");
                print_plain(!k->fallback ? "none" : *k->fallback ? k->fallback : "empty");
                if (k->fallback && *k->fallback && k->unit)
                        printf(" %s", k->unit);
                printf(".");
        }
        printf(" Accepted: ");
        print_plain(xenvm_key_accepts(key, buf, sizeof buf));
        printf(".");
        if (k->flags & XENVM_GS)
                printf(" Field of *get* and *set*%s.", k->flags & XENVM_KIB_IN_COMMANDS ? ", there in KiB" : "");
        if (k->flags & XENVM_CRITICAL)
                printf(" A bad line stops the start.");
        printf("\n\n");
}

int main(void)
{
#define SECTION(title) printf("## " title "\n\n");
#define KEY(field, ...) print_key(&xenvm_keys[XENVM_KEY_##field], XENVM_KEY_##field);
#include "xenvm-keys.inc"
        return 0;
}
