"""The store against a real HTTP server that truncates, corrupts, redirects, stalls and serves ranges."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from patience import PATIENCE_S

from facesieve.engines.zoo import fetch
from facesieve.engines.zoo.manifest import Model, Network, Shipped, Source, Url, WheelMember, read
from facesieve.engines.zoo.store import Store, cache_folder
from facesieve.stream.errors import ConfigError, LicenceRefused, WeightsCorrupt, WeightsUnavailable

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; what goes wrong is in the path. asked: (path, Range header) of each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.released = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        count = sum(path == self.path for path, _ in self.server.asked)
        path = self.path.lstrip("/")
        if not (self.refused(path, count) or self.damaged(path)):
            self.cut_short(path, count, wanted)

    def refused(self, path: str, count: int) -> bool:
        match path:
            case "missing":
                self.send_error(404)
            case "busy" if count < 3:
                self.send_error(503)
            case "redirect" | "loop" | "no_address" | "to_a_file":
                where = {"redirect": "/good", "no_address": "http://[bad", "to_a_file": "file:///etc/passwd"}
                self.send_response(302)
                self.send_header("Location", where.get(path, "/loop"))
                self.end_headers()
            case "no_http":
                self.wfile.write(b"\x00\x1b[31m not\nHTTP\r\n\r\n")
            case _:
                return False
        return True

    def damaged(self, path: str) -> bool:
        match path:
            case "corrupt":
                self.body(b"x" + CONTENT[1:])
            case "longer":
                self.body(CONTENT + b"more")
            case "shorter":
                self.body(CONTENT[:-1])
            case _:
                return False
        return True

    def cut_short(self, path: str, count: int, wanted: str | None) -> None:
        match path, count:
            case ("truncates", 1 | 2 | 3) | ("wrong_range", 1):
                self.body(CONTENT, wanted, cut=200_000)
            case "truncates_without_ranges", 1 | 2:
                self.body(CONTENT, cut=200_000)
            case "always_truncates", _:
                self.body(CONTENT, wanted, cut=1000)
            case "wrong_range", 2:
                self.body(CONTENT, "bytes=5-")
            case ("stalls", _) | ("stalls_once", 1):
                self.body(CONTENT[:1000], length=len(CONTENT))
                self.server.released.wait(PATIENCE_S)
            case "slow", _:
                time.sleep(0.2)
                self.body(CONTENT)
            case "truncates_without_ranges", _:
                self.body(CONTENT)
            case _:
                self.body(CONTENT, wanted)

    def body(self, content: bytes, wanted: str | None = None, *, cut: int = 0, length: int = 0) -> None:
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        self.send_header("Content-Length", str(length or len(rest)))
        self.end_headers()
        self.wfile.write(rest[:cut] if cut else rest)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the test and its server, no switch left on, no pause between attempts."""
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("FACESIEVE_OFFLINE", raising=False)


def model(*sources: Source, commercial: bool = True, size: int | None = len(CONTENT)) -> Model:
    return Model("m", "quality", "m.onnx", SHA256, size, "MIT", commercial, "nobody", "none", sources)


def store(
    folder: Path, *sources: Source, size: int | None = len(CONTENT), timeout_s: float = PATIENCE_S
) -> Store:
    return Store(folder, models={"m": model(*sources, size=size)}, timeout_s=timeout_s)


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize(
    "path",
    ["good", "redirect", "busy", "truncates", "truncates_without_ranges", "wrong_range", "stalls_once"],
)
def test_arrives_whole(server: Server, tmp_path: Path, path: str, size: int | None) -> None:
    calls: list[tuple[int, int | None]] = []
    timeout_s = 1.0 if path == "stalls_once" else PATIENCE_S
    here = store(tmp_path, Url(server.url(path)), size=size, timeout_s=timeout_s)
    got = here.path("m", progress=lambda *at: calls.append(at))
    assert got.read_bytes() == CONTENT
    assert got.name == f"m-{SHA256[:8]}.onnx"
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [p for p in tmp_path.iterdir() if p.suffix == ".part"] == []


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    store(tmp_path, Url(server.url("truncates"))).path("m")
    assert [wanted for _, wanted in server.asked] == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_a_later_process_goes_on_where_the_last_one_stopped(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="ended after 5000 bytes"):
        store(tmp_path, Url(server.url("always_truncates"))).path("m")
    assert not list(tmp_path.glob("m-*"))
    assert store(tmp_path, Url(server.url("good"))).path("m").read_bytes() == CONTENT
    assert server.asked[-1] == ("/good", "bytes=5000-")


