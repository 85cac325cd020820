"""Where results go: files on disk and the HTML report."""

from .folder import FolderSink
from .report import render_report

__all__ = ["FolderSink", "render_report"]
