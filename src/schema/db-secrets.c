/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "db-secrets.h"

#include <stddef.h>
#include <string.h>

/* Patterns: "*" stands for one name; what is below a secret path is secret too. NetworkManager keeps its connections in the network VM's dom-store, one child for each setting. */
#define CONNECTION "/dom-store/*/nm-connections/*/"

static const char *const db_secrets[] = {
        CONNECTION "802-11-wireless-security/psk",
        CONNECTION "802-11-wireless-security/leap-password",
        CONNECTION "802-11-wireless-security/wep-key0",
        CONNECTION "802-11-wireless-security/wep-key1",
        CONNECTION "802-11-wireless-security/wep-key2",
        CONNECTION "802-11-wireless-security/wep-key3",
        CONNECTION "802-1x/password",
        CONNECTION "802-1x/password-raw",
        CONNECTION "802-1x/private-key",
        CONNECTION "802-1x/private-key-password",
        CONNECTION "802-1x/phase2-private-key",
        CONNECTION "802-1x/phase2-private-key-password",
        CONNECTION "802-1x/pin",
        CONNECTION "gsm/password",
        CONNECTION "gsm/pin",
        CONNECTION "cdma/password",
        CONNECTION "ppp/password",
        CONNECTION "pppoe/password",
        CONNECTION "vpn/secrets",
        CONNECTION "vpn-secrets",
        CONNECTION "wireguard/private-key",
        "/vm/*/varstored-efivar-blob", /* firmware variables hold keys of the guest's choice */
        "/com.citrix.xenclient.backend/secure_device_token",
        NULL,
};

static bool pattern_covers(const char *pattern, const char *path)
{
        while (*pattern) {
                size_t n = strcspn(pattern + 1, "/"), k = *path ? strcspn(path + 1, "/") : 0;

                if (!*path || !((n == 1 && pattern[1] == '*') || (n == k && strncmp(pattern, path, n + 1) == 0)))
                        return false;
                pattern += n + 1;
                path += k + 1;
        }
        return true;
}

bool db_path_secret(const char *path)
{
        for (const char *const *s = db_secrets; *s; s++)
                if (pattern_covers(*s, path))
                        return true;
        return false;
}
