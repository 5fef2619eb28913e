"""A student's first step leads where its model's first steps do, and it is learnt."""

from dataclasses import replace

import pytest
import torch
from tiny_model import SAMPLING, tiny_pipeline

from openmocha.backbones.backbone import Conditions
from openmocha.filming import denoising
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.sampling import FastStep
from openmocha.training.few_steps import (
    FewStepsTraining,
    Stretch,
    Stretches,
    endless_batches,
    few_steps_loss,
    first_steps,
    make_stretch,
    train_few_steps,
)

pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
EIGHT = replace(
    SAMPLING, num_inference_steps=8, guided_to=0.6, text_guidance_scale=3.0,
    speech_guidance_scale=6.0, feeling_guidance_scale=4.0,
    fast_steps=(FastStep(1.0, None), FastStep(0.75, 3.0), FastStep(0.4, 1.0)),
)  # fmt: skip
SIGMAS = [1 - step / 8 for step in range(9)]


@pytest.fixture(scope="module")
def backbone():
    """With a student that goes elsewhere than the model."""
    made = tiny_pipeline().backbone
    made.guided_transformer = tiny_pipeline(seed=1).backbone.transformer
    return made


def test_the_first_fast_step_is_as_long_as_some_steps_of_the_model():
    assert first_steps(EIGHT, SIGMAS) == 2
    between = replace(EIGHT, fast_steps=(FastStep(1.0, None), FastStep(0.7, 1.0)))
    with pytest.raises(ValueError, match=r"no step of the model begins at noise level 0.7.*0.6250"):
        first_steps(between, SIGMAS)
    for steps in ((), (FastStep(1.0, None),), (FastStep(1.0, 3.0), FastStep(0.75, 1.0))):
        with pytest.raises(ValueError, match="two or more, the first without a scale"):
            first_steps(replace(EIGHT, fast_steps=steps), SIGMAS)


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 7])  # a close-up, and a film in which nobody speaks
def test_a_stretch_leads_where_the_model_goes(backbone, seed):
    made = make_stretch(backbone, EIGHT, FewStepsTraining(goes_on_share=0.0), seed)
    assert (made.conditions.speech is None) == (seed == 7)
    _, _, guided, *_ = denoising(backbone, made.noise, made.conditions, EIGHT)
    torch.testing.assert_close(made.noise - 0.25 * made.velocity, guided, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_known_latents_stay_and_are_not_learnt(backbone):
    settings = FewStepsTraining(goes_on_share=1.0, parts=(2,), part_shares=(1.0,))
    made = make_stretch(backbone, EIGHT, settings, 3)
    known = made.conditions.num_known
    assert known == 1 and made.length == 4
    assert torch.equal(made.noise[:, :, :known], made.conditions.known)
    spoilt = replace(made, velocity=made.velocity.clone())
    spoilt.velocity[:, :, :known] += 100
    model, device = backbone.transformer, backbone.device
    losses = [float(few_steps_loss(model, Stretches([w]), device)[0]) for w in (made, spoilt)]
    assert losses[0] == losses[1] > 0


def test_batches_are_long_enough_and_partly_new():
    def make(seed: int) -> Stretch:
        noise = torch.full((1, 1, 4 if seed % 2 else 2, 1, 1), float(seed))
        return Stretch(noise, noise, Conditions(None, None), {})

    settings = FewStepsTraining(batch_films=2.0, new_share=0.5, kept=5)
    batches = endless_batches(make, settings, 8, 0, torch.device("cpu"))
    newest = []
    for _ in range(40):
        parts = next(batches).parts
        assert 16 <= sum(part.length for part in parts) < 16 + 4
        numbers = [int(part.noise[0, 0, 0, 0, 0]) for part in parts]
        assert max(numbers) - min(numbers) < 5  # the last five
        newest.append(max(numbers))
    # half of 16 latents are made anew for each batch, in stretches of three on average
    assert newest[-1] == pytest.approx(40 * 8 / 3, abs=4)


def test_a_student_learns_and_its_model_stays(backbone, tmp_path):
    before = {name: weight.clone() for name, weight in backbone.transformer.state_dict().items()}
    settings = FewStepsTraining(kept=2, new_share=0.01, learning_rate=3e-3, steps=16)
    train_few_steps(backbone, EIGHT, tmp_path, time_budget_s=600, settings=settings, held_out=1)
    student = MoChaTransformer3DModel.from_pretrained(tmp_path / "final")
    first = Stretches([make_stretch(backbone, EIGHT, settings, 0)])  # the first that is learnt from
    now, then = (
        float(few_steps_loss(network, first, backbone.device)[0].detach())
        for network in (student, backbone.transformer)
    )
    assert now < 0.9 * then
    assert all(torch.equal(w, before[n]) for n, w in backbone.transformer.state_dict().items())
