/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* On a tree that is like sysfs, where a thread does what the kernel would. */
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "strbuf.h"
#include "vfio.h"

#define DEVICE "0000:00:1b.0"
#define OF_DEVICE "/sys/bus/pci/devices/" DEVICE "/"
#define PROBE "/sys/bus/pci/drivers_probe"

static char root[] = "/tmp/oxt-vfio-XXXXXX";
static atomic_bool has_vfio;

static char *below(const char *path)
{
        char *p = strformat("%s%s", root, path);

        assert(p);
        return p;
}

static void put(const char *path, const char *text)
{
        _cleanup_free_ char *p = below(path);

        assert(write_file_atomic(p, text, strlen(text), 0600) == 0);
}

static char *get(const char *path)
{
        _cleanup_free_ char *p = below(path);
        char *text;

        assert(read_file(p, 4096, &text, NULL) == 0);
        return text;
}

static void link_driver(const char *name)
{
        _cleanup_free_ char *p = below(OF_DEVICE "driver"), *new = below(OF_DEVICE "driver.new"),
                            *target = strformat("%s/sys/bus/pci/drivers/%s", root, name);

        assert(target && symlink(target, new) == 0 && rename(new, p) == 0);
}

/* The kernel: a probe gives the device to the driver that is asked for, if there is one. The file is a FIFO, so that it is noticed. */
static void *kernel(_unused_ void *arg)
{
        _cleanup_free_ char *p = below(PROBE);
        _cleanup_close_ int fd = open(p, O_RDWR | O_CLOEXEC);

        for (;;) {
                _cleanup_free_ char *wanted = NULL;
                char name[64] = "";

                if (read(fd, name, strlen(DEVICE)) <= 0 || streq(name, "end"))
                        return NULL;
                assert(streq(name, DEVICE));
                wanted = get(OF_DEVICE "driver_override");
                link_driver(startswith(wanted, "vfio-pci") && has_vfio ? "vfio-pci" : "e1000e");
        }
}

int main(void)
{
        static const char *const folders[] = {
                ("/sys/bus/pci/devices/" DEVICE), "/sys/bus/pci/drivers/e1000e", "/sys/bus/pci/drivers/vfio-pci", "/dev/vfio"
        };
        static const char *const bad[] = { "", "0000:00:1b", "0000:00:1b.8", "0000:00:1B.0", "0000:00:1b.0/", "../../etc/pw.0", "0000:00:1b.00" };
        _cleanup_free_ char *text = NULL, *group = NULL, *probe = NULL, *node = NULL, *unbound = NULL, *groups = NULL;
        pthread_t thread;
        struct stat st;
        int fd;
        const char *why = NULL;

        assert(pci_name_valid(DEVICE));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert(!pci_name_valid(bad[i]));
        assert(mkdtemp(root));
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_free_ char *p = below(folders[i]);

                assert(mkdir_parents(p, 0700) == 0);
        }
        put("/sys/bus/pci/devices/" DEVICE "/driver_override", "(null)\n");
        probe = below(PROBE);
        assert(mkfifo(probe, 0600) == 0 && pthread_create(&thread, NULL, kernel, NULL) == 0);
        put("/sys/bus/pci/drivers/e1000e/unbind", "");
        put("/sys/bus/pci/drivers/vfio-pci/unbind", "");
        put("/dev/vfio/7", "");
        link_driver("e1000e");

        /* No IOMMU. */
        assert(!vfio_host_can(root));
        assert(vfio_bind(root, DEVICE, &why) == -EOPNOTSUPP && strstr(why, "IOMMU"));
        group = below("/sys/bus/pci/devices/" DEVICE "/iommu_group");
        assert(symlink("../../../../kernel/iommu_groups/7", group) == 0);
        groups = below("/sys/kernel/iommu_groups/7");
        assert(mkdir_parents(groups, 0700) == 0 && vfio_host_can(root));
        assert(vfio_bind(root, "0000:00:1c.0", &why) == -EOPNOTSUPP);

        /* A kernel that has no such driver: the device goes back to its own. */
        assert(vfio_bind(root, DEVICE, &why) == -EIO && strstr(why, "vfio-pci"));
        text = get(OF_DEVICE "driver_override");
        assert(startswith(text, "\n"));
        assert(vfio_release(root, DEVICE, &why) == -ENOENT);

        has_vfio = true;
        assert(vfio_bind(root, DEVICE, &why) == 1 && vfio_is_bound(root, DEVICE));
        unbound = get("/sys/bus/pci/drivers/e1000e/unbind");
        assert(streq(unbound, DEVICE)); /* its driver was told to let go */
        assert(vfio_bind(root, DEVICE, &why) == 0);
        node = below("/dev/vfio/7");
        if (geteuid() == 0)
                assert(vfio_give(root, DEVICE, 12345, &why) == 0 && stat(node, &st) == 0 && st.st_uid == 12345 && (st.st_mode & 0777) == 0600);
        else
                assert(unlink(node) == 0); /* only root can take it back */
        assert(vfio_release(root, DEVICE, &why) == 0);
        assert(geteuid() != 0 || (stat(node, &st) == 0 && st.st_uid == 0));
        for (unsigned i = 0; i < 1000 && vfio_is_bound(root, DEVICE); i++)
                (void) usleep(10000);
        assert(!vfio_is_bound(root, DEVICE));

        fd = open(probe, O_WRONLY);
        assert(fd >= 0 && write(fd, "end\0\0\0\0\0\0\0\0", strlen(DEVICE)) == (ssize_t) strlen(DEVICE));
        assert(pthread_join(thread, NULL) == 0);
        safe_close(fd);
        return remove_tree(root) < 0;
}
