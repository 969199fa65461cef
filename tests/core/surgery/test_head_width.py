"""Narrower heads: sorting changes nothing, masked equals cut, and no other choice is better."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models.narrow import attentions, noise_inputs, sorted_on_noise
from tests.support.models.toy_family import ToyFamily, toy_model
from tests.support.tiny import D_MODEL, HEADS, tiny_model, tiny_model_folder
from whisperslim.commands.models import _units
from whisperslim.core import families
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families import AttentionSite, family_of, prunable_total
from whisperslim.core.loading import load_model
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, save_slim
from whisperslim.core.surgery.head_width import SortedHeads, choose_widths, sorted_heads
from whisperslim.core.surgery.moments import Moments
from whisperslim.core.surgery.shrink import cut, head_widths, narrow_heads, narrowing, resize
from whisperslim.errors import PlanError

WIDTH = D_MODEL // HEADS


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(**noise_inputs()).logits
    return found


def all_of(width: int) -> dict[str, int]:
    return {site.key: width for site in attentions(tiny_model())}


def test_each_attention_is_found_with_what_it_attends_to() -> None:
    found = {site.key: site for site in attentions(tiny_model())}
    assert list(found) == [
        "encoder.0.self_attn", "encoder.1.self_attn",
        "decoder.0.self_attn", "decoder.0.encoder_attn",
        "decoder.1.self_attn", "decoder.1.encoder_attn",
    ]  # fmt: skip
    crossing = found["decoder.1.encoder_attn"]
    assert (crossing.stack, crossing.source) == ("decoder", "encoder")
    assert (crossing.heads, crossing.width) == (HEADS, WIDTH)
    assert crossing.scaling == pytest.approx(WIDTH**-0.5)


def test_sorted_dimensions_compute_the_same() -> None:
    model = tiny_model()
    before, weights = logits(model), model.model.encoder.layers[0].self_attn.q_proj.weight.clone()
    narrow_heads(model, sorted_on_noise(model), all_of(WIDTH))
    assert not torch.allclose(model.model.encoder.layers[0].self_attn.q_proj.weight, weights)
    assert torch.allclose(logits(model), before, atol=2e-4)


def test_masked_equals_cut() -> None:
    """The first dimensions stay: the rest as zeros, or not there, is the same."""
    widths = {key: (2, 3, 5, 6, 7, 8)[i] for i, key in enumerate(all_of(WIDTH))}
    masked, narrow = tiny_model(), tiny_model()
    found = sorted_on_noise(masked)
    narrow_heads(narrow, found, widths)
    narrow_heads(masked, found, all_of(WIDTH))
    with torch.no_grad():
        for each in found:
            kept = torch.arange(WIDTH) < widths[each.site.key]
            query = masked.get_parameter(f"{each.site.query}.weight")
            query.mul_(kept.repeat(HEADS)[:, None])
            masked.get_parameter(f"{each.site.query}.bias").mul_(kept.repeat(HEADS))
            masked.get_parameter(f"{each.site.output}.weight").mul_(kept.repeat(HEADS))
            gone = each.constants[:, ~kept].sum(1).float()
            masked.get_parameter(f"{each.site.output}.bias").add_(gone)
    assert narrow.model.encoder.layers[1].self_attn.v_proj.weight.shape == (3 * HEADS, D_MODEL)
    assert torch.allclose(logits(narrow), logits(masked), atol=1e-4)


def root(square: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(square)
    return np.asarray(vectors * np.sqrt(values.clip(0)) @ vectors.T)


def states_into(model: Any, name: str) -> np.ndarray:
    seen: list[torch.Tensor] = []
    module = model.get_submodule(name)
    hook = module.register_forward_pre_hook(lambda m, given: seen.append(given[0].flatten(0, 1)))
    logits(model)
    hook.remove()
    return torch.cat(seen).double().numpy()


@pytest.mark.parametrize("key", ["encoder.1.self_attn", "decoder.0.encoder_attn"])
def test_scores_lose_what_the_best_approximation_loses(key: str) -> None:
    """Against numpy's singular values of the whole product, and against scores of all pairs."""
    model = tiny_model()
    site = next(site for site in attentions(model) if site.key == key)
    asking = states_into(model, site.query)[::7]
    heard = states_into(model, site.keys)[::11]
    moments = {
        f"{key}.{name}": Moments(len(x), torch.tensor(x.mean(0)), torch.tensor(x.T @ x / len(x)))
        for name, x in (("queries", asking), ("keys", heard))
    }
    found = sorted_heads(model, site, moments)
    asking = np.concatenate([asking, np.ones((len(asking), 1))], 1)
    centered = heard - heard.mean(0)

    def products(values: Mapping[str, torch.Tensor]) -> np.ndarray:
        weight, bias = (values[f"{site.query}.{n}"].detach().double() for n in ("weight", "bias"))
        asked = torch.cat([weight, bias[:, None]], 1).unflatten(0, (HEADS, WIDTH)).numpy()
        keys = values[f"{site.keys}.weight"].detach().double().unflatten(0, (HEADS, WIDTH)).numpy()
        return np.stack([asked, np.concatenate([keys, 0 * keys[..., :1]], -1)])

    old, new = products(dict(model.named_parameters())), products(found.values)
    spread = [root(x.T @ x / len(x)) for x in (asking, centered)]
    for kept in (2, 5):
        best, seen = 0.0, 0.0
        for head in range(HEADS):
            whole = old[0, head].T @ old[1, head, :, :-1]
            singular = np.linalg.svd(spread[0] @ whole @ spread[1], compute_uv=False)
            best += (singular[kept:] ** 2).sum() / HEADS
            less = new[0, head, :kept].T @ new[1, head, :kept, :-1]
            seen += ((asking @ (whole - less) @ centered.T) ** 2).mean() / HEADS
        assert float(found.scores[kept]) == pytest.approx(best * site.scaling**2, rel=1e-4)
        assert seen * site.scaling**2 == pytest.approx(float(found.scores[kept]), rel=1e-3)
    assert float(found.scores[WIDTH]) == 0.0


