"""The main job: sources in, a folder of results for each out."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import cv2

from .build import Built, build
from .config import Config
from .identify import Identification, make_way
from .outcome import Outcome, Row
from .run_facts import run_facts
from .stream.decode.sources import ImageSource, open_source, slug
from .stream.errors import (
    ConfigError,
    EngineError,
    FacesieveError,
    ModelError,
    OutputError,
    SourceMissing,
)
from .stream.interrupts import before_anything_is_begun
from .stream.pipeline import Progress
from .stream.ports import FrameSource
from .stream.sinks.boxes import BoxFile
from .stream.sinks.candidates import CandidateArchive
from .stream.sinks.folder import FolderSink
from .stream.sinks.report import render_report
from .stream.types import BestShot, ShotRevision, TrackResult

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def best_shots(
    source: str | Path,
    *,
    top_k: int = 3,
    config: Config | None = None,
    on_revision: Callable[[ShotRevision], None] = lambda revision: None,
) -> Iterator[BestShot]:
    """The best shots of every track of one source, each as soon as its track ends.

    source: a video file, a folder or glob of images, or "-" for standard input. top_k: at most so many a
    track, best first. config: everything else. on_revision: gets the shots that selection.emit tells early.
    Raises FacesieveError.
    """
    config = config or Config()
    config = config.model_copy(update={"selection": config.selection.model_copy(update={"top_k": top_k})})
    with _opencv_alone(), closing(build(config)) as built, closing(_open(str(source), config)) as frames:
        for result in built.pipeline.run(frames, on_revision=on_revision):
            yield from result.shots


def output_folders(specs: Sequence[str], out: Path) -> list[Path]:
    """Where each source's results go: `out` itself for one source, a folder a source below it for several."""
    if len(specs) == 1:
        return [out]
    taken: dict[str, int] = {}
    folders = []
    for spec in specs:
        name = slug(spec)
        taken[name] = taken.get(name, 0) + 1
        folders.append(out / (name if taken[name] == 1 else f"{name}-{taken[name]}"))
    return folders


def run_sources(
    specs: Sequence[str],
    out: Path,
    config: Config,
    *,
    overwrite: bool,
    stop: threading.Event,
    watch: Callable[[str, FrameSource, Progress], None],
    on_result: Callable[[str, TrackResult], None],
    on_revision: Callable[[str, ShotRevision], None] = lambda spec, revision: None,
) -> Iterator[Outcome]:
    """Each source in turn; one that fails does not stop the next, an output or a model that fails does.

    Networks are fetched and compiled once the first source has turned out to be readable.
    """
    with ExitStack() as stack:
        stack.enter_context(_opencv_alone())

        @functools.cache
        def built() -> Built:
            return stack.enter_context(closing(build(config)))

        @functools.cache
        def people() -> Identification | None:
            make_way(out, overwrite=overwrite)
            if (linking := built().linking) is None:
                return None
            return stack.enter_context(
                Identification(config.identity, linking, out, top_k=config.selection.top_k)
            )

        for spec, folder in zip(specs, output_folders(specs, out), strict=True):
            if stop.is_set():
                return
            outcome = Outcome(spec, folder)
            try:
                _run_one(
                    outcome,
                    built,
                    people,
                    config,
                    overwrite=overwrite,
                    stop=stop,
                    watch=watch,
                    on_result=on_result,
                    on_revision=on_revision,
                )
            except FacesieveError as error:
                outcome.error = error
            yield outcome
            if outcome.interrupted or isinstance(outcome.error, OutputError | ModelError | EngineError):
                return


def whole_report(specs: Sequence[str], out: Path) -> Path | None:
    """The page over all sources, for what is there; None for one source, whose own page says it all, and
    where no source has results."""
    if len(specs) < 2:
        return None
    try:
        return render_report(out)
    except SourceMissing:
        return None


def _run_one(
    outcome: Outcome,
    make: Callable[[], Built],
    know: Callable[[], Identification | None],
    config: Config,
    *,
    overwrite: bool,
    stop: threading.Event,
    watch: Callable[[str, FrameSource, Progress], None],
    on_result: Callable[[str, TrackResult], None],
    on_revision: Callable[[str, ShotRevision], None],
) -> None:
    started, progress = time.perf_counter(), Progress()
    with ExitStack() as opened:
        try:
            with before_anything_is_begun(stop):
                source = opened.enter_context(closing(_open(outcome.spec, config)))
                built, people, duration_s = make(), know(), source.duration_s
        except KeyboardInterrupt:
            if not stop.is_set():
                raise
            outcome.interrupted = True
            return
        if isinstance(source, ImageSource) and source.stills:
            outcome.pictures = source.pictures
        sink = FolderSink(
            outcome.out,
            overwrite=overwrite,
            jpeg_quality=config.output.jpeg_quality,
            embeddings=config.output.embeddings,
            revisions=config.selection.emit != "quality",
        )

        def revise(revision: ShotRevision) -> None:
            sink.revise(revision)
            on_revision(outcome.spec, revision)

        with closing(sink), ExitStack() as stack:
            archive = (
                stack.enter_context(
                    CandidateArchive(outcome.out, min_gap_s=config.selection.min_gap_ms / 1000)
                )
                if config.output.keep_candidates
                else None
            )
            boxes = stack.enter_context(closing(BoxFile(outcome.out))) if config.output.boxes else None
            watch(outcome.spec, source, progress)
            if people is not None:
                people.begin(outcome.spec, source.name, outcome.out)
            try:
                for result in built.pipeline.run(
                    source,
                    progress=progress,
                    stop=stop.is_set,
                    candidates=archive,
                    boxes=boxes,
                    on_revision=revise,
                ):
                    if people is not None:
                        result = people.identify(result)
                    sink.write(result)
                    outcome.rows.append(Row.of(result))
                    on_result(outcome.spec, result)
            except OutputError:
                raise
            except FacesieveError as error:
                outcome.error = error
            if archive is not None:
                archive.finish()
            outcome.damage, outcome.interrupted = source.damage, stop.is_set()
            if people is not None:
                whole = outcome.error is None and not outcome.interrupted
                people.end(until_s=None if whole else progress.pts_s)
            elapsed_s = time.perf_counter() - started
            outcome.report = sink.finish(
                run_facts(outcome, source, duration_s, built, config, progress, elapsed_s)
            )


@contextmanager
def _opencv_alone() -> Iterator[None]:
    """OpenCV on one thread meanwhile: chips are too small to share out, and its workers spin while they wait
    for the next, on cores that the decoder wants (a twelfth of all time on a 360p film)."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _open(spec: str, config: Config) -> FrameSource:
    if not spec:
        raise SourceMissing("expected the name of a source, got an empty one")
    if (address := _ADDRESS.match(spec)) and not Path(spec).exists():
        raise ConfigError(
            f"{address[0]}…: `run` reads files; live streams are for `facesieve serve`, and what lies at "
            "another address can be piped: `ffmpeg -i ADDRESS -c copy -f matroska - | facesieve run -`"
        )
    decode = config.decode
    return open_source(
        spec,
        threads=decode.threads,
        max_pixels=decode.max_pixels,
        image_fps=decode.image_fps,
        hz=config.detector.hz,
    )
