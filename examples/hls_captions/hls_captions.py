#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Streams a camera and a microphone as HLS with captions as a WebVTT track, and serves a page that
plays it.

What a player needs to show captions in time: segments of text as long as those of video, a
X-TIMESTAMP-MAP in each that ties the text's clock to that of the video, and no segment of video in
the playlist before the text for it is complete. The latter is what `latency` is for: qwenasr has
sent all text and gaps up to some time when it is that much later.

Needs PyGObject, GStreamer's introspection data, x264enc, voaacenc and mpegtsmux; on Debian and its
kin: apt install python3-gi gir1.2-gstreamer-1.0 gstreamer1.0-plugins-{good,bad,ugly}
"""

import argparse
import bisect
import contextlib
import functools
import html
import http.server
import math
import pathlib
import shutil
import signal
import sys
import tempfile
import threading

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

PAGE = pathlib.Path(__file__).with_name("index.html")
PTS_PER_SECOND = 90_000

# Every segment begins with a key frame, which splitmuxsink asks for.
PIPELINE = """
    splitmuxsink name=segments muxer-factory=mpegtsmux send-keyframe-requests=true
        max-size-time={segment} async-finalize=false location={folder}/%d.ts
    {video} ! videoconvert ! video/x-raw,format=I420 ! queue ! x264enc tune=zerolatency
        speed-preset=veryfast key-int-max=250 ! h264parse ! queue ! segments.video
    {audio} ! audioconvert ! audioresample ! tee name=sound
    sound. ! queue ! audioconvert ! audioresample ! voaacenc ! aacparse ! queue ! segments.audio_0
    sound. ! queue ! qwenasr name=captions results=final latency={latency}
        failure-policy=continue {recogniser} ! fakesink name=text sync=true
"""


def first_pts(path):
    """The timestamp of the first picture of a file of MPEG-TS, in units of 90 kHz."""
    data = path.read_bytes()
    for at in range(0, len(data) - 187, 188):
        packet = data[at : at + 188]
        begins, control = packet[1] & 0x40, packet[3] & 0x30
        if not begins or not control & 0x10:
            continue
        payload = packet[5 + packet[4] if control & 0x20 else 4 :]
        # A PES packet of a video stream, with a PTS.
        if payload[:3] == b"\0\0\1" and payload[3] & 0xF0 == 0xE0 and payload[7] & 0x80:
            pts = payload[9:14]
            high, middle, low = pts[0] >> 1 & 7, pts[1] << 7 | pts[2] >> 1, pts[3] << 7 | pts[4] >> 1
            return high << 30 | middle << 15 | low
    raise ValueError(f"no picture in {path}")


def clock(nanoseconds):
    milliseconds = round(nanoseconds / Gst.MSECOND)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


class Captions:
    """The text so far, and until when it is complete. Times are running times in nanoseconds."""

    def __init__(self):
        self.cues = []
        self.complete_until = 0

    def watch(self, pad, changed):
        kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.EVENT_DOWNSTREAM
        pad.add_probe(kinds, self.on_item, changed)

    def on_item(self, pad, info, changed):
        """Called by the sink's thread with each text and gap, in order and when it is due."""
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

    def add(self, until, cue):
        self.complete_until = max(self.complete_until, until)
        if cue is not None:
            self.cues.append(cue)

    def between(self, start, end):
        return [cue for cue in self.cues if cue[0] < end and start < cue[1]]

    def forget(self, before):
        del self.cues[: bisect.bisect(self.cues, before, key=lambda cue: cue[1])]


def running_time(pad, timestamp):
    segment = pad.get_sticky_event(Gst.EventType.SEGMENT, 0).parse_segment()
    return segment.to_running_time(Gst.Format.TIME, timestamp)


