"""Matching frames of two streams, the offset between them, and what a pair shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.serve_config import CameraTable, Secret, ServeConfig, parse_serve_config
from facesieve.serve_plan import camera_plan
from facesieve.stream.decode.picture import Converter, FramePicture
from facesieve.stream.errors import ConfigError
from facesieve.stream.serve.buffer import Arrived
from facesieve.stream.serve.offset import StreamOffset, thumb
from facesieve.stream.serve.pairing import PairedPicture, PairingSettings, Pairs, same_aspect
from facesieve.stream.types import U8, Frame


def picture(rgb: U8) -> FramePicture:
    import av

    return FramePicture(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p"), Converter())


def grey(width: int, height: int, level: int = 90) -> FramePicture:
    return picture(np.full((height, width, 3), level, np.uint8))


SMALL, LARGE = grey(64, 48), grey(128, 96)


def arrived(wall_s: float, seen: FramePicture = SMALL, *, came_s: float | None = None) -> Arrived:
    frame = Frame("gate", round(1000 * wall_s), wall_s, wall_s, seen)
    return Arrived(1, frame, wall_s if came_s is None else came_s)


def walls(pairs: list[tuple[Arrived, Arrived]]) -> list[tuple[float | None, float | None]]:
    return [(sub.frame.wall_s, main.frame.wall_s) for sub, main in pairs]


class TestPairs:
    def test_the_nearest_main_frame_is_taken(self) -> None:
        pairs = Pairs(PairingSettings())
        for wall_s in (10.00, 10.04, 10.08, 10.12):
            pairs.main(arrived(wall_s, LARGE))
        pairs.sub(arrived(10.05))
        pairs.sub(arrived(10.09))
        assert walls(pairs.ready(0.0, 10.2)) == [(10.05, 10.04), (10.09, 10.08)]
        assert pairs.unmatched == 0

    def test_a_frame_waits_for_a_main_stream_that_comes_later(self) -> None:
        pairs = Pairs(PairingSettings())
        pairs.main(arrived(10.0, LARGE))
        pairs.sub(arrived(10.3))
        assert pairs.ready(0.0, 10.4) == []
        pairs.main(arrived(10.3, LARGE))
        assert walls(pairs.ready(0.0, 10.5)) == [(10.3, 10.3)]

    def test_one_that_waited_a_second_is_left_out_and_counted(self) -> None:
        pairs = Pairs(PairingSettings())
        pairs.main(arrived(10.0, LARGE))
        pairs.sub(arrived(10.3))
        assert pairs.ready(0.0, 11.31) == []
        assert pairs.unmatched == 1

    def test_what_is_farther_than_the_tolerance_is_left_out_and_counted(self) -> None:
        pairs = Pairs(PairingSettings(tolerance_s=0.08))
        for wall_s in (10.0, 10.3):
            pairs.main(arrived(wall_s, LARGE))
        for wall_s in (10.079, 10.15, 10.23):
            pairs.sub(arrived(wall_s))
        assert walls(pairs.ready(0.0, 10.4)) == [(10.079, 10.0), (10.23, 10.3)]
        assert pairs.unmatched == 1

    def test_the_offset_is_added(self) -> None:
        pairs = Pairs(PairingSettings())
        for i in range(10):
            pairs.main(arrived(10 + i / 25, LARGE))
        pairs.sub(arrived(10.0))
        assert walls(pairs.ready(0.2, 11.0)) == [(10.0, 10.2)]

    def test_little_is_held(self) -> None:
        pairs = Pairs(PairingSettings(frames=5))
        for i in range(100):
            pairs.main(arrived(10 + i / 25, LARGE))
            pairs.sub(arrived(100 + i / 25))
        assert pairs.unmatched == 100 - 64
        pairs.clear()
        assert pairs.unmatched == 100
        pairs.main(arrived(20, LARGE))
        pairs.main(arrived(21.5, LARGE))
        pairs.sub(arrived(20.0, came_s=20))
        assert pairs.ready(0.0, 21.6) == [], "held for more than a second"

    @given(
        st.lists(st.floats(0.005, 0.4), min_size=2, max_size=30),
        st.lists(st.floats(0.01, 0.5), min_size=1, max_size=20),
        st.floats(-0.3, 0.3),
    )
    def test_each_frame_is_paired_well_or_counted(
        self, main_steps: list[float], sub_steps: list[float], offset_s: float
    ) -> None:
        pairs = Pairs(PairingSettings(frames=64))
        events = [(t, "main") for t in itertools.accumulate(main_steps)]
        events += [(t, "sub") for t in itertools.accumulate(sub_steps)]
        made = []
        for at_s, kind in sorted(events):
            if kind == "main":
                pairs.main(arrived(at_s, LARGE))
            else:
                pairs.sub(arrived(at_s))
            made += pairs.ready(offset_s, at_s)
        made += pairs.ready(offset_s, 1e6)
        assert len(made) + pairs.unmatched == len(sub_steps)
        assert all(abs(main - (sub + offset_s)) <= 0.08 + 1e-9 for sub, main in walls(made))
        subs = [sub for sub, _ in walls(made)]
        assert subs == sorted(subs)


class TestOffset:
    def scene(self, at_s: float) -> np.ndarray:
        """(576,) a thing that crosses the picture, uneven in time."""
        x = np.arange(32) / 32
        place = 0.5 + 0.4 * np.sin(1.7 * at_s + np.sin(0.9 * at_s))
        row = 90 + 100 * np.exp(-(((x - place) / 0.1) ** 2))
        return np.tile(row, 18).astype(np.float32)

    def fed(
        self, late_s: float, *, main_hz: float = 15, sub_hz: float = 8, noise: float = 0.0
    ) -> StreamOffset:
        rng = np.random.default_rng(5)
        offset = StreamOffset()
        for at_s in np.arange(100, 104, 1 / 15):
            offset.main(at_s + late_s, self.scene(at_s) + rng.normal(0, noise, 576).astype(np.float32))
        for at_s in np.arange(100, 104, 1 / 8):
            offset.sub(at_s, self.scene(at_s) + rng.normal(0, noise, 576).astype(np.float32))
        return offset

    @pytest.mark.parametrize("late_s", [-0.4, -0.05, 0.0, 0.12, 0.35, 0.7])
    def test_a_scene_that_moves_tells_it(self, late_s: float) -> None:
        offset = self.fed(late_s, noise=3.0)
        assert offset.value_s is None
        assert offset.measure() == pytest.approx(late_s, abs=0.04)
        assert offset.value_s == pytest.approx(late_s, abs=0.04)

    def test_it_stays_while_the_streams_begin_anew(self) -> None:
        offset = self.fed(0.35)
        offset.measure()
        offset.begin()
        assert offset.measure() is None
        assert offset.value_s == pytest.approx(0.35, abs=0.04)

    def test_a_scene_that_does_not_move_tells_nothing(self) -> None:
        rng = np.random.default_rng(5)
        offset = StreamOffset()
        still = self.scene(3.0)
        for at_s in np.arange(0, 4, 0.1):
            offset.main(at_s, still + rng.normal(0, 0.3, 576).astype(np.float32))
            offset.sub(at_s, still + rng.normal(0, 0.3, 576).astype(np.float32))
        assert offset.measure() is None
        assert offset.value_s is None

    def test_noise_of_two_sensors_tells_nothing(self) -> None:
        rng = np.random.default_rng(5)
        offset = StreamOffset()
        for at_s in np.arange(0, 4, 0.1):
            offset.main(at_s, rng.normal(90, 20, 576).astype(np.float32))
            offset.sub(at_s, rng.normal(90, 20, 576).astype(np.float32))
        assert offset.measure() is None

    def test_beyond_a_second_it_does_not_guess(self) -> None:
        assert self.fed(1.6).measure() is None or abs(self.fed(1.6).measure() or 0) < 1.0

    def test_thumbs_of_one_scene_in_two_sizes_are_alike(self) -> None:
        y, x = np.mgrid[0:360, 0:640]
        whole = np.stack([(x // 3) % 200, (x + y) // 5, y // 2], 2).astype(np.uint8)
        large, small = thumb(picture(whole)), thumb(picture(np.ascontiguousarray(whole[::2, ::2])))
        assert large.shape == small.shape == (576,)
        assert float(np.abs(large - small).mean()) < 12


class TestPairedPicture:
    def test_crops_are_of_the_main_stream_and_the_detector_sees_the_other(self) -> None:
        pair = PairedPicture(grey(128, 96, 200), grey(64, 48, 50))
        assert (pair.width, pair.height) == (128, 96)
        assert abs(int(pair.region(10, 10, 60, 60).mean()) - 200) <= 2
        assert pair.scaled(32, 24).shape == (24, 32, 3)
        assert abs(int(pair.scaled(32, 24, "bgr").mean()) - 50) <= 2
        assert pair.luma(4).mean() < 100

    @given(
        st.tuples(st.integers(2, 90), st.integers(2, 90)),
        st.tuples(st.integers(2, 90), st.integers(2, 90)),
        st.integers(1, 40),
    )
    def test_luma_has_the_shape_of_the_main_frame(
        self, main: tuple[int, int], sub: tuple[int, int], step: int
    ) -> None:
        pair = PairedPicture(grey(*main), grey(*sub))
        assert pair.luma(step).shape == (-(-main[1] // step), -(-main[0] // step))

    def test_luma_samples_lie_where_the_main_frame_has_them(self) -> None:
        across = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
        pair = PairedPicture(grey(240, 192), picture(np.ascontiguousarray(across)))
        whole = picture(np.ascontiguousarray(across)).luma(1)
        assert np.array_equal(pair.luma(8), whole[::2, ::2])
        with pytest.raises(ValueError, match="step"):
            pair.luma(0)

    @pytest.mark.parametrize(
        ("main", "sub", "same"),
        [
            ((1920, 1080), (640, 360), True),
            ((1920, 1080), (640, 354), True),
            ((1920, 1080), (640, 352), False),
            ((1920, 1080), (704, 576), False),
        ],
    )
    def test_aspect(self, main: tuple[int, int], sub: tuple[int, int], same: bool) -> None:
        assert same_aspect(grey(*main), grey(*sub)) is same


class TestConfiguration:
    def test_both_streams_get_the_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATE", "pa:ss")
        camera = CameraTable(
            name="gate",
            url="rtsp://h/1",
            detect_url="rtsp://h/2",
            username="u",
            password=Secret(env="GATE"),
            pair_tolerance_ms=50,
        )
        plan = camera_plan(camera, ServeConfig())
        assert plan.address.url == "rtsp://u:pa%3Ass@h:554/1"
        assert plan.sub is not None
        assert plan.sub.url == "rtsp://u:pa%3Ass@h:554/2"
        assert plan.pairing.tolerance_s == 0.05
        assert "pa" + "%3A" not in repr(plan)

    def test_live_streams_do_not_wait(self) -> None:
        table = {"name": "a", "url": "rtsp://h/1", "detect_url": "rtsp://h/2", "buffer": "block"}
        with pytest.raises(ConfigError, match="latest or drop_oldest: live"):
            parse_serve_config({"camera": [table]}, "x")
