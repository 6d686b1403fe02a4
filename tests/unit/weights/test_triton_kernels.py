"""The Triton kernels, in Triton's interpreter and compiled; `python benchmarks/gpu.py` runs them on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.triton_programs import run_program

# A process of its own: TRITON_INTERPRET must be set when the kernels are defined, and would affect other tests.
PROGRAM = """
import json, torch
from torch import Size, device
from safescape.weights import Part
from safescape.weights.triton_kernels import Noise, add_noise, standard_normal

cpu, shape, one, other = device("cpu"), Size((300, 97)), 2**62 + 12345, 7
a, b = standard_normal(one, shape, cpu), standard_normal(other, shape, cpu)
torch.manual_seed(0)
origin = torch.randn(shape)
into = torch.full(shape, float("nan"))
found = {
    "moments": [float((a**power).mean()) for power in (1, 2, 3, 4)],
    "correlation": float((a * b).mean()),
    "again": torch.equal(a, standard_normal(one, shape, cpu)),
    "by place alone": torch.equal(a.flatten()[:5000], standard_normal(one, Size((5000,)), cpu)),
    "largest": float(a.abs().max()),
}
for name, noises in {"one": [Noise(one, 0.25)], "two": [Noise(one, 0.25), Noise(other, -0.5)]}.items():
    dots = add_noise(origin, noises, into, measured=True)
    exact = origin.double() + sum(noise.factor * made.double() for noise, made in zip(noises, (a, b)))
    found[name] = float((into - exact).abs().max())
    taken = into.double() - origin.double()
    found[name + " dots"] = [float(dot / (taken * made).sum()) for dot, made in zip(dots, (a, b))]
found["unmeasured"] = add_noise(origin, [Noise(one, 1.0)], into, measured=False)
parts = [
    Part(shape, 0, ((0, 120),)), Part(shape, 0, ((120, 290), (295, 300))), Part(shape, 0, ((290, 295),)),
    Part(shape, 1, ((0, 50),)), Part(shape, 1, ((50, 60), (80, 97))), Part(shape, 1, ((60, 80),)),
    *(Part(Size((30, 10, 97)), 1, ((low, low + 5),)) for low in (0, 5)),
]
noises, places = [Noise(one, 0.25), Noise(other, -0.5)], []
whole_dots = add_noise(origin, noises, into, measured=True)
dots = torch.zeros(3, 2, dtype=torch.float64)
for part, kind in zip(parts, (0, 0, 0, 1, 1, 1, 2, 2)):
    place = torch.full(part.shape, float("nan"))
    dots[kind] += add_noise(part.of(origin.view(part.whole)), noises, place, measured=True, part=part)
    places.append(torch.equal(place, part.of(into.view(part.whole))))
found["parts"], found["part dots"] = places, [row.tolist() for row in dots / whole_dots]
half = torch.full(shape, float("nan"), dtype=torch.bfloat16)
add_noise(origin, [Noise(one, 0.25)], half, measured=False)
found["bf16"] = float(((half.double() - (origin + 0.25 * a)).abs() / (origin + 0.25 * a).abs()).max())
print(json.dumps(found))
"""

COMPILED = """
import itertools, json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from safescape.weights import triton_kernels as kernels

def compiled(kernel, constants, **types):
    signature = {**types, **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    return "cvt.rn.bf16" in made.asm["ptx"]

fused_types = {"into": "*bf16", "sums": "*fp32", "count": "i32"}
seeds = {"seed_a": "i64", "seed_b": "i64", "factor_a": "fp32", "factor_b": "fp32"}
found = [compiled(kernels._blend, {"VALUES": 4096}, origin="*bf16", other="*fp32", coordinate="fp32", **fused_types)]
window = dict.fromkeys(("first", "extent", "inner", "start", "stop", "length", "shift"), "i64")
cases = (True, True, False), (False, True, False), (True, False, False), (True, False, True), (False, True, True)
for is_one, is_measured, is_part in cases:
    constants = {"IS_ONE": is_one, "IS_MEASURED": is_measured, "IS_PART": is_part, "LANES": 1024}
    found.append(compiled(kernels._add, constants, origin="*fp16", **fused_types, **seeds, **window))
compiled(kernels._fill, {"LANES": 1024}, values="*fp32", count="i32", seed="i64")
print(json.dumps({"rounds to nearest": found}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return run_program(PROGRAM)


def test_the_noise_is_standard_normal(found: dict[str, Any]) -> None:
    # 29,100 values: five standard errors of each moment
    expected, errors = (0.0, 1.0, 0.0, 3.0), (0.0059, 0.0083, 0.0227, 0.0574)
    for moment, value, error in zip(found["moments"], expected, errors, strict=True):
        assert abs(moment - value) < 5 * error
    assert abs(found["correlation"]) < 5 * 0.0059
    assert 3.5 < found["largest"] < 6


def test_a_value_depends_on_the_seed_and_its_place_alone(found: dict[str, Any]) -> None:
    assert found["again"]
    assert found["by place alone"]


@pytest.mark.parametrize("noises", ["one", "two"])
def test_what_is_added_is_the_noise(found: dict[str, Any], noises: str) -> None:
    assert found[noises] < 1e-6
    assert found[noises + " dots"] == pytest.approx([1.0] * len(found[noises + " dots"]), abs=1e-5)


def test_parts_have_the_values_of_the_whole(found: dict[str, Any]) -> None:
    assert found["parts"] == [True] * 8
    for dots in found["part dots"]:
        assert dots == pytest.approx([1.0, 1.0], abs=1e-5)


def test_it_is_measured_only_when_asked(found: dict[str, Any]) -> None:
    assert found["unmeasured"] is None


def test_bfloat16_is_rounded_to(found: dict[str, Any]) -> None:
    # the interpreter truncates where a GPU rounds to nearest, so its error is twice a GPU's
    assert found["bf16"] < 2**-7


def test_the_kernels_compile_for_a_gpu_and_round_to_the_nearest() -> None:
    found = run_program(COMPILED, interpreted=False)
    assert found["rounds to nearest"] == [True] * 6
