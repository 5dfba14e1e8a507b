/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt config: shows and changes settings, in their own file and without touching anything else in it. */
#include <unistd.h>

#include "fs.h"
#include "log.h"
#include "oxt.h"
#include "strbuf.h"

#define SYSTEM_FILE "/etc/oxt/oxt.conf"
#define FILE_MAX (1 * MIB)

static bool arg_host;

/* Whether line (of n bytes) sets the setting. */
static bool line_sets(const char *line, size_t n, const char *name)
{
        size_t l = strlen(name);

        while (n > 0 && (*line == ' ' || *line == '\t')) {
                line++;
                n--;
        }
        if (n < l || strncmp(line, name, l) != 0)
                return false;
        for (line += l, n -= l; n > 0 && (*line == ' ' || *line == '\t'); n--)
                line++;
        return n > 0 && *line == '=';
}

/* Writes the file with the setting's lines replaced by one; value NULL: by none. */
static int edit_file(const char *path, const char *name, const char *value)
{
        _cleanup_free_ char *old = NULL, *new = NULL, *dir = strdup(path);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        bool written = !value;
        int r;

        r = read_file(path, FILE_MAX, &old, NULL);
        if (r < 0 && r != -ENOENT)
                return log_errno(r, "Cannot read %s", path);
        for (const char *p = strempty(old); *p;) {
                size_t n = strcspn(p, "\n"), whole = n + (p[n] == '\n');

                if (!line_sets(p, n, name)) {
                        strbuf_addn(&b, p, n);
                        strbuf_addc(&b, '\n');
                } else if (!written) {
                        strbuf_addf(&b, "%s = %s\n", name, value);
                        written = true;
                }
                p += whole;
        }
        if (!written)
                strbuf_addf(&b, "%s = %s\n", name, value);
        if (!dir)
                return log_oom();
        *strrchr(dir, '/') = '\0';
        r = mkdir_parents(dir, 0755);
        if (r >= 0)
                r = strbuf_take(&b, &new);
        if (r >= 0)
                r = write_file_atomic(path, new, strlen(new), 0644);
        return r < 0 ? log_errno(r, "Cannot write %s", path) : 0;
}

static SettingId find_setting(const char *name)
{
        SettingId id = setting_find(name);

        if (id == _SETTING_MAX)
                log_error("There is no setting '%s'; `oxt config list` shows all", name);
        return id;
}

static int config_list(_unused_ int argc, _unused_ char *argv[], _unused_ void *userdata)
{
        for (SettingId id = 0; id < _SETTING_MAX; id++) {
                const Setting *s = &setting_table[id];

                printf("%s = %s\n    %s", s->name, setting_text(id), s->text);
                if (s->choices)
                        printf(" (%s)", s->choices);
                else if (s->type == SETTING_INT)
                        printf(" (%lld to %lld)", (long long) s->min, (long long) s->max);
                printf("; from %s\n", setting_origin(id));
        }
        return 0;
}

static int config_get(_unused_ int argc, char *argv[], _unused_ void *userdata)
{
        SettingId id = find_setting(argv[1]);

        if (id == _SETTING_MAX)
                return 1;
        puts(setting_text(id));
        return 0;
}

static int config_change(const Stack *s, SettingId id, const char *value)
{
        _cleanup_free_ char *own = paths_format(&s->paths, PATH_STATE, "oxt.conf");
        const char *path = arg_host ? SYSTEM_FILE : own;

        if (!path)
                return log_oom() < 0;
        if (edit_file(path, setting_table[id].name, value) < 0)
                return 1;
        if (settings_load(&s->paths) >= 0 && !streq(setting_origin(id), path) && value)
                log_notice("%s overrides it: the value in force is still %s", setting_origin(id), setting_text(id));
        else
                printf("Daemons that run take it at their next start (oxt down, oxt up)\n");
        return 0;
}

static int config_set(_unused_ int argc, char *argv[], void *userdata)
{
        SettingId id = find_setting(argv[1]);
        _cleanup_free_ char *why = NULL;

        if (id == _SETTING_MAX)
                return 1;
        if (strchr(argv[2], '\n') || setting_check(id, argv[2], &why) < 0) {
                log_error("%s", why ? why : "A value is one line");
                return 1;
        }
        return config_change(userdata, id, argv[2]);
}

static int config_unset(_unused_ int argc, char *argv[], void *userdata)
{
        SettingId id = find_setting(argv[1]);

        return id == _SETTING_MAX ? 1 : config_change(userdata, id, NULL);
}

int oxt_config(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "host", 0, NULL, OPTION_FLAG, &arg_host, "Change " SYSTEM_FILE " for all stacks, not this stack's file", NULL },
                { 0 }
        };
        static const Verb verbs[] = {
                { "list", "", 0, 0, config_list, "Show all settings, their values and where these come from" },
                { "get", "NAME", 1, 1, config_get, "Print the value in force" },
                { "set", "NAME VALUE", 2, 2, config_set, "Change a setting" },
                { "unset", "NAME", 1, 1, config_unset, "Go back to the default" },
                { 0 }
        };
        static const Program program = { .name = "oxt config", .synopsis = "[OPTIONS] COMMAND ...", .options = options, .verbs = verbs,
                                         .flags = PROGRAM_PERMUTE, .summary = "Shows and changes settings." };
        static char *list[] = { (char *) "list", NULL };
        int first, status;
        Stack s;

        first = stack_open(&s, &program, argc, argv, &status);
        if (first < 0)
                return status;
        status = first == argc ? config_list(1, list, &s) : verbs_run(&program, argc, argv, first, 2, &s);
        stack_done(&s);
        return status;
}
