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
# Its tests say what is missing if it cannot be had. They are themselves threads, so that this
# has to be said here: for as small a model, one thread does the work of two in half the time.
fetch_moonshine || true
export MOONSHINE_ORT_SINGLE_THREAD=1

# Neither must installed plugins have a say.
stay_offline
unset GST_PLUGIN_PATH

# The tests would do this themselves, but not without disturbing each other.
say "Building plugins of gst-plugins-rs"
cargo build --locked --manifest-path tests/peer-plugins/Cargo.toml \
    --target-dir "$(target_directory)/peer-plugins" \
    -p gst-plugin-closedcaption -p gst-plugin-regex -p gst-plugin-textwrap

# A test that hangs names itself and ends its program, if it hangs where that can be expected.
say "Testing"
timeout --verbose --kill-after=10 2h \
    cargo test --workspace --all-targets --locked --no-fail-fast -- "$@"
say "Testing the documentation's examples"
cargo test --workspace --doc --locked -- "$@"
