#!/usr/bin/env python3
"""Compares every message that the crate perfetto-proto declares with the PyPI package `perfetto`.

Usage: check_perfetto_schema.py FOLDER-OF-RUST-SOURCES

Reads the prost attributes from the sources: name, number, type and repetition of each field, alternatives
included, and the numbers of enum values. Prints what differs and how much was compared; fails where something differs.
"""

import pathlib
import re
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

# Rust names of nested messages and enums.
RENAMED = {
    "Clock": "ClockSnapshot.Clock",
    "Process": "ProcessTree.Process",
    "Thread": "ProcessTree.Thread",
    "LegacyEvent": "TrackEvent.LegacyEvent",
    "InlineCallstack": "TrackEvent.InlineCallstack",
    "InlineFrame": "TrackEvent.InlineCallstack.Frame",
    "Timebase": "PerfEvents.Timebase",
    "GpuExtraData": "GpuRenderStageEvent.ExtraData",
    "GpuCounter": "GpuCounterEvent.GpuCounter",
    "GpuCounterSpec": "GpuCounterDescriptor.GpuCounterSpec",
    "GpuInfoEntry": "GpuInfo.Gpu",
    "GpuKeyValue": "GpuInfo.Gpu.KeyValue",
}
# Rust enums: the enum there, and the prefix of its names.
ENUMS = {
    "SequenceFlags": ("TracePacket", "SEQ_"),
    "BuiltinClock": ("", "BUILTIN_CLOCK_"),
    "EventType": ("TrackEvent", "TYPE_"),
    "FlowDirection": ("TrackEvent.LegacyEvent", "FLOW_"),
    "InstantScope": ("TrackEvent.LegacyEvent", "SCOPE_"),
    "ChildTracksOrdering": ("TrackDescriptor", ""),
    "SiblingMergeBehavior": ("TrackDescriptor", "SIBLING_MERGE_BEHAVIOR_"),
    "ProcessOrdering": ("TrackDescriptor", "PROCESS_ORDERING_"),
    "ThreadOrdering": ("TrackDescriptor", "THREAD_ORDERING_"),
    "CounterUnit": ("CounterDescriptor", "UNIT_"),
}
TYPES = {
    "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "bool": 8, "string": 9, "message": 11, "bytes": 12,
    "uint32": 13, "enumeration": 14, "double": 1,
}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def find(path):
    at = pb
    for part in path.split("."):
        at = getattr(at, part, None)
    return at


def declared(source):
    """(message, field, number, type, repeated) of each field of the sources."""
    source = re.sub(r"//[^\n]*", "", source)
    for name in re.findall(r"named!\(\s*(\w+)\s*\)", source):
        yield name, "iid", 1, "uint64", False
        yield name, "name", 2, "string", False
    oneofs = {}
    for module in re.finditer(r"pub mod (\w+) \{(.*?)\n\}", source, re.S):
        for enum in re.finditer(r"pub enum (\w+) \{(.*?)\n    \}", module[2], re.S):
            found = re.findall(r'#\[prost\((\w+)[^\]]*?tag = "(\d+)"\)\]\s*(\w+)', enum[2])
            oneofs[f"{module[1]}::{enum[1]}"] = [(snake(variant), int(tag), kind) for kind, tag, variant in found]
    for struct in re.finditer(r"\npub struct (\w+) \{(.*?)\n\}", source, re.S):
        for attribute, field in re.findall(r"#\[prost\((.*?)\)\]\s*pub (?:r#)?(\w+):", struct[2], re.S):
            alternatives = re.search(r'oneof = "([\w:]+)"', attribute)
            if alternatives:
                tags = sorted(int(tag) for tag in re.search(r'tags = "([\d, ]+)"', attribute)[1].split(","))
                variants = oneofs[alternatives[1]]
                if tags != sorted(number for _, number, _ in variants):
                    print(f"{struct[1]}.{field}: tags do not list the alternatives")
                    sys.exit(1)
                for variant, number, kind in variants:
                    yield struct[1], variant, number, kind, False
            else:
                number = int(re.search(r'tag = "(\d+)"', attribute)[1])
                yield struct[1], field, number, re.match(r"\w+", attribute)[0], "repeated" in attribute


def declared_enums(source):
    """(enum, name, number) of each value of the enums."""
    source = re.sub(r"//[^\n]*", "", source)
    for enum in re.finditer(r"prost::Enumeration\)\]\s*#\[repr\(i32\)\]\s*pub enum (\w+) \{(.*?)\n\}", source, re.S):
        for name, number in re.findall(r"(\w+) = (\d+),", enum[2]):
            yield enum[1], snake(name).upper(), int(number)


def main():
    folder = pathlib.Path(sys.argv[1])
    checked, absent, wrong = 0, [], []
    for path in sorted(folder.glob("*.rs")):
        for message, field, number, kind, repeated in declared(path.read_text(encoding="utf-8")):
            descriptor = getattr(find(RENAMED.get(message, message)), "DESCRIPTOR", None)
            theirs = descriptor and descriptor.fields_by_name.get(field)
            if theirs is None:
                absent.append(f"{message}.{field}")
                continue
            checked += 1
            # Where an enum is declared as a number, the wire form is the same.
            same_type = theirs.type == TYPES[kind] or (theirs.type == 14 and kind == "int32")
            is_repeated = theirs.is_repeated if hasattr(theirs, "is_repeated") else theirs.label == 3
            if theirs.number != number or not same_type or is_repeated != repeated:
                wrong.append(f"{message}.{field}: {kind} {number} here, type {theirs.type} number {theirs.number} there")
        for enum, name, number in declared_enums(path.read_text(encoding="utf-8")):
            scope, prefix = ENUMS[enum]
            theirs = getattr(find(scope) if scope else pb, prefix + name, None)
            checked += 1
            if theirs != number:
                wrong.append(f"{enum}.{name}: {number} here, {theirs} there")
    for line in wrong:
        print("differs:", line)
    for line in absent:
        print("not in the package:", line)
    print("fields and enum values compared:", checked)
    sys.exit(1 if wrong or checked == 0 else 0)


if __name__ == "__main__":
    main()
