/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfio.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "strbuf.h"

#define DRIVER "vfio-pci"
#define BOUND_TRIES 100

bool pci_name_valid(const char *name)
{
        static const char form[] = "xxxx:xx:xx.f";

        for (size_t i = 0; i < sizeof form; i++) {
                const char *accepted = form[i] == 'x' ? "0123456789abcdef" : "01234567";

                if (form[i] == 'x' || form[i] == 'f' ? !name[i] || !strchr(accepted, name[i]) : name[i] != form[i])
                        return false;
        }
        return true;
}

/* The last part of where a link of the device leads to; false: there is none. */
static bool device_link(const char *root, const char *device, const char *link, char buf[static 64])
{
        _cleanup_free_ char *path = strformat("%s/sys/bus/pci/devices/%s/%s", root, device, link);
        char target[PATH_MAX];
        const char *slash;
        ssize_t n = path ? readlink(path, target, sizeof target - 1) : -1;

        if (n <= 0)
                return false;
        target[n] = '\0';
        slash = strrchr(target, '/');
        return snprintf(buf, 64, "%s", slash ? slash + 1 : target) < 64;
}

static int tell(const char *root, const char *device, const char *file, const char *text)
{
        _cleanup_free_ char *path = device ? strformat("%s/sys/bus/pci/devices/%s/%s", root, device, file)
                                           : strformat("%s/sys/bus/pci/%s", root, file);
        _cleanup_close_ int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -EBADF;

        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) == (ssize_t) strlen(text) ? 0 : -EIO;
}

/* Takes it from who has it, and has the kernel look for a driver anew: for the one named, or "\n": any. */
static int move(const char *root, const char *device, const char *driver)
{
        char now[64];
        int r = tell(root, device, "driver_override", driver);

        if (r >= 0 && device_link(root, device, "driver", now))
                r = tell(root, device, "driver/unbind", device);
        return r < 0 ? r : tell(root, NULL, "drivers_probe", device);
}

bool vfio_host_can(const char *root)
{
        _cleanup_free_ char *path = strformat("%s/sys/kernel/iommu_groups", root);
        DIR *dir = path ? opendir(path) : NULL;
        struct dirent *e;
        bool can = false;

        while (dir && !can && (e = readdir(dir)))
                can = e->d_name[0] != '.';
        if (dir)
                (void) closedir(dir);
        return can;
}

bool vfio_is_bound(const char *root, const char *device)
{
        char driver[64];

        return device_link(root, device, "driver", driver) && streq(driver, DRIVER);
}

/* The kernel has it done when the probe was written, but for drivers that it loads first. */
static bool comes_to_be_bound(const char *root, const char *device)
{
        for (unsigned i = 0; i < BOUND_TRIES; i++) {
                if (vfio_is_bound(root, device))
                        return true;
                (void) usleep(10 * USEC_PER_MSEC);
        }
        return false;
}

int vfio_bind(const char *root, const char *device, const char **ret_why)
{
        char group[64];

        *ret_why = "the host has no IOMMU, or no such PCI device";
        if (!device_link(root, device, "iommu_group", group))
                return -EOPNOTSUPP;
        if (vfio_is_bound(root, device))
                return 0;
        if (move(root, device, DRIVER) >= 0 && comes_to_be_bound(root, device))
                return 1;
        (void) move(root, device, "\n");
        *ret_why = "the kernel does not give the device to vfio-pci (is the module there?)";
        return -EIO;
}

static char *group_node(const char *root, const char *device)
{
        char group[64];

        if (!device_link(root, device, "iommu_group", group) || group[strspn(group, "0123456789")])
                return NULL;
        return strformat("%s/dev/vfio/%s", root, group);
}

int vfio_release(const char *root, const char *device, const char **ret_why)
{
        _cleanup_free_ char *node = group_node(root, device);
        _cleanup_close_ int fd = -EBADF;

        *ret_why = "the device is not one that vfio-pci has";
        if (!vfio_is_bound(root, device))
                return -ENOENT;
        /* A group opens once: to take a device from a VM that has it would stop us until that ends. */
        fd = node ? open(node, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -EBADF;
        *ret_why = "a VM has the device";
        if (node && fd < 0 && errno == EBUSY)
                return -EBUSY;
        fd = safe_close(fd);
        *ret_why = "the device's group cannot be taken back";
        if (node && lchown(node, 0, 0) < 0 && errno != ENOENT)
                return -errno;
        *ret_why = "the kernel does not take the device back";
        return move(root, device, "\n");
}

int vfio_give(const char *root, const char *device, uid_t uid, const char **ret_why)
{
        _cleanup_free_ char *node = group_node(root, device);
        struct stat st;

        *ret_why = "the PCI device has no group that could be opened (no IOMMU, or not vfio-pci's)";
        if (!node || lstat(node, &st) < 0 || S_ISLNK(st.st_mode))
                return -ENODEV;
        return lchown(node, uid, 0) < 0 || chmod(node, 0600) < 0 ? -errno : 0;
}
