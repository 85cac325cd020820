"""Reading and writing torch checkpoints. Files are data: nothing in them is ever executed."""

from __future__ import annotations

import errno
import os
import pickle
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..stream.errors import (
    ModelInvalid,
    OutputError,
    OutputFull,
    OutputUnwritable,
    WeightsCorrupt,
    WeightsUnavailable,
)

WRAPPERS = ("model", "state_dict", "model_state_dict", "net")
"""Names under which training scripts keep the weights beside optimiser and step."""

SHELLS = frozenset({"module", "_orig_mod"})
"""Names that DataParallel and AveragedModel, and torch.compile, give to the network that they wrap."""

AVERAGES = "n_averaged"
DEEPEST = 4
LARGEST_SWELL = 4
SHOWN = 5
NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What a number of numpy is stored with: training scripts keep losses and scores beside the weights."""

DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What reading a truncated or foreign file raises in torch and zipfile."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The mapping stored at path, tensors on the CPU.

    Only tensors, numbers (numpy's, too), strings and plain containers are read (torch's weights-only
    unpickler).
    Raises WeightsUnavailable where there is no file, WeightsCorrupt for a damaged one, ModelInvalid
    for a file that would run code, swells beyond what weights can, or does not hold a mapping.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"expected a checkpoint file, found none: {path}")
    if path.stat().st_size == 0:
        raise WeightsCorrupt(f"expected a checkpoint, got an empty file: {path}")
    _refuse_bombs(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; the error below says what matters
            with torch.serialization.safe_globals(NUMPY_SCALARS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as refused:
        found = re.search(r"GLOBAL (\S+)", str(refused))
        what = f"the object {found[1]}, which loading would run" if found else "no torch checkpoint"
        raise ModelInvalid(
            f"expected tensors and plain values only (a state dict, not a pickled model), got {what}: {path}"
        ) from refused
    except DAMAGE as bad:
        foreign = next((kind for kind in ("TorchScript", "safetensors") if kind in str(bad)), None)
        if foreign is not None:
            raise ModelInvalid(
                f"expected a state dict saved by torch.save, got a {foreign} file: {path}"
            ) from bad
        raise WeightsCorrupt(
            f"expected a torch checkpoint, got a damaged file: {path}: {_first_line(bad)}"
        ) from bad
    except OSError as cause:
        raise WeightsUnavailable(f"expected a readable checkpoint: {path}: {cause.strerror}") from cause
    if not isinstance(content, Mapping):
        raise ModelInvalid(f"expected a mapping of names to tensors, got {type(content).__name__}: {path}")
    return dict(content)


def _refuse_bombs(path: Path) -> None:
    """torch stores weights as they are, and weights hardly shrink: what swells is no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # torch's older format, or damaged: reading it will tell
    most = LARGEST_SWELL * path.stat().st_size + (1 << 26)
    if unpacked > most:
        raise ModelInvalid(f"expected weights that unpack to at most {most} bytes, got {unpacked}: {path}")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint: the file itself or its entry `model`, `state_dict`, … at any depth, under
    the network's own names (see weights_of)."""
    return weights_of(read_checkpoint(path), path)


def weights_of(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """As read_state_dict, for a checkpoint that is read already; `path` serves the error.

    What DataParallel, torch.compile and AveragedModel put into names (`module.`, `_orig_mod.`), wherever it
    stands, is taken out, and so is the last one's count of averages. Types stay as stored.
    """
    for _ in range(DEEPEST):  # a file may say that it lies in itself
        inner = [content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        content = inner[0] if inner else content
    content = {str(key): value for key, value in content.items() if key != AVERAGES}
    strangers = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers or not content:
        raise ModelInvalid(f"expected names of tensors, got {_some(strangers) or 'nothing'}: {path}")
    bare = {
        ".".join(part for part in key.split(".") if part not in SHELLS): value
        for key, value in content.items()
    }
    return bare if len(bare) == len(content) else dict(content)


def load_weights(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copies `state` into the network; every name and shape must agree.

    BN counters (`num_batches_tracked`) may lack: torch wrote none before 0.4.1, and inference ignores them.
    Raises ModelInvalid that names what is missing, unexpected or of another shape, and the path.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} expected {tuple(own[key].shape)}, got {tuple(state[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    faults = [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise ModelInvalid(
            f"expected the weights of {type(network).__name__}, got {'; '.join(faults)}: {path}"
        )
    network.load_state_dict(dict(state), strict=False)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Writes under a temporary name in the same folder, then renames: a kill leaves the old file whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            torch.save(dict(content), temporary)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, RuntimeError) as cause:
        raise unwritten(path, cause) from cause


def unwritten(path: Path, cause: OSError | RuntimeError) -> OutputError:
    """The error for a file that could not be written: OutputFull where the disk is, else OutputUnwritable."""
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return (OutputFull if full else OutputUnwritable)(f"could not write {path}: {_first_line(cause)}")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
