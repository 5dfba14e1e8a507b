/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt vm create. Images are handed over to the manager, who copies them into the storage and removes them again if we end
 * before a VM has them. Then it makes the VM from a template, and the disks are added: from here on signals wait, and if a step
 * fails or one came, the VM is deleted again.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "dbus-text.h"
#include "fs.h"
#include "iso.h"
#include "log.h"
#include "oxt-vm.h"
#include "parse.h"
#include "service.h"
#include "strbuf.h"
#include "vm-image.h"
#include "vm-keys.h"

#define VMDISK "com.citrix.xenclient.vmdisk"
#define VMNIC "com.citrix.xenclient.vmnic"
#define NETWORK_DAEMON "com.citrix.xenclient.networkdaemon"
#define NETWORKS_USEC (10 * USEC_PER_SEC)
#define WORDS_MAX 16

static const char *arg_template, *arg_user_data, *arg_network_config, *arg_disk_size, *arg_network;
static const char *arg_memory, *arg_vcpus;
static bool arg_in_place, arg_start;
static const char *arg_images[WORDS_MAX], *arg_settings[WORDS_MAX];
static size_t n_images, n_settings;

static int add_word(const char *what, const char *list[], size_t *n, const char *value)
{
        if (*n == WORDS_MAX) {
                fprintf(stderr, "oxt vm create: more than %d times --%s\n", WORDS_MAX, what);
                return -E2BIG;
        }
        list[(*n)++] = value;
        return 0;
}

static int take_image(const char *value)
{
        return add_word("image", arg_images, &n_images, value);
}

static int take_setting(const char *value)
{
        return add_word("set", arg_settings, &n_settings, value);
}

static const Option options[] = {
        { "image", 'i', "FILE", OPTION_CALLBACK, (void *) take_image,
          "Disk image (qcow2, VHD, raw) or CD image; may be given several times", NULL },
        { "disk", 0, "SIZE", OPTION_STRING, &arg_disk_size, "Add an empty disk, e.g. 20G", NULL },
        { "in-place", 0, NULL, OPTION_FLAG, &arg_in_place, "Use images where they are instead of copying them", NULL },
        { "template", 't', "NAME", OPTION_STRING, &arg_template, "Template of the VM; default new-vm-empty", NULL },
        { "memory", 'm', "SIZE", OPTION_STRING, &arg_memory, "Memory in MiB, or with a unit, e.g. 2G", NULL },
        { "vcpus", 0, "N", OPTION_STRING, &arg_vcpus, "Virtual CPUs", NULL },
        { "network", 'n', "NETWORK", OPTION_STRING, &arg_network,
          "Add a network card: user (in user space), or the path of a network such as /wired/0/bridged; default none", NULL },
        { "cloud-init", 0, "FILE", OPTION_STRING, &arg_user_data, "User data for cloud-init, handed over on a CD", NULL },
        { "network-config", 0, "FILE", OPTION_STRING, &arg_network_config, "Network configuration for cloud-init", NULL },
        { "set", 's', "PROPERTY=VALUE", OPTION_CALLBACK, (void *) take_setting, "Set a property, as oxt vm set does", NULL },
        { "start", 0, NULL, OPTION_FLAG, &arg_start, "Start the VM", NULL },
        { 0 }
};

static void complete(int n_words, char *words[]);

static const Program program = {
        .complete = complete,
        .name = "oxt vm create", .synopsis = "[OPTIONS] NAME", .options = options, .flags = PROGRAM_PERMUTE,
        .summary = "Makes a VM. Images are copied into the storage folder unless they are there, or --in-place says otherwise.",
};

typedef struct Creation {
        VmCommand c;
        const char *name;
        char uuid[37], *path; /* path NULL: the manager does not have it yet */
        char *virt_type;
        char *empty_disk;     /* that was made */
        unsigned n_files;
        unsigned n_disks;
        bool cd_used;         /* the template's own CD drive has an image */
        bool finished;
} Creation;

static void creation_done(Creation *w)
{
        if (!w->finished && w->c.bus) {
                if (w->path)
                        (void) vmcommand_call(&w->c, "undoing the creation", w->path, XENMGR_OWN, "Delete", NULL, "b", true);
                if (w->empty_disk)
                        (void) unlink(w->empty_disk);
                if (w->n_files > 0)
                        (void) vmcommand_call(&w->c, "undoing the creation", "/", XENMGR_OWN, "Discard", NULL, NULL);
        }
        free(w->path);
        free(w->virt_type);
        free(w->empty_disk);
        vmcommand_done(&w->c);
}

