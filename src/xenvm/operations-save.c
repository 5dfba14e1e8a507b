/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The long operations about a VM's state: suspend, checkpoint, restore, and the guest's own sleep (S3, S4). */
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "devices.h"
#include "log.h"
#include "operations.h"

#define QUIT_MAX (2 * USEC_PER_SEC)

/* A file or folder on its way to the disk, in a thread: the monitor goes on answering, however slow that disk is. */
struct Flush {
        Monitor *m;
        Op *op; /* NULL: it was given up, and nobody waits for this any more */
        int fd, result;
        void (*next)(Monitor *m, int r);
};

static void flush_work(void *data)
{
        struct Flush *f = data;

        f->result = fsync(f->fd) < 0 ? -errno : 0;
}

static void flush_done(void *data)
{
        struct Flush *f = data;

        safe_close(f->fd);
        if (f->op) {
                f->op->flush = NULL;
                f->next(f->m, f->result);
        }
        free(f);
}

/* fd is taken over. next is called later, with what came of it, unless the Op ends first. */
static int flush_begin(Monitor *m, int fd, void (*next)(Monitor *m, int r))
{
        _cleanup_close_ int own = fd;
        struct Flush *f;
        int r;

        if (fd < 0)
                return fd;
        f = calloc(1, sizeof *f);
        if (!f)
                return -ENOMEM;
        *f = (struct Flush) { .m = m, .op = m->op, .fd = fd, .next = next };
        r = background_run(m->event, flush_work, flush_done, f);
        if (r < 0) {
                free(f);
                return r;
        }
        TAKE_FD(own);
        m->op->flush = f;
        return 0;
}

static void flush_forget(Op *op)
{
        if (op->flush)
                op->flush->op = NULL;
        op->flush = NULL;
}

void op_forget_file(Op *op)
{
        flush_forget(op);
        if (op->tmp_file)
                (void) unlink(op->tmp_file);
        op->fd = safe_close(op->fd);
        save_header_done(&op->header);
        free(op->file);
        free(op->tmp_file);
        free(op->why);
}

static int on_sum_step(sd_event_source *s, void *userdata);

/* The sum is made between other events: the monitor goes on answering. */
static int begin_sum(Monitor *m)
{
        int r = savesum_begin(&m->op->sum, m->op->fd);

        m->op->timer = sd_event_source_disable_unref(m->op->timer);
        if (r >= 0)
                r = sd_event_add_defer(m->event, &m->op->timer, on_sum_step, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->op->timer, SD_EVENT_ON);
        if (r >= 0)
                r = sd_event_source_set_priority(m->op->timer, SD_EVENT_PRIORITY_IDLE);
        return r;
}

/* Suspend and checkpoint: QEMU writes, we add the header, then the VM ends or goes on. */

static void save_failed(Monitor *m, const char *why)
{
        _cleanup_free_ char *text = strdup(why);

        m->op->timer = sd_event_source_disable_unref(m->op->timer);
        monitor_set_state(m, m->op->before);
        op_fail(m, "%s", strempty(text));
}

static void went_on(Monitor *m, int r, const char *text)
{
        if (r < 0) {
                m->op->before = STATE_PAUSED;
                save_failed(m, text);
                return;
        }
        if (m->op->why) {
                save_failed(m, m->op->why);
                return;
        }
        monitor_set_state(m, m->op->before);
        op_done(m, NULL);
}

static void on_goes_on(void *userdata, int r, const char *text)
{
        if (op_answered(userdata, on_goes_on))
                went_on(userdata, r, text);
}

/* After the stream is written the guest is stopped: it goes on now, unless it is to end. */
static void go_on(Monitor *m, int result, const char *why)
{
        Op *op = m->op;
        int r;

        if (result < 0)
                op->why = strdup(why);
        if (op->before != STATE_RUNNING) {
                went_on(m, 0, NULL);
                return;
        }
        r = m->backend->run(m->vm, op_await(m, on_goes_on), m);
        if (r < 0)
                went_on(m, r, strerror(-r));
}

