/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-xen.h"

#include <unistd.h>

#include "background.h"
#include "helper-client.h"
#include "host-internal.h"
#include "json.h"
#include "log.h"
#include "spawn.h"
#include "xen-nodes.h"

#define FRESH_USEC (1 * USEC_PER_SEC)
#define ANSWER_MAX 512

struct XenFacts {
        Manager *manager;
        HelperCall *call;
        sd_event_source *answer;
        char text[ANSWER_MAX];
        size_t n;
        uint64_t asked_at;
        int64_t total_mib, free_mib, cpus;
};

static void take_answer(XenFacts *x)
{
        _cleanup_json_ json_object *o = NULL;

        if (json_parse(x->text, x->n, 2, &o) < 0)
                return;
        x->total_mib = json_get_int(o, "total-kib", -1) / 1024;
        x->free_mib = json_get_int(o, "free-kib", -1) / 1024;
        x->cpus = json_get_int(o, "cpus", -1);
}

static int on_answer(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata)
{
        XenFacts *x = userdata;
        ssize_t n = read(fd, x->text + x->n, sizeof x->text - x->n);

        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n > 0)
                x->n += (size_t) n;
        if (n > 0 && x->n < sizeof x->text)
                return 0;
        x->answer = sd_event_source_disable_unref(x->answer);
        take_answer(x);
        return 0;
}

/* The descriptor is ours from here on. */
static void read_answer(XenFacts *x, int fd)
{
        x->n = 0;
        if (sd_event_add_io(x->manager->event, &x->answer, fd, EPOLLIN, on_answer, x) < 0)
                safe_close(fd);
        else
                (void) sd_event_source_set_io_fd_own(x->answer, true);
}

static void on_helper_done(void *userdata, int r, const char *why, _unused_ const char *name, int fd)
{
        XenFacts *x = userdata;

        x->call = NULL;
        if (r >= 0 && fd >= 0)
                read_answer(x, fd);
        else {
                log_debug("Xen cannot be asked for the host's memory: %s", strempty(why));
                safe_close(fd);
        }
}

static int ask_xenvm(XenFacts *x)
{
        char *const args[] = { (char *) "--print-host", NULL };
        int pidfd, fd = spawn_read(SPAWN_XENVM, args, &pidfd);

        if (fd < 0)
                return fd;
        background_reap(x->manager->event, pidfd);
        read_answer(x, fd);
        return 0;
}

static XenFacts *facts(Manager *m)
{
        if (!m->host->xen && host_is_xen()) {
                m->host->xen = calloc(1, sizeof *m->host->xen);
                if (m->host->xen)
                        *m->host->xen = (XenFacts) { .manager = m, .total_mib = -1, .free_mib = -1, .cpus = -1 };
        }
        return m->host->xen;
}

void host_xen_refresh(Manager *m)
{
        static const char *const parameters[] = { NULL };
        XenFacts *x = facts(m);
        int r;

        if (!x || x->call || x->answer || (x->asked_at > 0 && now_usec() - x->asked_at < FRESH_USEC))
                return;
        x->asked_at = now_usec();
        r = xen_needs_helper() ? helper_call(m->event, manager_paths(m), "host-info", parameters, on_helper_done, x, &x->call) : ask_xenvm(x);
        if (r < 0)
                log_errno_full(LOG_DEBUG, r, "Xen cannot be asked for the host's memory");
}

XenFacts *host_xen_free(XenFacts *x)
{
        if (!x)
                return NULL;
        helper_call_cancel(x->call);
        sd_event_source_disable_unref(x->answer);
        free(x);
        return NULL;
}

/* Whoever looks gets what is known, and the next one what is so now. */
static const XenFacts *known(Manager *m)
{
        static const XenFacts nothing = { .total_mib = -1, .free_mib = -1, .cpus = -1 };

        host_xen_refresh(m);
        return m->host->xen ? m->host->xen : &nothing;
}

int64_t host_xen_total_mib(Manager *m)
{
        return known(m)->total_mib;
}

int64_t host_xen_free_mib(Manager *m)
{
        return known(m)->free_mib;
}

int64_t host_xen_cpus(Manager *m)
{
        return known(m)->cpus;
}
