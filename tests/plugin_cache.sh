#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# docs/gst_plugins_cache.json, from which hotdoc makes GStreamer's documentation of plugins, is that of
# the elements: tests/plugin_cache.sh. With --update, it is made so. Its generator is a file of
# GStreamer's source that Debian has no package of.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

CACHE=docs/gst_plugins_cache.json
# Others have classes of other versions in it.
GSTREAMER=1.22

install_packages "${BUILD_PACKAGES[@]}" python3 xz-utils
find_cargo
pkg-config --exact-version "$GSTREAMER.0" gstreamer-1.0 ||
    fail "this takes GStreamer $GSTREAMER.0, of Debian 12"
target=$(target_directory)
work=$target/plugin_cache
scanner=$work/scanner
if [ ! -x "$scanner" ]; then
    say "Building GStreamer's generator"
    rm -rf "$work"
    mkdir -p "$work/lists/partial"
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    echo "deb-src $(mirror) $release main" >"$work/sources.list"
    apt=(
        apt-get --quiet=2 -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root
    )
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" source --download-only gstreamer1.0)
    source=gst-hotdoc-plugins-scanner.c
    tar --extract --xz --file "$work"/gstreamer1.0_*.orig.tar.xz --directory "$work" \
        --strip-components 2 --wildcards "*/docs/$source"
    # shellcheck disable=SC2046
    cc -O1 -o "$scanner" "$work/$source" $(pkg-config --cflags --libs gstreamer-1.0 gio-2.0) -lm
fi

say "Building"
cargo build --locked --lib
rm -f "$work/scanned.json"
GST_REGISTRY=$work/registry.bin "$scanner" "$work/scanned.json" "$target/debug/libgstqwenasr.so" \
    >/dev/null
/usr/bin/python3 -m json.tool --sort-keys --no-ensure-ascii "$work/scanned.json" "$work/cache.json"
if [ "${1:-}" = --update ]; then
    cp "$work/cache.json" "$CACHE"
fi
diff --unified "$CACHE" "$work/cache.json" ||
    fail "$CACHE is not that of the elements: tests/plugin_cache.sh --update"
