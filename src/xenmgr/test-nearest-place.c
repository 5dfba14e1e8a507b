/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "host.h"

int main(void)
{
        static const int64_t row[] = { 0, 1, 2 }, mixed[] = { 5, -3, 5, 7, -3 };

        assert(nearest_place(row, 3, 0, true) == -1 && nearest_place(row, 3, 0, false) == 1);
        assert(nearest_place(row, 3, 1, true) == 0 && nearest_place(row, 3, 1, false) == 2);
        assert(nearest_place(row, 3, 2, true) == 1 && nearest_place(row, 3, 2, false) == -1);
        /* The same place is neither left nor right; the first of two at one place counts. */
        assert(nearest_place(mixed, 5, 2, true) == 1 && nearest_place(mixed, 5, 0, false) == 3);
        assert(nearest_place(mixed, 5, 4, true) == -1 && nearest_place(mixed, 5, 4, false) == 0);
        assert(nearest_place(row, 1, 0, true) == -1 && nearest_place(row, 1, 0, false) == -1);
        return 0;
}
