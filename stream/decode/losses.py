"""What was lost of a source, counted as it happens and told in one line."""

from __future__ import annotations


class Losses:
    """Counts with the place of the first of each kind, so that their size does not grow with the source.

    oversize: "width×height" of the first frame beyond the limit, else None.
    """

    def __init__(self) -> None:
        self.oversize: str | None = None
        self._counts: dict[str, int] = {}
        self._firsts: dict[str, str] = {}
        self._cut: str | None = None

    def undecodable(self, at_s: float | None, error: Exception) -> None:
        """A packet that no frame could be made of; at_s: its time in the stream, where it has one."""
        self._count("packets that could not be decoded", at_s, error)

    def unreadable(self, at_s: float | None, error: BaseException) -> None:
        """A read that failed, after the frame at at_s."""
        self._count("reads that failed", at_s, error)

    def mended(self, at_s: float) -> None:
        """A damaged frame whose missing parts the decoder guessed."""
        self._count("damaged frames that the decoder mended", at_s)

    def oversized(self, width: int, height: int, at_s: float | None) -> None:
        """A frame beyond the limit of pixels, after the frame at at_s."""
        self.oversize = self.oversize or f"{width}×{height}"
        self._count("frames beyond the limit of pixels", at_s)

    def skipped(self, name: str, why: str) -> None:
        """An image that was left out."""
        self._counts["images skipped"] = self._counts.get("images skipped", 0) + 1
        self._firsts.setdefault("images skipped", f"{name} ({why})")

    def truncated(self, what: str, declared_s: float | None) -> None:
        """The source ends before its end; declared_s: its whole duration, where known."""
        self._cut = f"truncated: {what}" + ("" if declared_s is None else f" of {declared_s:.2f} s")

    def unplaced(self, count: int, frames: int) -> None:
        """Frames that the container's index does not say the place of, of as many as it has times of."""
        self._cut = f"damaged index: it places {frames - count} of {frames} frames"

    def summary(self, last_s: float | None) -> str | None:
        """One line, or None when nothing was lost. last_s: time of the last frame that came."""
        parts = []
        if self._cut is not None:
            until = "" if last_s is None else f", the last frame read is at {last_s:.2f} s"
            parts.append(f"{self._cut}{until}")
        parts += [f"{what}: {count}, first {self._firsts[what]}" for what, count in self._counts.items()]
        return "; ".join(parts) or None

    def _count(self, what: str, at_s: float | None, error: BaseException | None = None) -> None:
        if what not in self._counts:
            where = "at an unknown time" if at_s is None else f"at {at_s:.2f} s"
            why = "" if error is None else f" ({getattr(error, 'strerror', None) or error})"
            self._firsts[what] = where + why
        self._counts[what] = self._counts.get(what, 0) + 1
