from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import (
    ENCODERS,
    SOURCES,
    TOTAL_FRAMES,
    fake_clip,
    tiny_transformer,
    write_fake_shards,
)

from openmocha.models.figures import FIGURE, NUM_FIGURE
from openmocha.models.speech_attention import uniform_windows
from openmocha.training.objective import Objective, corrupt, frame_sigmas, weighted_loss
from openmocha.training.parallel import Ranks
from openmocha.training.samples import (
    Batches,
    Dropout,
    Records,
    drop_conditions,
    prefetch,
    speech_slice,
)
from openmocha.training.shards import write_shard
from openmocha.training.stages import Crop, Stage, curriculum

NO_DROPOUT = Dropout(0.0, 0.0, 0.0)
MODEL = tiny_transformer().config


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_fake_shards(tmp_path_factory.mktemp("shards"))


def crop(latent_frames: int, batch_size: int, share: float = 1.0) -> Crop:
    return Crop(latent_frames, batch_size, share, height=32, width=32)


def stage_of(shares, *crops: Crop, steps: int = 100) -> Stage:
    return Stage("test", steps, shares, crops, learning_rate=1e-3)


def batches_of(shards: Path, stage: Stage, seed: int = 0, ranks: Ranks = Ranks(), **options):  # noqa: B008
    dropout = options.get("dropout", NO_DROPOUT)
    return Batches(Records(shards), stage, 1, seed, dropout, ranks, MODEL)


def drawn_sources(batches: Batches, numbers) -> Counter:
    rows = batches.records.rows["source"]
    return Counter(rows[int(batches.mixes[0][n][0])] for n in numbers)


def same(a, b) -> bool:
    return (
        torch.equal(a.latents, b.latents)
        and torch.equal(a.text[0][0], b.text[0][0])
        and torch.equal(a.speech, b.speech)
        and torch.equal(a.speech_windows, b.speech_windows)
        and a.seeds == b.seeds
    )


@pytest.mark.parametrize("shares", curriculum()[1:])
def test_shares_are_exact_within_each_batch(shards, shares):
    batches = batches_of(shards, stage_of(shares, crop(1, 20)))
    for step in range(7):
        drawn = drawn_sources(batches, range(20 * step, 20 * step + 20))
        assert drawn == {source: share / 5 for source, share in shares.items()}


def test_small_batches_keep_shares_over_a_few_of_them(shards):
    batches = batches_of(shards, stage_of(curriculum()[4], crop(1, 5)))
    assert drawn_sources(batches, range(10)) == {
        "close-up": 1, "medium close-up": 1, "medium": 2, "dialogue": 4, "text": 2,
    }  # fmt: skip


