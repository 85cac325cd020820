"""ONNX files at the level of protobuf's wire format, so that running a model needs no onnx package.

Two things are wanted of a file before a runtime gets it: that it points to no file outside its own folder and
claims no tensor it doesn't hold, and that its inputs can be declared with other dimensions. Field numbers are
those of onnx/onnx.proto (IR version 4 to 13).
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from math import prod
from pathlib import Path

from ..stream.errors import ModelInvalid
from .signature import Shape

Buffer = bytes | memoryview
_Edit = Callable[[Buffer], bytes | None]
VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NESTED_LIMIT = 32

# message → field number → message of that field. Only what leads to tensors.
_SCHEMA: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
}
# TensorProto.DataType → bits of one element in raw_data.
_BITS: Mapping[int, int] = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8,
}  # fmt: skip
_EXTERNAL = 1


def check(model: Path | bytes, label: str) -> None:
    """Raise ModelInvalid for an ONNX file that is not one, reaches outside its folder, or lies about tensors.

    External data are allowed beside a model that is a file, in its folder or below, and never for bytes.
    """
    folder = model.resolve().parent if isinstance(model, Path) else None
    with _View(model, label) as view:
        try:
            found = 0
            for tensor in _tensors(view, "model", 0):
                found += 1
                _check_tensor(tensor, folder, label)
            if not found and not any(number == 7 for number, _, _ in fields(view)):
                raise ModelInvalid(f"{label}: not a network: expected an ONNX model, found no graph in it")
        except (ValueError, IndexError, RecursionError) as damage:
            raise ModelInvalid(f"{label}: not an ONNX model, or damaged: {damage}") from damage


def with_input_shapes(model: bytes, shapes: Mapping[str, Shape]) -> bytes:
    """The model with other dimensions of the named inputs; those of all that follows are left open."""
    return rewrite(model, {7: lambda graph: _rewrite_graph(graph, shapes)})


def external_files(model: Path) -> tuple[Path, ...]:
    """The files beside a checked model that hold its large tensors, sorted."""
    with _View(model, str(model)) as view:
        named = {location for tensor in _tensors(view, "model", 0) if (location := _claim(tensor).location)}
    return tuple(sorted(model.resolve().parent / location for location in named))


def model_digest(model: Path | bytes) -> str:
    """SHA-256 of a checked ONNX model with its external data; ModelInvalid if a file cannot be read."""
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    whole = hashlib.sha256()
    try:
        for path in (model, *external_files(model)):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise ModelInvalid(f"{model}: cannot be read ({error.strerror})") from error
    return whole.hexdigest()


def input_names(model: bytes) -> tuple[str, ...]:
    """Names of the graph's inputs, without initialisers that are listed among them."""
    graphs = [value for number, _, value in fields(model) if number == 7 and not isinstance(value, int)]
    named = [
        (n, v) for graph in graphs for n, _, v in fields(graph) if n in (5, 11) and not isinstance(v, int)
    ]
    initialised = {_claim(tensor).name for n, tensor in named if n == 5}
    return tuple(name for n, info in named if n == 11 and (name := info_name(info)) not in initialised)


def info_name(info: Buffer) -> str:
    """Of a ValueInfoProto."""
    return next((text(v) for n, _, v in fields(info) if n == 1 and not isinstance(v, int)), "")


def _rewrite_graph(graph: Buffer, shapes: Mapping[str, Shape]) -> bytes:
    def value(info: Buffer, output: bool) -> bytes:
        name = info_name(info)
        if not output and name not in shapes:
            return bytes(info)
        shape = None if output else shapes[name]
        return rewrite(info, {2: lambda t: rewrite(t, {1: lambda tensor: _with_shape(tensor, shape)})})

    return rewrite(graph, {11: lambda i: value(i, False), 12: lambda o: value(o, True), 13: lambda _: None})


def _with_shape(tensor_type: Buffer, shape: Shape | None) -> bytes:
    """The type with this shape; None keeps the rank and leaves every dimension open."""
    if shape is None:
        return rewrite(tensor_type, {2: lambda dims: rewrite(dims, {1: lambda _: b""})})
    dims = b""
    for i, size in enumerate(shape):
        one = field(2, f"d{i}".encode()) if size is None else b"\x08" + varint(size)
        dims += field(1, one)
    return rewrite(tensor_type, {2: lambda _: None}) + field(2, dims)


class _View:
    """The bytes of a model as a memoryview, mapped if it is a file."""

    def __init__(self, model: Path | bytes, label: str) -> None:
        self._model, self._label = model, label
        self._map: mmap.mmap | None = None
        self._bytes: memoryview | None = None

    def __enter__(self) -> memoryview:
        if isinstance(self._model, Path):
            try:
                with self._model.open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as empty:
                raise ModelInvalid(f"{self._label}: not a network: the file is empty") from empty
            except OSError as error:
                raise ModelInvalid(f"{self._label}: cannot be read ({error.strerror})") from error
            self._bytes = memoryview(self._map)
        else:
            self._bytes = memoryview(self._model)
        return self._bytes

    def __exit__(self, *_: object) -> None:
        # A traceback may still hold slices of the view; the map then goes with them.
        self._bytes = self._map = None


