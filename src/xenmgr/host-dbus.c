/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The object /host. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "caps.h"
#include "fs.h"
#include "host-events.h"
#include "host-internal.h"
#include "lifecycle.h"
#include "log.h"
#include "parse.h"
#include "root-dbus.h"
#include "strbuf.h"
#include "values.h"
#include "vm.h"

#define LICENSE_PATH "/xenmgr/license"

static void emit(Manager *m, const char *member)
{
        if (m->serving)
                (void) service_emit(m->daemon->service, "/host", XENMGR_INTERFACE ".host", member, "");
}

/* Power of the host belongs to the platform: see docs. What a client asks is refused, not ignored. */
static int method_power(Call *c)
{
        _cleanup_free_ char *text = strformat("%s: the power of this host is not in oxt's hands", c->method->name);

        return call_fail_code(c, ERROR_IO, text);
}

/* Folders */

typedef struct IsoWork {
        Manager *manager;
        Call *call;
        char *folder, **list;
        bool remote;
        int result;
} IsoWork;

static int read_isos(const char *folder, char ***ret)
{
        _cleanup_strv_ char **all = NULL;
        int r = host_folder(folder, ".iso", &all);

        for (char **n = all; r >= 0 && n && *n; n++)
                if (!streq(*n, "null.iso"))
                        r = strv_extend(ret, *n);
        return r;
}

static int answer_isos(Manager *m, const char *folder, Call *c)
{
        int r = 0;

        if (!host_kept(HOST_ISOS)) {
                m->host->isos = strv_free(m->host->isos);
                r = read_isos(folder, &m->host->isos);
        }
        return r < 0 ? r : call_reply_strv(c, 's', m->host->isos);
}

static void iso_work(void *data)
{
        IsoWork *w = data;

        w->remote = host_folder_is_remote(w->folder);
        if (w->remote)
                w->result = read_isos(w->folder, &w->list);
}

static void iso_work_free(IsoWork *w)
{
        strv_free(w->list);
        free(w->folder);
        call_unref(w->call);
        free(w);
}

static void iso_done(void *data)
{
        IsoWork *w = data;
        int r = w->result;

        if (!w->remote)
                r = host_isos_watch(w->folder);
        if (r >= 0)
                r = w->remote ? call_reply_strv(w->call, 's', w->list) : answer_isos(w->manager, w->folder, w->call);
        if (r < 0)
                (void) call_fail_code(w->call, ERROR_IO, strerror(-r));
        iso_work_free(w);
}

static int method_list_isos(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_free_ char *folder = paths_map(manager_paths(m), db_text(m, "/xenmgr/isos", "/storage/isos"));
        IsoWork *w;
        int r;

        if (!folder)
                return -ENOMEM;
        if (host_isos_watched(folder))
                return answer_isos(m, folder, c);
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (IsoWork) { .manager = m, .call = call_ref(c), .folder = TAKE_PTR(folder) };
        r = background_run(m->event, iso_work, iso_done, w);
        if (r < 0)
                iso_work_free(w);
        return r;
}

static int method_list_plugins(Call *c)
{
        Manager *m = c->userdata;
        _cleanup_strv_ char **l = NULL;
        _cleanup_free_ char *dir = NULL;
        const char *sub;
        int r;

        r = sd_bus_message_read(c->message, "s", &sub);
        if (r < 0)
                return r;
        if (strstr(sub, "..") || sub[0] == '/')
                return call_fail(c, DBUS_ERROR_FAILED, "'%.64s' is outside of the plug-in folder", sub);
        dir = paths_format(manager_paths(m), PATH_XUI, "plugins/%s", sub);
        r = dir ? host_folder(dir, "", &l) : -ENOMEM;
        return r < 0 ? r : call_reply_strv(c, 's', l);
}

/* Small things */

static int method_epoch(Call *c)
{
        return call_reply(c, "i", (int32_t) time(NULL));
}

