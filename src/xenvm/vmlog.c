/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmlog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "settings.h"
#include "strbuf.h"

static char *path; /* NULL: the file is not turned over */

static int open_file(const char *p)
{
        return open(p, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static bool too_large(const struct stat *st)
{
        return S_ISREG(st->st_mode) && st->st_size > setting_int(SETTING_LOG_SIZE);
}

static void turn_over(void)
{
        _cleanup_free_ char *old = strformat("%s.1", path);

        if (old)
                (void) rename(path, old);
}

int vmlog_open(const Paths *paths, const VmConfig *c, bool debug)
{
        _cleanup_free_ char *file = NULL;
        struct stat st;
        int fd;

        if (c->debug || debug)
                log_set_level(LOG_DEBUG);
        if (c->debug) {
                file = c->output[0] ? strdup(c->output) : paths_format(paths, PATH_XENVM_DEBUG, "xenvm-debug-%s", c->uuid);
                if (!c->output[0])
                        (void) mkdir_parents(paths_get(paths, PATH_XENVM_DEBUG), 0755);
        } else {
                (void) mkdir_parents(paths_get(paths, PATH_VM_LOGS), 0750);
                file = paths_format(paths, PATH_VM_LOGS, "%s.log", c->uuid);
        }
        if (!file)
                return -ENOMEM;
        if (!c->debug)
                path = strdup(file);
        if (path && stat(path, &st) == 0 && too_large(&st))
                turn_over();
        fd = open_file(file);
        return fd < 0 ? log_errno(errno, "Cannot open the log %s", file) : fd;
}

/* After whatever was logged. */
static int on_post(_unused_ sd_event_source *s, _unused_ void *userdata)
{
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (fstat(STDERR_FILENO, &st) < 0 || !too_large(&st))
                return 0;
        turn_over();
        fd = open_file(path);
        if (fd >= 0)
                (void) dup3(fd, STDERR_FILENO, 0);
        return 0;
}

int vmlog_watch(sd_event *event)
{
        return path ? sd_event_add_post(event, NULL, on_post, NULL) : 0;
}
