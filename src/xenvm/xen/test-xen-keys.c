/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No key and no command is forgotten on Xen: each has its row in docs/backends.md, and the keys' say what the code says. */
#include <assert.h>
#include <stdio.h>

#include "fs.h"
#include "strbuf.h"
#include "xen-keys.h"
#include "xenvm-commands.h"

int main(_unused_ int argc, char *argv[])
{
        _cleanup_free_ char *page = NULL;
        const char *xen;
        int missing = 0;

        assert(read_file(argv[1], 1 * MIB, &page, NULL) >= 0);
        xen = strstr(page, "\n# Xen\n");
        assert(xen);
        for (XenvmKey k = 0; k < _XENVM_KEY_MAX; k++) {
                _cleanup_free_ char *row = NULL;

                assert(xen_keys[k].text);
                row = strformat("\n| `%s` | %s | %s |\n", xenvm_keys[k].name, xen_guests_to_text(xen_keys[k].guests), xen_keys[k].text);
                assert(row);
                if (strstr(xen, row))
                        continue;
                if (missing++ == 0)
                        printf("%s: missing, or not as in xen-keys.c:\n", argv[1]);
                printf("%s", row + 1);
        }
        for (XenvmCommand c = 0; c < _XENVM_CMD_MAX; c++) {
                _cleanup_free_ char *name = strformat("`%s`", xenvm_commands[c].name);

                assert(name);
                if (strstr(xen, name))
                        continue;
                missing++;
                printf("%s: nothing is said of the command %s on Xen\n", argv[1], name);
        }
        return missing == 0 ? 0 : 1;
}
