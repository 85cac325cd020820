"""Packed verification sets (`lfw.bin`, `cfp_fp.bin`, … of insightface), read without unpickling.

Such a file is a pickle of `(bins, issame_list)`: 2p encoded images, images 2i and 2i+1 making pair i, and p
booleans. A pickle is a program, so it is never run: its opcodes are stepped through and only those that make
lists, tuples, bytes, booleans, small integers and plain numpy arrays of them have a meaning here. A name of
any other function or class, and any other opcode, ends the reading.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceMissing, SourceUnreadable

_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_NAMES: Final = {
    **{(module, "_reconstruct"): "reconstruct" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}
_DTYPES: Final = {"u1": np.uint8, "i1": np.int8, "b1": np.bool_, "i4": np.int32, "i8": np.int64}


class _Refused(Exception):
    """What the pickle asked for."""


@dataclass(frozen=True, slots=True)
class _Name:
    """One of the few functions and classes that may be named; what they would do is done below."""

    kind: str


@dataclass(slots=True)
class _Dtype:
    code: str
    order: str = "|"


@dataclass(slots=True)
class _Array:
    """An array under construction: filled by BUILD."""

    value: NDArray[Any] | None = None


class _Mark:
    pass


class _Text(str):
    """A string of Python 2: bytes or a name, which shows only where it is used."""

    __slots__ = ()


@dataclass(slots=True)
class _Machine:
    """The stack and the memo of a pickle, and the meaning of the admitted opcodes."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[at], _Mark):
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise _Refused("a list without a beginning")

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise _Refused("an empty stack")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def name(self, module: object, name: object) -> None:
        kind = _NAMES.get((str(module), str(name)))
        if kind is None:
            raise _Refused(f"the name {module}.{name}")
        self.stack.append(_Name(kind))

    def append(self, items: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], list):
            raise _Refused("an append to something that is not a list")
        self.stack[-1].extend(items)

    def reduce(self) -> None:
        function, arguments = self.take(2)
        match function, arguments:
            case _Name("reconstruct"), (_Name("ndarray"), tuple(), _):
                self.stack.append(_Array())
            case _Name("frombuffer"), (bytes() | bytearray() as data, _Dtype() as dtype, tuple(shape), _):
                self.stack.append(_Array(_filled(dtype, bytes(data), shape)))
            case _Name("dtype"), (str(code), *_):
                self.stack.append(_Dtype(code.lstrip("|<>=")))
            case _Name("encode"), (str(text), "latin1" | "latin-1"):
                self.stack.append(text.encode("latin-1"))
            case _Name("bytes"), ():
                self.stack.append(b"")
            case _Name("scalar"), (_Dtype() as dtype, bytes() | _Text() as data):
                self.stack.append(_filled(dtype, data, (1,))[0].item())
            case _:
                raise _Refused(f"a call of {function} with {type(arguments).__name__}")

    def build(self) -> None:
        thing, state = self.take(2)
        match thing, state:
            case _Dtype(), (_, str(order), *_):
                thing.order = order
            case _Array(), (_, tuple(shape), _Dtype() as dtype, _, bytes() | _Text() as data):
                thing.value = _filled(dtype, data, shape)
            case _:
                raise _Refused(f"a state of {type(state).__name__} for {type(thing).__name__}")
        self.stack.append(thing)


def _raw(data: bytes | _Text) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else data


def _filled(dtype: _Dtype, data: bytes | _Text, shape: tuple[Any, ...]) -> NDArray[Any]:
    if dtype.code not in _DTYPES or dtype.order not in "|<=":
        raise _Refused(f"an array of {dtype.order}{dtype.code}")
    flat: NDArray[Any] = np.frombuffer(_raw(data), _DTYPES[dtype.code])
    if len(shape) > 2 or any(not isinstance(n, int) or n < 0 for n in shape) or flat.size != np.prod(shape):
        raise _Refused(f"an array of shape {shape} out of {flat.size} values")
    return flat


