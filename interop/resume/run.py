"""Subscriptions and jobs that survive what befalls them: connections that are cut and a server that is killed.

    python run.py [--seconds 8] [--cycles 10]

By a Python that has requirements.txt. SEED repeats the choices of a run, as far as threads let them be repeated.
"""

import argparse
import logging
import random
import sys
import time

import common


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8, help="how long is published while connections are cut")
    parser.add_argument("--cycles", type=int, default=10, help="how often the server is killed while jobs run")
    options = parser.parse_args()
    common.harness.need_binary()
    # aiohttp speaks of every connection that was cut before it was open.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    random.seed(common.SEED)
    print(f"SEED={common.SEED}")
    common.generate(common.scratch())
    import jobs
    import subscribe

    began = time.monotonic()
    good = subscribe.run(options.seconds)
    print(f"     {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    good &= jobs.run(options.cycles)
    print(f"     {time.monotonic() - began:.1f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
