#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Runs all tests, including those that need the packages that this installs first. Arguments go
# to the test programs: tests/run.sh a_name

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=examples/setup.sh
. examples/setup.sh

install_packages "${PACKAGES[@]}"
find_cargo

# Neither the real service nor a proxy must have a say, and neither must installed plugins.
unset DASHSCOPE_API_KEY GST_PLUGIN_PATH
for name in HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY; do
    unset "$name" "${name,,}"
done

# Some tests use the plugin as a file, which cargo does not put in its place for tests alone.
say "Building"
cargo build --workspace --lib --examples --locked
say "Testing"
cargo test --workspace --all-targets --locked -- "$@"
say "Testing the documentation's examples"
cargo test --workspace --doc --locked -- "$@"
