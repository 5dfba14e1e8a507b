/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at a VM: its serial console in this terminal, a picture of its screen, its log, its last start. The
 * manager hands over the descriptors; so this works for everybody who may ask it.
 */
#include "vm-look.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "strbuf.h"
#include "vm-table.h"

#define ESCAPE 0x1d /* ^] */
#define LOG_TAIL (256 * KIB)
#define LOG_POLL_MSEC 250
#define LOG_POLLS_UNTIL_NEW 8

static bool arg_json, arg_dry_run, arg_follow;
static int64_t arg_lines = 100;

/* Whether a property of the VM has that value. */
static bool vm_has(const LookTarget *t, const char *property, const char *value)
{
        _cleanup_free_ char *text = NULL;

        return sd_bus_get_property_string(t->bus, XENMGR, t->path, XENMGR_VM, property, NULL, &text) >= 0 && streq(text, value);
}

static int ask(const LookTarget *t, const char *member, sd_bus_message **ret)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *text = NULL;
        int r = sd_bus_call_method(t->bus, XENMGR, t->path, XENMGR_OWN, member, &error, ret, NULL);

        if (r < 0) {
                text = error_to_text(sd_bus_error_is_set(&error) ? strempty(error.message) : strerror(-r));
                fprintf(stderr, "xec-vm: %s\n", strempty(text));
                if (vm_has(t, "state", "stopped"))
                        fprintf(stderr, "xec-vm: the command 'start' starts it, 'start --dry-run' tells what keeps it from starting\n");
        }
        sd_bus_error_free(&error);
        return r;
}

/* The descriptor that the method gives; the caller closes it. */
static int ask_fd(const LookTarget *t, const char *member)
{
        sd_bus_message *reply = NULL;
        int fd, r = ask(t, member, &reply);

        if (r >= 0)
                r = sd_bus_message_read(reply, "h", &fd);
        if (r >= 0) {
                r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                r = r < 0 ? -errno : r;
        }
        sd_bus_message_unref(reply);
        return r;
}

static int ask_json(const LookTarget *t, const char *member, json_object **ret)
{
        sd_bus_message *reply = NULL;
        const char *text;
        int r = ask(t, member, &reply);

        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r >= 0)
                r = json_parse(text, strlen(text), 8, ret);
        if (r >= 0 && arg_json)
                puts(text);
        sd_bus_message_unref(reply);
        return r;
}

static int write_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0 && errno == EAGAIN)
                        (void) poll(&(struct pollfd) { .fd = fd, .events = POLLOUT }, 1, -1);
                else if (k < 0 && errno != EINTR)
                        return -errno;
                p += MAX2(k, (ssize_t) 0);
                n -= (size_t) MAX2(k, (ssize_t) 0);
        }
        return 0;
}

/* ---- console ---- */

static volatile sig_atomic_t ended;

static void on_end(_unused_ int sig)
{
        ended = 1;
}

/* What was typed and the guest has not taken yet. More than that is lost, as on a real line without flow control. */
typedef struct Typed {
        char data[4096];
        size_t n;
} Typed;

/* true: the escape key was among it. */
static bool typed_add(Typed *t, const char *p, size_t n, bool terminal)
{
        for (size_t i = 0; i < n; i++) {
                if (terminal && p[i] == ESCAPE)
                        return true;
                if (t->n < sizeof t->data)
                        t->data[t->n++] = p[i];
        }
        return false;
}

static void typed_send(Typed *t, int fd)
{
        ssize_t n = write(fd, t->data, t->n);

        if (n <= 0)
                return;
        t->n -= (size_t) n;
        memmove(t->data, t->data + n, t->n);
}

/* Until the escape key, a signal, or the end of the console. Returns the exit status. */
static int console_run(int fd, bool terminal)
{
        struct pollfd p[] = { { .fd = fd }, { .fd = STDIN_FILENO, .events = POLLIN } };
        Typed typed = { .n = 0 };
        char buf[4096];

        while (!ended) {
                ssize_t n;

                p[0].events = typed.n > 0 ? POLLIN | POLLOUT : POLLIN;
                if (poll(p, ELEMENTSOF(p), -1) < 0)
                        continue;
                if (p[1].revents) {
                        n = read(STDIN_FILENO, buf, sizeof buf);
                        if (n > 0 && typed_add(&typed, buf, (size_t) n, terminal))
                                return 0;
                        if (n == 0 && terminal)
                                return 0;
                        if (n == 0)
                                p[1].fd = -1; /* all of a pipe was sent; what the guest says is still shown */
                }
                if (p[0].revents & POLLOUT)
                        typed_send(&typed, fd);
                if (!(p[0].revents & (POLLIN | POLLHUP | POLLERR)))
                        continue;
                n = read(fd, buf, sizeof buf);
                if (n > 0 ? write_all(STDOUT_FILENO, buf, (size_t) n) < 0 : n == 0 || (errno != EAGAIN && errno != EINTR)) {
                        fprintf(stderr, "\r\nxec-vm: the console ended\r\n");
                        return 0;
                }
        }
        return 0;
}

