/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * db-cmd and its short forms db-read, db-write, …: one program, which goes by its own name. What it
 * prints is the contract's, quirks included; -r and --json are for programs that want to tell a
 * missing node from an empty one.
 */
#include "db-client-tool.h"
#include "json-tree.h"
#include "options.h"
#include "path.h"

static bool arg_full, arg_raw, arg_json;

static const Option read_options[] = {
        { "json", 'j', NULL, OPTION_FLAG, &arg_json, "Print the value or subtree as JSON; exit status 1 if it is missing",
          NULL },
        { 0 }
};

static const Option ls_options[] = {
        { "full", 'f', NULL, OPTION_FLAG, &arg_full, "Print full paths, without indentation", NULL },
        { "raw", 'r', NULL, OPTION_FLAG, &arg_raw,
          "Print one line `path = JSON` for each node; exit status 1 if there is none", NULL },
        { 0 }
};

static const Option no_options[] = { { 0 } };

static int call_text(sd_bus *bus, const char *member, const char *path, char **ret)
{
        sd_bus_message *reply = NULL;
        const char *text;
        int r;

        r = dbtool_call(bus, DB_INTERFACE, member, &reply, "s", path);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r >= 0) {
                *ret = strdup(text);
                r = *ret ? 0 : -ENOMEM;
        }
        sd_bus_message_unref(reply);
        return r;
}

static int call_list(sd_bus *bus, const char *path, char ***ret)
{
        sd_bus_message *reply = NULL;
        int r;

        r = dbtool_call(bus, DB_INTERFACE, "list", &reply, "s", path);
        if (r >= 0)
                r = sd_bus_message_read_strv(reply, ret);
        sd_bus_message_unref(reply);
        return r;
}

static bool path_is(const char *path, const char *normal)
{
        _cleanup_free_ char *n = path_normalize(path);

        return n && streq(n, normal);
}

static int run_read(sd_bus *bus, char *argv[])
{
        _cleanup_free_ char *text = NULL;
        int r;

        r = arg_json ? dbtool_snapshot(bus, argv[0], &text) : call_text(bus, "read", argv[0], &text);
        if (r < 0)
                return DB_TOOL_FAILED;
        if (arg_json && !*text)
                return 1;
        puts(text);
        return 0;
}

static int run_write(sd_bus *bus, char *argv[])
{
        if (path_is(argv[0], "/") || path_is(argv[0], "/vm")) {
                fprintf(stderr, "Nope, not doing that.\n");
                return 1;
        }
        return dbtool_call(bus, DB_INTERFACE, "write", NULL, "ss", argv[0], argv[1]) < 0 ? DB_TOOL_FAILED : 0;
}

static int run_exists(sd_bus *bus, char *argv[])
{
        sd_bus_message *reply = NULL;
        int r, yes;

        r = dbtool_call(bus, DB_INTERFACE, "exists", &reply, "s", argv[0]);
        if (r >= 0)
                r = sd_bus_message_read(reply, "b", &yes);
        sd_bus_message_unref(reply);
        if (r < 0)
                return DB_TOOL_FAILED;
        puts(yes ? "true" : "false");
        return 0;
}

static int run_rm(sd_bus *bus, char *argv[])
{
        if (path_is(argv[0], "/")) {
                puts("bad path");
                return 0;
        }
        return dbtool_call(bus, DB_INTERFACE, "rm", NULL, "s", argv[0]) < 0 ? DB_TOOL_FAILED : 0;
}

static int run_nodes(sd_bus *bus, char *argv[])
{
        _cleanup_strv_ char **names = NULL;

        if (call_list(bus, argv[0], &names) < 0)
                return DB_TOOL_FAILED;
        for (char **n = names; n && *n; n++)
                printf("%s%s", n == names ? "" : " ", *n);
        putchar('\n');
        return 0;
}

static int run_cat(sd_bus *bus, char *argv[])
{
        sd_bus_message *reply = NULL;
        const void *data;
        size_t size;
        int r;

        r = dbtool_call(bus, DB_INTERFACE, "read_binary", &reply, "s", argv[0]);
        if (r >= 0)
                r = sd_bus_message_read_array(reply, 'y', &data, &size);
        if (r >= 0 && fwrite(data, 1, size, stdout) != size)
                r = -EIO;
        sd_bus_message_unref(reply);
        return r < 0 ? DB_TOOL_FAILED : 0;
}

static int list_old(sd_bus *bus, const char *path, int depth)
{
        const char *slash = strrchr(path, '/'), *label = arg_full || !slash ? path : slash + 1;
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ char *value = NULL;
        int r;

        r = call_list(bus, path, &names);
        if (r < 0)
                return r;
        if (!names || !*names) {
                r = call_text(bus, "read", path, &value);
                if (r >= 0)
                        printf("%*s%s = \"%s\"\n", arg_full ? 0 : depth, "", label, value);
                return r;
        }
        printf("%*s%s =\n", arg_full ? 0 : depth, "", label);
        for (char **n = names; r >= 0 && *n; n++) {
                _cleanup_free_ char *child = strformat("%s%s%s", path, endswith(path, "/") ? "" : "/", *n);

                r = child ? list_old(bus, child, depth + 1) : -ENOMEM;
        }
        return r;
}

