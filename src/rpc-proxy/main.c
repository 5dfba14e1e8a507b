/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "audit.h"
#include "connection.h"
#include "listener.h"
#include "log.h"
#include "names.h"
#include "outgoing.h"
#include "parse.h"
#include "proxy-service.h"
#include "ruleset.h"
#include "strbuf.h"
#include "vminfo.h"
#include "web-process.h"

#define DESCRIPTORS_MAX 65536

static Proxy proxy = { .incoming = "argo:5555", .incoming_domid = -1 };
static const char *arg_domid;

static const Option options[] = {
        { "incoming-channel", 'i', "CHANNEL", OPTION_STRING, &proxy.incoming,
          "Where clients come from: guest:, unix:PATH, tcp:PORT, vsock:PORT or serial:DEVICE", NULL },
        { "listen-channel", 'l', "CHANNEL", OPTION_STRING, &proxy.incoming, "The same", NULL },
        { "outgoing-channel", 'o', "CHANNEL", OPTION_STRING, &proxy.outgoing,
          "Where to forward: unix:PATH or serial:DEVICE (default: the bus of this stack)", NULL },
        { "forward-channel", 'f', "CHANNEL", OPTION_STRING, &proxy.outgoing, "The same", NULL },
        { "incoming-domid", 'd', "DOMID", OPTION_STRING, &arg_domid, "Treat every client as this domain", NULL },
        { "rules", 'r', "FILE", OPTION_STRING, &proxy.rules_path, "Rules file", NULL },
        { "request-name", 'n', "NAME", OPTION_STRING, &proxy.instance.request_name,
          "Whatever name a client asks for, ask for NAME; $UUID in it stands for the VM's", NULL },
        { "server", 's', NULL, OPTION_FLAG, &proxy.server, "Serve com.citrix.xenclient.rpc_proxy on the bus", NULL },
        { "no-firewall", 'w', NULL, OPTION_FLAG, &proxy.instance.no_firewall, "Filter nothing", NULL },
        { "uuid", 'u', NULL, OPTION_FLAG, &proxy.instance.send_uuid, "Tell the client its uuid when it authenticates", NULL },
        { "owner-name", 0, NULL, OPTION_FLAG, &proxy.instance.owner_name,
          "Answer GetNameOwner with the name that was asked for", NULL },
        { "translate-anonymous-dests", 0, NULL, OPTION_FLAG, &proxy.instance.translate_anonymous,
          "Send calls for a unique name to a well-known name of the same owner", NULL },
        { "json-in", 0, NULL, OPTION_FLAG, &proxy.instance.json_in, "Clients speak JSON, each object followed by a NUL byte", NULL },
        { "json-out", 0, NULL, OPTION_FLAG, &proxy.instance.json_out, "The outgoing side speaks JSON", NULL },
        { "websockets-in", 0, NULL, OPTION_FLAG, &proxy.instance.websockets_in,
          "Clients speak JSON over WebSockets (with --json-in and --auto-auth)", NULL },
        { "auto-auth", 0, NULL, OPTION_FLAG, &proxy.instance.auto_auth, "Clients do not authenticate", NULL },
        { "no-marker", 0, NULL, OPTION_FLAG, &proxy.instance.no_marker,
          "The outgoing side is another proxy, which says itself which VM calls", NULL },
        { "allow-remote", 0, NULL, OPTION_FLAG, &proxy.allow_remote, "Let tcp: take connections from other machines", NULL },
        { "verbose", 'v', NULL, OPTION_FLAG, &proxy.verbose, "Also record every allowed message", NULL },
        { 0 }
};

static DaemonSpec spec;

/* Those of -r; else the stack's, or where they are missing those that are shipped. */
static int load_rules(Proxy *p)
{
        _cleanup_free_ char *shipped = NULL;

        if (p->rules_path)
                return ruleset_new(p, p->rules_path, NULL, &p->rules);
        shipped = strformat("%s/rpc-proxy.rules", data_dir());
        return shipped ? ruleset_new(p, paths_get(&p->daemon->paths, PATH_RULES), shipped, &p->rules) : -ENOMEM;
}

