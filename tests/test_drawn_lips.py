"""The decoder's training on what the model makes: pairs, the reader of lips, batches, the loss."""

import copy

import numpy as np
import pytest
import torch
from tiny_model import SAMPLING, tiny_pipeline

from openmocha.backbones.backbone import Conditions
from openmocha.filming import denoise
from openmocha.models.video_vae import VideoVAE
from openmocha.training import own_latents
from openmocha.training.drawn_lips import (
    WINDOW_LATENTS,
    DrawnLipsTraining,
    cells_around,
    distance_beside_mouths,
    draw_films,
    draw_read,
    drawn_lips_loss,
    endless_batches,
    evaluate,
    misreading,
    train_drawn_lips,
)
from openmocha.training.latent_lips import LatentLips, mouth_cells, train_latent_lips
from openmocha.training.own_latents import Pair, draw_step, make_pair, make_pairs
from openmocha.training.video_vae import OPENING_VARIANCE, VideoVAETraining


def numbered_pair(seed: int = 0, rows: int = 6, columns: int = 8, latent_frames: int = 8) -> Pair:
    """A pair in which every latent, and all 8x8 pixels that it shows, hold the same number. Those
    of the model are negative. One cell is a mouth; how far it is open is the frame's number."""
    numbers = np.arange(latent_frames * rows * columns).reshape(latent_frames, rows, columns) % 251
    frames = numbers.repeat(4, 0).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    mouth = np.zeros(frames.shape, np.bool_)
    rng = np.random.default_rng(seed)
    row, column = rng.integers(rows), rng.integers(columns)
    mouth[16:20, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
    latents = numbers[None].repeat(16, 0).astype(np.float16)
    opening = np.arange(len(frames), dtype=np.float32)
    return Pair(frames[..., None].repeat(3, -1), mouth, opening, latents, -latents)


def check_shown(windows) -> None:
    """Latents between the outer ones, the pixels and the openings are of the same moments."""
    inner = windows.latents[:, 0, 1:-1]
    told = inner.repeat_interleave(4, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    seen = (windows.shown.video[:, :, 0] + 1) * 127.5
    torch.testing.assert_close(told.abs(), seen, atol=1e-3, rtol=0)
    assert windows.latents.shape[2] == WINDOW_LATENTS
    assert windows.shown.opening.shape == seen.shape[:2]


@pytest.mark.parametrize("whole", [0.0, 1.0])
def test_a_window_shows_what_its_latents_say(whole: float) -> None:
    settings = DrawnLipsTraining(whole_share=whole, mouth_cells=3)
    for seed in range(10):
        pairs = [numbered_pair(seed), numbered_pair(seed + 100)]
        windows = draw_films(pairs, settings, np.random.default_rng(seed))
        check_shown(windows)
        assert windows.latents.sum() > 0  # the film's own
        assert windows.latents.shape[3:] == ((6, 8) if whole else (3, 3))
        if not whole:
            assert windows.shown.mouth.flatten(1).any(1).all()


def test_what_is_read_has_the_models_latents_and_the_films() -> None:
    settings = DrawnLipsTraining(own_share=0.7, read_films=400)
    windows = draw_read([numbered_pair(0)], settings, np.random.default_rng(0))
    check_shown(windows)
    signs = windows.latents[:, 0, 1, 0, 0].sign()
    assert (signs < 0).float().mean() == pytest.approx(0.7, abs=0.06)
    # opening is the frame's number; the first cell of latent frame f holds 48 f, and f is at most 4
    assert torch.equal(windows.shown.opening[:, 0], windows.latents[:, 0, 1, 0, 0].abs() / 12)


def test_cells_around_hold_one_that_is_seen_and_lie_within() -> None:
    rng, starts = np.random.default_rng(0), set()
    for _ in range(300):
        seen = np.zeros((6, 9), np.bool_)
        seen[rng.integers(6), rng.integers(9)] = True
        rows, columns = cells_around(seen, 4, rng)
        assert seen[rows, columns].sum() == 1 and seen[rows, columns].shape == (4, 4)
        starts.add((int(rows.start), int(columns.start)))
    assert len(starts) == 3 * 6  # every place that there is


def test_denoising_from_a_later_step_is_the_rest_of_denoising() -> None:
    backbone = tiny_pipeline().backbone
    conditions = Conditions(backbone.encode_text("A woman talks."), backbone.encode_text(""))
    noise = torch.randn(1, 16, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = denoise(backbone, noise, conditions, SAMPLING)
        solver = backbone.solver(SAMPLING)
        velocity = backbone.velocity(noise, solver.level(0), conditions, SAMPLING)
        half_way = solver.step(0, velocity, noise)
        rest = denoise(backbone, half_way, conditions, SAMPLING, first_step=1)
    assert torch.equal(rest, whole) and not torch.equal(rest, half_way)


def test_steps_are_drawn_between_the_levels() -> None:
    sigmas = [1.0, 0.9, 0.7, 0.4, 0.0]
    assert {draw_step(sigmas, (0.4, 0.9), seed) for seed in range(50)} == {1, 2, 3}
    with pytest.raises(ValueError, match="widen"):
        draw_step(sigmas, (0.5, 0.6), 0)


def test_pairs_that_are_there_are_not_made_again(tmp_path) -> None:
    made = []

    def make(seed: int) -> Pair:
        made.append(seed)
        return numbered_pair(seed)

    make_pairs(make, tmp_path, 0.0, seed=5, at_least=2)
    pairs = make_pairs(make, tmp_path, 0.0, seed=5, at_least=3)
    assert made == [5, 6, 7] and len(pairs) == 3
    assert np.array_equal(pairs[2].mouth, numbered_pair(7).mouth)


def speaking_pair(seed: int) -> Pair:
    """Latents of noise in which channel k of the mouth's cells says how far it is open in frame k;
    channel 5 says where it is."""
    rng = np.random.default_rng(seed)
    pair = numbered_pair(seed)
    opening = rng.random(32).astype(np.float32)
    mouth = pair.mouth[16:17].repeat(32, 0)
    latents = rng.normal(0, 0.3, pair.encoded.shape)
    row, column = np.argwhere(mouth[0])[0] // 8
    latents[:4, :, row, column] = 4 * opening.reshape(8, 4).T
    latents[5, :, row, column] = 4
    latents = latents.astype(np.float16)
    return Pair(pair.frames, mouth, opening, latents, latents)


def test_lips_are_read_where_the_mouth_is() -> None:
    torch.manual_seed(0)
    pairs = [speaking_pair(seed) for seed in range(40)]
    net = train_latent_lips(pairs[:-8], 300, torch.device("cpu"))
    errors, found = [], []
    for pair in pairs[-8:]:
        latents = torch.from_numpy(pair.encoded).float().transpose(0, 1)
        errors.append(net(latents).flatten().numpy() - pair.opening)
        found.append((net.cells(latents)[0].numpy() * mouth_cells(pair).reshape(8, -1)).sum(-1))
    assert np.mean(found) > 0.95
    assert np.square(errors).mean() < 0.2 * np.var([p.opening for p in pairs])
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_pairs_without_a_known_mouth_teach_no_reading() -> None:
    pair = speaking_pair(0)
    unknown = Pair(pair.frames, pair.mouth, pair.opening * np.nan, pair.encoded, pair.own)
    assert pair.is_read and not unknown.is_read
    with pytest.raises(ValueError, match="near mouth"):
        train_latent_lips([unknown], 1, torch.device("cpu"))


def test_closed_lips_that_are_read_as_open_count_more() -> None:
    read = torch.tensor([0.3, 0.05, 0.5])  # left open, closed, and open as it should be
    opening = torch.tensor([0.1, 0.0, 0.4])
    plain = (0.04 + 0.0025 + 0.01) / 3 / OPENING_VARIANCE
    assert float(misreading(read, opening, 0.0)) == pytest.approx(plain)
    more = (3 * 0.04 + 0.0025 + 0.01) / 3 / OPENING_VARIANCE
    assert float(misreading(read, opening, 2.0)) == pytest.approx(more)


def test_distance_beside_mouths_by_hand() -> None:
    mouth = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mouth[..., 8:16, 8:16] = True
    grey = torch.zeros(1, 1, 3, 32, 32)
    grey[..., 8:16, 8:16] = 0.5  # a mouth's change that has no colour is free
    assert distance_beside_mouths(grey, mouth) == 0
    colour = grey.clone()
    colour[:, :, 0, 8:16, 8:16] += 0.3  # red 0.2 above and the others 0.1 below their mean
    assert float(distance_beside_mouths(colour, mouth)) == pytest.approx(
        (0.2 + 0.1 + 0.1) / 3 / 16, rel=1e-4
    )
    far = torch.full((1, 1, 3, 32, 32), 0.5)
    near = 16 * 16  # eight pixels, and four to either side
    assert float(distance_beside_mouths(far, mouth)) == pytest.approx(0.5 * (1 - near / 32**2))


def test_only_the_decoder_learns(tmp_path) -> None:
    """Real pairs of a tiny model, and seconds of training."""
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
    pytest.importorskip("skia", reason="drawing needs skia, libegl1 and libgl1")
    backbone = tiny_pipeline().backbone
    settings = DrawnLipsTraining(levels=(0.3, 1.0), making_share=0.01, reader_steps=20)
    trained = train_drawn_lips(
        backbone, SAMPLING, tmp_path, time_budget_s=5.0, settings=settings, held_out=1
    )
    old = backbone.vae.state_dict()
    kept = VideoVAE.from_pretrained(tmp_path / "final").state_dict()
    changed = {n.split(".")[0] for n, v in kept.items() if not v.equal(old[n])}
    assert changed == {"decoder"}
    assert all(value.equal(kept[name]) for name, value in trained.state_dict().items())
    pair = Pair.load(sorted((tmp_path / "pairs").glob("*.npz"))[0])
    assert pair.own.shape == pair.encoded.shape == (16, 32, 8, 8)
    assert pair.frames.shape == (128, 64, 64, 3) and pair.mouth.any() and pair.is_read
    measured = evaluate(trained, [pair], LatentLips(16))
    assert set(measured) == {"psnr", "mouth_motion_missed", "misread"}
    backbone.vae = trained
    with pytest.raises(ValueError, match="made with other networks"):
        train_drawn_lips(backbone, SAMPLING, tmp_path, settings=settings, held_out=1)


def test_lips_learn_to_be_read_and_all_else_to_stay() -> None:
    """One batch, time and again: what is weighted goes down."""
    torch.manual_seed(0)
    before = tiny_pipeline().backbone.vae
    reader = LatentLips(16).requires_grad_(False)
    pair, device = speaking_pair(0), torch.device("cpu")
    batch = next(endless_batches([pair], DrawnLipsTraining(mouth_cells=3), 0, device))

    def after_steps(steps: int, **weights: float) -> dict[str, float]:
        vae = copy.deepcopy(before)
        films = VideoVAETraining(mouth_weight=1, edge_weight=0, motion_weight=0)
        settings = DrawnLipsTraining(films=films, **weights)
        optimizer = torch.optim.Adam(vae.decoder.parameters(), 3e-3)
        for _ in range(steps + 1):
            loss, measures = drawn_lips_loss(vae, batch, settings, reader, before)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return measures

    start = after_steps(0)
    assert start["distance"] == 0 < start["misread"]
    free = after_steps(30, lips_weight=1.0, likeness_weight=0.0)
    held = after_steps(30, lips_weight=1.0, likeness_weight=1000.0)
    assert free["misread"] < 0.8 * start["misread"]
    assert held["distance"] < 0.5 * free["distance"]


def test_a_pair_starts_from_its_film_and_noise(monkeypatch) -> None:
    """With a model that changes nothing, what is left is the noise that was added."""
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: pip install openmocha[voices]")
    pytest.importorskip("skia", reason="drawing needs skia, libegl1 and libgl1")
    backbone = tiny_pipeline().backbone
    monkeypatch.setattr(backbone, "velocity", lambda latents, *_: torch.zeros_like(latents))
    pair = make_pair(backbone, SAMPLING.with_given(num_inference_steps=10), (0.45, 0.55), 3)
    noise = (pair.own.astype(np.float64) - 0.5 * pair.encoded) / 0.5
    assert noise.std() == pytest.approx(1, abs=0.02) and noise.mean() == pytest.approx(0, abs=0.02)
    assert own_latents.SOURCES[3] == "medium" and not pair.is_read  # two people
