"""Zeros on disk: exact to the bit, as large as arithmetic says, and never silently wrong."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import tiny_model_folder
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families import family_of
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.store.checkpoint import (
    count_parameters,
    describe_cut,
    load_dense,
    load_slim,
    read_tensors,
    save_dense,
    save_slim,
)
from whisperslim.core.store.sparse import MASK_SUFFIX, SPARSE_KEY, decode, encode, whole_shapes
from whisperslim.errors import CheckpointError

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
NAME = "model.encoder.layers.0.fc1.weight"


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.reshape(-1).view(WHOLE[tensor.element_size()]).tolist()


def sparse(shape: tuple[int, ...], share: float, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return values.masked_fill(torch.rand(shape, generator=generator) < share, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 40), max_size=3).map(tuple),
    share=st.sampled_from([0.0, 0.05, 0.0625, 0.07, 0.25, 0.5, 0.99, 1.0]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_every_bit_comes_back(
    shape: tuple[int, ...], share: float, dtype: torch.dtype, seed: int
) -> None:
    tensor = sparse(shape, share, dtype, seed)
    back = decode(*encode({NAME: tensor}))
    assert set(back) == {NAME}
    assert (back[NAME].dtype, back[NAME].shape) == (dtype, tensor.shape)
    assert bits(back[NAME]) == bits(tensor)


@settings(max_examples=20, deadline=None)
@given(
    share=st.floats(0.0, 1.0), dtype=st.sampled_from(DTYPES[:3]), size=st.sampled_from([7, 40, 200])
)
def test_a_file_is_never_larger_for_it(
    tmp_path_factory: pytest.TempPathFactory, share: float, dtype: torch.dtype, size: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    tensors = {NAME: sparse((size, size), share, dtype, 0)}
    stored, metadata = encode(tensors)
    save_file(tensors, folder / "dense", metadata={"format": "pt"})
    save_file(stored, folder / "sparse", metadata={"format": "pt", **metadata})
    assert (folder / "sparse").stat().st_size <= (folder / "dense").stat().st_size


def test_bytes_by_hand() -> None:
    tensor = torch.ones(100, 101, dtype=torch.float16)
    tensor[:40] = 0.0
    stored, metadata = encode({NAME: tensor})
    # 60 rows of 101 values; 10,100 bits are 1,262 bytes and a half.
    assert stored[NAME].shape == (6060,) and stored[NAME].dtype == torch.float16
    assert stored[NAME + MASK_SUFFIX].shape == (1263,)
    assert json.loads(metadata[SPARSE_KEY]) == {NAME: [100, 101]}


def test_the_order_of_the_mask_is_as_documented() -> None:
    tensor = torch.zeros(2000, dtype=torch.float32)
    tensor[[0, 3, 9]] = torch.tensor([1.0, 2.0, 3.0])
    stored, _ = encode({NAME: tensor})
    assert stored[NAME + MASK_SUFFIX][:2].tolist() == [0b1001, 0b10]
    assert stored[NAME].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 16), (torch.float32, 32)])
def test_it_is_used_from_the_share_where_it_pays(dtype: torch.dtype, limit: int) -> None:
    for zeros, wanted in ((limit - 1, True), (limit, False), (limit + 1, False)):
        tensor = torch.ones(zeros * 10_000, dtype=dtype)
        tensor[:10_000] = 0.0
        assert bool(encode({NAME: tensor})[1]) is wanted


def test_negative_zeros_and_odd_values_are_values() -> None:
    tensor = torch.zeros(4000, dtype=torch.float16)
    odd = torch.tensor([0xFE01, 0x7C01, 0x8000, 0x0001, 0xFC00], dtype=torch.uint16)
    tensor[10:15] = odd.view(torch.float16)
    stored, _ = encode({NAME: tensor})
    assert len(stored[NAME]) == 5
    assert bits(decode(*encode({NAME: tensor}))[NAME]) == bits(tensor)


def test_whole_tensors_are_left_alone() -> None:
    tensors = {NAME: torch.ones(50, 50), "bias": torch.zeros(20)}
    stored, metadata = encode(tensors)
    assert metadata == {} and all(stored[name] is tensors[name] for name in tensors)
    assert decode(tensors, {"format": "pt"}) == tensors


def damaged(change: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    stored, metadata = encode({NAME: sparse((51, 61), 0.5, torch.float16, 0)})
    mask = stored[NAME + MASK_SUFFIX]
    if change == "a bit more":
        mask[7] = 0xFF
    elif change == "a bit less":
        mask[7] = 0
    elif change == "bits after the end":  # one moved there: the number still fits
        last = int(mask.nonzero()[-1])
        mask[5] = int(mask[5]) & (int(mask[5]) - 1)
        mask[last] = int(mask[last]) | 0x80
    elif change == "short mask":
        stored[NAME + MASK_SUFFIX] = mask[:-1].clone()
    elif change == "no mask":
        del stored[NAME + MASK_SUFFIX]
    elif change == "no values":
        del stored[NAME]
    elif change == "short values":
        stored[NAME] = stored[NAME][:-1].clone()
    elif change == "a zero among the values":
        stored[NAME][3] = 0.0
    elif change == "other shape":
        metadata[SPARSE_KEY] = json.dumps({NAME: [51, 10]})
    elif change == "no shape":
        metadata[SPARSE_KEY] = json.dumps({NAME: [51, -1]})
    else:
        metadata[SPARSE_KEY] = change
    return stored, metadata


@pytest.mark.parametrize(
    "change",
    ["a bit more", "a bit less", "bits after the end", "short mask", "no mask", "no values",
     "short values", "a zero among the values", "other shape", "no shape", "{", "[1]",
     '{"x": 3}'],
)  # fmt: skip
def test_damage_is_refused(change: str, tmp_path: Path) -> None:
    stored, metadata = damaged(change)
    save_file(stored, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing or damaged"):
        read_tensors(tmp_path / "model.safetensors")


def test_shapes_from_a_header() -> None:
    entries = {"a": (6,), f"a{MASK_SUFFIX}": (2,), "b": (5, 1)}
    assert whole_shapes(entries, {SPARSE_KEY: '{"a": [3, 4]}'}) == {"a": (3, 4), "b": (5, 1)}
    with pytest.raises(CheckpointError, match="missing"):
        whole_shapes({"a": (6,)}, {SPARSE_KEY: '{"a": [3, 4]}'})


@pytest.fixture(scope="module")
def zeroed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slim folder, float16, in whose prunable matrices every second row is zero."""
    dense = tiny_model_folder(tmp_path_factory.mktemp("zeroed") / "dense")
    model = load_dense(dense)
    groups = family_of(model).unit_groups(model)
    with torch.no_grad():
        for name in family_of(model).prunable_weights(model):
            model.get_parameter(name)[::2] = 0.0
    record = describe_cut("tiny", groups, count_parameters(model), keep_everything(groups), "hi")
    save_slim(dense.parent / "slim", model, record, side_files=dense, dtype=torch.float16)
    save_dense(dense.parent / "plain", model, side_files=dense, dtype=torch.float16)
    return dense.parent / "slim"


