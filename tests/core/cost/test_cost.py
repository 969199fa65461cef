"""Costs against arithmetic done here from the tiny configuration's own numbers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import D_MODEL, FFN, HEADS, LAYERS, VOCABULARY, tiny_model_folder
from whisperslim.core.cost.cost import CostReport, CostRow, cost_of, inspect_model
from whisperslim.core.cost.flops import WORKLOADS, Workload
from whisperslim.core.families import family_of
from whisperslim.core.loading import load_model
from whisperslim.core.plan.arithmetic import expected_size
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, load_dense, save_slim
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.speech.audio.window import WindowPolicy

MELS, SOURCE, TARGET = 80, 1500, 128
HEAD = D_MODEL // HEADS
ATTENTION = 4 * D_MODEL * D_MODEL  # q, k, v, out
BLOCK = 2 * D_MODEL * FFN  # fc1, fc2
PRUNABLE = LAYERS * (ATTENTION + BLOCK) + LAYERS * (2 * ATTENTION + BLOCK)
# Three q/v/out biases but no k bias; two FFN biases; two norms (three in the decoder) of two rows.
BIASES = 3 * D_MODEL
ENCODER_LAYER = ATTENTION + BIASES + BLOCK + FFN + D_MODEL + 2 * 2 * D_MODEL
DECODER_LAYER = 2 * (ATTENTION + BIASES) + BLOCK + FFN + D_MODEL + 3 * 2 * D_MODEL
CONVOLUTIONS = (MELS + D_MODEL) * D_MODEL * 3 + 2 * D_MODEL
TOTAL = (
    CONVOLUTIONS + SOURCE * D_MODEL + LAYERS * ENCODER_LAYER + 2 * D_MODEL
    + (VOCABULARY + TARGET) * D_MODEL + LAYERS * DECODER_LAYER + 2 * D_MODEL
)  # fmt: skip
HEADS_KEY, FFN_KEY = "encoder.1.self_attn.heads", "decoder.0.ffn"
CROSS_KEY = "decoder.1.encoder_attn.heads"
KEPT = {HEADS_KEY: (0, 3), FFN_KEY: tuple(range(7, 20)), CROSS_KEY: (2,)}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("dense") / "model")


@pytest.fixture(scope="module")
def slim(dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = load_dense(dense)
    groups, parameters = family_of(model).unit_groups(model), count_parameters(model)
    whole = keep_everything(groups)
    plan = PruningPlan({**whole.keep, **KEPT}, target=0.1, removed=0.0)
    cut(model, groups, plan)
    with torch.no_grad():
        model.get_parameter("model.encoder.layers.0.fc1.weight")[:3, :5] = 0.0
        model.get_parameter("model.encoder.layers.0.fc1.bias")[:] = 0.0
    folder = tmp_path_factory.mktemp("slim") / "model"
    record = describe_cut("tiny", groups, parameters, plan, "hi")
    save_slim(folder, model, record, side_files=dense, dtype=torch.float16)
    return folder


def row(report: CostReport, key: str) -> CostRow:
    return next(row for row in report.rows if row.key == key)


def attention_flops(queries: int, keys: int, heads: int) -> int:
    inner = heads * HEAD
    projections = 2 * (2 * queries + 2 * keys) * D_MODEL * inner
    return projections + 2 * 2 * queries * keys * inner


def ffn_flops(positions: int, width: int) -> int:
    return 2 * 2 * positions * D_MODEL * width


def conv_flops(frames: int) -> int:
    return 2 * MELS * D_MODEL * 3 * frames + 2 * D_MODEL * D_MODEL * 3 * (frames // 2)


def dense_flops(frames: int, tokens: int) -> int:
    states = frames // 2
    encoder = LAYERS * (attention_flops(states, states, HEADS) + ffn_flops(states, FFN))
    decoder = LAYERS * (
        attention_flops(tokens, tokens, HEADS)
        + attention_flops(tokens, states, HEADS)
        + ffn_flops(tokens, FFN)
    )
    return conv_flops(frames) + encoder + decoder + 2 * tokens * D_MODEL * VOCABULARY


def test_dense_parameters_by_hand(dense: Path) -> None:
    report = cost_of(dense)
    assert (report.parameters, report.dense_parameters, report.prunable) == (TOTAL, TOTAL, PRUNABLE)
    assert (
        row(report, HEADS_KEY).parameters == ATTENTION + 2 * D_MODEL
    )  # out's bias stays elsewhere
    assert row(report, FFN_KEY).parameters == BLOCK + FFN
    assert row(report, "decoder.embeddings").parameters == VOCABULARY * D_MODEL
    assert row(report, "encoder.positions").parameters == SOURCE * D_MODEL
    assert row(report, "decoder.positions").parameters == TARGET * D_MODEL
    assert row(report, "encoder.convolutions").parameters == CONVOLUTIONS
    norms = LAYERS * 2 * 2 * D_MODEL + 2 * D_MODEL
    assert row(report, "encoder.norms_and_biases").parameters == norms + LAYERS * 2 * D_MODEL


def test_dense_model_has_nothing_removed_or_zeroed(dense: Path) -> None:
    report = cost_of(dense)
    assert (report.removed, report.removed_weights, report.zeroed) == (0, 0, 0)
    assert report.dense_bytes == report.bytes_on_disk


def test_removed_counts_units_with_their_biases(slim: Path) -> None:
    report = cost_of(slim)
    per_head = 4 * D_MODEL * HEAD + 2 * HEAD
    removed = {HEADS_KEY: 2 * per_head, FFN_KEY: 35 * (2 * D_MODEL + 1), CROSS_KEY: 3 * per_head}
    assert {r.key: r.removed for r in report.rows if r.removed} == removed
    assert report.removed == sum(removed.values()) == TOTAL - report.parameters
    weights = 5 * 4 * D_MODEL * HEAD + 35 * 2 * D_MODEL
    assert report.removed_weights == weights
    assert report.removed_of_prunable == weights / PRUNABLE
    assert report.removed_of_all == report.removed / TOTAL
    assert (row(report, FFN_KEY).units, row(report, FFN_KEY).units_dense) == (13, FFN)


def test_zeroed_counts_matrices_only_and_apart_from_removed(slim: Path) -> None:
    report = cost_of(slim)
    assert {r.key: r.zeroed for r in report.rows if r.zeroed} == {"encoder.0.ffn": 15}
    assert report.zeroed == 15
    assert report.zeroed_of_prunable == 15 / PRUNABLE
    assert report.zeroed_of_all == 15 / TOTAL


def test_rows_sum_to_totals(dense: Path, slim: Path) -> None:
    for folder in (dense, slim):
        report = cost_of(folder)
        for name in ("parameters", "removed", "zeroed", "flops", "flops_dense"):
            assert sum(getattr(r, name) for r in report.rows) == getattr(report, name), name


def test_bytes_on_disk(slim: Path) -> None:
    report = cost_of(slim)
    assert report.dtype == "float16"
    assert report.bytes_on_disk == (slim / "model.safetensors").stat().st_size
    assert report.dense_bytes - report.bytes_on_disk == 2 * report.removed
    assert report.folder_bytes == sum(path.stat().st_size for path in slim.iterdir())


def test_dense_flops_by_hand(dense: Path) -> None:
    report = cost_of(dense)
    for work in report.workloads:
        assert work.flops == work.flops_dense == dense_flops(work.frames, work.tokens)
    assert row(report, "encoder.convolutions").flops == conv_flops(550)
    assert row(report, "decoder.embeddings").flops == 2 * 30 * D_MODEL * VOCABULARY


def test_slim_flops_by_hand(slim: Path) -> None:
    report = cost_of(slim, workloads=(Workload("short", 200, 7),))
    assert row(report, HEADS_KEY).flops == attention_flops(100, 100, 2)
    assert row(report, HEADS_KEY).flops_dense == attention_flops(100, 100, HEADS)
    assert row(report, CROSS_KEY).flops == attention_flops(7, 100, 1)
    assert row(report, FFN_KEY).flops == ffn_flops(7, 13)
    assert report.flops_dense == dense_flops(200, 7)


def test_default_workload_is_the_fitted_window_of_five_seconds() -> None:
    assert WORKLOADS[0].frames == WindowPolicy("fit").frames_for(5.0, 3000)
    assert WORKLOADS[1].frames == WindowPolicy("30s").frames_for(5.0, 3000)


def test_loaded_model_costs_what_its_folder_does(slim: Path) -> None:
    loaded = cost_of(load_model(str(slim)))
    assert loaded == inspect_model(str(slim))


def test_model_cut_in_memory(dense: Path) -> None:
    speech = load_model(str(dense))
    groups = speech.groups()
    cut(speech.model, groups, PruningPlan({**keep_everything(groups).keep, FFN_KEY: (1,)}))
    report = cost_of(speech)
    assert report.removed == 47 * (2 * D_MODEL + 1)
    assert (
        report.dense_bytes == report.bytes_on_disk == (dense / "model.safetensors").stat().st_size
    )


def test_record_is_plain_json(slim: Path) -> None:
    record = json.loads(json.dumps(cost_of(slim).to_record()))
    assert record["rows"][0]["key"] == "encoder.0.self_attn.heads"
    assert record["flops"] == record["workloads"][0]["flops"]


def test_contradicting_record_is_refused(slim: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in slim.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    record = json.loads((copy / "slim.json").read_text())
    (copy / "slim.json").write_text(json.dumps({**record, "dense_parameters": 10**6}))
    with pytest.raises(CheckpointError, match="names a dense model with 1000000"):
        cost_of(copy)


def test_damaged_or_unknown_weights_are_refused(dense: Path, tmp_path: Path) -> None:
    for path in dense.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        cost_of(tmp_path)
    tensors = {k: v.to(torch.int8) for k, v in load_file(dense / weights.name).items()}
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match="I8"):
        cost_of(tmp_path)


def test_expected_size_by_hand() -> None:
    size = expected_size(1_000_000, 600_000, 0.25, bytes_per_parameter=2, zeroed=0.1)
    assert (size.parameters, size.removed, size.zeroed) == (850_000, 150_000, 60_000)
    # 790,000 values of two bytes, and a bit for each of the 450,000 prunable weights left.
    assert (size.bytes, size.dense_bytes) == (1_636_250, 2_000_000)


def test_expected_size_agrees_with_a_real_cut(slim: Path) -> None:
    report = cost_of(slim)
    size = expected_size(report.dense_parameters, report.prunable, report.removed_of_prunable)
    biases = 5 * 2 * HEAD + 35
    assert size.parameters == report.parameters + biases


@pytest.mark.parametrize(
    ("change", "message"),
    [({"removed": -0.1}, "removed: -0.1 is outside"), ({"removed": 1.1}, "removed: 1.1 is outside"),
     ({"removed": float("nan")}, "outside"), ({"zeroed": 0.7}, "over 0.95 together"),
     ({"prunable": 11}, "prunable"), ({"bytes_per_parameter": 0}, "bytes")],
)  # fmt: skip
def test_expected_size_refuses_nonsense(change: dict[str, float], message: str) -> None:
    good = {"dense_parameters": 10, "prunable": 6, "removed": 0.5}
    with pytest.raises(UsageError, match=message):
        expected_size(**{**good, **change})  # type: ignore[arg-type]


def test_slider_arithmetic_loads_no_torch() -> None:
    code = "import sys, whisperslim.core.plan.arithmetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_name_is_the_asked_for_one(dense: Path) -> None:
    report = inspect_model(str(dense))
    assert report.name == str(dense)
    assert replace(report, name="") == replace(cost_of(dense), name="")
