#!/bin/sh
# What must be there before cargo can run xtask, which installs the rest: a linker and the workspace's toolchain.
# rustup installs a missing toolchain by itself only where it is allowed to (RUSTUP_AUTO_INSTALL).
set -eu
cd "$(dirname "$0")/.."

if ! command -v rustup >/dev/null; then
    echo "rustup is missing: install it as https://rustup.rs says, then run this again" >&2
    exit 1
fi

if ! command -v cc >/dev/null; then
    if [ -e /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev
    else
        echo "a C compiler is missing, which Rust links with: install gcc" >&2
        exit 1
    fi
fi

if ! cargo --version >/dev/null 2>&1; then
    channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
    rustup toolchain install "$channel" --profile minimal --component clippy --component rustfmt --no-self-update
fi
