/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a start goes: accelerator, the host's side, the process, its greeting, its status. */
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "fs.h"
#include "log.h"
#include "qemu-vm.h"
#include "settings.h"
#include "spawn.h"
#include "strbuf.h"
#include "vfio.h"

/* Descriptors of the child. */
#define CHILD_QMP_FD 3
#define CHILD_RPC_FD 4
#define CHILD_FIRST_FREE_FD 5

void qemu_create_failed(Vm *vm, const char *text)
{
        _cleanup_free_ char *why = strdup(text);

        vm->ending = true;
        qemu_helpers_kill(vm);
        qemu_close(vm);
        if (vm->pidfd >= 0 && qemu_end_process(vm) > 0) {
                /* We are here again when it is gone: nothing is to be left behind that nobody finds. */
                free(vm->create_why);
                vm->create_why = TAKE_PTR(why);
                return;
        }
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        qemu_remove_files(vm);
        operation_done(&vm->create, -EIO, why ? why : "out of memory");
}

static int on_deadline_create(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        qemu_create_failed(userdata, "QEMU did not become ready in time");
        return 0;
}

void qemu_created(Vm *vm)
{
        vm->deadline = sd_event_source_disable_unref(vm->deadline);
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_DEVICES);
        operation_done(&vm->create, 0, NULL);
}

static void on_created_status(void *userdata, int r, json_object *value, const char *text)
{
        Vm *vm = userdata;
        const char *word = r >= 0 && json_object_is_type(value, json_type_object) ? json_get_text(value, "status", "") : "";

        if (r == -ECONNRESET)
                return; /* the end of the process tells why */
        if (r < 0)
                return qemu_create_failed(vm, text);
        vm->status = qemu_status_of_word(word);
        if (vm->spec.restore_fd >= 0 && streq(word, "inmigrate")) {
                r = qemu_restore_begin(vm);
                if (r < 0)
                        qemu_create_failed(vm, "the saved state cannot be handed to QEMU");
                return;
        }
        if (vm->status != VM_STATUS_CREATED)
                return qemu_create_failed(vm, "QEMU is not in the state in which it should have begun");
        qemu_created(vm);
}

static void on_balloon_at_start(_unused_ void *userdata, int r, _unused_ json_object *value, const char *text)
{
        if (r < 0)
                log_warning("The balloon could not be set: %s", text);
}

static void on_greeting(void *userdata, int r, _unused_ json_object *value, const char *text)
{
        Vm *vm = userdata;
        const VmConfig *c = vm->spec.config;

        if (r == -ECONNRESET)
                return; /* on_qmp_closed() waits for the reason */
        if (r < 0)
                return qemu_create_failed(vm, text);
        vm->greeted = true;
        qemu_find_terminal(vm);
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_QMP_READY);
        if (c->memory_max_kib != XENVM_UNSET && c->memory_max_kib > c->memory_kib && vm->spec.restore_fd < 0) {
                json_object *args = json_object_new_object();

                if (args)
                        json_object_object_add(args, "value", json_object_new_int64(c->memory_kib * 1024));
                (void) vm_request(vm, "balloon", args, on_balloon_at_start, vm);
        }
        qemu_bind_cpus(vm);
        r = vm_request(vm, "query-status", NULL, on_created_status, vm);
        /*
         * QEMU, once up, is busy giving back the memory that building the machine took: who asks it later than at
         * once waits for that. So the request to run goes together with the question, where nothing lies in between.
         */
        vm->cont_sent = r >= 0 && vm->spec.runs_at_once && vm->spec.restore_fd < 0 && c->cpus_affinity.n == 0;
        if (vm->cont_sent)
                r = vm_request(vm, "cont", NULL, qemu_on_running, vm);
        if (r < 0)
                qemu_create_failed(vm, "QEMU cannot be asked for its state");
}

/*
 * The config's own program, or NULL: ours. The file is the host's alone (xenmgr writes it); paths of OpenXT's
 * device models, which do not exist here, must not keep a VM from starting.
 */
static const char *device_model(const VmConfig *c)
{
        const char *path = c->qemu_dm_path;

        if (!path[0])
                return NULL;
        if (path[0] == '/' && access(path, X_OK) == 0)
                return path;
        log_warning("qemu-dm-path = %s: there is no such program; QEMU is used", path);
        return NULL;
}

