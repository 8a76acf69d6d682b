# SPDX-License-Identifier: MPL-2.0
"""The programs of tests/fleet.sh, and what has to come of them.

    fleet.py NUMBERS DIRECTORY CHANNELS SECONDS

NUMBERS is the program that makes numbered audio and recognises it. The channels are branches of one
pipeline, as in an application that captions many programmes: those of a process take turns where they
come back.
"""

import collections
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

SERVICES = 3
# Until all channels are at work, and between two things that happen to the services.
START, INTERVAL = 5, 20
# Seconds for which a service is away.
AWAY = 6
# What is promised: seconds until a channel is connected again.
BACK_WITHIN = 3
# And how many connections there are in a second at most, once all channels are at work.
MAX_CONNECTIONS = 20

HAPROXY = """\
defaults
    mode http
    timeout connect 2s
    timeout client 2m
    timeout server 2m
    timeout tunnel 2m
    timeout queue 1s
    option redispatch
    retries 3

frontend captions
    bind 127.0.0.1:{port}
    default_backend workers

backend workers
    balance leastconn
    default-server check inter 500ms fall 1 rise 1
{servers}
"""

FINAL = re.compile(r"qwenasr/transcript,.* final=\(boolean\)true")
TEXT = re.compile(r"text=\(string\)(.*?), stash=")
STATE = re.compile(r"qwenasr/connection, state=\(string\)([a-z]+)")
WORD = re.compile(r"w[0-9]{4}")
NAME = re.compile(r'(?:element "|QwenAsrSink:)c([0-9]+)')


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Channel:
    def __init__(self, number):
        self.number = number
        self.words = []
        # (time, state) of the connection, and the times of warnings.
        self.states, self.warnings, self.lost = [], [], 0

    def hear(self, line):
        now = time.monotonic()
        if FINAL.search(line):
            self.words += WORD.findall(TEXT.search(line)[1])
        elif state := STATE.search(line):
            self.states.append((now, state[1]))
        elif "qwenasr/audio-lost" in line:
            self.lost += 1
        elif line.startswith("WARNING: from element"):
            self.warnings.append(now)

    def longest_outage(self):
        longest, since = 0, None
        for when, state in self.states:
            if state == "reconnecting":
                since = since or when
            elif state == "connected" and since:
                longest, since = max(longest, when - since), None
        return longest


class Process:
    """A pipeline with all channels in it."""

    def __init__(self, count, branch):
        branches = (branch.format(name=f"c{number}").split() for number in range(count))
        self.channels = [Channel(number) for number in range(count)]
        self.process = subprocess.Popen(
            ["gst-launch-1.0", "-m", *(word for words in branches for word in words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.rest = b""

    def read(self):
        """Takes what the process says; returns whether there may be more."""
        read = os.read(self.process.stdout.fileno(), 1 << 16)
        lines = (self.rest + read).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            line = line.decode(errors="replace")
            if name := NAME.search(line):
                self.channels[int(name[1])].hear(line)
        return bool(read)


class Services:
    """What happens to the services: in turns, each of them is drained or killed, and comes back."""

    def __init__(self, numbers, ports):
        self.numbers, self.ports = numbers, ports
        self.processes = [self.start(port) for port in ports]
        self.turn = 0
        self.away = None
        self.kills, self.drains = [], []

    def start(self, port):
        command = [self.numbers, "serve", "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    def disturb(self):
        victim = self.turn % SERVICES
        is_kill = self.turn % 2 == 1
        self.turn += 1
        (self.kills if is_kill else self.drains).append(time.monotonic())
        self.processes[victim].send_signal(signal.SIGKILL if is_kill else signal.SIGTERM)
        self.away = victim

    def restore(self):
        if self.away is not None:
            self.processes[self.away].wait()
            self.processes[self.away] = self.start(self.ports[self.away])
            self.away = None


def main():
    numbers, directory = sys.argv[1:3]
    channels, seconds = map(int, sys.argv[3:])
    recording = os.path.join(directory, "numbers.wav")
    command = [numbers, "wav", "--seconds", str(seconds), "--out", recording]
    expected = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    front, ports = free_port(), [free_port() for _ in range(SERVICES)]
    services = Services(numbers, ports)
    configuration = os.path.join(directory, "haproxy.cfg")
    with open(configuration, "w") as file:
        servers = (f"    server s{n} 127.0.0.1:{port}" for n, port in enumerate(ports))
        file.write(HAPROXY.format(port=front, servers="\n".join(servers)))
    router = subprocess.Popen(["haproxy", "-f", configuration], stderr=subprocess.DEVNULL)
    time.sleep(1)

    url = f"ws://127.0.0.1:{front}/api-ws/v1/realtime"
    branch = (
        f"filesrc location={recording} ! wavparse ! clocksync ! "
        f"qwenasrsink name={{name}} url={url} failure-policy=continue max-queue-time=60000"
    )
    process = Process(channels, branch)
    selector = selectors.DefaultSelector()
    selector.register(process.process.stdout, selectors.EVENT_READ)
    begun = time.monotonic()
    next_event, restore_at = begun + START + INTERVAL, None
    end = begun + seconds
    is_running = True
    while is_running:
        now = time.monotonic()
        if restore_at and now >= restore_at:
            services.restore()
            restore_at = None
        if now >= next_event and now < end - INTERVAL:
            services.disturb()
            next_event, restore_at = now + INTERVAL, now + AWAY
        if selector.select(0.05):
            is_running = process.read()
    router.kill()
    for service in services.processes:
        service.kill()
    return report(process.channels, begun + START, services, expected)


def report(running, started, services, expected):
    problems = []
    for channel in running:
        if channel.words != expected:
            heard, wanted = map(collections.Counter, (channel.words, expected))
            problems.append(
                f"channel {channel.number}: {(wanted - heard).total()} words lost, "
                f"{(heard - wanted).total()} doubled"
            )
        if channel.lost:
            problems.append(f"channel {channel.number}: audio was lost")
    # A service that was killed is an outage; one that says goodbye is none.
    excused = [(kill - 1, kill + 10) for kill in services.kills]
    warnings = [when for channel in running for when in channel.warnings]
    strange = [when for when in warnings if not any(a <= when <= b for a, b in excused)]
    if strange:
        problems.append(f"{len(strange)} warnings without a service that was killed")
    longest = max(channel.longest_outage() for channel in running)
    if longest > BACK_WITHIN:
        problems.append(f"a channel was back after {longest:.1f} s")
    connected = [
        when
        for channel in running
        for when, state in channel.states
        if state == "connected" and when >= started
    ]
    most = max(
        (sum(1 for other in connected if when <= other < when + 1) for when in connected),
        default=0,
    )
    if most > MAX_CONNECTIONS:
        problems.append(f"{most} connections in a second")
    print(
        f"{len(running)} channels, {len(services.drains)} services drained, "
        f"{len(services.kills)} killed: {len(expected)} words each, {len(warnings)} warnings, "
        f"longest outage {longest:.2f} s, at most {most} connections in a second"
    )
    for problem in problems:
        print(f"FAILED  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
