/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the properties of VMs and of the host for their man page. Runs at build time only. */
#include "host-keys.h"

#include "scd.h"

static const char *const types[] = {
        [VMKEY_BOOL] = "*true* or *false*",      [VMKEY_INT] = "a whole number", [VMKEY_TEXT] = "text",
        [VMKEY_LIST] = "texts, joined with *;*", [VMKEY_PATHS] = "a list",
};

static const char *const effects[] = {
        [VMKEY_EFFECT_COMPUTED] = "Computed, not stored",
        [VMKEY_EFFECT_STORED] = "Stored for clients; nothing of oxt acts on it",
        [VMKEY_EFFECT_MANAGER] = "xenmgr acts on it",
        [VMKEY_EFFECT_CONFIG] = "In the monitor's configuration at the next start",
        [VMKEY_EFFECT_LIVE] = "Acts on a running VM at once",
        [VMKEY_EFFECT_PROXY] = "Rules of rpc-proxy look at it",
        [VMKEY_EFFECT_DETECTED] = "Written when it is seen in the guest",
};

static void print_key(const VmKey *k, const char *below)
{
        printf("*%s*\n\t", k->property);
        scd_print_plain(k->text);
        printf(". Takes ");
        if (k->type == VMKEY_ENUM)
                scd_print_plain(k->choices);
        else
                printf("%s", types[k->type]);
        if (*strempty(k->fallback)) {
                /* The default of the node, where there is one. */
                bool opposite = k->flags & VMKEY_INVERTED && !(k->flags & HOSTKEY_FILE);

                printf("; default: ");
                scd_print_plain(!opposite ? k->fallback : streq(k->fallback, "true") ? "false" : "true");
        }
        printf(". ");
        if (k->effect == VMKEY_EFFECT_CONFIG && k->line)
                printf("Key *%s* of the monitor's configuration at the next start", k->line);
        else
                printf("%s", effects[k->effect]);
        printf(".");
        if (k->path && !(k->flags & (HOSTKEY_FILE | HOSTKEY_CAPS))) {
                printf(" Node: _%s", below);
                scd_print_plain(k->path);
                printf("_%s.", k->flags & VMKEY_INVERTED ? ", the opposite" : "");
        }
        if (k->flags & VMKEY_READ_ONLY)
                printf(" Cannot be set.");
        else if (k->flags & VMKEY_HOST_ONLY)
                printf(" No guest can set it.");
        else if (k->flags & VMKEY_ADMIN)
                printf(" No guest but the host's user interface can set it.");
        if (k->flags & VMKEY_UNRESTRICTED)
                printf(" Of the unrestricted interface alone.");
        printf("\n\n");
}

int main(void)
{
        printf("# PROPERTIES OF A VM\n\n");
        for (const VmKey *k = vm_keys; k->property; k++)
                print_key(k, "/vm/<uuid>/");
        printf("# PROPERTIES OF THE HOST\n\n");
        for (const VmKey *k = host_keys; k->property; k++)
                print_key(k, "");
        return 0;
}
