/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "request.h"

static int parse(const char *text, HelperRequest *r)
{
        const char *why = NULL;
        int e = helper_request_parse(text, strlen(text), r, &why);

        assert(e == 0 || why);
        return e;
}

int main(void)
{
        static const char *const bad[] = {
                "", "[]", "{}", "{\"request\":7}", "{\"request\":\"reboot\"}", "{\"request\":\"tap-create\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"../etc\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"..\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"abcdefghijklmnop\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"br0\\u0000x\"}",
                "{\"request\":\"tap-create\",\"bridge\":\"br0\",\"owner\":\"0\"}",
                "{\"request\":\"tap-move\",\"tap\":\"eth0\",\"bridge\":\"br0\"}",
                "{\"request\":\"tap-move\",\"tap\":\"oxt\",\"bridge\":\"br0\"}",
                "{\"request\":\"device-open\",\"device\":\"/dev/mem\"}",
                "{\"request\":\"device-open\",\"device\":\"mem\"}",
                "{\"request\":\"vm-scope\",\"uuid\":\"x\",\"pid\":\"7\"}",
                "{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":7}",
                "{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":\"1\"}",
                "{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":\"-7\"}",
                "{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":\"4294967303\"}",
                "{\"request\":\"monitor-start\",\"uuid\":\"../../etc\"}",
                "{\"request\":\"monitor-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"config\":\"/tmp/x\"}",
        };
        char long_line[HELPER_LINE_MAX + 2];
        HelperRequest r;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(parse(bad[i], &r) == -EINVAL);
        assert(parse("{\"request\":\"tap-create\",\"bridge\":\"br-lan.1\"}", &r) == 0 && r.id == HELPER_TAP_CREATE && streq(r.bridge, "br-lan.1"));
        assert(parse("{\"bridge\":\"b\",\"tap\":\"oxt12\",\"request\":\"tap-move\"}", &r) == 0 && r.id == HELPER_TAP_MOVE && streq(r.tap, "oxt12"));
        assert(parse("{\"request\":\"device-open\",\"device\":\"vhost-net\"}", &r) == 0 && streq(helper_device_path(r.device), "/dev/vhost-net"));
        assert(parse("{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":\"77\"}", &r) == 0 && r.pid == 77);
        assert(parse("{\"request\":\"monitor-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\"}", &r) == 0 && r.id == HELPER_MONITOR_START);
        memset(long_line, ' ', sizeof long_line);
        memcpy(long_line, "{\"request\":\"tap-create\",\"bridge\":\"b\"}", strlen("{\"request\":\"tap-create\",\"bridge\":\"b\"}"));
        long_line[sizeof long_line - 1] = '\0';
        assert(parse(long_line, &r) == -EINVAL);
        return 0;
}
