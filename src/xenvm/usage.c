/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "usage.h"

#include "fs.h"
#include "json.h"
#include "parse.h"
#include "strbuf.h"

static int read_counter(const char *interface, const char *name, uint64_t *ret)
{
        _cleanup_free_ char *path = strformat("/sys/class/net/%s/statistics/%s", interface, name), *text = NULL;
        int r;

        if (!path)
                return -ENOMEM;
        r = read_file(path, 64, &text, NULL);
        return r < 0 ? r : parse_u64(strstrip(text), ret);
}

void usage_add_interface(VmUsage *u, const char *interface)
{
        uint64_t received, sent;

        if (read_counter(interface, "rx_bytes", &received) < 0 || read_counter(interface, "tx_bytes", &sent) < 0)
                return;
        u->net_out = MAX2(u->net_out, (int64_t) 0) + (int64_t) received;
        u->net_in = MAX2(u->net_in, (int64_t) 0) + (int64_t) sent;
}

char *usage_text(const VmUsage *u)
{
        const struct {
                const char *name;
                int64_t value;
        } members[] = {
                { "at_usec", (int64_t) now_usec() },     { "cpu_usec", u->cpu_usec },
                { "memory_kib", u->memory_kib },         { "disk_read", u->disk_read },
                { "disk_written", u->disk_written },     { "net_in", u->net_in },
                { "net_out", u->net_out },
        };
        _cleanup_json_ json_object *o = json_object_new_object();

        for (size_t i = 0; o && i < ELEMENTSOF(members); i++)
                json_object_object_add(o, members[i].name,
                                       members[i].value < 0 ? NULL : json_object_new_int64(members[i].value));
        return o ? strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)) : NULL;
}
