/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ovf.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "iso.h"
#include "log.h"
#include "strbuf.h"

char *ovf_environment(Vm *vm)
{
        const DbNode *all = vm_find(vm, "productproperty");
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *xml;

        strbuf_addf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\""
                        " xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\" oe:id=\"%s\">\n  <PropertySection>\n",
                    vm->uuid);
        for (const DbNode *n = dbnode_first(all); n; n = dbnode_next(n)) {
                if (!*dbnode_text(n, "key"))
                        continue;
                strbuf_add(&b, "    <Property oe:key=\"");
                strbuf_add_xml(&b, dbnode_name(n));
                strbuf_add(&b, "\" oe:value=\"");
                strbuf_add_xml(&b, dbnode_text(n, "value"));
                strbuf_add(&b, "\"/>\n");
        }
        strbuf_add(&b, "  </PropertySection>\n</Environment>\n");
        return strbuf_take(&b, &xml) < 0 ? NULL : xml;
}

char *ovf_cd_path(Vm *vm)
{
        if (!vm_bool(vm, "ovf-transport-iso", false))
                return NULL;
        return paths_format(manager_paths(vm->manager), PATH_VM, "%s/ovf-env.iso", vm->uuid);
}

typedef struct Disc {
        IsoFile files[ISO_FILES_MAX];
        size_t n;
} Disc;

static void disc_done(Disc *d)
{
        for (size_t i = 0; i < d->n; i++) {
                free((char *) d->files[i].name);
                free((void *) d->files[i].data);
        }
}

/* What cannot be on the CD is left out, and said. */
static void add_file(Disc *d, int folder, const char *folder_path, const char *name)
{
        _cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        _cleanup_free_ char *data = NULL, *copy = NULL;
        ssize_t n = -1;
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t) ISO_FILE_MAX && iso_name_valid(name) &&
            !streq(name, "ovf-env.xml") && d->n < ISO_FILES_MAX) {
                data = malloc((size_t) st.st_size + 1);
                copy = strdup(name);
                n = data ? read(fd, data, (size_t) st.st_size) : -1;
        }
        if (n < 0 || n != st.st_size || !copy) {
                log_warning("%s/%s is not on the CD: up to %d regular files of at most 1 MiB are, with names of 30 letters, digits, "
                            "'-' and '.'", folder_path, name, ISO_FILES_MAX - 1);
                return;
        }
        d->files[d->n++] = (IsoFile) { TAKE_PTR(copy), TAKE_PTR(data), (size_t) n };
}

static void add_files(Disc *d, Vm *vm)
{
        _cleanup_free_ char *path = paths_format(manager_paths(vm->manager), PATH_STORAGE, "ovffiles/%s", vm->uuid);
        DIR *folder = path ? opendir(path) : NULL;
        struct dirent *e;

        while (folder && (e = readdir(folder)))
                if (e->d_name[0] != '.')
                        add_file(d, dirfd(folder), path, e->d_name);
        if (folder)
                (void) closedir(folder);
}

int ovf_cd_check(Vm *vm, char **ret_why)
{
        _cleanup_free_ char *xml = vm_bool(vm, "ovf-transport-iso", false) ? ovf_environment(vm) : NULL;

        if (!xml || strlen(xml) <= ISO_FILE_MAX)
                return 0;
        *ret_why = strdup("The OVF environment is larger than the 1 MiB that its CD takes");
        return -EFBIG;
}

int ovf_cd_write(Vm *vm, char **ret_why)
{
        _cleanup_free_ char *path = ovf_cd_path(vm);
        _cleanup_free_ uint8_t *image = NULL;
        _cleanup_(disc_done) Disc d = { 0 };
        char *xml;
        size_t size;
        int r;

        if (!path)
                return 0;
        xml = ovf_environment(vm);
        d.files[0] = (IsoFile) { strdup("ovf-env.xml"), xml, xml ? strlen(xml) : 0 };
        d.n = 1;
        if (!xml || !d.files[0].name)
                return -ENOMEM;
        add_files(&d, vm);
        image = iso_image("OVF ENV", d.files, d.n, &size);
        r = image ? write_file_atomic(path, image, size, 0640) : -ENOMEM;
        if (r < 0)
                *ret_why = strformat("The CD with the OVF environment cannot be made: %s", strerror(-r));
        return r;
}

void ovf_cd_remove(Vm *vm)
{
        _cleanup_free_ char *path = paths_format(manager_paths(vm->manager), PATH_VM, "%s/ovf-env.iso", vm->uuid);

        if (path)
                (void) unlink(path);
}
