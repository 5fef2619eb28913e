"""The video VAE: what a latent may depend on, streaming, storage, and what training measures."""

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from openmocha.models.video_vae import VideoVAE, VideoVAEConfig
from openmocha.training import video_vae as training
from openmocha.training.film_crops import Batch, Batching, Crop, mouth_mask, place_window, to_video
from openmocha.training.muon import Muon, orthogonalise
from openmocha.training.principal import components, start_at_principal_components
from openmocha.training.video_vae import ReadableVAE, VideoVAETraining

TINY = VideoVAEConfig(16, 4, (8, 16, 24), (0, 2, 2), (1, 3, 3))


@pytest.fixture
def vae() -> VideoVAE:
    """A small VAE in which no weight is zero, so that every dependence shows."""
    torch.manual_seed(0)
    vae = VideoVAE(TINY).eval()
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vae.latent_mean.normal_()
    vae.latent_scale.uniform_(0.5, 2)
    return vae


def video(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def changed(before: torch.Tensor, after: torch.Tensor, axis: int) -> list[int]:
    """Indices along `axis` at which the two differ."""
    different = (before != after).movedim(axis, 0).flatten(1).any(dim=1)
    return different.nonzero().flatten().tolist()


@torch.no_grad()
def test_a_frame_changes_the_latent_of_its_own_group_only(vae: VideoVAE) -> None:
    film = video(1, 16, 3, 32, 32)
    other = film.clone()
    other[:, 5] = -other[:, 5]
    assert changed(vae.encode(film), vae.encode(other), axis=2) == [1]


@torch.no_grad()
def test_a_latent_of_a_film_is_the_latent_of_its_group_alone(vae: VideoVAE) -> None:
    film = video(2, 16, 3, 32, 48)
    torch.testing.assert_close(
        vae.encode(film)[:, :, 2:3], vae.encode(film[:, 8:12]), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_the_decoder_sees_one_latent_to_either_side(vae: VideoVAE) -> None:
    latents = video(1, 16, 7, 4, 4)
    other = latents.clone()
    other[:, :, 3] += 1
    assert changed(vae.decode(latents), vae.decode(other), axis=1) == list(range(8, 20))


@torch.no_grad()
def test_streaming_equals_decoding_at_once(vae: VideoVAE) -> None:
    latents = video(2, 16, 5, 4, 6)
    at_once = vae.decode_raw(latents).clamp(-1, 1)
    streamed = torch.cat(list(vae.decode_stream(latents)), dim=1)
    torch.testing.assert_close(streamed, at_once, atol=1e-6, rtol=0)
    assert torch.equal(vae.decode(latents), streamed)


@torch.no_grad()
def test_a_group_is_ready_as_soon_as_the_next_latent_is_there(vae: VideoVAE) -> None:
    taken = 0

    def arriving() -> object:
        nonlocal taken
        for frame in video(1, 16, 4, 2, 2).unbind(2):
            taken += 1
            yield frame

    assert [taken for _ in vae.decode_stream(arriving())] == [2, 3, 4, 4]


@torch.no_grad()
def test_an_image_is_a_frame_repeated_four_times(vae: VideoVAE) -> None:
    image = video(2, 3, 32, 32)
    film = image[:, None].expand(-1, 4, -1, -1, -1)
    assert torch.equal(vae.encode_image(image), vae.encode(film))


@torch.no_grad()
@pytest.mark.parametrize(("width", "height"), [(128, 128), (160, 96), (96, 160), (16, 48)])
def test_sizes(vae: VideoVAE, width: int, height: int) -> None:
    latents = vae.encode(video(1, 8, 3, height, width))
    assert latents.shape == (1, 16, 2, height // 8, width // 8)
    decoded = vae.decode(latents)
    assert decoded.shape == (1, 8, 3, height, width)
    assert -1 <= decoded.min() < decoded.max() <= 1


@torch.no_grad()
def test_moving_a_film_by_eight_pixels_moves_its_latents_by_one(vae: VideoVAE) -> None:
    film = video(1, 4, 3, 160, 160)
    latents, moved = vae.encode(film), vae.encode(film.roll((8, 8), dims=(3, 4)))
    # Far from the border, where the convolutions do not see the padding.
    torch.testing.assert_close(moved[..., 9:12, 9:12], latents[..., 8:11, 8:11], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 6, 3, 32, 32), "6 frames"),
        ((1, 0, 3, 32, 32), "0 frames"),
        ((1, 4, 3, 32, 36), "36x32"),
        ((1, 4, 1, 32, 32), r"\(B, T, 3, H, W\)"),
        ((4, 3, 32, 32), r"\(B, T, 3, H, W\)"),
    ],
)
def test_a_wrong_video_is_refused_with_what_was_given(
    vae: VideoVAE, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vae.encode(torch.zeros(shape))


def test_wrong_latents_are_refused(vae: VideoVAE) -> None:
    with pytest.raises(ValueError, match="16"):
        vae.decode(torch.zeros(1, 8, 2, 4, 4))


@torch.no_grad()
def test_a_saved_vae_is_bit_equal(vae: VideoVAE, tmp_path) -> None:
    vae.save_pretrained(tmp_path)
    loaded = VideoVAE.from_pretrained(tmp_path)
    film = video(1, 8, 3, 32, 32)
    latents = vae.encode(film)
    assert torch.equal(loaded.encode(film), latents)
    assert torch.equal(loaded.decode(latents), vae.decode(latents))


@torch.no_grad()
def test_weights_in_bfloat16_keep_exact_statistics(vae: VideoVAE, tmp_path) -> None:
    vae.save_pretrained(tmp_path, torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["encoder.1.weight"].dtype == torch.bfloat16
    assert torch.equal(stored["latent_scale"], vae.latent_scale)
    rounded = VideoVAE.from_pretrained(tmp_path)
    rounded.save_pretrained(tmp_path / "again", torch.bfloat16)
    film = video(1, 4, 3, 32, 32)
    again = VideoVAE.from_pretrained(tmp_path / "again")
    assert torch.equal(again.encode(film), rounded.encode(film))


def test_a_level_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="one number for each of two or more levels"):
        VideoVAEConfig(widths=(8, 8, 8))


def test_an_unknown_setting_is_named(vae: VideoVAE, tmp_path) -> None:
    vae.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("widths", "breadths"))
    with pytest.raises(ValueError, match="breadths"):
        VideoVAE.from_pretrained(tmp_path)


