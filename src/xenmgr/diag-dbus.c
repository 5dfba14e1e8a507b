/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* .xenmgr.diag: guests send diagnostics as hexadecimal texts, which become files of one folder. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "parse.h"
#include "root-dbus.h"
#include "strbuf.h"
#include "vm.h"

#define DIAG_FILES_MAX 64
#define DIAG_BYTES_MAX (16 * MIB)

static struct {
        char *dir;
        unsigned count, expected;
        Call *call;
        sd_event_source *timer;
} gathering;

static void gather_end(void)
{
        gathering.timer = sd_event_source_disable_unref(gathering.timer);
        (void) call_reply(gathering.call, "s", gathering.dir);
        gathering.call = call_unref(gathering.call);
        free(TAKE_PTR(gathering.dir));
}

static int on_timeout(_unused_ sd_event_source *s, _unused_ uint64_t usec, _unused_ void *userdata)
{
        gather_end();
        return 0;
}

static int method_save(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_free_ char *dir = NULL;
        unsigned running = 0;
        const char *mode;
        char uuid[37];
        int r;

        if (refuse_guest_but_ui(c, "Diagnostics"))
                return 0;
        r = sd_bus_message_read(c->message, "s", &mode);
        if (r < 0)
                return r;
        if (gathering.dir)
                return call_fail(c, DBUS_ERROR_FAILED, "Diagnostics are being gathered already");
        dir = uuid_random(uuid) ? strformat("/tmp/sr-xcdiag-%s", uuid) : NULL;
        if (!dir)
                return -EIO;
        if (mkdir(dir, 0700) < 0)
                return call_fail_code(c, ERROR_IO, strerror(errno));
        for (size_t i = 0; i < m->n_vms; i++)
                running += vm_is_running(m->vms[i]) && !vm_is_service(m->vms[i]) &&
                           vm_bool(m->vms[i], "pv-addons-installed", false);
        if (running == 0)
                return call_reply(c, "s", dir);
        r = sd_event_add_time_relative(m->event, &gathering.timer, CLOCK_MONOTONIC,
                                       (uint64_t) MAX2(db_int(m, "/xenmgr/xc-diag-timeout", 180), (int64_t) 1) *
                                               USEC_PER_SEC,
                                       0, on_timeout, NULL);
        if (r < 0)
                return r;
        gathering.dir = TAKE_PTR(dir);
        gathering.count = 0;
        gathering.expected = running;
        gathering.call = call_ref(c);
        (void) service_emit(m->daemon->service, "/", XENMGR_INTERFACE ".diag", "gather_request", "s", mode);
        return 0;
}

static int hex_value(char ch)
{
        return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

static int method_gather(Call *c)
{
        _cleanup_free_ char *path = NULL, *bytes = NULL;
        const char *untrusted_name, *untrusted_data;
        size_t n;
        int r, fd;

        r = sd_bus_message_read(c->message, "ss", &untrusted_name, &untrusted_data);
        if (r < 0)
                return r;
        if (!gathering.dir)
                return call_fail_code(c, ERROR_NOT_GATHERING, NULL);
        n = strlen(untrusted_data);
        if (strchr(untrusted_name, '/') || untrusted_name[0] == '.' || !*untrusted_name ||
            strlen(untrusted_name) > 128 || n % 2 || n / 2 > DIAG_BYTES_MAX || gathering.count >= DIAG_FILES_MAX)
                return call_fail(c, DBUS_ERROR_FAILED,
                                 "A file name without path, and data in hexadecimal digits, are taken");
        bytes = malloc(n / 2 + 1);
        path = path_join(gathering.dir, untrusted_name);
        if (!bytes || !path)
                return -ENOMEM;
        for (size_t i = 0; i < n / 2; i++) {
                int high = hex_value(untrusted_data[2 * i]), low = hex_value(untrusted_data[2 * i + 1]);

                if (high < 0 || low < 0)
                        return call_fail(c, DBUS_ERROR_FAILED, "The data are not hexadecimal digits");
                bytes[i] = (char) (high << 4 | low);
        }
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, bytes, n / 2) != (ssize_t) (n / 2)) {
                safe_close(fd);
                return call_fail_code(c, ERROR_IO, strerror(errno));
        }
        safe_close(fd);
        if (++gathering.count >= gathering.expected)
                gather_end();
        return 1;
}

/* Tools of the old distribution that this host does not have. */
static int method_missing_tool(Call *c)
{
        return refuse_guest_but_ui(c, "Diagnostics") ? 0 : call_fail_code(c, ERROR_IO, c->method->data);
}

/* What is to be sent is looked for first. */
static int method_upload(Call *c)
{
        _cleanup_free_ char *file = NULL;
        const char *user, *password, *id, *name;
        int r;

        if (refuse_guest_but_ui(c, "Diagnostics"))
                return 0;
        r = sd_bus_message_read(c->message, "ssss", &user, &password, &id, &name);
        if (r < 0)
                return r;
        file = paths_map(manager_paths(c->userdata), name);
        if (!file)
                return -ENOMEM;
        return access(file, F_OK) < 0 ? call_fail_code(c, ERROR_FILE_MISSING, name) : method_missing_tool(c);
}

#define NO_UPLOAD "the tool status-upload is not installed"

static const BusMethod diag_methods[] = {
        { "create_status_report", "bbssss", "screenshots guest_info summary description repro_steps ticket", "s",
          "file", method_status_report, NULL },
        { "gather", "ss", "name data_", "", "", method_gather, NULL },
        { "save", "s", "mode", "s", "dir", method_save, NULL },
        { "status_report_screen", "b", "show", "", "", method_missing_tool, "no VM shows status reports" },
        { "taas_agree_terms", "sss", "username password version", "b", "result", method_missing_tool, NO_UPLOAD },
        { "taas_authenticate_credentials", "ss", "username password", "as", "result", method_missing_tool, NO_UPLOAD },
        { "taas_upload", "ssss", "username password caseid filename", "b", "result", method_upload, NO_UPLOAD },
        { 0 }
};
static const BusSignal diag_signals[] = { { "gather_request", "s", "mode" }, { 0 } };

const BusInterface diag_interface = { .name = XENMGR_INTERFACE ".diag",
                                      .methods = diag_methods,
                                      .signals = diag_signals };
