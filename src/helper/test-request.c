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
                "{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\"}",
                "{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"weight\":\"10001\",\"accel\":\"tcg\",\"pci\":\"\"}",
                "{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"weight\":\"0\",\"accel\":\"xen\",\"pci\":\"\"}",
                "{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"weight\":\"0\",\"accel\":\"tcg\",\"pci\":\"../../1b.0\"}",
                "{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"weight\":\"0\",\"accel\":\"tcg\",\"pci\":\"0000:00:1b.0,0000:00:1b.1\"}",
                "{\"request\":\"cpu-bind\",\"pid\":\"77\",\"cpus\":\"0\"}",
                "{\"request\":\"tap-limit\",\"tap\":\"oxt1\",\"rate\":\"-1\"}",
                "{\"request\":\"usb-open\",\"device\":\"1-\"}",
                "{\"request\":\"pci-bind\",\"device\":\"\"}",
                "{\"request\":\"pci-bind\",\"device\":\"0000:00:1b.0 0000:00:1b.1\"}",
        };
        char long_line[HELPER_LINE_MAX + 2];
        HelperRequest r;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(parse(bad[i], &r) == -EINVAL);
        assert(parse("{\"request\":\"tap-create\",\"bridge\":\"br-lan.1\"}", &r) == 0 && r.id == HELPER_TAP_CREATE && streq(r.bridge, "br-lan.1"));
        assert(parse("{\"bridge\":\"b\",\"tap\":\"oxt12\",\"request\":\"tap-move\"}", &r) == 0 && r.id == HELPER_TAP_MOVE && streq(r.tap, "oxt12"));
        assert(parse("{\"request\":\"device-open\",\"device\":\"vhost-net\"}", &r) == 0 && streq(helper_device_path(r.device), "/dev/vhost-net"));
        assert(parse("{\"request\":\"vm-scope\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"pid\":\"77\"}", &r) == 0 && r.pid == 77);
        assert(parse("{\"request\":\"host-info\"}", &r) == 0 && r.id == HELPER_HOST_INFO);
        assert(parse("{\"request\":\"monitor-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\"}", &r) == 0 && r.id == HELPER_MONITOR_START);
        assert(parse("{\"request\":\"vm-start\",\"uuid\":\"00000000-0000-0000-0000-000000000001\",\"weight\":\"50\",\"accel\":\"kvm\",\"pci\":\"0000:00:1b.0 0000:00:1b.1\"}", &r) == 0 &&
               r.weight == 50 && r.kvm && streq(r.pci, "0000:00:1b.0 0000:00:1b.1"));
        assert(parse("{\"request\":\"pci-release\",\"device\":\"0000:00:1b.0\"}", &r) == 0 && streq(r.pci, "0000:00:1b.0"));
        assert(parse("{\"request\":\"tap-limit\",\"tap\":\"oxt1\",\"rate\":\"1000000\"}", &r) == 0 && r.rate == 1000000);
        assert(parse("{\"request\":\"cpu-bind\",\"pid\":\"77\",\"cpus\":\"5\"}", &r) == 0 && r.cpus == 5 && r.pid == 77);
        memset(long_line, ' ', sizeof long_line);
        memcpy(long_line, "{\"request\":\"tap-create\",\"bridge\":\"b\"}", strlen("{\"request\":\"tap-create\",\"bridge\":\"b\"}"));
        long_line[sizeof long_line - 1] = '\0';
        assert(parse(long_line, &r) == -EINVAL);
        return 0;
}
