"""The main job: sources in, a folder of results for each out."""

from __future__ import annotations

import dataclasses
import functools
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2

from .build import Built, build
from .config import Config
from .engines.zoo.fetch import digest
from .identify import Identification, make_way
from .stream.decode.sources import ImageSource, open_source, slug
from .stream.errors import (
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
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
from .stream.sinks.records import shot_files
from .stream.sinks.report import render_report
from .stream.types import BestShot, Quality, ShotRevision, TrackResult, TrackSummary

STATED_PACKAGES = ("facesieve", "av", "numpy", "opencv-python-headless", "openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Row:
    """One track in the closing table; the rest is on disk by then. best: quality of its best shot, if any,
    without its embedding, factors and components: a long film has many tracks. unfit: what it lacks."""

    summary: TrackSummary
    best: Quality | None
    file: str | None
    unfit: tuple[str, ...] = ()

    @staticmethod
    def of(result: TrackResult) -> Row:
        best = result.shots[0] if result.shots else None
        return Row(
            dataclasses.replace(result.summary, timeline=()),
            Quality(best.quality.score, best.quality.model, best.quality.calibrated) if best else None,
            shot_files(result.summary.track, 1, result.summary.window)[0] if best else None,
            best.unfit if best else (),
        )


@dataclass(slots=True)
class Outcome:
    """What became of one source. error: why it failed; damage: what of it could not be read. pictures: file
    names of a source of stills, whose times are their places in that order; empty for a film."""

    spec: str
    out: Path
    pictures: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    error: FacesieveError | None = None
    damage: str | None = None
    interrupted: bool = False
    report: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, the error's own, EXIT_PARTIAL or EXIT_INTERRUPTED."""
        if self.error is not None:
            return self.error.exit_code
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_PARTIAL if self.damage else 0


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
                _facts(outcome, source, duration_s, built, config, progress, elapsed_s)
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
    decode = config.decode
    return open_source(
        spec,
        threads=decode.threads,
        max_pixels=decode.max_pixels,
        image_fps=decode.image_fps,
        hz=config.detector.hz,
    )


def _facts(
    outcome: Outcome,
    source: FrameSource,
    duration_s: float | None,
    built: Built,
    config: Config,
    progress: Progress,
    elapsed_s: float,
) -> dict[str, Any]:
    """What run.json says. Only here do times of processing and versions appear."""
    return {
        "source": {
            "name": source.name,
            "sha256": _sha256(outcome.spec),
            "duration_s": duration_s,
            "width": progress.size[0] if progress.size else None,
            "height": progress.size[1] if progress.size else None,
            "stills": source.stills,
            "damage": outcome.damage,
        },
        "complete": outcome.exit_code == 0,
        "error": str(outcome.error) if outcome.error else None,
        "interrupted": outcome.interrupted,
        "config": config.model_dump(mode="json"),
        "models": [dataclasses.asdict(model) for model in built.models],
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in STATED_PACKAGES if (version := _version(name))},
        },
        "counts": {
            "frames": progress.frames,
            "frames_detected": progress.detected,
            "faces": progress.faces,
            "faces_scored": progress.scored,
            "faces_assessed": progress.assessed,
            "tracks": progress.tracks,
            "shots": progress.shots,
            "revisions": progress.revisions,
        },
        "timings_s": {
            "total": round(elapsed_s, 3),
            **{stage: round(spent, 3) for stage, spent in progress.stages_s.items()},
        },
        "fps": round(progress.frames / elapsed_s, 2) if elapsed_s > 0 else None,
    }


def _sha256(spec: str) -> str | None:
    """The file's hash, None for folders, globs and pipes."""
    return digest(Path(spec)) if spec != "-" and Path(spec).is_file() else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
