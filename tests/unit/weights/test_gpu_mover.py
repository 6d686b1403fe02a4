"""Moves on a GPU, in Triton's interpreter on a CPU; `python benchmarks/gpu.py` runs them on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.tiny_models import llama_config, save_model
from helpers.triton_programs import run_program

MOVES = """
import json, sys, torch
from safescape.survey import InterpolationAxis, Lines, Plane, Point, RandomAxis
from safescape.weights import Part, Subspace, directions, gpu_mover, mover_of, position_of, resolve, shares_of

# The GPU code runs on a CPU, in Triton's interpreter.
directions.uses_triton_noise = gpu_mover.uses_triton_noise = lambda device: True
cpu = torch.device("cpu")
origin = resolve(sys.argv[1]).weights
shapes = {name: origin.tensor(name).shape for name in origin.names()}
def half(shape, rank):
    # rows of square matrices and of those with more rows than columns, columns of the others
    dim = 1 if len(shape) == 2 and shape[0] < shape[1] else 0
    return Part(shape, dim, ((rank * (shape[dim] // 2), shape[dim] if rank else shape[dim] // 2),))

# both ranks compute the keys whole, and one counts them
names = [name for name in shapes if "norm" not in name and "k_proj" not in name]
shares = shares_of(shapes, [{name: half(shapes[name], rank) for name in names} for rank in (0, 1)])
first, second = (RandomAxis(seed=seed, span=0.5, steps=2) for seed in (0, 1))
toward = InterpolationAxis(toward=sys.argv[2], fingerprint="", steps=4, low=0, high=1)
found = {}
for name, shape, points in (
    ("between", Lines(axes=(toward,)), [Point(0, (at,)) for at in (0.25, 1.0, 0.5)]),
    ("across", Plane(axes=(toward, first)), [Point(None, at) for at in ((0.5, -0.5), (1.0, 0.0), (0.0, 0.5))]),
    ("lines", Lines(axes=(first, second)), [Point(0, (0.5,)), Point(1, (-0.5,))]),
    ("plane", Plane(axes=(first, second)), [Point(None, at) for at in ((0.5, -0.5), (0.0, 0.5), (-0.5, 0.0))]),
):
    space = Subspace(shape, origin)
    for dtype in (torch.float32, torch.bfloat16):
        mover = mover_of(origin, space, shapes, dtype=dtype, device=cpu)
        ranks = [mover_of(origin, space, shapes, dtype=dtype, device=cpu, share=share) for share in shares]
        places = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
        for point in points:
            walk = mover.move(point, places)
            worst, in_place = 0.0, True
            for tensor, values in walk:
                start = origin.tensor(tensor)
                exact = start.double()
                for term in space.displacement(point):
                    if term is not None:
                        exact = exact + term.coordinate * term.direction.tensor(tensor, start).double()
                worst = max(worst, float((values - exact).norm() / exact.norm().clamp_min(1e-9)))
                in_place = in_place and values is places[tensor]
                places[tensor].copy_(values)
            again = {tensor: values.clone() for tensor, values in mover.move(point)}
            same = all(torch.equal(again[tensor], places[tensor]) for tensor in shapes)
            parts = [rank.move(point) for rank in ranks]
            held = [{tensor: values.clone() for tensor, values in part} for part in parts]
            divided = all(
                torch.equal(values, share.parts[tensor].of(again[tensor]) if tensor in share.parts else again[tensor])
                for share, tensors in zip(shares, held) for tensor, values in tensors.items()
            )
            found[f"{name} {dtype} {point.coords}"] = {
                "divided": divided, "together": position_of(point, [part.sums for part in parts]).effective,
                "error": worst, "in place": in_place, "again": same, "off": walk.position.off,
                "asked": point.coords, "effective": walk.position.effective, "bf16": dtype == torch.bfloat16,
            }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = llama_config(tie_word_embeddings=False)
    models = [save_model(tmp_path_factory.mktemp("moved"), config, seed=seed) for seed in (0, 1)]
    return run_program(MOVES, *map(str, models))


def test_a_point_is_where_its_directions_lead(moves: dict[str, Any]) -> None:
    for point, found in moves.items():
        assert found["error"] < (2**-7 if found["bf16"] else 1e-6), point
        assert found["in place"] is not point.startswith("across"), point
        assert found["again"], point
        assert found["divided"], point
        assert found["together"] == pytest.approx(found["effective"], rel=1e-5, abs=1e-7), point
        assert found["off"] == 0
        if found["bf16"]:
            # the interpreter truncates where a GPU rounds, which is a bias towards zero
            assert found["effective"] == pytest.approx(found["asked"], abs=0.01)
        else:
            assert found["effective"] == found["asked"]
    assert len(moves) == 22
