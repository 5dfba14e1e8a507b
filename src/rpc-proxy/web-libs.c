/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-libs.h"

#include <dlfcn.h>

#include "log.h"

typedef struct Function {
        const char *name;
        size_t offset;
} Function;

#define ROW(f) { #f, offsetof(WebLibs, f) },

static const Function mhd[] = { WEB_MHD_FUNCTIONS(ROW) }, wslay[] = { WEB_WSLAY_FUNCTIONS(ROW) };

WebLibs libs;

static int load(const char *name, const Function *functions, size_t n)
{
        void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);

        for (size_t i = 0; handle && i < n; i++) {
                void *f = dlsym(handle, functions[i].name);

                if (!f) {
                        dlclose(handle);
                        handle = NULL;
                } else
                        memcpy((char *) &libs + functions[i].offset, &f, sizeof(f));
        }
        if (!handle) {
                log_error("WebSockets need %s: %s", name, dlerror());
                return -ENOPKG;
        }
        return 0;
}

int web_libs_load(void)
{
        static bool loaded;
        int r;

        if (loaded)
                return 0;
        r = load("libmicrohttpd.so.12", mhd, ELEMENTSOF(mhd));
        if (r >= 0)
                r = load("libwslay.so.1", wslay, ELEMENTSOF(wslay));
        loaded = r >= 0;
        return r;
}
