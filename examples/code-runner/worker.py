#!/usr/bin/env python3
"""Takes jobs of code.v1.Runner/Run from Switchboard over HTTP, runs the Python code in them and sends its output back live.

Needs Python 3.9 or newer and nothing else. What it says to the server is all of the worker API:

    POST /jobs/take              wait for a job (long poll)
    POST /jobs/{id}/log          what the program printed, at most every 100 ms
    POST /jobs/{id}/extend       "still here"; the answer says whether somebody wants the job cancelled
    POST /jobs/{id}/complete     the result
    POST /jobs/{id}/fail         the worker itself could not do it

THIS IS NOT A SANDBOX. The code runs as the user who started the worker, in a process of its own with limits on time,
memory, files and output. That stops accidents (an endless loop, a runaway list, a flood of output), not malice: the code can
read what that user can read and can use the network. Give the worker to people you trust, or start it inside something
that is built to contain hostile code (a virtual machine, gVisor, a container without network and with its own user).
"""

import argparse
import codecs
import http.client
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import quote, urlsplit

METHOD = "code.v1.Runner/Run"
LOG_EVERY = 0.1  # seconds between two log events of a job
LOG_MAX = 48 * 1024  # bytes in one log event; the server takes at most 64 KiB
OUTPUT_MAX = 256 * 1024  # bytes of output kept of one job, both streams together
ASK_EVERY = 2.0  # seconds between two extends at most: how long a cancel can take to arrive
PAUSE_MAX = 15.0  # seconds between two tries when the server is away

# Runs in the new process before the program: sets the limits and becomes the program. Done here and not in a
# preexec_fn, because Python code between fork and exec can deadlock in a worker that has threads.
LAUNCHER = r"""
import os, resource, sys
parent, cpu, memory, files, processes = map(int, sys.argv[1:6])
def limit(name, soft, hard=None):
    which = getattr(resource, name, None)
    if which is None:
        return
    try:
        ceiling = resource.getrlimit(which)[1]
        values = [soft, soft if hard is None else hard]
        if ceiling != resource.RLIM_INFINITY:
            values = [min(v, ceiling) for v in values]
        resource.setrlimit(which, tuple(values))
    except (ValueError, OSError):
        pass  # this system does not know the limit (RLIMIT_AS on macOS); the others still hold
if sys.platform.startswith('linux'):
    try:
        import ctypes
        ctypes.CDLL(None, use_errno=True).prctl(1, 9)  # PR_SET_PDEATHSIG: a worker that is killed takes the program with it
    except (ImportError, OSError, AttributeError):
        pass
    if os.getppid() != parent:
        os._exit(1)
limit('RLIMIT_CPU', cpu, cpu + 1)
limit('RLIMIT_FSIZE', files)
limit('RLIMIT_CORE', 0)
limit('RLIMIT_NOFILE', 256)
if processes:
    limit('RLIMIT_NPROC', processes)
limit('RLIMIT_AS', memory)
os.execv(sys.executable, [sys.executable, '-I', '-u', '-X', 'utf8', 'main.py'])
"""


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def seconds(text):
    """A duration as Switchboard writes it: 250ms, 30s, 10m, 1h, or a bare number of seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)):
        if text.endswith(unit):
            value = float(text[: -len(unit)]) * factor
            break
    else:
        value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a useful duration")
    return value


def megabytes(text):
    value = int(text)
    if value < 16:
        raise argparse.ArgumentTypeError("at least 16")
    return value


def at_least_one(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


class Refused(Exception):
    """The server answered, and the answer is no."""

    def __init__(self, status, problem):
        self.status = status
        self.code = problem.get("code", "")
        parts = [f"{status} {problem.get('title', '')}".strip(), problem.get("detail"), problem.get("fix")]
        super().__init__(". ".join(str(p).rstrip(".") for p in parts if p))


class Server:
    """One kept-alive connection to the server. Belongs to one thread, except for `abandon`."""

    def __init__(self, args):
        url = urlsplit(args.url)
        make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self.connection = make(url.hostname, url.port, timeout=10)
        self.prefix = url.path.rstrip("/")
        self.token = args.token
        self.abandoned = False

    def post(self, path, body, headers=None, timeout=10.0):
        """One request. Raises OSError or HTTPException when the server is away, Refused when it says no."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        for fresh in (self.connection.sock is None, True):
            self.connection.timeout = timeout
            if self.connection.sock is not None:
                self.connection.sock.settimeout(timeout)
            try:
                self.connection.request("POST", self.prefix + path, body, headers)
                response = self.connection.getresponse()
                data = response.read()
                break
            except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest):
                # A kept connection may have been closed while it was idle: that says nothing yet, so try once on a new one.
                self.connection.close()
                if fresh or self.abandoned:
                    raise
            except (OSError, http.client.HTTPException):
                self.connection.close()
                raise
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if response.status >= 400:
            raise Refused(response.status, answer)
        return answer

    def abandon(self, how=socket.SHUT_RDWR):
        """Ends a request that waits, from another thread."""
        self.abandoned = True
        sock = self.connection.sock
        if sock is not None:
            try:
                sock.shutdown(how)
            except OSError:
                pass


