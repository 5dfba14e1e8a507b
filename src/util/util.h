/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Ownership helpers used everywhere.
 *
 * A variable marked _cleanup_(f) is given to f when it goes out of scope. TAKE_PTR() and TAKE_FD()
 * hand such a variable over: they return the value and leave the empty one (NULL, -EBADF) behind.
 * Descriptors start as -EBADF, pointers as NULL, so every clean-up can run on half-built objects.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN2(a, b) ((a) < (b) ? (a) : (b))
#define MAX2(a, b) ((a) > (b) ? (a) : (b))

#define KIB ((uint64_t) 1024)
#define MIB (1024 * KIB)
#define USEC_PER_MSEC ((uint64_t) 1000)
#define USEC_PER_SEC ((uint64_t) 1000000)

#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                __typeof__(p) *_take_p = &(p);                                                     \
                __typeof__(p) _take_v = *_take_p;                                                  \
                *_take_p = NULL;                                                                   \
                _take_v;                                                                           \
        })

#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int *_take_fd = &(fd);                                                             \
                int _take_v = *_take_fd;                                                           \
                *_take_fd = -EBADF;                                                                \
                _take_v;                                                                           \
        })

/* Defines f##p(T *p), the clean-up form of a destructor that returns NULL or void. */
#define DEFINE_CLEANUP(type, func)                                                                 \
        static inline void func##p(type *p)                                                        \
        {                                                                                          \
                if (*p)                                                                            \
                        func(*p);                                                                  \
        }

static inline void freep(void *p)
{
        free(*(void **) p);
}

static inline void fclosep(FILE **f)
{
        if (*f)
                fclose(*f);
}

/* Closes fd if it is one; errno is kept. Returns -EBADF, so that `fd = safe_close(fd)` resets it. */
int safe_close(int fd);

static inline void closep(int *fd)
{
        safe_close(*fd);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

static inline bool streq_ptr(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* The text behind prefix if s starts with it, else NULL. */
static inline const char *startswith(const char *s, const char *prefix)
{
        size_t l = strlen(prefix);

        return strncmp(s, prefix, l) == 0 ? s + l : NULL;
}

static inline const char *endswith(const char *s, const char *suffix)
{
        size_t l = strlen(s), k = strlen(suffix);

        return l >= k && strcmp(s + l - k, suffix) == 0 ? s + l - k : NULL;
}

static inline const char *strempty(const char *s)
{
        return s ? s : "";
}

/* Monotonic clock in microseconds. */
uint64_t now_usec(void);
