#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Builds the plugin, captions a recording with it and burns live captions into a short clip. With
# DASHSCOPE_API_KEY in the environment the real service does it, else the offline one. Arguments are
# further properties of the element, such as region=beijing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

RECORDINGS=/usr/share/pocketsphinx/test/data/librivox

# Percentage of words that the offline service has to get right, by what it recognises them with.
MOONSHINE_REQUIRED=95
POCKETSPHINX_REQUIRED=60

install_packages "${PACKAGES[@]}"
fetch_moonshine || true
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

recogniser=(qwenasr language-code=en "$@")
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
recordings=("$RECORDINGS"/*.wav)

# Writes recordings into one file, with a second of silence after each.
join_recordings() {
    local joined=$1 recording sources=()
    shift
    local pcm=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved
    for recording in "$@"; do
        sources+=(
            filesrc location="$recording" ! wavparse ! audioconvert ! audioresample ! "$pcm" ! c.
            audiotestsrc wave=silence num-buffers=10 samplesperbuffer=1600 ! "$pcm" ! c.
        )
    done
    gst-launch-1.0 --quiet concat name=c ! wavenc ! filesink location="$joined" "${sources[@]}"
}

join_recordings "$output/speech.wav" "${recordings[@]}"
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
if [ -n "$server" ]; then
    required=$POCKETSPHINX_REQUIRED
    if grep -q "with Moonshine$" "$output/server.log"; then
        required=$MOONSHINE_REQUIRED
    fi
    if [ "$percentage" -lt "$required" ]; then
        fail "fewer than $required % of the words are right"
    fi
fi

say "Burning live captions into video"
join_recordings "$output/clip.wav" "${recordings[@]:0:2}"
# The sound is played as if it were live, and shown as waves. Text and pictures meet in
# textoverlay, which waits for the text: the pictures are as late as the service, and each word
# is where it is spoken. One picture a second is kept.
unlimited=(queue max-size-time=0 max-size-buffers=0 max-size-bytes=0)
gst-launch-1.0 --quiet filesrc location="$output/clip.wav" ! wavparse ! audioconvert ! \
    audioresample ! clocksync ! tee name=sound \
    sound. ! "${unlimited[@]}" ! "${recogniser[@]}" results=interim ! "${unlimited[@]}" ! \
    captions.text_sink \
    sound. ! "${unlimited[@]}" ! audioconvert ! audioresample ! \
    audio/x-raw,rate=48000,channels=2 ! wavescope style=lines ! \
    video/x-raw,width=960,height=540,framerate=25/1 ! videoconvert ! \
    coloreffects preset=xpro ! videoconvert ! "${unlimited[@]}" ! \
    textoverlay name=captions wait-text=true shaded-background=true ypad=36 \
    font-desc="DejaVu Sans, 17" ! \
    textoverlay text="Jane Austen, Sense and Sensibility (LibriVox)" valignment=top \
    halignment=left font-desc="DejaVu Sans, 10" color=0xffa0a0a0 ! \
    videoconvert ! tee name=picture \
    picture. ! "${unlimited[@]}" ! vp8enc deadline=1 cpu-used=8 target-bitrate=1000000 ! \
    webmmux name=clip ! filesink location="$output/captions.webm" \
    sound. ! "${unlimited[@]}" ! audioconvert ! audioresample ! vorbisenc ! clip. \
    picture. ! "${unlimited[@]}" ! videorate ! video/x-raw,framerate=1/1 ! videoconvert ! \
    pngenc ! multifilesink location="$output/frames/%02d.png"

# The first sentence ends in the eighth second.
cp "$output/frames/06.png" "$output/caption.png"
# Where captions are; the waves do not reach so far down.
bottom() {
    gst-launch-1.0 --quiet filesrc location="$1" ! pngdec ! videocrop top=420 ! videoconvert ! \
        pngenc ! filesink location="$1.bottom"
}
bottom "$output/caption.png"
bottom "$output/frames/00.png"
if cmp --silent "$output/caption.png.bottom" "$output/frames/00.png.bottom"; then
    fail "there is no caption in $output/caption.png"
fi

say "Done"
echo "Captions: $output/captions.srt"
echo "Picture:  $output/caption.png"
echo "Clip:     $output/captions.webm"
echo "Next:     export GST_PLUGIN_PATH=$(target_directory)/release, and docs/offline-service.md for" \
    "files of your own, or README.md with an account"
