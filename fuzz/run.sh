#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# run.sh FUZZER CORPUS: a fixed number of inputs (at most half a minute of them), from the corpus on. What it finds
# worth keeping goes to a folder of its own, not into the corpus; what breaks it is named and kept.
found=$(mktemp -d) || exit 1
"$1" -runs=100000 -max_total_time=30 -seed=1 -verbosity=0 -print_final_stats=1 -artifact_prefix="$found/" "$found" "$2"
status=$?
if [ $status = 0 ]; then
        rm -rf "$found"
else
        echo "The input is in $found"
fi
exit $status
