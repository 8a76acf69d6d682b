#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a pipeline with qwenasr or qwenasrsink in it, and prints what they have to say: for people,
or with --json as one JSON object a line, for programs in whatever language. docs/embedding.md says
what is in these objects, and what the exit code tells.

Needs PyGObject and GStreamer's introspection data; on Debian and its kin:
apt install python3-gi gir1.2-gstreamer-1.0
"""

import argparse
import json
import os
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

# Exit codes, which tell what to do about a failure: the account or its key has to be mended, or a
# setting; it may work later; whoever read the output has gone, as a shell has it of programs that
# end by the signal for that; anything else.
ACCOUNT, SETTINGS, LATER, READER_GONE, FAILED = 2, 3, 4, 128 + signal.SIGPIPE, 1

INSPECT = "'gst-inspect-1.0 ELEMENT' says what is allowed"


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


def code_of(details):
    """The exit code for an ERROR; there are no details if it is another element's."""
    if details is None or details.get_name() != "qwenasr/error":
        return FAILED
    kind = details.get_string("kind")
    if kind == "unauthorized":
        return ACCOUNT
    if kind in ("settings", "not-found"):
        return SETTINGS
    return LATER if details.get_value("retryable") else FAILED


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
        # Only there do other elements say what it is about, such as the name of a file.
        if debug and not message.src.get_name().startswith("qwenasr"):
            self.say(f"   {message.src.get_name()}: {debug}")

    warning = error

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
        self.code = 0
        self.stopping = False
        self.exception = None

    def run(self):
        """Returns the exit code, or raises why nothing can be printed any more."""
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.ending(self.on_message))
        for number in signal.SIGINT, signal.SIGTERM:
            signal_add(GLib.PRIORITY_DEFAULT, number, self.ending(self.on_interrupt))
        # Audio costs money: it ends with its reader, and not only with the next line.
        gone = GLib.IOCondition.ERR | GLib.IOCondition.HUP
        output = sys.stdout.fileno()
        GLib.io_add_watch(output, GLib.PRIORITY_DEFAULT, gone, self.ending(self.on_reader_gone))
        try:
            # Why it does not start is on the bus.
            self.pipeline.set_state(Gst.State.PLAYING)
            self.loop.run()
        finally:
            self.pipeline.set_state(Gst.State.NULL)
        if self.exception is not None:
            raise self.exception
        return self.code

    def ending(self, handler):
        """The same handler, whose exceptions end the loop: GLib would print them and go on."""

        def handle(*arguments):
            try:
                return handler(*arguments)
            except BaseException as exception:
                self.exception = self.exception or exception
                self.loop.quit()
                return GLib.SOURCE_REMOVE

        return handle

    def on_interrupt(self, *_data):
        """Ends in order, with the last words; the second time at once."""
        if self.stopping:
            self.code = FAILED
            self.loop.quit()
        self.stopping = True
        self.printer.stopping()
        self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def on_reader_gone(self, *_data):
        raise BrokenPipeError

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.EOS:
            self.printer.eos()
            self.loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            details = message.parse_error_details()
            self.printer.error(message, *message.parse_error(), details)
            self.code = code_of(details)
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            details = message.parse_warning_details()
            self.printer.warning(message, *message.parse_warning(), details)
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif message.type == Gst.MessageType.ELEMENT:
            self.printer.element(message)


class Refused(Exception):
    """A pipeline that cannot be made: why, and the exit code."""


def pipeline_of(words):
    """Makes a pipeline as gst-launch-1.0 does, but refuses what it only warns of."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipeline = Gst.parse_launchv(words)
    except GLib.Error as error:
        wrong_property = (
            Gst.ParseError.NO_SUCH_PROPERTY,
            Gst.ParseError.COULD_NOT_SET_PROPERTY,
        )
        if error.domain == "gst_parse_error" and error.code in wrong_property:
            raise Refused(f"{error.message}; {INSPECT}", SETTINGS) from error
        raise Refused(error.message, FAILED) from error
    except UnicodeEncodeError as error:
        raise Refused("what stands in the pipeline has to be UTF-8", FAILED) from error
    for warning in caught:
        if "out of range" in str(warning.message):
            raise Refused(f"{warning.message}; {INSPECT}", SETTINGS)
        print(warning.message, file=sys.stderr)
    if not isinstance(pipeline, Gst.Pipeline):
        # A single element.
        element, pipeline = pipeline, Gst.Pipeline()
        pipeline.add(element)
    return pipeline


class Parser(argparse.ArgumentParser):
    def error(self, message):
        """Ends with a code that does not mean the account."""
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"captions.py: {message}\n")


def main():
    parser = Parser(
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
        pipeline = pipeline_of(arguments.pipeline)
    except Refused as refused:
        why, code = refused.args
        print(f"captions.py: {why}", file=sys.stderr)
        return code
    if sys.stdout is None:
        print("captions.py: the standard output is closed", file=sys.stderr)
        return FAILED
    interim = not arguments.no_interim
    # What a terminal or file in another encoding cannot show is escaped, and ends nothing.
    if arguments.json:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        printer = Json(interim)
    else:
        sys.stdout.reconfigure(errors="backslashreplace")
        printer = Terminal(interim and sys.stdout.isatty())
    try:
        return Captions(pipeline, printer).run()
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        print(f"captions.py: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = FAILED
    # Or Python would try to write the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    sys.exit(main())
