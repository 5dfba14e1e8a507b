/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *log_ident = "oxt";
static int log_level = LOG_INFO;
static bool log_journal, log_file;

void log_init(const char *ident, int level)
{
        const char *e = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        log_ident = ident;
        log_level = level;
        if (fstat(STDERR_FILENO, &st) < 0)
                return;
        log_journal = e && sscanf(e, "%llu:%llu", &dev, &ino) == 2 && st.st_dev == dev && st.st_ino == ino;
        log_file = S_ISREG(st.st_mode);
}

void log_set_level(int level)
{
        log_level = level;
}

int log_get_level(void)
{
        return log_level;
}

static const char *level_word(int level)
{
        switch (level) {
        case LOG_WARNING:
                return "warning: ";
        case LOG_NOTICE:
        case LOG_INFO:
                return "";
        case LOG_DEBUG:
                return "debug: ";
        default:
                return "error: ";
        }
}

/* The time where the log is a file, else "". */
static const char *stamp(char buf[static LOG_STAMP_SIZE])
{
        struct timespec t;
        struct tm tm;
        size_t n;

        if (!log_file || clock_gettime(CLOCK_REALTIME, &t) < 0 || !gmtime_r(&t.tv_sec, &tm))
                return "";
        n = strftime(buf, LOG_STAMP_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(buf + n, LOG_STAMP_SIZE - n, ".%03u", (unsigned) (t.tv_nsec / 1000000) % 1000);
        return buf;
}

static void _printf_(3, 0) log_line(int level, int error, const char *fmt, va_list ap)
{
        char line[4096], now[LOG_STAMP_SIZE];
        int saved = errno, n;

        if (log_journal)
                n = snprintf(line, sizeof line, "<%d>", level);
        else
                n = snprintf(line, sizeof line, "%s%s%s[%d]: %s", stamp(now), log_file ? " " : "", log_ident, (int) getpid(),
                             level_word(level));
        vsnprintf(line + n, sizeof line - 1 - (size_t) n, fmt, ap);
        n = (int) strlen(line);
        if (error)
                snprintf(line + n, sizeof line - 1 - (size_t) n, ": %s", strerror(error));
        n = (int) strlen(line);
        line[n++] = '\n';
        /* One write for each line, so that lines of several processes never mix. */
        if (write(STDERR_FILENO, line, (size_t) n) < 0) {
                /* There is no place left to report this to. */
        }
        errno = saved;
}

void log_full(int level, const char *fmt, ...)
{
        va_list ap;

        if (level > log_level)
                return;
        va_start(ap, fmt);
        log_line(level, 0, fmt, ap);
        va_end(ap);
}

int log_errno_full(int level, int error, const char *fmt, ...)
{
        va_list ap;

        error = error < 0 ? -error : error;
        if (level <= log_level) {
                va_start(ap, fmt);
                log_line(level, error, fmt, ap);
                va_end(ap);
        }
        return -error;
}

char *log_untrusted(char *buf, size_t size, const char *untrusted_text)
{
        size_t o = 0;

        if (size == 0)
                return buf;
        for (const unsigned char *p = (const unsigned char *) untrusted_text; *p; p++) {
                bool plain = *p >= 0x20 && *p < 0x7f && *p != '\\';

                if (o + (plain ? 1 : 4) + 4 > size) {
                        for (int i = 0; i < 3 && o + 1 < size; i++)
                                buf[o++] = '.';
                        break;
                }
                if (plain)
                        buf[o++] = (char) *p;
                else
                        o += (size_t) snprintf(buf + o, size - o, "\\x%02x", *p);
        }
        buf[o] = '\0';
        return buf;
}
