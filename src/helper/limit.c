/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "limit.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "strbuf.h"

#define TABLE "oxt"
#define MESSAGES_MAX 4096
/* A packet of a guest can be 64 KiB, and is let through or dropped whole. */
#define BURST_MIN (128 * KIB)
#define BURST_MAX (16 * MIB)
#define ANSWER_SECONDS 5

/* Messages of netlink, one behind the other. */
typedef struct Messages {
        _Alignas(NLMSG_ALIGNTO) char data[MESSAGES_MAX];
        size_t n;
        struct nlmsghdr *last;
        uint32_t sequence; /* of the last */
        unsigned acks;     /* that are to come */
} Messages;

static void *put(Messages *m, size_t size)
{
        void *p = m->data + m->n;

        if (m->n + NLMSG_ALIGN(size) > sizeof m->data) /* all sizes are known here: it does not come to that */
                abort();
        memset(p, 0, NLMSG_ALIGN(size));
        m->n += NLMSG_ALIGN(size);
        if (m->last)
                m->last->nlmsg_len = (uint32_t) (m->data + m->n - (char *) m->last);
        return p;
}

static void begin(Messages *m, uint16_t type, uint16_t flags, const void *head, size_t size)
{
        struct nlmsghdr *h;

        m->last = NULL;
        h = put(m, sizeof *h);
        *h = (struct nlmsghdr) { .nlmsg_len = sizeof *h, .nlmsg_type = type, .nlmsg_flags = (uint16_t) (NLM_F_REQUEST | flags),
                                 .nlmsg_seq = ++m->sequence };
        m->last = h;
        m->acks += (flags & NLM_F_ACK) != 0;
        memcpy(put(m, size), head, size);
}

static struct nlattr *open_attribute(Messages *m, uint16_t type)
{
        struct nlattr *a = put(m, sizeof *a);

        a->nla_type = (uint16_t) (type | NLA_F_NESTED);
        return a;
}

static void close_attribute(Messages *m, struct nlattr *a)
{
        a->nla_len = (uint16_t) (m->data + m->n - (char *) a);
}

static void attribute(Messages *m, uint16_t type, const void *value, size_t size)
{
        struct nlattr *a = put(m, sizeof *a);

        a->nla_type = type;
        a->nla_len = (uint16_t) (sizeof *a + size);
        memcpy(put(m, size), value, size);
}

static void text(Messages *m, uint16_t type, const char *value)
{
        attribute(m, type, value, strlen(value) + 1);
}

static void number32(Messages *m, uint16_t type, uint32_t value)
{
        attribute(m, type, &(uint32_t) { htonl(value) }, sizeof(uint32_t));
}

static void number64(Messages *m, uint16_t type, uint64_t value)
{
        attribute(m, type, &(uint64_t) { htobe64(value) }, sizeof(uint64_t));
}