def test_outputs_lose_what_the_best_approximation_loses_and_keep_their_mean() -> None:
    model = tiny_model()
    site = attentions(model)[0]
    heard = states_into(model, site.keys)[::13]
    moment = Moments(
        len(heard), torch.tensor(heard.mean(0)), torch.tensor(heard.T @ heard / len(heard))
    )
    given = {f"{site.key}.queries": moment, f"{site.key}.keys": moment}
    found = sorted_heads(model, site, given)
    own = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    new = {name: value.double().numpy() for name, value in found.values.items()}
    spread = root(np.cov(heard.T, bias=True))
    kept, lost, whole = 3, 0.0, 0.0
    mean = np.zeros(D_MODEL)
    for head in range(HEADS):
        rows = slice(head * WIDTH, (head + 1) * WIDTH)
        first = slice(head * WIDTH, head * WIDTH + kept)
        output, values = own[f"{site.output}.weight"][:, rows], own[f"{site.values}.weight"][rows]
        singular = np.linalg.svd(output @ values @ spread, compute_uv=False)
        lost, whole = lost + (singular[kept:] ** 2).sum(), whole + (singular**2).sum()
        mean += output @ (values @ heard.mean(0) + own[f"{site.values}.bias"][rows])
        less, bias = new[f"{site.values}.weight"][first], new[f"{site.values}.bias"][first]
        mean -= new[f"{site.output}.weight"][:, first] @ (less @ heard.mean(0) + bias)
    assert float(found.mixed[kept]) == pytest.approx(lost / whole, rel=1e-4)
    assert np.allclose(found.constants[:, kept:].sum(1).numpy(), mean, atol=1e-5)


def test_a_head_of_zeros_stays_one() -> None:
    model = tiny_model()
    attention = model.model.encoder.layers[0].self_attn
    with torch.no_grad():
        for part in (attention.q_proj, attention.v_proj):
            part.weight[:WIDTH] = 0.0
            part.bias[:WIDTH] = 0.0
    before = logits(model)
    narrow_heads(model, sorted_on_noise(model), all_of(WIDTH))
    assert torch.isfinite(logits(model)).all()
    assert torch.allclose(logits(model), before, atol=2e-4)