class Programme:
    """The segments and playlists in a folder. All methods are called by the main loop."""

    def __init__(self, folder, language, window):
        self.folder, self.language, self.window = folder, language, window
        self.captions = Captions()
        # Of segments that are not in the playlists yet: path, begin and end.
        self.waiting = []
        # Number and duration of those that are.
        self.published = []
        self.opened = None
        # The timestamp in MPEG-TS of running time 0.
        self.origin = None
        self.ended = False

    def begin(self, path, start):
        self.opened = (path, start)

    def finish(self, end):
        path, start = self.opened
        if end > start:
            self.waiting.append((pathlib.Path(path), start, end))
        self.publish()

    def text(self, until, cue):
        self.captions.add(until, cue)
        self.publish()

    def publish(self):
        """Adds what is complete to the playlists."""
        before = len(self.published)
        while self.waiting and self.captions.complete_until >= self.waiting[0][2]:
            path, start, end = self.waiting.pop(0)
            if self.origin is None:
                offset = round(start * PTS_PER_SECOND / Gst.SECOND)
                self.origin = (first_pts(path) - offset) % 2**33
            self.write(f"{path.stem}.vtt", self.webvtt(start, end))
            self.published.append((int(path.stem), (end - start) / Gst.SECOND))
            self.captions.forget(start)
        if len(self.published) != before:
            self.write_playlists()

    def end(self):
        self.ended = True
        self.captions.add(math.inf, None)
        self.publish()
        self.write_playlists()

    def webvtt(self, start, end):
        """The text of a segment. What goes on in the next one is there as well, at the same times."""
        lines = ["WEBVTT", f"X-TIMESTAMP-MAP=MPEGTS:{self.origin},LOCAL:00:00:00.000", ""]
        for begins, ends, text in self.captions.between(start, end):
            lines += [f"{clock(begins)} --> {clock(ends)}", html.escape(text, quote=False), ""]
        return "\n".join(lines) + "\n"

    def write_playlists(self):
        outdated = self.published[: -self.window] if self.window and not self.ended else []
        for number, _ in outdated:
            for kind in ("ts", "vtt"):
                (self.folder / f"{number}.{kind}").unlink(missing_ok=True)
        self.published = self.published[len(outdated) :]
        self.write("video.m3u8", self.playlist("ts"))
        self.write("captions.m3u8", self.playlist("vtt"))
        # Players may come as soon as there is something to play.
        self.write("master.m3u8", self.master())

    def playlist(self, kind):
        longest = max((duration for _, duration in self.published), default=1)
        first = self.published[0][0] if self.published else 0
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{math.ceil(longest)}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        if not self.window:
            lines += ["#EXT-X-PLAYLIST-TYPE:EVENT"]
        for number, duration in self.published:
            lines += [f"#EXTINF:{duration:.3f},", f"{number}.{kind}"]
        if self.ended:
            lines += ["#EXT-X-ENDLIST"]
        return "\n".join(lines) + "\n"

    def master(self):
        return (
            "#EXTM3U\n"
            '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="Captions",'
            f'LANGUAGE="{self.language}",DEFAULT=YES,AUTOSELECT=YES,FORCED=NO,URI="captions.m3u8"\n'
            '#EXT-X-STREAM-INF:BANDWIDTH=2500000,SUBTITLES="captions"\n'
            "video.m3u8\n"
        )

    def write(self, name, text):
        """In one go: nobody reads half a file."""
        half = self.folder / f".{name}"
        half.write_text(text, encoding="utf-8")
        half.replace(self.folder / name)


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
        # Messages and texts come from other threads.
        pad = pipeline.get_by_name("text").get_static_pad("sink")
        programme.captions.watch(pad, functools.partial(self.later, programme.text))
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def later(self, function, *arguments):
        GLib.idle_add(lambda: function(*arguments) and False)

    def run(self, server):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)

    def stop(self, *_signal):
        self.pipeline.send_event(Gst.Event.new_eos())

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
            print(f"error: {message.parse_error()[0].message}", file=sys.stderr)
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            self.programme.end()
            print("The end", flush=True)
            self.loop.quit()
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()


def arguments():
    parser = argparse.ArgumentParser(
        description="Stream a camera and a microphone as HLS with captions.",
        epilog="All sources have to be live: put clocksync behind those that are not.",
    )
    parser.add_argument("--video", default="v4l2src", help="elements, as for gst-launch-1.0")
    parser.add_argument("--audio", default="autoaudiosrc", help="elements, as for gst-launch-1.0")
    parser.add_argument("--language", default="en", help="that is spoken, as a BCP 47 tag")
    parser.add_argument(
        "--recogniser", default="", help="further properties of qwenasr, such as region=beijing"
    )
    parser.add_argument("--latency", type=int, default=8000, help="ms that text may take")
    parser.add_argument("--segment", type=float, default=2, help="seconds of a segment")
    parser.add_argument("--window", type=int, default=30, help="segments to keep, 0 for all")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="for the segments; without, a temporary one"
    )
    parser.add_argument("--listen", default="127.0.0.1:8080", help="address to serve the page at")
    parser.add_argument(
        "--hls-js", type=pathlib.Path, required=True, help="hls.min.js of the npm package hls.js"
    )
    parser.add_argument(
        "--stay", action="store_true", help="serve on when the programme has ended"
    )
    return parser.parse_args()


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
        description = PIPELINE.format(
            segment=round(options.segment * Gst.SECOND),
            folder=folder,
            video=options.video,
            audio=options.audio,
            latency=options.latency,
            recogniser=f"language-code={options.language} {options.recogniser}",
        )
        pipeline = Gst.parse_launch(description)
        host, _, port = options.listen.rpartition(":")
        handler = functools.partial(Handler, directory=folder)
        server = http.server.ThreadingHTTPServer((host, int(port)), handler)
        print(f"Watch http://{host}:{server.server_port}/", flush=True)
        streamer = Streamer(pipeline, Programme(folder, options.language, options.window))
        signal.signal(signal.SIGINT, streamer.stop)
        signal.signal(signal.SIGTERM, streamer.stop)
        streamer.run(server)
        if options.stay and not streamer.failed:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pause()
    return 1 if streamer.failed else 0


if __name__ == "__main__":
    sys.exit(main())
