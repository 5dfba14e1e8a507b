/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create_status_report: a tar file of what somebody needs who is to find a fault: the user's words, the database
 * without its secrets, the ends of the daemons' logs, and, where it is wanted, what the monitors of VMs wrote.
 * The files are collected in a folder by a thread, which then waits for tar.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "db-secrets.h"
#include "fs.h"
#include "json.h"
#include "log.h"
#include "root-dbus.h"
#include "spawn.h"
#include "strbuf.h"
#include "version.h"
#include "vm.h"

#define TAIL_BYTES (512 * KIB)
#define FILES_MAX 4096
#define DEPTH_MAX 64

/* What is taken of the database; the guests' own stores are theirs. */
static const char *const subtrees[] = { "/vm", "/xenmgr", "/switcher", "/power-management", "/platform" };

typedef struct Report {
        Call *call;
        char *words, *database; /* user-report.xml, database.json */
        char *logs, *vms, *vm_logs; /* folders; vms NULL: without those of VMs */
        char folder[64], tar[80];
        unsigned n_files;
        int result;
} Report;

static void report_free(Report *w)
{
        call_unref(w->call);
        free(w->words);
        free(w->database);
        free(w->logs);
        free(w->vms);
        free(w->vm_logs);
        free(w);
}

/* The tree at path without values that are secret; values of product properties that are pass words are, too. */
static json_object *open_tree(const DbNode *n, const char *path, unsigned depth)
{
        json_object *o;

        if (!dbnode_first(n))
                return json_object_new_string(db_path_secret(path) ? "(secret)" : dbnode_text(n, NULL));
        o = json_object_new_object();
        for (const DbNode *c = dbnode_first(n); o && depth > 0 && c; c = dbnode_next(c)) {
                _cleanup_free_ char *child = strformat("%s/%s", path, dbnode_name(c));
                bool password = streq(dbnode_name(c), "value") && streq(dbnode_text(n, "password"), "true");

                if (child)
                        (void) json_object_object_add(o, dbnode_name(c),
                                                      password ? json_object_new_string("(secret)")
                                                               : open_tree(c, child, depth - 1));
        }
        return o;
}

static int database_text(Manager *m, char **ret)
{
        _cleanup_json_ json_object *all = json_object_new_object();

        for (size_t i = 0; all && i < ELEMENTSOF(subtrees); i++) {
                const DbNode *n = db_node(m, subtrees[i]);

                if (n)
                        (void) json_object_object_add(all, subtrees[i] + 1, open_tree(n, subtrees[i], DEPTH_MAX));
        }
        *ret = all ? strdup(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY)) : NULL;
        return *ret ? 0 : -ENOMEM;
}

static int words_text(sd_bus_message *message, bool *ret_screenshots, bool *ret_vms, char **ret)
{
        static const char *const elements[] = { "summary", "description", "repro-steps", "ticket" };
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *text;
        int flags[2], r;

        r = sd_bus_message_read(message, "bb", &flags[0], &flags[1]);
        strbuf_addf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<user-report version=\"%s\">\n", OXT_VERSION);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(elements); i++) {
                r = sd_bus_message_read(message, "s", &text);
                if (r < 0)
                        break;
                strbuf_addf(&b, "  <%s>", elements[i]);
                strbuf_add_xml(&b, text);
                strbuf_addf(&b, "</%s>\n", elements[i]);
        }
        strbuf_add(&b, "</user-report>\n");
        if (r < 0)
                return r;
        *ret_screenshots = flags[0];
        *ret_vms = flags[1];
        return strbuf_take(&b, ret);
}

/* The thread */

static int put_file(Report *w, const char *name, const void *data, size_t size)
{
        _cleanup_free_ char *path = path_join(w->folder, name);
        _cleanup_close_ int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

        if (!path)
                return -ENOMEM;
        if (fd < 0)
                return -errno;
        return write(fd, data, size) == (ssize_t) size ? 0 : -EIO;
}

/* The end of a regular file; one that cannot be read is left out. */
static int take_end(Report *w, const char *from, const char *name)
{
        _cleanup_close_ int fd = open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_free_ char *data = malloc(TAIL_BYTES);
        struct stat st;
        ssize_t n;

        if (!data)
                return -ENOMEM;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || ++w->n_files > FILES_MAX)
                return 0;
        n = pread(fd, data, TAIL_BYTES, MAX2(st.st_size - (off_t) TAIL_BYTES, (off_t) 0));
        return n < 0 ? 0 : put_file(w, name, data, (size_t) n);
}

