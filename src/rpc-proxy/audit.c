/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit.h"

#include <sys/stat.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "strbuf.h"

#define INTERFACE "org.oxt.RpcProxy1"
#define RECORDS_MAX 512 /* that are kept */
#define TEXT_MAX 256 /* of untrusted texts in records */

/* A record that is kept. */
typedef struct Kept {
        char *text;
        int64_t domid;
        char uuid[37];
        bool allowed;
        unsigned owner; /* records with the same are the same VM's, and all denials or none */
} Kept;

struct Audit {
        Proxy *proxy;
        Kept kept[RECORDS_MAX]; /* the oldest first */
        unsigned n_kept;
        unsigned counts[RECORDS_MAX]; /* how many there are of each owner */
        bool journal;
};

int audit_new(Proxy *p, Audit **ret)
{
        Audit *a = calloc(1, sizeof *a);
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        if (!a)
                return -ENOMEM;
        a->proxy = p;
        a->journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
                     st.st_dev == dev && st.st_ino == ino;
        *ret = a;
        return 0;
}

Audit *audit_free(Audit *a)
{
        for (unsigned i = 0; a && i < a->n_kept; i++)
                free(a->kept[i].text);
        free(a);
        return NULL;
}

/* True: write it. The first of a second that passes the limit is still counted in the next record. */
static bool within_rate(const Proxy *p, Rate *r)
{
        uint64_t second = now_usec() / USEC_PER_SEC;

        if (second != r->second) {
                r->second = second;
                r->count = 0;
        }
        if (r->count >= (unsigned) p->limits.denials) {
                r->omitted++;
                return false;
        }
        r->count++;
        return true;
}

void audit_note(Peer *p, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;

        if (!within_rate(p->proxy, &p->notes))
                return;
        va_start(ap, fmt);
        text = strformatv(fmt, ap);
        va_end(ap);
        if (p->notes.omitted > 0)
                log_warning("%s; %u such lines of domain %lld before this one were left out", strempty(text), p->notes.omitted,
                            (long long) p->domid);
        else
                log_warning("%s", strempty(text));
        p->notes.omitted = 0;
}

static void put(json_object *o, const char *member, const char *untrusted_text)
{
        char buf[TEXT_MAX];

        if (untrusted_text)
                json_object_object_add(o, member, json_object_new_string(log_untrusted(buf, sizeof buf, untrusted_text)));
}

static void put_rule(json_object *o, const PolicyRule *r)
{
        put(o, "rule", r->text);
        put(o, "file", r->file);
        json_object_object_add(o, "line", json_object_new_int64(r->line));
}

static json_object *record_make(const Peer *p, const PolicyMessage *m, uint32_t serial, const PolicyVerdict *v,
                                const char *why, const PolicyNearMiss *near, const char *differs, unsigned omitted)
{
        json_object *o = json_object_new_object();
        const char *subject = policy_subject(m->direction, m->type);
        struct timespec now;

        if (!o)
                return NULL;
        clock_gettime(CLOCK_REALTIME, &now);
        json_object_object_add(o, "time", json_object_new_int64(now.tv_sec * 1000000 + now.tv_nsec / 1000));
        json_object_object_add(o, "domid", json_object_new_int64(p->domid));
        put(o, "uuid", p->uuid[0] ? p->uuid : NULL);
        if (p->stubdom)
                json_object_object_add(o, "stubdom", json_object_new_boolean(true));
        json_object_object_add(o, "direction", json_object_new_string(m->direction == POLICY_INC ? "inc" : "out"));
        put(o, "type", subject + 4);
        put(o, "sender", m->sender);
        put(o, "destination", m->destination);
        put(o, "path", m->path);
        put(o, "interface", m->interface);
        put(o, "member", m->member);
        put(o, "arg0", m->arg0);
        put(o, "property", m->property_name);
        json_object_object_add(o, "serial", json_object_new_int64(serial));
        json_object_object_add(o, "verdict", json_object_new_string(v->allow ? "allow" : "deny"));
        if (v->rule)
                put_rule(o, v->rule);
        put(o, "reason", why ? why : v->rule || v->allow ? NULL : "no rule matches");
        if (near && near->rule) {
                json_object *n = json_object_new_object();

                put_rule(n, near->rule);
                put(n, "differs", differs);
                json_object_object_add(o, "near", n);
        }
        if (omitted > 0)
                json_object_object_add(o, "omitted", json_object_new_int64(omitted));
        return o;
}

static const char *show(char buf[static TEXT_MAX], const char *untrusted_text)
{
        return untrusted_text ? log_untrusted(buf, TEXT_MAX, untrusted_text) : "<none>";
}

