/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the keys of the xenvm config file for its man page. Runs at build time only. */
#include "xenvm-keys.h"

#include "scd.h"

#define GS XENVM_GS
#define KIB_IN_COMMANDS XENVM_KIB_IN_COMMANDS
#define CRITICAL XENVM_CRITICAL
#define ADDITION XENVM_ADDITION

static void print_key(const XenvmKeyInfo *k, XenvmKey key)
{
        char buf[160];

        printf("*%s*", k->name);
        if (k->alias)
                printf(", *%s*", k->alias);
        printf("\n\t");
        scd_print_plain(k->text);
        printf(".");
        if (!xenvm_type_is_list(k->type)) {
                printf(" Default: ");
                scd_print_plain(!k->fallback ? "none" : *k->fallback ? k->fallback : "empty");
                if (k->fallback && *k->fallback && k->unit)
                        printf(" %s", k->unit);
                printf(".");
        }
        printf(" Accepted: ");
        scd_print_plain(xenvm_key_accepts(key, buf, sizeof buf));
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