/* All files of a folder whose names end so; prefix goes before their names in the report. */
static int take_folder(Report *w, const char *folder, const char *suffix, const char *prefix)
{
        DIR *d = opendir(folder);
        struct dirent *e;
        int r = 0;

        while (d && r >= 0 && (e = readdir(d))) {
                _cleanup_free_ char *from = path_join(folder, e->d_name), *name = strformat("%s%s", prefix, e->d_name);

                if (e->d_name[0] != '.' && endswith(e->d_name, suffix))
                        r = from && name ? take_end(w, from, name) : -ENOMEM;
        }
        if (d)
                (void) closedir(d);
        return r;
}

static int take_vms(Report *w)
{
        static const char *const suffixes[] = { ".conf", ".json", ".log" };
        DIR *d = opendir(w->vms);
        struct dirent *e;
        int r = 0;

        while (d && r >= 0 && (e = readdir(d))) {
                _cleanup_free_ char *folder = path_join(w->vms, e->d_name), *prefix = strformat("vm-%s-", e->d_name);

                if (e->d_name[0] == '.')
                        continue;
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(suffixes); i++)
                        r = folder && prefix ? take_folder(w, folder, suffixes[i], prefix) : -ENOMEM;
        }
        if (d)
                (void) closedir(d);
        return r;
}

static int run_tar(Report *w)
{
        char *args[] = { (char *) "--create", (char *) "--gzip", (char *) "--file", (char *) "-",
                         (char *) "--directory", w->folder, (char *) ".", NULL };
        _cleanup_close_ int fd = open(w->tar, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        int status = -1, r;
        pid_t pid;

        if (fd < 0)
                return -errno;
        options.stdout_fd = fd;
        r = spawn(SPAWN_TAR, args, &options, &pid, NULL);
        if (r < 0)
                return r;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return status == 0 ? 0 : -EIO;
}

static void report_work(void *data)
{
        Report *w = data;
        int r = put_file(w, "user-report.xml", w->words, strlen(w->words));

        if (r >= 0)
                r = put_file(w, "database.json", w->database, strlen(w->database));
        if (r >= 0)
                r = take_folder(w, w->logs, ".log", "log-");
        if (r >= 0 && w->vms)
                r = take_vms(w);
        if (r >= 0 && w->vms)
                r = take_folder(w, w->vm_logs, ".log", "log-xenvm-");
        if (r >= 0)
                r = run_tar(w);
        (void) remove_tree(w->folder);
        w->result = r;
}

static void report_done(void *data)
{
        Report *w = data;
        _cleanup_free_ char *why = strformat("%s cannot be made: %s", w->tar, strerror(-w->result));

        if (w->result < 0)
                (void) unlink(w->tar);
        (void) (w->result < 0 ? call_fail_code(w->call, ERROR_IO, why) : call_reply(w->call, "s", w->tar));
        report_free(w);
}

int method_status_report(Call *c)
{
        Manager *m = c->userdata;
        bool screenshots, vms;
        Report *w;
        int r;

        if (refuse_guest_but_ui(c, "Diagnostics"))
                return 0;
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        w->call = call_ref(c);
        r = words_text(c->message, &screenshots, &vms, &w->words);
        if (r >= 0 && screenshots)
                log_info("A status report was asked for with screenshots; there are none on this host");
        if (r >= 0)
                r = database_text(m, &w->database);
        if (r >= 0) {
                w->logs = strdup(paths_get(manager_paths(m), PATH_LOGS));
                w->vm_logs = strdup(paths_get(manager_paths(m), PATH_VM_LOGS));
                w->vms = vms ? strdup(paths_get(manager_paths(m), PATH_VM)) : NULL;
                snprintf(w->folder, sizeof w->folder, "/tmp/status-report-XXXXXX");
                r = !w->logs || !w->vm_logs || (vms && !w->vms) ? -ENOMEM : mkdtemp(w->folder) ? 0 : -errno;
        }
        if (r >= 0) {
                snprintf(w->tar, sizeof w->tar, "%s.tar.gz", w->folder);
                r = background_run(m->event, report_work, report_done, w);
                if (r < 0)
                        (void) rmdir(w->folder);
        }
        if (r < 0)
                report_free(w);
        return r;
}
