/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a start needs of the configuration, and where in the file that is which keeps it from starting. */
#include <inttypes.h>

#include "config.h"
#include "parse.h"
#include "strbuf.h"

static uint64_t kib_to_mib(int64_t kib)
{
        return kib > 0 ? ((uint64_t) kib + 1023) / 1024 : 0;
}

bool vmconfig_is_hvm(const VmConfig *c)
{
        return streq(c->virt_type, "hvm") || (c->hvm && !streq(c->virt_type, "pv") && !streq(c->virt_type, "pvh"));
}

static uint64_t needed_mib(uint64_t memory, uint64_t max, uint64_t vcpus, uint64_t extra)
{
        uint64_t shadow = (256 * vcpus + 2 * max + 255) / 256;

        return memory + MAX2(shadow, UINT64_C(1)) + extra;
}

uint64_t vmconfig_required_kib(const VmConfig *c)
{
        uint64_t memory = kib_to_mib(c->memory_kib), stub = kib_to_mib(c->stubdom_memory_kib);
        uint64_t max = c->memory_max_kib == XENVM_UNSET ? memory : kib_to_mib(c->memory_max_kib);
        uint64_t mib = needed_mib(memory, max, (uint64_t) c->vcpus, vmconfig_is_hvm(c) ? 2 : 1);

        if (c->stubdom)
                mib += needed_mib(stub, stub, 1, 1);
        return mib * 1024;
}

int vmconfig_check_start(const VmConfig *c, char **ret_why)
{
        if (c->blocked)
                *ret_why = strdup(c->blocked_why);
        else if (c->memory_kib <= 0)
                *ret_why = strdup("memory is not given: the config needs a line such as 'memory = 512' (MiB)");
        else if (c->memory_max_kib != XENVM_UNSET && c->memory_max_kib < c->memory_kib)
                *ret_why = strformat("memory-max (%lld KiB) is less than memory (%lld KiB)",
                                     (long long) c->memory_max_kib, (long long) c->memory_kib);
        else if (!vmconfig_is_hvm(c) && !*c->kernel)
                *ret_why = strdup("kernel is not given: a guest with 'hvm = false' needs one");
        else
                return 0;
        return *ret_why ? -EINVAL : -ENOMEM;
}

/* The line that made the setting which the text is about. Returns 1 with the line (0: a command made it), else 0: there is none. */
static int find_line(const VmConfig *c, XenvmKey key, const char *behind, unsigned *ret)
{
        size_t n = strcspn(behind, " :");
        int64_t id;

        if (key == XENVM_KEY_disk)
                for (size_t i = 0; i < c->disk.n; i++)
                        if (strlen(c->disk.items[i].virtpath) == n && strncmp(c->disk.items[i].virtpath, behind, n) == 0) {
                                *ret = c->disk.items[i].line;
                                return 1;
                        }
        if (key == XENVM_KEY_nic && sscanf(behind, "%" SCNd64, &id) == 1)
                for (size_t i = 0; i < c->nic.n; i++)
                        if (c->nic.items[i].id == id) {
                                *ret = c->nic.items[i].line;
                                return 1;
                        }
        for (size_t i = 0; i < c->n_settings; i++)
                if (c->settings[i].key == key) {
                        *ret = c->settings[i].line;
                        return 1;
                }
        return 0;
}

char *vmconfig_locate(const VmConfig *c, const char *text)
{
        const char *behind_token = startswith(text, "Device.Tap2.Mount_failure: "), *p = behind_token ? behind_token : text;
        _cleanup_free_ char *name = strndup(p, strcspn(p, " :"));
        XenvmKey key = name ? xenvm_key_find(name) : _XENVM_KEY_MAX;
        unsigned line = 0;

        if (key == _XENVM_KEY_MAX || !c->file)
                return strdup(text);
        p += strlen(name);
        if (!find_line(c, key, p + strspn(p, " "), &line))
                return strformat("%s (%s)", text, c->file);
        return line > 0 ? strformat("%s (line %u of %s)", text, line, c->file) : strdup(text);
}
