#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints the crates that packages' libraries are made of, with their licences' texts.

licences.py MANIFEST:PACKAGE...
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

# What licences are in, apart from a crate's own folder of them.
TEXT = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)(?!.*\.rs$)", re.IGNORECASE)
# Where Debian has the texts of licences, of those crates that leave them out.
COMMON = pathlib.Path("/usr/share/common-licenses")


def metadata(manifest):
    host = subprocess.run(
        ["rustc", "-vV"], check=True, capture_output=True, text=True
    ).stdout
    host = re.search(r"^host: (.*)$", host, re.MULTILINE).group(1)
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    command += ["--filter-platform", host, "--manifest-path", manifest]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def linked(all, package):
    """The package, unless it is this source's, and those it is linked with: neither for tests nor
    for building it."""
    packages = {p["id"]: p for p in all["packages"]}
    nodes = {node["id"]: node for node in all["resolve"]["nodes"]}
    (root,) = (p["id"] for p in all["packages"] if p["name"] == package)
    seen, waiting = set(), [root]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        for dependency in nodes[at]["deps"]:
            is_macro = any(
                "proc-macro" in target["kind"]
                for target in packages[dependency["pkg"]]["targets"]
            )
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and not is_macro:
                waiting.append(dependency["pkg"])
    return [packages[id] for id in seen if packages[id]["source"]]


def texts(crate):
    folder = pathlib.Path(crate["manifest_path"]).parent
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if TEXT.match(path.name) or (
            path.parent.name.lower() in ("licenses", "license") and path.suffix in ("", ".txt")
        ):
            yield path.read_text(encoding="utf-8", errors="replace").strip()


def common(crate):
    """A text of one of its licences, of which it has none itself."""
    for licence in re.findall(r"[A-Za-z0-9.-]+", crate["license"]):
        path = COMMON / licence
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    sys.exit(f"licences.py: there is no text of {crate['license']} for {crate['name']}")


def main():
    crates = {}
    for argument in sys.argv[1:]:
        manifest, package = argument.split(":")
        for crate in linked(metadata(manifest), package):
            crates[crate["name"], crate["version"]] = crate
    users = collections.defaultdict(list)
    print("The crates that this is made of, and the texts of their licences\n")
    for key, crate in sorted(crates.items()):
        name = " ".join(key)
        if not crate["license"]:
            sys.exit(f"licences.py: {name} does not say what its licence is")
        print(f"{name}: {crate['license']}, {crate['repository'] or crate['homepage'] or ''}")
        for author in crate["authors"]:
            print(f"    {author}")
        for text in dict.fromkeys(texts(crate)) or [common(crate)]:
            users[text].append(name)
    for text, names in users.items():
        print(f"\n{'=' * 78}\n{', '.join(names)}\n{'-' * 78}\n\n{text}")


if __name__ == "__main__":
    main()
