/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peer.h"

#include "list.h"
#include "ruleset.h"
#include "vminfo.h"

#define UNKNOWN_DOMID 32756 /* Xen's DOMID_INVALID */
#define PAST 32
#define UNKNOWN_UUID "ffffffff-ffff-ffff-ffff-ffffffffffff"

/* What was said of peers that are gone: whoever comes again at once, begins with that. */
static struct {
        int64_t domid;
        bool stubdom;
        char uuid[37];
        Rate denials, allowed, notes;
} past[PAST];
static unsigned next_past;

static void remember_rates(const Peer *p)
{
        past[next_past].domid = p->domid;
        past[next_past].stubdom = p->stubdom;
        strcpy(past[next_past].uuid, p->uuid);
        past[next_past].denials = p->denials;
        past[next_past].allowed = p->allowed;
        past[next_past].notes = p->notes;
        next_past = (next_past + 1) % PAST;
}

static void recall_rates(Peer *p)
{
        for (unsigned i = 1; i <= PAST; i++) { /* the latest first */
                unsigned k = (next_past + PAST - i) % PAST;

                if (past[k].domid == p->domid && past[k].stubdom == p->stubdom && streq(past[k].uuid, p->uuid)) {
                        p->denials = past[k].denials;
                        p->allowed = past[k].allowed;
                        p->notes = past[k].notes;
                        return;
                }
        }
}

static const char *peer_property(void *userdata, const char *name)
{
        Peer *p = userdata;

        return vminfo_property(p->proxy->vminfo, p->uuid, name);
}

Peer *peer_get(Proxy *proxy, int64_t domid, const char *uuid, bool stubdom)
{
        Peer *p;

        uuid = strempty(uuid);
        for (p = proxy->peers; p; p = p->next)
                if (!p->over && p->domid == domid && p->stubdom == stubdom && streq(p->uuid, uuid))
                        return peer_ref(p);
        p = calloc(1, sizeof *p);
        if (!p)
                return NULL;
        p->refs = 1;
        p->proxy = proxy;
        p->domid = domid;
        p->stubdom = stubdom;
        snprintf(p->uuid, sizeof p->uuid, "%s", uuid);
        p->client = (PolicyClient) { .domid = domid, .uuid = p->uuid[0] ? p->uuid : NULL, .stubdom = stubdom,
                                     .property = p->uuid[0] ? peer_property : NULL, .userdata = p };
        p->waiting_end = &p->waiting;
        recall_rates(p);
        p->next = proxy->peers;
        proxy->peers = p;
        ruleset_apply(proxy->rules, p);
        return p;
}

Peer *peer_ref(Peer *p)
{
        p->refs++;
        return p;
}

Peer *peer_unref(Peer *p)
{
        if (!p || --p->refs > 0)
                return NULL;
        LIST_TAKE_OUT(p->proxy->peers, p);
        remember_rates(p);
        if (p->proxy->last_caller == p)
                p->proxy->last_caller = NULL;
        policy_unref(p->policy);
        free(p->policy_why);
        free(p->start);
        free(p);
        return NULL;
}

void peer_over(Peer *p)
{
        p->over = true;
}

void peer_caller(const Peer *p, Caller *ret)
{
        *ret = (Caller) { .guest = true, .domid = p->domid >= 0 ? p->domid : UNKNOWN_DOMID, .stubdom = p->stubdom };
        strcpy(ret->uuid, p->uuid[0] ? p->uuid : UNKNOWN_UUID);
}
