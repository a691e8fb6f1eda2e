"""Says what pyarrow finds in a table of operators, as JSON. Times are in whole ns, to the nearest, halves up, by exact
fractions; sums are texts, so that no reader of JSON rounds them.

operator_table.py TABLE
operator_table.py --rewrite CODEC VERSION TABLE OUT: the same table, written in another way
"""

import json
import math
import sys
from fractions import Fraction

import pyarrow.parquet as pq


def ns(seconds):
    return math.floor(Fraction(seconds) * 10**9 + Fraction(1, 2))


def rewrite(codec, version, source, target):
    table = pq.read_table(source)
    pq.write_table(
        table,
        target,
        compression=codec,
        data_page_version=version,
        row_group_size=1000,
        data_page_size=2000,
        use_dictionary=codec != "none",
    )
    print(json.dumps({"rows": table.num_rows}))


def describe(path):
    file = pq.ParquetFile(path)
    table = file.read()
    columns = {name: table[name].to_pylist() for name in table.column_names}
    groups = {}
    steps = {}
    place = {}
    for rank, step, optype, start, duration in zip(
        *(columns[name] for name in ("rank", "step", "optype", "start_ts", "duration"))
    ):
        group = groups.setdefault(f"{rank}\t{optype}", [0, 0])
        group[0] += 1
        group[1] += ns(duration)
        first, last = steps.get(step, (0, 0))
        steps[step] = (min(first, ns(start)), max(last, ns(start) + ns(duration)))
    # Each step begins where the one before ends.
    starts, at = {}, 0
    for step in sorted(steps):
        first, last = steps[step]
        starts[step] = at - first
        at += last - first
    events = {}
    for row, (rank, step, start) in enumerate(zip(columns["rank"], columns["step"], columns["start_ts"])):
        events.setdefault(rank, 0)
        events[rank] += starts[step] + ns(start)
    others = [name for name in table.column_names if name not in ("rank", "optype", "start_ts", "duration")]
    args = {}
    for row, rank in enumerate(columns["rank"]):
        sums = args.setdefault(rank, dict.fromkeys(others, 0))
        for name in others:
            sums[name] += columns[name][row] or 0
    return {
        "rows": file.metadata.num_rows,
        "groups": {key: [count, str(total)] for key, (count, total) in groups.items()},
        "starts": {str(rank): str(total) for rank, total in events.items()},
        "steps": len(steps),
        "end_ns": str(at),
        "args": {str(rank): {name: str(total) for name, total in sums.items()} for rank, sums in args.items()},
    }


if sys.argv[1] == "--rewrite":
    rewrite(*sys.argv[2:6])
else:
    print(json.dumps(describe(sys.argv[1])))
