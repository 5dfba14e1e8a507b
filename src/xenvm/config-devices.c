/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The values of disk, nic and pci lines. */
#include <ctype.h>
#include <sys/random.h>

#include "config-values.h"
#include "md5.h"

static const char *const disk_types[_VM_DISK_TYPE_MAX] = { "phy", "file", "vhd", "qcow", "qcow2", "aio", "vdi" };
static const char *const snapshots[_VM_SNAPSHOT_MAX] = {
        "none",     "temporary",       "temporary-encrypted",  "coalesce",
        "scripted", "scripted-author", "scripted-no-snapshot",
};

const char *vm_disk_type_to_text(VmDiskType t)
{
        return (unsigned) t < _VM_DISK_TYPE_MAX ? disk_types[t] : "?";
}

const char *vm_snapshot_to_text(VmSnapshot s)
{
        return (unsigned) s < _VM_SNAPSHOT_MAX ? snapshots[s] : "?";
}

static int replace_text(char **field, const char *s)
{
        char *copy = strdup(s);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

/* The text behind "KEY=" if s is such a field. */
static const char *field_value(const char *s, const char *key)
{
        const char *v = startswith(s, key);

        return v && *v == '=' ? v + 1 : NULL;
}

int vm_device_number(const char *virtpath, unsigned *ret)
{
        static const struct {
                const char *prefix;
                char last;
                unsigned major, minors; /* major 0: the table of IDE majors */
        } kinds[] = { { "xvd", 'p', 202, 16 }, { "sd", 'p', 8, 16 }, { "hd", 't', 0, 64 } };
        static const unsigned ide[] = { 3, 22, 33, 34, 56, 57, 88, 89, 90, 91 };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                const char *s = startswith(virtpath, kinds[i].prefix);
                unsigned index, partition = 0;

                if (!s || *s < 'a' || *s > kinds[i].last)
                        continue;
                index = (unsigned) (*s++ - 'a');
                if (*s == '0')
                        return -EINVAL;
                for (; *s; s++) {
                        if (!isdigit((unsigned char) *s))
                                return -EINVAL;
                        partition = partition * 10 + (unsigned) (*s - '0');
                        if (partition >= kinds[i].minors)
                                return -EINVAL;
                }
                if (kinds[i].major)
                        *ret = kinds[i].major * 256 + 16 * index + partition;
                else
                        *ret = ide[index / 2] * 256 + 64 * (index % 2) + partition;
                return 0;
        }
        if (isdigit((unsigned char) *virtpath)) {
                int64_t n;

                if (value_parse_int(virtpath, &n) < 0 || n > INT32_MAX)
                        return -EINVAL;
                *ret = (unsigned) n;
                return 0;
        }
        return -EINVAL;
}

static int find_word(const char *const words[], size_t n, const char *s)
{
        for (size_t i = 0; i < n; i++)
                if (streq(words[i], s))
                        return (int) i;
        return -1;
}

/* QEMU takes no larger ones. */
#define LIMIT_MAX INT64_C(1000000000000000)

static int parse_limit(ValueContext *v, const char *what, const char *s, int64_t *ret)
{
        if (value_parse_int(s, ret) < 0 || *ret < 0 || *ret > LIMIT_MAX)
                return value_refuse(v, "%s '%s' is not a number of at most %lld (0: no limit)", what, s, (long long) LIMIT_MAX);
        return 0;
}

