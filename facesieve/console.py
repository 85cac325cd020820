"""What `facesieve run` shows: a bar on a terminal, plain lines elsewhere, JSON lines, or nothing."""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from .notices import noted
from .outcome import Outcome, Row
from .stream.decode.sources import printable
from .stream.pipeline import Progress
from .stream.ports import FrameSource
from .stream.sinks.revisions import revision_files
from .stream.types import Quality, ShotRevision, TrackEnd, TrackResult, TrackSummary
from .terminal import Terminal, complain

PLAIN_EVERY_S = 10.0
BAR_EVERY_S = 0.2
FAILED_MOST = 3
"""Requirements named in the table of a track of which nothing was kept."""


class Screen:
    """One run's outputs: progress to stderr, results to stdout.

    quiet: errors only. as_json: one JSON object a line on stdout (`revision` for each shot told early,
    `track` as each ends, `source` at each source's end), no table. stop: is set when stdout cannot be written
    any more, so that the run ends as by Ctrl-C, with what is finished on disk; check() raises it then.
    """

    def __init__(self, *, quiet: bool, as_json: bool, stop: threading.Event) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._stop = stop
        self._lost: OSError | None = None
        self._out = Terminal()
        self._err = Terminal(err=True)
        self._watched: tuple[FrameSource, Progress, _Meter] | None = None
        self._bar: Bar | None = None

    def watch(self, _spec: str, source: FrameSource, progress: Progress) -> None:
        """From now on, progress is this source's."""
        self._watched = (source, progress, _Meter())

    @contextmanager
    def following(self) -> Iterator[None]:
        """Shows progress from a thread of its own until the block ends."""
        if self._quiet:
            yield
            return
        done = threading.Event()
        follow = self._follow_bar if self._err.is_terminal else self._follow_lines
        thread = threading.Thread(target=follow, args=(done,), name="facesieve-progress", daemon=True)
        thread.start()
        try:
            with noted(self._err):
                yield
        finally:
            done.set()
            thread.join()

    def result(self, source: str, result: TrackResult) -> None:
        """A track ended."""
        if self._as_json:
            summary = result.summary
            self._json(
                event="track",
                source=source,
                track=summary.track,
                window=summary.window,
                first_pts_s=summary.first_pts_s,
                last_pts_s=summary.last_pts_s,
                frames_seen=summary.frames_seen,
                kept=summary.kept,
                identity=summary.identity,
                rejected={str(reason): count for reason, count in summary.rejected.items()},
                failed=dict(summary.failed),
                end=str(summary.end),
                scores=[shot.quality.score for shot in result.shots],
                unfit=[list(shot.unfit) for shot in result.shots],
            )

    def revision(self, source: str, revision: ShotRevision) -> None:
        """A shot is told before its track ends."""
        if self._as_json:
            shot = revision.shot
            self._json(
                event="revision",
                source=source,
                track=revision.track,
                window=revision.window,
                revision=revision.revision,
                why=str(revision.why),
                told_pts_s=revision.pts_s,
                pts_s=shot.crop.pts_s,
                score=shot.quality.score,
                calibrated=shot.quality.calibrated,
                portrait=revision_files(revision.track, revision.revision, revision.window)[0],
            )

    def outcome(self, outcome: Outcome) -> None:
        """A source ended."""
        begun = outcome.report is not None or not outcome.interrupted
        if self._as_json:
            self._json(
                event="source",
                source=outcome.spec,
                out=str(outcome.out),
                tracks=sum(row.summary.end is not TrackEnd.WINDOW for row in outcome.rows),
                shots=sum(row.summary.kept for row in outcome.rows),
                exit_code=outcome.exit_code,
                error=str(outcome.error) if outcome.error else None,
                damage=outcome.damage,
            )
        elif not self._quiet and begun and (outcome.rows or not outcome.error):
            name = Text(printable(outcome.spec), style="bold")
            self._tell(lambda: self._out.print(name, soft_wrap=True))
            self._tell(lambda: self._out.print(_table(outcome)))
        if outcome.error is not None:
            self.error(str(outcome.error))
        elif outcome.damage:
            self.error(f"{printable(outcome.spec)}: partial: {outcome.damage}")
        if outcome.interrupted and not self._quiet:
            kept = "what was finished is written" if begun else "nothing of it was begun"
            said = Text(f"{printable(outcome.spec)}: interrupted; {kept}")
            complain(lambda: self._err.print(said, soft_wrap=True))
        if outcome.report is not None:
            self.report("Report", outcome.report)

    def report(self, name: str, path: Path) -> None:
        """A page was written."""
        if not self._quiet and not self._as_json:
            line = Text(f"{name}: {printable(path.resolve())}")
            self._tell(lambda: self._out.print(line, soft_wrap=True))

    def error(self, message: str) -> None:
        """One clear line on stderr."""
        line = Text(f"error: {message}", style="bold red")
        complain(lambda: self._err.print(line, soft_wrap=True))

    def check(self) -> None:
        """Raises the OSError that kept stdout from being written, if there was one."""
        if self._lost is not None:
            raise self._lost

    def _tell(self, write: Callable[[], object]) -> None:
        """What is for stdout; the first failure ends the run, and nothing more is tried."""
        if self._lost is None:
            try:
                with self._bar_aside():
                    write()
            except OSError as error:
                self._lost = error
                self._stop.set()

    @contextmanager
    def _bar_aside(self) -> Iterator[None]:
        """The bar stands where stdout would go on writing, if both are the terminal."""
        bar = self._bar if self._out.is_terminal else None
        if bar is not None:
            bar.stop()
        yield
        if bar is not None:
            bar.start()

    def _json(self, **event: Any) -> None:
        def write() -> None:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

        self._tell(write)

    def _follow_bar(self, done: threading.Event) -> None:
        columns: Sequence[ProgressColumn] = (
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
        )
        # Left to itself, rich would take what is for stdout, be that a file, and write it above the bar.
        made = Bar(*columns, console=self._err, transient=True, refresh_per_second=5, redirect_stdout=False)
        with made as self._bar:
            self._fill(self._bar, done)
        self._bar = None

    def _fill(self, bar: Bar, done: threading.Event) -> None:
        task, current = bar.add_task("", total=None, name="starting", facts=""), None
        while not done.wait(BAR_EVERY_S):
            if (watched := self._watched) is None:
                continue
            source, progress, meter = watched
            if current is not progress:
                current = progress
                bar.reset(task, total=source.duration_s, name=printable(source.name)[:40], facts="")
            bar.update(
                task,
                completed=progress.played_s,
                facts=meter.facts(progress, stills=source.stills),
            )

    def _follow_lines(self, done: threading.Event) -> None:
        while not done.wait(PLAIN_EVERY_S):
            if (watched := self._watched) is not None:
                source, progress, meter = watched
                line = f"{printable(source.name)}: {meter.facts(progress, stills=source.stills)}"
                complain(functools.partial(self._err.print, Text(line), soft_wrap=True))


