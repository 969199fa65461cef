"""The account of 1,000 hours: its arithmetic by hand, and the sizes it is made for."""

import pytest

from benchmarks.tables.scale import scale_account, sweep_nodes
from benchmarks.training.scale_account import SIZES, Assumptions, account, cache_bytes, shape

# Numbers that divide well: a GPU does 10 GFLOPS, half of the 20 it could.
GIVEN = Assumptions(
    hours=10, clip_seconds=2, gpus=4, clips=5, peak=20e9, used=0.5, passes=3, teacher=1,
    link=3e6, gradient_bytes=4, state_bytes=12, sample_bytes=2,
)  # fmt: skip


def test_a_step_and_a_pass_by_hand() -> None:
    found = account(1_000_000, 500_000_000, GIVEN)
    # 5 clips of 0.5 GFLOPs, four times, at 10 GFLOPS.
    assert found["compute_seconds"] == pytest.approx(1.0)
    # Of 4 MB of gradients each of four sends 2 * 3 / 4.
    assert found["reduced_bytes"] == pytest.approx(6e6)
    assert found["reduce_seconds"] == pytest.approx(2.0)
    # 36,000 s of recordings are 18,000 clips, 20 a step, three seconds each.
    assert found["steps"] == pytest.approx(900)
    assert found["hours"] == pytest.approx(0.75)
    assert found["checkpoint_bytes"] == pytest.approx(12e6)
    # 20 clips of 2 s in three seconds, 32,000 bytes a second of sound.
    assert found["read_bytes_per_second"] == pytest.approx(1_280_000 / 3)


def test_one_gpu_reduces_nothing() -> None:
    alone = Assumptions(gpus=1)
    assert account(10**6, 10**9, alone)["reduced_bytes"] == 0


def test_the_cache_by_hand() -> None:
    # 10 hours of 16,000 samples a second, two bytes each.
    assert cache_bytes(GIVEN) == 1_152_000_000


@pytest.mark.parametrize(
    ("size", "millions"),
    [("tiny", 39), ("base", 74), ("small", 244), ("medium", 769), ("large-v3", 1550)],
)
def test_sizes_have_the_parameters_that_their_paper_states(size: str, millions: int) -> None:
    """Table 1 of Radford et al. 2022, which counts roughly."""
    assert SIZES.keys() == {"tiny", "base", "small", "medium", "large-v3"}
    parameters, flops = shape(size)
    assert parameters / 1e6 == pytest.approx(millions, rel=0.04)
    # A weight is used at least once for each of 30 tokens or 275 frames, two operations each time.
    assert 2 * 30 * parameters < 1.2 * flops < 2 * 1.2 * 275 * 1.5 * parameters


def test_the_table_names_every_assumption() -> None:
    row = {"parameters": 1_000_000, "flops": 500_000_000, **account(10**6, 5 * 10**8, GIVEN)}
    record = {
        "assumptions": {name: getattr(GIVEN, name) for name in GIVEN.__dataclass_fields__},
        "rows": {"toy": row},
        "cache_bytes": cache_bytes(GIVEN),
        "workload": "a pass",
        "command": "python -m x",
    }
    said = scale_account(record)
    assert "| toy | 1 | 0.5 | 1000.0 | 6 | 2000.0 | 0.75 | 0.01 | 0 |" in said
    for words in ("none of it measured", "10 hours", "clips of 2 s", "4 GPUs with 5 clips",
                  "900 steps", "0.02 TFLOPS", "50%", "3 forward passes", "1 of a dense teacher",
                  "gradients of 4 bytes", "0.003 GB/s", "12 bytes for each", "2 bytes a sample",
                  "1 GB"):  # fmt: skip
        assert words in said, words


def test_the_table_of_nodes_says_what_was_measured() -> None:
    spread = {"median": 2.0, "min": 1.0, "max": 3.0}
    both = {"one_after_another": spread, "two_nodes": spread}
    said = sweep_nodes(
        {
            "seconds": both, "seconds_at_work": both, "one_over_two": spread, "runs": 8,
            "steps": 20, "model": "whisper-base", "cores_per_node": 1, "cores": 2,
            "processor": "P", "command": "c", "packages": {"torch": "1", "transformers": "2"},
        }
    )  # fmt: skip
    assert "| on two Ray nodes | 2 (1 to 3) | 2 (1 to 3) |" in said
    assert "8 runs of 20 steps of whisper-base; a node has 1 cores" in said