def test_a_damaged_half_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".m-{SHA256[:8]}.onnx.part").write_bytes(b"z" * 1000)
    assert store(tmp_path, Url(server.url("good"))).path("m").read_bytes() == CONTENT
    (tmp_path / f"m-{SHA256[:8]}.onnx").unlink()
    (tmp_path / f".m-{SHA256[:8]}.onnx.part").write_bytes(b"z" * (len(CONTENT) + 10))
    assert store(tmp_path, Url(server.url("good"))).path("m").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["corrupt", "longer", "shorter"])
def test_wrong_bytes_never_become_visible(server: Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(WeightsCorrupt, match=r"expected .* got .*goes to .*m-[0-9a-f]{8}\.onnx"):
        store(tmp_path, Url(server.url(path))).path("m")
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing", "HTTP 404"),
        ("stalls", "timed out"),
        ("loop", "HTTP 302"),
        ("no_address", r"it redirects to no address \(Invalid IPv6 URL\)"),
        ("to_a_file", "'file:///etc/passwd' is not allowed"),
        ("no_http", r"no_http: \[31m not\. It comes"),
    ],
)
def test_a_server_that_does_not_deliver(server: Server, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(WeightsUnavailable, match=said):
        store(tmp_path, Url(server.url(path)), timeout_s=0.2 if path == "stalls" else PATIENCE_S).path("m")


def test_a_server_that_is_not_there_and_a_scheme_that_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    for url, said in (("http://127.0.0.1:9/x", "refused"), ((tmp_path / "file").as_uri(), "http or https")):
        with pytest.raises(WeightsUnavailable, match=said):
            store(tmp_path, Url(url)).path("m")


def test_the_next_source_is_tried(server: Server, tmp_path: Path) -> None:
    sources = [Url(server.url(path)) for path in ("missing", "corrupt", "good")]
    assert store(tmp_path, *sources).path("m").read_bytes() == CONTENT
    with pytest.raises(WeightsUnavailable, match=r"HTTP 404.*expected SHA-256"):
        store(tmp_path / "other", *sources[:2]).path("m")


def test_what_is_here_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    here = store(tmp_path, Url(server.url("good")))
    here.path("m")
    here.path("m", offline=True)
    assert len(server.asked) == 1


def test_damaged_on_disk(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = store(tmp_path, Url(server.url("good")))
    path = here.path("m")
    path.write_bytes(b"x" + CONTENT[1:])
    assert [entry.state for entry in here.list()] == ["good"]  # by its size
    assert [entry.state for entry in here.verify()] == ["corrupt"]
    with pytest.raises(WeightsCorrupt, match="delete it"):
        here.path("m", offline=True)
    assert here.path("m").read_bytes() == CONTENT
    assert "fetching it again" in caplog.text


def test_a_file_that_cannot_be_read_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store(tmp_path, Url(server.url("good")))
    path = here.path("m")

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # who runs as root is refused nothing
    wary = Store(tmp_path, models=here.models, commercial_use=True)
    for use in (here.verify, lambda: here.path("m"), lambda: wary.allow(path)):
        with pytest.raises(WeightsUnavailable, match=r"m-\w{8}\.onnx: cannot be read \(Permission denied"):
            use()


def test_offline(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = store(tmp_path, Url(server.url("good")))
    with pytest.raises(WeightsUnavailable, match=r"offline.*comes from http.*goes to"):
        here.path("m", offline=True)
    monkeypatch.setenv("FACESIEVE_OFFLINE", "1")
    with pytest.raises(WeightsUnavailable, match="offline"):
        here.path("m")
    assert server.asked == []


def test_licence_is_asked_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    models = {"m": model(Url(server.url("good")), commercial=False)}
    with pytest.raises(LicenceRefused, match=r"m: its licence \(MIT\) does not allow commercial use"):
        Store(tmp_path, models=models, commercial_use=True).path("m")
    assert server.asked == []
    assert Store(tmp_path, models=models).path("m").read_bytes() == CONTENT


def test_unknown_names_and_folders_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'centerface'"):
        Store(tmp_path).path("centreface")
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsUnavailable, match="set FACESIEVE_CACHE"):
        store(tmp_path / "file" / "cache", Url(server.url("good"))).path("m")


def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WeightsUnavailable, match=r"cannot be stored in .*set FACESIEVE_CACHE"):
            store(tmp_path, Url(server.url("good"))).path("m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("m-*"))
    assert store(tmp_path, Url(server.url("good"))).path("m").read_bytes() == CONTENT


def test_two_processes_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from facesieve.engines.zoo.manifest import Model, Url\n"
        "from facesieve.engines.zoo.store import Store\n"
        "source = Url(sys.argv[1])\n"
        f"m = Model('m', 'quality', 'm.onnx', {SHA256!r}, {len(CONTENT)}, 'MIT', True, '', '', (source,))\n"
        "print(Store(Path(sys.argv[2]), models={'m': m}).path('m'))\n"
    )
    command = [sys.executable, "-c", program, server.url("slow"), str(tmp_path)]
    root = Path(__file__).parents[3]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)]
    said = {process.communicate(timeout=4 * PATIENCE_S)[0].strip() for process in running}
    assert said == {str(tmp_path / f"m-{SHA256[:8]}.onnx")}
    assert len(server.asked) == 1


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Makes a wheel with a model in it, where pip's own configuration finds it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def make(content: bytes) -> None:
        with zipfile.ZipFile(folder / "some_model-1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some_model/m.onnx", content)
            info = "some_model-1.2.dist-info"
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.2\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    return make