static int parse_disk_option(ValueContext *v, const char *option, VmDisk *d)
{
        const char *s;

        if ((s = field_value(option, "cipher")))
                return replace_text(&d->cipher, s);
        if ((s = field_value(option, "key-file")))
                return replace_text(&d->key_file, s);
        if ((s = field_value(option, "key-dir")))
                return replace_text(&d->key_dir, s);
        if ((s = field_value(option, "key-size"))) {
                if (value_parse_int(s, &d->key_size) < 0 || d->key_size < 8 || d->key_size > 8192 || d->key_size % 8)
                        return value_refuse(v, "key-size '%s' is not a number of bits", s);
                return 0;
        }
        if ((s = field_value(option, "backend-domid"))) {
                if (value_parse_int(s, &d->backend_domid) < 0 || d->backend_domid < 0)
                        return value_refuse(v, "backend-domid '%s' is not the number of a domain", s);
                return 0;
        }
        if ((s = field_value(option, "bps")))
                return parse_limit(v, "bps", s, &d->bps);
        if ((s = field_value(option, "iops")))
                return parse_limit(v, "iops", s, &d->iops);
        if (*option && strv_extendf(&v->notes, "unknown option '%s' is ignored", option) < 0)
                return -ENOMEM;
        return 0;
}

int value_parse_disk(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        _cleanup_strv_ char **f = NULL;
        VmDisk *d = ret;
        size_t option = 5;
        int i, r;

        if (strv_split(text, ':', &f) < 0)
                return -ENOMEM;
        v->choices_tell = true;
        if (strv_length(f) < 5)
                return value_refuse(v, "needs 5 fields, '%s' has %zu", text, strv_length(f));
        i = find_word(disk_types, _VM_DISK_TYPE_MAX, f[1]);
        if (i < 0)
                return value_refuse(v, "unknown physical type '%s'", f[1]);
        d->type = (VmDiskType) i;
        if (vm_device_number(f[2], &d->device) < 0)
                return value_refuse(v, "bad device name '%s'", f[2]);
        if (!streq(f[3], "r") && !streq(f[3], "w"))
                return value_refuse(v, "mode '%s' is neither r nor w", f[3]);
        d->writable = f[3][0] == 'w';
        if (!streq(f[4], "disk") && !streq(f[4], "cdrom"))
                return value_refuse(v, "device type '%s' is neither disk nor cdrom", f[4]);
        d->cdrom = f[4][0] == 'c';
        if (!*f[0] && !d->cdrom)
                return value_refuse(v, "the path is empty, as only that of a cdrom may be");
        if (replace_text(&d->path, f[0]) < 0 || replace_text(&d->virtpath, f[2]) < 0)
                return -ENOMEM;
        /* The snapshot field may be missing: then the sixth is an option. */
        if (f[5] && !strchr(f[5], '=')) {
                option = 6;
                i = *f[5] ? find_word(snapshots, _VM_SNAPSHOT_MAX, f[5]) : VM_SNAPSHOT_NONE;
                if (i < 0)
                        return value_refuse(v, "unknown snapshot mode '%s'", f[5]);
                d->snapshot = (VmSnapshot) i;
        }
        for (; f[5] && f[option]; option++) {
                r = parse_disk_option(v, f[option], d);
                if (r < 0)
                        return r;
        }
        if (!d->key_file) {
                if (d->cipher || d->key_size)
                        return value_refuse(v, "%s without key-file", d->cipher ? "cipher" : "key-size");
                return 0;
        }
        if (!d->key_size)
                d->key_size = 256;
        return d->cipher ? 0 : replace_text(&d->cipher, "aes-xts-plain");
}

void value_disk_done(void *value)
{
        VmDisk *d = value;

        free(d->path);
        free(d->virtpath);
        free(d->key_file);
        free(d->cipher);
        free(d->key_dir);
}

void vm_disk_done(VmDisk *d)
{
        value_disk_done(d);
        *d = (VmDisk) { 0 };
}

void value_format_disk(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmDisk *d = value;

        strbuf_addf(b, "%s:%s:%s:%c:%s", d->path, vm_disk_type_to_text(d->type), d->virtpath,
                    d->writable ? 'w' : 'r', d->cdrom ? "cdrom" : "disk");
        if (d->snapshot)
                strbuf_addf(b, ":%s", vm_snapshot_to_text(d->snapshot));
        if (d->key_file)
                strbuf_addf(b, ":key-file=%s:cipher=%s:key-size=%lld", d->key_file, d->cipher,
                            (long long) d->key_size);
        if (d->key_dir)
                strbuf_addf(b, ":key-dir=%s", d->key_dir);
        if (d->backend_domid)
                strbuf_addf(b, ":backend-domid=%lld", (long long) d->backend_domid);
        if (d->bps)
                strbuf_addf(b, ":bps=%lld", (long long) d->bps);
        if (d->iops)
                strbuf_addf(b, ":iops=%lld", (long long) d->iops);
}

