"""Servers for the tests. A module with a CONFIG (text, or a function of the folder) gets one of its own;
all others share one with the default config. The binary is SWITCHBOARD_BIN or target/release/switchboard."""

import os

import pytest

import sb


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not os.access(sb.BINARY, os.X_OK):
        pytest.exit(f"no binary at {sb.BINARY}: build it with `cargo build --release` or set SWITCHBOARD_BIN", 2)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    server = sb.Server(tmp_path_factory.mktemp("shared")).start()
    yield server
    assert server.stop() == 0, server.tail()


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    wanted = getattr(request.module, "CONFIG", None)
    if wanted is None:
        yield request.getfixturevalue("shared_server")
        return
    folder = tmp_path_factory.mktemp(request.module.__name__)
    text = wanted(folder) if callable(wanted) else wanted
    options = getattr(request.module, "SERVER", {})
    options = options(folder) if callable(options) else options
    own = sb.Server(folder, text, **options).start()
    yield own
    assert own.stop() == 0, own.tail()


@pytest.fixture(scope="module")
def api(server):
    with server.api() as client:
        yield client


@pytest.fixture
def topic():
    return sb.unique("topic")


@pytest.fixture
def method(api):
    """A declared method with a name of its own."""
    name = f"{sb.unique('t')}.v1.Runner/Run"
    api.put_method(name, timeout="60s", attempts=3, backoff="0s")
    return name


@pytest.fixture
def own_server(tmp_path):
    """Starts servers that a test may stop, kill or fill on its own."""
    started = []

    def start(text=None, folder=None, **options):
        folder = folder or tmp_path / f"server{len(started)}"
        folder.mkdir(exist_ok=True)
        one = sb.Server(folder, text, **options).start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
