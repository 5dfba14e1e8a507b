/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "usb.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "log.h"
#include "strbuf.h"

#define DEVICES_MAX 1024

bool usb_name_valid(const char *name)
{
        size_t digits = strspn(name, "0123456789");
        const char *p = name + digits;

        if (digits == 0 || *p++ != '-' || strlen(name) >= sizeof ((UsbDevice *) NULL)->name)
                return false;
        for (;;) {
                digits = strspn(p, "0123456789");
                if (digits == 0)
                        return false;
                p += digits;
                if (!*p)
                        return true;
                if (*p++ != '.')
                        return false;
        }
}

/* One attribute without its end of line, to free; NULL if there is none. */
static char *attribute(const char *sysfs, const char *name, const char *which)
{
        _cleanup_free_ char *path = strformat("%s/%s/%s", sysfs, name, which);
        char *text;

        if (!path || read_file(path, 4096, &text, NULL) < 0)
                return NULL;
        text[strcspn(text, "\n")] = '\0';
        return text;
}

static int number(const char *sysfs, const char *name, const char *which, int base, unsigned max, unsigned *ret)
{
        _cleanup_free_ char *text = attribute(sysfs, name, which);
        unsigned long n;
        char *end;

        if (!text || !*text)
                return -ENODEV;
        n = strtoul(text, &end, base);
        if (*end || n > max)
                return -ENODEV;
        *ret = (unsigned) n;
        return 0;
}

int usb_read(const char *sysfs, const char *name, UsbDevice *ret)
{
        _cleanup_free_ char *maker = NULL, *product = NULL, *untrusted_text = NULL, *class = NULL;
        UsbDevice d = { 0 };

        if (!usb_name_valid(name))
                return -EINVAL;
        snprintf(d.name, sizeof d.name, "%s", name);
        if (number(sysfs, name, "busnum", 10, 999, &d.bus) < 0 || number(sysfs, name, "devnum", 10, 127, &d.number) < 0 ||
            number(sysfs, name, "idVendor", 16, 0xffff, &d.vendor) < 0 ||
            number(sysfs, name, "idProduct", 16, 0xffff, &d.product) < 0)
                return -ENODEV;
        class = attribute(sysfs, name, "bDeviceClass");
        d.hub = class && streq(class, "09");
        maker = attribute(sysfs, name, "manufacturer");
        product = attribute(sysfs, name, "product");
        untrusted_text = strformat("%s%s%s", strempty(maker), maker && product ? " " : "", strempty(product));
        if (!untrusted_text)
                return -ENOMEM;
        log_untrusted(d.text, sizeof d.text, untrusted_text);
        *ret = d;
        return 0;
}

static int compare(const void *a, const void *b)
{
        return strverscmp(((const UsbDevice *) a)->name, ((const UsbDevice *) b)->name);
}

int usb_list(const char *sysfs, UsbDevice **ret, size_t *ret_n)
{
        _cleanup_free_ UsbDevice *l = NULL;
        DIR *dir = opendir(sysfs);
        size_t n = 0;
        int r = dir || errno == ENOENT ? 0 : -errno; /* a host without USB has no such folder */

        for (struct dirent *e; r >= 0 && dir && n < DEVICES_MAX && (e = readdir(dir));) {
                UsbDevice *more, d;

                if (usb_read(sysfs, e->d_name, &d) < 0 || d.hub)
                        continue;
                more = realloc(l, (n + 1) * sizeof *l);
                if (!more) {
                        r = -ENOMEM;
                        break;
                }
                l = more;
                l[n++] = d;
        }
        if (dir)
                closedir(dir);
        if (r < 0)
                return r;
        if (n > 0)
                qsort(l, n, sizeof *l, compare);
        *ret = TAKE_PTR(l);
        *ret_n = n;
        return 0;
}

const char *usb_node(const UsbDevice *d, char buf[static 40])
{
        snprintf(buf, 40, "/dev/bus/usb/%03u/%03u", d->bus, d->number);
        return buf;
}
