# SPDX-License-Identifier: MPL-2.0
"""Looks at examples/hls_captions in headless Chromium: whether the captions at a time of the video
are what was said then, in both languages, and the picture is the one of then, too.

hls_captions.py video SPEECH.wav VIDEO.y4m   makes a picture that is white while somebody speaks
hls_captions.py stream SECONDS ARGUMENT…     runs the example: its sources begin when the pipeline
                                             has run for that time
hls_captions.py relay URL [SECONDS]          stands before a service whose translations come so much
                                             later, or without, are not to be had
hls_captions.py watch URL SPEECH.wav WORDS   whether all is right in the browser; WORDS has one a
                                             line
hls_captions.py join URL SPEECH.wav WORDS    the same, for somebody who comes in the midst of it
hls_captions.py segments FOLDER LATENCY WORDS
                                             whether what is said is in the segments in time, and
                                             its translation, which is not to be had, is empty

The speech is that of the program numbers: words of 100 ms, and pauses.
"""

import array
import asyncio
import contextlib
import pathlib
import re
import sys
import urllib.parse
import wave

from browser import browser, fetch

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "hls_captions"

# Spoken, and translated into: how players list them, and how the offline service's words begin.
LANGUAGES = {"en": ("English", "w"), "fr": ("Français", "fr")}

# Value of the samples of the first word; those of the others are greater.
LOUD = 1000
# Length of a word, how far captions may be off, and the time between two looks, in milliseconds.
WORD = 100
TOLERANCE = 250
# Milliseconds to read a character: the words are said faster.
READING_TIME = 50
STEP = 210

# Segments that there are when somebody joins: more than players are behind.
JOINED_AT = 5
# By how much later than its latency a segment may be announced, in seconds.
ANNOUNCED_WITHIN = 2

FRAMES_PER_SECOND = 25
WIDTH, HEIGHT = 320, 180

# The tracks: what they are called, whether they are shown, and their cues as far as they are known.
TRACKS = """
return [...document.querySelector('video').textTracks].map((track) => ({
  language: track.language, label: track.label, mode: track.mode,
  cues: [...track.cues ?? []].map(({ startTime, endTime, text }) => ({ startTime, endTime, text })),
}));
"""

# Chooses a track, as the video's own controls do, and goes to the beginning.
CHOOSE = """
const video = document.querySelector('video');
for (const track of video.textTracks) {
  track.mode = track.language === arguments[0] ? 'showing' : 'disabled';
}
video.pause();
video.currentTime = 0;
"""

# Goes to a time; gives the cues there, and how bright the upper half of the picture is.
LOOK = """
const [at, done] = arguments;
const video = document.querySelector('video');
video.addEventListener('seeked', () => requestAnimationFrame(() => setTimeout(() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight / 2];
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const track = [...video.textTracks].find((track) => track.mode === 'showing');
  const cues = [...track.activeCues].map((cue) => cue.text);
  const luma = data.filter((_, n) => n % 4 === 1).reduce((a, b) => a + b) / (data.length / 4);
  done({ time: video.currentTime, cues, luma });
}, 50)), { once: true });
video.currentTime = at;
"""


def speech(path):
    """Whether somebody speaks in each 100 ms of a file."""
    with wave.open(path) as file:
        samples = array.array("h", file.readframes(file.getnframes()))
        length = file.getframerate() * WORD // 1000
    blocks = range(0, len(samples), length)
    return [max(map(abs, samples[at : at + length])) >= LOUD for at in blocks]