class Pause:
    """Growing pauses with some chance in them, so that many workers do not come back in one moment."""

    def __init__(self):
        self.next = 0.25

    def take(self, stop):
        length = self.next * random.uniform(0.7, 1.3)
        self.next = min(self.next * 2, PAUSE_MAX)
        stop.wait(length)
        return length


AWAY = (OSError, http.client.HTTPException)


def is_away(error):
    """Whether a refusal means "later" and not "no"."""
    return isinstance(error, AWAY) or (isinstance(error, Refused) and (error.status in (429, 499) or error.status >= 500))


class Reporter(threading.Thread):
    """Talks to the server about one running job: sends its output in order and keeps the lease alive.

    The job's own thread never waits for the network: it puts text in here and looks at `cancel` and `lost`.
    """

    def __init__(self, args, job, label):
        super().__init__(name=f"report {job['id']}", daemon=True)
        self.server = Server(args)
        self.path = f"/jobs/{quote(job['id'], safe='')}"
        self.handle = {"Sb-Lease": job["lease"]}
        self.lease = args.lease
        self.label = label
        self.every = min(args.lease / 3, ASK_EVERY)
        self.wake = threading.Condition()
        self.waiting = []  # [stream, bytes] not sent yet; OUTPUT_MAX bounds it, because nothing past that is put in
        self.log_at = 0.0  # not before this time
        self.closing = False
        self.hurry = threading.Event()  # set when nobody should wait any longer for a server that is away
        self.cancel = False
        self.lost = False

    def put(self, stream, text):
        with self.wake:
            # Pieces of 8 Ki characters: at most 32 KiB of UTF-8, so that each fits a log event whatever it holds.
            for piece in (text[i : i + 8192].encode() for i in range(0, len(text), 8192)):
                if not self.waiting:
                    # An unbuffered print writes its text and its line end apart: give the second the time to arrive.
                    self.log_at = max(self.log_at, time.monotonic() + 0.01)
                if self.waiting and self.waiting[-1][0] == stream and len(self.waiting[-1][1]) + len(piece) <= LOG_MAX:
                    self.waiting[-1][1] += piece
                else:
                    self.waiting.append([stream, piece])
            self.wake.notify()

    def close(self):
        """Sends what is left and ends. Afterwards the connection belongs to the caller, for the last word."""
        with self.wake:
            self.closing = True
            self.wake.notify()
        self.join()

    def tell(self, path, body, headers=None):
        """Says one thing until the server has heard it. False when it does not want to hear it from us."""
        pause = Pause()
        while not self.lost:
            try:
                answer = self.server.post(self.path + path, body, {**self.handle, **(headers or {})})
                if answer.get("cancel_requested") is True:
                    self.cancel = True
                return True
            except (*AWAY, Refused) as error:
                if isinstance(error, Refused) and error.status in (404, 409):
                    # 409: the lease is over, the job is somebody else's or cancelled. 404: the server does not know it.
                    self.lost = True
                    return False
                if not is_away(error):
                    say(f"{self.label}: {path} refused: {error}")
                    return False
                if self.hurry.is_set():
                    return False
                say(f"{self.label}: server away ({error}), trying again")
                pause.take(self.hurry)
        return False

    def run(self):
        extend_at = time.monotonic() + self.every
        while not self.lost:
            with self.wake:
                while not self.closing:
                    now = time.monotonic()
                    due = min(extend_at, self.log_at if self.waiting else extend_at)
                    if now >= due:
                        break
                    self.wake.wait(due - now)
                ripe = self.closing or time.monotonic() >= self.log_at
                entry = self.waiting.pop(0) if self.waiting and ripe else None
                closing = self.closing
            if entry:
                stream, text = entry
                self.log_at = time.monotonic() + LOG_EVERY
                self.tell(f"/log?stream={stream}", text, {"Content-Type": "text/plain; charset=utf-8"})
            elif closing:
                return
            if time.monotonic() >= extend_at:
                self.tell("/extend", {"lease": f"{int(self.lease * 1000)}ms"})
                extend_at = time.monotonic() + self.every


