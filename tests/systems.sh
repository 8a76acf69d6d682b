#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# As root: both commands of the README in new systems, with nothing in them but Debian. Takes half an
# hour for each, and 5 GB while it runs.
#
#   sudo tests/systems.sh [bookworm|trixie|sid]...
#
# With COMMANDS in the environment, other commands: COMMANDS="examples/demo.sh" sudo -E …

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

readarray -t commands <<<"${COMMANDS:-$(printf 'examples/demo.sh\ntests/run.sh')}"
releases=("$@")
[ $# -gt 0 ] || releases=(bookworm trixie sid)

install_packages debootstrap
target=$(target_directory)
root=
trap 'remove_system "$root"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
results=()
for release in "${releases[@]}"; do
    say "A bare $release"
    root=$target/systems/$release
    make_system "$release" "$root"
    mkdir "$root/root/source"
    list_source | tar --create --null --files-from=- | tar --extract -C "$root/root/source"
    for command in "${commands[@]}"; do
        log=$target/systems/$release-$(basename "${command%% *}").log
        say "$command in $release, see $log"
        start=$SECONDS result=passed
        # shellcheck disable=SC2086
        in_system "$root" sh -c "cd /root/source && exec $command" >"$log" 2>&1 || result=FAILED
        tail -n 5 "$log"
        results+=("$release: $command $result, $((SECONDS - start)) s")
    done
    remove_system "$root"
done
say "Results"
printf '%s\n' "${results[@]}"
[[ "${results[*]}" != *FAILED* ]]