static int open_images(Vm *vm, char **ret_why)
{
        const VmDisks *disks = &vm->spec.config->disk;
        HostSide *h = &vm->host;

        h->images = calloc(disks->n + 1, sizeof *h->images);
        if (!h->images)
                return -ENOMEM;
        for (h->n_images = 0; h->n_images < disks->n; h->n_images++) {
                const VmDisk *d = &disks->items[h->n_images];
                int r = d->type == VM_DISK_VDI ? 0 : qemu_image_open(vm->spec.paths, d, d->writable && !d->cdrom && !qemu_disk_overlay(d),
                                                                     &h->images[h->n_images], ret_why);

                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * The shape is that of the VM's start, also if devices were plugged since, and of the config alone: how cards are wired
 * and what lies below images may have changed.
 */
static int check_shape(Vm *vm, const QemuEnv *env, char **args, char **ret_why)
{
        const VmConfig *c = vm->spec.shape_config ? vm->spec.shape_config : vm->spec.config;
        _cleanup_strv_ char **bare_args = NULL, **warnings = NULL;
        QemuFiles files = { 0 };
        QemuEnv bare = *env;
        int r;

        bare.links = NULL;
        bare.images = NULL;
        r = qemu_args(c, &bare, &bare_args, &files, &warnings, ret_why);
        if (r >= 0)
                r = qemu_check_shape(vm, bare_args, &files, ret_why);
        qemu_files_done(&files);
        return r < 0 || !vm->spec.shape_config ? r : qemu_keep_places(vm, args);
}

/* The process is there: watched, and asked for its greeting. */
static int spawned(Vm *vm)
{
        uint64_t timeout = backend_scaled((uint64_t) MAX2(vm->spec.config->qemu_dm_timeout, 1) * USEC_PER_SEC);
        int r;

        host_side_done(&vm->host); /* QEMU has its copies */
        qemu_files_close(&vm->files);
        (void) process_start_time(vm->process.pid, &vm->process.start);
        vm->spec.events->phase(vm->spec.userdata, TIMELINE_SPAWNED);
        qemu_check_weight(vm);
        r = qemu_watch(vm);
        if (r >= 0)
                r = qemu_connect(vm);
        if (r >= 0)
                r = sd_event_add_time_relative(vm->spec.event, &vm->deadline, CLOCK_MONOTONIC, timeout, 0, on_deadline_create, vm);
        if (r >= 0)
                r = qmp_greet(vm->qmp, timeout, on_greeting, vm);
        return r;
}

static void start_failed(Vm *vm, int r, const char *why)
{
        if (vm->host.why) {
                if (vm->pidfd >= 0)
                        (void) qemu_kill_process(vm);
                *vm->host.why = strdup(why);
                vm->host.failed = r;
        } else
                qemu_create_failed(vm, why);
}

static void on_launched(Vm *vm, int r, const char *why)
{
        if (vm->ending) { /* killed meanwhile */
                if (vm->pidfd < 0)
                        operation_done(&vm->kill, 0, NULL);
                else if (qemu_watch(vm) < 0 || qemu_end_process(vm) < 0)
                        operation_done(&vm->kill, -EIO, "QEMU cannot be ended");
                return;
        }
        if (r >= 0) {
                r = spawned(vm);
                why = strerror(-r);
        }
        if (r < 0)
                start_failed(vm, r, why);
}

/* A link where the screen's socket has always been. */
static int link_screen(const Vm *vm)
{
        _cleanup_free_ char *path = path_join(vm->spec.dir, "vnc.sock");

        if (!path)
                return -ENOMEM;
        if (!vm->confined || vm->machine == QEMU_MACHINE_MICROVM || vm->spec.config->display.kind != VM_DISPLAY_VNC)
                return 0;
        return (unlink(path) < 0 && errno != ENOENT) || symlink(FOLDER "/vnc.sock", path) < 0 ? -errno : 0;
}

/* Toolkits look for the session's bus, and start one where there is none: for that the sandbox kills QEMU. Nor is it QEMU's. */
#define NO_SESSION_BUS "DBUS_SESSION_BUS_ADDRESS=disabled:"

static int spawn_qemu(Vm *vm, char **ret_why)
{
        _cleanup_strv_ char **args = NULL;
        _cleanup_free_ char *qmp_path = NULL;
        _cleanup_close_ int qmp_fd = -EBADF, rpc_fd = -EBADF;
        _cleanup_free_ int *fds = NULL;
        _cleanup_free_ char *explained = NULL, *own_screen = NULL;
        const VmDisplay *display = &vm->spec.config->display;
        const char *program = device_model(vm->spec.config);
        char *no_env[] = { NULL }, *window[] = { (char *) NO_SESSION_BUS, NULL, NULL };
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        QemuEnv env = { .accel = vm->accel, .uuid = vm->spec.uuid, .dir = vm->spec.dir, .qmp_fd = CHILD_QMP_FD,
                        .rpc_fd = CHILD_RPC_FD, .incoming = vm->spec.restore_fd >= 0, .now = time(NULL),
                        .links = vm->host.links, .tpm_socket = vm->host.tpm_socket, .firmware_code = vm->host.firmware_code,
                        .firmware_vars = vm->host.firmware_vars,
                        .first_file = CHILD_FIRST_FREE_FD + (int) vm->host.n_fds };
        StrBuf line = STRBUF_INIT;
        size_t n = 2 + vm->host.n_fds;
        int r;

        vm->confined = qemu_confinement(vm);
        if (program && vm->confined == CONFINED_BY_HELPER) {
                log_warning("qemu-dm-path: oxt-helper starts no other program; it runs as this monitor's user");
                vm->confined = CONFINED_NOT;
        }
        env.confined = vm->confined != CONFINED_NOT;
        r = open_images(vm, ret_why);
        if (r < 0)
                return r;
        env.images = vm->host.images;
        r = qemu_args(vm->spec.config, &env, &args, &vm->files, &vm->warnings, ret_why);
        if (r < 0)
                return r;
        for (char **w = vm->warnings; w && *w; w++)
                log_warning("%s", *w);
        r = check_shape(vm, &env, args, ret_why);
        if (r >= 0)
                r = qemu_files_open(&vm->files, env.confined, ret_why);
        fds = calloc(n + vm->files.n, sizeof *fds);
        if (r >= 0 && !fds)
                r = -ENOMEM;
        if (r < 0)
                return r;
        qmp_path = path_join(vm->spec.dir, "qmp.sock");
        qmp_fd = qmp_path ? unix_listen(qmp_path, 0600) : -ENOMEM;
        rpc_fd = channel_listen(vm->spec.dir);
        if (qmp_fd < 0 || rpc_fd < 0)
                return qmp_fd < 0 ? qmp_fd : rpc_fd;
        free(vm->journal_prefix);
        vm->journal_prefix = qemu_own_path(vm, "events");
        r = !vm->journal_prefix ? -ENOMEM : vm->confined ? qemu_make_folder(vm) : 0;
        if (r >= 0)
                r = journal_create(vm->spec.event, vm->journal_prefix, &qemu_journal_handlers, vm, &vm->journal);
        if (r >= 0)
                r = qemu_messages_open(vm, true);
        if (r < 0)
                return r;
        fds[0] = qmp_fd;
        fds[1] = rpc_fd;
        memcpy(fds + 2, vm->host.fds, vm->host.n_fds * sizeof *fds);
        for (size_t i = 0; i < vm->files.n; i++)
                fds[n++] = vm->files.items[i].fd;
        for (char **a = args; *a; a++)
                strbuf_addf(&line, " %s", *a);
        explained = qemu_files_explain(&vm->files, strempty(line.data));
        log_info("Starting QEMU:%s", strempty(explained));
        strbuf_done(&line);
        if (vm->confined) {
                r = link_screen(vm);
                return r < 0 ? r : qemu_launch(vm, args, fds, n, program, on_launched);
        }
        options.fds = fds;
        options.n_fds = n;
        options.stdout_fd = options.stderr_fd = vm->error_fd;
        options.new_session = true;
        options.bare = true;
        options.path = program;
        /* A window needs to be told where. */
        if (display->text && display->kind != VM_DISPLAY_INTEL)
                window[1] = own_screen = strformat("DISPLAY=%s", display->text);
        if (display->kind == VM_DISPLAY_SDL || display->kind == VM_DISPLAY_GTK)
                options.env_extra = window;
        else
                options.env = no_env;
        r = spawn(program ? SPAWN_HOOK : SPAWN_QEMU, args, &options, &vm->process.pid, &vm->pidfd);
        return r < 0 ? r : spawned(vm);
}

/* Directly out of create(), whose caller then is told, or later, from the event loop. */
static void on_host_side(Vm *vm, int r, const char *text)
{
        _cleanup_free_ char *why = NULL;

        if (r >= 0)
                r = spawn_qemu(vm, &why);
        else
                why = strdup(text);
        if (r < 0)
                start_failed(vm, r, why ? why : strerror(-r));
}

static const char *choose_accel(const Vm *vm, const char **ret_forced)
{
        const char *a = vm->spec.config->accel;

        if (streq(a, "auto"))
                a = setting_text(SETTING_ACCEL);
        *ret_forced = streq(a, "auto") ? NULL : a;
        return a;
}

int qemu_create(const VmSpec *spec, VmDone done, void *userdata, Vm **ret, char **ret_why)
{
        _cleanup_(qemu_freep) Vm *vm = qemu_new(spec, done, userdata);
        _cleanup_free_ char *why = NULL;
        const char *forced;
        int r;

        if (!vm)
                return -ENOMEM;
        if (spec->config->pci.n > 0 && !vfio_host_can("")) {
                *ret_why = strdup("RequiresMoreCapabilities(\"config requires directio\"): this host has no IOMMU for PCI devices");
                return -EOPNOTSUPP;
        }
        (void) choose_accel(vm, &forced);
        if (!forced) {
                r = accel_find_out(spec->paths, &why);
                log_debug("KVM: %s", r < 0 ? strerror(-r) : strempty(why));
                forced = r > 0 ? "kvm" : "tcg";
        }
        vm->accel = streq(forced, "kvm") ? "kvm" : "tcg";
        vm->machine = qemu_machine(spec->config, vm->accel);
        *ret = vm; /* events of this call ask for it already */
        vm->host.why = ret_why;
        r = qemu_host_side(vm, CHILD_FIRST_FREE_FD, on_host_side);
        if (r >= 0)
                r = vm->host.failed;
        vm->host.why = NULL;
        if (r < 0) {
                qemu_helpers_kill(vm);
                qemu_remove_files(vm);
                *ret = NULL;
                return r;
        }
        TAKE_PTR(vm);
        return 0;
}

/* The command line, for reading; nothing is started and nothing changed. */

static void add_note(StrBuf *notes, int fd, const VmNic *n, const char *what)
{
        if (fd >= 0)
                strbuf_addf(notes, "# descriptor %d: nic %lld, %s\n", fd, (long long) n->id, what);
        else
                strbuf_addf(notes, "# nic %lld: %s\n", (long long) n->id, what);
}

/* The cables as they come where everything is there that they need. Returns how many descriptors they are. */
static int describe_links(const VmConfig *c, QemuLink *links, StrBuf *notes)
{
        int fd = CHILD_FIRST_FREE_FD;

        for (size_t i = 0; i < c->nic.n; i++) {
                const VmNic *n = &c->nic.items[i];
                _cleanup_free_ char *what = NULL;
                char bridge[32];

                if (n->backend_domid != 0)
                        continue;
                qemu_bridge(n, bridge, sizeof bridge);
                if (streq(bridge, "user") && spawn_program_path(SPAWN_PASST)) {
                        links[i] = (QemuLink) { .kind = QEMU_LINK_STREAM, .fd = fd };
                        add_note(notes, fd++, n, "passt");
                } else if (streq(bridge, "user")) {
                        links[i].kind = QEMU_LINK_USER;
                        add_note(notes, -1, n, "QEMU's own network, as passt is not installed");
                } else if (bridge[0]) {
                        what = strformat("a tap device of oxt-helper's on %s (without oxt-helper no cable)", bridge);
                        links[i] = (QemuLink) { .kind = QEMU_LINK_TAP, .fd = fd };
                        add_note(notes, fd++, n, strempty(what));
                } else
                        add_note(notes, -1, n, "no cable, as the host has no bridge for it");
        }
        return fd - CHILD_FIRST_FREE_FD;
}

/* Images that are not there, or not for us, are shown as what the config takes them for. */
static int describe_images(const VmSpec *spec, QemuImage *images, StrBuf *notes, char **ret_why)
{
        const VmDisks *disks = &spec->config->disk;

        for (size_t i = 0; i < disks->n; i++) {
                const VmDisk *d = &disks->items[i];
                _cleanup_free_ char *why = NULL;
                int r = d->type == VM_DISK_VDI ? 0 : qemu_image_open(spec->paths, d, false, &images[i], &why);

                if (r == -ENOENT || r == -EACCES || r == -EPERM || r == -ENXIO) {
                        strbuf_addf(notes, "# %s\n", strempty(why));
                        images[i] = (QemuImage) { .n = 1 };
                        images[i].layers[0] = (QemuLayer) { .path = strdup(d->path), .format = qemu_disk_format(d), .fd = -EBADF,
                                                            .driver = d->type == VM_DISK_PHY ? "host_device" : "file" };
                        r = images[i].layers[0].path ? 0 : -ENOMEM;
                }
                if (r < 0) {
                        *ret_why = TAKE_PTR(why);
                        return r;
                }
        }
        return 0;
}

static int describe(const VmSpec *spec, HostSide *h, char **ret, char **ret_why)
{
        _cleanup_strv_ char **args = NULL, **warnings = NULL;
        _cleanup_(qemu_files_done) QemuFiles files = { 0 };
        _cleanup_free_ char *template = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const VmConfig *c = spec->config;
        const char *accel = streq(c->accel, "auto") ? setting_text(SETTING_ACCEL) : c->accel;
        QemuEnv env = { .uuid = spec->uuid, .dir = spec->dir, .qmp_fd = CHILD_QMP_FD, .rpc_fd = CHILD_RPC_FD,
                        .now = time(NULL), .tpm_socket = "tpm.sock" };
        int r;

        env.accel = streq(accel, "auto") ? (accel_known(spec->paths, NULL) > 0 ? "kvm" : "tcg") : accel;
        h->links = calloc(c->nic.n + 1, sizeof *h->links);
        h->images = calloc(c->disk.n + 1, sizeof *h->images);
        if (!h->links || !h->images)
                return -ENOMEM;
        h->n_images = c->disk.n;
        env.links = h->links;
        env.images = h->images;
        env.first_file = CHILD_FIRST_FREE_FD + describe_links(c, h->links, &b);
        r = describe_images(spec, h->images, &b, ret_why);
        if (r >= 0 && qemu_wants_uefi(c) &&
            qemu_find_firmware(qemu_machine(c, env.accel), &h->firmware_code, &template) >= 0)
                h->firmware_vars = qemu_firmware_variables(spec);
        env.firmware_code = h->firmware_code;
        env.firmware_vars = h->firmware_vars;
        if (r >= 0)
                r = qemu_args(c, &env, &args, &files, &warnings, ret_why);
        if (r < 0)
                return r;
        for (char **w = warnings; w && *w; w++)
                strbuf_addf(&b, "# %s\n", *w);
        for (size_t i = 0; i < files.n; i++)
                strbuf_addf(&b, "# descriptor %d: %s, %s\n", files.items[i].number, files.items[i].owner, files.items[i].path);
        strbuf_add(&b, spawn_program_path(SPAWN_QEMU) ? spawn_program_path(SPAWN_QEMU) : "qemu-system-x86_64");
        for (char **a = args; *a; a++)
                strbuf_addf(&b, "%s%s", (*a)[0] == '-' ? " \\\n        " : " ", *a);
        strbuf_addc(&b, '\n');
        return strbuf_take(&b, ret);
}

int qemu_describe(const VmSpec *spec, char **ret, char **ret_why)
{
        HostSide h = { 0 };
        int r = describe(spec, &h, ret, ret_why);

        host_side_done(&h);
        return r;
}
