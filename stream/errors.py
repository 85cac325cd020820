"""Every error that facesieve raises on purpose.

    FacesieveError ..................... 1   anything below; never raised itself
    ├── ConfigError .................... 2   unknown key, wrong type, impossible combination
    ├── SourceError .................... 10  a video or image cannot be used
    │   ├── SourceMissing .............. 11  no such file, empty folder, glob without a match
    │   ├── SourceEmpty ................ 12  a file of zero bytes
    │   ├── SourceUnreadable ........... 13  no permission, an I/O error
    │   ├── NotVideo ................... 14  no format FFmpeg knows, or damaged beyond its header
    │   ├── NoVideoStream .............. 15  audio only
    │   ├── NoFrames ................... 16  a video stream without one decodable frame
    │   └── FrameTooLarge .............. 17  a frame beyond the configured limit of pixels
    ├── OutputError .................... 20  results cannot be written
    │   ├── OutputExists ............... 21  the folder holds results already
    │   ├── OutputUnwritable ........... 22  no permission, read-only, not a folder
    │   └── OutputFull ................. 23  no space left
    ├── ModelError ..................... 30  a network cannot be used
    │   ├── WeightsUnavailable ......... 31  not here and not to be fetched
    │   ├── WeightsCorrupt ............. 32  hash or size differs from the manifest
    │   ├── ModelInvalid ............... 33  not a network, or not with the declared inputs and outputs
    │   ├── LicenceRefused ............. 34  the licence does not allow the stated use
    │   └── GateFailed ................. 35  a compiled network chooses otherwise than its fp32 original
    └── EngineError .................... 40  a runtime cannot be used
        ├── EngineUnavailable .......... 41  a missing extra or device
        └── EngineClosed ............... 42  used after close

The number is the exit code of `facesieve run`. Besides: 0 all well, 1 a bug, 2 wrong usage,
3 partial (the readable part of a damaged source was processed), 4 `validate` says FAIL, 130 interrupted.
"""

from __future__ import annotations

EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130


class FacesieveError(Exception):
    """Base of the tree. The message names the file or option, what was expected and what came."""

    exit_code: int = 1


class ConfigError(FacesieveError):
    exit_code = 2


class SourceError(FacesieveError):
    exit_code = 10


class SourceMissing(SourceError):
    exit_code = 11


class SourceEmpty(SourceError):
    exit_code = 12


class SourceUnreadable(SourceError):
    exit_code = 13


class NotVideo(SourceError):
    exit_code = 14


class NoVideoStream(SourceError):
    exit_code = 15


class NoFrames(SourceError):
    exit_code = 16


class FrameTooLarge(SourceError):
    exit_code = 17


class OutputError(FacesieveError):
    exit_code = 20


class OutputExists(OutputError):
    exit_code = 21


class OutputUnwritable(OutputError):
    exit_code = 22


class OutputFull(OutputError):
    exit_code = 23


class ModelError(FacesieveError):
    exit_code = 30


class WeightsUnavailable(ModelError):
    exit_code = 31


class WeightsCorrupt(ModelError):
    exit_code = 32


class ModelInvalid(ModelError):
    exit_code = 33


class LicenceRefused(ModelError):
    exit_code = 34


class GateFailed(ModelError):
    exit_code = 35


class EngineError(FacesieveError):
    exit_code = 40


class EngineUnavailable(EngineError):
    exit_code = 41


class EngineClosed(EngineError):
    exit_code = 42
