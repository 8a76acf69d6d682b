#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a pipeline with qwenasr or qwenasrsink in it, and prints what they have to say: for people,
or with --json as one JSON object a line, for programs in whatever language. docs/embedding.md says
what is in these objects.

Needs PyGObject and GStreamer's introspection data; on Debian and its kin:
apt install python3-gi gir1.2-gstreamer-1.0
"""

import argparse
import json
import signal
import sys
import unicodedata
import warnings

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst

    # As newer versions of PyGObject have it, which warn of the older name.
    try:
        gi.require_version("GLibUnix", "2.0")
        from gi.repository import GLibUnix

        signal_add = GLibUnix.signal_add
    except (ImportError, ValueError, AttributeError):
        signal_add = GLib.unix_signal_add
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


def fields(structure):
    """What a structure has, by name: lists as lists, times that there are not as None."""
    return {name: plain(structure, name) for name in names(structure)}


def names(structure):
    return [structure.nth_field_name(index) for index in range(structure.n_fields())]


def plain(structure, name):
    if structure.get_field_type(name).name == "GstValueList":
        # get_value() knows no such type without gst-python's overrides. What there is instead is
        # deprecated, and has no successor.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, items = structure.get_list(name)
            return [fields(items.get_nth(index)) for index in range(items.n_values)]
    value = structure.get_value(name)
    return None if value == Gst.CLOCK_TIME_NONE else value


class Terminal:
    """Prints what is said for people."""

    def __init__(self, interim):
        self.interim = interim
        # Characters of the unfinished line.
        self.unfinished = 0

    def element(self, message):
        structure = message.get_structure()
        name = structure.get_name()
        if name == "qwenasr/transcript":
            self.transcript(structure)
        elif name == "qwenasr/connection":
            state, reason = structure.get_string("state"), structure.get_string("reason")
            self.say(f"-- {state}" + (f": {reason}" if reason else ""))
        elif name == "qwenasr/audio-lost":
            start, duration = structure.get_value("stream-time"), structure.get_value("duration")
            self.say(
                f"-- {duration / Gst.SECOND:.1f} s of audio lost at {clock(start)}: "
                f"{structure.get_string('reason')}"
            )

    def transcript(self, structure):
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

    def error(self, message, error, debug, _details):
        self.say(f"** {error.message}")
        if not message.src.get_name().startswith("qwenasr"):
            self.say(f"   {message.src.get_name()}: {debug}")

    def warning(self, _message, warning, _debug, _details):
        self.say(f"** {warning.message}")

    def stopping(self):
        self.say("-- stopping; Ctrl-C again to stop at once")

    def eos(self):
        pass

    def say(self, line):
        if self.unfinished:
            print("\r" + " " * self.unfinished + "\r", end="")
            self.unfinished = 0
        print(printable(line), flush=True)


class Json:
    """Prints what is said for programs."""

    def __init__(self, interim):
        self.interim = interim

    def element(self, message):
        structure = message.get_structure()
        kind, _, name = structure.get_name().partition("/")
        if kind == "qwenasr" and (self.interim or is_settled(structure)):
            self.write(name, message, fields(structure))

    def error(self, message, error, debug, details):
        self.failure("error", message, error, debug, details)

    def warning(self, message, warning, debug, details):
        self.failure("warning", message, warning, debug, details)

    def failure(self, type, message, error, debug, details):
        values = {"message": error.message, "debug": debug}
        if details is not None and details.get_name() == "qwenasr/error":
            values |= fields(details)
        self.write(type, message, values)

    def stopping(self):
        pass

    def eos(self):
        print(json.dumps({"type": "eos"}), flush=True)

    def write(self, type, message, values):
        line = {"type": type, "element": message.src.get_name()} | values
        print(json.dumps(line, ensure_ascii=False), flush=True)


def is_settled(structure):
    return structure.get_name() != "qwenasr/transcript" or structure.get_value("final")


class Captions:
    """Runs a pipeline until it ends, and has its messages printed."""

    def __init__(self, pipeline, printer):
        self.pipeline = pipeline
        self.printer = printer
        self.loop = GLib.MainLoop()
        self.failed = False
        self.stopping = False

    def run(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.on_interrupt)
        signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, self.on_interrupt)
        # Why it does not start is on the bus.
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return not self.failed

    def on_interrupt(self, *_data):
        """Ends in order, with the last words; the second time at once."""
        if self.stopping:
            self.failed = True
            self.loop.quit()
        self.stopping = True
        self.printer.stopping()
        self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.EOS:
            self.printer.eos()
            self.loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            self.printer.error(message, *message.parse_error(), message.parse_error_details())
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            details = message.parse_warning_details()
            self.printer.warning(message, *message.parse_warning(), details)
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif message.type == Gst.MessageType.ELEMENT:
            self.printer.element(message)


def main():
    parser = argparse.ArgumentParser(
        description="Run a pipeline with qwenasr or qwenasrsink in it, and print what is said.",
        epilog="Example: captions.py autoaudiosrc ! audioconvert ! audioresample ! qwenasrsink "
        "-- options of this program come before the pipeline.",
    )
    parser.add_argument(
        "--no-interim",
        action="store_true",
        help="print finished utterances only; without --json, so it is anyway where the output is "
        "no terminal",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a line: whatever the elements post, and how it ends",
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
    interim = not arguments.no_interim
    printer = Json(interim) if arguments.json else Terminal(interim and sys.stdout.isatty())
    return 0 if Captions(pipeline, printer).run() else 1


if __name__ == "__main__":
    sys.exit(main())