_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "NONE": lambda: None,
    "MARK": _Mark,
}
_LITERALS: Final = frozenset(
    (
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BININT", "BININT1", "BININT2", "INT", "LONG1", "BYTEARRAY8"),
    )
)
_PYTHON2_STRINGS: Final = frozenset(("STRING", "BINSTRING", "SHORT_BINSTRING"))


def _step(machine: _Machine, opcode: str, argument: Any) -> None:
    stack = machine.stack
    if opcode in _CONSTANTS:
        stack.append(_CONSTANTS[opcode]())
    elif opcode in _LITERALS:
        stack.append(argument)
    elif opcode in _PYTHON2_STRINGS:
        stack.append(_Text(argument))
    elif opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(machine.take(int(opcode[-1])))
    elif opcode == "TUPLE":
        stack.append(tuple(machine.since_mark()))
    elif opcode == "LIST":
        stack.append(machine.since_mark())
    elif opcode == "APPEND":
        machine.append(list(machine.take(1)))
    elif opcode == "APPENDS":
        machine.append(machine.since_mark())
    else:
        _refer(machine, opcode, argument)


def _refer(machine: _Machine, opcode: str, argument: Any) -> None:
    """The memo, names and calls."""
    match opcode:
        case "MEMOIZE":
            machine.memo[len(machine.memo)] = machine.stack[-1]
        case "PUT" | "BINPUT" | "LONG_BINPUT":
            machine.memo[int(argument)] = machine.stack[-1]
        case "GET" | "BINGET" | "LONG_BINGET":
            machine.stack.append(machine.memo[int(argument)])
        case "GLOBAL":
            module, _, name = str(argument).partition(" ")
            machine.name(module, name)
        case "STACK_GLOBAL":
            machine.name(*machine.take(2))
        case "REDUCE":
            machine.reduce()
        case "BUILD":
            machine.build()
        case "PROTO" | "FRAME" | "STOP":
            pass
        case _:
            raise _Refused(f"the opcode {opcode}")


def read_packed(path: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    """The 2p encoded images and p booleans of a packed set.

    Raises SourceMissing, or SourceUnreadable with the path for a file that is damaged or asks for more than
    lists of bytes and booleans.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise SourceMissing(f"expected a packed set at {path}: {cause.strerror}") from cause
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            _step(machine, opcode.name, argument)
        return _pairs(machine.take(1)[0])
    except _Refused as refused:
        raise SourceUnreadable(
            f"expected a pickle of encoded images and booleans, and nothing else, in {path}; "
            f"it holds {refused}"
        ) from None
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeError, MemoryError) as damage:
        raise SourceUnreadable(f"expected a pickle of images and booleans in {path}: {damage}") from damage


def _pairs(whole: Any) -> tuple[list[bytes], NDArray[np.bool_]]:
    if not isinstance(whole, tuple | list) or len(whole) != 2:
        raise _Refused("something other than a pair of lists")
    bins = [_encoded(image) for image in _items(whole[0])]
    flags = [_flag(value) for value in _items(whole[1])]
    if not flags or len(bins) != 2 * len(flags):
        raise _Refused(f"{len(bins)} images for {len(flags)} pairs")
    return bins, np.array(flags, np.bool_)


def _items(value: Any) -> list[Any]:
    if isinstance(value, _Array) and value.value is not None:
        return list(value.value.tolist())
    if not isinstance(value, list | tuple):
        raise _Refused(f"{type(value).__name__} where a list was expected")
    return list(value)


def _encoded(image: Any) -> bytes:
    if isinstance(image, _Array) and image.value is not None and image.value.dtype == np.uint8:
        return bytes(image.value.tobytes())
    if not isinstance(image, bytes | _Text):
        raise _Refused(f"{type(image).__name__} where an encoded image was expected")
    return _raw(image)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise _Refused(f"{type(value).__name__} where a boolean was expected")
    return bool(value)
