"""The ablations: equal budgets, a common start, small films whose sound fits their picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from openmocha.evaluation import ablations as scoring
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.toon.captions import caption_of, without_tags
from openmocha.toon.stories import make_story
from openmocha.training import ablation_data, ablations
from openmocha.training.ablations import VARIANTS, AblationBudget


def test_all_variants_see_the_same_films_equally_often() -> None:
    budget = AblationBudget(steps=1000)
    full = ablations.variant_stages(VARIANTS["window"], budget)
    for name, variant in VARIANTS.items():
        stages = ablations.variant_stages(variant, budget)
        assert sum(stage.steps for stage in stages) == 1000, name
        if variant.text_films and variant.tags:
            assert shown(stages) == pytest.approx(shown(full)), name
    untagged = shown(ablations.variant_stages(VARIANTS["no tags"], budget))
    assert untagged[ablation_data.UNTAGGED] == pytest.approx(shown(full)["dialogue"])
    speech_only = shown(ablations.variant_stages(VARIANTS["speech data only"], budget))
    assert "text" not in speech_only and sum(speech_only.values()) == pytest.approx(1000)


def shown(stages: tuple[ablations.Stage, ...]) -> dict[str, float]:
    """Steps' worth of each source."""
    total: dict[str, float] = {}
    for stage in stages:
        whole = sum(stage.shares.values())
        for source, share in stage.shares.items():
            total[source] = total.get(source, 0) + stage.steps * share / whole
    return total