class _Meter:
    """Rates since the source began."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def facts(self, progress: Progress, *, stills: bool) -> str:
        elapsed_s = max(1e-6, time.monotonic() - self._started)
        rate = progress.frames / elapsed_s
        if stills:
            return f"{progress.frames} pictures, {rate:.0f} a second, {progress.faces} faces"
        return (
            f"{progress.frames} frames, {rate:.0f} fps "
            f"({progress.played_s / elapsed_s:.1f}× real time), "
            f"{progress.faces} faces, {progress.tracks} tracks ended"
        )


def _table(outcome: Outcome) -> Table:
    table, pictures = Table(box=None, pad_edge=False), outcome.pictures
    table.add_column("track", justify="right")
    if pictures:
        table.add_column("picture", overflow="fold")
    else:
        table.add_column("from – to")
        table.add_column("seen", justify="right")
    table.add_column("best", justify="right")
    known = any(row.summary.identity is not None for row in outcome.rows)
    if known:
        table.add_column("person", justify="right")
    table.add_column("file", overflow="fold")
    for row in sorted(outcome.rows, key=lambda row: (row.summary.track, row.summary.window)):
        summary = row.summary
        person = "–" if summary.identity is None else str(summary.identity)
        table.add_row(
            f"{summary.track}-w{summary.window}" if summary.window else str(summary.track),
            *([Text(_picture(summary, pictures))] if pictures else _times(summary)),
            "–" if row.best is None else _quality(row.best),
            *([person] if known else []),
            _file(row),
        )
    if not outcome.rows:
        empty = [""] * (len(table.columns) - 1)
        table.add_row(*empty, Text("no face found", style="dim"))
    return table


def _times(summary: TrackSummary) -> list[str]:
    return [f"{_clock(summary.first_pts_s)} – {_clock(summary.last_pts_s)}", str(summary.frames_seen)]


def _picture(summary: TrackSummary, pictures: Sequence[str]) -> str:
    """Number (as in the report) and file name of a still, of which there is one a second."""
    index = round(summary.first_pts_s)
    return f"{index + 1}  {pictures[index]}"


def _quality(quality: Quality) -> str:
    """The calibrated probability where the model has one, since a raw score says nothing by itself."""
    return f"{quality.score:.3f}" if quality.calibrated is None else f"{100 * quality.calibrated:.0f} %"


def _file(row: Row) -> Text:
    if row.file is None:
        return Text(_why_none(row.summary), style="dim")
    return Text(f"{row.file} (not fit: {', '.join(row.unfit)})" if row.unfit else row.file)


def _why_none(summary: TrackSummary) -> str:
    """The reasons and how many faces each; behind them the requirements that were failed most often."""
    counts = ", ".join(f"{_worded(reason)} {count}" for reason, count in summary.rejected.items() if count)
    worst = sorted(summary.failed, key=lambda name: (-summary.failed[name], name))[:FAILED_MOST]
    failed = ", ".join(f"{_worded(name)} {summary.failed[name]}" for name in worst)
    return f"none kept: {counts}" + (f" ({failed})" if failed else "")


def _worded(name: str) -> str:
    return str(name).replace("_", " ")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
