#!/usr/bin/env python3
"""Reads a Perfetto trace with the message classes of the PyPI package `perfetto`, as Perfetto's importer would.

It shares no code with the writer. Packets are taken in file order for interned strings and descriptors, then
sorted by time (stable), then slices are rebuilt from each track's stack. Whatever the importer would drop, with
or without a word, is listed under `errors`.

Usage: perfetto_readback.py TRACE [--events FILE]

Prints a JSON summary. --events writes one line per slice, instant, counter value and flow, tab-separated:
  slice|instant  TRACK  DEPTH  TS  DUR  NAME  CATEGORY  KIND  CORRELATION  EXTERNAL  ARGUMENTS
  counter        TRACK  TS  VALUE (bits of the double, hex)  UNIT
  flow           CATEGORY  TRACK  TS  NAME  TRACK  TS  NAME
TRACK is the path of names from the process down, joined by " / ".
"""

import argparse
import collections
import functools
import gzip
import hashlib
import json
import struct
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

# Limits and numbers of Perfetto's importer.
MAX_DEPTH = 512
CLEARED, NEEDS_STATE = 1, 2
FACTS = ("Trace information", "gapless.facts")


def packets(data):
    """The packets of a serialized Trace, one at a time."""
    at, end = 0, len(data)

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < end:
        if varint() != 0x0A:
            raise ValueError(f"no packet at byte {at}")
        size = varint()
        if at + size > end:
            raise ValueError(f"packet at byte {at} is cut")
        yield pb.TracePacket.FromString(data[at : at + size])
        at += size


class Sequence:
    """Interned strings of a packet sequence."""

    def __init__(self):
        self.valid = False
        self.clear()

    def clear(self):
        self.names, self.categories, self.keys, self.values = {}, {}, {}, {}

    def add(self, interned):
        for table, entries in (
            (self.names, interned.event_names),
            (self.categories, interned.event_categories),
            (self.keys, interned.debug_annotation_names),
        ):
            for entry in entries:
                if entry.iid == 0 or table.get(entry.iid, entry.name) != entry.name:
                    raise ValueError(f"bad interned id {entry.iid}")
                table[entry.iid] = entry.name
        for entry in interned.debug_annotation_string_values:
            text = entry.str.decode()
            if entry.iid == 0 or self.values.get(entry.iid, text) != text:
                raise ValueError(f"bad interned id {entry.iid}")
            self.values[entry.iid] = text


