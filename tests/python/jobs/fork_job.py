"""A job of several processes: multiprocessing's three ways to start one, and a bare fork in the middle of a range.

Prints one line per child and exits with 7, so that a lost exit code shows.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import threading


def work(number):
    gc.collect()
    thread = threading.Thread(target=sum, args=(range(1000),), name="child thread")
    thread.start()
    thread.join()
    return number * number


def bare_fork():
    child = os.fork()
    if child == 0:
        gc.collect()
        print("forked", work(3), flush=True)
        sys.exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if hasattr(os, "waitstatus_to_exitcode") else 5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", default="fork", choices=("fork", "spawn", "forkserver", "bare"))
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.how == "bare":
        try:
            import gapless

            inside = gapless.range("around the fork")
        except ImportError:
            import contextlib

            inside = contextlib.suppress()
        with inside:
            print("child exits with", bare_fork(), flush=True)
    else:
        with multiprocessing.get_context(args.how).Pool(args.processes) as pool:
            print(args.how, pool.map(work, range(args.processes * 2)), flush=True)
    sys.exit(7)


if __name__ == "__main__":
    main()
