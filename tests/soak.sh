#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Captions for many minutes, with a fault every 20 s, and sees whether memory, threads or file
# descriptors leak: tests/soak.sh [minutes]

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

minutes=${1:-20}
if ! [[ $minutes =~ ^[1-9][0-9]{0,2}$ ]] || [ "$minutes" -lt 4 ] || [ "$minutes" -gt 600 ]; then
    fail "how many minutes, 4 to 600? Not '$minutes'"
fi

# Seconds from one fault to the next, that the service stands still, and that it is gone.
FAULT_INTERVAL=20
STANDSTILL=5
ABSENCE=2

# Seconds between two samples.
SAMPLE_INTERVAL=10

# Memory, threads and descriptors may grow until then, and memory by so many percent later on.
SETTLED=120
MOST_GROWTH=10

# The last seconds of each part of the time, whose medians are compared.
WINDOW=60

install_packages "${PACKAGES[@]}"
prepare_long_check soak

server='' pipeline=''
cleanup() {
    local process
    for process in "$pipeline" "$server"; do
        if [ -n "$process" ]; then
            kill -KILL "$process" 2>/dev/null || true
        fi
    done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

port=0
# At the port it had before, if it had one.
start_server() {
    : >"$output/server.log"
    "$numbers" serve --port "$port" >"$output/server.log" 2>&1 &
    server=$!
    # Its end needs no comment.
    disown "$server"
    local _
    for _ in $(seq 100); do
        url=$(sed -n 's/^Listening on //p' "$output/server.log")
        if [ -n "$url" ]; then
            port=${url#ws://*:}
            port=${port%%/*}
            return
        fi
        sleep 0.1
    done
    cat "$output/server.log" >&2
    fail "the offline service does not start"
}

running() {
    # A process that has ended but was not waited for has no memory any more.
    grep -q '^VmRSS:' "/proc/$pipeline/status" 2>/dev/null
}

# Seconds of the pipeline, kB of memory, threads, descriptors.
sample() {
    local rss threads descriptors
    rss=$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$pipeline/status") || return 0
    threads=$(awk '$1 == "Threads:" { print $2 }' "/proc/$pipeline/status") || return 0
    descriptors=("/proc/$pipeline/fd"/*)
    if [ -n "$rss" ] && [ -n "$threads" ]; then
        echo "$1 $rss $threads ${#descriptors[@]}" >>"$output/samples"
    fi
}

faults=0
# One fault after the other, in turn. What takes a while goes on in the loop below.
fault() {
    if [ $((faults % 2)) -eq 0 ]; then
        kill -KILL "$server" 2>/dev/null || true
        mend=restart mend_at=$(($1 + ABSENCE))
    else
        kill -STOP "$server"
        mend=resume mend_at=$(($1 + STANDSTILL))
    fi
    faults=$((faults + 1))
}

mend() {
    case $mend in
        restart) start_server ;;
        resume) kill -CONT "$server" ;;
    esac
    mend=
}

start_server
seconds=$((minutes * 60))
"$numbers" wav --seconds "$seconds" --out "$output/audio.wav" >"$output/expected"

say "Captioning for $minutes minutes"
# Faults must not add up: what they delay is made up for at once.
timeout $((seconds + 120)) gst-launch-1.0 -m filesrc location="$output/audio.wav" ! \
    wavparse ! clocksync ! qwenasrsink url="$url" failure-policy=continue max-speed=5 \
    >"$output/log" 2>"$output/stderr" &
timeout=$!
# The pipeline itself is the child of what guards it.
for _ in $(seq 100); do
    pipeline=$(cat "/proc/$timeout/task/$timeout/children" 2>/dev/null || true)
    pipeline=${pipeline// /}
    if [ -n "$pipeline" ]; then
        break
    fi
    sleep 0.05
done
if [ -z "$pipeline" ]; then
    cat "$output/stderr" >&2
    fail "the pipeline does not start"
fi

: >"$output/samples"
start=$SECONDS mend='' mend_at=0
# Samples come in the middle between faults, when nothing is amiss.
next_sample=$((SAMPLE_INTERVAL / 2 + ABSENCE)) next_fault=$FAULT_INTERVAL
while running; do
    elapsed=$((SECONDS - start))
    if [ -n "$mend" ] && [ "$elapsed" -ge "$mend_at" ]; then
        mend
    fi
    if [ "$elapsed" -ge "$next_sample" ]; then
        sample "$elapsed"
        next_sample=$((next_sample + SAMPLE_INTERVAL))
    fi
    # The end is left in peace.
    if [ "$elapsed" -ge "$next_fault" ] && [ "$elapsed" -lt $((seconds - FAULT_INTERVAL)) ]; then
        fault "$elapsed"
        next_fault=$((next_fault + FAULT_INTERVAL))
    fi
    sleep 0.2
done
status=0
wait "$timeout" || status=$?
pipeline=

passed=0 failed=0
# Whether the command after the text is true.
check() {
    local text=$1
    shift
    if "$@"; then
        echo "ok      $text"
        passed=$((passed + 1))
    else
        echo "FAILED  $text"
        failed=$((failed + 1))
    fi
}

# Median of a column (2 memory, 3 threads, 4 descriptors) over the window before a moment.
median() {
    awk -v from="$(($2 - WINDOW))" -v to="$2" -v column="$1" \
        '$1 > from && $1 <= to { print $column }' "$output/samples" | sort -n |
        awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : 0 }'
}

extremes() {
    awk -v column="$1" '
        NR == 1 || $column < least { least = $column }
        NR == 1 || $column > most { most = $column }
        END { printf "%d %d\n", least, most }' "$output/samples"
}

say "Samples ($(wc -l <"$output/samples"), all in $output/samples)"
last=$(tail -n 1 "$output/samples" | cut -d ' ' -f 1)
printf '%-14s %9s %9s %9s %9s\n' "" least most "at 2 min" "at end"
titles=("" "" "memory in kB" threads descriptors)
before=() after=()
for column in 2 3 4; do
    before[column]=$(median "$column" "$SETTLED")
    after[column]=$(median "$column" "${last:-0}")
    read -r least most < <(extremes "$column")
    printf '%-14s %9d %9d %9d %9d\n' "${titles[column]}" "$least" "$most" \
        "${before[column]}" "${after[column]}"
done
echo "(the last two: medians of the $WINDOW s before)"

sed -n '/qwenasr\/transcript,.* final=(boolean)true/s/.* text=(string)\(.*\), stash=.*/\1/p' \
    "$output/log" | { grep -o 'w[0-9]\{4\}' || true; } >"$output/words"

say "After $faults faults"
check "the pipeline ended in order ($status)" [ "$status" -eq 0 ]
check "the samples cover the time (${last:-0} of $seconds s)" \
    [ "${last:-0}" -ge $((seconds - 2 * SAMPLE_INTERVAL)) ]
check "memory grew by no more than $MOST_GROWTH % (${before[2]} to ${after[2]} kB)" \
    [ $((after[2] * 100)) -le $((before[2] * (100 + MOST_GROWTH))) ]
check "threads did not grow (${before[3]} to ${after[3]})" [ "${after[3]}" -le "${before[3]}" ]
check "descriptors did not grow (${before[4]} to ${after[4]})" \
    [ "${after[4]}" -le "${before[4]}" ]
check "every word came once, in order ($(wc -l <"$output/words") of $(wc -l <"$output/expected"))" \
    cmp --silent "$output/expected" "$output/words"
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
