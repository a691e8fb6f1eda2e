"""Fetches some files of a wheel from the package index that pip is set up with, without the rest of the wheel.

    python3 fetch-members.py PACKAGE WHEEL-PATTERN MEMBER-PATTERN FOLDER
"""
import io
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile


class Remote(io.RawIOBase):
    """A file behind HTTP ranges."""

    def __init__(self, url):
        self.url, self.place = url, 0
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=0-0"}), timeout=60) as answer:
            self.bytes = int(answer.headers["Content-Range"].split("/")[1])

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.place

    def seek(self, offset, whence=0):
        self.place = (0, self.place, self.bytes)[whence] + offset
        return self.place

    def readinto(self, into):
        count = min(len(into), self.bytes - self.place)
        if count <= 0:
            return 0
        ask = urllib.request.Request(self.url, headers={"Range": f"bytes={self.place}-{self.place + count - 1}"})
        with urllib.request.urlopen(ask, timeout=60) as answer:
            data = answer.read()
        into[: len(data)] = data
        self.place += len(data)
        return len(data)


def main():
    package, wheel, member, folder = sys.argv[1:]
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    index = (asked.stdout.strip() or "https://pypi.org/simple").rstrip("/")
    base = f"{index}/{package}/"
    ask = urllib.request.Request(base, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        files = json.load(answer)["files"]
    found = [file for file in files if re.match(wheel, file["filename"])]
    if not found:
        sys.exit(f"{package} has no wheel {wheel}")
    remote = io.BufferedReader(Remote(urllib.parse.urljoin(base, found[0]["url"])), 1 << 20)
    with zipfile.ZipFile(remote) as archive:
        names = [info for info in archive.infolist() if re.search(member, info.filename)]
        if not names:
            sys.exit(f"{found[0]['filename']} has no {member}")
        for info in names:
            archive.extract(info, folder)


main()
