# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by ./quickstart: its steps.

started=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - started)); }
fail() {
        echo "quickstart: $*" >&2
        exit 1
}

# The daemons give up root: can their users reach a folder that is only root's?
reachable() {
        local d
        d=$(realpath -m "$1")
        while [ "$d" != / ]; do
                [ ! -e "$d" ] || [ $((0$(stat -c %a "$d") & 1)) = 1 ] || return 1
                d=$(dirname "$d")
        done
}

# Where what was built is to be run from: here, or, where the daemons' users cannot reach this folder, an installed copy.
prefix=/opt/oxt
must_install() { [ "$(id -u)" = 0 ] && ! reachable "$source"; }

build() {
        local log
        [ -f build/build.ninja ] || log=$(meson setup build 2>&1) || { echo "$log"; return 1; }
        if must_install; then
                # Programs know their prefix, so it is part of the configuration.
                meson configure build --prefix="$prefix" > /dev/null || return 1
        fi
        # On a terminal ninja's line changes in place; else only its complaints are of interest.
        if [ -t 1 ]; then
                NINJA_STATUS='  [%f/%t] ' ninja -C build || return 1
        else
                log=$(ninja -C build 2>&1) || { echo "$log"; return 1; }
        fi
        if must_install; then
                echo "This folder is root's alone, which the daemons are not: installing to $prefix"
                meson install -C build --quiet > build/install.log 2>&1 || { cat build/install.log; return 1; }
        fi
}

programs_find() {
        bin=$source/build/src/bin data=$source/data
        if must_install; then
                bin=$prefix/bin data=$prefix/share/oxt
        fi
}

guest_image() {
        local folder=$OXT_STATE_DIR/storage/guest
        mkdir -p "$folder" || return 1
        set -- "$bin/oxt-guest" "$bin/xec"
        [ ! -x "$bin/oxt-guest-vchan" ] || set -- "$@" "$bin/oxt-guest-vchan" # for Xen
        OXT_CACHE_DIR=$OXT_STATE_DIR/cache sh data/guest-image/build "$folder" "$@" || return 1
        echo "$folder: vmlinux $(($(stat -c %s "$folder/vmlinux") >> 20)) MiB, initrd $(($(stat -c %s "$folder/initrd") >> 20)) MiB"
}

# Answers the path of the VM of that name in $demo; fails if there is none.
demo_find() {
        local path
        demo=
        for path in $("$bin/xec" list-vms); do
                [ "$("$bin/xec" -o "$path" get name)" != demo ] || demo=$path
        done
        [ -n "$demo" ]
}

demo_start() {
        local uuid
        if demo_find; then
                echo "There is a VM 'demo' already"
        else
                demo=$("$bin/xec" create-vm-with-template oxt-demo) || return 1
                "$bin/xec" -o "$demo" set cmd-line "console=ttyS0 quiet oxt.demo=1" &&
                        "$bin/xec" -o "$demo" set name demo || return 1
                echo "Created VM 'demo' from template oxt-demo"
        fi
        if [ "$("$bin/xec" -o "$demo" get state)" = stopped ]; then
                uuid=$("$bin/xec" -o "$demo" get uuid) &&
                        "$bin/xec" -o "$demo" set serial "file:$OXT_RUNTIME_DIR/vm/$uuid/console.log" &&
                        "$bin/xec" -o "$demo" start || return 1
                echo "Started it"
        fi
}

# The guest says on its console when it has made its calls.
demo_wait() {
        local console=$OXT_RUNTIME_DIR/vm/$("$bin/xec" -o "$demo" get uuid)/console.log i
        for ((i = 0; i < 600; i++)); do
                if grep -qs '^oxt: demo is done' "$console"; then
                        [ $i = 0 ] || progress "The guest has called its host after $((i / 5)) s"
                        return 0
                fi
                progress "Waiting for the guest to call its host: $((i / 5)) s"
                sleep 0.2
        done
        progress "The guest did not call its host; its console is in $console"
        return 1
}

# One line that changes, on a terminal; else only the last.
progress() {
        if [ -t 1 ]; then
                printf '\r\033[K%s' "$1"
                case $1 in Waiting*) ;; *) echo ;; esac
        else
                case $1 in Waiting*) ;; *) echo "$1" ;; esac
        fi
}