def test_every_crop_comes_once_before_any_comes_twice(shards):
    batches = batches_of(shards, stage_of({"close-up": 1}, crop(1, 7)))
    num = len(batches.records.pool("close-up", crop(1, 7)))
    assert num == 7 * 3 + 7 * (TOTAL_FRAMES // 4)  # singles, and whole films latent by latent
    epochs = [[tuple(batches.mixes[0][n]) for n in range(e * num, (e + 1) * num)] for e in (0, 1)]
    assert len(set(epochs[0])) == num and set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


def test_batch_depends_on_seed_and_step_alone(shards):
    stage = stage_of({"close-up": 80, "text": 20}, crop(1, 10, 0.5), crop(4, 5, 0.5))
    batches = batches_of(shards, stage)
    again = batches_of(shards, stage)
    for step in (9, 3):
        assert same(batches[step], again[step])
    assert not same(batches[3], batches[5])
    assert not same(batches[3], batches_of(shards, stage, seed=1)[3])
    ahead = prefetch(again, 4)
    assert all(same(next(ahead), batches[step]) for step in (4, 5, 6))


def test_ranks_share_the_same_global_batch(shards):
    stage = stage_of({"close-up": 80, "text": 20}, crop(1, 10))
    whole = batches_of(shards, stage)[3]
    halves = [batches_of(shards, stage, ranks=Ranks(rank, 2))[3] for rank in (0, 1)]
    for rank, half in enumerate(halves):
        assert half.seeds == whole.seeds[rank::2]
        assert torch.equal(half.latents, whole.latents[rank::2])


def test_batch_that_ranks_cannot_share_is_refused(shards):
    with pytest.raises(ValueError, match="shared equally"):
        batches_of(shards, stage_of({"text": 1}, crop(1, 5)), ranks=Ranks(0, 2))


def test_crops_of_one_stage_alternate_and_have_one_length_each(shards):
    stage = stage_of({"close-up": 1}, crop(1, 4, 0.75), crop(8, 2, 0.25))
    shapes = [tuple(batches_of(shards, stage)[step].latents.shape[:3]) for step in range(20)]
    assert Counter(shapes) == {(4, 4, 1): 15, (2, 4, 8): 5}


def test_missing_films_are_named(shards):
    with pytest.raises(ValueError, match="'close-up' films of 1 or more latent frames at 64x32"):
        batches_of(shards, stage_of({"close-up": 1}, Crop(1, 4, 1, 32, 64)))


def test_later_shards_do_not_change_a_stage_that_named_its_own(shards, tmp_path):
    import shutil

    copied = tmp_path / "shards"
    shutil.copytree(shards, copied)
    records = Records(copied)
    write_shard(copied / "0-new", [fake_clip(999, "close-up", 3, 1)], ENCODERS)
    assert Records(copied, records.shards).shards == records.shards
    assert len(Records(copied).files) == len(records.files) + 1


@pytest.mark.parametrize("padding", [(1, 1), (2, 1), (0, 3)])
@pytest.mark.parametrize("latent_frames", [1, 2, 8, TOTAL_FRAMES // 4])
def test_windows_of_a_slice_point_at_the_tokens_of_the_whole_film(latent_frames, padding):
    left, right = padding
    model = replace(MODEL, window_left=left, window_right=right)
    whole = uniform_windows(TOTAL_FRAMES // 4, 4, left, right).numpy()
    for start in range(TOTAL_FRAMES // 4 - latent_frames + 1):
        first, num_tokens, windows = speech_slice(start, latent_frames, TOTAL_FRAMES, model)
        assert windows.min() >= 0 and windows.max() < num_tokens
        assert 0 <= first and first + num_tokens <= TOTAL_FRAMES
        assert (windows + first == whole[start : start + latent_frames]).all()


def test_crop_hears_exactly_what_its_latent_frames_hear_in_the_whole_film():
    # The network's speech path alone: projector, then windows. A slice may not change it anywhere.
    model = tiny_transformer()
    config = replace(model.config, window_left=2)  # eq. 4 as printed
    tokens = torch.randn(1, TOTAL_FRAMES, 1, 2)
    projected = model.speech_projector(tokens)[0]
    windows_of_all = uniform_windows(TOTAL_FRAMES // 4, 4, 2, 1)
    for latent_frames in (1, 3, 8):
        for start in range(TOTAL_FRAMES // 4 - latent_frames + 1):
            first, num, windows = speech_slice(start, latent_frames, TOTAL_FRAMES, config)
            heard = model.speech_projector(tokens[:, first : first + num])[0, windows]
            whole = projected[windows_of_all[start : start + latent_frames]]
            assert torch.allclose(heard, whole, atol=1e-6)


def test_batch_carries_the_speech_and_captions_of_its_films(shards):
    batches = batches_of(shards, stage_of({"close-up": 80, "text": 20}, crop(2, 5)))
    batch = batches[2]
    for i, number in enumerate(range(10, 15)):
        record_index, k, part = batches.mixes[0][number]
        record = batches.records.read(int(record_index))
        latent = record["start"][k] + part
        assert np.allclose(batch.latents[i], record["latents"][k][:, part : part + 2])
        assert (batch.mouth_cells[i].numpy() == record["mouth_cells"][k][part : part + 2]).all()
        tokens, mask = batch.text[0]
        assert np.allclose(tokens[i][mask[i]], record["text_tokens"])
        assert not tokens[i][~mask[i]].any()
        frames = batch.speech[i, batch.speech_windows[i], 0, 1]
        if "speech_tokens" in record:  # the fake token's second number is its frame
            expected = uniform_windows(TOTAL_FRAMES // 4)[latent : latent + 2]
            assert torch.equal(frames, expected.float())
        else:
            assert not batch.speech[i].any()


def test_batch_without_speech_has_none(shards):
    assert batches_of(shards, stage_of({"text": 1}, crop(1, 4)))[0].speech is None


def test_conditions_are_dropped_as_often_as_asked():
    rng = np.random.default_rng(0)
    drops = Counter(drop_conditions(rng, Dropout(0.1, 0.2, 0.05)) for _ in range(20_000))
    shares = {key: count / 20_000 for key, count in drops.items()}
    assert shares[True, False] == pytest.approx(0.1, abs=0.01)
    assert shares[False, True] == pytest.approx(0.2, abs=0.01)
    assert shares[True, True] == pytest.approx(0.05, abs=0.01)


def test_dropped_conditions_are_the_empty_prompt_and_zeros(shards):
    stage = stage_of({"close-up": 1}, crop(1, 6))
    no_text = batches_of(shards, stage, dropout=Dropout(1.0, 0.0, 0.0))[0]
    tokens, mask = no_text.text[0]
    assert mask.shape == (6, 1) and not tokens.any()  # the fake empty prompt is one token of zeros
    assert no_text.speech is not None
    neither = batches_of(shards, stage, dropout=Dropout(0.0, 0.0, 1.0))[0]
    assert neither.speech is None and neither.text[0][1].shape == (6, 1)


def test_noise_is_each_samples_own(shards):
    batch = batches_of(shards, stage_of(dict.fromkeys(SOURCES, 1), crop(4, 10)))[0]
    corrupted = corrupt(batch, Objective())
    noise = corrupted.target + batch.latents
    # Each sample's noise comes from its seed alone: half a batch has the same noise.
    for i, seed in enumerate(batch.seeds):
        expected = torch.randn(noise[i].shape, generator=torch.Generator().manual_seed(seed))
        assert torch.allclose(noise[i], expected, atol=1e-5)
    level = corrupted.sigma[:, None, :, None, None]
    assert torch.allclose(corrupted.noisy, (1 - level) * batch.latents + level * noise, atol=1e-5)


def test_clean_prefixes_keep_their_latents_and_weigh_nothing(shards):
    batch = batches_of(shards, stage_of({"close-up": 1}, crop(4, 8)))[0]
    corrupted = corrupt(batch, Objective(independent_share=0.0, prefix_share=1.0, mouth_weight=3))
    clean = corrupted.sigma == 0
    lengths = clean.sum(1)
    assert ((1 <= lengths) & (lengths <= 3)).all() and (clean.int().diff(dim=1) <= 0).all()
    kept = clean[:, None, :, None, None].expand_as(batch.latents)
    assert torch.equal(corrupted.noisy[kept], batch.latents[kept])
    assert not corrupted.weights[clean].any()
    expected = 1 + 2 * batch.mouth_cells
    assert torch.equal(corrupted.weights[~clean], expected[~clean])


def test_limbs_weigh_more_where_a_figure_has_them(shards):
    batch = batches_of(shards, stage_of({"close-up": 1}, crop(4, 8)))[0]
    rows, cols = batch.latents.shape[-2:]
    figures = torch.full((*batch.latents.shape[:1], 4, NUM_FIGURE), float("nan"))
    figures[0] = 9.0  # everything is far away
    corner = torch.tensor([-1 + 1 / cols, -1 + 1 / rows])
    hand = slice(len(FIGURE) - 2, len(FIGURE))  # in the first moment
    figures[0, 2, hand] = corner
    figures[0, :, :: len(FIGURE)] = 0.01  # of somebody very small
    batch = replace(batch, figures=figures)
    plain, weighed = (corrupt(batch, Objective(0, 0, 3, weight)).weights for weight in (1, 5))
    assert torch.allclose(weighed[0, 2, 0, 0] - plain[0, 2, 0, 0], torch.tensor(4.0))
    weighed[0, 2] = plain[0, 2]
    assert torch.allclose(weighed, plain, atol=1e-4)


def test_noise_levels_come_in_the_shares_asked():
    objective = Objective(independent_share=0.25, prefix_share=0.5)
    kinds: Counter = Counter()
    for seed in range(2000):
        sigma = frame_sigmas(3, torch.Generator().manual_seed(seed), objective)
        kinds["prefix" if sigma[0] == 0 else "one" if sigma.unique().numel() == 1 else "own"] += 1
    assert kinds["own"] / 2000 == pytest.approx(0.25, abs=0.03)
    assert kinds["prefix"] / 2000 == pytest.approx(0.5, abs=0.03)
    single = frame_sigmas(1, torch.Generator().manual_seed(0), Objective(1.0, 0.0))
    assert single.shape == (1,) and 0 < single < 1


def test_longer_clips_get_more_noise_when_asked() -> None:
    def drawn(num_frames: int, length_shift: float) -> float:
        objective = Objective(0.0, 0.0, length_shift=length_shift)
        return float(frame_sigmas(num_frames, torch.Generator().manual_seed(5), objective)[0])

    assert drawn(1, 0.0) == drawn(1, 0.5)
    # sqrt(16) = 4; odds of noise grow by the shift.
    plain, shifted = drawn(16, 0.0), drawn(16, 0.5)
    assert shifted / (1 - shifted) == pytest.approx(4 * plain / (1 - plain), rel=1e-5)


def test_weighted_loss_against_a_loop():
    velocity, target = torch.randn(3, 2, 4, 5, 6), torch.randn(3, 2, 4, 5, 6)
    weights = torch.rand(3, 4, 5, 6)
    losses = []
    for v, t, w in zip(velocity, target, weights, strict=True):
        cells = [
            (w[f, i, j] * ((v - t)[:, f, i, j] ** 2).mean(), w[f, i, j])
            for f in range(4)
            for i in range(5)
            for j in range(6)
        ]
        losses.append(sum(c for c, _ in cells) / sum(w for _, w in cells))
    expected = sum(losses) / 3
    assert torch.allclose(weighted_loss(velocity, target, weights), expected, atol=1e-6)
