import pytest

from openmocha.training.stages import (
    Crop,
    Stage,
    crop_order,
    curriculum,
    halved,
    paper_stages,
    toon_stages,
)

# The paper's table (PAPER.md, Training): steps and per cent of each source.
PAPER = (
    (200_000, {"text": 100}),
    (200_000, {"close-up": 80, "text": 20}),
    (200_000, {"close-up": 40, "medium close-up": 40, "text": 20}),
    (100_000, {"close-up": 20, "medium close-up": 20, "medium": 40, "text": 20}),
    (
        100_000,
        {"close-up": 10, "medium close-up": 10, "medium": 20, "dialogue": 40, "text": 20},
    ),
)


def test_paper_stages_are_the_papers_table():
    stages = paper_stages()
    assert [(stage.steps, dict(stage.shares)) for stage in stages] == list(PAPER)
    for stage in stages:
        assert stage.learning_rate_at(0, 0.0) == pytest.approx(1e-5 / 2000)
        assert stage.learning_rate_at(1999, 0.0) == stage.learning_rate_at(90_000, 1e9) == 1e-5
        assert [(c.latent_frames, c.batch_size) for c in stage.crops] == [(32, 512)]


def test_every_stage_halves_the_earlier_shots_and_gives_the_rest_to_the_new_one():
    shares = curriculum()
    for before, after in zip(shares[1:], shares[2:], strict=False):
        (new,) = after.keys() - before.keys()
        assert all(after[s] == before[s] / 2 for s in before if s != "text")
        assert after["text"] == before["text"] == 20
        assert after[new] == 40 and sum(after.values()) == 100
        assert halved(before, new) == after


def test_toon_stages_begin_with_the_papers_shares_and_have_batches_of_equal_cost():
    stages = toon_stages(steps=1000, time_budget_s=500.0)
    assert [dict(stage.shares) for stage in stages[:3]] == curriculum()[:3]
    for stage in stages[3:]:
        assert stage.shares.keys() == curriculum()[-1].keys()
        assert sum(stage.shares.values()) == 100
    assert sum(stage.steps for stage in stages) == pytest.approx(1000, abs=3)
    assert sum(stage.time_budget_s for stage in stages) == pytest.approx(500.0)
    tokens = {
        c.latent_frames * c.batch_size * c.height * c.width
        for stage in stages[2:]
        for c in stage.crops
    }
    assert max(tokens) <= 1.2 * min(tokens)
    assert all(c.latent_frames == 1 for stage in stages[:3] for c in stage.crops)
    assert {c.latent_frames for c in stages[-1].crops} == {1, 8, 32}


def test_learning_rate_warms_up_and_falls_with_steps_or_time():
    stage = Stage("s", 100, {"text": 1}, (Crop(1, 1),), 1.0, 10, 0.5, time_budget_s=200.0)
    assert stage.learning_rate_at(0, 0.0) == pytest.approx(0.1)
    assert stage.learning_rate_at(50, 0.0) == pytest.approx(0.75)
    assert stage.learning_rate_at(20, 100.0) == pytest.approx(0.75)
    assert stage.learning_rate_at(20, 1e9) == pytest.approx(0.5)
    constant = Stage("s", 100, {"text": 1}, (Crop(1, 1),), 1.0)
    assert constant.learning_rate_at(99, 1e9) == 1.0


def test_crop_order_keeps_shares_and_spreads_them():
    order = crop_order((Crop(1, 1, 0.7), Crop(8, 1, 0.2), Crop(32, 1, 0.1)))
    assert [order.count(i) for i in range(3)] == [14, 4, 2]
    for quarter in range(4):
        assert order[5 * quarter : 5 * quarter + 5].count(1) == 1
    # A crop with a share too small for the cycle still has its turn.
    assert crop_order((Crop(1, 1, 0.999), Crop(8, 1, 0.001))).count(1) == 1


@pytest.mark.parametrize("shares", [{}, {"text": 0}, {"text": -1.0}])
def test_bad_stage_is_refused(shares):
    with pytest.raises(ValueError, match="share"):
        Stage("s", 1, shares, (Crop(1, 1),), 1e-4)


def test_bad_crop_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        Crop(0, 4)