class Output:
    """Bytes of both pipes to text, cut at OUTPUT_MAX."""

    def __init__(self, reporter):
        self.reporter = reporter
        self.left = OUTPUT_MAX
        self.truncated = False
        decoder = codecs.getincrementaldecoder("utf-8")
        self.decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}

    def add(self, stream, data, last=False):
        if len(data) > self.left:
            data = data[: self.left]
            if not self.truncated:
                self.truncated = True
                self.pass_on(stream, data, True)
                self.left = 0
                self.reporter.put("stderr", f"\n[worker] output cut after {OUTPUT_MAX // 1024} KiB; the program goes on unheard\n")
            return
        self.left -= len(data)
        self.pass_on(stream, data, last)

    def pass_on(self, stream, data, last):
        text = self.decoders[stream].decode(data, last)
        if text:
            self.reporter.put(stream, text)


def processes_allowed(extra):
    """A number for RLIMIT_NPROC, or 0 for no limit.

    The limit counts every process and thread of the user, so it has to lie above what already runs. Root is exempt
    from it, and without /proc there is nothing to count by: then it is left alone.
    """
    if os.geteuid() == 0 or not os.path.isdir("/proc/self/task"):
        return 0
    uid, count = os.geteuid(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                pass  # ended while we looked
    return count + extra


def kill_group(process):
    """Ends the program and what it started, unless that moved to a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def ended(process):
    """Whether the program has ended. Leaves it unreaped where the system allows, so that its group's number stays taken."""
    if hasattr(os, "waitid"):
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, flags) is not None
    return process.poll() is not None


def run_program(args, folder, reporter, output, wall, stopping):
    """Runs main.py in `folder`. Returns (exit code or None, signal name or None, why we ended it or None)."""
    limits = [os.getpid(), args.cpu, args.memory << 20, args.file_size << 20, processes_allowed(args.processes)]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, limits)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    over_at = time.monotonic() + wall
    why = None
    close_at = None
    try:
        with selectors.DefaultSelector() as pipes:
            for pipe, stream in ((process.stdout, "stdout"), (process.stderr, "stderr")):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, stream)
            while pipes.get_map():
                for key, _ in pipes.select(0.05):
                    try:
                        data = os.read(key.fd, 65536)
                    except BlockingIOError:
                        continue
                    output.add(key.data, data, last=not data)
                    if not data:
                        pipes.unregister(key.fileobj)
                now = time.monotonic()
                if close_at is not None:
                    if now >= close_at:
                        break  # something that left the group still holds the pipes
                    continue
                if reporter.lost:
                    why = "lost"
                elif reporter.cancel:
                    why = "cancel"
                elif stopping.is_set():
                    why = "stop"
                elif now >= over_at:
                    why = "wall"
                if why or ended(process):
                    # The group goes with the program: otherwise what it left behind would hold the pipes open.
                    kill_group(process)
                    close_at = now + 1.0
        while not ended(process):
            # Both pipes closed early; the limits still hold for what runs on.
            if why is None:
                why = (
                    "lost" if reporter.lost
                    else "cancel" if reporter.cancel
                    else "stop" if stopping.is_set()
                    else "wall" if time.monotonic() >= over_at
                    else None
                )  # fmt: skip
                if why:
                    kill_group(process)
            time.sleep(0.05)
    finally:
        kill_group(process)
        code = process.wait()
        process.stdout.close()
        process.stderr.close()
    if code >= 0:
        return code, None, why
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"SIG{-code}"
    return None, name, why