def with_errors(key: str, heads: int, errors: Mapping[int, float]) -> SortedHeads:
    scores = torch.full((33,), torch.nan, dtype=torch.float64)
    for kept, error in errors.items():
        scores[kept] = error
    site = AttentionSite(key, "encoder", "encoder", "q", "k", "v", "o", heads, 32, 1.0)
    return SortedHeads(site, {}, scores, torch.zeros(33), torch.zeros(1, 33))


def test_widths_go_down_where_it_costs_least() -> None:
    found = [
        with_errors("a", 2, {32: 0.0, 24: 1.0, 16: 2.0, 8: 9.0}),
        with_errors("b", 2, {32: 0.0, 24: 4.0, 16: 5.0, 8: 99.0}),
        with_errors("c", 1, {32: 0.0, 24: 1.4, 16: 90.0, 8: 99.0}),  # of one head: saves half
    ]
    # 5 heads of 32 have 160; by error for each of them the order is a, a, c, b, b.
    assert choose_widths(found, 104 / 5) == {"a": 16, "b": 24, "c": 24}
    assert choose_widths(found, 136 / 5) == {"a": 16, "b": 32, "c": 32}
    assert choose_widths(found, 32) == {"a": 32, "b": 32, "c": 32}
    for mean in (7, 33):
        with pytest.raises(PlanError, match="accepted are 8 to 32"):
            choose_widths(found, mean)


def test_saved_equals_reloaded_and_the_record_counts_what_went(tmp_path: Path) -> None:
    speech = load_model(str(tiny_model_folder(tmp_path / "dense")))
    model, groups = speech.model, speech.groups()
    dense, parameters = prunable_total(groups), count_parameters(model)
    widths = {key: (4, 8, 6, 2, 8, 4)[i] for i, key in enumerate(all_of(WIDTH))}
    narrow_heads(model, sorted_on_noise(model), widths)
    now = speech.groups()
    assert [group.width for group in now if group.kind == "heads"] == list(widths.values())
    lost = sum(4 * D_MODEL * HEADS * (WIDTH - width) for width in widths.values())
    assert prunable_total(now) == dense - lost
    plan = keep_everything(now)
    plan = replace(plan, keep={**plan.keep, now[0].key: (1, 3), "decoder.0.self_attn.heads": ()})
    cut(model, now, plan)
    gone = 2 * 4 * 4 * D_MODEL + HEADS * 6 * 4 * D_MODEL
    record = replace(
        describe_cut("base", groups, parameters, plan, "hi"),
        head_widths=dict(widths),
        removed=(lost + gone) / dense,
    )
    save_slim(tmp_path / "slim", model, record, side_files=speech.path)
    again = load_model(str(tmp_path / "slim"))
    assert torch.equal(logits(again.model), logits(model))
    del widths["decoder.0.self_attn"]
    assert head_widths(again.model) == widths
    report = cost_of(tmp_path / "slim")
    assert report.removed_weights == lost + gone
    assert sum(row.parameters for row in report.rows) == count_parameters(model)
    shown = {row.key: _units(row) for row in report.rows}
    assert shown["encoder.0.self_attn.heads"] == "2/4, 4/8 wide"
    assert shown["encoder.1.self_attn.heads"] == "4/4"
    assert shown["decoder.0.self_attn.heads"] == "0/4" and shown["encoder.0.ffn"] == "48/48"


def test_shapes_that_no_model_has_are_refused() -> None:
    model = tiny_model()
    whole = {group.key: group.count for group in family_of(model).unit_groups(model)}
    with pytest.raises(PlanError, match="cannot have 9 dimensions; accepted are 1 to 8"):
        resize(model, whole, {"encoder.0.self_attn": 9})
    with pytest.raises(PlanError, match="do not match this model"):
        resize(model, whole, {"encoder.7.self_attn": 4})
    with pytest.raises(PlanError, match="cannot have 0 dimensions"):
        narrow_heads(model, sorted_on_noise(model), all_of(0))


def test_families_of_fixed_heads_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families._FAMILIES, "toy", ToyFamily())
    assert head_widths(toy_model()) == {}
    with pytest.raises(PlanError, match=r"keep their width; set target\.head_width to 0"):
        narrowing(toy_model())