/* The file is in its place, so that the save can no longer fail. */
static void on_folder_flushed(Monitor *m, int r)
{
        if (r < 0)
                log_warning("%s: a crash of this host may bring back what it was before: %s", m->op->file, strerror(-r));
        log_info("Saved to %s, %lld MiB", m->op->file, (long long) (m->op->header.size / (int64_t) MIB));
        if (m->op->kind == OP_SUSPEND)
                op_kill_begin(m, true, STATE_SUSPENDED, false);
        else
                go_on(m, 0, NULL);
}

static void on_file_flushed(Monitor *m, int r)
{
        Op *op = m->op;

        if (r >= 0 && rename(op->tmp_file, op->file) < 0)
                r = -errno;
        if (r < 0) {
                go_on(m, r, strerror(-r));
                return;
        }
        free(TAKE_PTR(op->tmp_file)); /* renamed: not to be removed */
        r = flush_begin(m, savefile_open_folder(op->file), on_folder_flushed);
        if (r < 0)
                on_folder_flushed(m, r);
}

static void saved(Monitor *m)
{
        int r = savefile_write_header(m->op->fd, &m->op->header);

        if (r >= 0) {
                int fd = dup(m->op->fd);

                r = flush_begin(m, fd < 0 ? -errno : fd, on_file_flushed);
        }
        if (r < 0)
                go_on(m, r, strerror(-r));
}

static void on_saved(void *userdata, int r, const char *text)
{
        Monitor *m = userdata;
        struct stat st;

        if (!op_answered(m, on_saved))
                return;
        if (r < 0) {
                save_failed(m, text);
                return;
        }
        m->op->header.shape = m->backend->shape ? m->backend->shape(m->vm) : NULL;
        r = fstat(m->op->fd, &st) < 0 ? -errno : st.st_size <= SAVEFILE_HEADER_SIZE ? -ENODATA : 0;
        if (r >= 0) {
                m->op->header.size = st.st_size - SAVEFILE_HEADER_SIZE;
                r = begin_sum(m);
        }
        if (r < 0)
                go_on(m, r, strerror(-r));
}

static void save_begin(Monitor *m, OpKind kind, Request *q, const char *file, bool live)
{
        _cleanup_free_ char *why = NULL;
        Op *op;
        int r;

        if (!m->vm || (m->state != STATE_RUNNING && m->state != STATE_PAUSED)) {
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: the state is %s, running or paused is expected",
                             vm_state_to_text(m->state));
                return;
        }
        if (startswith(file, "xenserver:") || file[0] != '/') {
                request_fail(q, REQUEST_FAILED, "file %s: an absolute path of a file is accepted", file);
                return;
        }
        why = m->usb && *m->usb                                      ? strdup("USB devices of the host are plugged in")
              : m->config->pci.n > 0                                 ? strdup("devices of the host are given to the VM (pci)")
              : devices_plugged(m) && !m->backend->restores_plugging ? strdup("devices were plugged or unplugged while it ran")
                                                                     : m->backend->cannot_save(m->vm);
        if (why) {
                request_fail(q, REQUEST_FAILED, "the VM cannot be saved: %s", why);
                return;
        }
        op = op_new(m, kind, q, false);
        if (!op)
                return;
        op->before = m->state;
        op->live = live;
        op->file = strdup(file);
        op->header.backend = strdup(m->backend->name);
        op->header.uuid = strdup(m->uuid);
        op->header.devices = devices_changes(m);
        op->header.memory_kib = m->config->memory_kib;
        r = op->file && op->header.backend && op->header.uuid && op->header.devices ? savefile_create(file, &op->tmp_file) : -ENOMEM;
        if (r < 0) {
                op_fail(m, "%s cannot be made: %s", file, strerror(-r));
                return;
        }
        op->fd = r;
        if (op->before == STATE_RUNNING) /* for the next monitor, should this one not live to see the end of it */
                snprintf(m->intent, sizeof m->intent, "save");
        monitor_set_state(m, STATE_SUSPENDING);
        r = m->backend->save(m->vm, op->fd, live, op_await(m, on_saved), m);
        if (r < 0)
                save_failed(m, strerror(-r));
}

