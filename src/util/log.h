/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Logging for every program. Messages go to stderr; where stderr is the journal's stream
 * (JOURNAL_STREAM names it) each line starts with the "<N>" level that the journal understands, where it
 * is a file with the time (UTC, "2026-01-31T23:59:59.999 ").
 * Libraries log at debug level at most: a function either reports an error to its caller or logs it.
 * Text that came from a guest is logged through log_untrusted(), which makes it printable.
 */
#include <syslog.h>

#include "util.h"

/* Size of the text of a time, with its end. */
#define LOG_STAMP_SIZE 24

/* ident: the program's name, kept by reference. level: highest syslog level that is shown. */
void log_init(const char *ident, int level);
/* The level can change at any time, e.g. with an option that is read later. */
void log_set_level(int level);
int log_get_level(void);

void log_full(int level, const char *fmt, ...) _printf_(2, 3);

/* Logs "<text>: <strerror>" and returns the error as negative errno, for `return log_errno(r, …)`. */
int log_errno_full(int level, int error, const char *fmt, ...) _printf_(3, 4);

#define log_error(...) log_full(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
        do {                                                                                       \
                if (log_get_level() >= LOG_DEBUG)                                                  \
                        log_full(LOG_DEBUG, __VA_ARGS__);                                          \
        } while (0)
#define log_errno(error, ...) log_errno_full(LOG_ERR, error, __VA_ARGS__)
#define log_oom() log_errno_full(LOG_ERR, ENOMEM, "Out of memory")

/*
 * Copies untrusted text into buf (size bytes, always terminated) with every byte outside printable
 * ASCII shown as \xNN and with "..." at the end when it was cut. Returns buf.
 */
char *log_untrusted(char *buf, size_t size, const char *untrusted_text);
