import pytest
import torch

from openmocha.flow import (
    add_noise,
    euler_step,
    guidance_weights,
    per_frame,
    preconditioning,
    predicted_latents,
    sample_sigma,
    shift_sigma,
    sigma_schedule,
    velocity_target,
)

SHAPE = (2, 3, 4, 2, 2)


def integrate(noise, velocity_of, sigmas):
    x = noise
    for sigma, next_sigma in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = euler_step(x, velocity_of(x, sigma), sigma.expand(len(x)), next_sigma.expand(len(x)))
    return x


def test_noise_levels_zero_and_one_are_data_and_noise():
    latents, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.equal(add_noise(latents, noise, torch.zeros(2)), latents)
    assert torch.equal(add_noise(latents, noise, torch.ones(2)), noise)


def test_velocity_is_the_derivative_of_the_noised_latents():
    latents, noise = torch.randn(SHAPE).double(), torch.randn(SHAPE).double()
    sigma, step = torch.rand(2, 4).double(), 1e-3
    change = add_noise(latents, noise, sigma + step) - add_noise(latents, noise, sigma)
    torch.testing.assert_close(change / step, velocity_target(latents, noise))


def test_one_euler_step_with_the_true_velocity_lands_on_the_data():
    latents, noise, sigma = torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(2, 4)
    noisy, velocity = add_noise(latents, noise, sigma), velocity_target(latents, noise)
    landed = euler_step(noisy, velocity, sigma, torch.zeros(2))
    torch.testing.assert_close(landed, latents)
    torch.testing.assert_close(predicted_latents(noisy, velocity, sigma), latents)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_is_exact_for_a_point_mass(shift):
    # All data at one point m: v(x, sigma) = (x - m) / sigma, and paths are straight lines.
    point, noise = torch.tensor(0.7), torch.randn(SHAPE)
    sampled = integrate(noise, lambda x, sigma: (x - point) / sigma, sigma_schedule(5, shift))
    torch.testing.assert_close(sampled, point.expand(SHAPE))


def test_euler_turns_noise_into_a_gaussian():
    # Data ~ N(m, s^2): x_sigma ~ N((1 - sigma) m, (1 - sigma)^2 s^2 + sigma^2), and the flow maps
    # noise z to m + s z.
    mean, std = 2.0, 0.5

    def velocity(x, sigma):
        variance = ((1 - sigma) * std) ** 2 + sigma**2
        noise_part = (sigma - (1 - sigma) * std**2) / variance
        return noise_part * (x - (1 - sigma) * mean) - mean

    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).double()
    expected = mean + std * noise
    errors = [
        (integrate(noise, velocity, sigma_schedule(n).double()) - expected).abs().max()
        for n in (100, 200)
    ]
    assert errors[0] < 0.03
    assert 1.8 < errors[0] / errors[1] < 2.2, "Euler's error halves with the step"


def test_a_clean_prefix_keeps_its_values_to_the_bit():
    x, velocity = torch.randn(SHAPE), torch.randn(SHAPE)
    sigma = torch.tensor([[0.0, 0.0, 0.8, 0.8]]).expand(2, -1)
    stepped = euler_step(x, velocity, sigma, sigma * 0.5)
    assert torch.equal(stepped[:, :, :2], x[:, :, :2])
    assert not torch.equal(stepped[:, :, 2:], x[:, :, 2:])


def test_one_level_for_a_sample_equals_the_same_level_on_all_frames():
    latents, noise, sigma = torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(2)
    frames = sigma[:, None].expand(-1, 4)
    assert torch.equal(add_noise(latents, noise, sigma), add_noise(latents, noise, frames))
    with pytest.raises(ValueError, match=r"\(2, 3\).*latent frames"):
        per_frame(torch.rand(2, 3), 4)


def test_schedule_falls_from_one_to_zero_and_shift_moves_it_up():
    plain, shifted = sigma_schedule(10), sigma_schedule(10, shift=3)
    for sigmas in (plain, shifted):
        assert sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert (shifted[1:-1] > plain[1:-1]).all()
    torch.testing.assert_close(shift_sigma(torch.tensor(0.5), 3.0), torch.tensor(0.75))
    for call in (lambda: sigma_schedule(0), lambda: sigma_schedule(4, shift=0)):
        with pytest.raises(ValueError):
            call()


def test_training_levels_are_logit_normal():
    drawn = sample_sigma((20000,), torch.Generator().manual_seed(0), mean=-0.5, std=0.8)
    logits = torch.logit(drawn)
    assert abs(logits.mean() + 0.5) < 0.02 and abs(logits.std() - 0.8) < 0.02
    assert sample_sigma((2, 7)).shape == (2, 7)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.5, 1.0])
def test_preconditioning_leaves_the_network_what_no_linear_guess_tells(sigma):
    latents, noise = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0)).double()
    noisy, velocity = (1 - sigma) * latents + sigma * noise, noise - latents
    scale, skip, out = preconditioning(torch.tensor(sigma))
    rest = (velocity - skip * noisy) / out
    assert float((scale * noisy).std()) == pytest.approx(1, abs=0.01)
    assert float(rest.std()) == pytest.approx(1, abs=0.01)
    assert float((rest * noisy).mean()) == pytest.approx(0, abs=0.01)


def test_guidance_weighs_text_and_speech_apart():
    assert guidance_weights(1, 1) == (0, 0, 1)
    assert guidance_weights(1, 0) == (0, 1, 0)
    assert guidance_weights(0, 0) == (1, 0, 0)
    null, text, full = torch.randn(3, 5).double()
    guided = [
        weights[0] * null + weights[1] * text + weights[2] * full
        for weights in (guidance_weights(4, 2), guidance_weights(4, 3), guidance_weights(5, 3))
    ]
    torch.testing.assert_close(guided[1] - guided[0], full - text)
    torch.testing.assert_close(guided[2] - guided[1], text - null)