static int check_options(Daemon *d, char *words[])
{
        static char *address;
        const char *why;

        if (words[0]) {
                log_error("Unexpected argument '%s'", words[0]);
                return -EINVAL;
        }
        if (arg_domid && (parse_i64(arg_domid, &proxy.incoming_domid) < 0 || proxy.incoming_domid < 0)) {
                log_error("--incoming-domid takes a decimal domain number, not '%s'", arg_domid);
                return -EINVAL;
        }
        if (proxy.instance.websockets_in && (!proxy.instance.json_in || !proxy.instance.auto_auth)) {
                log_error("--websockets-in needs --json-in and --auto-auth: there is no D-Bus in WebSockets");
                return -EINVAL;
        }
        if (listener_check(proxy.incoming, &why) < 0) {
                log_error("Cannot listen on '%s': %s", proxy.incoming, why);
                return -EINVAL;
        }
        if (!proxy.outgoing) {
                address = bus_address(&d->paths);
                if (!address)
                        return log_oom();
                proxy.outgoing = address;
        }
        if (outgoing_check(proxy.outgoing, &why) < 0) {
                log_error("Cannot forward to '%s': %s", proxy.outgoing, why);
                return -EINVAL;
        }
        return 0;
}

/* Each connection takes two descriptors or more, and the usual soft limit is for programs that use select(). */
static void raise_descriptors(void)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= DESCRIPTORS_MAX)
                return;
        l.rlim_cur = MIN2(l.rlim_max, (rlim_t) DESCRIPTORS_MAX);
        (void) setrlimit(RLIMIT_NOFILE, &l);
}

static int proxy_start(Daemon *d, void *userdata, char *words[])
{
        Proxy *p = userdata;
        uint8_t random[16];
        int r;

        p->daemon = d;
        p->event = d->event;
        r = check_options(d, words);
        if (r < 0)
                return r;
        if (p->server) {
                spec.bus_name = "com.citrix.xenclient.rpc_proxy";
                spec.service = &proxy_service;
        }
        limits_load(&p->limits);
        raise_descriptors();
        /* rpc-proxy-web has this user, too, and is not to look into this process. (Where root started it, it cannot anyway.) */
        if (d->paths.system)
                (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (getrandom(random, sizeof random, 0) != sizeof random)
                return log_errno(errno, "Cannot get random bytes");
        for (size_t i = 0; i < sizeof random; i++)
                snprintf(p->guid + 2 * i, 3, "%02x", random[i]);
        r = connections_start(p);
        if (r >= 0)
                r = audit_new(p, &p->audit);
        if (r >= 0)
                r = vminfo_new(p, &p->vminfo);
        if (r >= 0)
                r = load_rules(p);
        if (r < 0)
                return log_errno(r, "Cannot start");
        return listener_new(p, &p->listener);
}

static int proxy_bus_up(Daemon *d, void *userdata)
{
        char marker[MARKER_NAME_MAX];
        Proxy *p = userdata;
        int r;

        /* Without a name for ourselves services would refuse us as one who hides whom it serves. */
        r = marker_format_proxy(marker) ? sd_bus_request_name(d->bus, marker, 0) : -EIO;
        if (r < 0)
                return log_errno(r, "Cannot own a name below " MARKER_PREFIX);
        r = names_new(d->bus, &p->names);
        if (r < 0)
                return log_errno(r, "Cannot follow the names on the bus");
        return vminfo_bus_up(p->vminfo, d->bus);
}

static int proxy_ready(_unused_ Daemon *d, void *userdata)
{
        Proxy *p = userdata;
        int r;

        r = listener_start(p->listener);
        return r < 0 ? log_errno(r, "Cannot accept connections") : 0;
}

static void proxy_bus_down(_unused_ Daemon *d, void *userdata)
{
        Proxy *p = userdata;

        if (p->listener)
                listener_stop(p->listener);
        connections_end(p, NULL, "the bus went away");
        p->names = names_free(p->names);
        if (p->vminfo)
                vminfo_bus_down(p->vminfo);
}

static int proxy_reload(_unused_ Daemon *d, void *userdata)
{
        Proxy *p = userdata;

        (void) ruleset_reload(p->rules);
        return 0;
}

static void proxy_end(_unused_ Daemon *d, void *userdata)
{
        Proxy *p = userdata;

        connections_stop(p);
        p->web = web_process_free(p->web);
        p->listener = listener_free(p->listener);
        p->rules = ruleset_free(p->rules);
        p->vminfo = vminfo_free(p->vminfo);
        p->audit = audit_free(p->audit);
}

int main(int argc, char *argv[])
{
        spec = (DaemonSpec) {
                .program = { .name = "rpc-proxy", .synopsis = "[OPTIONS]",
                             .summary = "Lets guests talk to the host's bus, as far as the rules allow.", .options = options,
                             .flags = PROGRAM_PREFIXES },
                .user = "oxt-proxy",
                .dirs = { { PATH_CHANNELS, 0755, "oxt-mgr" } }, /* monitors announce their VMs there */
                .service_has_guests = true,
                .start = proxy_start,
                .bus_up = proxy_bus_up,
                .ready = proxy_ready,
                .bus_down = proxy_bus_down,
                .reload = proxy_reload,
                .end = proxy_end,
        };
        return daemon_run(&spec, &proxy, argc, argv);
}