static int on_has_owner(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Call *c = userdata;
        int owned = 0;

        if (!sd_bus_message_get_error(reply))
                (void) sd_bus_message_read(reply, "b", &owned);
        (void) call_reply(c, "b", owned);
        call_unref(c);
        return 0;
}

static int method_is_running(Call *c)
{
        Manager *m = c->userdata;
        const char *name;
        int r;

        r = sd_bus_message_read(c->message, "s", &name);
        if (r < 0)
                return r;
        r = sd_bus_call_method_async(m->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "NameHasOwner", on_has_owner, call_ref(c), "s", name);
        if (r < 0)
                call_unref(c);
        return r < 0 ? r : 0;
}

/* License: kept with the other settings of the host; the xl generation had it in xenstore. */

static bool is_licensed(Manager *m)
{
        const char *hash = db_text(m, LICENSE_PATH "/hash", "local"), *expiry = db_text(m, LICENSE_PATH "/expiry", "");
        struct tm tm = { 0 };

        if (streq(hash, "local"))
                return true;
        return strptime(expiry, "%Y-%m-%d %H:%M:%S", &tm) && timegm(&tm) > time(NULL);
}

static int method_set_license(Call *c)
{
        Manager *m = c->userdata;
        const char *expiry, *device, *hash, *rest;
        struct tm tm = { 0 };
        DbTx *tx;
        int r;

        if (refuse_guest_but_synchroniser(c, "The license"))
                return 0;
        r = sd_bus_message_read(c->message, "sss", &expiry, &device, &hash);
        if (r < 0)
                return r;
        rest = strptime(expiry, "%Y-%m-%d %H:%M:%S", &tm);
        if (streq(hash, "local") || !rest || (*rest && *rest != ' ') || strlen(expiry) > NAME_MAX_BYTES ||
            strlen(device) > NAME_MAX_BYTES || strlen(hash) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_FAILED,
                                 "A license has a date of the form Y-m-d H:M:S zone and a hash of its own");
        tx = db_tx_new();
        (void) db_tx_write(tx, LICENSE_PATH "/expiry", expiry);
        (void) db_tx_write(tx, LICENSE_PATH "/deviceuuid", device);
        (void) db_tx_write(tx, LICENSE_PATH "/hash", hash);
        return manager_commit(m, tx, c, NULL);
}

void host_changed(Manager *m, const char *path)
{
        if (db_paths_meet(path, LICENSE_PATH) && is_licensed(m) != m->host->licensed) {
                m->host->licensed = !m->host->licensed;
                emit(m, "license_changed");
        }
        if (db_paths_meet(path, DISPLAY_GPUS))
                emit(m, "displayhandler_gpu_changed");
        /* Where the pointer of each VM leaves to may have changed. */
        for (size_t i = 0; m->serving && db_paths_meet(path, GPU_PLACEMENT) && i < m->n_vms; i++)
                tell_input_daemon(m, "update_seamless_mouse_settings", "s", m->vms[i]->uuid);
}

/* Properties */

static int append_text(sd_bus_message *reply, const char *text)
{
        return sd_bus_message_append_basic(reply, 's', text && utf8_valid(text, strlen(text)) ? text : "");
}

static int append_owned(sd_bus_message *reply, char *text)
{
        int r = append_text(reply, text);

        free(text);
        return r;
}

static int append_int(sd_bus_message *reply, int64_t v)
{
        int32_t i = (int32_t) MIN2(MAX2(v, (int64_t) INT32_MIN), (int64_t) INT32_MAX);

        return sd_bus_message_append_basic(reply, 'i', &i);
}

static int append_bool(sd_bus_message *reply, bool v)
{
        int b = v;

        return sd_bus_message_append_basic(reply, 'b', &b);
}

static bool has_file(Manager *m, const char *path)
{
        _cleanup_free_ char *mapped = paths_map(manager_paths(m), path);

        return mapped && access(mapped, F_OK) == 0;
}

