"""facesieve: the best face frames of every person, out of video, in real time."""

__version__ = "0.1.0"
