"""Reads a Parquet export of Gapless with pyarrow and with DuckDB, and prints what each finds as JSON.

parquet_readback.py FOLDER
"""

import json
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

folder = sys.argv[1]
connection = duckdb.connect()
connection.execute("SET threads = 2")


def sql(query):
    return connection.execute(query).fetchall()


def numbers(field):
    return pa.types.is_integer(field.type)


def of_pyarrow():
    table = ds.dataset(os.path.join(folder, "events"), format="parquet", partitioning="hive").to_table()
    columns = {name: table[name].to_pylist() for name in table.column_names}
    groups = {}
    for rank, kind, name, dur in zip(columns["rank"], columns["kind"], columns["name"], columns["dur_ns"]):
        group = groups.setdefault(f"{rank}\t{kind}\t{name}", [0, 0])
        group[0] += 1
        group[1] += dur
    sums = {}
    for field in table.schema:
        values = [value for value in columns[field.name] if value is not None]
        # As text: a sum of times does not fit the numbers of JSON readers.
        sums[field.name] = [len(values), str(sum(values)) if numbers(field) else None]
    types = {field.name: str(field.type) for field in table.schema}
    return {"rows": table.num_rows, "groups": groups, "sums": sums, "types": types}


def of_duckdb(types):
    source = f"read_parquet('{folder}/events/*/*.parquet', hive_partitioning = true)"
    rows = sql(f"SELECT rank, kind, name, count(*), sum(dur_ns)::HUGEINT FROM {source} GROUP BY ALL")
    groups = {f"{rank}\t{kind}\t{name}": [count, int(total)] for rank, kind, name, count, total in rows}
    sums = {}
    for name, type in types.items():
        total = f'sum("{name}"::HUGEINT)' if "int" in type else "NULL"
        count, total = sql(f'SELECT count("{name}"), {total} FROM {source}')[0]
        sums[name] = [count, str(total or 0) if "int" in type else None]
    count = sql(f"SELECT count(*) FROM {source}")[0][0]
    return {"rows": count, "groups": groups, "sums": sums}


def tables():
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".parquet"):
            path = os.path.join(folder, name)
            mine, other = pq.read_table(path).num_rows, sql(f"SELECT count(*) FROM '{path}'")[0][0]
            # Every column is decoded by both.
            sql(f"SELECT * FROM '{path}'")
            found[name] = [mine, other]
    return found


first = of_pyarrow()
print(json.dumps({"pyarrow": first, "duckdb": of_duckdb(first["types"]), "tables": tables()}))