static bool amt_capable(void)
{
        const PciDevice *list;
        size_t n = pci_list(&list);

        for (size_t i = 0; i < n; i++)
                if (list[i].vendor == 0x8086 && (list[i].class == 0x0780 || list[i].class == 0x0700))
                        return true;
        return false;
}

/* Free memory and what running VMs hold above their lower limit. */
static int64_t available_memory(Manager *m)
{
        int64_t sum = host_free_memory_mib(m);

        for (size_t i = 0; i < m->n_vms; i++) {
                Vm *vm = m->vms[i];
                int64_t memory = vm_int(vm, "config/memory", 0), least = vm_int(vm, "config/memory-min", 0);

                if (vm_is_running(vm) && least > 0 && memory > least)
                        sum += memory - least;
        }
        return sum;
}

static int append_build_info(sd_bus_message *reply)
{
        static const char *const keys[][2] = { { "version", "version" },   { "build", "build" },
                                               { "branch", "build_branch" }, { "build_date_time", "build_date" },
                                               { "tools", "tools" },       { "release", "release" } };
        _cleanup_free_ char *text = NULL;
        int r;

        (void) read_file("/etc/xenclient.conf", 64 * KIB, &text, NULL);
        r = sd_bus_message_open_container(reply, 'a', "{ss}");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(keys); i++) {
                _cleanup_free_ char *value = lines_value(text, keys[i][1]);

                r = sd_bus_message_append(reply, "{ss}", keys[i][0], strempty(value));
        }
        if (r >= 0)
                r = sd_bus_message_append(reply, "{ss}", "edition", "");
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static char *gpu_model(void)
{
        const PciDevice *gpus[1];

        return host_gpus(gpus, 1, true) ? pci_name(gpus[0]) : strdup("");
}

static bool safe_graphics(void)
{
        _cleanup_free_ char *text = host_file_text("/proc/cmdline");

        return text && strstr(text, "safe-graphic");
}

typedef enum HostProperty {
        AMT_CAPABLE,
        AVAIL_MEM,
        FACT,
        BUILD_INFO,
        CAPTURE_PCM,
        CPU_COUNT,
        ETH0_MAC,
        ETH0_MODEL,
        FREE_MEM,
        FREE_STORAGE,
        IS_LICENSED,
        LAPTOP,
        MEASURED_ENABLED,
        MEASURED_SUCCESSFUL,
        GPU_MODEL,
        PLAYBACK_PCM,
        SAFE_GRAPHICS,
        STATE,
        SYSTEM_AMT,
        TOTAL_MEM,
        TOTAL_STORAGE,
        UI_READY,
        WIRELESS_MAC,
        WIRELESS_MODEL,
} HostProperty;