static void list_raw(const Node *n, const char *path)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        if (n->kind == NODE_INNER && node_first(n))
                printf("%s =\n", *path ? path : "/");
        else {
                json_write_bounded(&b, n, SIZE_MAX);
                for (char *p = b.data; n->kind == NODE_ARRAY && p && *p; p++)
                        if (*p == '\n')
                                *p = ' ';
                printf("%s = %s\n", *path ? path : "/", strempty(b.data));
        }
        for (const Node *k = node_first(n); k; k = k->next) {
                _cleanup_free_ char *child = strformat("%s/%s", path, k->name);

                if (child)
                        list_raw(k, child);
        }
}

static int run_ls(sd_bus *bus, char *argv[])
{
        const char *path = argv[0] ? argv[0] : "/";
        _cleanup_free_ char *text = NULL, *normal = NULL;
        _cleanup_(node_freep) Node *n = NULL;

        if (!arg_raw)
                return list_old(bus, path, 0) < 0 ? DB_TOOL_FAILED : 0;
        normal = path_normalize(path);
        if (!normal || dbtool_snapshot(bus, path, &text) < 0)
                return DB_TOOL_FAILED;
        if (!*text)
                return 1;
        if (json_read(text, strlen(text), TREE_DEPTH_MAX, &n, NULL) < 0)
                return DB_TOOL_FAILED;
        list_raw(n, streq(normal, "/") ? "" : normal);
        return 0;
}

/* The name of each is also that of a program, with "db-" before it. */
static const struct Command {
        const char *name, *args, *text;
        int min, max, defaults; /* defaults: words of a short form that may be missing; they mean the root */
        int (*run)(sd_bus *bus, char *argv[]);
        const Option *options;
} commands[] = {
        { "read", "PATH", "Print the value of a node", 1, 1, 1, run_read, read_options },
        { "write", "PATH VALUE", "Set the value of a node", 2, 2, 2, run_write, no_options },
        { "exists", "PATH", "Print whether there is such a node", 1, 1, 1, run_exists, no_options },
        { "rm", "PATH", "Remove a node with all that is below it", 1, 1, 1, run_rm, no_options },
        { "nodes", "PATH", "Print the names of a node's children", 1, 1, 1, run_nodes, no_options },
        { "ls", "[PATH]", "Print a node with all that is below it", 0, 1, 0, run_ls, ls_options },
        { "cat", "PATH", "Print the content of a binary node", 1, 1, 1, run_cat, no_options },
};

static int usage(void)
{
        puts("Usage: db-cmd <cmd> <parameters>");
        return 1;
}

static int command_run(const struct Command *command, const char *name, bool short_form, int argc, char *argv[])
{
        char *words[] = { (char *) "", (char *) "", NULL };
        Program program = { .name = name, .synopsis = command->args, .summary = command->text,
                            .options = command->options };
        sd_bus *bus = NULL;
        int first, n, status;

        first = options_parse(&program, argc, argv, 1, &status);
        if (first < 0)
                return status;
        /* The bus comes first, whatever the words are, as it always has. */
        if (dbtool_connect(&bus) < 0)
                return DB_TOOL_FAILED;
        n = argc - first;
        if (n > command->max || (n < command->min && !short_form))
                status = usage();
        else {
                for (int i = 0; i < n; i++)
                        words[i] = argv[first + i];
                if (n < command->max && command->defaults == 0)
                        words[n] = NULL;
                status = command->run(bus, words);
        }
        sd_bus_flush_close_unref(bus);
        return fflush(stdout) == 0 ? status : DB_TOOL_FAILED;
}

/* What --help of db-cmd lists; run through the table above. */
static int command_verb(_unused_ int argc, _unused_ char *argv[], _unused_ void *userdata)
{
        return 0;
}

int main(int argc, char *argv[])
{
        Verb verbs[ELEMENTSOF(commands) + 1] = { 0 };
        Program program = { .name = "db-cmd", .synopsis = "COMMAND [PARAMETERS]",
                            .summary = "Read and change the configuration database.", .options = no_options,
                            .verbs = verbs };
        const char *name = program_invocation_short_name, *own = startswith(name, "db-");
        sd_bus *bus = NULL;
        int first, status;

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                if (own && streq(own, commands[i].name))
                        return command_run(&commands[i], name, true, argc, argv);
                verbs[i] = (Verb) { commands[i].name, commands[i].args, commands[i].min, commands[i].max, command_verb,
                                    commands[i].text };
        }
        first = options_parse(&program, argc, argv, 1, &status);
        if (first < 0)
                return status;
        for (size_t i = 0; first < argc && i < ELEMENTSOF(commands); i++)
                if (streq(argv[first], commands[i].name))
                        return command_run(&commands[i], "db-cmd", false, argc - first, argv + first);
        if (dbtool_connect(&bus) < 0)
                return DB_TOOL_FAILED;
        sd_bus_flush_close_unref(bus);
        return usage();
}