def until(deadline):
    """Seconds until an RFC 3339 time of the server, or None. Only as right as the two clocks."""
    try:
        import calendar

        return calendar.timegm(time.strptime(deadline[:19], "%Y-%m-%dT%H:%M:%S")) - time.time()
    except (TypeError, ValueError):
        return None


class Worker:
    def __init__(self, args):
        self.args = args
        self.stop = threading.Event()  # take nothing new
        self.give_back = threading.Event()  # and end what runs
        self.lock = threading.Lock()
        self.waiting = set()  # connections with a take under way
        self.reporters = set()

    def slot(self, number):
        """One job after another. There are --concurrency of these."""
        server = Server(self.args)
        pause = Pause()
        away = False
        while not self.stop.is_set():
            request = {
                "methods": [METHOD],
                "max": 1,
                "wait": f"{int(self.args.wait)}s",
                "lease": f"{int(self.args.lease * 1000)}ms",
                "worker": self.args.name,
            }
            with self.lock:
                self.waiting.add(server)
            try:
                jobs = server.post("/jobs/take", request, timeout=self.args.wait + 15).get("jobs") or []
            except (*AWAY, Refused) as error:
                if self.stop.is_set():
                    return
                if not is_away(error):
                    say(f"refused: {error}")
                elif not away:
                    say(f"server away: {error}")
                away = True
                pause.take(self.stop)
                continue
            finally:
                with self.lock:
                    self.waiting.discard(server)
            if away:
                say("server is back")
            away, pause = False, Pause()
            for job in jobs:
                if all(isinstance(job.get(member), str) for member in ("id", "lease")):
                    self.work(job)
                else:
                    say(f"not a job: {job}")

    def work(self, job):
        label = f"job {job['id'][-8:]}"
        reporter = Reporter(self.args, job, label)
        with self.lock:
            self.reporters.add(reporter)
        reporter.start()
        try:
            path, body, headers, outcome = self.run(job, reporter, label)
        except Exception as error:  # ours, not the program's: another worker, or another try, may do better
            path, body = "/fail", {"code": "WORKER", "message": f"{type(error).__name__}: {error}", "retryable": True}
            headers, outcome = None, f"could not run it: {error}"
        reporter.close()
        if reporter.lost:
            say(f"{label}: dropped, the lease is over")
        elif reporter.tell(path, body, headers):
            say(f"{label}: {outcome}")
        elif not reporter.lost:
            say(f"{label}: {outcome}, but the server did not hear of it; the job runs again when its lease is over")
        with self.lock:
            self.reporters.discard(reporter)
        reporter.server.connection.close()

    def run(self, job, reporter, label):
        """Runs the code of one job; returns what to tell the server: path, body, headers, and a word for ourselves."""
        say(f"{label}: attempt {job.get('attempt', 1)}")
        source = job.get("body", "")
        try:
            if job.get("encoding") == "base64":
                raise UnicodeError("the body is not UTF-8")  # text is never sent as base64
            source = source.encode()
        except (UnicodeError, AttributeError):
            problem = {"code": "INPUT", "message": "The code is not UTF-8 text.", "retryable": False}
            return "/fail", problem, None, "not text"
        wall = self.args.wall
        left = until(job.get("deadline"))
        if left is not None:
            wall = max(min(wall, left - 1), 0.5)
        folder = tempfile.mkdtemp(prefix="code-runner-")
        try:
            with open(os.path.join(folder, "main.py"), "wb") as file:
                file.write(source)
            output = Output(reporter)
            started = time.monotonic()
            code, signal_name, why = run_program(self.args, folder, reporter, output, wall, self.give_back)
            duration = int((time.monotonic() - started) * 1000)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if why == "stop":
            problem = {"code": "WORKER", "message": "The worker is going away.", "retryable": True}
            return "/fail", problem, None, "given back"
        if why == "cancel":
            problem = {"code": "CANCELLED", "message": "Cancelled on request.", "retryable": False}
            return "/fail", problem, None, "cancelled"
        if why == "wall":
            reporter.put("stderr", f"\n[worker] ended: still running after {wall:g} s\n")
        elif signal_name == "SIGXCPU":
            reporter.put("stderr", f"\n[worker] ended: more than {self.args.cpu} s of processor time\n")
        result = {"exit_code": code, "duration_ms": duration, "truncated": output.truncated, "signal": signal_name}
        headers = {"Content-Type": "application/json"}
        how = f"exit {code}" if signal_name is None else signal_name
        return "/complete", result, headers, f"{how} after {duration} ms"

    def end(self, *_):
        """SIGTERM or SIGINT. The first lets running jobs finish for --grace seconds; a second gives them back at once."""
        if self.stop.is_set():
            self.give_back.set()
        self.stop.set()


