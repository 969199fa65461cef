"""Training in bf16: when it is used, what it changes, and that runs in it can be resumed."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.methods.method_rows import Row, every_row
from tests.support.tiny_job import (
    Workshop,
    build,
    cross_entropy,
    one_batch,
    run,
    same,
    stop_before,
    weights,
)
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.attention import attend, fast_gradients
from whisperslim.errors import DeviceError
from whisperslim.events import Stopped
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.environment import add_facts
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.order import work
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.train import precision
from whisperslim.train.distill import Teacher
from whisperslim.train.loop import Job
from whisperslim.train.options import DistillOptions
from whisperslim.train.precision import Precision, choose_precision

BF16 = Precision("bf16", "for the test")
# bf16 has 8 bits of mantissa: a loss near 5 is off by some hundredths after a few steps.
TOLERANCE = 0.1


def processor(monkeypatch: pytest.MonkeyPatch, *, avx512: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (True, True)])
def test_auto_is_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool
) -> None:
    processor(monkeypatch, avx512=avx512, amx=amx)
    assert choose_precision("auto", "cpu").name == "bf16"
    assert choose_precision("bf16", "cpu").name == "bf16"
    assert choose_precision("fp32", "cpu").name == "fp32"


def test_elsewhere_auto_is_fp32_and_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, avx512=False, amx=False)
    found = choose_precision("auto", "cpu")
    assert found.name == "fp32" and "AVX512-BF16" in found.why
    with pytest.raises(DeviceError, match=r"neither AVX512-BF16 nor AMX.*use fp32, or auto"):
        choose_precision("bf16", "cpu")


def test_the_choices_of_the_recipe_are_known_here() -> None:
    from whisperslim.jobs.recipe.recipe import dotted_specs

    assert tuple(dotted_specs("sgl")["runtime.precision"].choices) == precision.CHOICES


def job_of(row: Row, shop: Workshop, folder: Path, chosen: Precision, **changes: object) -> Job:
    """Four steps with a teacher whose answers and hidden states both count."""
    student, teacher = shop.student(), shop.student()
    lessons = DistillOptions(teacher="dense", hidden_weight=0.5)
    method = build(row.name, row.gentle, row.target)
    return shop.job(
        folder,
        method,
        student=student,
        teacher=Teacher(teacher, student, lessons),
        precision=chosen,
        batches=shop.batches(augment=AugmentOptions(spec_augment=True)),
        **{"steps": 4, "learning_rate": 1e-3, **changes},
    )


@pytest.fixture(scope="module")
def whole_in_bf16(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Row], Job]:
    """Each row's training in bf16, done once."""

    @cache
    def of(row: Row) -> Job:
        job = job_of(row, shop, tmp_path_factory.mktemp("whole"), BF16)
        run(job)
        return job

    return of


@every_row
def test_four_steps_in_bf16_end_where_those_in_fp32_do(
    row: Row, shop: Workshop, whole_in_bf16: Callable[[Row], Job], tmp_path: Path
) -> None:
    exact = job_of(row, shop, tmp_path, precision.FP32)
    run(exact)
    batch, losses = one_batch(shop, size=8), []
    for job in (exact, whole_in_bf16(row)):
        losses.append(float(cross_entropy(job.student, batch).detach()))
        assert all(p.dtype == torch.float32 for p in job.student.model.parameters())
    assert losses[1] == pytest.approx(losses[0], abs=TOLERANCE)


@every_row
def test_a_run_in_bf16_resumes_to_the_bit(
    row: Row, shop: Workshop, whole_in_bf16: Callable[[Row], Job], tmp_path: Path
) -> None:
    whole = whole_in_bf16(row)
    first = replace(job_of(row, shop, tmp_path, BF16), stop=stop_before(2))
    assert isinstance(run(first)[-1], Stopped)
    second = job_of(row, shop, tmp_path, BF16)
    run(second)
    assert same(weights(whole.student), weights(second.student))
    assert same(whole.method.state_dict(), second.method.state_dict())


def test_bf16_is_really_used(shop: Workshop) -> None:
    seen = set()
    speech = shop.student()
    layer = speech.model.model.encoder.layers[0].fc1
    layer.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    with BF16.autocast(torch.device("cpu")):
        cross_entropy(speech, one_batch(shop))
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (5, 40), (300, 300)])
def test_the_gradient_of_attention_is_that_of_float64(queries: int, keys: int) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> torch.Tensor:
        return torch.randn(2, length, 3, 8, generator=generator).bfloat16().transpose(1, 2)

    query, key, value = (t.requires_grad_() for t in (draw(queries), draw(keys), draw(keys)))
    upstream = draw(queries)
    module = torch.nn.Identity()
    out, _ = attend(module, query, key, value, None, scaling=0.3, is_causal=False)
    found = torch.autograd.grad(out, (query, key, value), upstream.transpose(1, 2))
    exact = [t.detach().double().requires_grad_() for t in (query, key, value)]
    scores = torch.softmax(0.3 * exact[0] @ exact[1].transpose(2, 3), -1)
    wanted_out = scores @ exact[2]
    wanted = torch.autograd.grad(wanted_out, exact, upstream.double())
    assert torch.allclose(out.transpose(1, 2).double(), wanted_out, atol=0.03)
    for ours, theirs in zip(found, wanted, strict=True):
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 0.02


@pytest.mark.parametrize("case", ["float32", "masked", "causal", "no gradient"])
def test_everything_else_is_transformers_own_attention(case: str) -> None:
    dtype = torch.float32 if case == "float32" else torch.bfloat16
    tensors = [torch.randn(1, 2, 6, 4, dtype=dtype, requires_grad=True) for _ in range(3)]
    mask = torch.ones(6, 6, dtype=torch.bool).tril()[None, None] if case == "masked" else None
    causal = case == "causal"
    with torch.set_grad_enabled(case != "no gradient"):
        found, _ = attend(torch.nn.Identity(), *tensors, mask, is_causal=causal)
        wanted = F.scaled_dot_product_attention(*tensors, attn_mask=mask, is_causal=causal)
    assert torch.equal(found, wanted.transpose(1, 2))


def test_the_model_has_its_own_attention_back(shop: Workshop) -> None:
    model = shop.student().model
    before = model.config._attn_implementation
    with fast_gradients(model):
        assert model.config._attn_implementation != before
    assert model.config._attn_implementation == before


def context_of(tmp_path: Path, wanted: str) -> StageContext:
    recipe = from_mapping({**tiny_recipe(tmp_path), "runtime": {"precision": wanted}})
    return StageContext(RunDir.create(tmp_path / "runs", recipe), recipe, lambda event: None)


def test_a_resumed_run_keeps_the_precision_it_began_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = context_of(tmp_path, "auto")
    add_facts(context.run.environment_path, {"precision": "fp32"})
    processor(monkeypatch, avx512=True, amx=True)
    assert context.precision.name == "fp32"


def test_a_run_begun_in_bf16_is_not_continued_in_fp32(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = context_of(tmp_path, "auto")
    add_facts(context.run.environment_path, {"precision": "bf16"})
    processor(monkeypatch, avx512=False, amx=False)
    with pytest.raises(DeviceError, match="the run began in bf16, and this processor"):
        _ = context.precision


def test_bf16_where_it_cannot_be_is_refused_before_anything_is_prepared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = context_of(tmp_path, "bf16")
    processor(monkeypatch, avx512=False, amx=False)
    with pytest.raises(DeviceError, match="precision bf16 cannot be used"):
        work(context.run, lambda event: None)
    assert not context.run.stage_done("data")
