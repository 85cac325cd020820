"""Frame sources: video files and pipes through FFmpeg, folders of images."""
