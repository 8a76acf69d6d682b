#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Fuzzes what reads the network: the answers of servers and proxies to a connection attempt, the
# codecs, and whole sessions with captions.
#
#   tests/fuzz.sh [seconds for each target, 60] [target…]
#
# Every input is a script in words, see src/fuzzing and the seeds in fuzz/seeds. What is found is
# kept in target/fuzz and built upon in the next run. To run an input that failed again:
#
#   target/fuzz/run/<target> <file>

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

seconds=${1:-60}
targets=("${@:2}")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(answers decode session)
fi

install_packages "${PACKAGES[@]}"
find_cargo
install_tool cargo-fuzz '^0.13'

# Without a sanitizer: there is no unsafe code to watch, and any toolchain can build it.
build=$(target_directory)/fuzz
mkdir -p "$build/run" "$build/artifacts"
say "Building the fuzz targets"
# cargo fuzz knows no --locked.
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
cargo fuzz build --sanitizer none --target-dir "$build/build"
host=$(rustc -vV | sed -n 's/^host: //p')

for target in "${targets[@]}"; do
    say "Fuzzing $target for $seconds s"
    cp "$build/build/$host/release/$target" "$build/run/$target"
    mkdir -p "$build/corpus/$target"
    "$build/run/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 \
        -max_len=8192 -print_final_stats=1 -dict=fuzz/words.dict \
        -artifact_prefix="$build/artifacts/$target-" \
        "$build/corpus/$target" "fuzz/seeds/$target" >"$build/$target.log" 2>&1 || {
        tail -n 60 "$build/$target.log" >&2
        fail "$target failed: see above, and $build/$target.log"
    }
    sed -n '/^stat::\(number_of_executed_units\|peak_rss_mb\)/p' "$build/$target.log"
    tail -n 40 "$build/$target.log" | sed -n 's/.* \(cov: [0-9]* ft: [0-9]*\).*/\1/p' | tail -n 1
done
