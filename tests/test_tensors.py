"""Files of tensors: every type comes back, every damage is seen, nothing is believed that the file does not hold."""

from __future__ import annotations

import hashlib
import random

import pytest
import torch
from safetensors.torch import save

from seq2seq.errors import ModelDirectoryError
from seq2seq.tensors import file_digest, read_shapes, read_tensors, tensors_to_bytes

TENSORS = {
    "float": torch.randn(3, 4),
    "half": torch.randn(5).to(torch.bfloat16),
    "number": torch.tensor(7),
    "nothing": torch.zeros(0, 3),
    "turned": torch.arange(6.0).view(2, 3).t(),
}


def test_every_type_comes_back(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensors_to_bytes(TENSORS))
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    assert read_shapes(path) == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_bit_can_change_unseen(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = tensors_to_bytes(TENSORS)
    drawn = random.Random(1)
    places = [*range(0, 64, 5), *(drawn.randrange(len(whole)) for _ in range(300))]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(content)
        try:
            found = read_tensors(path)
        except ModelDirectoryError as error:
            assert "damaged" in str(error) and "\n" not in str(error)
        else:  # white space of the header, or the like
            assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\xff" * 8 + b"{}", "damaged .a header of 18,446,744,073,709,551,615 bytes"),
        ((1 << 21).to_bytes(8, "little") + b" " * (1 << 21), "damaged .a header of 2,097,152 bytes"),
        (b"\x02\0\0\0\0\0\0\0{}", "checksum differs"),
        (save({"a": torch.ones(2)}), "checksum differs"),  # of somebody who keeps none
        (b"\x80\x04\x95\x00", "damaged"),  # a pickle
    ],
)
def test_what_is_no_file_of_ours(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelDirectoryError, match=message):
        read_tensors(path)
