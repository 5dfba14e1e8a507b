/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Lists through members of their items: `next`, and in doubly linked ones `pprev`, the place that points at the item, so that
 * it leaves without its list being known.
 */

/* Takes item out of a singly linked list, if it is in it. */
#define LIST_TAKE_OUT(head, item)                                                                  \
        do {                                                                                       \
                for (__typeof__(head) *_at = &(head); *_at; _at = &(*_at)->next)                   \
                        if (*_at == (item)) {                                                      \
                                *_at = (item)->next;                                               \
                                break;                                                             \
                        }                                                                          \
        } while (0)

/* Puts item first into a doubly linked list. */
#define LIST_LINK(head, item)                                                                      \
        do {                                                                                       \
                (item)->next = (head);                                                             \
                (item)->pprev = &(head);                                                           \
                if ((item)->next)                                                                  \
                        (item)->next->pprev = &(item)->next;                                       \
                (head) = (item);                                                                   \
        } while (0)

/* Takes it out again. */
#define LIST_UNLINK(item)                                                                          \
        do {                                                                                       \
                if ((item)->next)                                                                  \
                        (item)->next->pprev = (item)->pprev;                                       \
                *(item)->pprev = (item)->next;                                                     \
        } while (0)