/* As administrators know it, with the reason behind. */
static void line_make(StrBuf *b, const Peer *p, const PolicyMessage *m, uint32_t serial, uint32_t reply_serial,
                      const PolicyVerdict *v, const char *why, const PolicyNearMiss *near, const char *differs, unsigned omitted)
{
        char sender[TEXT_MAX], destination[TEXT_MAX], interface[TEXT_MAX], member[TEXT_MAX];
        long long from = p->domid, to = 0;

        if (m->direction == POLICY_OUT) {
                to = from;
                from = 0;
        }
        strbuf_addf(b, "(%lld->%lld) %s %s { sender='%s' dest='%s' intf='%s' member='%s' serial='%u' reply-to='", from, to,
                    v->allow ? "ALLOW" : "DENY", policy_subject(m->direction, m->type) + 4, show(sender, m->sender),
                    show(destination, m->destination), show(interface, m->interface), show(member, m->member), serial);
        if (reply_serial)
                strbuf_addf(b, "%u' }", reply_serial);
        else
                strbuf_add(b, "<none>' }");
        if (why)
                strbuf_addf(b, " reason: %s", why);
        else if (v->rule)
                strbuf_addf(b, " rule %s:%u: %s", v->rule->file, v->rule->line, v->rule->text);
        else
                strbuf_add(b, v->allow ? " no rule denies it" : " no rule matches");
        if (near && near->rule)
                strbuf_addf(b, "; nearest %s:%u: %s", near->rule->file, near->rule->line, strempty(differs));
        if (omitted > 0)
                strbuf_addf(b, "; %u records before this one were left out", omitted);
}

static unsigned owner_of(const Audit *a, const Kept *k)
{
        unsigned unused = 0;

        for (unsigned i = 0; i < a->n_kept; i++)
                if (a->kept[i].allowed == k->allowed && streq(a->kept[i].uuid, k->uuid) &&
                    (k->uuid[0] || a->kept[i].domid == k->domid))
                        return a->kept[i].owner;
        while (a->counts[unused] > 0)
                unused++;
        return unused;
}

/* Keeps a record. Where there are too many, the owner that has most loses its oldest, so that none pushes out the others'. */
static void keep(Audit *a, const Peer *p, bool allowed, const char *text)
{
        Kept k = { .text = strdup(text), .domid = p->domid, .allowed = allowed };

        if (!k.text)
                return;
        strcpy(k.uuid, p->uuid);
        if (a->n_kept == RECORDS_MAX) {
                unsigned most = 0, i = 0;

                for (unsigned o = 1; o < RECORDS_MAX; o++)
                        if (a->counts[o] > a->counts[most])
                                most = o;
                while (a->kept[i].owner != most)
                        i++;
                a->counts[most]--;
                free(a->kept[i].text);
                a->n_kept--;
                memmove(a->kept + i, a->kept + i + 1, (a->n_kept - i) * sizeof(Kept));
        }
        k.owner = owner_of(a, &k);
        a->counts[k.owner]++;
        a->kept[a->n_kept++] = k;
}

void audit_record(Audit *a, Peer *peer, const PolicyMessage *m, uint32_t serial, uint32_t reply_serial,
                  const PolicyVerdict *verdict, const char *why)
{
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *differs = NULL, *line = NULL;
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        Rate *rate = verdict->allow ? &peer->allowed : &peer->denials;
        PolicyNearMiss near = { 0 };
        const char *text;

        if (!verdict->allow) {
                a->proxy->n_denied++;
                peer->n_denied++;
        }
        if (!within_rate(a->proxy, rate))
                return;
        if (!verdict->allow && !why && peer->policy) {
                policy_explain(peer->policy, &peer->client, m, &near);
                if (near.rule)
                        (void) policy_near_miss_text(&near, &differs);
        }
        line_make(&b, peer, m, serial, reply_serial, verdict, why, &near, differs, rate->omitted);
        o = record_make(peer, m, serial, verdict, why, &near, differs, rate->omitted);
        rate->omitted = 0;
        text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
        if (!text || strbuf_take(&b, &line) < 0)
                return;
        if (a->journal)
                (void) sd_journal_send("MESSAGE=%s", line, "PRIORITY=%d", verdict->allow ? LOG_INFO : LOG_WARNING,
                                       "SYSLOG_IDENTIFIER=rpc-proxy", "OXT_DOMID=%lld", (long long) peer->domid,
                                       "OXT_VM_UUID=%s", peer->uuid, "OXT_VERDICT=%s", verdict->allow ? "allow" : "deny",
                                       "OXT_RULE=%s", verdict->rule ? verdict->rule->text : "", "OXT_RECORD=%s", text, NULL);
        else
                log_full(verdict->allow ? LOG_INFO : LOG_WARNING, "%s", line);
        keep(a, peer, verdict->allow, text);
        /* Not of these signals themselves, on their way to a guest: there would be no end. */
        if (a->proxy->server && a->proxy->daemon->service && !(m->type == POLICY_SIGNAL && streq_ptr(m->interface, INTERFACE)))
                (void) service_emit(a->proxy->daemon->service, "/", INTERFACE, verdict->allow ? "Allowed" : "Denied", "s", text);
}

int audit_list(const Audit *a, unsigned n, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const unsigned first = a->n_kept - MIN2(n, a->n_kept);

        strbuf_addc(&b, '[');
        for (unsigned i = first; i < a->n_kept; i++) {
                strbuf_add(&b, i > first ? "," : "");
                strbuf_add(&b, a->kept[i].text);
        }
        strbuf_addc(&b, ']');
        return strbuf_take(&b, ret);
}
