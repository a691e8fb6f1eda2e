"""A job of steps, half Python and half C, with a thread that feeds it. Arguments: library, seconds.

Prints begin, wall time and processor time of each step, in nanoseconds, at its end.
"""
import ctypes
import queue
import sys
import threading
import time

library = ctypes.CDLL(sys.argv[1])
items = queue.Queue(maxsize=2)
stop = False


def feed():
    while not stop:
        try:
            items.put(list(range(200)), timeout=0.1)
        except queue.Full:
            pass


def forward(values):
    total = 0
    for _ in range(60):
        for value in values:
            total += value * 3
    return total


def backward():
    for _ in range(4):
        library.work(400_000)


def step():
    values = items.get()
    forward(values)
    backward()


threading.Thread(target=feed, daemon=True).start()
end = time.monotonic() + float(sys.argv[2])
steps = []
while time.monotonic() < end:
    begin, cpu = time.monotonic_ns(), time.process_time_ns()
    step()
    steps.append((begin, time.monotonic_ns() - begin, time.process_time_ns() - cpu))
stop = True
print("\n".join(" ".join(map(str, step)) for step in steps))