static int say(const Creation *w, const char *what, int r)
{
        fprintf(stderr, "%s: %s: %s\n", w->c.name, what, strerror(-r));
        return r;
}

/* ---- before anything is made: is all of it there and right? ---- */

/* The paths that the platform's network daemon lists, to free; NULL where none answers. */
static char **host_networks(const VmCommand *c)
{
        _cleanup_strv_ char **l = NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        int r = sd_bus_message_new_method_call(c->bus, &m, NETWORK_DAEMON, "/", NETWORK_DAEMON, "list");

        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, NETWORKS_USEC, NULL, &reply);
        if (r >= 0)
                (void) reply_read_paths(reply, "object", &l);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return TAKE_PTR(l);
}

static int check_network(const Creation *w)
{
        _cleanup_strv_ char **l = NULL;
        const char *n = arg_network;

        if (!n || streq(n, "none") || streq(n, "user"))
                return 0;
        l = host_networks(&w->c);
        if (l ? strv_contains(l, n) : sd_bus_object_path_is_valid(n) && n[1])
                return 0;
        fprintf(stderr, "%s: --network takes none, user (in user space), or %s, not '%s'\n", w->c.name,
                l ? "one of this host's networks" : "the path of a network such as /wired/0/bridged", n);
        for (char **i = l; i && *i; i++)
                fprintf(stderr, "  %s\n", *i);
        return -EINVAL;
}

typedef struct Wanted {
        Image images[WORDS_MAX];
        char *paths[WORDS_MAX]; /* absolute */
        const VmKey *keys[WORDS_MAX];
        const char *values[WORDS_MAX];
        char *settings[WORDS_MAX];
        uint64_t memory_mib, disk_mib;
        char *user_data, *network_config;
        size_t user_data_size, network_config_size;
} Wanted;

static void wanted_done(Wanted *w)
{
        for (size_t i = 0; i < WORDS_MAX; i++) {
                free(w->paths[i]);
                free(w->settings[i]);
        }
        free(w->user_data);
        free(w->network_config);
}

/* 20G, 512M, or MiB. */
static int parse_size(const char *s, uint64_t *ret_mib)
{
        size_t n = strspn(s, "0123456789");
        _cleanup_free_ char *digits = strndup(s, n);
        uint64_t unit = !s[n] || streq(s + n, "M") ? 1 : streq(s + n, "G") ? 1024 : streq(s + n, "T") ? 1024 * 1024 : 0, v;

        if (!digits)
                return -ENOMEM;
        if (!unit || parse_u64(digits, &v) < 0 || v == 0 || v > INT32_MAX / unit)
                return -EINVAL;
        *ret_mib = v * unit;
        return 0;
}

static int check_size(const Creation *w, const char *option, const char *s, uint64_t max, uint64_t *ret_mib)
{
        if (!s || (parse_size(s, ret_mib) >= 0 && *ret_mib <= max))
                return 0;
        fprintf(stderr, "%s: --%s takes a size such as 20G or 512M, not '%s'\n", w->c.name, option, s);
        return -EINVAL;
}

static int check_number(const Creation *w, const char *option, const char *value, int64_t max)
{
        int64_t n;

        if (!value || (parse_i64(value, &n) >= 0 && n >= 1 && n <= max))
                return 0;
        fprintf(stderr, "%s: --%s takes a number from 1 to %lld, not '%s'\n", w->c.name, option, (long long) max, value);
        return -EINVAL;
}

static int check_file(const Creation *w, const char *path, char **ret, size_t *ret_size)
{
        int r = path ? read_file(path, ISO_FILE_MAX, ret, ret_size) : 0;

        return r < 0 ? say(w, path, r) : 0;
}

