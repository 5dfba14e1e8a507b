/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include "nearest.h"
#include "parse.h"
#include "strbuf.h"
#include "version.h"

static const Option *tables_find(const Program *p, const char *name, size_t n, char letter)
{
        const Option *tables[] = { p->options, p->more_options };

        for (size_t t = 0; t < ELEMENTSOF(tables); t++)
                for (const Option *o = tables[t]; o && o->name; o++) {
                        if (name ? strlen(o->name) == n && strncmp(o->name, name, n) == 0
                                 : letter && o->letter == letter)
                                return o;
                }
        return NULL;
}

/* The only option whose name begins with the n bytes at name; NULL: none, or several. */
static const Option *tables_find_prefix(const Program *p, const char *name, size_t n)
{
        const Option *tables[] = { p->options, p->more_options }, *found = NULL;

        for (size_t t = 0; t < ELEMENTSOF(tables); t++)
                for (const Option *o = tables[t]; o && o->name; o++) {
                        if (strncmp(o->name, name, n) != 0)
                                continue;
                        if (found)
                                return NULL;
                        found = o;
                }
        return found;
}

static bool option_value_optional(const Option *o)
{
        return o->arg && o->arg[0] == '[';
}

static void print_option(FILE *f, const Option *o)
{
        char left[80];

        if (!o->text)
                return;
        snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? ", " : "  ", o->name,
                 !o->arg                       ? ""
                         : option_value_optional(o) ? "[="
                                                    : " ",
                 o->arg ? (option_value_optional(o) ? o->arg + 1 : o->arg) : "");
        fprintf(f, "  %-30s %s%s%s%s\n", left, o->text, o->choices ? " (" : "",
                o->choices ? o->choices : "", o->choices ? ")" : "");
}

/* What --help prints. */
static void program_print_help(const Program *p, FILE *f)
{
        fprintf(f, "Usage: %s %s\n\n%s\n", p->name, p->synopsis, p->summary);
        if (p->verbs) {
                fprintf(f, "\nCommands:\n");
                for (const Verb *v = p->verbs; v->name; v++) {
                        char left[80];

                        if (!v->text)
                                continue;
                        snprintf(left, sizeof left, "%s %s", v->name, v->args);
                        fprintf(f, "  %-30s %s\n", left, v->text);
                }
        }
        fprintf(f, "\nOptions:\n");
        for (const Option *o = p->options; o && o->name; o++)
                print_option(f, o);
        for (const Option *o = p->more_options; o && o->name; o++)
                print_option(f, o);
        fprintf(f, "  %-30s %s\n  %-30s %s\n", "-h, --help", "Show this text", "    --version",
                "Show the version");
        if (p->footer)
                fprintf(f, "\n%s\n", p->footer);
}

/* Text with what scdoc would take for markup made plain. */
static void print_scd_text(const char *s, size_t n)
{
        for (size_t i = 0; i < n && s[i]; i++) {
                if (strchr("_*\\#[]<>", s[i]))
                        putchar('\\');
                putchar(s[i]);
        }
}

static void print_scd_option(const Option *o)
{
        bool optional = o->arg && option_value_optional(o);

        if (!o->text)
                return;
        if (o->letter)
                printf("*-%c*, ", o->letter);
        printf("*--%s*", o->name);
        if (o->arg) {
                printf(optional ? "\\[=_" : " _");
                print_scd_text(o->arg + optional, strlen(o->arg) - 2 * (size_t) optional);
                printf(optional ? "_\\]" : "_");
        }
        printf("\n\t");
        print_scd_text(o->text, SIZE_MAX);
        if (o->choices) {
                printf(" (");
                print_scd_text(o->choices, SIZE_MAX);
                printf(")");
        }
        printf(".\n\n");
}

/* The generated part of the man page, in scdoc's language. */
static void print_scd(const Program *p)
{
        if (p->verbs) {
                printf("# COMMANDS\n\n");
                for (const Verb *v = p->verbs; v->name; v++) {
                        if (!v->text)
                                continue;
                        printf("*%s* ", v->name);
                        print_scd_text(v->args, SIZE_MAX);
                        printf("\n\t");
                        print_scd_text(v->text, SIZE_MAX);
                        printf(".\n\n");
                }
        }
        printf("# OPTIONS\n\n");
        for (const Option *o = p->options; o && o->name; o++)
                print_scd_option(o);
        for (const Option *o = p->more_options; o && o->name; o++)
                print_scd_option(o);
        printf("*-h*, *--help*\n\tShow a summary and end.\n\n*--version*\n\tShow the version and end.\n");
}

