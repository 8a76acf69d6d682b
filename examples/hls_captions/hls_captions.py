#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Streams a camera and a microphone as HLS with captions as WebVTT tracks, one for what is said and
one for each language it is translated into, and serves a page that plays it.

What a player needs to show captions in time: segments of text as long as those of video, a
X-TIMESTAMP-MAP in each that ties the text's clock to that of the video, and no segment of video in
the playlist before the text for it is complete. The latter is what `latency` is for: qwenasr has
sent all text and gaps up to some time when it is that much later, on each of its pads, whatever
its service does. So a translation that comes later than what it translates, or not at all, holds up
nothing for longer than that.

Needs PyGObject, GStreamer's introspection data, x264enc, voaacenc and mpegtsmux; on Debian and its
kin: apt install python3-gi gir1.2-gstreamer-1.0 gstreamer1.0-plugins-{good,bad,ugly}
"""

import argparse
import contextlib
import functools
import http.server
import math
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import threading

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst
except (ImportError, ValueError) as error:
    sys.exit(
        f"hls_captions.py: {error}\n"
        "On Debian and its kin: apt install python3-gi gir1.2-gstreamer-1.0, and use /usr/bin/python3"
    )

from programme import Programme  # noqa: E402

PAGE = pathlib.Path(__file__).with_name("index.html")

# Every segment begins with a key frame, which splitmuxsink asks for. What hlssink2 and hlssink3
# would do besides, the playlist, is the programme's: they announce a segment when it is finished,
# and do not wait for its text.
PIPELINE = """
    splitmuxsink name=segments muxer-factory=mpegtsmux send-keyframe-requests=true
        max-size-time={segment} async-finalize=false location={folder}/%d.ts
    {video} ! videoconvert ! video/x-raw,format=I420 ! queue ! x264enc tune=zerolatency
        speed-preset=veryfast key-int-max=250 ! h264parse ! queue ! segments.video
    {audio} ! audioconvert ! audioresample ! tee name=sound
    sound. ! queue ! audioconvert ! audioresample ! voaacenc ! aacparse ! queue ! segments.audio_0
    sound. ! queue ! qwenasr name=captions results=final latency={latency}
        finish-timeout={latency} failure-policy=continue {recogniser}
    captions.src ! fakesink name=text0 sync=true
"""
TRANSLATION = "captions.translate_src_{pad} ! fakesink name=text{sink} sync=true\n"

# With a threshold of its own (here the service's usual one), a translation ends its utterances at
# pauses, as what is said does, and not only after 30 s: cues could not wait for that.
UTTERANCES = "vad-threshold=0.2"

# What text may take by default, in milliseconds: a translation comes some two seconds later.
LATENCY = 8000
TRANSLATION_LATENCY = 10_000


def build(options, folder):
    """The pipeline, whose sinks text0, text1, … get the text of the languages."""
    recogniser = [f"language-code={options.language}"]
    sinks = []
    if options.translate:
        recogniser.append(UTTERANCES)
    for pad, language in enumerate(options.translate):
        recogniser.append(f"translate_src_{pad}::language-code={language}")
        sinks.append(TRANSLATION.format(pad=pad, sink=pad + 1))
    description = PIPELINE.format(
        segment=round(options.segment * Gst.SECOND),
        folder=folder,
        video=options.video,
        audio=options.audio,
        latency=options.latency,
        recogniser=" ".join([*recogniser, options.recogniser]),
    )
    return Gst.parse_launch(description + "".join(sinks))


def running_time(pad, timestamp):
    segment = pad.get_sticky_event(Gst.EventType.SEGMENT, 0).parse_segment()
    return segment.to_running_time(Gst.Format.TIME, timestamp)


def watch(pad, changed):
    """Has `changed` called with until when text is complete, and with what is new of it or None:
    by the sink's thread with each text and gap, in order and when it is due."""

    def on_item(pad, info):
        if info.type & Gst.PadProbeType.BUFFER:
            buffer = info.get_buffer()
            start = running_time(pad, buffer.pts)
            text = buffer.extract_dup(0, buffer.get_size()).decode()
            changed(start, (start, start + buffer.duration, text))
        elif info.get_event().type == Gst.EventType.GAP:
            start, duration = info.get_event().parse_gap()
            changed(running_time(pad, start) + duration, None)
        elif info.get_event().type == Gst.EventType.EOS:
            changed(math.inf, None)
        return Gst.PadProbeReturn.OK

    pad.add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.EVENT_DOWNSTREAM, on_item)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder; playlists are never kept by the browser."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".m3u8": "application/vnd.apple.mpegurl",
        ".ts": "video/mp2t",
        ".vtt": "text/vtt",
    }

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_arguments):
        pass