static int check_wanted(const Creation *w, Wanted *x)
{
        int r;

        if (check_size(w, "memory", arg_memory, 1 << 24, &x->memory_mib) < 0 ||
            check_size(w, "disk", arg_disk_size, INT32_MAX, &x->disk_mib) < 0 ||
            check_number(w, "vcpus", arg_vcpus, 1024) < 0 || check_network(w) < 0)
                return -EINVAL;
        for (size_t i = 0; i < n_images; i++) {
                r = image_probe(arg_images[i], &x->images[i]);
                if (r == -EMEDIUMTYPE) {
                        fprintf(stderr, "%s: %s is no image (qcow2, VHD, CD image, or raw in whole sectors)\n", w->c.name,
                                arg_images[i]);
                        return r;
                }
                if (r < 0)
                        return say(w, arg_images[i], r);
                x->paths[i] = realpath(arg_images[i], NULL);
                if (!x->paths[i])
                        return say(w, arg_images[i], -errno);
        }
        for (size_t i = 0; i < n_settings; i++) {
                x->settings[i] = strdup(arg_settings[i]);
                if (!x->settings[i])
                        return log_oom();
                r = vmcommand_parse_setting(&w->c, x->settings[i], &x->keys[i], &x->values[i]);
                if (r < 0)
                        return r;
        }
        if (arg_network_config && !arg_user_data) {
                fprintf(stderr, "%s: --network-config goes with --cloud-init\n", w->c.name);
                return -EINVAL;
        }
        r = check_file(w, arg_user_data, &x->user_data, &x->user_data_size);
        return r < 0 ? r : check_file(w, arg_network_config, &x->network_config, &x->network_config_size);
}

/* ---- steps ---- */

/* The names of the templates, to free; NULL: none, and why was printed. */
static char **list_templates(VmCommand *c)
{
        _cleanup_strv_ char **l = NULL;
        sd_bus_message *reply = NULL;

        if (vmcommand_call(c, "templates", "/", XENMGR, "list_templates", &reply, NULL) >= 0)
                (void) sd_bus_message_read_strv(reply, &l);
        sd_bus_message_unref(reply);
        return TAKE_PTR(l);
}

/* The list leaves out those of service VMs, and what is behind the last dot of a name. */
static int check_template(Creation *w)
{
        _cleanup_strv_ char **l = list_templates(&w->c);
        _cleanup_free_ char *stem = strdup(arg_template);

        if (!l || !stem)
                return -EIO;
        if (strrchr(stem, '.'))
                *strrchr(stem, '.') = '\0';
        if (!*arg_template || strv_contains(l, arg_template) || strv_contains(l, stem) || startswith(arg_template, "service-"))
                return 0;
        fprintf(stderr, "%s: there is no template '%s'; templates are:", w->c.name, arg_template);
        for (char **t = l; *t; t++)
                fprintf(stderr, " %s", *t);
        fputc('\n', stderr);
        return -ENOENT;
}

/* What the manager would refuse is better said before images are copied. */
static int check_host(Creation *w)
{
        _cleanup_vmtable_ VmTable l = { .program = w->c.name };
        unsigned n;
        int r = vmtable_load(&l, w->c.bus);

        if (r < 0)
                return r;
        if (!vmtable_find_name(&l, w->name, &n))
                return check_template(w);
        fprintf(stderr, "%s: there is a VM named '%s' already; choose another name\n", w->c.name, w->name);
        return -EEXIST;
}

static int make_vm(Creation *w, const Wanted *x)
{
        _cleanup_strbuf_ StrBuf json = STRBUF_INIT;
        sd_bus_message *reply = NULL;
        const char *path;
        int r;

        strbuf_add(&json, "{\"name\":");
        json_quote(&json, w->name);
        strbuf_addf(&json, ",\"uuid\":\"%s\",\"config\":{", w->uuid);
        if (arg_memory)
                strbuf_addf(&json, "\"memory\":\"%llu\"%s", (unsigned long long) x->memory_mib, arg_vcpus ? "," : "");
        if (arg_vcpus)
                strbuf_addf(&json, "\"vcpus\":\"%s\"", arg_vcpus);
        strbuf_add(&json, "}}");
        if (json.oom)
                return log_oom();
        r = vmcommand_call(&w->c, arg_template, "/", XENMGR, "create_vm_with_template_and_json", &reply, "ss", arg_template,
                           json.data);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0 && !(w->path = strdup(path)))
                r = log_oom();
        sd_bus_message_unref(reply);
        return r < 0 ? r : vmcommand_get(&w->c, w->path, XENMGR_VM, "virt-type", &w->virt_type);
}

/* Where the VM will find a file: as the contract names it, so that a stack that moves takes it along. */
static char *storage_name(const Creation *w, const char *path)
{
        const char *rest = startswith(path, paths_get(&w->c.stack.paths, PATH_STORAGE));

        return rest && *rest == '/' ? strformat("/storage%s", rest) : strdup(path);
}

typedef struct Wait {
        const Creation *creation;
        size_t waiting;
        bool shown;
        int result;
        char *path, *how;
} Wait;

