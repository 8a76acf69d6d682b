#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# The crate as it would be published: it builds all of its examples by itself.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

install_packages "${BUILD_PACKAGES[@]}"
find_cargo
target=$(target_directory)
say "Packing"
# What is not committed yet is to be tried as well.
cargo package --locked --allow-dirty --no-verify -p gst-plugin-qwenasr
crates=("$target"/package/gst-plugin-qwenasr-*.crate)
crate=${crates[-1]}
say "Unpacking and building $crate"
work=$(mktemp -d "$target/package/try.XXXXXX")
trap 'rm -rf "$work"' EXIT
tar --extract --file "$crate" --strip-components 1 --directory "$work"
# Not a part of the workspace that it lies in.
printf '\n[workspace]\n' >>"$work/Cargo.toml"
CARGO_TARGET_DIR=$target cargo check --locked --lib --examples --manifest-path "$work/Cargo.toml"
