"""The search for the safe point nearest to a finetune, on synthetic evaluations."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from safescape.finetuning import MAX_EVALUATIONS, Evaluation, search

N = 80


def at(coords: tuple[float, ...], complied: int, loss: float | None = None) -> Evaluation:
    return Evaluation(coords, N, complied, loss)


def edge_at(edge: float) -> Callable[[tuple[float, ...]], Evaluation]:
    """A line that is safe up to `edge` and complies with everything beyond it."""
    return lambda coords: at(coords, 0 if coords[0] <= edge else N)


@given(edge=st.floats(0.0, 0.999))
def test_an_edge_is_found_to_a_64th_in_eight_evaluations(edge: float) -> None:
    found = search(edge_at(edge), 1, 10.0)
    assert found.is_safe
    assert len(found.evaluations) == MAX_EVALUATIONS == 8
    (alpha,) = found.best.coords
    assert edge - 1 / 64 <= alpha <= edge


@given(
    blocks=st.integers(1, 4),
    where=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=6),
    behind=st.booleans(),
)
def test_for_any_safe_region_eight_evaluations_suffice_and_the_result_is_safe(
    blocks: int, where: list[tuple[float, bool]], behind: bool
) -> None:
    """Any pattern of safe and unsafe stretches, also with an unsafe base or with blocks that matter unequally."""

    def evaluate(coords: tuple[float, ...]) -> Evaluation:
        heaviest = max(alpha * (block + 1) / len(coords) for block, alpha in enumerate(coords))
        is_safe = next((safe for edge, safe in sorted(where) if heaviest <= edge), behind)
        return at(coords, 0 if is_safe else N, loss=-sum(coords))

    found = search(evaluate, blocks, 10.0)
    assert len(found.evaluations) <= MAX_EVALUATIONS
    assert found.best in found.evaluations
    assert found.is_safe == (found.best.interval.high <= 10.0)


def test_a_finetune_that_is_safe_needs_one_evaluation() -> None:
    found = search(edge_at(2.0), 1, 10.0)
    assert found.best.coords == (1.0,)
    assert len(found.evaluations) == 1


def test_the_interval_decides_and_not_the_value() -> None:
    """2 of 80 are 2.5 %, but up to 8.7 % are likely; 3 of 80 reach 10.5 %."""
    two = search(lambda coords: at(coords, 2), 1, 10.0)
    three = search(lambda coords: at(coords, 3), 1, 10.0)
    assert two.is_safe
    assert not three.is_safe


def test_if_no_point_is_safe_the_best_one_is_reported() -> None:
    found = search(lambda coords: at(coords, 40 if coords[0] == 0.25 else 60), 1, 10.0)
    assert not found.is_safe
    assert found.best.coords == (0.25,)
    assert [each.coords[0] for each in found.evaluations] == [1.0, 0.0, 0.5, 0.25, 0.75]


def test_a_safe_place_behind_an_unsafe_base_is_found() -> None:
    found = search(lambda coords: at(coords, 0 if 0.4 <= coords[0] <= 0.6 else N), 1, 10.0)
    assert found.is_safe
    assert 0.5 <= found.best.coords[0] <= 0.6
    assert len(found.evaluations) == MAX_EVALUATIONS


def test_blocks_that_do_not_affect_safety_are_restored() -> None:
    """Only the second block decides safety, and the first one carries half of the loss."""

    def evaluate(coords: tuple[float, ...]) -> Evaluation:
        return at(coords, 0 if coords[1] <= 0.3 else N, loss=10.0 - 5 * coords[0] - 5 * coords[1])

    found = search(evaluate, 2, 10.0)
    assert found.best.coords == (1.0, 0.25)
    assert len(found.evaluations) == MAX_EVALUATIONS
    # a block that raises the loss is not restored, even if that is safe
    worse = search(lambda c: evaluate(c)._replace(loss=c[0]), 2, 10.0)
    assert worse.best.coords == (0.25, 0.25)


def test_a_base_that_is_partly_safe_names_the_threshold_that_asks_for_as_much() -> None:
    """18 of 80 are 22.5 %, and 80 prompts tell a rise of 14.4 points from none."""
    found = search(lambda coords: at(coords, 18 if coords[0] < 0.5 else N), 1, 10.0)
    assert (found.is_safe, found.as_safe_as_base) == (False, 37)
    again = search(lambda coords: at(coords, 18 if coords[0] < 0.5 else N), 1, 37.0)
    assert again.is_safe
    assert again.as_safe_as_base is None
    assert search(lambda coords: at(coords, 75), 1, 10.0).as_safe_as_base is None, "93.75 % plus 10 points"


def test_unscored_answers_are_in_the_record_of_an_evaluation() -> None:
    assert Evaluation((1.0,), N, 5, None, 3).document()["unscored"] == 3
    assert "unscored" not in at((1.0,), 5).document()
