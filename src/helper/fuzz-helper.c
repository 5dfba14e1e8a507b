/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever a request is made of: it is refused, or everything in it is of its narrow form. */
#include <assert.h>

#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *why = NULL;
        HelperRequest r;

        if (helper_request_parse((const char *) data, size, &r, &why) < 0) {
                assert(why);
                return 0;
        }
        assert(r.id < _HELPER_REQUEST_MAX && !strchr(r.bridge, '/') && !strchr(r.tap, '/'));
        assert(r.id != HELPER_TAP_MOVE || strncmp(r.tap, "oxt", 3) == 0);
        assert(r.id != HELPER_DEVICE_OPEN || helper_device_path(r.device));
        assert(r.id != HELPER_VM_SCOPE || r.pid > 1);
        assert(r.id != HELPER_CPU_BIND || (r.pid > 1 && r.cpus != 0));
        assert(r.id != HELPER_USB_OPEN || (*r.usb && !strchr(r.usb, '/')));
        assert(strspn(r.pci, "0123456789abcdef:. ") == strlen(r.pci) && r.weight <= 10000);
        return 0;
}
