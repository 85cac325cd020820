"""Writes api.json: names and signatures of TensorRT's and CUDA's Python bindings, for the tests.

    pip install --no-deps tensorrt-cu13-bindings==11.4.0.106 && pip install cuda-bindings
    python tests/engines/tensorrt/record_api.py

No GPU and no TensorRT library is needed: the bindings' own docstrings carry the signatures, and the libraries
that they want at import are stood in for by empty ones made with gcc.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("libnvinfer.so.11", "libnvonnxparser.so.11", "libnvinfer_plugin.so.11")
CLASSES = ["Builder", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger"]
CLASSES += ["INetworkDefinition", "IOptimizationProfile", "ITensor", "ITimingCache", "OnnxParser"]
CLASSES += ["ParserError", "Runtime"]
ENUMS = ["BuilderFlag", "DataType", "ExecutionContextAllocationStrategy", "HardwareCompatibilityLevel"]
ENUMS += ["MemoryPoolType", "NetworkDefinitionCreationFlag", "TensorIOMode", "TensorLocation"]
CUDA_FUNCTIONS = re.compile(
    r"cuda(Malloc|Free|Host|Memcpy|MemGetInfo|Memset|Stream|Event|Graph(Instantiate|Launch|Upload|Destroy|Exec)"
    r"|GetDevice|SetDevice|DeviceSynchronize|GetError|RuntimeGetVersion|DriverGetVersion).*"
)
CUDA_ENUMS = ["cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"]


def parameters(signature: str) -> list[str]:
    """Names of one pybind11 signature line, without self; a question mark follows what may be left out."""
    inside = re.sub(r"<[^<>]*>", "default", signature[signature.index("(") + 1 : signature.rindex(")")])
    inside = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", inside))
    parts = [part.strip() for part in inside.split(",") if part.strip()]
    named = [re.split(r"[:=]", part)[0].strip() + ("?" if "=" in part else "") for part in parts]
    return [name for name in named if name != "self"]


def overloads(name: str, doc: str) -> list[list[str]]:
    lines = re.findall(rf"^(?:\d+\. )?({re.escape(name)}\(.*\)) -> .*$", doc, re.MULTILINE)
    return [parameters(line) for line in lines if "*args" not in line]


def described(kind: type) -> dict[str, Any]:
    methods, properties = {}, {}
    for name, member in vars(kind).items():
        if isinstance(member, property):
            properties[name] = "read and written" if member.fset else "read"
        elif name == "__init__" or (not name.startswith("_") and inspect.isroutine(getattr(kind, name))):
            methods[name] = overloads(name, getattr(kind, name).__doc__ or "")
    return {"methods": methods, "properties": properties}


def tensorrt_table() -> dict[str, Any]:
    import tensorrt_bindings as trt

    enums = {name: list(getattr(trt, name).__members__) for name in ENUMS}
    enums["ILogger.Severity"] = list(trt.ILogger.Severity.__members__)
    classes = {name: described(getattr(trt, name)) for name in CLASSES}
    return {"version": trt.__version__, "classes": classes, "enums": enums}


def cuda_table() -> dict[str, Any]:
    from cuda.bindings import runtime

    functions = {}
    for name in dir(runtime):
        if CUDA_FUNCTIONS.fullmatch(name) and inspect.isroutine(getattr(runtime, name)):
            taken = inspect.signature(getattr(runtime, name)).parameters.values()
            functions[name] = [[p.name + ("" if p.default is p.empty else "?") for p in taken]]
    return {
        "version": version("cuda-bindings"),
        "functions": functions,
        "enums": {name: list(getattr(runtime, name).__members__) for name in CUDA_ENUMS},
        "constants": [
            name
            for name in dir(runtime)
            if re.fullmatch(r"cudaStream[A-Z]\w*", name) and isinstance(getattr(runtime, name), int)
        ],
        "cudaDeviceProp": [name for name in dir(runtime.cudaDeviceProp) if not name.startswith("_")],
    }


def packed(found: re.Match[str]) -> str:
    """A list of names on one line."""
    return "[" + " ".join(found[1].split()) + "]"


def with_empty_libraries() -> None:
    """Run this script again where the libraries of the bindings are empty ones."""
    spec = find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None:
        sys.exit("expected tensorrt-cu13-bindings to be installed")
    binary = Path(spec.origin).parent / "tensorrt.so"
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", binary], capture_output=True, check=True, text=True
    )
    wanted = [
        name
        for name in re.findall(r"\bU (\w+)$", listed.stdout, re.MULTILINE)
        if re.match(r"create.*_INTERNAL$|get\w*PluginRegistry$|getNvOnnx|initLibNv", name)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in wanted))
        for library in LIBRARIES:
            command = [
                "gcc",
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{library}",
                "-o",
                Path(folder) / library,
                source,
            ]
            subprocess.run(command, check=True)
        environment = os.environ | {"LD_LIBRARY_PATH": folder, "FACESIEVE_EMPTY_LIBRARIES": "1"}
        subprocess.run([sys.executable, __file__], env=environment, check=True)


if __name__ == "__main__":
    if "FACESIEVE_EMPTY_LIBRARIES" not in os.environ:
        with_empty_libraries()
    else:
        table = {"tensorrt": tensorrt_table(), "cuda": cuda_table()}
        text = json.dumps(table, indent=1, sort_keys=True)
        Path(__file__).with_name("api.json").write_text(
            re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", packed, text) + "\n"
        )
