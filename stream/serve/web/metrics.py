"""The service's figures for Prometheus, read when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from ..histogram import Binned
from ..reader import State
from ..report import CameraReport
from .parts import Web

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS: tuple[tuple[str, str, Callable[[CameraReport], int]], ...] = (
    ("frames_decoded", "Frames decoded", lambda r: r.status.frames),
    ("frames_processed", "Frames looked at by the detector", lambda r: r.processed),
    ("faces", "Faces detected", lambda r: r.faces),
    ("tracks_started", "Tracks started", lambda r: r.tracks_started),
    ("tracks_ended", "Tracks ended", lambda r: r.tracks_ended),
    ("shots", "Shots told before their track's end", lambda r: r.shots),
    ("errors", "Sessions that failed while being processed", lambda r: r.errors),
    ("sessions", "Unbroken stretches of frames begun", lambda r: r.status.sessions),
)


class Figures:
    """A registry of its own, so that nothing else of the process gets in."""

    def __init__(self, web: Web) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Service(web))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)


class _Service:
    def __init__(self, web: Web) -> None:
        self._web = web

    def collect(self) -> Iterator[Metric]:
        """All figures now."""
        cameras = self._web.service.cameras()
        yield from _of_cameras(cameras)
        yield _of_stages(self._web.service.stages)
        yield from self._of_sinks()
        yield from self._of_page()
        info = InfoMetricFamily("facesieve_engine", "Engine and networks in use")
        info.add_metric([], dict(self._web.engine))
        yield info

    def _of_sinks(self) -> Iterator[Metric]:
        spool = self._web.spool.report()
        yield GaugeMetricFamily("facesieve_spool_events", "Events on disk", value=spool.events)
        yield GaugeMetricFamily("facesieve_spool_bytes", "Bytes of events on disk", value=spool.bytes)
        yield GaugeMetricFamily(
            "facesieve_spool_held_events", "Events in memory, as the disk takes nothing", value=spool.held
        )
        dropped = CounterMetricFamily(
            "facesieve_spool_dropped_events", "Events lost for want of room", labels=["final"]
        )
        dropped.add_metric(["true"], spool.final_dropped)
        dropped.add_metric(["false"], spool.dropped - spool.final_dropped)
        yield dropped
        waiting = GaugeMetricFamily("facesieve_sink_waiting_events", "Yet to be taken", labels=["sink"])
        for sink, number in sorted(spool.waiting.items()):
            waiting.add_metric([sink], number)
        yield waiting
        sent = CounterMetricFamily("facesieve_sink_sent_events", "Taken by the sink", labels=["sink"])
        refused = CounterMetricFamily("facesieve_sink_refused_events", "Refused for good", labels=["sink"])
        failing = GaugeMetricFamily("facesieve_sink_failing", "1 if the newest try failed", labels=["sink"])
        took = HistogramMetricFamily(
            "facesieve_delivery_seconds", "Tries to send an event, good and bad ones", labels=["sink"]
        )
        for sink, report in sorted(self._web.delivery.reports().items()):
            took.add_metric([sink], _buckets(report.took), report.took.sum_s)
            sent.add_metric([sink], report.sent)
            refused.add_metric([sink], report.refused)
            failing.add_metric([sink], bool(report.failing))
        yield from (sent, refused, failing, took)

    def _of_page(self) -> Iterator[Metric]:
        feed = self._web.feed
        yield GaugeMetricFamily("facesieve_watchers", "Clients of the live events", value=feed.watchers)
        yield CounterMetricFamily(
            "facesieve_watchers_dropped", "Clients that read too slowly", value=feed.dropped
        )


def _of_cameras(cameras: Mapping[str, CameraReport]) -> Iterator[Metric]:
    for name, text, value in _COUNTERS:
        counter = CounterMetricFamily(f"facesieve_{name}", text, labels=["camera"])
        for camera, report in cameras.items():
            counter.add_metric([camera], value(report))
        yield counter
    dropped = CounterMetricFamily("facesieve_frames_dropped", "Frames left out", labels=["camera", "reason"])
    state = GaugeMetricFamily("facesieve_camera_state", "1 for the present state", labels=["camera", "state"])
    degraded = GaugeMetricFamily("facesieve_camera_degraded", "1 while overloaded", labels=["camera"])
    cadence = GaugeMetricFamily("facesieve_camera_hz", "Frames a second taken (0 = all)", labels=["camera"])
    queue = GaugeMetricFamily("facesieve_queue_frames", "Frames that wait", labels=["camera"])
    quality = GaugeMetricFamily("facesieve_quality", "Best shots, newest counting most", labels=["camera"])
    latency = HistogramMetricFamily(
        "facesieve_latency_seconds", "From a frame decoded to done with", labels=["camera"]
    )
    for camera, report in cameras.items():
        dropped.add_metric([camera, "overload"], report.dropped)
        dropped.add_metric([camera, "undecodable"], report.status.undecodable)
        dropped.add_metric([camera, "damaged"], report.status.damaged)
        dropped.add_metric([camera, "unmatched"], report.status.unmatched)
        for one in State:
            state.add_metric([camera, str(one)], one is report.status.state)
        degraded.add_metric([camera], report.degraded)
        cadence.add_metric([camera], report.hz)
        queue.add_metric([camera], report.queued)
        if report.quality is not None:
            quality.add_metric([camera], report.quality)
        latency.add_metric([camera], _buckets(report.latency), report.latency.sum_s)
    yield from (dropped, state, degraded, cadence, queue, quality, latency)


def _of_stages(stages: Mapping[str, Binned]) -> Metric:
    """One label, of a fixed set: a camera more makes no series more."""
    took = HistogramMetricFamily(
        "facesieve_stage_seconds", "How long each stage takes, over all cameras", labels=["stage"]
    )
    for stage, binned in stages.items():
        took.add_metric([stage], _buckets(binned), binned.sum_s)
    return took


def _buckets(binned: Binned) -> list[tuple[str, float]]:
    """Counts up to and with each bound, as Prometheus has them."""
    bounds = (*map(str, binned.bounds_s), "+Inf")
    return list(zip(bounds, itertools.accumulate(binned.counts), strict=True))
