/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A program's command line is one static table. It drives parsing, --help, --version, shell
 * completion (hidden --complete) and the OPTIONS section of the man page (hidden --help-scd), so
 * that these can never differ. Every program gets --help and --version for free.
 *
 *     static const Option options[] = {
 *             { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept" },
 *             { "debug", 0, NULL, OPTION_FLAG, &arg_debug, "Log more" },
 *             { 0 }
 *     };
 *
 * Long options are taken as `--name VALUE` and `--name=VALUE`, letters as `-l VALUE`, `-lVALUE` and, those
 * without a value, joined. With PROGRAM_PERMUTE options may
 * stand anywhere, else they end at the first other word (as POSIX has it); `--` always ends them.
 */
#include "util.h"

typedef enum OptionType {
        OPTION_FLAG,     /* bool *, set to true */
        OPTION_NO_FLAG,  /* bool *, set to false */
        OPTION_BOOL,     /* bool *, takes true|false */
        OPTION_STRING,   /* const char **, points into argv */
        OPTION_INT,      /* int64_t *, decimal */
        OPTION_CALLBACK, /* int (*)(const char *value): 0, or a negative errno after printing why */
        OPTION_IGNORED,  /* accepted for old scripts, no effect */
} OptionType;

typedef struct Option {
        const char *name; /* without dashes */
        char letter;      /* 0: none */
        const char *arg;  /* name of the value in --help; NULL: takes none. "[X]": optional (=X only) */
        OptionType type;
        void *target;
        const char *text; /* one line, no full stop; NULL: hidden */
        const char *choices; /* blank separated, for checks and completion; NULL: any */
} Option;

/* A word of the command line with a meaning of its own, as in `oxt up`. */
typedef struct Verb {
        const char *name;
        const char *args; /* synopsis of what follows, or "" */
        int min, max;     /* number of words behind it; max -1: any, and run parses them with options_parse() */
        int (*run)(int argc, char *argv[], void *userdata); /* argv[0] is the verb; result: exit status */
        const char *text;
} Verb;

typedef enum ProgramFlags {
        PROGRAM_PERMUTE = 1 << 0,
        PROGRAM_PREFIXES = 1 << 1, /* long options may be cut where they stay unambiguous, as in programs of old */
} ProgramFlags;

typedef struct Program {
        const char *name;
        const char *synopsis; /* behind the name, e.g. "[OPTIONS] PATH" */
        const char *summary;  /* one sentence */
        const Option *options;
        const Verb *verbs; /* NULL: none; ends with a row without name */
        ProgramFlags flags;
        const char *footer; /* more text for --help, without its last line end, or NULL */
        const Option *more_options; /* a second table (e.g. those that all daemons share), or NULL */
        /* Prints further words, one a line, that can follow those already there: values if the last one is
         * an option that takes one. See options_parse(). NULL: none. */
        void (*complete)(int n_words, char *words[]);
} Program;

/*
 * Completion: `PROGRAM --complete [WORD…]`, where the words are those in front of the cursor, prints
 * what may follow, one a line. It must stand directly behind the program's name; so no word of a
 * command line that is being completed can be taken for something to do. A word that is a verb (with
 * max -1) hands over to that verb's own options_parse().
 *
 * Parses argv. Returns the index of the first word that is no option (argc if none; with
 * PROGRAM_PERMUTE argv is reordered), or a negative value with *ret_exit set: the program is to end
 * with that status (0 after --help and --version, usage_status after an error, which was printed).
 */
int options_parse(const Program *p, int argc, char *argv[], int usage_status, int *ret_exit);

/* Runs the verb at argv[first]; prints what is accepted if there is none such. Returns the exit status. */
int verbs_run(const Program *p, int argc, char *argv[], int first, int usage_status, void *userdata);
