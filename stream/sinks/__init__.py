"""Where results go: files on disk and the HTML report."""

from .candidates import CandidateArchive, read_candidates
from .folder import FolderSink
from .report import render_report

__all__ = ["CandidateArchive", "FolderSink", "read_candidates", "render_report"]
