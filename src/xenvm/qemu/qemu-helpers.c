/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a VM needs on the host beside QEMU: a network for each card (passt, or a tap device on a bridge from
 * oxt-helper), a software TPM, UEFI firmware. Everything is handed to QEMU as descriptors where it takes them.
 */
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "net-bridge.h"
#include "qemu-vm.h"
#include "spawn.h"
#include "strbuf.h"
#include "vfio.h"

#define FIRMWARE_DESCRIPTORS "/usr/share/qemu/firmware/*.json"
#define FIRMWARE_FILE_MAX (16 * MIB)

#define REAP_MAX_MSEC 100

static void next_link(Vm *vm);

void host_side_done(HostSide *h)
{
        helper_call_cancel(h->call);
        for (size_t i = 0; i < h->n_fds; i++)
                safe_close(h->fds[i]);
        for (size_t i = 0; i < h->n_images; i++)
                qemu_image_done(&h->images[i]);
        free(h->images);
        free(h->links);
        free(h->tpm_socket);
        free(h->firmware_code);
        free(h->firmware_vars);
        *h = (HostSide) { .why = h->why };
}

void qemu_helpers_kill(Vm *vm)
{
        for (unsigned i = 0; i < vm->n_helpers; i++) {
                Helper *h = &vm->helpers[i];

                if (h->pidfd >= 0 && pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0) >= 0) {
                        /* Ours to reap, unless a former monitor has started it; it dies within a moment. */
                        (void) poll(&(struct pollfd) { .fd = h->pidfd, .events = POLLIN }, 1, REAP_MAX_MSEC);
                        (void) waitid(P_PIDFD, (id_t) h->pidfd, &(siginfo_t) { 0 }, WEXITED | WNOHANG);
                }
                sd_event_source_disable_unref(h->watch);
                h->pidfd = safe_close(h->pidfd);
                free(h->name);
        }
        vm->n_helpers = 0;
}

/* The VM goes on, without what it served; nobody can give QEMU another in its place. */
static int on_helper_ended(sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        const Helper *h = userdata;

        (void) waitid(P_PIDFD, (id_t) fd, &(siginfo_t) { 0 }, WEXITED | WNOHANG);
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (h->vm->ending)
                return 0;
        log_warning("%s has ended while the VM that it serves runs: %s", h->name,
                    streq(h->name, "swtpm") ? "the guest has no TPM any more" : "a network card has no network any more");
        return 0;
}

void qemu_helper_watch(Vm *vm, Helper *h)
{
        h->vm = vm;
        if (sd_event_add_io(vm->spec.event, &h->watch, h->pidfd, EPOLLIN, on_helper_ended, h) < 0)
                log_warning("The end of %s will not be noticed", h->name);
        else /* they end with QEMU, whose end is to be heard first */
                (void) sd_event_source_set_priority(h->watch, SD_EVENT_PRIORITY_IDLE);
}

static int start_helper(Vm *vm, const char *name, SpawnProgram program, char *const args[], int fd)
{
        SpawnOptions options = SPAWN_OPTIONS_INIT;
        Helper *h = &vm->helpers[vm->n_helpers];
        int r;

        if (vm->n_helpers >= HELPERS_MAX)
                return -E2BIG;
        options.fds = &fd;
        options.n_fds = 1;
        options.new_session = true;
        options.bare = true;
        options.stdout_fd = options.stderr_fd = vm->error_fd;
        h->name = strdup(name);
        r = h->name ? spawn(program, args, &options, &h->process.pid, &h->pidfd) : -ENOMEM;
        if (r < 0) {
                free(h->name);
                return r;
        }
        (void) process_start_time(h->process.pid, &h->process.start);
        vm->n_helpers++;
        qemu_helper_watch(vm, h);
        return 0;
}

/* Takes over fd; gives the number that it will have in QEMU. */
static int hand_over(HostSide *h, int fd)
{
        if (h->n_fds >= ELEMENTSOF(h->fds)) {
                safe_close(fd);
                return -E2BIG;
        }
        h->fds[h->n_fds] = fd;
        return h->first_fd + (int) h->n_fds++;
}

/* Networks */

/*
 * Can the host's ports be had? passt does not tell in a way that could be waited for, and QEMU's words name no key.
 * What another program takes between here and there is the only case that is left to them.
 */