class Streamer:
    """Runs the pipeline, and hands what it says over to the programme."""

    def __init__(self, pipeline, programme):
        self.pipeline, self.programme = pipeline, programme
        self.loop = GLib.MainLoop()
        self.failed = False
        self.stopping = False
        # Messages and texts come from other threads; all texts before the message of their end.
        for number, language in enumerate(programme.tracks):
            pad = pipeline.get_by_name(f"text{number}").get_static_pad("sink")
            watch(pad, functools.partial(self.later, programme.text, language))
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def later(self, function, *arguments):
        GLib.idle_add(lambda: function(*arguments) and False, priority=GLib.PRIORITY_HIGH)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)

    def stop(self, *_signal):
        """Ends the programme in order, with the text of what was said; the second time, at once."""
        if self.stopping:
            self.loop.quit()
        else:
            self.stopping = True
            self.pipeline.send_event(Gst.Event.new_eos())

    def wait_for_signal(self):
        self.stopping = True
        self.loop.run()

    def on_message(self, _bus, message):
        structure = message.get_structure()
        if message.type == Gst.MessageType.ELEMENT:
            name = structure.get_name()
            if name == "splitmuxsink-fragment-opened":
                start = structure.get_value("running-time")
                self.programme.begin(structure.get_string("location"), start)
            elif name == "splitmuxsink-fragment-closed":
                self.programme.finish(structure.get_value("running-time"))
        elif message.type == Gst.MessageType.WARNING:
            print(f"warning: {message.parse_warning()[0].message}", file=sys.stderr)
        elif message.type == Gst.MessageType.ERROR:
            source, text = message.src.get_name(), message.parse_error()[0].message
            print(f"error: {source}: {text}", file=sys.stderr)
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            self.programme.end()
            print("The end", flush=True)
            self.loop.quit()
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()


def language(text):
    if not re.fullmatch("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no BCP 47 tag, such as en or pt-BR")
    return text


def languages(text):
    return [language(tag) for tag in text.split(",")]


def address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no address and port, such as 0.0.0.0:8080")
    return host, int(port)


def file(text):
    path = pathlib.Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(
            f"there is no file '{text}'; npm has it: "
            'tar xzf "$(npm pack --silent hls.js)" package/dist/hls.min.js'
        )
    return path


def arguments():
    parser = argparse.ArgumentParser(
        description="Stream a camera and a microphone as HLS with captions.",
        epilog="All sources have to be live, or have a clocksync behind them. A file, for both of "
        "--video and --audio: 'filesrc location=talk.mp4 ! decodebin ! clocksync'",
    )
    parser.add_argument("--video", default="v4l2src", help="elements, as for gst-launch-1.0")
    parser.add_argument("--audio", default="autoaudiosrc", help="elements, as for gst-launch-1.0")
    parser.add_argument(
        "--language", type=language, default="en", help="that is spoken, as a BCP 47 tag"
    )
    parser.add_argument(
        "--translate",
        type=languages,
        action="extend",
        default=[],
        metavar="LANGUAGES",
        help="to translate into, such as fr,de; may be given several times. Each is a track, and a "
        "session of the service",
    )
    parser.add_argument(
        "--recogniser", default="", help="further properties of qwenasr, such as region=beijing"
    )
    parser.add_argument(
        "--latency",
        type=int,
        help=f"ms that text may take: {LATENCY}, or {TRANSLATION_LATENCY} with translations",
    )
    parser.add_argument("--segment", type=float, default=2, help="seconds of a segment")
    parser.add_argument("--window", type=int, default=30, help="segments to keep, 0 for all")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="for the segments; without, a temporary one"
    )
    parser.add_argument(
        "--listen", type=address, default="127.0.0.1:8080", help="address to serve the page at"
    )
    parser.add_argument(
        "--hls-js", type=file, required=True, help="hls.min.js of the npm package hls.js"
    )
    parser.add_argument(
        "--stay", action="store_true", help="serve on when the programme has ended"
    )
    options = parser.parse_args()
    spoken = options.language.lower()
    tags = [tag.lower() for tag in options.translate]
    if spoken in tags or len(set(tags)) < len(tags):
        parser.error("--translate: name each language once, and not the one that is spoken")
    if options.latency is None:
        options.latency = TRANSLATION_LATENCY if options.translate else LATENCY
    if options.latency < 0:
        parser.error("--latency: milliseconds are 0 or more")
    if not 0.5 <= options.segment <= 60:
        parser.error("--segment: seconds are 0.5 to 60")
    if options.window != 0 and options.window < 4:
        parser.error("--window: players need 4 segments at least, or 0 to keep all of them")
    return options


def main():
    options = arguments()
    Gst.init(None)
    with contextlib.ExitStack() as stack:
        if options.folder is None:
            folder = tempfile.TemporaryDirectory(prefix="hls_captions.")
            folder = pathlib.Path(stack.enter_context(folder))
        else:
            folder = options.folder
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PAGE, folder / "index.html")
        shutil.copy(options.hls_js, folder / "hls.min.js")
        pipeline = build(options, folder)
        handler = functools.partial(Handler, directory=folder)
        server = http.server.ThreadingHTTPServer(options.listen, handler)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        tracks = [options.language, *options.translate]
        programme = Programme(folder, tracks, options.segment, options.window)
        streamer = Streamer(pipeline, programme)
        signal.signal(signal.SIGINT, streamer.stop)
        signal.signal(signal.SIGTERM, streamer.stop)
        print(f"Watch http://{options.listen[0]}:{server.server_port}/", flush=True)
        streamer.run()
        if options.stay and not streamer.failed and not streamer.stopping:
            streamer.wait_for_signal()
    return 1 if streamer.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GLib.Error as error:
        sys.exit(
            f"{error.message}\nThe pipeline cannot be made. Elements that are missing are in "
            "gstreamer1.0-plugins-good, -bad and -ugly, and qwenasr is found by GST_PLUGIN_PATH."
        )
    except OSError as error:
        sys.exit(f"{error}\nName another --listen or --folder.")
