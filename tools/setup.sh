#!/bin/sh
# Prepare a checkout: the system packages that demo and tests use, and .venv with banguard in it.
#
# As root on a machine with apt-get, missing packages are installed; none of their services is started. Otherwise this
# says what is missing and what will be done without. PYTHON chooses the interpreter (3.11 or newer). Takes no time when
# all is there.
set -eu

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'setup: %s\n' "$*"; }

# ---- one set-up at a time

mkdir -p .venv
if command -v flock >/dev/null 2>&1 && [ -z "${BANGUARD_SETUP_LOCKED:-}" ]; then
    BANGUARD_SETUP_LOCKED=1 exec flock .venv/.lock sh tools/setup.sh
fi

# ---- system packages: name, a file or program that shows it is there, what is not possible without it

packages() {
    cat <<'LIST'
python3-venv            -               a virtual environment cannot be made with Debian's python3
iproute2                ip              no private networks: demo and system tests do not run
util-linux              unshare         no private networks: demo and system tests do not run
firewalld               firewalld       the firewalld actions are not tested
dbus-daemon             dbus-daemon     the firewalld actions are not tested
ufw                     ufw             the ufw action is not tested
nftables                nft             bans do not reach a firewall: demo and firewall tests do not run
iptables                iptables        the iptables action is not tested
ipset                   ipset           the ipset action is not tested
conntrack               conntrack       that tracked connections are cut is not tested
openssh-server          sshd            no test against a real sshd
openssh-client          ssh             no test against a real sshd
sshpass                 sshpass         no test against a real sshd
gcc                     gcc             the journal binding cannot be built
python3-dev             -               the journal binding cannot be built with Debian's python3
pkg-config              pkg-config      the journal binding cannot be built
libsystemd-dev          -               the journal binding cannot be built
systemd                 journalctl      no test with a real journal
systemd-journal-remote  /lib/systemd/systemd-journal-remote  no test with a real journal
fail2ban                fail2ban-client no comparison with fail2ban
python3-pyinotify       -               the Debian package is not tested
logrotate               logrotate       the rotation of the log is not tested
groff-base              groff           the manual pages are not checked
LIST
}

is_there() { # package, program or file
    case $2 in
        -) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' ;;
        /*) [ -e "$2" ] || [ -e "/usr$2" ] ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$2" >/dev/null 2>&1 ;;
    esac
}

missing() { packages | while read -r package sign _; do is_there "$package" "$sign" || printf '%s ' "$package"; done; }

install_packages() { # package…
    log=$(mktemp)
    # nothing that is installed here may start, now or at the next boot
    barrier=/usr/sbin/policy-rc.d
    if [ -e "$barrier" ]; then
        barrier=
    else
        printf '#!/bin/sh\nexit 101\n' >"$barrier"
        chmod 755 "$barrier"
        trap 'rm -f "$barrier"' EXIT INT TERM
    fi
    { apt-get update -qq -o DPkg::Lock::Timeout=120 &&
        apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"; } </dev/null >"$log" 2>&1 || {
        say "some packages could not be installed:"
        tail -n 5 "$log"
    }
    if [ -n "$barrier" ]; then
        rm -f "$barrier"
        trap - EXIT INT TERM
        for package in "$@"; do
            case $package in
                openssh-server) systemctl disable --quiet ssh.service >/dev/null 2>&1 || true ;;
                fail2ban) systemctl disable --quiet fail2ban.service >/dev/null 2>&1 || true ;;
            esac
        done
    fi
    rm -f "$log"
}

lacking=$(missing)
if [ -n "$lacking" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing $lacking"
    # shellcheck disable=SC2086  # a list of words
    install_packages $lacking
    lacking=$(missing)
fi
if [ -n "$lacking" ]; then
    say "these packages are not installed; without them:"
    packages | while read -r package sign without; do
        is_there "$package" "$sign" || printf '  %-24s %s\n' "$package" "$without"
    done
    [ "$(id -u)" = 0 ] || say "as root, this would have installed them"
fi

# ---- the virtual environment, anew when the interpreter or pyproject.toml changed

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    found=$("$PYTHON" --version 2>/dev/null || echo missing)
    say "banguard needs Python 3.11 or newer, and $PYTHON is $found; try: make PYTHON=/path/to/python3.11"
    exit 1
}
stamp=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.prefix)'; cat pyproject.toml tools/setup.sh; pwd; } | cksum)
[ "$(cat .venv/.stamp 2>/dev/null || true)" != "$stamp" ] || exit 0

rm -f .venv/.stamp
say "building .venv with $("$PYTHON" --version)"
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null ||
    [ "$(.venv/bin/python -c 'import sys; print(sys.version, sys.base_prefix)')" != "$("$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)')" ]; then
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || {
        say "$PYTHON cannot make virtual environments; install python3-venv"
        exit 1
    }
    find .venv -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
    "$PYTHON" -m venv .venv
fi
log=$(mktemp)
.venv/bin/python -m pip install --quiet -e '.[dev]' </dev/null >"$log" 2>&1 || {
    say "banguard and its tools could not be installed into .venv:"
    tail -n 15 "$log"
    rm -f "$log"
    exit 1
}
.venv/bin/python -m pip install --quiet -e '.[journal]' </dev/null >"$log" 2>&1 ||
    say "the journal binding (extra \`journal\`) could not be built: banguard does without the journal, and its tests are skipped"
.venv/bin/python -m pip install --quiet -e '.[fast]' </dev/null >"$log" 2>&1 ||
    say "Hyperscan (extra \`fast\`) could not be installed: the prefilter of the standard library is used, which is slower"
rm -f "$log"
printf '%s\n' "$stamp" >.venv/.stamp