static void print_words(const char *words)
{
        for (; words && *words; words += strspn(words, " ")) {
                size_t n = strcspn(words, " ");

                printf("%.*s\n", (int) n, words);
                words += n;
        }
}

/* The option that the word is, as --name or -x without a value in the same word. */
static const Option *option_of_word(const Program *p, const char *word)
{
        if (word[0] == '-' && word[1] == '-')
                return tables_find(p, word + 2, strlen(word + 2), 0);
        return word[0] == '-' && word[1] && !word[2] ? tables_find(p, NULL, 0, word[1]) : NULL;
}

/* The value of an option. */
static int print_values(const Program *p, const Option *o, int n, char *words[])
{
        print_words(o->choices);
        if (p->complete)
                p->complete(n, words);
        return 0;
}

/* What may follow the words. Returns the exit status. */
static int print_completion(const Program *p, int n, char *words[])
{
        const Option *tables[] = { p->options, p->more_options };
        int i;

        for (i = 0; i < n && words[i][0] == '-'; i++) {
                const Option *o = option_of_word(p, words[i]);

                if (!o || !o->arg || option_value_optional(o))
                        continue;
                if (++i == n)
                        return print_values(p, o, n, words);
        }
        for (const Verb *v = p->verbs; i < n && v && v->name; v++)
                if (streq(v->name, words[i]) && v->max < 0) {
                        char complete[] = "--complete", **argv = calloc((size_t) (n - i) + 2, sizeof *argv);
                        int r;

                        if (!argv)
                                return 1;
                        argv[0] = words[i];
                        argv[1] = complete;
                        memcpy(argv + 2, words + i + 1, (size_t) (n - i - 1) * sizeof *argv);
                        r = v->run(n - i + 1, argv, NULL);
                        free(argv);
                        return r;
                }
        if (n > 0) {
                const Option *last = option_of_word(p, words[n - 1]);

                if (last && last->arg && !option_value_optional(last))
                        return print_values(p, last, n, words);
        }
        for (const Verb *v = p->verbs; i == n && v && v->name; v++)
                if (v->text)
                        printf("%s\n", v->name);
        for (size_t t = 0; t < ELEMENTSOF(tables); t++)
                for (const Option *o = tables[t]; o && o->name; o++)
                        if (o->text)
                                printf("--%s\n", o->name);
        printf("--help\n--version\n");
        if (p->complete)
                p->complete(n, words);
        return 0;
}

static int usage_error(const Program *p, int usage_status, int *ret_exit)
{
        fprintf(stderr, "Try '%s --help'.\n", p->name);
        *ret_exit = usage_status;
        return -EINVAL;
}

static int option_apply(const Program *p, const Option *o, const char *value)
{
        if (value && o->choices && !words_contain(o->choices, value)) {
                fprintf(stderr, "%s: --%s: '%s' is not one of: %s\n", p->name, o->name, value, o->choices);
                return -EINVAL;
        }
        switch (o->type) {
        case OPTION_FLAG:
                *(bool *) o->target = true;
                return 0;
        case OPTION_NO_FLAG:
                *(bool *) o->target = false;
                return 0;
        case OPTION_BOOL:
                if (parse_bool(value, o->target) < 0) {
                        fprintf(stderr, "%s: --%s: '%s' is neither true nor false\n", p->name, o->name, value);
                        return -EINVAL;
                }
                return 0;
        case OPTION_STRING:
                *(const char **) o->target = value;
                return 0;
        case OPTION_INT:
                if (parse_i64(value, o->target) < 0) {
                        fprintf(stderr, "%s: --%s: '%s' is not a whole number\n", p->name, o->name, value);
                        return -EINVAL;
                }
                return 0;
        case OPTION_CALLBACK:
                return ((int (*)(const char *)) o->target)(value);
        case OPTION_IGNORED:
                return 0;
        }
        return -EINVAL;
}

