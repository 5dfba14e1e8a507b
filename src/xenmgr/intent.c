/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "intent.h"

#include <dirent.h>
#include <unistd.h>

#include "fs.h"
#include "parse.h"
#include "runtime.h"
#include "strbuf.h"

static const char *const names[_INTENT_MAX] = {
        [INTENT_START] = "starting",
        [INTENT_CREATE] = "creating",
        [INTENT_DISKS] = "removing",
        [INTENT_DELETE] = "deleting",
};

static char *file_of(const Paths *p, const char *uuid, Intent intent)
{
        return paths_format(p, PATH_VM, "%s/%s", uuid, names[intent]);
}

int intent_set(const Paths *p, const char *uuid, Intent intent, const char *text)
{
        _cleanup_free_ char *file = file_of(p, uuid, intent);
        int r = file ? runtime_make_vm_dir(p, uuid) : -ENOMEM;

        return r < 0 ? r : write_file_atomic(file, strempty(text), strlen(strempty(text)), 0600);
}

void intent_clear(const Paths *p, const char *uuid, Intent intent)
{
        _cleanup_free_ char *file = file_of(p, uuid, intent);

        if (file)
                (void) unlink(file);
}

bool intent_is(const Paths *p, const char *uuid, Intent intent)
{
        _cleanup_free_ char *file = file_of(p, uuid, intent);

        return file && access(file, F_OK) == 0;
}

int intent_read(const Paths *p, const char *uuid, Intent intent, char **ret)
{
        _cleanup_free_ char *file = file_of(p, uuid, intent);

        return file ? read_file(file, 1 * MIB, ret, NULL) : -ENOMEM;
}

int intent_list(const Paths *p, Intent intent, char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        DIR *d = opendir(paths_get(p, PATH_VM));
        int r = 0;

        for (struct dirent *e; d && r >= 0 && (e = readdir(d)); )
                if (uuid_valid(e->d_name) && intent_is(p, e->d_name, intent))
                        r = strv_extend(&l, e->d_name);
        if (d)
                (void) closedir(d);
        if (r >= 0)
                *ret = TAKE_PTR(l);
        return r;
}