static int on_progress(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        const char *what, *step;
        uint64_t done, size;
        Wait *w = userdata;

        if (sd_bus_message_read(m, "sstt", &what, &step, &done, &size) < 0 || !strstr(step, w->creation->uuid))
                return 0;
        w->shown = true;
        fprintf(stderr, "\r%3u%% of %llu MiB", (unsigned) (size ? done * 100.0 / size : 100), (unsigned long long) (size / MIB));
        return 0;
}

static int on_imported(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *unused)
{
        const sd_bus_error *error = sd_bus_message_get_error(m);
        const char *path, *how;
        Wait *w = userdata;

        w->waiting = 0;
        if (w->shown)
                fputs("\r\033[K", stderr);
        if (error)
                w->result = vmcommand_fail(&w->creation->c, "an image", -EIO, error);
        else if (sd_bus_message_read(m, "ss", &path, &how) < 0 || !(w->path = strdup(path)) || !(w->how = strdup(how)))
                w->result = log_oom();
        return 0;
}

/* Has the manager copy a file into the storage, however long that takes; *ret_path is where, as the contract names it. */
static int import_file(Creation *w, int fd, const char *suffix, char **ret_path, char **ret_how)
{
        Wait wait = { .creation = w, .waiting = 1 };
        sd_bus_slot *progress = NULL, *call = NULL;
        sd_bus_message *m = NULL;
        int r = 0;

        if (isatty(STDERR_FILENO))
                r = sd_bus_add_match(w->c.bus, &progress, "type='signal',sender='" XENMGR "',path='/',interface='" XENMGR_OWN "',member='Progress'",
                                     on_progress, &wait);
        if (r >= 0)
                r = sd_bus_message_new_method_call(w->c.bus, &m, XENMGR, "/", XENMGR_OWN, "Import");
        if (r >= 0)
                r = sd_bus_message_append(m, "hsus", fd, w->uuid, w->n_files++, suffix);
        if (r >= 0)
                r = sd_bus_call_async(w->c.bus, &call, m, on_imported, &wait, UINT64_MAX);
        if (r >= 0)
                r = bus_wait_answers(w->c.bus, &wait.waiting);
        sd_bus_slot_unref(progress);
        sd_bus_slot_unref(call);
        sd_bus_message_unref(m);
        if (r < 0)
                vmcommand_fail(&w->c, "an image", r, NULL);
        *ret_path = wait.path;
        *ret_how = wait.how;
        return r < 0 ? r : wait.result;
}

/* The file that a path of the contract is in this stack; for messages. */
static char *real_name(const Creation *w, const char *path)
{
        char *mapped = paths_map(&w->c.stack.paths, path);

        return mapped ? mapped : strdup(path);
}

/* Brings an image to where the VM may use it. */
static int bring_image(Creation *w, const char *path, const Image *image, char **ret)
{
        const char *inside = startswith(path, paths_get(&w->c.stack.paths, PATH_STORAGE));
        _cleanup_free_ char *how = NULL, *target = NULL;
        _cleanup_close_ int fd = -EBADF;
        char size[40];
        int r;

        snprintf(size, sizeof size, "%llu %s", (unsigned long long) (image->size < MIB ? image->size : image->size / MIB),
                 image->size < MIB ? "bytes" : "MiB");
        if (arg_in_place || (inside && *inside == '/')) {
                printf("%s (%s, %s): used where it is\n", path, image_kind_to_text(image->kind), size);
                *ret = storage_name(w, path);
                return *ret ? 0 : log_oom();
        }
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return say(w, path, -errno);
        r = import_file(w, fd, image_kind_to_suffix(image->kind), ret, &how);
        if (r < 0)
                return r;
        target = real_name(w, *ret);
        printf("%s (%s, %s): %s to %s\n", path, image_kind_to_text(image->kind), size, how, strempty(target));
        return 0;
}

/* hda, hdb, hdd, …: hdc is the CD drive everywhere. Guests without emulated devices have xvda, … */
static void device_name(const Creation *w, unsigned index, char buf[static 8])
{
        bool hvm = streq(w->virt_type, "hvm");

        snprintf(buf, 8, "%s%c", hvm ? "hd" : "xvd", (char) ('a' + index + (hvm && index >= 2)));
}

/* The drive of the template, if it has one. */
static int find_cd(Creation *w, char **ret)
{
        _cleanup_strv_ char **disks = NULL;
        int r = vmcommand_list(&w->c, w->path, "list_disks", &disks);

        for (char **d = disks; r >= 0 && d && *d; d++) {
                _cleanup_free_ char *device = NULL;

                r = vmcommand_get(&w->c, *d, VMDISK, "virt-path", &device);
                if (r >= 0 && streq(device, "hdc")) {
                        *ret = strdup(*d);
                        return *ret ? 0 : log_oom();
                }
        }
        return r;
}