def test_the_toon_vae_has_under_three_million_weights() -> None:
    with torch.device("meta"):
        vae = VideoVAE()
    assert 2_000_000 < sum(p.numel() for p in vae.parameters()) < 3_000_000


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(2, 3, 4, 4)
    # An error of 0.2 of a range of 2 is 20 dB.
    assert training.psnr(target + 0.2, target) == pytest.approx(20, abs=1e-5)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = True
    prediction = target + 0.2
    prediction[0, :, 1, 2] = 0.02
    assert training.psnr(prediction, target, mask) == pytest.approx(40, abs=1e-4)
    assert math.isnan(training.psnr(prediction, target, torch.zeros_like(mask)))


def test_the_mouth_mask_covers_boxes_and_their_margin() -> None:
    boxes = np.array([[[4, 6, 8, 8], [10, 1, 11, 2]], [[np.nan] * 4, [0, 0, 0, 0]]])
    mask = mouth_mask(boxes, height=16, width=12)
    expected = np.zeros((16, 12), bool)
    expected[5:9, 3:9] = True  # a quarter of the width, 4, on every side
    expected[1:2, 10:11] = True  # a margin of 0.25 reaches no other pixel centre
    assert np.array_equal(mask[0], expected)
    assert not mask[1].any()


def test_the_loss_counts_mouths_and_edges_as_it_says() -> None:
    film = torch.zeros(1, 12, 3, 8, 8)
    mouth = torch.zeros(1, 12, 8, 8, dtype=torch.bool)
    mouth[..., :4, :] = True
    settings = VideoVAETraining(mouth_weight=5, edge_weight=1)
    batch = Batch(film, mouth, torch.zeros(1, 12))
    flat, measures = training.reconstruction_loss(film + 0.5, batch, settings)
    assert float(flat) == pytest.approx(0.5 * (5 + 1) / 2)  # no edges in a constant error
    assert measures["l1"] == pytest.approx(0.5)
    striped = film.clone()
    striped[..., ::2] = 0.5
    loss, _ = training.reconstruction_loss(striped, batch, settings)
    assert float(loss) == pytest.approx(3 * 0.25 + 3 * 0.5)  # every pixel differs from the next