static int get(Call *c, const BusProperty *p, sd_bus_message *reply)
{
        Manager *m = c->userdata;

        switch ((HostProperty) (uintptr_t) p->data) {
        case AMT_CAPABLE:
                return append_bool(reply, amt_capable());
        case AVAIL_MEM:
                return append_int(reply, available_memory(m));
        case FACT:
                return append_text(reply, host_fact(m, p->name));
        case BUILD_INFO:
                return append_build_info(reply);
        case CAPTURE_PCM:
                return append_text(reply, db_text(m, "/audio/capture-pcm", "00-00"));
        case PLAYBACK_PCM:
                return append_text(reply, db_text(m, "/audio/playback-pcm", "00-00"));
        case CPU_COUNT:
                return append_int(reply, host_cpus(m));
        case ETH0_MAC:
                return append_owned(reply, host_nic(m, false, false));
        case ETH0_MODEL:
                return append_owned(reply, host_nic(m, false, true));
        case WIRELESS_MAC:
                return append_owned(reply, host_nic(m, true, false));
        case WIRELESS_MODEL:
                return append_owned(reply, host_nic(m, true, true));
        case FREE_MEM:
                return append_int(reply, host_free_memory_mib(m));
        case TOTAL_MEM:
                return append_int(reply, host_total_memory_mib(m));
        case FREE_STORAGE:
                return append_int(reply, host_storage_mib(m, true));
        case TOTAL_STORAGE:
                return append_int(reply, host_storage_mib(m, false));
        case IS_LICENSED:
                return append_bool(reply, m->host->licensed = is_licensed(m));
        case LAPTOP:
                return append_bool(reply, host_is_laptop(m));
        case MEASURED_ENABLED:
                return append_bool(reply, access("/boot/system/tpm/enabled", F_OK) == 0);
        case MEASURED_SUCCESSFUL:
                return append_bool(reply, has_file(m, "/config/tpm/measured-boot"));
        case GPU_MODEL:
                return append_owned(reply, gpu_model());
        case SAFE_GRAPHICS:
                return append_bool(reply, safe_graphics());
        case STATE:
                return append_text(reply, "idle");
        case SYSTEM_AMT:
                return append_bool(reply, db_bool(m, "/system-amt-pt-active", false));
        case UI_READY:
                return append_bool(reply, m->host->ui_ready);
        }
        return -EINVAL;
}

static int on_focus(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *unused)
{
        Manager *m = userdata;
        int32_t domid = -1;

        if (sd_bus_message_get_error(reply) || sd_bus_message_read(reply, "i", &domid) < 0 || domid >= 0)
                return 0;
        for (size_t i = 0; i < m->n_vms; i++)
                if (m->vms[i]->domid >= 0 && vm_bool(m->vms[i], "provides-graphics-fallback", false)) {
                        lifecycle_show(m->vms[i]);
                        break;
                }
        return 0;
}

/* The UI is there: where nothing is shown yet, it is. */
static void show_fallback(Manager *m)
{
        if (m->bus && manager_has_name(m, INPUT_DAEMON))
                (void) sd_bus_call_method_async(m->bus, NULL, INPUT_DAEMON, "/", INPUT_DAEMON, "get_focus_domid",
                                                on_focus, m, "");
}

static int set(Call *c, const BusProperty *p, sd_bus_message *message, const char *type)
{
        Manager *m = c->userdata;
        _cleanup_free_ char *value = NULL;
        int r;

        r = value_read(message, type, &value);
        if (r < 0)
                return r;
        if ((uintptr_t) p->data == UI_READY) {
                if (!m->host->ui_ready && streq(value, "true")) {
                        m->host->ui_ready = true;
                        show_fallback(m);
                }
                return 1;
        }
        if (strlen(value) > 64)
                return call_fail(c, DBUS_ERROR_FAILED, "A sound device is named by at most 64 bytes");
        return manager_store(m, (uintptr_t) p->data == CAPTURE_PCM ? "/audio/capture-pcm" : "/audio/playback-pcm", value, c);
}

#define P(name, signature, id) { name, signature, BUS_READ, get, NULL, false, (const void *) (uintptr_t) (id) }
#define P_RW(name, signature, id) { name, signature, BUS_READWRITE, get, set, false, (const void *) (uintptr_t) (id) }