void op_suspend(Monitor *m, Request *q, const char *file, bool live)
{
        save_begin(m, OP_SUSPEND, q, file, live);
}

void op_checkpoint(Monitor *m, Request *q, const char *file)
{
        save_begin(m, OP_CHECKPOINT, q, file, false);
}

void op_cancel(Monitor *m, Request *q)
{
        /* Once the file is in its place there is nothing left to cancel. */
        if (!m->op || (m->op->kind != OP_SUSPEND && m->op->kind != OP_CHECKPOINT) || m->state != STATE_SUSPENDING || !m->op->tmp_file) {
                request_fail(q, REQUEST_FAILED, "Vm_bad_state: no suspend or checkpoint is under way");
                return;
        }
        m->op->cancelled = true;
        if (m->op->flush) {
                flush_forget(m->op);
                go_on(m, -ECANCELED, "cancelled");
        } else
                m->backend->save_cancel(m->vm);
        request_done(q, NULL);
}

static int on_quit_deadline(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
        monitor_quit(userdata, 0);
        return 0;
}

void op_quit(Monitor *m)
{
        bool saving = m->op && (m->op->kind == OP_SUSPEND || m->op->kind == OP_CHECKPOINT);

        if (!saving || m->quitting ||
            sd_event_add_time_relative(m->event, NULL, CLOCK_MONOTONIC, QUIT_MAX, 0, on_quit_deadline, m) < 0) {
                monitor_quit(m, 0);
                return;
        }
        log_info("What is half saved is given up first");
        m->quitting = true;
        op_cancel(m, NULL);
}

/* Restore: everything about the file is checked before anything is built. */

static void restore_refused(Monitor *m, const char *why)
{
        _cleanup_free_ char *text = strdup(why);

        m->op->timer = sd_event_source_disable_unref(m->op->timer);
        if (m->state == STATE_RESTORING)
                monitor_set_state(m, STATE_SHUTDOWN);
        op_fail(m, "%s", strempty(text));
}

static void file_checked(Monitor *m)
{
        if (lseek(m->op->fd, SAVEFILE_HEADER_SIZE, SEEK_SET) < 0) {
                restore_refused(m, strerror(errno));
                return;
        }
        op_start_begin(m);
}

static int on_sum_step(_unused_ sd_event_source *s, void *userdata)
{
        Monitor *m = userdata;
        Op *op = m->op;
        char sum[17];
        int r;

        r = op->cancelled ? -ECANCELED : savesum_step(&op->sum, sum);
        if (r == 0) {
                op->done = (uint64_t) op->sum.at;
                op->total = (uint64_t) op->sum.end;
                return 0;
        }
        op->timer = sd_event_source_disable_unref(op->timer);
        if (op->kind == OP_RESTORE) {
                if (r < 0)
                        restore_refused(m, strerror(-r));
                else if (!streq(sum, op->header.sum))
                        restore_refused(m, "the file is damaged: its sum is not the one in its header");
                else
                        file_checked(m);
                return 0;
        }
        if (r >= 0) {
                snprintf(op->header.sum, sizeof op->header.sum, "%s", sum);
                saved(m);
        } else
                go_on(m, r, r == -ECANCELED ? "cancelled" : strerror(-r));
        return 0;
}

