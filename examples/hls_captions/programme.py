# SPDX-License-Identifier: MPL-2.0
"""The programme as a player sees it: a folder with segments of video and of WebVTT, a playlist for
the video and one for each language, and one of them all.

A segment is in all playlists or in none: it is announced when the text of every language is
complete for its time. The playlists have the same segments and the same durations, and a segment
in which nothing is said is there as well, without cues.

Times are running times in nanoseconds. Nothing here knows GStreamer; whoever calls it does so from
one thread.
"""

import bisect
import html
import math
import pathlib

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
PTS_PER_SECOND = 90_000
PTS_WRAP = 2**33

# Languages by their own names, as players list them. Others are listed by their tag.
NAMES = {
    "ar": "العربية",
    "de": "Deutsch",
    "en": "English",
    "es": "Español",
    "fr": "Français",
    "hi": "हिन्दी",
    "id": "Bahasa Indonesia",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "pt": "Português",
    "ru": "Русский",
    "th": "ไทย",
    "tr": "Türkçe",
    "vi": "Tiếng Việt",
    "yue": "粵語",
    "zh": "中文",
}


def name_of(language):
    """What a player lists a language as: no two have the same name."""
    primary = language.partition("-")[0]
    name = NAMES.get(primary.lower(), primary)
    return name if language == primary else f"{name} ({language})"


def first_picture(path):
    """The beginning of the first picture of a file of MPEG-TS, with the header of its PES packet."""
    data = path.read_bytes()
    for at in range(0, len(data) - 187, 188):
        packet = data[at : at + 188]
        begins, control = packet[1] & 0x40, packet[3] & 0x30
        if not begins or not control & 0x10:
            continue
        payload = packet[5 + packet[4] if control & 0x20 else 4 :]
        # A PES packet of a video stream, with a PTS.
        if payload[:3] == b"\0\0\1" and payload[3] & 0xF0 == 0xE0 and payload[7] & 0x80:
            return payload
    raise ValueError(f"no picture in {path}")


def pts_of(picture):
    """The timestamp of a picture, in units of 90 kHz."""
    pts = picture[9:14]
    middle, low = pts[1] << 7 | pts[2] >> 1, pts[3] << 7 | pts[4] >> 1
    return (pts[0] >> 1 & 7) << 30 | middle << 15 | low


def codecs_of(picture):
    """The codecs by the names of RFC 6381: of H.264, profile, constraints and level, which begin the
    sequence parameter set before a key frame, and AAC-LC, which is all that voaacenc makes."""
    start = picture.index(b"\0\0\1\x67") + 4
    return f"avc1.{picture[start : start + 3].hex().upper()},mp4a.40.2"


