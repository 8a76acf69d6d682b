# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash
#
# Sourced by examples/demo.sh, tests/run.sh and .ci/run: what they need of Debian 12, or of
# something similar enough.

# Building the plugin, running it, and the offline service with its model and recordings.
# shellcheck disable=SC2034
PACKAGES=(
    build-essential
    pkg-config
    libgstreamer1.0-dev
    libgstreamer-plugins-base1.0-dev
    gstreamer1.0-tools
    gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good # wavparse, pngenc
    gstreamer1.0-plugins-bad  # srtenc, webvttenc
    gstreamer1.0-x            # textoverlay
    gstreamer1.0-plugins-ugly # x264enc
    fonts-dejavu-core
    fonts-wqy-microhei # Chinese
    fontconfig
    libpocketsphinx3
    pocketsphinx-en-us
    pocketsphinx-testdata
    ca-certificates
    libpango1.0-dev # tttocea608 and others of gst-plugin-closedcaption
    libcairo2-dev
)

# What only the tests need.
# shellcheck disable=SC2034
TEST_PACKAGES=(
    nginx-light # an RTMP server, with the module
    libnginx-mod-rtmp
    python3-gi # examples/captions.py, and an RTSP server
    gir1.2-gstreamer-1.0
    gir1.2-gst-rtsp-server-1.0
)

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() {
    printf '\n== %s\n' "$*"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "these packages have to be installed first, by root: ${missing[*]}"
    fi
}

# Installs those of the packages that are missing.
install_packages() {
    local package missing=()
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian: what it has as packages has to be there already." >&2
        return
    fi
    for package in "$@"; do
        if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
            grep -qx installed; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    say "Installing ${missing[*]}"
    local install=(
        env DEBIAN_FRONTEND=noninteractive
        apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
    )
    # The lists may be there and be recent enough.
    if ! as_root "${install[@]}"; then
        as_root apt-get update --quiet
        as_root "${install[@]}" || fail "apt-get could not install ${missing[*]}"
    fi
}

# Finds cargo also where the shell has not been told of it.
find_cargo() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    command -v cargo >/dev/null || fail "cargo is missing: install Rust, see https://rustup.rs"
}

# The directory that cargo builds into.
target_directory() {
    printf '%s\n' "${CARGO_TARGET_DIR:-$PWD/target}"
}

# Makes sure of a tool for developers, which cargo installs.
install_tool() {
    local tool=$1 version=$2 target
    target=$(target_directory)
    PATH="$PATH:$target/tools/bin"
    if ! command -v "$tool" >/dev/null; then
        say "Installing $tool"
        # Optimising it would take longer than running it.
        CARGO_TARGET_DIR=$target/tools/build CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
            CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
            cargo install "$tool" --version "$version" --locked --root "$target/tools"
        rm -rf "$target/tools/build"
    fi
}

# From here on neither the real service nor a proxy has a say.
stay_offline() {
    local name
    unset DASHSCOPE_API_KEY
    for name in HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY; do
        unset "$name" "${name,,}"
    done
}

# Builds the plugin and the service for numbered audio, whose program is $numbers then, and makes
# an empty directory $output with the given name.
prepare_long_check() {
    local target
    find_cargo
    say "Building"
    cargo build --release --locked -p gst-plugin-qwenasr -p offline-service --lib --bin numbers
    target=$(target_directory)
    # shellcheck disable=SC2034
    numbers=$target/release/numbers
    export GST_PLUGIN_PATH="$target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
    stay_offline
    # Numbers as the shell has them.
    export LC_ALL=C
    output=$target/$1
    rm -rf "$output"
    mkdir -p "$output"
}