def _tensors(message: Buffer, kind: str, depth: int) -> Iterator[Buffer]:
    if depth > _NESTED_LIMIT:
        raise ValueError(f"nested more than {_NESTED_LIMIT} deep")
    inside = _SCHEMA[kind]
    for number, wire, value in fields(message):
        child = inside.get(number)
        if child is None or wire != _BYTES or isinstance(value, int):
            continue
        if child == "tensor":
            yield value
        else:
            yield from _tensors(value, child, depth + 1)


@dataclass(slots=True)
class _Claim:
    """What a TensorProto says of itself. raw_bytes: held in its raw_data, None if it has none. part: offset
    and length in another file, as written."""

    name: str = "?"
    kind: int = 0
    dims: tuple[int, ...] = ()
    raw_bytes: int | None = None
    external: bool = False
    location: str | None = None
    part: dict[str, str] = field_of(default_factory=dict)


def _claim(tensor: Buffer) -> _Claim:
    claim = _Claim()
    for number, _, value in fields(tensor):
        match number, value:
            case 1, int(size):
                claim.dims += (size,)
            case 1, bytes() | memoryview():
                claim.dims += tuple(_packed(value))
            case 2, int(kind):
                claim.kind = kind
            case 8, bytes() | memoryview():
                claim.name = text(value)
            case 9, bytes() | memoryview():
                claim.raw_bytes = len(value)
            case 13, bytes() | memoryview():
                entry = {n: text(v) for n, _, v in fields(value) if not isinstance(v, int)}
                claim.location = entry.get(2) if entry.get(1) == "location" else claim.location
                claim.part[entry.get(1, "")] = entry.get(2, "")
            case 14, int(where):
                claim.external = where == _EXTERNAL
    return claim


def _check_tensor(tensor: Buffer, folder: Path | None, label: str) -> None:
    claim = _claim(tensor)
    expected = (prod(claim.dims) * _BITS.get(claim.kind, 8) + 7) // 8
    if claim.external or claim.location is not None:
        what = f"{label}: tensor {claim.name!r}"
        _check_part(claim, expected, _located(claim.location, folder, what), what)
    elif claim.raw_bytes is not None and claim.kind in _BITS and claim.raw_bytes != expected:
        raise ModelInvalid(
            f"{label}: tensor {claim.name!r} {claim.dims} needs {expected} bytes, "
            f"the file holds {claim.raw_bytes}"
        )


def text(value: Buffer) -> str:
    """A string field."""
    return bytes(value).decode("utf-8", "replace")


def _check_part(claim: _Claim, needed: int, file: Path, what: str) -> None:
    """ModelInvalid unless the file holds the bytes that the tensor claims there."""
    held = file.stat().st_size
    offset, length = claim.part.get("offset") or "0", claim.part.get("length") or str(needed)
    if not (offset.isdecimal() and length.isdecimal()):
        raise ModelInvalid(
            f"{what} claims {length} bytes from byte {offset} of {claim.location!r}: expected whole numbers"
        )
    if int(length) != needed or int(offset) + needed > held:
        raise ModelInvalid(
            f"{what} needs {needed} bytes, and claims {length} from byte {offset} of {claim.location!r}, "
            f"which has {held}"
        )


def _located(location: str | None, folder: Path | None, what: str) -> Path:
    """The file that a tensor names; ModelInvalid for one outside the folder, or none."""
    if folder is None:
        raise ModelInvalid(f"{what} lies in another file; a model given as bytes must be whole")
    if not location:
        raise ModelInvalid(f"{what} lies in another file that is not named")
    target = (folder / location).resolve()
    if not target.is_relative_to(folder):
        raise ModelInvalid(f"{what} lies at {location!r}, outside the model's folder: refused")
    if not target.is_file():
        raise ModelInvalid(f"{what}: its file {location!r} is missing beside the model")
    return target


def _packed(value: Buffer) -> Iterator[int]:
    at = 0
    while at < len(value):
        number, at = _read_varint(value, at)
        yield number


def _read_varint(data: Buffer, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number longer than 64 bits at byte {at}")


def fields(message: Buffer) -> Iterator[tuple[int, int, int | Buffer]]:
    """(field number, wire type, value) of a message, in order."""
    at, end = 0, len(message)
    while at < end:
        key, at = _read_varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _read_varint(message, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if number == 0 or at + size > end:
            raise ValueError(f"field {number} of {size} bytes at byte {at} of {end}")
        yield number, wire, message[at : at + size]
        at += size


def varint(value: int) -> bytes:
    """A number ≥ 0 as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes, wire: int = _BYTES) -> bytes:
    """One field of a message; payload is a varint already for wire type VARINT."""
    size = varint(len(payload)) if wire == _BYTES else b""
    return varint(number << 3 | wire) + size + payload


def rewrite(message: Buffer, edits: Mapping[int, _Edit]) -> bytes:
    """The message with each field that has an edit replaced by what the edit returns; None drops it."""
    out: list[bytes] = []
    for number, wire, value in fields(message):
        if isinstance(value, int):
            out.append(varint(number << 3 | wire) + varint(value))
            continue
        edit = edits.get(number)
        replaced = edit(value) if edit is not None and wire == _BYTES else bytes(value)
        if replaced is not None:
            out.append(field(number, replaced, wire))
    return b"".join(out)