def clock(nanoseconds):
    seconds, milliseconds = divmod(round(nanoseconds / MILLISECOND), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


class Track:
    """The text of a language so far, and until when it is complete."""

    def __init__(self):
        # Begin, end and text, one after the other.
        self.cues = []
        self.complete_until = 0

    def add(self, until, cue):
        self.complete_until = max(self.complete_until, until)
        if cue is not None:
            self.cues.append(cue)

    def between(self, start, end):
        return [cue for cue in self.cues if cue[0] < end and start < cue[1]]

    def forget(self, before):
        del self.cues[: bisect.bisect(self.cues, before, key=lambda cue: cue[1])]


class Programme:
    """The segments and playlists in a folder."""

    def __init__(self, folder, languages, duration, window):
        """Of the languages the first one is spoken; `duration` of a segment is in seconds, and
        `window` is how many of them are in the playlists, or 0 for all."""
        self.folder, self.window = folder, window
        self.tracks = {language: Track() for language in languages}
        # It is not to change: no segment is much longer.
        self.target = math.ceil(duration)
        # Of segments that are not in the playlists yet: path, begin and end.
        self.waiting = []
        # Number and duration of those that are.
        self.published = []
        # Numbers of those that were.
        self.outdated = []
        self.opened = None
        # The timestamp in MPEG-TS of running time 0, and what is in the segments.
        self.origin = self.codecs = None
        self.ended = False
        # What an earlier programme left is not to be played before there is something of this one.
        (folder / "master.m3u8").unlink(missing_ok=True)

    def begin(self, path, start):
        self.opened = (path, start)

    def finish(self, end):
        path, start = self.opened
        if end > start:
            self.waiting.append((pathlib.Path(path), start, end))
        self.publish()

    def text(self, language, until, cue):
        """The text of a language is known until then; the cue is what is new, or None."""
        self.tracks[language].add(until, cue)
        self.publish()

    def publish(self):
        """Adds what is complete to the playlists."""
        before = len(self.published)
        complete_until = min(track.complete_until for track in self.tracks.values())
        while self.waiting and complete_until >= self.waiting[0][2]:
            path, start, end = self.waiting.pop(0)
            if self.origin is None:
                picture = first_picture(path)
                offset = round(start * PTS_PER_SECOND / SECOND)
                self.origin = (pts_of(picture) - offset) % PTS_WRAP
                self.codecs = codecs_of(picture)
            for language, track in self.tracks.items():
                self.write(f"{path.stem}.{language}.vtt", self.webvtt(track, start, end))
                track.forget(start)
            duration = (end - start) / SECOND
            # Players take the nearest whole number.
            self.target = max(self.target, math.floor(duration + 0.5))
            self.published.append((int(path.stem), duration))
        if len(self.published) != before:
            self.write_playlists()

    def end(self):
        self.ended = True
        for track in self.tracks.values():
            track.add(math.inf, None)
        self.publish()
        self.write_playlists()

    def webvtt(self, track, start, end):
        """The text of a segment. What goes on in the next one is there as well, at the same times
        and by the same map, which is how hls.js knows it again."""
        lines = ["WEBVTT", f"X-TIMESTAMP-MAP=MPEGTS:{self.origin},LOCAL:00:00:00.000", ""]
        for begins, ends, text in track.between(start, end):
            lines += [f"{clock(begins)} --> {clock(ends)}", html.escape(text, quote=False), ""]
        return "\n".join(lines) + "\n"

    def write_playlists(self):
        if self.window and not self.ended:
            self.retire(self.published[: -self.window])
        self.write("video.m3u8", self.playlist("ts"))
        for language in self.tracks:
            self.write(f"captions.{language}.m3u8", self.playlist(f"{language}.vtt"))
        # Players may come as soon as there is something to play.
        if self.published:
            self.write("master.m3u8", self.master())

    def retire(self, segments):
        """Takes segments off the playlists. Players with an older one may still come for them, so
        files stay for as long again."""
        self.published = self.published[len(segments) :]
        self.outdated += [number for number, _ in segments]
        for number in self.outdated[: -self.window - 1]:
            for kind in ("ts", *(f"{language}.vtt" for language in self.tracks)):
                (self.folder / f"{number}.{kind}").unlink(missing_ok=True)
        self.outdated = self.outdated[-self.window - 1 :]

    def playlist(self, kind):
        first = self.published[0][0] if self.published else 0
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{self.target}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        if not self.window:
            lines += ["#EXT-X-PLAYLIST-TYPE:EVENT"]
        for number, duration in self.published:
            lines += [f"#EXTINF:{duration:.3f},", f"{number}.{kind}"]
        if self.ended:
            lines += ["#EXT-X-ENDLIST"]
        return "\n".join(lines) + "\n"

    def master(self):
        """All languages are in one group, of which players show what is spoken unless told
        otherwise."""
        lines = ["#EXTM3U"]
        for number, language in enumerate(self.tracks):
            default = "NO" if number else "YES"
            lines += [
                '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",'
                f'NAME="{name_of(language)}",LANGUAGE="{language}",DEFAULT={default},'
                f'AUTOSELECT=YES,FORCED=NO,URI="captions.{language}.m3u8"'
            ]
        stream = f'BANDWIDTH=2500000,CODECS="{self.codecs}",SUBTITLES="captions"'
        lines += [f"#EXT-X-STREAM-INF:{stream}", "video.m3u8"]
        return "\n".join(lines) + "\n"

    def write(self, name, text):
        """In one go: nobody reads half a file."""
        half = self.folder / f".{name}"
        half.write_text(text, encoding="utf-8")
        half.replace(self.folder / name)
