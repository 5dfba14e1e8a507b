/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt convert, also as xenvm-convert: between the xenvm config file and xl.cfg. */
#include "oxt-convert.h"

#include <unistd.h>

#include "fs.h"
#include "options.h"
#include "xl-config.h"
#include "xl-convert.h"

enum { EXIT_DONE, EXIT_CONVERSION, EXIT_USAGE, EXIT_INPUT };

static const char *arg_to;
static bool arg_strict;

static const Option options[] = {
        { "to", 't', "FORMAT", OPTION_STRING, &arg_to, "What to make; default: the other than INPUT is", "xl xenvm" },
        { "strict", 0, NULL, OPTION_FLAG, &arg_strict, "Take a warning as an error, and write nothing then", NULL },
        { 0 },
};

static const Program program = {
        .name = "xenvm-convert",
        .synopsis = "[OPTIONS] INPUT [OUTPUT]",
        .summary = "Converts between the config file of xenvm and that of xl; what one of them cannot say stays as a comment.",
        .options = options,
        .flags = PROGRAM_PERMUTE,
        .footer = "Exit status: 0 done (there may be warnings), 1 something cannot be converted, 2 usage,\n"
                  "3 the input cannot be read.",
};

/* xl wants quotes around texts, so that what it can read is not a xenvm file but by chance. */
static bool looks_like_xl(const char *text, size_t size)
{
        _cleanup_free_ char *why = NULL;
        _cleanup_xl_ XlFile *f = NULL;

        return xl_parse(text, size, &f, &why) >= 0 && f->n_items > 0;
}

static int write_output(const char *path, const char *text)
{
        int r;

        if (!path)
                return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? -EIO : 0;
        r = write_file_atomic(path, text, strlen(text), 0644);
        if (r < 0)
                fprintf(stderr, "xenvm-convert: cannot write %s: %s\n", path, strerror(-r));
        return r;
}

int oxt_convert(int argc, char *argv[], void *userdata _unused_)
{
        _cleanup_conversion_ Conversion c = { 0 };
        _cleanup_free_ char *text = NULL;
        const char *input;
        int first, status, r;
        bool to_xl;
        size_t size;

        first = options_parse(&program, argc, argv, EXIT_USAGE, &status);
        if (first < 0)
                return status;
        if (argc - first < 1 || argc - first > 2) {
                fprintf(stderr, "Usage: xenvm-convert %s\n", program.synopsis);
                return EXIT_USAGE;
        }
        input = argv[first];
        r = streq(input, "-") ? read_stream(STDIN_FILENO, XL_FILE_MAX, &text, &size) : read_file(input, XL_FILE_MAX, &text, &size);
        if (r < 0) {
                fprintf(stderr, "xenvm-convert: cannot read %s: %s\n", input, strerror(-r));
                return EXIT_INPUT;
        }
        to_xl = arg_to ? streq(arg_to, "xl") : !looks_like_xl(text, size);
        r = to_xl ? convert_xenvm_to_xl(text, size, &c) : convert_xl_to_xenvm(text, size, &c);
        for (char **w = c.warnings; w && *w; w++)
                fprintf(stderr, "%s: %s: %s\n", input, arg_strict ? "error" : "warning", *w);
        if (r < 0) {
                fprintf(stderr, "%s: error: %s\n", input, c.error ? c.error : strerror(-r));
                return r == -EBADMSG ? EXIT_INPUT : EXIT_CONVERSION;
        }
        if (arg_strict && c.warnings)
                return EXIT_CONVERSION;
        return write_output(argc - first > 1 ? argv[first + 1] : NULL, c.text) < 0 ? EXIT_CONVERSION : EXIT_DONE;
}