/* Sends them. Returns a socket that has the answers, or negative errno. */
static int ask(const Messages *m, int protocol)
{
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        struct timeval limit = { .tv_sec = ANSWER_SECONDS };
        struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
            sendto(fd, m->data, m->n, 0, (struct sockaddr *) &kernel, sizeof kernel) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* Waits for what the kernel says of each that is to be answered; the first failure counts. */
static int talk(const Messages *m, int protocol)
{
        _cleanup_close_ int fd = ask(m, protocol);
        unsigned acks = 0;

        if (fd < 0)
                return fd;
        while (acks < m->acks) {
                _Alignas(NLMSG_ALIGNTO) char answer[8192];
                ssize_t n = recv(fd, answer, sizeof answer, 0);

                if (n < 0)
                        return -errno;
                for (struct nlmsghdr *h = (struct nlmsghdr *) answer; NLMSG_OK(h, (size_t) n); h = NLMSG_NEXT(h, n)) {
                        const struct nlmsgerr *e = NLMSG_DATA(h);

                        if (h->nlmsg_type != NLMSG_ERROR)
                                continue;
                        if (e->error < 0)
                                return e->error == -ENOENT || e->error == -EINVAL ? -EOPNOTSUPP : e->error;
                        acks++;
                }
        }
        return 0;
}

static uint32_t burst_of(uint64_t rate)
{
        return (uint32_t) MIN2(MAX2(rate / 4, BURST_MIN), BURST_MAX);
}

static int hold_back(unsigned device, uint64_t rate)
{
        struct tcmsg head = { .tcm_family = AF_UNSPEC, .tcm_ifindex = (int) device, .tcm_parent = TC_H_ROOT, .tcm_handle = 1U << 16 };
        struct tc_tbf_qopt options = { .limit = burst_of(rate) + (uint32_t) MIN2(rate / 10, BURST_MAX),
                                       .rate.rate = (uint32_t) MIN2(rate, UINT32_MAX) };
        Messages m = { 0 };
        struct nlattr *a;

        begin(&m, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
        text(&m, TCA_KIND, "tbf");
        a = open_attribute(&m, TCA_OPTIONS);
        attribute(&m, TCA_TBF_PARMS, &options, sizeof options);
        attribute(&m, TCA_TBF_BURST, &(uint32_t) { burst_of(rate) }, sizeof(uint32_t));
        attribute(&m, TCA_TBF_RATE64, &rate, sizeof rate);
        close_attribute(&m, a);
        return talk(&m, NETLINK_ROUTE);
}

static const struct nfgenmsg head = { .nfgen_family = NFPROTO_NETDEV, .version = NFNETLINK_V0 };
static const uint16_t nft = NFNL_SUBSYS_NFTABLES << 8;

/* nftables takes a batch whole or not at all. */
static void batch(Messages *m, uint16_t type)
{
        const struct nfgenmsg head_of_batch = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

        begin(m, type, 0, &head_of_batch, sizeof head_of_batch);
}

void limit_forget(const char *name)
{
        Messages m = { 0 };

        batch(&m, NFNL_MSG_BATCH_BEGIN);
        begin(&m, nft | NFT_MSG_DELCHAIN, NLM_F_ACK, &head, sizeof head);
        text(&m, NFTA_CHAIN_TABLE, TABLE);
        text(&m, NFTA_CHAIN_NAME, name);
        batch(&m, NFNL_MSG_BATCH_END);
        (void) talk(&m, NETLINK_NETFILTER); /* mostly there is none */
}

/* The text of that attribute in a message about a chain; "": none. */
static const char *chain_text(const struct nlmsghdr *h, uint16_t type)
{
        const char *end = (const char *) h + h->nlmsg_len, *at = (const char *) NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(struct nfgenmsg));

        while (end - at >= (ptrdiff_t) sizeof(struct nlattr)) {
                const struct nlattr *a = (const struct nlattr *) at;

                if (a->nla_len < sizeof *a || a->nla_len > end - at)
                        break;
                if ((a->nla_type & NLA_TYPE_MASK) == type && memchr(a + 1, '\0', a->nla_len - sizeof *a))
                        return (const char *) (a + 1);
                at += NLA_ALIGN(a->nla_len);
        }
        return "";
}

/* Adds the chains of our table to *ret. */
static void list_chains(char ***ret)
{
        _cleanup_close_ int fd = -EBADF;
        Messages m = { 0 };

        begin(&m, nft | NFT_MSG_GETCHAIN, NLM_F_DUMP, &head, sizeof head);
        fd = ask(&m, NETLINK_NETFILTER);
        while (fd >= 0) {
                _Alignas(NLMSG_ALIGNTO) char answer[32 * KIB];
                ssize_t n = recv(fd, answer, sizeof answer, 0);

                if (n < 0)
                        return;
                for (struct nlmsghdr *h = (struct nlmsghdr *) answer; NLMSG_OK(h, (size_t) n); h = NLMSG_NEXT(h, n)) {
                        if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
                                return;
                        if (streq(chain_text(h, NFTA_CHAIN_TABLE), TABLE) && strv_extend(ret, chain_text(h, NFTA_CHAIN_NAME)) < 0)
                                return;
                }
        }
}

void limit_sweep(void)
{
        _cleanup_strv_ char **chains = NULL;

        list_chains(&chains);
        for (char **c = chains; c && *c; c++)
                if (if_nametoindex(*c) == 0)
                        limit_forget(*c);
}

int links_watch(void)
{
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return TAKE_FD(fd);
}

bool links_gone(int fd)
{
        _Alignas(NLMSG_ALIGNTO) char told[32 * KIB];
        bool gone = false;
        ssize_t n;

        while ((n = recv(fd, told, sizeof told, 0)) > 0)
                for (struct nlmsghdr *h = (struct nlmsghdr *) told; NLMSG_OK(h, (size_t) n); h = NLMSG_NEXT(h, n))
                        gone = gone || h->nlmsg_type == RTM_DELLINK;
        return gone || (n < 0 && errno == ENOBUFS); /* it told more than was heard */
}

static int drop_beyond(const char *name, uint64_t rate)
{
        struct nlattr *a, *b, *c, *d, *e;
        Messages m = { 0 };

        batch(&m, NFNL_MSG_BATCH_BEGIN);
        begin(&m, nft | NFT_MSG_NEWTABLE, NLM_F_ACK | NLM_F_CREATE, &head, sizeof head);
        text(&m, NFTA_TABLE_NAME, TABLE);

        begin(&m, nft | NFT_MSG_NEWCHAIN, NLM_F_ACK | NLM_F_CREATE, &head, sizeof head);
        text(&m, NFTA_CHAIN_TABLE, TABLE);
        text(&m, NFTA_CHAIN_NAME, name);
        text(&m, NFTA_CHAIN_TYPE, "filter");
        a = open_attribute(&m, NFTA_CHAIN_HOOK);
        number32(&m, NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS);
        number32(&m, NFTA_HOOK_PRIORITY, 0);
        text(&m, NFTA_HOOK_DEV, name);
        close_attribute(&m, a);

        begin(&m, nft | NFT_MSG_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, &head, sizeof head);
        text(&m, NFTA_RULE_TABLE, TABLE);
        text(&m, NFTA_RULE_CHAIN, name);
        a = open_attribute(&m, NFTA_RULE_EXPRESSIONS);
        b = open_attribute(&m, NFTA_LIST_ELEM);
        text(&m, NFTA_EXPR_NAME, "limit");
        c = open_attribute(&m, NFTA_EXPR_DATA);
        number64(&m, NFTA_LIMIT_RATE, rate);
        number64(&m, NFTA_LIMIT_UNIT, 1);
        /* What may come at once is this and what a second brings. */
        number32(&m, NFTA_LIMIT_BURST, rate < BURST_MIN ? (uint32_t) (BURST_MIN - rate) : 0);
        number32(&m, NFTA_LIMIT_TYPE, NFT_LIMIT_PKT_BYTES);
        number32(&m, NFTA_LIMIT_FLAGS, NFT_LIMIT_F_INV);
        close_attribute(&m, c);
        close_attribute(&m, b);
        b = open_attribute(&m, NFTA_LIST_ELEM);
        text(&m, NFTA_EXPR_NAME, "immediate");
        c = open_attribute(&m, NFTA_EXPR_DATA);
        number32(&m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        d = open_attribute(&m, NFTA_IMMEDIATE_DATA);
        e = open_attribute(&m, NFTA_DATA_VERDICT);
        number32(&m, NFTA_VERDICT_CODE, NF_DROP);
        close_attribute(&m, e);
        close_attribute(&m, d);
        close_attribute(&m, c);
        close_attribute(&m, b);
        close_attribute(&m, a);
        batch(&m, NFNL_MSG_BATCH_END);
        return talk(&m, NETLINK_NETFILTER);
}

int limit_device(const char *name, uint64_t bytes_per_second)
{
        unsigned device = if_nametoindex(name);
        int r;

        if (device == 0)
                return -ENODEV;
        limit_forget(name);
        r = drop_beyond(name, bytes_per_second);
        return r < 0 ? r : hold_back(device, bytes_per_second);
}
