# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by ./quickstart and ./check: installs what data/packages lists for the sections named.

# Prints the packages of these sections that are not installed.
packages_missing() {
        local section package
        while read -r section package; do
                case " $* " in
                *" $section "*)
                        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
                        ;;
                esac
        done < "$(dirname "${BASH_SOURCE[0]}")/packages"
}

# Installs them as root or through sudo; else says which command does it and fails.
packages_install() {
        local missing log sudo=
        missing=$(packages_missing "$@" | tr '\n' ' ')
        [ -n "$missing" ] || return 0
        if [ "$(id -u)" != 0 ]; then
                if ! sudo -n true 2>/dev/null && ! { [ -t 1 ] && sudo -v 2>/dev/null < /dev/tty; }; then
                        echo "These packages are missing: $missing"
                        echo "Install them with: sudo apt-get install --no-install-recommends $missing"
                        return 1
                fi
                sudo=sudo
        fi
        echo "Installing: $missing"
        log=$(mktemp)
        # shellcheck disable=SC2086
        if $sudo apt-get update > "$log" 2>&1 &&
           $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >> "$log" 2>&1; then
                rm -f "$log"
                return 0
        fi
        tail -n 20 "$log"
        rm -f "$log"
        echo "apt-get could not install them; the command was: apt-get install --no-install-recommends $missing"
        return 1
}

# Makes the users of the daemons; needs root (an ordinary user's stack has no need of them).
users_make() {
        [ "$(id -u)" != 0 ] || systemd-sysusers "$(realpath "$(dirname "${BASH_SOURCE[0]}")")/sysusers.d/oxt.conf" 2> /dev/null ||
                { echo "systemd-sysusers could not make the users of oxt"; return 1; }
}
