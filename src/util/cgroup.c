/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "parse.h"
#include "strbuf.h"

#define MOUNTS_MAX (1 * MIB)
#define OURS "oxt"

/* The folder where our groups are, or NULL. The fields of a line: proc(5). */
static char *our_folder(void)
{
        _cleanup_free_ char *text = NULL;
        char *state = NULL;

        if (read_file("/proc/self/mountinfo", MOUNTS_MAX, &text, NULL) < 0)
                return NULL;
        for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                char place[512];

                if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %511s", place) == 1)
                        return strformat("%s/" OURS, place);
        }
        return NULL;
}

static int write_text(const char *folder, const char *name, const char *text)
{
        _cleanup_free_ char *path = path_join(folder, name);
        _cleanup_close_ int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -EBADF;

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text) ? 0 : -EOPNOTSUPP;
}

/* The CPU controller must be handed down level by level. */
static void set_weight(const char *ours, const char *group, unsigned weight)
{
        _cleanup_free_ char *above = strformat("%.*s", (int) (strlen(ours) - strlen("/" OURS)), ours), *text = strformat("%u", weight);

        if (!above || !text)
                return;
        (void) write_text(above, "cgroup.subtree_control", "+cpu");
        (void) write_text(ours, "cgroup.subtree_control", "+cpu");
        (void) write_text(group, "cpu.weight", text);
}

unsigned cgroup_weight(const char *uuid)
{
        _cleanup_free_ char *ours = our_folder(), *path = ours ? strformat("%s/%s/cpu.weight", ours, uuid) : NULL, *text = NULL;
        uint64_t weight;

        return path && read_file(path, 64, &text, NULL) >= 0 && parse_u64(strstrip(text), &weight) >= 0 ? (unsigned) weight
                                                                                                        : CGROUP_WEIGHT_NONE;
}

int cgroup_make(const char *uuid, unsigned weight)
{
        _cleanup_free_ char *ours = our_folder(), *group = ours ? strformat("%s/%s", ours, uuid) : NULL;
        int fd = -EBADF;

        if (!group)
                return -EOPNOTSUPP;
        /* Another stack may take the empty folder away between the two. */
        for (unsigned i = 0; i < 3 && fd < 0; i++) {
                (void) mkdir(ours, 0755);
                (void) mkdir(group, 0755);
                fd = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        if (fd < 0)
                return -EOPNOTSUPP;
        if (weight != CGROUP_WEIGHT_NONE)
                set_weight(ours, group, weight);
        return fd;
}

void cgroup_remove(const char *uuid)
{
        _cleanup_free_ char *ours = our_folder(), *group = ours ? strformat("%s/%s", ours, uuid) : NULL;

        if (group && rmdir(group) >= 0)
                (void) rmdir(ours);
}

void cgroup_sweep(void)
{
        _cleanup_free_ char *ours = our_folder();
        DIR *d = ours ? opendir(ours) : NULL;

        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
                if (uuid_valid(e->d_name))
                        (void) unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        if (d) {
                closedir(d);
                (void) rmdir(ours);
        }
}
