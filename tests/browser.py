# SPDX-License-Identifier: MPL-2.0
"""Headless Chromium, by WebDriver."""

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.request

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

# Seconds until a condition has to hold.
PATIENCE = 60


class Browser:
    """A session of WebDriver."""

    def __init__(self, address, profile):
        self.address = address
        options = {"args": [*CHROMIUM, f"--user-data-dir={profile}"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self.post("session", {"capabilities": capabilities})
        self.address += f"/session/{session['sessionId']}"
        self.post("timeouts", {"script": 20_000})

    def post(self, command, values):
        return self.request("POST", f"/{command}", values)

    def end(self):
        self.request("DELETE", "", {})

    def request(self, method, path, values):
        request = urllib.request.Request(
            self.address + path,
            json.dumps(values).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with fetch(request) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.post("url", {"url": url})

    def run(self, script, *arguments):
        return self.post("execute/sync", {"script": script, "args": arguments})

    def run_async(self, script, *arguments):
        return self.post("execute/async", {"script": script, "args": arguments})

    def wait_for(self, condition, what):
        """Looks until there is something, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {self.run('return document.body.innerText')}")
            time.sleep(0.1)
        return found


def fetch(request):
    """What is at an address on this machine: no proxy has a say."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=PATIENCE)


@contextlib.contextmanager
def browser():
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
        session = Browser(f"http://127.0.0.1:{port}", profile)
        stack.callback(session.end)
        yield session