static int add_disk(Creation *w, const char *file, const char *phys_type, bool cd)
{
        _cleanup_free_ char *disk = NULL;
        sd_bus_message *reply = NULL;
        const char *path;
        char device[8];
        int r = 0;

        if (cd && !w->cd_used) {
                r = find_cd(w, &disk);
                if (r < 0)
                        return r;
        }
        if (!disk) {
                r = vmcommand_call(&w->c, "a disk", w->path, XENMGR_VM, "add_disk", &reply, NULL);
                if (r >= 0)
                        r = sd_bus_message_read(reply, "o", &path);
                if (r >= 0 && !(disk = strdup(path)))
                        r = log_oom();
                sd_bus_message_unref(reply);
                if (r < 0)
                        return r;
        }
        if (cd && !w->cd_used && streq(w->virt_type, "hvm")) {
                strcpy(device, "hdc");
                w->cd_used = true;
        } else
                device_name(w, w->n_disks++, device);
        const char *const properties[] = { "phys-path", file,   "phys-type", phys_type, "virt-path", device,
                                           "devtype",   cd ? "cdrom" : "disk", "mode", cd ? "r" : "w", NULL };

        for (const char *const *p = properties; r >= 0 && *p; p += 2)
                r = vmcommand_set_text(&w->c, disk, VMDISK, p[0], p[1]);
        return r;
}

static int add_empty_disk(Creation *w, uint64_t mib)
{
        sd_bus_message *reply = NULL;
        const char *file;
        int r = vmcommand_call(&w->c, "an empty disk", "/", XENMGR, "create_vhd", &reply, "i", (int32_t) mib);

        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &file);
        if (r >= 0) {
                w->empty_disk = real_name(w, file);
                printf("empty disk of %llu MiB: %s\n", (unsigned long long) mib, strempty(w->empty_disk));
                r = add_disk(w, file, "vhd", false);
        }
        sd_bus_message_unref(reply);
        return r;
}

/* Whether the begin of the data tells cloud-init what it is: a line with #, MIME parts, or gzip. */
static bool cloud_init_knows(const char *data, size_t size)
{
        static const char *const begins[] = { "#", "Content-Type:", "MIME-Version:", "\x1f\x8b" };

        for (size_t i = 0; i < ELEMENTSOF(begins); i++)
                if (size >= strlen(begins[i]) && strncasecmp(data, begins[i], strlen(begins[i])) == 0)
                        return true;
        return false;
}

static int bring_seed(Creation *w, const Wanted *x, char **ret)
{
        _cleanup_free_ char *meta = NULL, *how = NULL, *target = NULL;
        _cleanup_close_ int fd = -EBADF;
        _cleanup_strbuf_ StrBuf host = STRBUF_INIT;
        _cleanup_free_ uint8_t *image = NULL;
        IsoFile files[3];
        size_t n = 2, size;
        int r;

        /* A host name has letters, digits and hyphens. */
        for (const char *p = w->name; *p; p++)
                strbuf_addc(&host, (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ? *p : '-');
        meta = strformat("instance-id: %s\nlocal-hostname: %s\n", w->uuid, strempty(host.data));
        if (!meta)
                return log_oom();
        files[0] = (IsoFile) { "meta-data", meta, strlen(meta) };
        files[1] = (IsoFile) { "user-data", x->user_data, x->user_data_size };
        if (x->network_config)
                files[n++] = (IsoFile) { "network-config", x->network_config, x->network_config_size };
        image = iso_image("cidata", files, n, &size);
        if (!image)
                return log_oom();
        fd = memfd_create("seed", MFD_CLOEXEC);
        if (fd < 0 || write(fd, image, size) != (ssize_t) size)
                return say(w, "a CD for cloud-init", fd < 0 ? -errno : -ENOSPC);
        r = import_file(w, fd, "seed.iso", ret, &how);
        if (r < 0)
                return r;
        target = real_name(w, *ret);
        printf("%s: for cloud-init, on the CD %s\n", arg_user_data, strempty(target));
        if (!cloud_init_knows(x->user_data, x->user_data_size))
                fprintf(stderr, "%s: %s begins with neither #cloud-config nor #!; cloud-init may ignore it\n", w->c.name, arg_user_data);
        return 0;
}

static int add_nic(Creation *w)
{
        sd_bus_message *reply = NULL;
        const char *path;
        int r = vmcommand_call(&w->c, "a network card", w->path, XENMGR_VM, "add_nic", &reply, NULL);

        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0)
                r = vmcommand_set_text(&w->c, path, VMNIC, "network", arg_network);
        sd_bus_message_unref(reply);
        return r;
}

