/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mac.h"

#include "md5.h"

char *derive_mac(unsigned nic, const char *uuid, char buf[static 18])
{
        static const uint8_t order[6] = { 0, 2, 1, 7, 6, 4 };
        uint8_t digest[16], half[32], mac[6];
        char text[64];
        int n = snprintf(text, sizeof text, "%u %.36s", nic, uuid);

        md5(text, (size_t) n, digest);
        for (size_t i = 0; i < 16; i++) {
                half[2 * i] = digest[i] >> 4;
                half[2 * i + 1] = digest[i] & 15;
        }
        for (size_t i = 0; i < 6; i++)
                mac[i] = (uint8_t) (half[order[i]] << 4 | half[order[i] + 12]);
        mac[0] = 0x02 | (mac[0] & 0xfe);
        snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        return buf;
}
