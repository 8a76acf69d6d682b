#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Streams numbered speech with examples/hls_captions, translated as well, and sees in headless
# Chromium whether captions are there when their words are said: tests/hls_captions.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

SECONDS_OF_SPEECH=15
# In milliseconds: utterances last three seconds at most, and their translation takes two more.
LATENCY=7000
TRANSLATION_SECONDS=2
# The clock of MPEG-TS, which mpegtsmux begins at an hour, wraps after 2^33 / 90000 s: in the midst
# of what begins here, in seconds.
BEFORE_WRAP=91836

install_packages "${PACKAGES[@]}" "${BROWSER_PACKAGES[@]}"
prepare_long_check hls_captions
fetch_hls_js

declare -A processes=()
cleanup() {
    local process
    for process in "${processes[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a program in the background, whose output goes to a log of that name.
start() {
    local name=$1
    shift
    "$@" >"$output/$name.log" 2>&1 &
    processes[$name]=$!
}

# Waits for the end of one, which has to be in order.
reap() {
    local process=${processes[$1]}
    unset "processes[$1]"
    wait "$process" || fail "$1 ended with $?: $(cat "$output/$1.log")"
}

# Waits, while one runs, until a command succeeds.
wait_until() {
    local name=$1 _
    shift
    for _ in $(seq 600); do
        if "$@"; then
            return
        fi
        kill -0 "${processes[$name]}" 2>/dev/null || break
        sleep 0.1
    done
    fail "$name: no success of $*: $(cat "$output/$name.log")"
}

# Waits until one has printed a line that begins so, and prints the rest of it.
wait_for() {
    local name=$1 begin=$2 log=$output/$1.log
    wait_until "$name" grep -q "^$begin" "$log"
    sed -n "s/^$begin//p" "$log" | head -n 1
}

check() {
    /usr/bin/python3 tests/hls_captions.py "$@"
}

# Starts a programme that begins after so many seconds, given the address of the service. Words come
# faster than anybody speaks, and so do cues.
stream() {
    local name=$1 begin=$2 service=$3
    shift 3
    start "$name" env TMPDIR="$output/folders" \
        /usr/bin/python3 tests/hls_captions.py stream "$begin" --listen 127.0.0.1:0 \
        --hls-js "$HLS_JS" --latency "$LATENCY" --translate fr \
        --recogniser "url=$service min-duration=500" \
        --video "filesrc location=$output/video.y4m ! y4mdec ! clocksync name=video-clock" \
        --audio "filesrc location=$output/speech.wav ! wavparse ! clocksync name=audio-clock" "$@"
}

say "Streaming"
"$numbers" wav --seconds "$SECONDS_OF_SPEECH" --out "$output/speech.wav" >"$output/words"
check video "$output/speech.wav" "$output/video.y4m"
mkdir "$output/folders"
start service "$numbers" serve
service=$(wait_for service 'Listening on ')
start slow /usr/bin/python3 tests/hls_captions.py relay "$service" "$TRANSLATION_SECONDS"
start lacking /usr/bin/python3 tests/hls_captions.py relay "$service"
slow=$(wait_for slow 'Listening on ')
lacking=$(wait_for lacking 'Listening on ')
stream joined 0 "$slow" --window 0 --stay --segment 1
stream late 600 "$slow" --window 0 --stay
stream wrapped "$BEFORE_WRAP" "$slow" --window 0 --stay
stream away 0 "$lacking" --window 4 --segment 1 --folder "$output/away"
stream stopped 0 "$service" --translate de,es --folder "$output/stopped"
wait_until stopped test -e "$output/stopped/master.m3u8"
kill -INT "${processes[stopped]}"

say "Watching"
url=$(wait_for joined 'Watch ')
check join "$url" "$output/speech.wav" "$output/words"
for name in late wrapped; do
    wait_for "$name" 'The end' >/dev/null
    url=$(wait_for "$name" 'Watch ')
    check watch "$url" "$output/speech.wav" "$output/words"
done

say "Stopping"
reap stopped
for playlist in video captions.en captions.fr captions.de captions.es; do
    grep -q '^#EXT-X-ENDLIST' "$output/stopped/$playlist.m3u8" || fail "$playlist was not ended"
done
reap away
check segments "$output/away" "$LATENCY" "$output/words"
for name in joined late wrapped; do
    kill "${processes[$name]}"
    reap "$name"
done
rmdir "$output/folders"
