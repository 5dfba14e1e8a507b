/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt logs: the end of the daemons' log files, in the order of time, and what comes after it. */
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemons.h"
#include "log.h"
#include "oxt.h"
#include "strbuf.h"

#define TAIL_BYTES (256 * KIB)
#define FOLLOW_INTERVAL_MSEC 200

static bool arg_follow;
static int64_t arg_lines = 100;

typedef struct LogFile {
        const char *name;
        char *path;
        off_t at; /* what was read so far */
} LogFile;

typedef struct Line {
        char *text;
        char stamp[LOG_STAMP_SIZE]; /* of its own, or of the line before it */
        size_t number;
} Line;

typedef struct Lines {
        Line *line;
        size_t n;
} Lines;

static void lines_clear(Lines *l)
{
        for (size_t i = 0; i < l->n; i++)
                free(l->line[i].text);
        free(l->line);
        *l = (Lines) { 0 };
}

static int compare_lines(const void *a, const void *b)
{
        const Line *x = a, *y = b;
        int r = strcmp(x->stamp, y->stamp);

        return r ? r : (x->number > y->number) - (x->number < y->number);
}

/* Stamps are of one form, so that their order as texts is that of time. */
static bool has_stamp(const char *line)
{
        return strlen(line) > LOG_STAMP_SIZE && line[4] == '-' && line[10] == 'T' && line[LOG_STAMP_SIZE - 1] == ' ';
}

static int add_line(Lines *l, const char *text, size_t n, const char *stamp)
{
        Line *more = reallocarray(l->line, l->n + 1, sizeof *more);
        Line *line;

        if (!more)
                return -ENOMEM;
        l->line = more;
        line = &more[l->n];
        *line = (Line) { .text = strndup(text, n), .number = l->n };
        if (!line->text)
                return -ENOMEM;
        memcpy(line->stamp, stamp, sizeof line->stamp);
        if (has_stamp(line->text))
                memcpy(line->stamp, line->text, LOG_STAMP_SIZE - 1);
        l->n++;
        return 0;
}

/* Reads whole lines that came since the last time; a file that became shorter was turned over. */
static int read_lines(LogFile *f, Lines *lines)
{
        _cleanup_close_ int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        char stamp[LOG_STAMP_SIZE] = "";
        struct stat st;
        char *p, *end;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return fd < 0 && errno == ENOENT ? 0 : -errno;
        if (st.st_size < f->at)
                f->at = 0;
        if (st.st_size == f->at)
                return 0;
        if (st.st_size - f->at > (off_t) TAIL_BYTES)
                f->at = st.st_size - (off_t) TAIL_BYTES;
        text = malloc(TAIL_BYTES + 1);
        if (!text)
                return -ENOMEM;
        n = pread(fd, text, TAIL_BYTES, f->at);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        for (p = text; (end = memchr(p, '\n', (size_t) (text + n - p))); p = end + 1) {
                int r = add_line(lines, p, (size_t) (end - p), stamp);

                if (r < 0)
                        return r;
                memcpy(stamp, lines->line[lines->n - 1].stamp, sizeof stamp);
        }
        f->at += p - text;
        return 0;
}

static int show(LogFile *files, size_t n_files, int64_t limit)
{
        _cleanup_(lines_clear) Lines l = { 0 };
        size_t first;

        for (size_t i = 0; i < n_files; i++) {
                int r = read_lines(&files[i], &l);

                if (r < 0)
                        return log_errno(r, "Cannot read %s", files[i].path);
        }
        if (l.n > 1)
                qsort(l.line, l.n, sizeof *l.line, compare_lines);
        first = limit >= 0 && l.n > (size_t) limit ? l.n - (size_t) limit : 0;
        for (size_t i = first; i < l.n; i++)
                puts(l.line[i].text);
        return fflush(stdout) == 0 ? 0 : -errno;
}

static int follow(const char *dir, LogFile *files, size_t n_files)
{
        _cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char buf[4096];

        if (fd < 0 || inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE) < 0)
                return log_errno(errno, "Cannot watch %s", dir);
        for (;;) {
                int r = show(files, n_files, -1);

                if (r < 0)
                        return r;
                if (poll(&p, 1, -1) < 0 && errno != EINTR)
                        return log_errno(errno, "Cannot wait for %s", dir);
                /* What comes close together is shown together, in order. */
                (void) poll(NULL, 0, FOLLOW_INTERVAL_MSEC);
                while (read(fd, buf, sizeof buf) > 0)
                        ;
        }
}

int oxt_logs(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "follow", 'f', NULL, OPTION_FLAG, &arg_follow, "Go on and show what is added", NULL },
                { "lines", 'n', "N", OPTION_INT, &arg_lines, "How many lines to begin with (100)", NULL },
                { 0 }
        };
        static const Program program = { .name = "oxt logs", .synopsis = "[OPTIONS] [DAEMON]...", .options = options,
                                         .flags = PROGRAM_PERMUTE, .summary = "Shows what the daemons of a stack have logged." };
        LogFile files[_DAEMON_MAX];
        size_t n = 0;
        int first, status;
        Stack s;

        first = stack_open(&s, &program, argc, argv, &status);
        if (first < 0)
                return status;
        status = 0;
        for (int i = first; i < argc; i++) {
                DaemonId id = 0;

                while (id < _DAEMON_MAX && !streq(daemon_table[id].name, argv[i]))
                        id++;
                if (id == _DAEMON_MAX) {
                        fprintf(stderr, "oxt logs: there is no daemon '%s'; known are:", argv[i]);
                        for (id = 0; id < _DAEMON_MAX; id++)
                                fprintf(stderr, " %s", daemon_table[id].name);
                        fprintf(stderr, "\n");
                        status = 2;
                }
        }
        for (DaemonId id = 0; status == 0 && id < _DAEMON_MAX; id++) {
                bool wanted = first == argc;

                for (int i = first; i < argc; i++)
                        wanted |= streq(daemon_table[id].name, argv[i]);
                if (!wanted)
                        continue;
                files[n] = (LogFile) { .name = daemon_table[id].name };
                files[n].path = paths_format(&s.paths, PATH_LOGS, "%s.log", files[n].name);
                if (!files[n].path) {
                        status = log_oom() < 0;
                        break;
                }
                n++;
        }
        if (status == 0 && access(paths_get(&s.paths, PATH_LOGS), R_OK | X_OK) < 0) {
                log_errno(errno, "No logs in %s (where systemd runs the daemons they are in the journal: journalctl -u 'oxt-*')",
                          paths_get(&s.paths, PATH_LOGS));
                status = 1;
        }
        if (status == 0)
                status = show(files, n, arg_lines) < 0;
        if (status == 0 && arg_follow)
                status = follow(paths_get(&s.paths, PATH_LOGS), files, n) < 0;
        while (n > 0)
                free(files[--n].path);
        stack_done(&s);
        return status;
}
