/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oxt-convert.h"

int main(int argc, char *argv[])
{
        return oxt_convert(argc, argv, 0);
}
