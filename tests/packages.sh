#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# As root: does what README.md says with the packages of target/packages in bare systems, Debian 12
# and 13 unless told otherwise: installs the plugin, and captions a file. Then looks at all elements,
# and makes closed captions.
#
#   packaging/deb.sh && sudo tests/packages.sh [bookworm|trixie|sid]...

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

RECORDING=/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav
ELEMENTS=(qwenasr qwenasrsink regex textaccumulate textwrap tttocea608 tttocea708 transcriberbin)

install_packages "${PACKAGES[@]}" debootstrap
fetch_moonshine || true
find_cargo
stay_offline
shopt -s nullglob
target=$(target_directory)
debs=("$target"/packages/gstreamer1.0-qwenasr*_"$(dpkg --print-architecture)".deb)
debs=("${debs[@]/*-dbgsym_*/}")
[ ${#debs[@]} -gt 0 ] || fail "there are no packages: packaging/deb.sh makes them"
releases=("$@")
[ $# -gt 0 ] || releases=(bookworm trixie)

say "Building the offline service"
cargo build --release --locked --example local_server

server=
root=
# shellcheck disable=SC2317
cleanup() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    remove_system "$root"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

log=$target/packages/server.log
"$target/release/examples/local_server" --port 0 >"$log" 2>&1 &
server=$!
url=
for _ in $(seq 300); do
    url=$(sed -n 's/^Listening on //p' "$log")
    [ -z "$url" ] || break
    sleep 0.1
done
[ -n "$url" ] || fail "the offline service does not start: $(cat "$log")"

# A program in the system, which has the network of this one.
inside() {
    in_system "$root" "$@"
}

# The commands of README.md among which is this text, for root, who answers no questions, and for
# this machine.
readme() {
    awk -v RS='```' -v text="$1" 'NR % 2 == 0 && index($0, text) { print; exit }' README.md |
        sed -e 1d -e 's/^sudo //' -e '/^export /d' -e 's/apt install/apt-get install --yes --quiet/' \
            -e "s/_amd64/_$(dpkg --print-architecture)/" -e "s|qwenasr language|qwenasr url=$url language|"
}

say "Making a video"
talk=$target/packages/talk.mp4
gst-launch-1.0 --quiet mp4mux name=mux ! filesink location="$talk" \
    filesrc location="$RECORDING" ! wavparse ! audioconvert ! audioresample ! voaacenc ! mux. \
    videotestsrc num-buffers=210 ! video/x-raw,format=I420,framerate=30/1 ! x264enc ! mux.

for release in "${releases[@]}"; do
    say "A bare $release"
    root=$target/systems/packages-$release
    make_system "$release" "$root"
    for deb in "${debs[@]}"; do
        [ -z "$deb" ] || cp "$deb" "$root/root"
    done
    cp "$talk" "$root/root"
    say "Installing the plugin in $release"
    start=$SECONDS
    inside sh -exc "cd /root; $(readme 'apt install ./')"
    say "Captions of a video in $release"
    inside sh -exc "cd /root; $(readme 'talk.srt')"
    cat "$root/root/talk.srt"
    grep --quiet --ignore-case "Dashwood" "$root/root/talk.srt" ||
        fail "the recording is not captioned in $release"
    echo "(from apt to these captions: $((SECONDS - start)) s)"
    say "Installing closed captions in $release"
    inside sh -c 'apt-get install --yes --quiet /root/*.deb'
    inside gst-inspect-1.0 --version
    for element in "${ELEMENTS[@]}"; do
        inside gst-inspect-1.0 "$element" >/dev/null ||
            fail "$release has no element $element after the installation"
    done
    inside gst-launch-1.0 --quiet filesrc location=/root/talk.mp4 ! decodebin ! audioconvert ! \
        audioresample ! clocksync ! qwenasr "url=$url" language-code=en results=stable ! \
        textwrap columns=32 ! tttocea608 mode=roll-up2 ! filesink location=/root/talk.608
    [ -s "$root/root/talk.608" ] || fail "there are no CEA-608 captions in $release"
    # Whoever needs a sound output must not get this.
    if inside apt-cache show gstreamer1.0-qwenasr | grep --quiet '^Provides:'; then
        fail "the package says that it provides something else"
    fi
    inside sh -c 'ls /usr/share/doc/gstreamer1.0-qwenasr/licences* \
        /usr/share/doc/gstreamer1.0-qwenasr-captions/licences*'
    remove_system "$root"
done
say "All is well, after $SECONDS s"
