#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Runs all tests, including those that need the packages that this installs first. Arguments go
# to the test programs: tests/run.sh a_name

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

install_packages "${PACKAGES[@]}" "${TEST_PACKAGES[@]}"
find_cargo

# Neither must installed plugins have a say.
stay_offline
unset GST_PLUGIN_PATH

# The tests would do this themselves, but not without disturbing each other.
say "Building plugins of gst-plugins-rs"
cargo build --locked --manifest-path tests/peer-plugins/Cargo.toml \
    --target-dir "$(target_directory)/peer-plugins" \
    -p gst-plugin-closedcaption -p gst-plugin-textwrap

say "Testing"
cargo test --workspace --all-targets --locked -- "$@"
say "Testing the documentation's examples"
cargo test --workspace --doc --locked -- "$@"
