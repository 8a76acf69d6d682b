#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Streams numbered speech with examples/hls_captions, and sees in headless Chromium whether captions
# are there when their words are said: tests/hls_captions.sh

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

SECONDS_OF_SPEECH=15

install_packages "${PACKAGES[@]}" "${BROWSER_PACKAGES[@]}"
prepare_long_check hls_captions
fetch_hls_js

server='' streamer=''
cleanup() {
    local process
    for process in "$streamer" "$server"; do
        if [ -n "$process" ]; then
            kill "$process" 2>/dev/null || true
            wait "$process" 2>/dev/null || true
        fi
    done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until a program has printed a line that begins so, and prints the rest of it.
wait_for() {
    local begin=$1 log=$2 process=$3 _
    for _ in $(seq 600); do
        if grep -q "^$begin" "$log"; then
            sed -n "s/^$begin//p" "$log" | head -n 1
            return
        fi
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    fail "there is no '$begin'"
}

say "Streaming"
"$numbers" wav --seconds "$SECONDS_OF_SPEECH" --out "$output/speech.wav" >"$output/words"
/usr/bin/python3 tests/hls_captions.py video "$output/speech.wav" "$output/video.y4m"
"$numbers" serve >"$output/server.log" 2>&1 &
server=$!
service=$(wait_for 'Listening on ' "$output/server.log" "$server")
/usr/bin/python3 examples/hls_captions/hls_captions.py --listen 127.0.0.1:0 --window 0 --stay \
    --hls-js "$HLS_JS" --latency 6000 --recogniser "url=$service" \
    --video "filesrc location=$output/video.y4m ! y4mdec ! clocksync" \
    --audio "filesrc location=$output/speech.wav ! wavparse ! clocksync" >"$output/streamer.log" 2>&1 &
streamer=$!
url=$(wait_for 'Watch ' "$output/streamer.log" "$streamer")
wait_for 'The end' "$output/streamer.log" "$streamer"

say "Watching"
/usr/bin/python3 tests/hls_captions.py check "$url" "$output/speech.wav" "$output/words"
