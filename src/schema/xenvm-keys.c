/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xenvm-keys.h"

#include "nearest.h"

#define GS XENVM_GS
#define KIB_IN_COMMANDS XENVM_KIB_IN_COMMANDS
#define CRITICAL XENVM_CRITICAL
#define ADDITION XENVM_ADDITION

const XenvmKeyInfo xenvm_keys[_XENVM_KEY_MAX] = {
#define SECTION(title)
#define KEY(field, name, alias, type, fallback, unit, flags, min, max, values, text)                       \
        [XENVM_KEY_##field] = { name, alias, XENVM_##type, fallback, unit, flags, min, max, values, text },
#include "xenvm-keys.inc"
#undef KEY
#undef SECTION
};

XenvmKey xenvm_key_find(const char *name)
{
        XenvmKey k;

        for (k = 0; k < _XENVM_KEY_MAX; k++)
                if (streq(xenvm_keys[k].name, name) || (xenvm_keys[k].alias && streq(xenvm_keys[k].alias, name)))
                        break;
        return k;
}

XenvmKey xenvm_key_nearest(const char *name)
{
        Nearest n;
        XenvmKey best = _XENVM_KEY_MAX;

        nearest_init(&n, name);
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                if (nearest_try(&n, xenvm_keys[k].name))
                        best = k;
                if (xenvm_keys[k].alias && nearest_try(&n, xenvm_keys[k].alias))
                        best = k;
        }
        return best;
}

const char *xenvm_key_accepts(XenvmKey key, char *buf, size_t size)
{
        const XenvmKeyInfo *k = &xenvm_keys[key];
        const char *unit = k->unit ? k->unit : "", *blank = k->unit ? " " : "";

        switch (k->type) {
        case XENVM_BOOL:
                return "true, yes, y, 1 or false, no, n, 0";
        case XENVM_INT:
        case XENVM_OPT_INT:
                if (k->max == INT64_MAX && k->min < 0)
                        snprintf(buf, size, "a whole number%s%s", blank, unit);
                else if (k->max == INT64_MAX || k->max > 1000000)
                        snprintf(buf, size, "a whole number%s%s, at least %lld", blank, unit, (long long) k->min);
                else
                        snprintf(buf, size, "a whole number%s%s from %lld to %lld", blank, unit,
                                 (long long) k->min, (long long) k->max);
                return buf;
        case XENVM_CHOICE:
                snprintf(buf, size, "one of: %s", k->values);
                return buf;
        default:
                return k->values;
        }
}
