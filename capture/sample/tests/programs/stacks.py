"""Known stacks: two threads, a forked and a spawned child. Argument: seconds."""
import multiprocessing
import os
import sys
import threading
import time


def spin(seconds):
    end = time.monotonic() + seconds
    total = 0
    while time.monotonic() < end:
        for number in range(2000):
            total += number
    return total


def inner_main(seconds):
    return spin(seconds)


def outer_main(seconds):
    return inner_main(seconds)


def outer_thread(seconds, tid):
    tid.append(threading.get_native_id())
    return spin(seconds)


def waiting_thread(event):
    event.wait()


def outer_child(seconds):
    return spin(seconds)


if __name__ == "__main__":
    seconds = float(sys.argv[1])
    tids, waiting, event = [], [], threading.Event()
    children = []
    for method in ("fork", "spawn"):
        child = multiprocessing.get_context(method).Process(target=outer_child, args=(seconds,))
        child.start()
        children.append(child)
    thread = threading.Thread(target=outer_thread, args=(seconds, tids))
    waiter = threading.Thread(target=waiting_thread, args=(event,))
    thread.start()
    waiter.start()
    outer_main(seconds)
    thread.join()
    for child in children:
        child.join()
    event.set()
    waiter.join()
    print(os.getpid(), tids[0], waiter.native_id, children[0].pid, children[1].pid)
