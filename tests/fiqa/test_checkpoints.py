"""Checkpoints are data: code in them never runs, and every disagreement is named."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from facesieve.fiqa.checkpoints import load_weights, read_checkpoint, read_state_dict, write_checkpoint
from facesieve.stream.errors import ModelInvalid, OutputUnwritable, WeightsCorrupt, WeightsUnavailable


class Payload:
    """Unpickling this makes a folder: proof that code ran."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_is_refused_unrun(tmp_path, write):
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    write({"weight": Payload(mark)}, path)
    with pytest.raises(ModelInvalid, match=r"state dict.*evil\.pth"):
        read_checkpoint(path)
    assert not mark.exists()


def test_round_trip_and_nesting(tmp_path):
    network = nn.Linear(2, 1)
    plain, nested, parallel = tmp_path / "a.pth", tmp_path / "b.pt", tmp_path / "c.pth"
    write_checkpoint(plain, network.state_dict())
    write_checkpoint(nested, {"step": 3, "model": network.state_dict(), "opt": {}, "ema": {}, "scaler": None})
    write_checkpoint(parallel, {f"module.{k}": v for k, v in network.state_dict().items()})
    for path in (plain, nested, parallel):
        fresh = nn.Linear(2, 1)
        load_weights(fresh, read_state_dict(path), path)
        assert torch.equal(fresh.weight, network.weight)
    assert read_checkpoint(nested)["step"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "b.pt", "c.pth"]


def averaged(network):
    return torch.optim.swa_utils.AveragedModel(nn.DataParallel(network)).state_dict()


def compiled(network):
    return {f"_orig_mod.{name}": value for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    "wrapped",
    [
        averaged,
        compiled,
        lambda network: {"state_dict": {"model": nn.DataParallel(network).state_dict()}, "epoch": 3},
        lambda network: {"model": network.state_dict(), "ema": averaged(nn.Sequential(nn.Linear(2, 2)))},
        lambda network: nn.Sequential(nn.DataParallel(network[0])).state_dict(),  # 0.module.weight
        lambda network: network.half().state_dict(),
        lambda network: network.bfloat16().state_dict(),
        lambda network: network.double().state_dict(),
    ],
)
def test_whatever_a_training_script_wraps_around_the_weights(tmp_path, wrapped):
    torch.manual_seed(0)
    network, path = nn.Sequential(nn.Linear(2, 1)), tmp_path / "wrapped.pth"
    weight = network[0].weight.detach().clone()
    torch.save(wrapped(network), path)
    fresh = nn.Sequential(nn.Linear(2, 1))
    load_weights(fresh, read_state_dict(path), path)
    assert fresh[0].weight.dtype == torch.float32
    torch.testing.assert_close(fresh[0].weight.detach(), weight, atol=4e-3, rtol=0)


def test_numbers_of_numpy_beside_the_weights(tmp_path):
    path = tmp_path / "m.pth"
    kept = {"best": np.float64(0.5), "epoch": np.int64(3), "done": np.bool_(True), "loss": np.float32(0.25)}
    torch.save({"state_dict": nn.Linear(2, 1).state_dict(), **kept}, path)
    assert {name: read_checkpoint(path)[name] for name in kept} == kept
    assert sorted(read_state_dict(path)) == ["bias", "weight"]


class Objects:
    """Pickles as a numpy scalar that would hold an object."""

    def __reduce__(self):
        return np.float64(0).__reduce__()[0], (np.dtype(object), b"cos\nsystem\n(S'true'\ntR.")


def test_objects_in_numpys_clothes_are_refused(tmp_path):
    path = tmp_path / "m.pth"
    torch.save({"best": Objects()}, path)
    with pytest.raises((ModelInvalid, WeightsCorrupt), match=r"m\.pth"):
        read_checkpoint(path)


def test_files_of_other_kinds_are_named(tmp_path):
    script = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 1)), script)
    with pytest.raises(ModelInvalid, match=r"got a TorchScript file: .*script\.pt"):
        read_checkpoint(script)
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors = tmp_path / "w.safetensors"
    tensors.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    if find_spec("safetensors") is None:  # torch reads them with its help
        with pytest.raises(ModelInvalid, match=r"got a safetensors file: .*w\.safetensors"):
            read_checkpoint(tensors)


def test_names_that_would_collide_stay_as_they_are(tmp_path):
    path = tmp_path / "two.pth"
    torch.save({"module.weight": torch.zeros(1), "weight": torch.ones(1)}, path)
    assert sorted(read_state_dict(path)) == ["module.weight", "weight"]


def test_a_checkpoint_that_lies_in_itself(tmp_path):
    path, content = tmp_path / "loop.pth", {}
    content["model"] = content
    torch.save(content, path)
    with pytest.raises(ModelInvalid, match=r"expected names of tensors, got model: .*loop\.pth"):
        read_state_dict(path)


def test_disagreements_are_named_with_the_path(tmp_path):
    path = tmp_path / "other.pth"
    state = {"weight": torch.zeros(5, 2), "extra": torch.zeros(1)}
    with pytest.raises(ModelInvalid) as refused:
        load_weights(nn.Linear(2, 1), state, path)
    for part in ("1 missing: bias", "1 unexpected: extra", "weight expected (1, 2), got (5, 2)", "other.pth"):
        assert part in str(refused.value)


def test_counters_of_batch_norm_may_lack(tmp_path):
    norm = nn.BatchNorm1d(3)
    state = {k: v + 1 for k, v in norm.state_dict().items() if k != "num_batches_tracked"}
    load_weights(norm, state, tmp_path)
    assert torch.equal(norm.running_var, torch.full((3,), 2.0))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", WeightsCorrupt),
        (b"PK\x03\x04 cut short", WeightsCorrupt),
        (b"hello, no checkpoint", WeightsCorrupt),
    ],
)
def test_damaged_files(tmp_path, content, error):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(error, match=r"bad\.pth"):
        read_checkpoint(path)


def test_a_small_file_that_swells_is_refused_unread(tmp_path):
    """80 MB of zeros in 80 kB: torch itself would unpack them."""
    whole, bomb = tmp_path / "whole.pth", tmp_path / "bomb.pth"
    torch.save({"w": torch.zeros(20_000_000)}, whole)
    with zipfile.ZipFile(whole) as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert read_checkpoint(whole)["w"].shape == (20_000_000,)
    assert torch.load(bomb, weights_only=True)["w"].shape == (20_000_000,)
    with pytest.raises(ModelInvalid, match=r"unpack to at most \d+ bytes, got 8\d+: .*bomb\.pth"):
        read_checkpoint(bomb)


def test_truncated_file(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsCorrupt, match=r"cut\.pth"):
        read_checkpoint(path)


def test_missing_file_and_wrong_content(tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"none\.pth"):
        read_checkpoint(tmp_path / "none.pth")
    path = tmp_path / "list.pth"
    torch.save([1, 2], path)
    with pytest.raises(ModelInvalid, match="mapping"):
        read_checkpoint(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelInvalid, match="epoch"):
        read_state_dict(path)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable, match=r"m\.pt"):
        write_checkpoint(tmp_path / "file" / "m.pt", {"a": torch.zeros(1)})