def test_the_loss_sees_that_the_frames_of_a_latent_stand_still() -> None:
    film = (torch.arange(12) % 4 * 0.2).view(1, 12, 1, 1, 1).expand(1, 12, 3, 8, 8).clone()
    film += (torch.arange(12) // 4 * 0.1).view(1, 12, 1, 1, 1)  # from latent to latent
    still = film.view(1, 3, 4, 3, 8, 8).mean(2, keepdim=True).expand(1, 3, 4, 3, 8, 8)
    still = still.reshape(film.shape)
    mouth = torch.zeros(1, 12, 8, 8, dtype=torch.bool)
    mouth[..., :4, :] = True
    batch = Batch(film, mouth, torch.zeros(1, 12))
    seen, unseen = (
        VideoVAETraining(mouth_weight=5, motion_weight=weight) for weight in (100.0, 0.0)
    )

    def motion_of(prediction: torch.Tensor) -> tuple[float, float]:
        loss, measures = training.reconstruction_loss(prediction, batch, seen)
        without, _ = training.reconstruction_loss(prediction, batch, unseen)
        return float(loss - without), measures["motion_missed"]

    squares = (0.3**2 + 0.1**2) / 2
    assert motion_of(still) == pytest.approx((100 * squares * (1 + 1 / 5) / 2, 1), rel=1e-3)
    assert motion_of(film + 0.5) == pytest.approx((0, 0), abs=1e-4)  # what stays is no motion
    backwards = film.view(1, 3, 4, 3, 8, 8).flip(2).reshape(film.shape)
    assert motion_of(backwards)[1] == pytest.approx(4, rel=1e-3)


def test_as_many_windows_cover_a_mouth_as_are_asked_for() -> None:
    mouth = np.zeros((12, 96, 160), bool)
    mouth[:, 40:42, 150:152] = True
    crop = Crop(np.zeros((12, 96, 160, 3), np.uint8), mouth, np.zeros(12, np.float32))
    rng = np.random.default_rng(0)
    places = [place_window(crop, 32, rng, 0.75) for _ in range(2000)]
    assert all(0 <= r.start <= 64 and 0 <= c.start <= 128 for r, c in places)
    assert all(r.stop - r.start == c.stop - c.start == 32 for r, c in places)
    covered = np.mean([mouth[6, r, c].any() for r, c in places])
    by_chance = (33 / 65) * (11 / 129)
    assert covered == pytest.approx(0.75 + 0.25 * by_chance, abs=0.04)


@torch.no_grad()
def test_measured_latents_have_mean_zero_and_keep_the_order_of_their_strengths(
    vae: VideoVAE,
) -> None:
    crops = [moving_square(seed, "train") for seed in range(4)]
    raw = torch.cat([vae.encode_raw(to_video(c.frames[None])) for c in crops])
    training.measure_latents(vae, crops)
    latents = torch.cat([vae.encode(to_video(c.frames[None])) for c in crops])
    assert latents.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-3
    variances = latents.var(dim=(0, 2, 3, 4), correction=0)
    assert float(variances.mean()) == pytest.approx(1, abs=1e-3)
    # The root of the deviation is left, so the variance is proportional to the old deviation.
    ratio = variances / raw.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(ratio, ratio.mean().expand(16), rtol=1e-3, atol=0)


@torch.no_grad()
def test_the_leash_costs_nothing_at_the_components_and_pulls_back_to_them(vae: VideoVAE) -> None:
    crop = moving_square(0, "train")
    video, mouth = to_video(crop.frames[None]), torch.from_numpy(crop.mouth[None])
    batch = Batch(video, mouth, torch.from_numpy(crop.opening[None]))
    settings, linear = VideoVAETraining(leash=1.0), copy.deepcopy(vae)
    network = ReadableVAE(vae)
    at_home, measures = training.joint_loss(network, batch, settings, linear)
    assert measures["distance"] == 0
    linear.latent_mean += linear.latent_scale  # every latent of `linear` is now one less
    away, measures = training.joint_loss(network, batch, settings, linear)
    assert measures["distance"] == pytest.approx(1, abs=1e-3)
    assert float(away - at_home) == pytest.approx(1, abs=1e-3)


def test_opening_is_read_in_the_cells_of_a_single_mouth_only() -> None:
    latents = torch.zeros(2, 4, 3, 2, 2)
    opening = torch.rand(2, 12)
    mouth = torch.zeros(2, 12, 16, 16, dtype=torch.bool)
    mouth[..., :8, 8:] = True
    # The latent of the mouth's cell is the opening of its four frames; all others are far off.
    latents[:, :, :, 1:] = latents[:, :, :, :, :1] = 9
    latents[..., 0, 1] = opening.reshape(2, 3, 4).mT
    batch = Batch(torch.zeros(2, 12, 3, 16, 16), mouth, opening)
    assert float(training.reading_error(nn.Identity(), latents, batch)) == 0
    latents[0, 0, 0, 0, 1] += 1  # one of 2 x 3 x 4 values read
    wrong = float(training.reading_error(nn.Identity(), latents, batch))
    assert wrong == pytest.approx(1 / 24 / training.OPENING_VARIANCE, rel=1e-4)
    opening[0] = torch.nan  # two characters in sight: nothing to read
    assert float(training.reading_error(nn.Identity(), latents, batch)) == 0


def moving_square(seed: int, split: str) -> Crop:
    """A bright square that moves over a coloured ground, its own mouth."""
    rng = np.random.default_rng([seed, split == "test"])
    frames = np.empty((12, 64, 64, 3), np.uint8)
    frames[:] = rng.integers(100, size=3)
    mouth = np.zeros((12, 64, 64), bool)
    x, y = rng.integers(40, size=2)
    for t in range(12):
        mouth[t, y : y + 12, x + t : x + t + 12] = True
    frames[mouth] = 200 + rng.integers(50, size=3)
    return Crop(frames, mouth, rng.random(12, np.float32))


def short_training(joint_share: float = 0.4, **changes: object) -> dict[str, object]:
    batches = Batching(window_shares=((32, 1.0),), groups=12, first_crops=2, pool_crops=4)
    settings = VideoVAETraining(batches=batches, joint_share=joint_share)
    return {"workers": 1, "draw": moving_square, "held_out": 1, "settings": settings} | {
        "encoder_crops": 4,
        **changes,
    }


def test_training_leaves_a_model_and_goes_on_with_its_decoder_alone(tmp_path) -> None:
    torch.set_num_threads(1)
    training.train_video_vae(tmp_path / "a", time_budget_s=3, **short_training())
    first = load_file(tmp_path / "a" / "final" / "model.safetensors")
    start = tmp_path / "a" / "final"
    alone = short_training(joint_share=0.0, start=start)
    training.train_video_vae(tmp_path / "b", time_budget_s=1.5, **alone)
    second = load_file(tmp_path / "b" / "final" / "model.safetensors")
    kept = {name for name in first if torch.equal(first[name], second[name])}
    latent_parts = {name for name in first if name.startswith(("encoder.", "latent_"))}
    assert kept >= latent_parts
    assert any(name.startswith("decoder.") for name in first.keys() - kept)


def test_the_encoder_projects_patches_onto_orthonormal_axes() -> None:
    vae, films = VideoVAE(), [torch.randn(8, 3, 32, 32) for _ in range(4)]
    start_at_principal_components(vae, films, [torch.zeros(8, 32, 32) for _ in films])
    probes = torch.eye(4 * 3 * 16 * 16).reshape(-1, 4, 3, 16, 16)
    with torch.no_grad():
        axes = (vae.encode_raw(probes) - vae.encode_raw(torch.zeros(1, 4, 3, 16, 16))).flatten(1)
    torch.testing.assert_close(axes.T @ axes, torch.eye(32), atol=1e-5, rtol=0)


def test_components_are_the_directions_of_most_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 3.0, 1.0, 0.2])[:, None, None]
    maps = [7 + spread * torch.randn(1, 4, 40, 40, generator=generator)]
    axes = components(maps, [torch.ones(1, 40, 40)], number=2)
    torch.testing.assert_close(axes.abs(), torch.eye(4)[[1, 2]], atol=0.05, rtol=0)


