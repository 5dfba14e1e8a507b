/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the table of numbered errors, one row a line, for the test that goes through all of it. */
#include "errors.h"

int main(void)
{
        for (const ErrorRow *e = error_rows; e->text; e++)
                printf("%d\t%s\t%s\n", e->code, e->text, strempty(e->token));
        return 0;
}
