# SPDX-License-Identifier: MPL-2.0
"""Looks at examples/hls_captions in headless Chromium: whether the caption at a time of the video
is what was said then, and the picture is the one of then, too.

hls_captions.py video SPEECH.wav VIDEO.y4m     a picture that is white while somebody speaks
hls_captions.py check URL SPEECH.wav WORDS     whether all is right; WORDS has one a line

The speech is that of the program numbers: words of 100 ms, and pauses.
"""

import array
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]

# As the video is there: how long it is, and whether the track of captions is shown.
READY = """
const video = document.querySelector('video');
const tracks = [...video.textTracks].filter((track) => track.mode === 'showing');
return video.readyState >= 2 && isFinite(video.duration) && tracks.length
    && tracks[0].cues && tracks[0].cues.length ? video.duration : null;
"""

# Goes to a time; gives the cues there, and how bright the upper half of the picture is.
LOOK = """
const [at, done] = arguments;
const video = document.querySelector('video');
video.pause();
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


# Length of a word, how far captions may be off, and the time between two looks, in milliseconds.
WORD = 100
TOLERANCE = 250
# Milliseconds to read a character: the words are said faster.
READING_TIME = 50
STEP = 210

FRAMES_PER_SECOND = 25
WIDTH, HEIGHT = 320, 180


def speech(path):
    """Whether somebody speaks in each 100 ms of a file."""
    with wave.open(path) as file:
        samples = array.array("h", file.readframes(file.getnframes()))
        length = file.getframerate() * WORD // 1000
    blocks = range(0, len(samples), length)
    return [max(map(abs, samples[at : at + length])) > 1000 for at in blocks]


def video(wav, path):
    spoken = speech(wav)
    grey = bytes([128]) * (WIDTH * HEIGHT // 2)
    with open(path, "wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_SECOND}:1 C420jpeg\n".encode())
        for frame in range(len(spoken) * WORD * FRAMES_PER_SECOND // 1000):
            luma = 235 if spoken[frame * 1000 // FRAMES_PER_SECOND // WORD] else 16
            file.write(b"FRAME\n" + bytes([luma]) * (WIDTH * HEIGHT) + grey)


class Truth:
    """What is said when, in milliseconds."""

    def __init__(self, wav, words):
        words = iter(pathlib.Path(words).read_text(encoding="utf-8").split())
        self.blocks = [next(words) if is_spoken else None for is_spoken in speech(wav)]
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

    def faults(self, at, seen):
        around = self.around(at)
        shown = " ".join(seen["cues"]).split()
        white = seen["luma"] > 128
        if None not in around and not shown:
            yield "no caption"
        if shown and not set(shown) & set(around) and not self.is_read(at, shown):
            yield "a caption of another time"
        if None not in around and not white or not any(around) and white:
            yield "a picture of another time"


class Browser:
    """A session of WebDriver."""

    def __init__(self, address, profile):
        self.address = address
        options = {"args": [*CHROMIUM, f"--user-data-dir={profile}"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self.post("session", {"capabilities": capabilities})
        self.address += f"/session/{session['sessionId']}"

    def post(self, command, values):
        return self.request("POST", f"/{command}", values)

    def request(self, method, path, values):
        request = urllib.request.Request(
            self.address + path,
            json.dumps(values).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        # On this machine: no proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script, *arguments, kind="sync"):
        return self.post(f"execute/{kind}", {"script": script, "args": arguments})


def look(url, times):
    """What is to be seen at these times in milliseconds."""
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(prefix="chromium."))
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        stack.callback(driver.wait)
        stack.callback(driver.terminate)
        port = next(
            line.rpartition(" ")[2].rstrip(".\n")
            for line in driver.stdout
            if "started successfully" in line
        )
        browser = Browser(f"http://127.0.0.1:{port}", profile)
        stack.callback(browser.request, "DELETE", "", {})
        browser.post("timeouts", {"script": 20_000})
        browser.post("url", {"url": url})
        deadline = time.monotonic() + 60
        while browser.run(READY) is None:
            if time.monotonic() > deadline:
                text = browser.run("return document.body.innerText")
                sys.exit(f"hls_captions.py: no video with captions at {url}: {text}")
            time.sleep(0.1)
        return [browser.run(LOOK, at / 1000, kind="async") for at in times]


def check(url, wav, words):
    truth = Truth(wav, words)
    times = range(STEP, truth.length - TOLERANCE, STEP)
    wrong = [
        f"{at} ms: {fault}: {seen}, said: {truth.around(at)}"
        for at, seen in zip(times, look(url, times))
        for fault in truth.faults(at, seen)
    ]
    if wrong:
        sys.exit("\n".join(["hls_captions.py: in the browser", *wrong]))
    print(f"{len(times)} looks: captions and pictures are those of their time, to {TOLERANCE} ms")


if __name__ == "__main__":
    {"video": video, "check": check}[sys.argv[1]](*sys.argv[2:])
