#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a pipeline with qwenasr or qwenasrsink in it, and prints what they have to say.

Needs PyGObject and GStreamer's introspection data; on Debian and its kin:
apt install python3-gi gir1.2-gstreamer-1.0
"""

import argparse
import signal
import sys
import unicodedata

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst
except (ImportError, ValueError) as error:
    sys.exit(
        f"captions.py: {error}\n"
        "On Debian and its kin: apt install python3-gi gir1.2-gstreamer-1.0, and use /usr/bin/python3"
    )


def clock(nanoseconds):
    """A time as h:mm:ss.t, or dashes if there is none."""
    if nanoseconds is None or nanoseconds == Gst.CLOCK_TIME_NONE:
        return "-:--:--.-"
    tenths = nanoseconds // 100_000_000
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def printable(text):
    """What a terminal may be given: names of files and other elements' errors can hold anything."""
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)


class Captions:
    """Prints the messages of a pipeline until it ends."""

    def __init__(self, pipeline, interim):
        self.pipeline = pipeline
        self.interim = interim
        self.loop = GLib.MainLoop()
        self.failed = False
        self.stopping = False
        # Characters of the unfinished line on the terminal.
        self.unfinished = 0

    def run(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.on_interrupt)
        # Why it does not start is on the bus.
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return not self.failed

    def on_interrupt(self):
        """Ends in order, with the last words; the second time at once."""
        if self.stopping:
            self.failed = True
            self.loop.quit()
        self.stopping = True
        self.say("-- stopping; Ctrl-C again to stop at once")
        self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.EOS:
            self.loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            error, debug = message.parse_error()
            self.say(f"** {error.message}")
            if not message.src.get_name().startswith("qwenasr"):
                self.say(f"   {message.src.get_name()}: {debug}")
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            warning, _debug = message.parse_warning()
            self.say(f"** {warning.message}")
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif message.type == Gst.MessageType.ELEMENT:
            self.on_structure(message.get_structure())

    def on_structure(self, structure):
        name = structure.get_name()
        if name == "qwenasr/transcript":
            self.on_transcript(structure)
        elif name == "qwenasr/connection":
            state, reason = structure.get_string("state"), structure.get_string("reason")
            self.say(f"-- {state}" + (f": {reason}" if reason else ""))
        elif name == "qwenasr/audio-lost":
            start, duration = structure.get_value("stream-time"), structure.get_value("duration")
            self.say(
                f"-- {duration / Gst.SECOND:.1f} s of audio lost at {clock(start)}: "
                f"{structure.get_string('reason')}"
            )

    def on_transcript(self, structure):
        start = structure.get_value("stream-time")
        text = structure.get_string("text") + structure.get_string("stash")
        if not structure.get_value("final"):
            if self.interim:
                self.show_unfinished(f"{clock(start)}  {text}")
            return
        end = None
        if start is not None and start != Gst.CLOCK_TIME_NONE:
            end = start + structure.get_value("duration")
        details = [structure.get_string("language"), structure.get_string("emotion")]
        details = ", ".join(detail for detail in details if detail)
        if text.strip():
            self.say(f"{clock(start)} - {clock(end)}  {text}" + (f"  [{details}]" if details else ""))
        elif self.unfinished:
            # Nothing was said after all, or it stands under another utterance.
            self.show_unfinished("")
            print("\r", end="", flush=True)

    def show_unfinished(self, line):
        """Shows a line that the next one replaces."""
        line = printable(line)[-78:]
        print("\r" + line.ljust(self.unfinished), end="", flush=True)
        self.unfinished = len(line)

    def say(self, line):
        if self.unfinished:
            print("\r" + " " * self.unfinished + "\r", end="")
            self.unfinished = 0
        print(printable(line), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description="Run a pipeline with qwenasr or qwenasrsink in it, and print what is said.",
        epilog="Example: captions.py autoaudiosrc ! audioconvert ! audioresample ! qwenasrsink "
        "-- options of this program come before the pipeline.",
    )
    parser.add_argument(
        "--no-interim",
        action="store_true",
        help="print finished utterances only; so it is anyway where the output is no terminal",
    )
    parser.add_argument(
        "pipeline", nargs=argparse.REMAINDER, help="elements, as for gst-launch-1.0"
    )
    arguments = parser.parse_args()
    if not arguments.pipeline:
        parser.error("there is no pipeline")
    Gst.init(None)
    try:
        pipeline = Gst.parse_launchv(arguments.pipeline)
    except GLib.Error as error:
        sys.exit(f"captions.py: {error.message}")
    if not isinstance(pipeline, Gst.Pipeline):
        # A single element.
        element, pipeline = pipeline, Gst.Pipeline()
        pipeline.add(element)
    interim = sys.stdout.isatty() and not arguments.no_interim
    return 0 if Captions(pipeline, interim).run() else 1


if __name__ == "__main__":
    sys.exit(main())
