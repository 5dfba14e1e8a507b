/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "json.h"
#include "parse.h"
#include "strbuf.h"

#define RECORD_MAX (64 * KIB)

/* Rename alone makes the change whole; durability against a crash of the host is not wanted, and fsync is slow. */
static int replace_file(const char *path, json_object *o, mode_t mode)
{
        _cleanup_free_ char *tmp = strformat("%s.%d", path, (int) getpid());
        _cleanup_fclose_ FILE *f = NULL;
        int r = 0;

        if (!tmp)
                return -ENOMEM;
        f = fopen(tmp, "we");
        if (!f)
                return -errno;
        if (fchmod(fileno(f), mode) < 0 ||
            fprintf(f, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) < 0 ||
            fflush(f) != 0 || rename(tmp, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(tmp);
        return r;
}

static void add_text(json_object *o, const char *name, const char *value)
{
        if (value)
                json_object_object_add(o, name, json_object_new_string(value));
}

static void add_int(json_object *o, const char *name, int64_t value)
{
        json_object_object_add(o, name, json_object_new_int64(value));
}

static void add_process(json_object *o, const char *name, const ProcessRef *p)
{
        json_object *member = json_object_new_object();

        if (p->pid <= 0) {
                json_object_put(member);
                return;
        }
        add_int(member, "pid", p->pid);
        add_int(member, "start", (int64_t) p->start);
        json_object_object_add(o, name, member);
}

static void get_process(json_object *o, const char *name, ProcessRef *ret)
{
        json_object *member = json_get_member(o, name, json_type_object);

        *ret = (ProcessRef) { 0 };
        if (!member)
                return;
        ret->pid = (pid_t) json_get_int(member, "pid", 0);
        ret->start = (uint64_t) json_get_int(member, "start", 0);
}

static int get_text(json_object *o, const char *name, char **ret)
{
        const char *v = json_get_text(o, name, NULL);

        *ret = v ? strdup(v) : NULL;
        return v && !*ret ? -ENOMEM : 0;
}

/* id: PATH_VM for a MonitorRecord, PATH_CHANNELS for a ChannelRecord. */
static char *record_path(const Paths *p, PathId id, const char *uuid)
{
        return paths_format(p, id, "%s%s", uuid, id == PATH_VM ? "/monitor.json" : ".json");
}

static int read_record(const Paths *p, PathId id, const char *uuid, json_object **ret)
{
        _cleanup_free_ char *path = record_path(p, id, uuid);
        _cleanup_json_ json_object *o = NULL;
        int r = path ? json_read_file(path, RECORD_MAX, 8, &o) : -ENOMEM;

        if (r < 0)
                return r;
        if (!json_object_is_type(o, json_type_object) || json_get_int(o, "version", 0) != RUNTIME_VERSION ||
            !streq(json_get_text(o, "uuid", ""), uuid))
                return -EBADMSG;
        *ret = TAKE_PTR(o);
        return 0;
}

static int remove_record(const Paths *p, PathId id, const char *uuid)
{
        _cleanup_free_ char *path = record_path(p, id, uuid);

        if (!path)
                return -ENOMEM;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static json_object *new_record(const char *uuid)
{
        json_object *o = json_object_new_object();

        if (o) {
                add_int(o, "version", RUNTIME_VERSION);
                add_text(o, "uuid", uuid);
        }
        return o;
}

/*
 * rpc-proxy connects to guests, as a user of its own where root started the stack: its group is let in, if we may do that.
 * A user namespace need not have it.
 */
static int let_proxy_in(const char *path, mode_t mode)
{
        const struct group *g = getgrnam("oxt-proxy");

        if (!g || (geteuid() != 0 && !group_member(g->gr_gid)))
                return 0;
        if (lchown(path, (uid_t) -1, g->gr_gid) < 0)
                return errno == EINVAL ? 0 : -errno;
        return chmod(path, mode) < 0 ? -errno : 0;
}

int runtime_make_vm_dir(const Paths *p, const char *uuid)
{
        _cleanup_free_ char *dir = paths_format(p, PATH_VM, "%s", uuid);
        struct stat st;
        int r;

        if (!dir)
                return -ENOMEM;
        r = mkdir_parents(paths_get(p, PATH_VM), 0755);
        if (r >= 0)
                r = mkdir_parents(dir, 0700);
        if (r < 0)
                return r;
        if (lstat(dir, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) && st.st_uid == geteuid() ? let_proxy_in(dir, 0710) : 0;
}

int monitor_record_write(const Paths *p, const MonitorRecord *rec)
{
        _cleanup_free_ char *path = record_path(p, PATH_VM, rec->uuid);
        _cleanup_json_ json_object *o = new_record(rec->uuid);
        json_object *details = NULL;

        if (!path || !o)
                return -ENOMEM;
        add_text(o, "name", rec->name);
        add_text(o, "backend", rec->backend);
        add_text(o, "state", rec->state);
        add_text(o, "intent", rec->intent);
        add_text(o, "config", rec->config);
        add_text(o, "start", rec->start);
        add_text(o, "saving", rec->saving);
        add_text(o, "timeline", rec->timeline);
        add_int(o, "domid", rec->domid);
        add_int(o, "acpi_state", rec->acpi_state);
        add_int(o, "memory_target_kib", rec->memory_target_kib);
        add_int(o, "memory_actual_kib", rec->memory_actual_kib);
        add_int(o, "serial_restarts", rec->serial_restarts);
        add_process(o, "monitor", &rec->monitor);
        add_process(o, "vm", &rec->vm);
        if (rec->details && json_parse(rec->details, strlen(rec->details), 8, &details) >= 0)
                json_object_object_add(o, "details", details);
        return replace_file(path, o, 0644);
}

int monitor_record_read(const Paths *p, const char *uuid, MonitorRecord *ret)
{
        _cleanup_(monitor_record_done) MonitorRecord rec = { 0 };
        _cleanup_json_ json_object *o = NULL;
        json_object *details;
        int r;

        r = read_record(p, PATH_VM, uuid, &o);
        if (r < 0)
                return r;
        snprintf(rec.uuid, sizeof rec.uuid, "%s", uuid);
        rec.domid = json_get_int(o, "domid", -1);
        rec.acpi_state = json_get_int(o, "acpi_state", 5);
        rec.memory_target_kib = json_get_int(o, "memory_target_kib", 0);
        rec.memory_actual_kib = json_get_int(o, "memory_actual_kib", 0);
        rec.serial_restarts = json_get_int(o, "serial_restarts", 0);
        get_process(o, "monitor", &rec.monitor);
        get_process(o, "vm", &rec.vm);
        if (get_text(o, "name", &rec.name) < 0 || get_text(o, "backend", &rec.backend) < 0 ||
            get_text(o, "state", &rec.state) < 0 || get_text(o, "intent", &rec.intent) < 0 ||
            get_text(o, "config", &rec.config) < 0 || get_text(o, "start", &rec.start) < 0 ||
            get_text(o, "saving", &rec.saving) < 0 || get_text(o, "timeline", &rec.timeline) < 0)
                return -ENOMEM;
        details = json_get_member(o, "details", json_type_object);
        if (details) {
                rec.details = strdup(json_object_to_json_string_ext(details, JSON_C_TO_STRING_PLAIN));
                if (!rec.details)
                        return -ENOMEM;
        }
        *ret = rec;
        rec = (MonitorRecord) { 0 };
        return 0;
}

int monitor_record_remove(const Paths *p, const char *uuid)
{
        return remove_record(p, PATH_VM, uuid);
}

void monitor_record_done(MonitorRecord *r)
{
        free(r->name);
        free(r->backend);
        free(r->state);
        free(r->intent);
        free(r->config);
        free(r->start);
        free(r->saving);
        free(r->timeline);
        free(r->details);
        *r = (MonitorRecord) { 0 };
}

int channel_listen(const char *vm_dir)
{
        _cleanup_free_ char *path = path_join(vm_dir, "rpc.sock");
        _cleanup_close_ int fd = path ? unix_listen(path, 0600) : -ENOMEM;
        int r;

        if (fd < 0)
                return fd;
        r = let_proxy_in(path, 0660);
        return r < 0 ? r : TAKE_FD(fd);
}

int channel_record_write(const Paths *p, const ChannelRecord *rec)
{
        _cleanup_free_ char *path = record_path(p, PATH_CHANNELS, rec->uuid);
        _cleanup_json_ json_object *o = new_record(rec->uuid);
        int r;

        if (!path || !o)
                return -ENOMEM;
        add_int(o, "domid", rec->domid);
        if (rec->cid > 0)
                add_int(o, "cid", rec->cid);
        json_object_object_add(o, "stubdom", json_object_new_boolean(rec->stubdom));
        add_text(o, "socket", rec->socket);
        add_text(o, "start", rec->start);
        r = mkdir_parents(paths_get(p, PATH_CHANNELS), 0755);
        return r < 0 ? r : replace_file(path, o, 0644);
}

int channel_record_read(const Paths *p, const char *uuid, ChannelRecord *ret)
{
        _cleanup_(channel_record_done) ChannelRecord rec = { 0 };
        _cleanup_json_ json_object *o = NULL;
        int r;

        r = read_record(p, PATH_CHANNELS, uuid, &o);
        if (r < 0)
                return r;
        if (json_get_int(o, "domid", -1) < 1 || !json_get_text(o, "socket", NULL) || !json_get_text(o, "start", NULL) ||
            json_get_int(o, "cid", 0) < 0)
                return -EBADMSG;
        snprintf(rec.uuid, sizeof rec.uuid, "%s", uuid);
        rec.domid = json_get_int(o, "domid", -1);
        rec.cid = json_get_int(o, "cid", 0);
        rec.stubdom = json_get_bool(o, "stubdom", false);
        if (get_text(o, "socket", &rec.socket) < 0 || get_text(o, "start", &rec.start) < 0)
                return -ENOMEM;
        *ret = rec;
        rec = (ChannelRecord) { 0 };
        return 0;
}

int channel_record_remove(const Paths *p, const char *uuid)
{
        return remove_record(p, PATH_CHANNELS, uuid);
}

void channel_record_done(ChannelRecord *r)
{
        free(r->socket);
        free(r->start);
        *r = (ChannelRecord) { 0 };
}

char *channel_record_uuid(const char *file_name, char buf[static 37])
{
        if (strlen(file_name) != 41 || !streq(file_name + 36, ".json"))
                return NULL;
        memcpy(buf, file_name, 36);
        buf[36] = '\0';
        return uuid_valid(buf) ? buf : NULL;
}

static int compare_texts(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int list_uuids(const char *dir, char *(*take)(const char *dir, const char *name, char buf[static 37]), char ***ret)
{
        _cleanup_strv_ char **l = NULL;
        DIR *d = opendir(dir);
        int r = 0;

        if (!d && errno != ENOENT)
                return -errno;
        for (struct dirent *e = d ? readdir(d) : NULL; e && r >= 0; e = readdir(d)) {
                char uuid[37];

                if (take(dir, e->d_name, uuid))
                        r = strv_extend(&l, uuid);
        }
        if (d)
                closedir(d);
        if (r < 0)
                return r;
        if (l)
                qsort(l, strv_length(l), sizeof *l, compare_texts);
        *ret = TAKE_PTR(l);
        return 0;
}

static char *take_monitor(const char *dir, const char *name, char buf[static 37])
{
        _cleanup_free_ char *path = NULL;

        if (!uuid_valid(name))
                return NULL;
        path = strformat("%s/%s/monitor.json", dir, name);
        if (!path || access(path, F_OK) < 0)
                return NULL;
        return strcpy(buf, name);
}

static char *take_channel(_unused_ const char *dir, const char *name, char buf[static 37])
{
        return channel_record_uuid(name, buf);
}

int monitor_record_list(const Paths *p, char ***ret)
{
        return list_uuids(paths_get(p, PATH_VM), take_monitor, ret);
}

int channel_record_list(const Paths *p, char ***ret)
{
        return list_uuids(paths_get(p, PATH_CHANNELS), take_channel, ret);
}