static const BusProperty host_properties[] = {
        P("amt-capable", "b", AMT_CAPABLE),
        P("avail-mem", "i", AVAIL_MEM),
        P("bios-revision", "s", FACT),
        P("build-info", "a{ss}", BUILD_INFO),
        P_RW("capture-pcm", "s", CAPTURE_PCM),
        P("cpu-count", "i", CPU_COUNT),
        P("eth0-mac", "s", ETH0_MAC),
        P("eth0-model", "s", ETH0_MODEL),
        P("free-mem", "i", FREE_MEM),
        P("free-storage", "i", FREE_STORAGE),
        P("is-licensed", "b", IS_LICENSED),
        P("laptop", "b", LAPTOP),
        P("measured-boot-enabled", "b", MEASURED_ENABLED),
        P("measured-boot-successful", "b", MEASURED_SUCCESSFUL),
        P("model", "s", FACT),
        P("physical-cpu-model", "s", FACT),
        P("physical-gpu-model", "s", GPU_MODEL),
        P_RW("playback-pcm", "s", PLAYBACK_PCM),
        P("safe-graphics", "b", SAFE_GRAPHICS),
        P("serial", "s", FACT),
        P("state", "s", STATE),
        P("system-amt-pt", "b", SYSTEM_AMT),
        P("total-mem", "i", TOTAL_MEM),
        P("total-storage", "i", TOTAL_STORAGE),
        P_RW("ui-ready", "b", UI_READY),
        P("vendor", "s", FACT),
        P("wireless-mac", "s", WIRELESS_MAC),
        P("wireless-model", "s", WIRELESS_MODEL),
        { 0 }
};

static const BusMethod host_methods[] = {
        { "assign_cd_device", "sbs", "devid sticky vm_uuid", "", "", method_assign_cd, NULL },
        { "configure_gpu_placement", "si", "id slot", "", "", method_set_placement, NULL },
        { "eject_cd_device", "s", "devid", "", "", method_eject_cd, NULL },
        { "get_cd_device_assignment", "s", "devid", "bs", "sticky vm_uuid", method_get_cd, NULL },
        { "get_displayhandler_gpu", "", "", "s", "gpu", method_get_dh_gpu, NULL },
        { "get_gpu_placement", "s", "id", "i", "slot", method_get_placement, NULL },
        { "get_seconds_from_epoch", "", "", "i", "seconds", method_epoch, NULL },
        { "get_sound_card_control", "ss", "card control", "s", "value", method_card_mixer, NULL },
        { "hibernate", "", "", "", "", method_power, NULL },
        { "is_service_running", "s", "service", "b", "running", method_is_running, NULL },
        { "list_capture_devices", "", "", "aa{ss}", "", NULL, "capture", .fill = fill_pcm },
        { "list_cd_devices", "", "", "aa{ss}", "", method_list_cds, NULL },
        { "list_disk_devices", "", "", "aa{ss}", "", method_list_disks, NULL },
        { "list_gpu_devices", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_gpus },
        { "list_gpus_for_displayhandler", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_dh_gpus },
        { "list_isos", "", "", "as", "", method_list_isos, NULL },
        { "list_pci_devices", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_pci },
        { "list_playback_devices", "", "", "aa{ss}", "", NULL, "playback", .fill = fill_pcm },
        { "list_sound_card_controls", "s", "card", "aa{ss}", "", method_card_mixer, NULL },
        { "list_sound_cards", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_cards },
        { "list_ui_plugins", "s", "subdir", "as", "list", method_list_plugins, NULL },
        { "reboot", "", "", "", "", method_power, NULL },
        { "set_displayhandler_gpu", "s", "gpu", "", "", method_set_dh_gpu, NULL },
        { "set_license", "sss", "expiry_date device_uuid hash", "", "", method_set_license, NULL },
        { "set_sound_card_control", "sss", "card control value", "", "", method_card_mixer, NULL },
        { "shutdown", "", "", "", "", method_power, NULL },
        { "shutdown_idle", "", "", "", "", method_power, NULL },
        { "sleep", "", "", "", "", method_power, NULL },
        { 0 }
};

static const BusSignal host_signals[] = {
        { "displayhandler_gpu_changed", "", "" },
        { "license_changed", "", "" },
        { "state_changed", "s", "state" },
        { "storage_space_low", "i", "percent_free" },
        { 0 }
};

/* .installer: steps of the installation that were put off are files */

