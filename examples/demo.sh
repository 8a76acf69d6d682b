#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Builds the plugin, captions a recording with it and burns a caption into a picture. With
# DASHSCOPE_API_KEY in the environment the real service does it, else the offline one.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

RECORDINGS=/usr/share/pocketsphinx/test/data/librivox

# Percentage of words that the offline service has to get right.
REQUIRED=60

install_packages "${PACKAGES[@]}"
find_cargo

say "Building"
cargo build --release --locked --lib --example local_server
target=$(target_directory)
export GST_PLUGIN_PATH="$target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
output=$target/demo
rm -rf "$output"
mkdir -p "$output/frames"

server=
cleanup() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The offline service's URL, once it listens.
start_server() {
    "$target/release/examples/local_server" --port 0 >"$output/server.log" 2>&1 &
    server=$!
    local _
    for _ in $(seq 300); do
        url=$(sed -n 's/^Listening on //p' "$output/server.log")
        if [ -n "$url" ]; then
            return
        fi
        if ! kill -0 "$server" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    cat "$output/server.log" >&2
    fail "the offline service does not start"
}

recogniser=(qwenasr language-code=en)
if [ -n "${DASHSCOPE_API_KEY:-}" ]; then
    say "Using the real service"
else
    start_server
    say "Using the offline service at $url"
    recogniser+=("url=$url")
    # It is on this machine.
    export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}"
fi

say "Captioning a LibriVox recording: Sense and Sensibility by Jane Austen"
pcm=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved
sentences=()
for sentence in "$RECORDINGS"/*.wav; do
    # A second of silence after each.
    sentences+=(
        filesrc location="$sentence" ! wavparse ! audioconvert ! audioresample ! "$pcm" ! c.
        audiotestsrc wave=silence num-buffers=10 samplesperbuffer=1600 ! "$pcm" ! c.
    )
done
gst-launch-1.0 --quiet concat name=c ! wavenc ! filesink location="$output/speech.wav" \
    "${sentences[@]}"
gst-launch-1.0 --quiet filesrc location="$output/speech.wav" ! wavparse ! audioconvert ! \
    audioresample ! "${recogniser[@]}" ! srtenc ! filesink location="$output/captions.srt"
cat "$output/captions.srt"

# Words in lower case, one per line, without what is no letter.
words() {
    tr -d '\r' | tr '[:upper:]' '[:lower:]' | tr -cs "[:alpha:]'" '\n' | sed '/^$/d' |
        sed 's/^mr$/mister/'
}
sed 's/([^)]*)$//; s/<\/*s>//g' "$RECORDINGS/transcription" | words >"$output/expected.txt"
sed '/^[0-9]*\r*$/d; /-->/d' "$output/captions.srt" | words >"$output/found.txt"

# Aligns the two lists with as few edits as possible. Prints the words right, those expected,
# and the superfluous ones.
right=0 expected=0 superfluous=0
read -r right expected superfluous < <(
    awk '
        NR == FNR { a[++n] = $0; next }
        { b[++m] = $0 }
        END {
            for (i = 0; i <= n; i++) for (j = 0; j <= m; j++) {
                if (!i || !j) { cost[i, j] = i + j; right[i, j] = 0; continue }
                same = a[i] == b[j]
                best = cost[i-1, j-1] + !same; hits = right[i-1, j-1] + same
                if (cost[i-1, j] + 1 < best) { best = cost[i-1, j] + 1; hits = right[i-1, j] }
                if (cost[i, j-1] + 1 < best) { best = cost[i, j-1] + 1; hits = right[i, j-1] }
                cost[i, j] = best; right[i, j] = hits
            }
            wrong = cost[n, m] - (n - right[n, m])
            print right[n, m] + 0, n + 0, wrong + 0
        }' "$output/expected.txt" "$output/found.txt"
)
if [ "$expected" -eq 0 ]; then
    fail "$RECORDINGS/transcription has no words"
fi
percentage=$((right * 100 / expected))
say "Words right: $right of $expected, that is $percentage %, and $superfluous superfluous ones"
if [ -n "$server" ] && [ "$percentage" -lt "$REQUIRED" ]; then
    fail "fewer than $REQUIRED % of the words are right"
fi

say "Burning captions into video"
# Text and pictures meet in textoverlay, which waits for the text: the pictures are as late as
# the service, and every caption is where it belongs.
first=("$RECORDINGS"/*.wav)
background="video/x-raw,width=1280,height=720,framerate=2/1"
gst-launch-1.0 --quiet textoverlay name=overlay wait-text=true shaded-background=true \
    font-desc="DejaVu Sans 16" ! videoconvert ! pngenc ! \
    multifilesink location="$output/frames/%03d.png" \
    videotestsrc num-buffers=16 pattern=solid-color foreground-color=0xff24506e ! \
    "$background" ! overlay.video_sink \
    filesrc location="${first[0]}" ! wavparse ! audioconvert ! audioresample ! \
    "${recogniser[@]}" ! overlay.text_sink
# The picture in the middle of the first caption, as far as that can be told from the other run.
middle=$(awk -F '[:, >-]+' '/-->/ { print int(($3 + $7) / 2 * 2); exit }' "$output/captions.srt")
cp "$output/frames/$(printf %03d "${middle:-3}").png" "$output/caption.png"
gst-launch-1.0 --quiet videotestsrc num-buffers=1 pattern=solid-color \
    foreground-color=0xff24506e ! "$background" ! videoconvert ! pngenc ! \
    filesink location="$output/frames/bare.png"
if cmp --silent "$output/caption.png" "$output/frames/bare.png"; then
    fail "there is no caption in $output/caption.png"
fi

say "Done"
echo "Captions: $output/captions.srt"
echo "Picture:  $output/caption.png"
