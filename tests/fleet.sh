#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Live channels over HAProxy to three offline services, which are drained, killed and started again
# one after the other. No word may be lost or doubled on any channel.
#
#   tests/fleet.sh [channels, 60] [seconds, 300]

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

install_packages "${PACKAGES[@]}" haproxy
prepare_long_check fleet
exec python3 tests/fleet.py "$numbers" "$output" "${1:-60}" "${2:-300}"