static const struct {
        const char *state, *file, *action;
} install_steps[] = {
        { "deferred-dom0-password", "deferred_dom0_password", "dom0-password-set" },
        { "deferred-kb-layout", "deferred_kb_layout", "kb-layout-set" },
        { "deferred-accept-eula", "deferred_eula", "eula-accepted" },
        { "deferred-language", "deferred_language", "language-set" },
};

static char *step_path(Manager *m, size_t i)
{
        return paths_format(manager_paths(m), PATH_CONFIG, "%s", install_steps[i].file);
}

static int method_get_eula(Call *c)
{
        _cleanup_free_ char *language = config_language(c->userdata),
                            *own = strformat("/usr/share/xenclient/EULA-%s", strempty(language));
        const char *const files[] = { strempty(own), "/usr/share/xenclient/EULA-en-us", "/usr/share/xenclient/EULA" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                _cleanup_free_ char *text = NULL;

                if (read_file(files[i], MIB, &text, NULL) >= 0)
                        return call_reply(c, "s", utf8_valid(text, strlen(text)) ? text : "");
        }
        return call_fail_code(c, ERROR_IO, "no licence text is installed");
}

static int fill_get_installstate(Call *c, sd_bus_message *reply)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(install_steps); i++) {
                _cleanup_free_ char *path = step_path(c->userdata, i);

                r = sd_bus_message_append(reply, "{ss}", install_steps[i].state,
                                          path && access(path, F_OK) == 0 ? "True" : "False");
        }
        return r;
}

static int method_progress(Call *c)
{
        const char *action;
        int r;

        r = sd_bus_message_read(c->message, "s", &action);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(install_steps); i++)
                if (streq(install_steps[i].action, action)) {
                        _cleanup_free_ char *path = step_path(c->userdata, i);

                        if (path && unlink(path) < 0 && errno != ENOENT)
                                return call_fail_code(c, ERROR_IO, strerror(errno));
                        return 1;
                }
        return r < 0 ? r : call_fail(c, DBUS_ERROR_FAILED, "There is no step '%.64s'", action);
}

static const BusMethod installer_methods[] = {
        { "get_eula", "", "", "s", "eula", method_get_eula, NULL },
        { "get_installstate", "", "", "a{ss}", "state", NULL, NULL, .fill = fill_get_installstate },
        { "progress_installstate", "s", "action", "", "", method_progress, NULL },
        { 0 }
};

/* .powersettings */

static int method_get_lid(Call *c)
{
        return call_reply(c, "s", db_text(c->userdata, c->method->data, "nothing"));
}

static int method_set_lid(Call *c)
{
        const char *action;
        int r;

        r = sd_bus_message_read(c->message, "s", &action);
        if (r < 0)
                return r;
        if (!words_contain("sleep hibernate shutdown forced-shutdown idle-shutdown reboot nothing", action))
                action = "nothing";
        return manager_store(c->userdata, c->method->data, action, c);
}

#define AC "/power-management/ac-lid-close-action"
#define BATTERY "/power-management/battery-lid-close-action"

static const BusMethod power_methods[] = {
        { "get_ac_lid_close_action", "", "", "s", "", method_get_lid, AC },
        { "get_battery_lid_close_action", "", "", "s", "", method_get_lid, BATTERY },
        { "set_ac_lid_close_action", "s", "action", "", "", method_set_lid, AC },
        { "set_battery_lid_close_action", "s", "action", "", "", method_set_lid, BATTERY },
        { 0 }
};

static const BusInterface host_interface = { .name = XENMGR_INTERFACE ".host",
                                             .methods = host_methods,
                                             .properties = host_properties,
                                             .signals = host_signals };
static const BusInterface installer_interface = { .name = XENMGR_INTERFACE ".installer", .methods = installer_methods };
static const BusInterface power_interface = { .name = XENMGR_INTERFACE ".powersettings", .methods = power_methods };

const BusInterface *const host_interfaces[] = { &host_interface, &installer_interface, &power_interface, NULL };
