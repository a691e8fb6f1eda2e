"""A job with NVTX ranges from the pip package `nvtx`: nested, decorated, across threads, with domains and payloads."""

import argparse
import threading

import nvtx


@nvtx.annotate("decorated", color="green")
def decorated():
    return 1


def work(count):
    domain = nvtx.get_domain("job")
    attributes = domain.get_event_attributes(message="in a domain", color="blue", category="loop", payload=7)
    for number in range(count):
        with nvtx.annotate("outer", color="red", domain="job", payload=number):
            nvtx.push_range("inner")
            decorated()
            nvtx.pop_range()
        domain.push_range(attributes)
        domain.pop_range()
        # A range that is not nested: it ends after the next one has begun.
        first = nvtx.start_range("first")
        second = nvtx.start_range("second")
        nvtx.end_range(first)
        nvtx.end_range(second)
        nvtx.mark("mark", color="yellow")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    threads = [threading.Thread(target=work, args=(args.count,), name="nvtx %d" % number) for number in range(args.threads)]
    for thread in threads:
        thread.start()
    work(args.count)
    for thread in threads:
        thread.join()
    print("%d rounds" % (args.count * (args.threads + 1)), flush=True)


if __name__ == "__main__":
    main()