def video(wav, path):
    spoken = speech(wav)
    grey = bytes([128]) * (WIDTH * HEIGHT // 2)
    with open(path, "wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_SECOND}:1 C420jpeg\n".encode())
        for frame in range(len(spoken) * WORD * FRAMES_PER_SECOND // 1000):
            luma = 235 if spoken[frame * 1000 // FRAMES_PER_SECOND // WORD] else 16
            file.write(b"FRAME\n" + bytes([luma]) * (WIDTH * HEIGHT) + grey)


def stream(seconds, *arguments):
    """Runs the example as if its pipeline had begun to run that many seconds ago. The sources,
    whose clocksync are called video-clock and audio-clock, begin now."""
    sys.path.insert(0, str(EXAMPLE))
    sys.argv = ["hls_captions.py", *arguments]
    import hls_captions
    from gi.repository import GObject, Gst

    build = hls_captions.build

    def build_late(*of):
        pipeline = build(*of)
        begin = round(float(seconds) * Gst.SECOND)
        # The one that counts from the start of the machine may not have got as far.
        clock = GObject.new(Gst.SystemClock, clock_type=Gst.ClockType.REALTIME)
        pipeline.use_clock(clock)
        pipeline.set_start_time(Gst.CLOCK_TIME_NONE)
        pipeline.set_base_time(clock.get_time() - begin)
        for name in ("video-clock", "audio-clock"):
            pipeline.get_by_name(name).get_static_pad("sink").set_offset(begin)
        return pipeline

    hls_captions.build = build_late
    sys.exit(hls_captions.main())


def relay(url, delay=None):
    service = urllib.parse.urlsplit(url)

    async def pump(reader, writer, delay):
        """What comes once the session has begun comes later by the delay."""
        loop, late = asyncio.get_running_loop(), 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                loop.call_later(late, writer.write, data)
                if b"session.updated" in data:
                    late = delay
        loop.call_later(late, writer.close)

    async def connected(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        translates = b"livetranslate" in request
        if translates and delay is None:
            writer.close()
            return
        theirs, ours = await asyncio.open_connection(service.hostname, service.port)
        ours.write(request)
        later = float(delay) if translates else 0
        await asyncio.gather(pump(reader, ours, 0), pump(theirs, writer, later))

    async def serve():
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            print("Listening on", url.replace(f":{service.port}", f":{port}"), flush=True)
            await server.serve_forever()

    asyncio.run(serve())


def fail(*lines):
    sys.exit("\n".join(["hls_captions.py:", *lines]))


def words_of(path):
    return pathlib.Path(path).read_text(encoding="utf-8").split()


class Truth:
    """What is said when in a language, in milliseconds."""

    def __init__(self, wav, words, prefix):
        words = (prefix + word.lstrip("w") for word in words_of(words))
        self.blocks = [next(words) if is_spoken else None for is_spoken in speech(wav)]
        self.words = [word for word in self.blocks if word]
        self.length = len(self.blocks) * WORD

    def around(self, at):
        """The words, and None for silence, that may be shown at a time."""
        begin, end = max(at - TOLERANCE, 0), at + TOLERANCE
        return self.blocks[begin // WORD : end // WORD + 1]

    def is_read(self, at, shown):
        """In the pause behind its words a caption stays until it has been read."""
        begin = self.blocks.index(shown[0]) * WORD if shown[0] in self.blocks else at
        read = begin + READING_TIME * len(" ".join(shown))
        return self.blocks[at // WORD] is None and begin <= at <= read + TOLERANCE

    def faults(self, at, shown):
        around = self.around(at)
        if None not in around and not shown:
            yield "no caption"
        if shown and not set(shown) & set(around) and not self.is_read(at, shown):
            yield "a caption of another time"

    def deviation(self, cue):
        """By how much a cue begins earlier or later than its first word is said."""
        return abs(cue["startTime"] * 1000 - self.blocks.index(cue["text"].split()[0]) * WORD)


class Watching:
    """A page in the browser, against what is true."""

    def __init__(self, session, wav, words):
        self.session = session
        self.truths = {
            language: Truth(wav, words, prefix) for language, (_, prefix) in LANGUAGES.items()
        }

    def begin(self, url):
        """Opens the page. What is spoken is shown unless the viewer chooses otherwise."""
        self.session.open(url)

        def cues():
            tracks = self.session.run(TRACKS)
            return tracks and tracks[0]["mode"] == "showing" and tracks[0]["cues"]

        self.session.wait_for(cues, f"no captions at {url}")
        tracks = [(track["language"], track["label"]) for track in self.session.run(TRACKS)]
        if tracks != [(language, name) for language, (name, _) in LANGUAGES.items()]:
            fail(f"the tracks are {tracks}")

    def choose(self, language):
        """Chooses a language, and waits until all of its words are there; returns the cues."""
        self.session.run(CHOOSE, language)

        def all_cues():
            track = next(t for t in self.session.run(TRACKS) if t["language"] == language)
            found = " ".join(cue["text"] for cue in track["cues"]).split()
            return track["cues"] if found == self.truths[language].words else None

        return self.session.wait_for(all_cues, f"not all of {language}, or too much")

    def faults(self, language, at):
        seen = self.session.run_async(LOOK, at / 1000)
        said = self.truths[language].around(at)
        faults = list(self.truths[language].faults(at, " ".join(seen["cues"]).split()))
        white = seen["luma"] > 128
        if None not in said and not white or not any(said) and white:
            faults.append("a picture of another time")
        return [f"{language}, {at} ms: {fault}: {seen}, said: {said}" for fault in faults]

    def check(self):
        wrong, worst = [], {}
        for language, truth in self.truths.items():
            cues = self.choose(language)
            times = range(STEP, truth.length - TOLERANCE, STEP)
            wrong += [fault for at in times for fault in self.faults(language, at)]
            worst[language] = max(map(truth.deviation, cues))
            if worst[language] > TOLERANCE:
                wrong.append(f"{language}: a cue begins {worst[language]:.0f} ms from its words")
        if wrong:
            fail("in the browser", *wrong)
        for language, deviation in worst.items():
            print(
                f"{language}: in {len(times)} looks captions and pictures are those of their time; "
                f"cues begin {deviation:.0f} ms from their words at most"
            )


def playlist(url, name):
    with fetch(f"{url}{name}") as answer:
        return answer.read().decode()


def watch(url, wav, words):
    with browser() as session:
        watching = Watching(session, wav, words)
        watching.begin(url)
        watching.check()


def join(url, wav, words):
    """Comes when there are some segments, sees captions from there on, then looks at all of it."""
    with browser() as session:

        def segments():
            try:
                return playlist(url, "video.m3u8").count("#EXTINF") >= JOINED_AT
            except OSError:
                return False

        session.wait_for(segments, "no segments")
        watching = Watching(session, wav, words)
        watching.begin(url)
        if "#EXT-X-ENDLIST" in playlist(url, "video.m3u8"):
            fail("it was over before anybody could join it")
        watching.check()


def codec_of(path):
    """What the video is by RFC 6381, as a parser finds it out."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"filesrc location={path} ! tsdemux ! h264parse ! video/x-h264,stream-format=avc ! "
        "fakesink name=sink"
    )
    pipeline.set_state(Gst.State.PAUSED)
    pipeline.get_state(10 * Gst.SECOND)
    caps = pipeline.get_by_name("sink").get_static_pad("sink").get_current_caps()
    pipeline.set_state(Gst.State.NULL)
    configuration = caps.get_structure(0).get_value("codec_data")
    return f"avc1.{configuration.extract_dup(1, 3).hex().upper()}"


def segments(folder, latency, words):
    folder = pathlib.Path(folder)
    playlists = [
        (folder / name).read_text(encoding="utf-8")
        for name in ("video.m3u8", "captions.en.m3u8", "captions.fr.m3u8")
    ]
    # The segments are the same, but for the ends of their names.
    bare = {re.sub(r"^(\d+)\..*$", r"\1", text, flags=re.MULTILINE) for text in playlists}
    if len(bare) != 1:
        fail("the playlists differ", *playlists)
    listed = [int(line) for line in bare.pop().splitlines() if line.isdecimal()]
    # What has left the playlists is kept for a while.
    numbers = sorted(int(path.stem) for path in folder.glob("*.ts"))
    if numbers != list(range(listed[0] - len(listed) - 1, listed[-1] + 1)):
        fail(f"of the segments these are listed: {listed}, and these are there: {numbers}")
    codecs = f'CODECS="{codec_of(folder / f"{listed[0]}.ts")},mp4a.40.2"'
    if codecs not in (folder / "master.m3u8").read_text(encoding="utf-8"):
        fail(f"master.m3u8 lacks {codecs}")
    said = []
    for number in numbers:
        begun = (folder / f"{number}.ts").stat().st_mtime
        for language in LANGUAGES:
            path = folder / f"{number}.{language}.vtt"
            late = path.stat().st_mtime - begun
            if late > int(latency) / 1000 + ANNOUNCED_WITHIN:
                fail(f"{path} was there after {late:.3f} s")
            header, _, cues = path.read_text(encoding="utf-8").partition("\n\n")
            if not re.fullmatch(r"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:\d+,LOCAL:00:00:00.000", header):
                fail(f"{path} begins with {header}")
            if language == "en":
                # A cue may be in two segments.
                said += [word for word in re.findall(r"w\d+", cues) if word not in said]
            elif cues.strip():
                fail(f"{path} has {cues}")
    if not said or said != words_of(words)[-len(said) :]:
        fail(f"there is {said}")
    print(f"{len(numbers)} segments: what is said is there in time, though its translation is away")


if __name__ == "__main__":
    commands = [video, stream, relay, watch, join, segments]
    command, *rest = sys.argv[1:]
    {function.__name__: function for function in commands}[command](*rest)
