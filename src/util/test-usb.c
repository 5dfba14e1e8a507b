/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listing, on a folder made like the kernel's. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "usb.h"

static void put(const char *root, const char *name, const char *what, const char *text)
{
        _cleanup_free_ char *dir = path_join(root, name), *path = path_join(dir, what);

        assert(mkdir_parents(dir, 0755) >= 0 && write_file_atomic(path, text, strlen(text), 0644) >= 0);
}

static void device(const char *root, const char *name, const char *number, const char *class)
{
        put(root, name, "busnum", "1\n");
        put(root, name, "devnum", number);
        put(root, name, "idVendor", "046d\n");
        put(root, name, "idProduct", "c52b\n");
        put(root, name, "bDeviceClass", class);
}

int main(void)
{
        static const char *const bad[] = { "", "usb1", "1-", "-1", "1-2.", "1-2:1.0", "../1-2", "1-2/..", "1", "1-a" };
        char root[] = "/tmp/oxt-test-usb-XXXXXX", node[40];
        UsbDevice *l, d;
        size_t n;

        assert(mkdtemp(root));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(!usb_name_valid(bad[i]) && usb_read(root, bad[i], &d) == -EINVAL);
        assert(usb_name_valid("1-2") && usb_name_valid("10-2.3.14"));
        device(root, "1-10", "7\n", "00\n");
        device(root, "1-2.3", "6\n", "00\n");
        device(root, "1-2", "5\n", "09\n");
        device(root, "usb1", "1\n", "09\n");
        device(root, "1-4", "900\n", "00\n"); /* there is no such number */
        put(root, "1-2.3", "manufacturer", "Logi\x1b[31m\n");
        put(root, "1-2.3", "product", "Receiver\n");
        put(root, "1-2:1.0", "bInterfaceClass", "09\n");
        assert(usb_list(root, &l, &n) == 0 && n == 2);
        assert(streq(l[0].name, "1-2.3") && l[0].bus == 1 && l[0].number == 6 && l[0].vendor == 0x46d && l[0].product == 0xc52b);
        assert(streq(l[0].text, "Logi\\x1b[31m Receiver"));
        assert(streq(l[1].name, "1-10") && streq(l[1].text, ""));
        assert(streq(usb_node(&l[0], node), "/dev/bus/usb/001/006"));
        free(l);
        assert(usb_read(root, "3-1", &d) == -ENODEV);
        assert(remove_tree(root) == 0);
        assert(usb_list(root, &l, &n) == 0 && n == 0);
        free(l);
        return 0;
}
