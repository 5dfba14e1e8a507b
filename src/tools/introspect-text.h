/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What an object has, as xec shows it. */
#include "introspect.h"
#include "strbuf.h"

/* A method's name as it is typed, with '-' for '_'. */
void method_to_text(const char *name, StrBuf *b);
/* An interface with its properties and methods, as lines with an empty one behind them. */
void interface_to_text(const IntroInterface *i, StrBuf *b);
/* The same as a JSON object, and its signals. */
void interface_to_json(const IntroInterface *i, StrBuf *b);