def test_a_slim_folder_loads_as_if_it_were_plain(zeroed: Path) -> None:
    slim, plain = load_slim(zeroed), load_dense(zeroed.parent / "plain")
    for name, parameter in plain.named_parameters():
        assert torch.equal(slim.get_parameter(name), parameter), name


def test_its_file_is_smaller_by_what_the_report_says(zeroed: Path) -> None:
    report = cost_of(zeroed)
    plain = cost_of(zeroed.parent / "plain")
    assert report.bytes_on_disk == (zeroed / "model.safetensors").stat().st_size
    with safe_open(zeroed / "model.safetensors", "pt") as file:
        shapes = json.loads(file.metadata()[SPARSE_KEY])
    stored = load_file(zeroed / "model.safetensors")
    elements = {name: shape[0] * shape[1] for name, shape in shapes.items()}
    half = sum(2 * (n // 2) - -(-n // 8) for n in elements.values())
    assert shapes and report.sparse_saved == half
    assert sum(t.nbytes for t in stored.values()) + half == sum(
        t.nbytes for t in load_file(zeroed.parent / "plain" / "model.safetensors").values()
    )
    assert plain.sparse_saved == 0
    assert (report.zeroed, report.parameters) == (plain.zeroed, plain.parameters)
    assert report.zeroed > 0 and report.dtype == "float16"


def test_a_stock_loader_fails_instead_of_inventing_weights(zeroed: Path) -> None:
    with pytest.raises(RuntimeError, match="mismatch"):
        WhisperForConditionalGeneration.from_pretrained(zeroed)