void op_restore(Monitor *m, Request *q, const char *file, bool paused, bool delete_file)
{
        _cleanup_free_ char *why = NULL;
        _cleanup_config_ VmConfig *c = NULL;
        Op *op;
        int r;

        if (m->vm) {
                request_fail(q, REQUEST_FAILED, "Vm_is_already_created: domid %lld, state %s", (long long) m->domid,
                             vm_state_to_text(m->state));
                return;
        }
        if (file[0] != '/') {
                request_fail(q, REQUEST_FAILED, "file %s: an absolute path of a file is accepted", file);
                return;
        }
        op = op_new(m, OP_RESTORE, q, false);
        if (!op)
                return;
        op->paused = paused;
        op->delete_file = delete_file;
        op->file = strdup(file);
        r = op->file ? savefile_open(file, &op->header, &why) : -ENOMEM;
        if (r < 0) {
                op_fail(m, "%s", why ? why : strerror(-r));
                return;
        }
        op->fd = r;
        if (!streq(op->header.uuid, m->uuid)) {
                op_fail(m, "%s was saved by another VM, %.36s", file, op->header.uuid);
                return;
        }
        if (!streq(op->header.backend, m->backend->name)) {
                op_fail(m, "%s was saved by the back end %.16s, this is %s", file, op->header.backend, m->backend->name);
                return;
        }
        r = devices_saved_config(m, op->header.devices, &c, &why);
        if (r < 0) {
                op_fail(m, "the devices with which %s was saved do not fit the config: %s", file, why ? why : strerror(-r));
                return;
        }
        if (op->header.memory_kib != c->memory_kib) {
                op_fail(m, "%s was saved with %lld MiB of memory, the config says %lld", file,
                        (long long) op->header.memory_kib / 1024, (long long) c->memory_kib / 1024);
                return;
        }
        why = op_check_files(c);
        if (why) {
                op_fail(m, "%s", why);
                return;
        }
        monitor_set_state(m, STATE_RESTORING);
        r = begin_sum(m);
        if (r < 0)
                restore_refused(m, strerror(-r));
}

/* S3 and S4: only the guest itself can go there; its agent can be asked. */

static int on_sleep_deadline(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Monitor *m = userdata;

        op_fail(m, "failed to put domain into %s", m->op->kind == OP_S3 ? "s3" : "s4");
        return 0;
}

void op_power_state_changed(Monitor *m)
{
        if (m->op && m->op->kind == OP_S3 && m->acpi_state == 3)
                op_done(m, NULL);
}

static void on_sleep_asked(_unused_ void *userdata, int r, const char *text)
{
        if (r < 0)
                log_info("The guest cannot be asked to sleep: %s", text);
}

void op_sleep(Monitor *m, Request *q, OpKind kind, int64_t timeout)
{
        const char *word = kind == OP_S3 ? "s3" : "s4";
        Op *op;
        int r;

        if (m->state != STATE_RUNNING) {
                request_fail(q, REQUEST_FAILED, "failed to put domain into %s: Vm_bad_state: the state is %s, running is expected",
                             word, vm_state_to_text(m->state));
                return;
        }
        op = op_new(m, kind, q, false);
        if (!op)
                return;
        op->timeout = MIN2(MAX2(timeout, (int64_t) 0), (int64_t) 24 * 3600);
        if (kind == OP_S3 && m->acpi_state == 3) {
                op_done(m, NULL);
                return;
        }
        r = sd_event_add_time_relative(m->event, &op->deadline, CLOCK_MONOTONIC,
                                       monitor_scaled((uint64_t) op->timeout * USEC_PER_SEC), 0, on_sleep_deadline, m);
        if (r < 0) {
                op_fail(m, "failed to put domain into %s: %s", word, strerror(-r));
                return;
        }
        r = monitor_bus_ask_agent(m, kind == OP_S3 ? "request_sleep" : "request_hibernate");
        if (r < 0)
                log_info("The guest's agent cannot be asked to sleep: %s", strerror(-r));
        /* Where the back end can ask it too, a guest without an agent hears of it. */
        r = m->backend->ask(m->vm, kind == OP_S3 ? VM_ASK_SLEEP : VM_ASK_HIBERNATE, on_sleep_asked, m);
        if (r < 0)
                log_debug("The guest cannot be asked to sleep: %s", strerror(-r));
}