def test_a_wheel_comes_through_pips_configuration(index: Callable[[bytes], None], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    source = WheelMember("some-model", "1.2", "some_model/m.onnx")
    with pytest.raises(WeightsUnavailable, match=r"some-model==1\.2 .*No matching .* \(pip reached no index"):
        store(folder, source).path("m")
    index(CONTENT)
    assert store(folder, source).path("m").read_bytes() == CONTENT
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") == [f"m-{SHA256[:8]}.onnx"]


def test_an_environment_without_pip_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some tools make them."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(fetch.sys, "executable", str(bare / "bin/python"))
    with pytest.raises(WeightsUnavailable, match=r"pip, which fetches it, .*bare/bin/python -m ensurepip"):
        store(tmp_path / "cache", WheelMember("some-model", "1.2", "some_model/m.onnx")).path("m")


def test_a_wheel_with_something_else_in_it(index: Callable[[bytes], None], tmp_path: Path) -> None:
    index(CONTENT[::-1])
    with pytest.raises(WeightsCorrupt, match="expected SHA-256"):
        store(tmp_path / "a", WheelMember("some-model", "1.2", "some_model/m.onnx")).path("m")
    with pytest.raises(WeightsCorrupt, match="does not hold it"):
        store(tmp_path / "b", WheelMember("some-model", "1.2", "../m.onnx")).path("m")
    index(CONTENT * 2)
    with pytest.raises(WeightsCorrupt, match="got more"):
        store(tmp_path / "c", WheelMember("some-model", "1.2", "some_model/m.onnx")).path("m")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESIEVE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert Store().folder == tmp_path / "models"
    monkeypatch.delenv("FACESIEVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "facesieve"


def test_the_manifest_is_complete() -> None:
    models = Store().models
    assert {"centerface", "blazeface-full-range", "face-mesh", "yunet", "sface"} <= models.keys()
    assert {f"ediffiqa-{size}" for size in "tsml"} <= models.keys()
    assert len({m.file for m in models.values()}) == len(models)
    for entry in models.values():
        assert entry.sources
        assert entry.commercial == (entry.licence != "unstated")
        for source in entry.sources:
            assert not isinstance(source, Url) or source.url.startswith("https://")


@pytest.mark.parametrize(
    "damage",
    [
        ("sha256 =", 'sha256 = "abc" #'),
        ("file =", 'file = "../m.onnx" #'),
        ("licence =", "licenze ="),
        ("sources =", 'sources = [{ ftp = "x" }] #'),
        ("[m]", "[m"),
        ("colour =", 'colour = "cmyk" #'),
        ("inputs =", "inputs = 3 #"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, damage: tuple[str, str]) -> None:
    text = (
        f'[m]\ntask = "quality"\nfile = "m.onnx"\nsha256 = "{SHA256}"\nlicence = "MIT"\ncommercial = true\n'
        'authors = ""\npaper = ""\nsources = [{ url = "https://example.org/m" }]\n'
        '[m.network]\ncolour = "rgb"\ninputs = { x = ["n", 3] }\n'
    )
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    assert read(path)["m"].sources == (Url("https://example.org/m"),)
    assert read(path)["m"].network == Network({"x": ("n", 3)}, {}, "rgb", 0, 1)
    path.write_text(text.replace(*damage))
    with pytest.raises(ConfigError, match=r"manifest\.toml: not a manifest"):
        read(path)


def test_a_model_that_is_part_of_the_package_but_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="missing from this installation"):
        store(tmp_path, Shipped("none.onnx")).path("m")
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []
