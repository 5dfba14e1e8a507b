/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the store's own files share: its statements and how they are run. */
#include <sqlite3.h>

#include "store.h"

typedef enum Statement {
        STATEMENT_BEGIN,
        STATEMENT_COMMIT,
        STATEMENT_INSERT,
        STATEMENT_UPDATE,
        STATEMENT_DELETE,
        STATEMENT_GET_META,
        STATEMENT_SET_META,
        STATEMENT_HISTORY,
        _STATEMENT_MAX,
} Statement;

struct Store {
        sqlite3 *db;
        sqlite3_stmt *statement[_STATEMENT_MAX];
        int log_pages; /* with store_defer_checkpoints: what the last commit left in the log */
        char error[256];
};

int store_errno(Store *s, int code); /* notes the text of the error */
int store_prepare(Store *s, Statement which, sqlite3_stmt **ret);
int store_step(Store *s, sqlite3_stmt *st);