int options_parse(const Program *p, int argc, char *argv[], int usage_status, int *ret_exit)
{
        _cleanup_free_ char **words = calloc((size_t) argc + 1, sizeof(char *));
        int n_words = 0, i;

        if (!words) {
                *ret_exit = 1;
                return -ENOMEM;
        }
        for (i = 1; i < argc; i++) {
                const char *a = argv[i], *value = NULL, *name = a + 2;
                const Option *o;
                size_t n;

                if (a[0] != '-' || a[1] == '\0' || (a[1] >= '0' && a[1] <= '9')) {
                        if (!(p->flags & PROGRAM_PERMUTE))
                                break;
                        words[n_words++] = argv[i];
                        continue;
                }
                if (streq(a, "--")) {
                        i++;
                        break;
                }
                if (streq(a, "--help") || streq(a, "-h") || streq(a, "-help")) {
                        program_print_help(p, stdout);
                        goto ended;
                }
                if (streq(a, "--version")) {
                        printf("%s %s\n", p->name, OXT_VERSION);
                        goto ended;
                }
                if (streq(a, "--help-scd")) {
                        print_scd(p);
                        goto ended;
                }
                if (i == 1 && streq(a, "--complete")) {
                        *ret_exit = print_completion(p, argc - 2, argv + 2);
                        return fflush(stdout) == 0 ? -ECANCELED : -EIO;
                }
                if (a[1] == '-') {
                        n = strcspn(name, "=");
                        o = tables_find(p, name, n, 0);
                        if (!o && n > 0 && (p->flags & PROGRAM_PREFIXES))
                                o = tables_find_prefix(p, name, n);
                        if (name[n] == '=')
                                value = name + n + 1;
                } else {
                        const char *letter = a + 1;

                        o = tables_find(p, NULL, 0, *letter);
                        for (; o && !o->arg && letter[1]; o = tables_find(p, NULL, 0, *++letter))
                                if (option_apply(p, o, NULL) < 0)
                                        return usage_error(p, usage_status, ret_exit);
                        if (o && letter[1])
                                value = letter + 1;
                }
                if (!o) {
                        fprintf(stderr, "%s: unknown option '%s'\n", p->name, a);
                        return usage_error(p, usage_status, ret_exit);
                }
                if (!o->arg && value) {
                        fprintf(stderr, "%s: option '--%s' takes no value\n", p->name, o->name);
                        return usage_error(p, usage_status, ret_exit);
                }
                if (o->arg && !value && !option_value_optional(o)) {
                        if (i + 1 >= argc) {
                                fprintf(stderr, "%s: option '--%s' needs a value: %s\n", p->name, o->name,
                                        o->arg);
                                return usage_error(p, usage_status, ret_exit);
                        }
                        value = argv[++i];
                }
                if (option_apply(p, o, value) < 0)
                        return usage_error(p, usage_status, ret_exit);
        }
        /* Put the words that stood between options behind all of them. */
        memmove(argv + i - n_words, words, (size_t) n_words * sizeof(char *));
        return i - n_words;
ended:
        *ret_exit = fflush(stdout) == 0 ? 0 : 1;
        return -ECANCELED;
}

int verbs_run(const Program *p, int argc, char *argv[], int first, int usage_status, void *userdata)
{
        const char *near = NULL;
        Nearest nearest;

        if (first >= argc) {
                program_print_help(p, stderr);
                return usage_status;
        }
        for (const Verb *v = p->verbs; v->name; v++) {
                int n = argc - first - 1;

                if (!streq(v->name, argv[first]))
                        continue;
                if (n < v->min || (v->max >= 0 && n > v->max)) {
                        fprintf(stderr, "Usage: %s %s %s\n", p->name, v->name, v->args);
                        return usage_status;
                }
                return v->run(argc - first, argv + first, userdata);
        }
        nearest_init(&nearest, argv[first]);
        for (const Verb *v = p->verbs; v->name; v++)
                if (v->text && nearest_try(&nearest, v->name))
                        near = v->name;
        fprintf(stderr, "%s: unknown command '%s'; ", p->name, argv[first]);
        if (near)
                fprintf(stderr, "did you mean '%s'? ", near);
        fprintf(stderr, "known are:");
        for (const Verb *v = p->verbs; v->name; v++)
                if (v->text)
                        fprintf(stderr, " %s", v->name);
        fprintf(stderr, "\n");
        return usage_status;
}
