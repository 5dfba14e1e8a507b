/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-events.h"

#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

#include "cd-drives.h"
#include "log.h"
#include "uevent.h"

#define LATER_USEC USEC_PER_SEC
#define EVENTS_PER_TURN 64

static const struct {
        const char *subsystem;
        unsigned kept;                               /* what is dropped */
        void (*told)(Manager *m, const Uevent *e); /* NULL: no more than that */
} rows[] = {
        { "block", HOST_DISKS, cd_drives_block_event },
        { "net", HOST_NICS, NULL },
        { "pci", HOST_PCI | HOST_NICS, NULL },
        { "scsi", HOST_CDS, cd_drives_scsi_event },
        { "sound", HOST_SOUND, NULL },
};

static struct {
        sd_event *event;
        unsigned kept;
        unsigned late; /* what the timer drops */
        sd_event_source *uevents, *timer, *inotify;
        char *folder; /* of ISOs, while inotify watches it */
} watch;

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, _unused_ void *userdata)
{
        watch.kept &= ~watch.late;
        watch.late = 0;
        return 0;
}

static void drop_later(unsigned what)
{
        watch.late |= what;
        (void) sd_event_source_set_time_relative(watch.timer, LATER_USEC);
        (void) sd_event_source_set_enabled(watch.timer, SD_EVENT_ONESHOT);
}

static void drop(unsigned what)
{
        watch.kept &= ~what;
        drop_later(what);
}

bool host_kept(unsigned what)
{
        if (watch.kept & what)
                return true;
        watch.kept |= what;
        if (watch.event && !watch.uevents && what != HOST_ISOS && !watch.late)
                drop_later(~0U & ~HOST_ISOS);
        return false;
}

static int on_uevent(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        char buf[UEVENT_MAX];
        int r = 1;

        for (unsigned n = 0; r > 0 && n < EVENTS_PER_TURN; n++) {
                Uevent e;

                r = uevent_read(fd, buf, &e);
                for (size_t i = 0; r > 0 && i < ELEMENTSOF(rows); i++)
                        if (streq(rows[i].subsystem, e.subsystem)) {
                                log_debug("The kernel tells: %s %s", e.action, e.devpath);
                                drop(rows[i].kept);
                                if (rows[i].told)
                                        rows[i].told(userdata, &e);
                        }
        }
        if (r == -ENOBUFS)
                drop(~0U & ~HOST_ISOS);
        else if (r < 0) {
                log_warning("The kernel no longer tells of devices: %s", strerror(-r));
                watch.uevents = sd_event_source_disable_unref(watch.uevents);
                drop(~0U & ~HOST_ISOS);
        }
        return 0;
}

int host_events_start(Manager *m)
{
        _cleanup_close_ int fd = uevent_open();
        int r = fd;

        watch.event = m->event;
        if (r >= 0)
                r = sd_event_add_io(m->event, &watch.uevents, fd, EPOLLIN, on_uevent, m);
        if (r >= 0)
                r = sd_event_source_set_io_fd_own(watch.uevents, true);
        if (r >= 0)
                TAKE_FD(fd);
        else
                log_info("The kernel does not tell this process of devices (%s): the host is looked at again after a second",
                         strerror(-r));
        r = sd_event_add_time_relative(m->event, &watch.timer, CLOCK_MONOTONIC, 0, 0, on_timer, NULL);
        return r < 0 ? r : sd_event_source_set_enabled(watch.timer, SD_EVENT_OFF);
}

static void forget_folder(void)
{
        watch.kept &= ~(unsigned) HOST_ISOS;
        watch.inotify = sd_event_source_disable_unref(watch.inotify);
        free(watch.folder);
        watch.folder = NULL;
}

void host_events_end(void)
{
        watch.uevents = sd_event_source_disable_unref(watch.uevents);
        watch.timer = sd_event_source_disable_unref(watch.timer);
        forget_folder();
        watch.event = NULL;
}

static int on_folder(_unused_ sd_event_source *s, const struct inotify_event *e, _unused_ void *userdata)
{
        if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED))
                forget_folder();
        watch.kept &= ~(unsigned) HOST_ISOS;
        return 0;
}

/* What others change in it is not told here. */
bool host_folder_is_remote(const char *folder)
{
        static const unsigned types[] = { AFS_SUPER_MAGIC, CEPH_SUPER_MAGIC, CIFS_SUPER_MAGIC, FUSE_SUPER_MAGIC,
                                          NFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, SMB_SUPER_MAGIC,  V9FS_MAGIC };
        struct statfs s;

        if (statfs(folder, &s) < 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if ((unsigned) s.f_type == types[i])
                        return true;
        return false;
}

bool host_isos_watched(const char *folder)
{
        return watch.folder && streq(folder, watch.folder);
}

int host_isos_watch(const char *folder)
{
        int r;

        if (host_isos_watched(folder))
                return 0;
        forget_folder();
        r = sd_event_add_inotify(watch.event, &watch.inotify, folder,
                                 IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR, on_folder, NULL);
        if (r < 0)
                return r;
        watch.folder = strdup(folder);
        return watch.folder ? 0 : -ENOMEM;
}