@pytest.mark.parametrize("attention", ["window", "global", "global+learnable"])
def test_every_variant_starts_as_the_base(attention: ablations.SpeechMode, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = MoChaTransformer3DModel(ablations.small_config("none")).eval()
    base.save_pretrained(tmp_path / "base")
    model = MoChaTransformer3DModel(ablations.small_config(attention)).eval()
    ablations.start_from(model, tmp_path / "base")
    latents = torch.randn(1, 32, 3, 4, 4)
    text = [(torch.randn(1, 5, 384), torch.ones(1, 5, dtype=torch.bool))]
    sigma, speech = torch.tensor([0.5]), torch.randn(1, 12, 6, 128)
    with torch.no_grad():
        assert torch.equal(model(latents, sigma, text, speech), base(latents, sigma, text, None))


def test_without_tags_everything_else_is_still_said() -> None:
    for seed in range(20):
        story = make_story(seed, "dialogue", "train")
        tagged = caption_of(story)
        plain = without_tags(tagged, story)
        assert "Person1" in tagged and "Person" not in plain
        assert len(plain.split()) - len(tagged.split()) == sum(
            tagged.count(f" Person{i}") + tagged.count(f"\nPerson{i}") for i in (1, 2)
        )


def test_small_films_cut_sound_and_picture_alike() -> None:
    pytest.importorskip("skia")
    first, second = ablation_data.small_films(3, "close-up")
    whole = first.film
    assert np.array_equal(np.concatenate([first.frames, second.frames]), whole.frames)
    assert whole.speech is not None and first.speech is not None and second.speech is not None
    assert np.array_equal(first.speech, whole.speech[: ablation_data.SAMPLES])
    assert np.array_equal(second.speech[:9], whole.speech[42_667 : 42_667 + 9])
    (dialogue,) = ablation_data.small_films(3, "dialogue")
    assert dialogue.cut is not None and 0 < dialogue.cut < ablation_data.NUM_FRAMES
    before, after = dialogue.frames[dialogue.cut - 1], dialogue.frames[dialogue.cut]
    assert np.abs(before.astype(int) - after).mean() > 10
    (untagged,) = ablation_data.small_films(3, ablation_data.UNTAGGED)
    assert np.array_equal(untagged.frames, dialogue.frames)
    assert untagged.caption != dialogue.caption


def rows(values: list[float | None]) -> list[scoring.Row]:
    return [{"source": "close-up", "seed": i, "sync_c": v} for i, v in enumerate(values)]


def test_differences_are_of_the_same_films_and_means_over_seeds_come_first() -> None:
    full = [rows([1.0, 2.0, 3.0]), rows([3.0, 2.0, None])]
    less = [rows([0.5, None, 1.0])]
    assert scoring.by_film(full, "sync_c") == {
        "close-up 0": 2.0, "close-up 1": 2.0, "close-up 2": 3.0
    }  # fmt: skip
    gap = scoring.paired(less, full, "sync_c")
    assert gap["mean"] == pytest.approx((0.5 - 2.0 + 1.0 - 3.0) / 2) and gap["films"] == 2
    assert gap["low"] is None  # two films give no interval
    steady = scoring.paired([rows([1.0] * 9)], [rows([3.0] * 9)], "sync_c")
    assert steady["low"] == steady["high"] == pytest.approx(-2.0)


def test_the_papers_ratios_stand_beside_ours() -> None:
    rows = []
    for variant, ratios in (("global + RoPE", (0.86, 0.81)), ("global, none", (0.42,))):
        published = [after / before for before, after in scoring.PUBLISHED[variant]]
        assert published == pytest.approx(ratios, abs=0.005)
        measured = dict.fromkeys(scoring.MEASURES, 0.5)
        less = {"sync_c": {"mean": -0.1, "low": -0.2, "high": 0.1}}
        told = {"less": less, "ratio": 0.7, "published_ratios": published}
        rows.append({"variant": variant, "seeds": 2, **measured, **told})
    first, second = scoring.markdown(rows).splitlines()[2:]
    assert "| 0.70 (0.86, 0.81) |" in first and "| 0.70 (0.42) |" in second
    assert "-0.100 [-0.200, 0.100]" in first and "**" not in first  # 0 is within


def test_an_unknown_variant_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose of: window"):
        scoring.ablate(tmp_path, ["windows"], [0], AblationBudget(), 1, print)


@pytest.mark.end_to_end
def test_from_nothing_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skia")
    monkeypatch.setattr(scoring, "TEST_FILMS", {"close-up": 1, "dialogue": 1})
    budget = AblationBudget(stories=1, base_steps=1, steps=3, batch_size=2)
    said: list[str] = []
    variants = ["window", "no tags"]
    table = scoring.ablate(tmp_path, variants, [0], budget, 1, said.append)
    names = [row["variant"] for row in table]
    assert names == ["window", "no tags", scoring.TRUE, scoring.THROUGH_VAE]
    assert table[2]["sync_c"] > table[3]["sync_c"]  # true films; through the VAE
    assert scoring.trained(tmp_path, range(3)) == {"window": [0], "no tags": [0]}
    weights = tmp_path / "runs" / "window-0" / "model" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    again = scoring.ablate(tmp_path, variants, [0], budget, 1, said.append)
    assert scoring.markdown(again) == scoring.markdown(table)
    assert weights.stat().st_mtime_ns == made
    assert scoring.markdown(table).count("\n") == 5


def test_a_wrong_variant_ends_the_command_with_2(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from openmocha.cli import app

    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["ablate", "toon", "--variant", "windows"])
    assert told.exit_code == 2, told.exception
    assert told.stderr.startswith("error: variant is 'windows'; choose of: window;")
    assert told.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_command_spends_what_is_given_and_otherwise_the_whole_budget(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from openmocha.cli import app

    spent = []

    def spend(folder, variants, seeds, budget, *rest):
        spent.append((folder, budget))
        return []

    monkeypatch.setattr(scoring, "ablate", spend)
    for options in ([], ["--steps", "30", "-o", str(tmp_path)]):
        told = CliRunner().invoke(app, ["ablate", "toon", *options])
        assert told.exit_code == 0, told.output
    usual = Path("runs/ablation")
    assert spent == [(usual, AblationBudget()), (tmp_path, AblationBudget(steps=30))]
