# Set-up shared by the scripts of this folder; sourced, never run. The caller has `set -euo pipefail`.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by those that source this

ork_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ork_root" || exit

ork_target=${CARGO_TARGET_DIR:-$ork_root/target}
ork_yes=${ORK_YES:-no}
ork_children=()

say() { printf '%s\n' "== $*" >&2; }
die() {
    printf '%s\n' "$(basename "$0"): $*" >&2
    exit 1
}

# Asks on a terminal; without one the answer is no, unless --yes was given.
consent() {
    [[ $ork_yes == yes ]] && return 0
    [[ -t 0 ]] || return 1
    local answer
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]]
}

# Installs Debian packages. Root does it, others through sudo.
apt_install() {
    command -v apt-get >/dev/null || die "this machine has no apt-get; please install by its own means: $*"
    local as=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "needs root to install: $*"
        as=(sudo)
    fi
    say "installing with apt-get: $*"
    local log
    log=$(mktemp)
    if ! "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; then
        # The package lists may be old or absent.
        "${as[@]}" apt-get update >"$log" 2>&1 || {
            cat "$log" >&2
            die "apt-get update failed"
        }
        "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 || {
            cat "$log" >&2
            die "apt-get could not install: $*"
        }
    fi
    rm -f "$log"
}

# The C side: a compiler for the bundled SQLite, libpcap for live capture.
need_c() {
    local missing=() found=
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    for found in /usr/include/pcap/pcap.h /usr/local/include/pcap/pcap.h; do
        [[ -e $found ]] && break
        found=
    done
    [[ -n $found ]] || missing+=(libpcap-dev)
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

wanted_rust() { sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml; }

rust_is_new_enough() {
    local have want
    have=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    want=$(wanted_rust)
    [[ -n $have ]] && command -v cargo >/dev/null &&
        [[ $(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1) == "$want" ]]
}

# cargo and rustc, new enough. Installed through rustup only with consent.
need_rust() {
    if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    rust_is_new_enough && return 0
    local have
    have=$(rustc --version 2>/dev/null || echo none)
    cat >&2 <<TXT
This needs Rust $(wanted_rust) or newer; found: $have.
To install it by hand, as your own user (it goes to ~/.cargo and ~/.rustup):

    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
    . ~/.cargo/env

TXT
    consent "Shall this script do that now?" || die "no Rust; run again with --yes to have it installed"
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal
        export RUSTUP_TOOLCHAIN=stable
    else
        command -v curl >/dev/null || apt_install curl ca-certificates
        local installer
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer" || die "cannot fetch rustup"
        sh "$installer" -y --profile minimal --default-toolchain stable --no-modify-path
        rm -f "$installer"
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    rust_is_new_enough || die "the Rust that was installed is still older than $(wanted_rust)"
}

# rustfmt and clippy are extra components of a minimal installation.
need_rust_tools() {
    local tool
    for tool in rustfmt clippy; do
        cargo "${tool/rust/}" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "cargo ${tool/rust/} is missing; install the component $tool"
        rustup component add "$tool"
    done
}

set_up() {
    need_c
    need_rust
}

# Notes a child to be ended with the script.
owns() { ork_children+=("$1"); }

# Ends one child, with patience first.
end_child() {
    local pid=$1 tries=0
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && ((tries++ < 150)); do sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

end_children() {
    local pid
    for pid in "${ork_children[@]}"; do end_child "$pid"; done
    ork_children=()
}

# True when an HTTP GET is answered with 200; needs no curl.
http_ok() {
    local port=$1 path=$2 status=
    {
        exec 9<>"/dev/tcp/127.0.0.1/$port" || return 1
    } 2>/dev/null
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$path" >&9
    read -r -t 2 status <&9 || true
    exec 9>&- 9<&-
    [[ $status == *" 200 "* ]]
}

# A port of this machine that nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s\n' "$port"
}
