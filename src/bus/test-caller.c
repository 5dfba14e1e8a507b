/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "caller.h"

int main(void)
{
        static const char *const bad[] = {
                "org.oxt.conn.proxy.r00", "org.oxt.conn.d5",
                "org.oxt.conn.d.u00000000_0000_0000_0000_000000000001.s0.r00112233445566778899aabbccddeeff",
                "org.oxt.conn.d-1.u00000000_0000_0000_0000_000000000001.s0.r00112233445566778899aabbccddeeff",
                "org.oxt.conn.d1.u00000000-0000-0000-0000-000000000001.s0.r00112233445566778899aabbccddeef",
                "org.oxt.conn.d1.u00000000_0000_0000_0000_000000000001.s2.r00112233445566778899aabbccddeeff",
                "org.oxt.conn.d1.u00000000_0000_0000_0000_000000000001.s1.r00112233445566778899aabbccddeeff.x",
        };
        Caller c = { .guest = true, .domid = 5, .uuid = "00000000-0000-0000-0000-000000000001", .stubdom = true }, d;
        char name[MARKER_NAME_MAX], other[MARKER_NAME_MAX];

        assert(marker_format(&c, name) && marker_format(&c, other) && !streq(name, other));
        assert(marker_parse(name, &d) == 0 && d.guest && d.domid == 5 && d.stubdom && streq(d.uuid, c.uuid));
        assert(marker_format_proxy(name) && startswith(name, "org.oxt.conn.proxy.r"));
        assert(marker_parse(name, &d) == 0 && !d.guest && d.proxy && d.domid == 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(marker_parse(bad[i], &d) == -EINVAL);
        return 0;
}