/* ---- nic ---- */

void vm_mac_derive(int64_t id, const char *model, const char *uuid, char ret[static 18])
{
        /* Octet k is made of the hex digits at p and p + 12 of the digest. */
        static const uint8_t p[6] = { 0, 2, 1, 7, 6, 4 };
        _cleanup_free_ char *text = strformat("%lld %s%s%s", (long long) id, model, *model ? " " : "", uuid);
        uint8_t digest[16], mac[6];

        md5(strempty(text), strlen(strempty(text)), digest);
        for (int i = 0; i < 6; i++) {
                unsigned high = digest[p[i] / 2] >> (p[i] % 2 ? 0 : 4) & 15;
                unsigned low = digest[(p[i] + 12) / 2] >> (p[i] % 2 ? 0 : 4) & 15;

                mac[i] = (uint8_t) (high << 4 | low);
        }
        mac[0] = (mac[0] & 0xfe) | 0x02;
        snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static bool mac_valid(const char *s)
{
        for (int i = 0; i < 17; i++)
                if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char) s[i]))
                        return false;
        return s[17] == '\0';
}

static int parse_mac(ValueContext *v, const char *s, VmNic *n)
{
        n->mac_given = false;
        n->mac[0] = '\0';
        if (!*s || streq(s, "vm"))
                return 0;
        if (streq(s, "random")) {
                uint8_t b[3];

                if (getrandom(b, sizeof b, 0) != sizeof b)
                        return -EIO;
                snprintf(n->mac, sizeof n->mac, "00:16:3e:%02x:%02x:%02x", b[0] & 0x7f, b[1], b[2]);
        } else {
                char octet[3] = { s[0], s[0] ? s[1] : '\0', '\0' };

                if (!mac_valid(s))
                        return value_refuse(v, "mac '%s' is not six hex octets, random or vm", s);
                if ((strtoul(octet, NULL, 16) & 1) && strv_extendf(&v->notes, "mac %s is a group address", s) < 0)
                        return -ENOMEM;
                memcpy(n->mac, s, sizeof n->mac);
        }
        n->mac_given = true;
        return 0;
}

static int parse_nic_number(ValueContext *v, const char *what, const char *s, int64_t fallback, int64_t *ret)
{
        *ret = fallback;
        if (*s && value_parse_int(s, ret) < 0)
                return value_refuse(v, "%s '%s' is not a whole number", what, s);
        return 0;
}

static int parse_forward(ValueContext *v, const char *s, VmNic *n)
{
        _cleanup_strv_ char **f = NULL;
        int64_t host, guest;

        if (strv_split(s, ':', &f) < 0)
                return -ENOMEM;
        if (strv_length(f) != 3 || (!streq(f[0], "tcp") && !streq(f[0], "udp")) || value_parse_int(f[1], &host) < 0 || host < 1 ||
            host > UINT16_MAX || value_parse_int(f[2], &guest) < 0 || guest < 1 || guest > UINT16_MAX)
                return value_refuse(v, "forward '%s' is not tcp:HOSTPORT:GUESTPORT or udp:HOSTPORT:GUESTPORT", s);
        if (n->n_forwards == VM_FORWARDS_MAX)
                return value_refuse(v, "has more than %d forwards", VM_FORWARDS_MAX);
        n->forwards[n->n_forwards++] = (VmForward) { f[0][0] == 'u', (uint16_t) host, (uint16_t) guest };
        return 0;
}

