/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xenmgr: the manager of VMs, as com.citrix.xenclient.xenmgr on the bus. */
#include "manager.h"

static bool arg_no_autostart;

static const Option options[] = {
        { "no-autostart", 0, NULL, OPTION_FLAG, &arg_no_autostart, "Start no VMs when the daemon comes up", NULL },
        { 0 }
};

static int start(Daemon *d, void *userdata, char *words[])
{
        Manager *m = userdata;

        m->no_autostart = arg_no_autostart;
        return manager_start(d, m, words);
}

int main(int argc, char *argv[])
{
        static const DaemonSpec spec = {
                .program = { .name = "xenmgr",
                             .synopsis = "[OPTIONS]",
                             .summary = "Manages virtual machines: their settings, starting, keeping and ending.",
                             .options = options },
                .user = "oxt-mgr",
                .dirs = { { PATH_VM, 0711 },
                          { PATH_CHANNELS, 0755 },
                          { PATH_VM_LOGS, 0750 },
                          { PATH_XENVM_STATE, 0700 },
                          { PATH_XENVM_SOCKETS, 0750 },
                          { PATH_CONFIG, 0755 },
                          { PATH_STORAGE, 0755 },
                          { PATH_DISKS, 0750 },
                          { PATH_ISOS, 0755 } },
                .bus_name = XENMGR_SERVICE,
                .service = &manager_service,
                .service_has_guests = true,
                .start = start,
                .bus_up = manager_bus_up,
                .ready = manager_ready,
                .bus_down = manager_bus_down,
                .end = manager_end,
        };
        static Manager manager;

        return daemon_run(&spec, &manager, argc, argv);
}
