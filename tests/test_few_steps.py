"""A student's stretches of its model's ways, and that they are learnt."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from tiny_model import SAMPLING, tiny_pipeline

from openmocha.backbones.backbone import Conditions
from openmocha.filming import denoising
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.training.few_steps import (
    FewStepsTraining,
    Stretch,
    Stretches,
    endless_batches,
    few_steps_loss,
    guided_steps,
    make_way,
    train_few_steps,
    with_few_steps,
)

pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
EIGHT = replace(
    SAMPLING, num_inference_steps=8, guided_to=0.6, text_guidance_scale=3.0,
    speech_guidance_scale=6.0, feeling_guidance_scale=4.0,
)  # fmt: skip
SIGMAS = [1 - step / 8 for step in range(9)]


@pytest.fixture(scope="module")
def backbone():
    """With a student that goes elsewhere than the model."""
    made = tiny_pipeline().backbone
    made.guided_transformer = tiny_pipeline(seed=1).backbone.transformer
    return made


def test_guided_steps_are_those_that_are_merged():
    assert guided_steps(EIGHT, SIGMAS, 2) == 4  # 1, 7/8, 6/8 and 5/8
    levels = with_few_steps(EIGHT, SIGMAS).fast_levels
    assert levels == pytest.approx((1, 0.75, 0.5, 1 / 3, 1 / 6))
    with pytest.raises(ValueError, match="5 guided steps of 8 cannot be merged 2 by 2"):
        guided_steps(replace(EIGHT, guided_to=0.5), SIGMAS, 2)
    with pytest.raises(ValueError, match="another number of steps"):
        guided_steps(EIGHT, SIGMAS, 3)


@torch.no_grad()
@pytest.mark.parametrize("own", [True, False])
def test_a_way_leads_where_the_model_goes_in_twice_the_steps(backbone, own):
    settings = FewStepsTraining(own=own, goes_on_share=0.0)
    for seed in (0, 7):  # a close-up, and films in which nobody speaks
        first, second = make_way(backbone, EIGHT, settings, seed)
        assert (first.sigma, second.sigma) == (1.0, 0.75)
        assert (first.conditions.speech is None) == (seed == 7)
        for stretch in (first, second):
            start = round(8 * (1 - stretch.sigma))
            _, _, guided, *_ = denoising(
                backbone, stretch.latents, stretch.conditions, EIGHT, first_step=start
            )
            after = stretch.latents - 0.25 * stretch.velocity
            torch.testing.assert_close(after, guided, atol=1e-5, rtol=1e-5)
        fast = with_few_steps(EIGHT, SIGMAS).of_quality("fast")
        students = next(islice(denoising(backbone, first.latents, first.conditions, fast), 1, None))
        models = first.latents - 0.25 * first.velocity
        assert torch.allclose(students, second.latents, atol=1e-5) == own
        assert torch.allclose(models, second.latents, atol=1e-5) != own


@torch.no_grad()
def test_known_latents_stay_and_are_not_learnt(backbone):
    settings = FewStepsTraining(goes_on_share=1.0, parts=(2,), part_shares=(1.0,))
    way = make_way(backbone, EIGHT, settings, 3)
    known = way[0].conditions.num_known
    assert known == 1 and way[0].length == 4
    model = backbone.transformer
    spoilt = [replace(one, velocity=one.velocity.clone()) for one in way]
    for one in spoilt:
        assert torch.equal(one.latents[:, :, :known], way[0].conditions.known)
        one.velocity[:, :, :known] += 100
    losses = [float(few_steps_loss(model, Stretches(w), backbone.device)[0]) for w in (way, spoilt)]
    assert losses[0] == losses[1] > 0


def test_batches_are_long_enough_and_partly_new():
    def make(seed: int) -> list[Stretch]:
        latents = torch.full((1, 1, 4 if seed % 2 else 2, 1, 1), float(seed))
        return [Stretch(latents, 1.0, latents, Conditions(None, None))]

    settings = FewStepsTraining(batch_films=2.0, new_share=0.5, kept_ways=5)
    batches = endless_batches(make, settings, 8, 0, torch.device("cpu"))
    newest = []
    for _ in range(40):
        parts = next(batches).parts
        assert 16 <= sum(part.length for part in parts) < 16 + 4
        numbers = [int(part.latents[0, 0, 0, 0, 0]) for part in parts]
        assert max(numbers) - min(numbers) < 5  # the last five ways
        newest.append(max(numbers))
    # half of 16 latents are made anew for each batch, in ways of three on average
    assert newest[-1] == pytest.approx(40 * 8 / 3, abs=4)


def test_a_student_learns_and_its_model_stays(backbone, tmp_path):
    before = {name: weight.clone() for name, weight in backbone.transformer.state_dict().items()}
    settings = FewStepsTraining(kept_ways=2, new_share=0.01, learning_rate=3e-3)
    train_few_steps(backbone, EIGHT, tmp_path, time_budget_s=8, settings=settings, held_out=1)
    student = MoChaTransformer3DModel.from_pretrained(tmp_path / "final")
    way = Stretches(make_way(backbone, EIGHT, settings, 0))  # the first that is learnt from
    now, then = (
        float(few_steps_loss(network, way, backbone.device)[0].detach())
        for network in (student, backbone.transformer)
    )
    assert now < 0.9 * then
    assert all(torch.equal(w, before[n]) for n, w in backbone.transformer.state_dict().items())
