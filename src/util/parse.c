/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "parse.h"

#include <ctype.h>
#include <strings.h>
#include <sys/random.h>

int parse_u64(const char *s, uint64_t *ret)
{
        uint64_t v = 0;

        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        }
        *ret = v;
        return 0;
}

int parse_i64(const char *s, int64_t *ret)
{
        bool negative = *s == '-';
        uint64_t v;
        int r;

        r = parse_u64(s + negative, &v);
        if (r < 0)
                return r;
        if (v > (uint64_t) INT64_MAX + negative)
                return -ERANGE;
        *ret = negative ? (int64_t) -v : (int64_t) v;
        return 0;
}

int parse_bool(const char *s, bool *ret)
{
        static const char *const yes[] = { "true", "yes", "1" }, *const no[] = { "false", "no", "0" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                if (streq(s, yes[i])) {
                        *ret = true;
                        return 0;
                }
                if (streq(s, no[i])) {
                        *ret = false;
                        return 0;
                }
        }
        return -EINVAL;
}

bool uuid_valid(const char *s)
{
        for (int i = 0; i < 36; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? s[i] != '-' : !isxdigit((unsigned char) s[i]))
                        return false;
        }
        return s[36] == '\0';
}

char *uuid_random(char buf[static 37])
{
        uint8_t b[16];

        if (getrandom(b, sizeof b, 0) != sizeof b)
                return NULL;
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        snprintf(buf, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
        return buf;
}

char *uuid_to_path(const char *uuid, char buf[static 37])
{
        for (int i = 0; i < 36; i++)
                buf[i] = uuid[i] == '-' ? '_' : uuid[i];
        buf[36] = '\0';
        return buf;
}

char *uuid_from_path(const char *path_element, char buf[static 37])
{
        if (strlen(path_element) != 36)
                return NULL;
        for (int i = 0; i < 36; i++)
                buf[i] = path_element[i] == '_' ? '-' : path_element[i];
        buf[36] = '\0';
        return uuid_valid(buf) ? buf : NULL;
}

bool utf8_valid(const char *s, size_t n)
{
        const uint8_t *p = (const uint8_t *) s, *e = p + n;

        while (p < e) {
                uint32_t c;
                int k;

                if (*p < 0x80) {
                        if (*p++ == 0)
                                return false;
                        continue;
                }
                if (*p >= 0xc2 && *p <= 0xdf) {
                        k = 1;
                        c = *p & 0x1f;
                } else if (*p >= 0xe0 && *p <= 0xef) {
                        k = 2;
                        c = *p & 0x0f;
                } else if (*p >= 0xf0 && *p <= 0xf4) {
                        k = 3;
                        c = *p & 0x07;
                } else
                        return false;
                if (e - p <= k)
                        return false;
                for (int i = 1; i <= k; i++) {
                        if ((p[i] & 0xc0) != 0x80)
                                return false;
                        c = c << 6 | (p[i] & 0x3f);
                }
                if ((k == 2 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
                    (k == 3 && (c < 0x10000 || c > 0x10ffff)))
                        return false;
                p += k + 1;
        }
        return true;
}