static char *check_forwards(const VmConfig *c)
{
        for (size_t i = 0; i < c->nic.n; i++)
                for (size_t k = 0; k < c->nic.items[i].n_forwards; k++) {
                        const VmForward *f = &c->nic.items[i].forwards[k];
                        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(f->host),
                                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                        _cleanup_close_ int fd = socket(AF_INET, (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

                        if (fd < 0)
                                continue;
                        if (!f->udp) /* connections that are over do not count */
                                (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int) { 1 }, sizeof(int));
                        if (bind(fd, (struct sockaddr *) &a, sizeof a) < 0)
                                return strformat("nic %lld: forward=%s:%u:%u: port %u of this host cannot be used: %s",
                                                 (long long) c->nic.items[i].id, f->udp ? "udp" : "tcp", f->host, f->guest,
                                                 f->host, strerror(errno));
                }
        return NULL;
}

/* passt's words for the forwards of one protocol: 127.0.0.1/2222:22,127.0.0.1/8080:80. */
static char *passt_ports(const VmNic *n, bool udp)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        for (size_t i = 0; i < n->n_forwards; i++)
                if (n->forwards[i].udp == udp)
                        strbuf_addf(&b, "%s127.0.0.1/%u:%u", b.len > 0 ? "," : "", n->forwards[i].host, n->forwards[i].guest);
        if (!b.data)
                strbuf_add(&b, "none");
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

static void connect_user(Vm *vm, const VmNic *n, QemuLink *link)
{
        _cleanup_free_ char *tcp = passt_ports(n, false), *udp = passt_ports(n, true);
        char *const args[] = { (char *) "--foreground", (char *) "--quiet", (char *) "--fd", (char *) "3",
                               (char *) "--tcp-ports", tcp, (char *) "--udp-ports", udp, NULL };
        int pair[2], r;

        link->kind = QEMU_LINK_USER;
        /* QEMU's own network is in the saved state, passt is not: what was plugged in had QEMU's. */
        if (vm->spec.plugged_nics & UINT32_C(1) << n->id)
                return;
        if (!tcp || !udp || !spawn_program_path(SPAWN_PASST) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return;
        r = start_helper(vm, "passt", SPAWN_PASST, args, pair[1]);
        safe_close(pair[1]);
        if (r < 0) {
                log_warning("passt cannot be started (%s); QEMU's own user-mode network is used", strerror(-r));
                safe_close(pair[0]);
                return;
        }
        r = hand_over(&vm->host, pair[0]);
        if (r >= 0)
                *link = (QemuLink) { .kind = QEMU_LINK_STREAM, .fd = r };
}

const char *qemu_no_bridge(int r, const char *why)
{
        return r == -ENOENT || r == -ECONNREFUSED ? "a bridge needs oxt-helper, which does not run" : why && *why ? why : strerror(-r);
}

static void link_done(Vm *vm)
{
        vm->host.n_links++;
        next_link(vm);
}

/* A card that is to be limited and cannot be is no card for this VM. */
static void on_limited(void *userdata, int r, const char *why, _unused_ const char *name, int fd)
{
        Vm *vm = userdata;
        HostSide *h = &vm->host;
        _cleanup_free_ char *text = NULL;

        h->call = NULL;
        safe_close(fd);
        if (r >= 0) {
                link_done(vm);
                return;
        }
        text = strformat("nic %lld: rate= cannot be honoured: %s", (long long) vm->spec.config->nic.items[h->n_links].id,
                         why && *why ? why : strerror(-r));
        h->next(vm, -EOPNOTSUPP, strempty(text));
}

static void on_tap(void *userdata, int r, const char *why, const char *name, int fd)
{
        Vm *vm = userdata;
        HostSide *h = &vm->host;
        const VmNic *n = &vm->spec.config->nic.items[h->n_links];
        char rate[24];
        const char *const parameters[] = { "tap", name, "rate", rate, NULL };

        h->call = NULL;
        if (r >= 0 && fd >= 0)
                r = hand_over(h, fd);
        if (r < 0) {
                log_warning("nic %lld is left without a cable: %s", (long long) n->id, qemu_no_bridge(r, why));
                link_done(vm);
                return;
        }
        h->links[h->n_links] = (QemuLink) { .kind = QEMU_LINK_TAP, .fd = r };
        if (n->id >= 0 && n->id < NICS_MAX && strlen(name) < sizeof vm->taps[0])
                memcpy(vm->taps[n->id], name, strlen(name) + 1);
        if (n->rate <= 0) {
                link_done(vm);
                return;
        }
        snprintf(rate, sizeof rate, "%lld", (long long) n->rate);
        r = helper_call(vm->spec.event, vm->spec.paths, "tap-limit", parameters, on_limited, vm, &h->call);
        if (r < 0)
                on_limited(vm, r, NULL, NULL, -EBADF);
}

/* The bridge that it is to be on, which may be the first of the host; "" if there is none. */
void qemu_bridge(const VmNic *n, char *buf, size_t size)
{
        char first[IFNAMSIZ] = "";

        if (!n->bridge[0] && !n->network[0])
                bridge_first(first);
        snprintf(buf, size, "%s", n->bridge[0] ? n->bridge : first);
}

static void next_link(Vm *vm)
{
        const VmConfig *c = vm->spec.config;
        HostSide *h = &vm->host;

        for (; h->n_links < c->nic.n; h->n_links++) {
                const VmNic *n = &c->nic.items[h->n_links];
                char bridge[32];
                const char *const parameters[] = { "bridge", bridge, NULL };
                int r;

                if (n->backend_domid != 0)
                        continue; /* qemu_args() says so */
                if (streq(n->bridge, "user")) {
                        connect_user(vm, n, &h->links[h->n_links]);
                        continue;
                }
                qemu_bridge(n, bridge, sizeof bridge);
                if (!bridge[0]) {
                        log_warning("nic %lld is left without a cable: the host has no bridge for it", (long long) n->id);
                        continue;
                }
                r = helper_call(vm->spec.event, vm->spec.paths, "tap-create", parameters, on_tap, vm, &h->call);
                if (r >= 0)
                        return; /* on_tap() goes on */
                log_warning("nic %lld is left without a cable: %s", (long long) n->id, qemu_no_bridge(r, NULL));
        }
        h->next(vm, 0, NULL);
}

/* PCI devices with `bind`: oxt-helper gives them to vfio-pci, or as root we do. */

static void next_device(Vm *vm);

static void device_bound(Vm *vm, int r, bool anew, const char *why)
{
        const VmPci *p = &vm->spec.config->pci.items[vm->n_pci++];
        _cleanup_free_ char *text = NULL;
        char name[16];

        if (r >= 0) {
                if (anew && vm->n_bound < PCI_MAX)
                        (void) qemu_pci_name(p, vm->bound[vm->n_bound++]);
                next_device(vm);
                return;
        }
        text = strformat("pci %s: bind: %s", qemu_pci_name(p, name), why);
        vm->host.next(vm, r, strempty(text));
}

static void on_device_bound(void *userdata, int r, const char *why, const char *name, int fd)
{
        Vm *vm = userdata;

        vm->host.call = NULL;
        safe_close(fd);
        device_bound(vm, r, *name != '\0', why && *why ? why : strerror(-r));
}

static void next_device(Vm *vm)
{
        const VmPcis *list = &vm->spec.config->pci;

        for (; vm->n_pci < list->n; vm->n_pci++) {
                char name[16];
                const char *const parameters[] = { "device", name, NULL }, *why = "";
                int r;

                if (!list->items[vm->n_pci].bind || vfio_is_bound("", qemu_pci_name(&list->items[vm->n_pci], name)))
                        continue;
                if (geteuid() == 0) {
                        r = vfio_bind("", name, &why);
                        device_bound(vm, r, r > 0, why);
                        return;
                }
                r = helper_call(vm->spec.event, vm->spec.paths, "pci-bind", parameters, on_device_bound, vm, &vm->host.call);
                if (r < 0)
                        device_bound(vm, r, false, r == -ENOENT || r == -ECONNREFUSED ? "this needs oxt-helper, which does not run" : strerror(-r));
                return;
        }
        next_link(vm);
}

/* TPM: its state is kept in the stack's state directory; it ends when QEMU lets go of its socket. */
static int start_tpm(Vm *vm)
{
        _cleanup_free_ char *state = paths_format(vm->spec.paths, PATH_XENVM_STATE, "tpm-%s", vm->spec.uuid), *arg = NULL;
        _cleanup_close_ int fd = -EBADF;
        char *args[9];
        size_t n = 0;
        int r;

        vm->host.tpm_socket = path_join(vm->spec.dir, "tpm.sock");
        arg = state ? strformat("dir=%s", state) : NULL;
        if (!arg || !vm->host.tpm_socket)
                return -ENOMEM;
        r = mkdir_parents(state, 0700);
        if (r >= 0)
                r = fd = unix_listen(vm->host.tpm_socket, 0600);
        if (r < 0)
                return r;
        args[n++] = (char *) "socket";
        args[n++] = (char *) "--tpm2";
        args[n++] = (char *) "--tpmstate";
        args[n++] = arg;
        args[n++] = (char *) "--ctrl";
        args[n++] = (char *) "type=unixio,fd=3";
        args[n++] = (char *) "--terminate";
        args[n] = NULL;
        return start_helper(vm, "swtpm", SPAWN_SWTPM, args, fd);
}

/* Firmware, found by QEMU's descriptors (docs/interop/firmware.json of QEMU): the first that fits, in order of names. */

static bool list_has(json_object *o, const char *member, const char *word)
{
        json_object *l = json_get_member(o, member, json_type_array);

        for (size_t i = 0; l && i < json_object_array_length(l); i++)
                if (streq(strempty(json_object_get_string(json_object_array_get_idx(l, i))), word))
                        return true;
        return false;
}

static bool fits_machine(json_object *o, const char *machine)
{
        json_object *targets = json_get_member(o, "targets", json_type_array);

        for (size_t i = 0; targets && i < json_object_array_length(targets); i++) {
                json_object *t = json_object_array_get_idx(targets, i), *l;

                if (!json_object_is_type(t, json_type_object) || !streq(json_get_text(t, "architecture", ""), "x86_64"))
                        continue;
                l = json_get_member(t, "machines", json_type_array);
                for (size_t k = 0; l && k < json_object_array_length(l); k++)
                        if (fnmatch(strempty(json_object_get_string(json_object_array_get_idx(l, k))), machine, 0) == 0)
                                return true;
        }
        return false;
}

static const char *flash_file(json_object *o, const char *part)
{
        json_object *mapping = json_get_member(o, "mapping", json_type_object);
        json_object *file = mapping ? json_get_member(mapping, part, json_type_object) : NULL;

        return file ? json_get_text(file, "filename", NULL) : NULL;
}

static int copy_variables(const char *template, const char *path)
{
        _cleanup_free_ char *data = NULL;
        size_t size;
        int r;

        if (access(path, F_OK) == 0)
                return 0; /* what the guest has stored stays */
        r = read_file(template, FIRMWARE_FILE_MAX, &data, &size);
        return r < 0 ? r : write_file_atomic(path, data, size, 0600);
}

int qemu_find_firmware(QemuMachine machine, char **ret_code, char **ret_template)
{
        const char *name = machine == QEMU_MACHINE_Q35 ? "pc-q35-7.2" : "pc-i440fx-7.2";
        int r = -ENOENT;
        glob_t g;

        if (glob(FIRMWARE_DESCRIPTORS, 0, NULL, &g) != 0)
                return -ENOENT;
        for (size_t i = 0; i < g.gl_pathc && r == -ENOENT; i++) {
                _cleanup_json_ json_object *o = NULL;
                const char *code, *vars;

                if (json_read_file(g.gl_pathv[i], 64 * KIB, 16, &o) < 0 || !json_object_is_type(o, json_type_object))
                        continue;
                code = flash_file(o, "executable");
                vars = flash_file(o, "nvram-template");
                if (!code || !vars || access(code, R_OK) < 0 || access(vars, R_OK) < 0 || !list_has(o, "interface-types", "uefi") ||
                    list_has(o, "features", "requires-smm") || !fits_machine(o, name))
                        continue;
                *ret_code = strdup(code);
                *ret_template = strdup(vars);
                r = *ret_code && *ret_template ? 0 : -ENOMEM;
        }
        globfree(&g);
        return r;
}

char *qemu_firmware_variables(const VmSpec *spec)
{
        return paths_format(spec->paths, PATH_XENVM_STATE, "uefi-%s.fd", spec->uuid);
}

static int prepare_firmware(Vm *vm)
{
        _cleanup_free_ char *template = NULL;
        HostSide *h = &vm->host;
        int r = qemu_find_firmware(vm->machine, &h->firmware_code, &template);

        if (r < 0)
                return r == -ENOENT ? 0 : r; /* qemu_args() refuses, and says what is missing */
        h->firmware_vars = qemu_firmware_variables(&vm->spec);
        r = h->firmware_vars ? mkdir_parents(paths_get(vm->spec.paths, PATH_XENVM_STATE), 0755) : -ENOMEM;
        return r < 0 ? r : copy_variables(template, h->firmware_vars);
}

static const VmDisk *find_encrypted(const VmConfig *c)
{
        for (size_t i = 0; i < c->disk.n; i++)
                if (vm_disk_has_key(&c->disk.items[i]))
                        return &c->disk.items[i];
        return NULL;
}

int qemu_host_side(Vm *vm, int first_fd, void (*next)(Vm *vm, int r, const char *why))
{
        const VmConfig *c = vm->spec.config;
        const VmDisk *encrypted = find_encrypted(c);
        _cleanup_free_ char *port = check_forwards(c);
        HostSide *h = &vm->host;
        int r = 0;

        h->first_fd = first_fd;
        h->next = next;
        h->links = calloc(c->nic.n + 1, sizeof *h->links);
        if (!h->links)
                return -ENOMEM;
        if (encrypted) {
                _cleanup_free_ char *why = strformat("disk %s: %s has a key in key-dir; QEMU cannot read what OpenXT's tap layer "
                                                     "has encrypted", encrypted->virtpath, encrypted->path);

                next(vm, -EOPNOTSUPP, strempty(why));
                return 0;
        }
        if (port) {
                next(vm, -EADDRINUSE, port);
                return 0;
        }
        if (qemu_wants_tpm(c) && spawn_program_path(SPAWN_SWTPM))
                r = start_tpm(vm);
        if (r >= 0 && qemu_wants_uefi(c))
                r = prepare_firmware(vm);
        if (r < 0)
                return r;
        next_device(vm);
        return 0;
}
