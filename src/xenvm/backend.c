/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backend.h"

#include <dlfcn.h>

#include "log.h"
#include "paths.h"

#define XEN_MODULE "xenvm-xen.so"

/* A module, so that a host without Xen needs none of Xen's libraries. */
static const Backend *load_xen(const char **ret_why)
{
        static const Backend *loaded;
        char path[4200];
        void *module;

        if (loaded)
                return loaded;
        /* Beside the program in a build tree, in libexec where it is installed. */
        snprintf(path, sizeof path, "%s/" XEN_MODULE, programs_dir());
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!module) {
                snprintf(path, sizeof path, "%s/../libexec/oxt/" XEN_MODULE, programs_dir());
                module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
        if (!module) {
                log_debug("%s", dlerror());
                *ret_why = "the back end for Xen (" XEN_MODULE ") is not installed, or Xen's libraries are missing";
                return NULL;
        }
        loaded = dlsym(module, "backend_xen");
        if (!loaded)
                *ret_why = XEN_MODULE " is of another version";
        return loaded;
}

static const Backend *usable(const Backend *b, const char **ret_why)
{
        return b && b->available(ret_why) >= 0 ? b : NULL;
}

const Backend *backend_choose(const char *name, const char **ret_why)
{
        const char *ignored;
        const Backend *b;

        if (streq(name, "xen") || streq(name, "libxl"))
                return usable(load_xen(ret_why), ret_why);
        if (streq(name, "auto")) {
                b = usable(load_xen(&ignored), &ignored);
                if (b)
                        return b;
        }
        return usable(&backend_qemu, ret_why);
}

#define SCALED_MIN (8 * USEC_PER_SEC)

uint64_t monitor_scaled(uint64_t usec)
{
        const char *e = getenv("XENVM_TIMEOUT_SCALE");
        double factor = e ? strtod(e, NULL) : 1;

        return factor > 0 && factor <= 1 ? (uint64_t) ((double) usec * factor) : usec;
}

uint64_t backend_scaled(uint64_t usec)
{
        return MAX2(monitor_scaled(usec), MIN2(usec, SCALED_MIN));
}
