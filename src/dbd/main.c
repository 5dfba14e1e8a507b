/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dbd, the configuration database daemon: start, end, and what is on the bus. */
#include "db-client.h"
#include "fs.h"
#include "log.h"
#include "server.h"

static const BusInterface *const interfaces[] = { &db_interface, &db1_interface, &db1_host_interface, NULL };

static const BusInterface *const *find_object(_unused_ void *userdata, const char *path, void **ret_object)
{
        *ret_object = NULL;
        return streq(path, "/") ? interfaces : NULL;
}

/* rpc-proxy follows VMs' rules and properties, and does nothing else here. */
static int check_caller(Call *c, void *userdata)
{
        static const char *const reading[] = { "Watch", "Unwatch", "Snapshot" };

        if (!c->caller.proxy)
                return limit_rate(c, userdata);
        for (size_t i = 0; c->method && streq(c->interface->name, DB1_INTERFACE) && i < ELEMENTSOF(reading); i++)
                if (streq(c->method->name, reading[i]))
                        return 0;
        (void) call_fail(c, DBUS_ERROR_ACCESS_DENIED, "rpc-proxy may only read");
        return -EACCES;
}

static const ServiceSpec service = {
        .find = find_object,
        .check = check_caller,
        .serves_proxy = true,
        .bad_arguments_error = DBUS_ERROR_INVALID_SIGNATURE,
        .bad_arguments_text = "invalid arguments",
        .unknown_method_text = "no such method",
};

static int on_start(Daemon *d, void *userdata, _unused_ char *words[])
{
        _cleanup_free_ char *lock = paths_format(&d->paths, PATH_DB, STORE_LOCK);
        Server *s = userdata;

        if (!lock)
                return log_oom();
        s->daemon = d;
        s->lock_fd = lock_file(lock);
        if (s->lock_fd < 0)
                return log_errno(s->lock_fd, s->lock_fd == -EAGAIN ? "The database is in use by another dbd or by a tool: %s"
                                                                   : "Cannot lock the database with %s",
                                 lock);
        return database_open(s);
}

static int on_bus_up(_unused_ Daemon *d, void *userdata)
{
        int r = senders_follow(userdata);

        return r < 0 ? log_errno(r, "Cannot follow who leaves the bus") : 0;
}

static void on_bus_down(_unused_ Daemon *d, void *userdata)
{
        senders_clear(userdata);
}

static int on_stop(_unused_ Daemon *d, void *userdata)
{
        server_drain(userdata);
        return 1;
}

static void on_end(_unused_ Daemon *d, void *userdata)
{
        Server *s = userdata;

        if (s->writer) {
                senders_clear(s); /* nothing waits for the bus any more */
                server_drain(s);
        }
        s->writer = writer_free(s->writer);
        watches_done(s);
        s->lock_fd = safe_close(s->lock_fd);
        guests_done(s);
        free(s->set_aside);
        tree_done(&s->tree);
}

static const DaemonSpec spec = {
        .program = { .name = "dbd", .synopsis = "[OPTIONS]", .summary = "Serve the configuration database.",
                     .flags = PROGRAM_PERMUTE },
        .user = "oxt-dbd",
        .dirs = { { PATH_DB, 0700 } },
        .bus_name = DB_SERVICE,
        .service = &service,
        .service_has_guests = true,
        .start = on_start,
        .bus_up = on_bus_up,
        .bus_down = on_bus_down,
        .stop = on_stop,
        .end = on_end,
};

int main(int argc, char *argv[])
{
        Server s = { .queue_end = &s.queue, .lock_fd = -EBADF };

        return daemon_run(&spec, &s, argc, argv);
}