static int parse_nic_field(ValueContext *v, const XenvmKeyInfo *k, const char *field, VmNic *n)
{
        const char *s;
        int r;

        if (!strchr(field, '='))
                return value_refuse(v, "'=' is missing in '%s'", field);
        if ((s = field_value(field, "id")))
                return parse_nic_number(v, "id", s, -1, &n->id);
        if ((s = field_value(field, "bridge")))
                return replace_text(&n->bridge, s);
        if ((s = field_value(field, "network")))
                return replace_text(&n->network, s);
        if ((s = field_value(field, "model")))
                return replace_text(&n->model, s);
        if ((s = field_value(field, "mac")))
                return parse_mac(v, s, n);
        if ((s = field_value(field, "forward")))
                return parse_forward(v, s, n);
        if ((s = field_value(field, "rate")))
                return parse_limit(v, "rate", s, &n->rate);
        if ((s = field_value(field, "wireless")))
                return *s ? value_parse_bool(v, k, s, &n->wireless) : 0;
        if ((s = field_value(field, "backend-domid"))) {
                r = parse_nic_number(v, "backend-domid", s, 0, &n->backend_domid);
                if (r >= 0 && n->backend_domid < 0)
                        r = value_refuse(v, "backend-domid '%s' is not the number of a domain", s);
                return r;
        }
        return strv_extendf(&v->notes, "unknown field '%s' is ignored", field);
}

int value_parse_nic(ValueContext *v, const XenvmKeyInfo *k, const char *text, void *ret)
{
        _cleanup_strv_ char **fields = NULL;
        VmNic *n = ret;

        n->id = -1;
        v->choices_tell = true;
        if (replace_text(&n->bridge, "") < 0 || replace_text(&n->network, "") < 0 || replace_text(&n->model, "") < 0)
                return -ENOMEM;
        if (!*text)
                return 0;
        if (strv_split(text, ',', &fields) < 0)
                return -ENOMEM;
        for (char **f = fields; *f; f++) {
                int r = parse_nic_field(v, k, strstrip(*f), n);

                if (r < 0)
                        return r;
        }
        /* The network in user space has a bridge's name; managers know networks alone. */
        return streq(n->network, "user") && !*n->bridge ? replace_text(&n->bridge, "user") : 0;
}

void value_nic_done(void *value)
{
        VmNic *n = value;

        free(n->bridge);
        free(n->network);
        free(n->model);
}

void vm_nic_done(VmNic *n)
{
        value_nic_done(n);
        *n = (VmNic) { 0 };
}

void value_format_nic(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmNic *n = value;
        size_t start = b->len;

        if (n->id >= 0)
                strbuf_addf(b, ",id=%lld", (long long) n->id);
        if (*n->bridge)
                strbuf_addf(b, ",bridge=%s", n->bridge);
        if (*n->network)
                strbuf_addf(b, ",network=%s", n->network);
        if (n->mac_given)
                strbuf_addf(b, ",mac=%s", n->mac);
        if (*n->model)
                strbuf_addf(b, ",model=%s", n->model);
        if (n->wireless)
                strbuf_add(b, ",wireless=true");
        if (n->backend_domid)
                strbuf_addf(b, ",backend-domid=%lld", (long long) n->backend_domid);
        if (n->rate)
                strbuf_addf(b, ",rate=%lld", (long long) n->rate);
        for (size_t i = 0; i < n->n_forwards; i++)
                strbuf_addf(b, ",forward=%s:%u:%u", n->forwards[i].udp ? "udp" : "tcp", n->forwards[i].host, n->forwards[i].guest);
        if (!b->oom && b->len > start) /* no comma in front */
                memmove(b->data + start, b->data + start + 1, b->len-- - start);
}

/* ---- pci ---- */