@pytest.mark.parametrize("shape", [(24, 90), (90, 24)])
def test_an_orthogonalised_matrix_keeps_its_directions_with_equal_weight(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    weights = torch.diagonal(u.T @ orthogonalise(matrix) @ v.T)
    assert values.max() > 2.5 * values.min()
    assert 0.6 < weights.min() < weights.max() < 1.3


def test_matrices_made_orthogonal_together_are_those_made_so_alone() -> None:
    matrices = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(1))
    alone = torch.stack([orthogonalise(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonalise(matrices), alone, atol=0.02, rtol=0)  # bfloat16
    assert not torch.allclose(alone[0], alone[1], atol=0.02)


def test_muon_moves_a_matrix_by_the_size_of_an_adamw_step_and_a_vector_as_adamw_does() -> None:
    torch.manual_seed(0)
    kernel, vector = nn.Parameter(torch.zeros(32, 16, 3, 3)), nn.Parameter(torch.zeros(8))
    copy = nn.Parameter(torch.zeros(8))
    muon = Muon([kernel, vector], lr=0.01, weight_decay=0)
    adamw = torch.optim.AdamW([copy], lr=0.01, betas=(0.9, 0.95), weight_decay=0)
    for _ in range(3):
        before = kernel.detach().clone()
        kernel.grad = 1e-4 * torch.randn_like(kernel)
        vector.grad = torch.randn_like(vector)
        copy.grad = vector.grad.clone()
        muon.step()
        adamw.step()
        rms = float((kernel.detach() - before).pow(2).mean().sqrt())
        assert rms == pytest.approx(0.01 * 0.2, rel=0.25)
    torch.testing.assert_close(vector, copy, atol=1e-6, rtol=1e-5)