static int look_console(int argc, char *argv[], void *userdata)
{
        static const Program program = { .name = "xec-vm console", .synopsis = "",
                                         .summary = "Connects this terminal to the VM's serial console; the key ^] leaves it." };
        struct sigaction action = { .sa_handler = on_end };
        bool terminal = isatty(STDIN_FILENO);
        struct termios before, raw;
        int fd, status;

        if (options_parse(&program, argc, argv, 2, &status) < 0)
                return status;
        fd = ask_fd(userdata, "Console");
        if (fd < 0)
                return 1;
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGHUP, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        terminal = terminal && tcgetattr(STDIN_FILENO, &before) == 0;
        if (terminal) {
                fprintf(stderr, "Connected to the serial console. The key ^] (Ctrl and ]) leaves it.\n");
                raw = before;
                cfmakeraw(&raw);
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        }
        status = console_run(fd, terminal);
        if (terminal) {
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
                fputc('\n', stderr);
        }
        safe_close(fd);
        return status;
}

/* ---- screen ---- */

static int look_screen(int argc, char *argv[], void *userdata)
{
        static const Program program = { .name = "xec-vm screen", .synopsis = "[FILE]",
                                         .summary = "Writes what is on the VM's screen to a PNG file, or to a pipe." };
        _cleanup_close_ int in = -EBADF, file = -EBADF;
        int i, status, out = STDOUT_FILENO;
        const LookTarget *t = userdata;
        char buf[64 * KIB];
        ssize_t n;

        i = options_parse(&program, argc, argv, 2, &status);
        if (i < 0)
                return status;
        if (i == argc && isatty(out)) {
                fprintf(stderr, "xec-vm screen: a PNG is nothing for a terminal; name a FILE\n");
                return 2;
        }
        in = ask_fd(t, "Screenshot");
        if (in < 0) {
                if (vm_has(t, "display", "none") || vm_has(t, "display", ""))
                        fprintf(stderr, "xec-vm: the VM has no display: with 'set display vnc' it has one from its next start on\n");
                return 1;
        }
        if (i < argc && !streq(argv[i], "-")) {
                out = file = open(argv[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
                if (file < 0)
                        return log_errno(errno, "Cannot write %s", argv[i]) < 0;
        }
        while ((n = read(in, buf, sizeof buf)) > 0)
                if (write_all(out, buf, (size_t) n) < 0)
                        return log_errno(errno, "Cannot write the picture") < 0;
        return n < 0;
}

/* ---- log ---- */

/* Goes to where the last lines begin. */
static void seek_tail(int fd)
{
        off_t size = lseek(fd, 0, SEEK_END), from = MAX2(size - (off_t) LOG_TAIL, (off_t) 0);
        _cleanup_free_ char *text = malloc(LOG_TAIL);
        ssize_t n = text ? pread(fd, text, LOG_TAIL, from) : 0, i = n;

        for (int64_t lines = arg_lines + 1; i > 0; i--)
                if (text[i - 1] == '\n' && --lines == 0)
                        break;
        (void) lseek(fd, from + i, SEEK_SET);
}

/* What is there from here on. */
static int copy_rest(int fd)
{
        char buf[64 * KIB];
        ssize_t n;

        while ((n = read(fd, buf, sizeof buf)) > 0)
                if (write_all(STDOUT_FILENO, buf, (size_t) n) < 0)
                        return -EPIPE;
        return n < 0 ? -errno : 0;
}

/* Where the log was turned over meanwhile: the rest of the old file was read, the new one is read from its begin. */
static int follow_new(const LookTarget *t, int *fd)
{
        int other = ask_fd(t, "Log"), r = 0;
        struct stat a, b;

        if (other < 0)
                return other;
        if (fstat(*fd, &a) >= 0 && fstat(other, &b) >= 0 && (a.st_ino != b.st_ino || a.st_dev != b.st_dev)) {
                r = copy_rest(*fd);
                safe_close(*fd);
                *fd = other;
        } else
                safe_close(other);
        return r;
}

static int look_log(int argc, char *argv[], void *userdata)
{
        static const Option options[] = {
                { "follow", 'f', NULL, OPTION_FLAG, &arg_follow, "Go on and show what is added", NULL },
                { "lines", 'n', "N", OPTION_INT, &arg_lines, "How many lines to begin with (100)", NULL },
                { 0 }
        };
        static const Program program = { .name = "xec-vm log", .synopsis = "[OPTIONS]", .options = options,
                                         .summary = "Shows what the VM's monitor and its device model have logged." };
        const LookTarget *t = userdata;
        int fd, status, r;

        if (options_parse(&program, argc, argv, 2, &status) < 0)
                return status;
        fd = ask_fd(t, "Log");
        if (fd < 0)
                return 1;
        seek_tail(fd);
        r = copy_rest(fd);
        for (unsigned i = 1; r >= 0 && arg_follow; i++) {
                /* The file may belong to another user, so that inotify is no way. */
                (void) poll(NULL, 0, LOG_POLL_MSEC);
                r = copy_rest(fd);
                if (r >= 0 && i % LOG_POLLS_UNTIL_NEW == 0)
                        r = follow_new(t, &fd);
        }
        safe_close(fd);
        return r < 0;
}

/* ---- timeline, dry run ---- */

static int look_timeline(int argc, char *argv[], void *userdata)
{
        static const Option options[] = { { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL }, { 0 } };
        static const Program program = { .name = "xec-vm timeline", .synopsis = "[OPTIONS]", .options = options,
                                         .summary = "Shows when the VM's last start reached which phase, and why it failed." };
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *text = NULL;
        json_object *phases;
        double before = 0;
        int status;

        if (options_parse(&program, argc, argv, 2, &status) < 0)
                return status;
        if (ask_json(userdata, "Timeline", &o) < 0)
                return 1;
        if (arg_json)
                return 0;
        phases = json_get_member(o, "phases", json_type_array);
        if (!*json_get_text(o, "what", "")) {
                printf("The VM was not started since the manager was\n");
                return 0;
        }
        printf("%-20s %10s %10s\n", json_get_text(o, "what", ""), "at ms", "took ms");
        for (size_t i = 0; phases && i < json_object_array_length(phases); i++) {
                json_object *p = json_object_array_get_idx(phases, i), *ms = json_get_member(p, "ms", json_type_double);
                double at = ms ? json_object_get_double(ms) : before;

                printf("%-20s %10.1f %10.1f\n", json_get_text(p, "phase", ""), at, at - before);
                before = at;
        }
        if (json_get_member(o, "failed", json_type_string)) {
                text = error_to_text(json_get_text(o, "failed", ""));
                printf("failed: %s\n", strempty(text));
        }
        return 0;
}

static int look_start(int argc, char *argv[], void *userdata)
{
        static const Option options[] = {
                { "dry-run", 0, NULL, OPTION_FLAG, &arg_dry_run, "Start nothing; tell all that would keep the VM from starting", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print JSON", NULL },
                { 0 }
        };
        static const Program program = { .name = "xec-vm start", .synopsis = "[--dry-run]", .options = options,
                                         .summary = "Starts the VM." };
        _cleanup_json_ json_object *o = NULL;
        size_t n;
        int status;

        if (options_parse(&program, argc, argv, 2, &status) < 0)
                return status;
        if (ask_json(userdata, "DryRun", &o) < 0 || !json_object_is_type(o, json_type_array))
                return 1;
        n = json_object_array_length(o);
        for (size_t i = 0; !arg_json && i < n; i++) {
                json_object *finding = json_object_array_get_idx(o, i);
                _cleanup_free_ char *text = error_to_text(json_get_text(finding, "error", ""));

                printf("%s: %s\n", json_get_text(finding, "check", ""), strempty(text));
        }
        if (!arg_json && n == 0)
                puts(vm_has(userdata, "state", "stopped") ? "Nothing keeps the VM from starting"
                                                          : "The VM runs; nothing would keep it from starting again");
        return n > 0;
}

const Verb look_verbs[] = {
        { "console", "", 0, -1, look_console, "Connect this terminal to the VM's serial console; ^] leaves it" },
        { "screen", "[FILE]", 0, -1, look_screen, "Write what is on the VM's screen to a PNG file" },
        { "log", "[-f] [-n N]", 0, -1, look_log, "Show what the VM's monitor and device model have logged" },
        { "timeline", "[--json]", 0, -1, look_timeline, "Show when the last start reached which phase, and why it failed" },
        { "start", "--dry-run [--json]", 0, -1, look_start, "Tell all that would keep the VM from starting, all at once" },
        { 0 }
};

const Verb *look_find(char *const words[])
{
        const Verb *v = look_verbs;
        bool dry = false;

        if (!words || !words[0])
                return NULL;
        while (v->name && !streq(v->name, words[0]))
                v++;
        for (char *const *w = words; *w; w++)
                dry |= streq(*w, "--dry-run");
        return v->name && (v->run != look_start || dry) ? v : NULL;
}
