"""Frame sources: video files and pipes through FFmpeg, folders of images."""

from .images import ImageSource
from .names import printable, slug
from .sources import open_source
from .video import MAX_PIXELS, VideoSource

__all__ = ["MAX_PIXELS", "ImageSource", "VideoSource", "open_source", "printable", "slug"]
