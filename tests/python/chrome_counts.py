#!/usr/bin/env python3
"""Counts the events of a Chrome JSON trace with Python's own JSON parser.

Usage: chrome_counts.py TRACE

Prints JSON: `phases` (events of each phase), `names` (complete events of each name), `plain` (whether each
complete event has a number as time and a number of at least 0 as duration, so that one is one slice).
Where Python cannot parse the file: `damaged`, with the reason.
"""

import collections
import gzip
import json
import sys


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        trace = json.loads(data, strict=False)
    except ValueError as error:
        print(json.dumps({"damaged": str(error)}))
        return
    events = trace if isinstance(trace, list) else trace["traceEvents"]
    events = [event for event in events if isinstance(event, dict)]
    complete = [event for event in events if event.get("ph") == "X"]
    number = (int, float)
    print(json.dumps({
        "phases": collections.Counter(str(event.get("ph")) for event in events),
        "names": collections.Counter(str(event.get("name", "")) for event in complete),
        "plain": all(
            isinstance(event.get("ts"), number) and isinstance(event.get("dur"), number) and event["dur"] >= 0
            for event in complete
        ),
    }))


if __name__ == "__main__":
    main()