def main():
    options = argparse.ArgumentParser(description="Runs Python code for Switchboard. Not a sandbox for hostile code.")
    add = options.add_argument
    add("--url", default=os.environ.get("SWITCHBOARD_URL", "http://localhost:7070"), help="the server (%(default)s)")
    add("--name", default=f"{socket.gethostname()}-{os.getpid()}", help="how this worker is called (%(default)s)")
    add("--concurrency", type=at_least_one, default=2, help="jobs at the same time (%(default)s)")
    add("--token", default=os.environ.get("SWITCHBOARD_TOKEN"), help="API key or token, if the server wants one")
    add("--lease", type=seconds, default=15.0, metavar="TIME", help="how long the server waits for a sign of life (15s)")
    add("--wait", type=seconds, default=20.0, metavar="TIME", help="how long one request for a job waits (20s)")
    add("--grace", type=seconds, default=10.0, metavar="TIME", help="how long running jobs may go on after SIGTERM (10s)")
    add("--wall", type=seconds, default=60.0, metavar="TIME", help="longest run of one program (60s)")
    add("--cpu", type=at_least_one, default=20, metavar="SECONDS", help="processor time of one process (%(default)s)")
    add("--memory", type=megabytes, default=512, metavar="MIB", help="address space of one process (%(default)s)")
    add("--file-size", type=at_least_one, default=16, metavar="MIB", help="largest file it may write (%(default)s)")
    add("--processes", type=at_least_one, default=32, metavar="N", help="more processes and threads of this user (%(default)s)")
    args = options.parse_args()
    url = urlsplit(args.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        options.error(f"--url {args.url}: expected http://HOST:PORT")
    args.wait = max(args.wait, 1.0)
    args.lease = max(args.lease, 1.0)

    worker = Worker(args)
    signal.signal(signal.SIGTERM, worker.end)
    signal.signal(signal.SIGINT, worker.end)
    say(f"{args.name}: taking jobs from {args.url}, {args.concurrency} at a time")
    slots = [threading.Thread(target=worker.slot, args=(n,), name=f"slot {n}") for n in range(args.concurrency)]
    for slot in slots:
        slot.start()
    worker.stop.wait()

    say("stopping")
    with worker.lock:
        idle = list(worker.waiting)
    # Half a close first: if a job is already on its way to us, it still arrives and can be given back.
    for server in idle:
        server.abandon(socket.SHUT_WR)
    # Closed well before what runs is given back, or the server might give it to one of these.
    half_closed_until = time.monotonic() + min(1.0, args.grace / 2)
    grace_until = time.monotonic() + args.grace
    while any(slot.is_alive() for slot in slots):
        time.sleep(0.05)
        now = time.monotonic()
        if now >= half_closed_until:
            half_closed_until = float("inf")
            with worker.lock:
                idle = list(worker.waiting)
            for server in idle:
                server.abandon()
        if now >= grace_until:
            worker.give_back.set()
        if worker.give_back.is_set():
            with worker.lock:
                for reporter in worker.reporters:
                    reporter.hurry.set()
    say("stopped")


if __name__ == "__main__":
    main()