static int parse_pci_address(const char *s, VmPci *p)
{
        unsigned part[4] = { 0 };
        static const char separators[] = "::.";
        static const unsigned max[4] = { 0xffff, 0xff, 0x1f, 7 }, digits[4] = { 4, 2, 2, 1 };

        for (int i = 0; i < 4; i++) {
                unsigned n = 0;

                for (; isxdigit((unsigned char) *s); s++, n++)
                        part[i] = part[i] * 16 + (unsigned) (isdigit((unsigned char) *s)
                                                                     ? *s - '0'
                                                                     : tolower((unsigned char) *s) - 'a' + 10);
                if (n == 0 || n > digits[i] || part[i] > max[i] || *s != separators[i])
                        return -EINVAL;
                s += i < 3;
        }
        p->domain = (uint16_t) part[0];
        p->bus = (uint8_t) part[1];
        p->slot = (uint8_t) part[2];
        p->func = (uint8_t) part[3];
        return 0;
}

static int parse_pci_option(ValueContext *v, const char *option, VmPci *p)
{
        const struct {
                const char *key;
                int64_t *target, max;
        } options[] = {
                { "msitranslate", &p->msitranslate, 1 },
                { "power_mgmt", &p->power_mgmt, 1 },
                { "guest_slot", &p->guest_slot, 31 },
                { "vdevfn", &p->vdevfn, 255 },
        };

        if (!strchr(option, '='))
                return value_refuse(v, "'=' is missing in '%s'", option);
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const char *s = field_value(option, options[i].key);

                if (!s)
                        continue;
                if (value_parse_int(s, options[i].target) < 0 || *options[i].target < 0 ||
                    *options[i].target > options[i].max)
                        return value_refuse(v, "%s '%s' is not a number from 0 to %lld", options[i].key, s,
                                            (long long) options[i].max);
                return 0;
        }
        return strv_extendf(&v->notes, "unknown option '%s' is ignored", option);
}

int value_parse_pci(ValueContext *v, const XenvmKeyInfo *k _unused_, const char *text, void *ret)
{
        _cleanup_strv_ char **f = NULL;
        VmPci *p = ret;
        size_t i = 1;

        if (strv_split(text, ',', &f) < 0)
                return -ENOMEM;
        v->choices_tell = true;
        p->msitranslate = p->power_mgmt = p->guest_slot = p->vdevfn = XENVM_UNSET;
        if (value_parse_int(f[0], &p->devid) < 0)
                return value_refuse(v, "device id '%s' is not a whole number", f[0]);
        if (f[i] && streq(f[i], "bind")) {
                p->bind = true;
                i++;
        }
        if (!f[i] || parse_pci_address(f[i], p) < 0)
                return value_refuse(v, "'%s' is not an address such as 0000:00:1b.0", f[i] ? f[i] : "");
        for (i++; f[i]; i++) {
                int r = parse_pci_option(v, f[i], p);

                if (r < 0)
                        return r;
        }
        return 0;
}

void value_format_pci(const XenvmKeyInfo *k _unused_, const void *value, bool command _unused_, StrBuf *b)
{
        const VmPci *p = value;
        const struct {
                const char *key;
                int64_t value;
        } options[] = {
                { "msitranslate", p->msitranslate },
                { "power_mgmt", p->power_mgmt },
                { "guest_slot", p->guest_slot },
                { "vdevfn", p->vdevfn },
        };

        strbuf_addf(b, "%lld,%s%04x:%02x:%02x.%x", (long long) p->devid, p->bind ? "bind," : "", p->domain, p->bus,
                    p->slot, p->func);
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (options[i].value != XENVM_UNSET)
                        strbuf_addf(b, ",%s=%lld", options[i].key, (long long) options[i].value);
}

bool vm_pci_msitranslate(const VmConfig *c, const VmPci *p)
{
        return (p->msitranslate == XENVM_UNSET ? c->pci_msitranslate : p->msitranslate) != 0;
}

bool vm_pci_power_mgmt(const VmConfig *c, const VmPci *p)
{
        return (p->power_mgmt == XENVM_UNSET ? c->pci_power_management : p->power_mgmt) != 0;
}
