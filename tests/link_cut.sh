#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Cuts the network between the plugin and the offline service, for real: both have a network
# namespace of their own, with a link in between. Needs root. Takes about five minutes.
#
# Arguments choose the cases, with lengths in seconds:
#   45         the service's end of the link goes down
#   near:45    the plugin's end goes down, and its routes with it
#   silent:45  all packets are lost, but both ends seem to be up
#   loss       a share of the packets is lost
# Without arguments they are 1 10 45 loss.
#
# No word may be lost or doubled, and captions have to resume within RESUME_MS, 3000 if that is
# not set, after the link is back. The exit code is 77 where there can be no namespaces.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

# Milliseconds from the link's return to the next transcript.
RESUME_MS=${RESUME_MS:-3000}

# Percentage of packets that "loss" loses, in both directions, and for how many seconds.
LOSS=20
LOSS_SECONDS=15

# Seconds of audio before and after a disturbance.
BEFORE=12
AFTER=20

# The link's ends; nothing outside of the namespaces sees them.
SERVER_ADDRESS=10.77.0.1
CLIENT_ADDRESS=10.77.0.2
PREFIX=30

cases=("$@")
if [ ${#cases[@]} -eq 0 ]; then
    cases=(1 10 45 loss)
fi
for disturbance in "${cases[@]}"; do
    [[ $disturbance =~ ^(((near|silent):)?[1-9][0-9]{0,2}|loss)$ ]] || fail "what is '$disturbance'?"
done

# Of this run alone.
server_namespace=qwenasr-$$-service
client_namespace=qwenasr-$$-plugin
if [ "$(id -u)" -ne 0 ]; then
    echo "Skipped: only root can cut a link"
    exit 77
fi

install_packages "${PACKAGES[@]}" iproute2

# Ends what runs in the namespaces, and nothing else.
cleanup() {
    local namespace pids
    for namespace in "$client_namespace" "$server_namespace"; do
        if [ ! -e "/run/netns/$namespace" ]; then
            continue
        fi
        mapfile -t pids < <(ip netns pids "$namespace" 2>/dev/null)
        if [ ${#pids[@]} -gt 0 ]; then
            kill -KILL "${pids[@]}" 2>/dev/null || true
        fi
        ip netns delete "$namespace" 2>/dev/null || true
    done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_link() {
    ip netns add "$server_namespace" &&
        ip netns add "$client_namespace" &&
        ip -n "$server_namespace" link add link0 type veth \
            peer name link0 netns "$client_namespace" &&
        ip -n "$server_namespace" address add "$SERVER_ADDRESS/$PREFIX" dev link0 &&
        ip -n "$client_namespace" address add "$CLIENT_ADDRESS/$PREFIX" dev link0 &&
        ip -n "$server_namespace" link set link0 up &&
        ip -n "$client_namespace" link set link0 up
}
if ! make_link; then
    echo "Skipped: no network namespaces, or no links between them, are permitted here"
    exit 77
fi

prepare_long_check link_cut

# Milliseconds since the epoch.
now() {
    echo "$((${EPOCHREALTIME/./} / 1000))"
}

# Puts the time before each line, in milliseconds since the epoch.
stamp() {
    local line
    while IFS= read -r line; do
        printf '%s %s\n' "$(now)" "$line"
    done
}

# Waits up to so many seconds for a pattern in a file.
wait_for() {
    local _
    for _ in $(seq $(($1 * 10))); do
        if grep -q -- "$2" "$3" 2>/dev/null; then
            return
        fi
        sleep 0.1
    done
    return 1
}

say "Starting the service"
ip netns exec "$server_namespace" "$numbers" serve --listen "$SERVER_ADDRESS" \
    >"$output/server.log" 2>&1 &
# Its end needs no comment.
disown
wait_for 30 '^Listening on ' "$output/server.log" || {
    cat "$output/server.log" >&2
    fail "the offline service does not start"
}
url=$(sed -n 's/^Listening on //p' "$output/server.log")

# Loses such a percentage of the packets in both directions. Not every kernel has netem: a
# filter that draws a random number for each packet, and sends some where nobody is, does too.
lose_packets() {
    local namespace
    how="netem"
    for namespace in "$server_namespace" "$client_namespace"; do
        tc -n "$namespace" qdisc add dev link0 root netem loss "$1%" 2>/dev/null || how=
    done
    if [ -n "$how" ]; then
        return
    fi
    find_packets
    how="a BPF filter"
    # ld rand; jgt #LIMIT; ret #-1; ret #0
    local limit=$((4294967295 * (100 - $1) / 100))
    local program="4,32 0 0 4294963256,37 0 1 $limit,6 0 0 4294967295,6 0 0 0"
    for namespace in "$server_namespace" "$client_namespace"; do
        if ! tc -n "$namespace" qdisc add dev link0 clsact 2>/dev/null ||
            ! tc -n "$namespace" filter add dev link0 ingress bpf bytecode "$program" \
                action mirred egress redirect dev lo 2>/dev/null; then
            find_packets
            how=
            return 1
        fi
    done
}

find_packets() {
    local namespace
    for namespace in "$server_namespace" "$client_namespace"; do
        tc -n "$namespace" qdisc delete dev link0 root 2>/dev/null || true
        tc -n "$namespace" qdisc delete dev link0 clsact 2>/dev/null || true
    done
}

# The words of all finals, one per line, in order.
words() {
    sed -n '/qwenasr\/transcript,.* final=(boolean)true/s/.* text=(string)\(.*\), stash=.*/\1/p' \
        "$1" | { grep -o 'w[0-9]\{4\}' || true; }
}

# Milliseconds from a time to the first message after it that matches, or nothing.
delay() {
    awk -v since="$2" -v what="$3" \
        '$1 >= since && $0 ~ what { print $1 - since; exit }' "$1"
}

# What the element said about its connection, with seconds since a time.
states() {
    awk -v since="$2" '/qwenasr\/connection,/ {
        state = reason = $0
        sub(/.*state=\(string\)/, "", state); sub(/,.*/, "", state)
        sub(/.*reason=\(string\)/, "", reason); sub(/, session-id=.*/, "", reason)
        gsub(/\\/, "", reason)
        printf "      %8.3f s  %s %s\n", ($1 - since) / 1000, state, reason
    }' "$1"
}

passed=0 failed=0
ok() {
    echo "ok      $*"
    passed=$((passed + 1))
}
not_ok() {
    echo "FAILED  $*"
    failed=$((failed + 1))
}

# Plays numbered audio in real time, disturbs the link for some seconds once captions come,
# and looks at what came of it.
disturb() {
    local name=$1 seconds=$2 begin=$3 end=$4
    local files=$output/$((passed + failed + 1))
    "$numbers" wav --seconds $((BEFORE + seconds + AFTER)) --out "$files.wav" >"$files.expected"
    # Catching up takes up to four times as long as the disturbance.
    local limit=$((BEFORE + seconds + AFTER + 4 * seconds + 60))
    GST_DEBUG=qwenasr:5 GST_DEBUG_NO_COLOR=1 GST_DEBUG_FILE=$files.debug \
        ip netns exec "$client_namespace" timeout "$limit" gst-launch-1.0 -m \
        filesrc location="$files.wav" ! wavparse ! clocksync ! \
        qwenasrsink url="$url" failure-policy=continue max-queue-time=60000 \
        > >(stamp >"$files.log") 2>"$files.stderr" &
    local pipeline=$! from until resumed='' kept problems=()
    if ! wait_for 30 'final=(boolean)true' "$files.log"; then
        problems+=("no captions before")
    fi
    sleep $((BEFORE / 3))
    from=$(now)
    "$begin"
    sleep "$seconds"
    "$end"
    until=$(now)
    wait "$pipeline" || problems+=("the pipeline ended with $?")
    # The last lines may still be on their way.
    wait_for 5 '^[0-9]* Freeing pipeline' "$files.log" || true

    words "$files.log" >"$files.words"
    kept=$(wc -l <"$files.words")
    if ! cmp --silent "$files.expected" "$files.words"; then
        problems+=("the words are others: diff $files.expected $files.words")
    fi
    if grep -q 'qwenasr/audio-lost,' "$files.log"; then
        problems+=("audio was lost")
    fi
    resumed=$(delay "$files.log" "$until" 'qwenasr/transcript,')
    if [ -z "$resumed" ]; then
        problems+=("captions did not resume")
    elif [ "$resumed" -gt "$RESUME_MS" ]; then
        problems+=("captions resumed after more than $RESUME_MS ms")
    fi
    local line
    line="$name: $kept of $(wc -l <"$files.expected") words"
    line+=", captions resumed after ${resumed:-?} ms"
    line+=", $(awk -v from="$from" '$1 >= from && /state=\(string\)reconnecting/ { n++ }
        END { print n + 0 }' "$files.log") times reconnecting"
    if [ ${#problems[@]} -eq 0 ]; then
        ok "$line"
    else
        not_ok "$line$(printf '; %s' "${problems[@]}")"
        echo "      The connection, with seconds since the disturbance was over:"
        states "$files.log" "$until"
    fi
}

far_down() {
    ip -n "$server_namespace" link set link0 down
}
far_up() {
    ip -n "$server_namespace" link set link0 up
}
near_down() {
    ip -n "$client_namespace" link set link0 down
}
near_up() {
    ip -n "$client_namespace" link set link0 up
}
lose_some() {
    lose_packets "$LOSS"
}
lose_all() {
    lose_packets 100
}

say "Disturbing the link"
for disturbance in "${cases[@]}"; do
    seconds=${disturbance#*:}
    case $disturbance in
        loss | silent:*)
            # Not every kernel can.
            if ! lose_packets 1; then
                echo "skipped $disturbance: this kernel has neither netem nor what the BPF" \
                    "filter takes (sch_ingress, cls_bpf, act_mirred)"
                continue
            fi
            find_packets
            ;;
    esac
    case $disturbance in
        loss)
            disturb "$LOSS % of the packets lost for $LOSS_SECONDS s ($how)" "$LOSS_SECONDS" \
                lose_some find_packets
            ;;
        silent:*)
            disturb "all packets lost for $seconds s ($how)" "$seconds" lose_all find_packets
            ;;
        near:*) disturb "near end down for $seconds s" "$seconds" near_down near_up ;;
        *) disturb "link down for $seconds s" "$seconds" far_down far_up ;;
    esac
done
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