@functools.lru_cache(maxsize=1 << 16)
def escape(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def bits(value):
    return struct.pack(">d", value).hex()


def value_of(annotation, sequence):
    """A debug annotation as (type, value)."""
    which = annotation.WhichOneof("value")
    if annotation.dict_entries:
        return ("dict", [(key_of(entry, sequence), value_of(entry, sequence)) for entry in annotation.dict_entries])
    if annotation.array_values:
        return ("list", [value_of(entry, sequence) for entry in annotation.array_values])
    if which == "string_value_iid":
        return ("text", sequence.values[annotation.string_value_iid])
    if which == "string_value":
        return ("text", annotation.string_value)
    if which == "legacy_json_value":
        return ("json", annotation.legacy_json_value)
    if which == "int_value":
        return ("int", annotation.int_value)
    if which == "uint_value":
        return ("int", annotation.uint_value)
    if which == "double_value":
        return ("double", annotation.double_value)
    if which == "bool_value":
        return ("bool", annotation.bool_value)
    raise ValueError("annotation without a value")


def key_of(annotation, sequence):
    return sequence.keys[annotation.name_iid] if annotation.name_iid else annotation.name


def canonical(value):
    """A value as text that another program can make just so."""
    kind, content = value
    if kind == "dict":
        return "{" + ",".join(f"{escape(key)}:{canonical(item)}" for key, item in content) + "}"
    if kind == "list":
        return "[" + ",".join(canonical(item) for item in content) + "]"
    if kind == "text":
        return f'"{escape(content)}"'
    if kind == "double":
        return bits(content)
    if kind == "bool":
        return "true" if content else "false"
    return str(content)


def plain(value):
    """A value as Python has it."""
    kind, content = value
    if kind == "dict":
        return {key: plain(item) for key, item in content}
    if kind == "list":
        return [plain(item) for item in content]
    return json.loads(content) if kind == "json" else content


def uses_state(event):
    """Whether an event names interned strings."""
    return event.name_iid or event.category_iids or any(arg.name_iid or arg.string_value_iid for arg in event.debug_annotations)


class Event:
    __slots__ = ("ts", "type", "track", "name", "categories", "args", "flows", "ends", "value", "dur", "depth")


def joining_id(args, own, argument):
    """Correlation or external id: Gapless's own annotation, else the argument."""
    own_value = next((value for key, value in args if key == own), None)
    if own_value is not None:
        return "" if own_value == ("bool", False) else str(own_value[1])
    said = next((value for key, value in reversed(args) if key.lower() == argument), None)
    return "" if said is None else str(said[1])


class Reader:
    def __init__(self):
        self.errors = []
        self.tracks = {}
        self.events = []
        self.facts = []
        self.snapshots = 0

    def error(self, text):
        if len(self.errors) < 50:
            self.errors.append(text)

    def read(self, data):
        sequences = collections.defaultdict(Sequence)
        for packet in packets(data):
            sequence_id = packet.trusted_packet_sequence_id
            sequence = sequences[sequence_id]
            if packet.sequence_flags & CLEARED or packet.incremental_state_cleared:
                sequence.clear()
                sequence.valid = True
            if packet.HasField("interned_data"):
                sequence.add(packet.interned_data)
            if packet.HasField("clock_snapshot"):
                self.snapshots += 1
                if packet.clock_snapshot.primary_trace_clock != 6:
                    self.error("the primary clock is not BOOTTIME")
            if packet.timestamp >= 1 << 63:
                self.error(f"negative timestamp {packet.timestamp - (1 << 64)}")
                continue
            if packet.HasField("track_descriptor"):
                self.descriptor(packet.track_descriptor)
            if packet.HasField("track_event"):
                if not packet.HasField("timestamp"):
                    self.error("event without a timestamp")
                elif sequence_id == 0:
                    self.error("event without a sequence")
                elif packet.sequence_flags & NEEDS_STATE and not sequence.valid:
                    self.error("event before its sequence's state was cleared")
                elif not packet.sequence_flags & NEEDS_STATE and uses_state(packet.track_event):
                    self.error("event with interned strings that does not say so")
                else:
                    self.event(packet, sequence)
        if self.snapshots == 0:
            self.error("no clock snapshot")
        self.check_tracks()

    def descriptor(self, descriptor):
        if descriptor.uuid in self.tracks:
            self.error(f"track {descriptor.uuid} is declared twice")
        self.tracks[descriptor.uuid] = descriptor

    def check_tracks(self):
        pids, threads, siblings = set(), set(), set()
        for descriptor in self.tracks.values():
            if descriptor.HasField("process"):
                if descriptor.process.pid <= 0 or descriptor.process.pid in pids:
                    self.error(f"pid {descriptor.process.pid} is not unique")
                pids.add(descriptor.process.pid)
        for descriptor in self.tracks.values():
            if descriptor.HasField("thread"):
                key = descriptor.thread.tid
                if key in threads or (key in pids and key != descriptor.thread.pid):
                    self.error(f"tid {key} is not unique")
                threads.add(key)
                if descriptor.thread.pid not in pids:
                    self.error(f"thread of pid {descriptor.thread.pid}, which is not declared")
            elif descriptor.parent_uuid:
                if descriptor.parent_uuid not in self.tracks:
                    self.error(f"track {descriptor.uuid} has an undeclared parent")
                key = (descriptor.parent_uuid, descriptor.name)
                if key in siblings and descriptor.sibling_merge_behavior != 2:
                    self.error(f"siblings named {descriptor.name!r} would be shown as one")
                siblings.add(key)

    def event(self, packet, sequence):
        source, event = packet.track_event, Event()
        event.ts, event.type, event.track = packet.timestamp, source.type, source.track_uuid
        event.dur = event.depth = 0
        event.name = sequence.names[source.name_iid] if source.name_iid else source.name
        event.categories = [sequence.categories[iid] for iid in source.category_iids] + list(source.categories)
        event.args = [(key_of(arg, sequence), value_of(arg, sequence)) for arg in source.debug_annotations]
        event.flows, event.ends = list(source.flow_ids), list(source.terminating_flow_ids)
        has_int = source.WhichOneof("counter_value_field") == "counter_value"
        event.value = float(source.counter_value) if has_int else source.double_counter_value
        if event.track not in self.tracks:
            self.error(f"event on track {event.track}, which is not declared")
            return
        if (event.name, event.categories) == (FACTS[0], [FACTS[1]]):
            self.facts.append({key: plain(value) for key, value in event.args})
            return
        self.events.append(event)

    def rebuild(self):
        """Slices, instants, counter values and flows, as the importer makes them from sorted packets."""
        self.events.sort(key=lambda event: event.ts)
        stacks, active = collections.defaultdict(list), {}
        slices, counters, flows = [], [], []
        for event in self.events:
            is_counter = self.tracks[event.track].HasField("counter")
            if event.type == pb.TrackEvent.TYPE_COUNTER:
                if not is_counter:
                    self.error("counter value on a track that is no counter")
                counters.append(event)
                continue
            if is_counter:
                self.error("slice on a counter track")
            stack = stacks[event.track]
            if event.type == pb.TrackEvent.TYPE_SLICE_END:
                if stack:
                    begin = stack.pop()
                    begin.dur = event.ts - begin.ts
                else:
                    self.error(f"end without a begin at {event.ts}")
                continue
            event.depth = len(stack)
            slices.append(event)
            if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
                if len(stack) >= MAX_DEPTH:
                    self.error("nested too deep")
                stack.append(event)
            elif event.type != pb.TrackEvent.TYPE_INSTANT:
                self.error(f"event of type {event.type}")
            for flow in event.flows:
                if flow in active:
                    flows.append((flow, active[flow], event))
                active[flow] = event
            for flow in event.ends:
                if flow in active:
                    flows.append((flow, active.pop(flow), event))
                else:
                    self.error(f"flow {flow} ends before it begins")
        for stack in stacks.values():
            if stack:
                self.error(f"{len(stack)} slices without an end on one track")
        if active:
            self.error(f"{len(active)} flows without an end")
        return slices, counters, flows

    def path(self, uuid, cache={}):
        """Names from the process down to the track."""
        if uuid in cache:
            return cache[uuid]
        descriptor = self.tracks[uuid]
        if descriptor.HasField("process"):
            path = descriptor.process.process_name
        elif descriptor.HasField("thread"):
            of_pid = (d for d in self.tracks.values() if d.HasField("process") and d.process.pid == descriptor.thread.pid)
            process = next(of_pid, None)
            path = f"{process.process.process_name if process else '?'} / {descriptor.thread.thread_name}"
        else:
            parent = f"{self.path(descriptor.parent_uuid)} / " if descriptor.parent_uuid else ""
            path = parent + descriptor.name
        cache[uuid] = path
        return path

    def facts_of_events(self):
        """What the facts of the trace say about events: kind of each category, and meaning of flow ids."""
        kinds, ranges = {}, []
        for facts in self.facts:
            kinds = {entry["category"]: entry["kind"] for entry in facts.get("gapless.kinds", [])}
            ranges = facts.get("gapless.flows", [])
        return kinds, ranges


def lines(reader, slices, counters, flows):
    kinds, ranges = reader.facts_of_events()
    for event in slices:
        what = "instant" if event.type == pb.TrackEvent.TYPE_INSTANT else "slice"
        category = ",".join(event.categories)
        kind = next((value[1] for key, value in event.args if key == "gapless.kind"), kinds.get(category, ""))
        args = [
            (key.removeprefix("gapless.arg."), value)
            for key, value in event.args
            if key.startswith("gapless.arg.") or not key.startswith("gapless.")
        ]
        yield "\t".join((
            what, escape(reader.path(event.track)), str(event.depth), str(event.ts), str(event.dur), escape(event.name),
            escape(category), kind, joining_id(event.args, "gapless.correlation", "correlation"),
            joining_id(event.args, "gapless.external", "external id"), canonical(("dict", args)),
        ))
    for event in counters:
        counter = reader.tracks[event.track].counter
        unit = {1: "ns", 3: "bytes"}.get(counter.unit, counter.unit_name)
        yield "\t".join(("counter", escape(reader.path(event.track)), str(event.ts), bits(event.value), escape(unit)))
    for flow, source, target in flows:
        found = [entry for entry in ranges if entry["first"] <= flow < entry["first"] + entry["count"]]
        category, reverse = (found[0].get("category", "launch"), found[0].get("reversed", False)) if found else ("?", False)
        if reverse:
            source, target = target, source
        ends = (part for event in (source, target) for part in (reader.path(event.track), str(event.ts), event.name))
        yield "\t".join(("flow", escape(category), *(escape(end) for end in ends)))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("trace")
    options.add_argument("--events", help="write one line per event to this file")
    options = options.parse_args()
    with open(options.trace, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)

    reader = Reader()
    reader.read(data)
    slices, counters, flows = reader.rebuild()
    by_track = collections.defaultdict(list)
    for event in slices:
        by_track[reader.path(event.track)].append((event.ts, event.dur, event.name, event.depth))
    summary = {
        "errors": reader.errors,
        "bytes": len(data),
        "slices": sum(event.type == pb.TrackEvent.TYPE_SLICE_BEGIN for event in slices),
        "instants": sum(event.type == pb.TrackEvent.TYPE_INSTANT for event in slices),
        "counter_values": len(counters),
        "flows": len(flows),
        "facts": reader.facts,
        "tracks": {
            path: {
                "events": len(rows),
                "total_ns": sum(row[1] for row in rows),
                "sha256": hashlib.sha256(repr(sorted(rows)).encode()).hexdigest(),
            }
            for path, rows in sorted(by_track.items())
        },
    }
    if options.events:
        with open(options.events, "w", encoding="utf-8", newline="\n") as file:
            for line in lines(reader, slices, counters, flows):
                file.write(line + "\n")
    json.dump(summary, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
