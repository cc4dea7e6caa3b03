#!/usr/bin/env python3
"""Bad input on every RPC protocol: from callers, and from the services behind. Every refusal is the protocol's own, with a sentence; the server goes on
serving, and nothing is left over: memory, descriptors, calls that run, streams at upstreams.

    python run.py [GROUP ...]

Needs a Python that has hpack (`interop/http/python/requirements.txt`) and a binary (SWITCHBOARD_BIN)."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import behind  # noqa: E402
import frames  # noqa: E402
import injection  # noqa: E402
import texts  # noqa: E402
import thrift_wire  # noqa: E402
import transport  # noqa: E402
from site_under_test import Site, need_binary, until  # noqa: E402

GROUPS = {"transport": transport, "frames": frames, "texts": texts, "thrift": thrift_wire, "injection": injection, "behind": behind}
# What may stay: memory in KiB, descriptors, and the connections to upstreams that are kept for the next call.
KEPT_KIB = 64 * 1024
KEPT_DESCRIPTORS = 8


def run(site, name, module):
    """A group of cases, and what it leaves."""
    checks = site.checks
    began, before = time.monotonic(), (site.rss(), site.descriptors())
    passed = checks.passed
    module.cases(site)
    checks.group = f"after {name}"
    checks.ok("it goes on serving", site.alive())
    for up in site.ups.values():
        up.drop()
    checks.ok("no call runs on", until(lambda: not site.running(), 15), site.running())
    checks.ok("descriptors are as before", until(lambda: site.descriptors() <= before[1] + KEPT_DESCRIPTORS, 15), (before[1], site.descriptors(), site.connected()))
    checks.ok("connections are as before", until(lambda: site.metrics()["switchboard_connections"] <= 1, 15), site.metrics())
    checks.ok("memory is as before", until(lambda: site.rss() <= before[0] + KEPT_KIB, 15), (before[0], site.rss()))
    metrics, said = site.metrics(), site.server.said()
    checks.ok("nothing panicked", metrics["switchboard_panics_total"] == 0 and "panicked" not in said, said[-2000:])
    checks.ok("no reader is left", metrics["switchboard_readers"] == 0, metrics["switchboard_readers"])
    print(f"{name}: {checks.passed - passed} in {time.monotonic() - began:.1f} s; {site.rss() // 1024} MiB, {site.descriptors()} descriptors", flush=True)


def main():
    need_binary()
    wanted = sys.argv[1:] or list(GROUPS)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(folder)
        try:
            site.alive()
            for name in wanted:
                run(site, name, GROUPS[name])
            site.server.stop()
            site.checks.group = "stop"
            site.checks.ok("it stops by itself", site.server.process.returncode == 0, site.server.process.returncode)
        finally:
            site.stop()
    print(f"{site.checks.passed} held, {site.checks.failed} did not")
    return 1 if site.checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