/* So that an interrupted command leaves either all of the VM or nothing. */
static void hold_signals(sigset_t *ret_held)
{
        static const int held[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

        sigemptyset(ret_held);
        for (size_t i = 0; i < ELEMENTSOF(held); i++)
                sigaddset(ret_held, held[i]);
        (void) sigprocmask(SIG_BLOCK, ret_held, NULL);
}

static bool is_interrupted(const sigset_t *held)
{
        static const struct timespec now = { 0 };

        return sigtimedwait(held, NULL, &now) > 0;
}

static int make_all(Creation *w, const Wanted *x)
{
        char *files[WORDS_MAX + 1] = { 0 };
        sigset_t held;
        int r = check_host(w);

        for (size_t i = 0; r >= 0 && i < n_images; i++)
                r = bring_image(w, x->paths[i], &x->images[i], &files[i]);
        if (r >= 0 && x->user_data)
                r = bring_seed(w, x, &files[n_images]);
        hold_signals(&held);
        if (r >= 0)
                r = make_vm(w, x);
        for (size_t i = 0; r >= 0 && i < n_images; i++)
                r = add_disk(w, files[i], image_kind_to_phys_type(x->images[i].kind), x->images[i].kind == IMAGE_ISO);
        if (r >= 0 && x->disk_mib > 0)
                r = add_empty_disk(w, x->disk_mib);
        if (r >= 0 && x->user_data)
                r = add_disk(w, files[n_images], "file", true);
        if (r >= 0 && arg_network && !streq(arg_network, "none"))
                r = add_nic(w);
        for (size_t i = 0; r >= 0 && i < n_settings; i++)
                r = vmcommand_apply_setting(&w->c, w->path, x->keys[i], x->values[i]);
        if (r >= 0 && is_interrupted(&held))
                r = say(w, "called off", -EINTR);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                free(files[i]);
        w->finished = r >= 0;
        if (r >= 0)
                (void) sigprocmask(SIG_UNBLOCK, &held, NULL);
        return r;
}

/* Completion: the templates behind --template, the networks behind --network, the properties behind --set. */
static void complete(int n_words, char *words[])
{
        static const Program plain = { .name = "oxt vm create", .synopsis = "", .summary = "" };
        const char *last = n_words > 0 ? words[n_words - 1] : "";
        _cleanup_vmcommand_ VmCommand c = { 0 };
        char name[] = "oxt", *argv[] = { name, NULL };
        int status;

        if (streq(last, "--network") || streq(last, "-n")) {
                _cleanup_strv_ char **l = NULL;

                printf("none\nuser\n");
                if (vmcommand_open(&c, &plain, 0, 0, 1, argv, &status) >= 0)
                        l = host_networks(&c);
                for (char **i = l; i && *i; i++)
                        printf("%s\n", *i);
        } else if (streq(last, "--set") || streq(last, "-s")) {
                for (const VmKey *k = vm_keys; k->property; k++)
                        if (!(k->flags & VMKEY_READ_ONLY))
                                printf("%s=\n", k->property);
        } else if ((streq(last, "--template") || streq(last, "-t")) && vmcommand_open(&c, &plain, 0, 0, 1, argv, &status) >= 0) {
                _cleanup_strv_ char **l = list_templates(&c);

                for (char **t = l; t && *t; t++)
                        printf("%s\n", *t);
        }
}

int vm_create(int argc, char *argv[], _unused_ void *userdata)
{
        _cleanup_(creation_done) Creation w = { .finished = false };
        _cleanup_(wanted_done) Wanted x = { 0 };
        int i, status;

        i = vmcommand_open(&w.c, &program, 1, 1, argc, argv, &status);
        if (i < 0)
                return status;
        w.name = argv[i];
        if (!arg_template)
                arg_template = "new-vm-empty";
        if (vmcommand_check_name(&w.c, w.name) < 0 || check_wanted(&w, &x) < 0)
                return 2;
        if (!uuid_random(w.uuid) || make_all(&w, &x) < 0)
                return 1;
        printf("created %s (%s)\n", w.name, w.uuid);
        if (fflush(stdout) != 0)
                return 1;
        return arg_start && vmcommand_start(&w.c, w.name, w.path) < 0;
}
