/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "runtime.h"
#include "strbuf.h"

#define UUID "00000000-0000-0000-0000-000000000007"

static void check_monitor_record(const Paths *p)
{
        MonitorRecord a = { .uuid = UUID, .name = (char *) "a \"name\"", .backend = (char *) "qemu", .domid = 12,
                            .state = (char *) "running", .details = (char *) "{\"x\":1}",
                            .memory_target_kib = 3, .memory_actual_kib = 5 }, b;
        char **l;

        a.monitor.pid = getpid();
        assert(process_start_time(getpid(), &a.monitor.start) == 0);
        assert(monitor_record_read(p, UUID, &b) == -ENOENT);
        assert(runtime_make_vm_dir(p, UUID) == 0);
        assert(monitor_record_write(p, &a) == 0);
        assert(monitor_record_read(p, UUID, &b) == 0);
        assert(streq(b.name, a.name) && b.domid == 12 && streq(b.state, "running") && !b.intent && !b.config);
        assert(b.memory_target_kib == 3 && b.memory_actual_kib == 5);
        assert(streq(b.details, "{\"x\":1}"));
        assert(b.monitor.pid == getpid() && b.monitor.start == a.monitor.start && b.vm.pid == 0);
        monitor_record_done(&b);
        assert(monitor_record_list(p, &l) == 0 && strv_length(l) == 1 && streq(l[0], UUID));
        strv_free(l);
        assert(monitor_record_remove(p, UUID) == 0 && monitor_record_remove(p, UUID) == 0);
        assert(monitor_record_list(p, &l) == 0 && strv_length(l) == 0);
}

static void check_channel_record(const Paths *p)
{
        ChannelRecord a = { .uuid = UUID, .domid = 3, .cid = 77, .socket = (char *) "/x/rpc.sock", .start = (char *) "00ff" }, b;
        _cleanup_free_ char *path = paths_format(p, PATH_CHANNELS, UUID ".json");
        char uuid[37];

        assert(channel_record_write(p, &a) == 0);
        assert(channel_record_read(p, UUID, &b) == 0);
        assert(b.domid == 3 && b.cid == 77 && !b.stubdom && streq(b.socket, "/x/rpc.sock") && streq(b.start, "00ff"));
        channel_record_done(&b);
        assert(channel_record_uuid(UUID ".json", uuid) && streq(uuid, UUID));
        assert(!channel_record_uuid(UUID ".json.17", uuid));
        /* A damaged record, or one of a later version, is refused. */
        assert(write_file_atomic(path, "{\"version\":2}", 13, 0644) == 0);
        assert(channel_record_read(p, UUID, &b) == -EBADMSG);
        assert(channel_record_remove(p, UUID) == 0);
        assert(channel_record_read(p, UUID, &b) == -ENOENT);
}

int main(void)
{
        char dir[] = "/tmp/test-runtime-XXXXXX";
        _cleanup_free_ char *command = NULL;
        Paths p;

        assert(mkdtemp(dir));
        assert(paths_init(&p, dir, dir, "private") == 0);
        check_monitor_record(&p);
        check_channel_record(&p);
        paths_done(&p);
        command = strformat("rm -r %s", dir);
        assert(command && system(command) == 0);
        return 0;
}
