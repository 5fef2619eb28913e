import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from openmocha.models.speech_attention import (
    SpeechAttention,
    SpeechProjector,
    causal_windows,
    stack_neighbours,
    uniform_windows,
    window_attention,
)

MODES = (
    "window",
    "window+rope",
    "global",
    "global+rope",
    "global+sinusoidal",
    "global+learnable",
)


def brute_uniform(frames, r, left, right):
    """Eq. 4 position by position: slide a window that leaves the film back in, token by token."""
    windows = []
    for i in range(frames):
        tokens = list(range(i * r - left, (i + 1) * r + right))
        while tokens[0] < 0:
            tokens = [s + 1 for s in tokens]
        while tokens[-1] > frames * r - 1:
            tokens = [s - 1 for s in tokens]
        windows.append(tokens)
    return windows


def brute_causal(frames, r, left, right):
    """The frames that each latent of a causal VAE stands for, widened, if they exist."""
    num_frames = 1 + (frames - 1) * r
    groups = [[0]] + [list(range(r * i - r + 1, r * i + 1)) for i in range(1, frames)]
    wide = [range(group[0] - left, group[-1] + right + 1) for group in groups]
    return [[s for s in window if 0 <= s < num_frames] for window in wide]


@pytest.mark.parametrize("padding", [(1, 1), (0, 0), (2, 1), (0, 3), (4, 4)])
@pytest.mark.parametrize("r", [1, 2, 4, 8])
def test_windows_against_a_loop_over_all_positions(r, padding):
    for frames in (1, 2, 3, 5, 32):
        index, mask = causal_windows(frames, r, *padding)
        visible = [row[keep].tolist() for row, keep in zip(index, mask, strict=True)]
        assert visible == brute_causal(frames, r, *padding)
        if r + sum(padding) <= frames * r:
            windows = uniform_windows(frames, r, *padding)
            assert windows.tolist() == brute_uniform(frames, r, *padding)


def test_paper_windows_of_a_128_frame_clip():
    one_based = uniform_windows(32) + 1  # figure 3 counts from 1
    assert one_based[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert one_based[1].tolist() == [4, 5, 6, 7, 8, 9]
    assert one_based[-1].tolist() == [123, 124, 125, 126, 127, 128]


def test_a_film_shorter_than_the_window_is_seen_whole_and_nonsense_is_refused():
    assert uniform_windows(1).tolist() == [[0, 1, 2, 3]]
    for wrong in ((0,), (4, 0), (4, 4, -1), (4, 4, 1, -2)):
        with pytest.raises(ValueError):
            uniform_windows(*wrong)
        with pytest.raises(ValueError):
            causal_windows(*wrong)


def test_stacking_repeats_the_edges():
    stacked = stack_neighbours(torch.arange(4.0).reshape(1, 4, 1), 2)
    assert stacked[0].tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
    ]


def test_projector_sees_five_frames_to_either_side_and_no_more():
    projector = SpeechProjector(layers=2, speech_width=3, stack=5, hidden=8, width=4, norm=False)
    tokens = torch.randn(2, 30, 2, 3)
    moved = tokens.clone()
    moved[1, 12, 1] += 1
    changed = (projector(moved) != projector(tokens)).any(-1)
    assert changed[1].nonzero().flatten().tolist() == list(range(7, 18))
    assert not changed[0].any(), "samples do not mix"


def test_projected_tokens_have_one_size_however_quiet_the_speech_tokens_are():
    projector = SpeechProjector(layers=2, speech_width=3, stack=5, hidden=8, width=4, norm=True)
    projected = projector(0.05 * torch.randn(2, 30, 2, 3))
    torch.testing.assert_close(
        projected.std(-1, correction=0), torch.ones(2, 30), atol=0.05, rtol=0
    )
    torch.testing.assert_close(projected.mean(-1), torch.zeros(2, 30), atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_windowed_core_equals_dense_attention_with_a_mask(causal):
    frames, patches, heads, head_width = 5, 3, 2, 8
    windows, mask = causal_windows(frames) if causal else (uniform_windows(frames), None)
    num_tokens = int(windows.max()) + 1
    query = torch.randn(2, frames, patches, heads, head_width)
    key_value = torch.randn(2, num_tokens, 2, heads, head_width)
    dense = torch.zeros(frames * patches, num_tokens, dtype=torch.bool)
    for i in range(frames):
        seen = windows[i] if mask is None else windows[i][mask[i]]
        dense[i * patches : (i + 1) * patches, seen] = True
    key, value = key_value.transpose(1, 3).unbind(2)
    expected = scaled_dot_product_attention(
        query.flatten(1, 2).transpose(1, 2), key, value, attn_mask=dense
    )
    expected = expected.transpose(1, 2).reshape(query.shape)
    torch.testing.assert_close(window_attention(query, key_value, windows, mask), expected)


def speaking(mode, width=16):
    """A speech attention whose output is not zero."""
    torch.manual_seed(0)
    attention = SpeechAttention(width, heads=2, mode=mode, max_speech_tokens=64)
    torch.nn.init.normal_(attention.output.weight)
    return attention.eval()


@pytest.mark.parametrize("token", [0, 3, 4, 7, 10, 19])
def test_one_speech_token_changes_exactly_the_frames_whose_window_holds_it(token):
    attention, windows = speaking("window"), uniform_windows(5)
    x, speech = torch.randn(2, 5, 3, 16), torch.randn(2, 20, 16)
    moved = speech.clone()
    moved[0, token] += 1
    before, after = attention(x, speech, windows), attention(x, moved, windows)
    changed = (before != after).flatten(2).any(-1)
    allowed = torch.tensor([token in window for window in brute_uniform(5, 4, 1, 1)])
    assert torch.equal(changed[0], allowed)
    assert not changed[1].any()


def test_masked_tokens_are_not_heard():
    attention, (windows, mask) = speaking("window"), causal_windows(4)
    x, speech = torch.randn(1, 4, 2, 16), torch.randn(1, 13, 16)
    for token in range(13):
        moved = speech.clone()
        moved[0, token] += 1
        changed = attention(x, speech, windows, mask) != attention(x, moved, windows, mask)
        allowed = [token in window for window in brute_causal(4, 4, 1, 1)]
        assert changed.flatten(2).any(-1)[0].tolist() == allowed


@pytest.mark.parametrize("mode", ["window", "window+rope"])
def test_a_crop_with_margins_hears_what_the_whole_clip_hears(mode):
    attention = speaking(mode)
    x, speech, windows = torch.randn(1, 8, 3, 16), torch.randn(1, 32, 16), uniform_windows(8)
    whole = attention(x, speech, windows)
    for first, frames in ((0, 2), (3, 4), (6, 2)):
        start = max(first * 4 - 6, 0)
        part = slice(first, first + frames)
        crop_windows = (windows[part] - start)[None]
        cropped = attention(x[:, part], speech[:, start:], crop_windows)
        torch.testing.assert_close(cropped, whole[:, part], atol=1e-5, rtol=1e-5)


def test_the_modes_of_the_ablation_differ():
    x, speech, windows = torch.randn(1, 4, 2, 16), torch.randn(1, 16, 16), uniform_windows(4)
    outputs = [speaking(mode)(x, speech, windows) for mode in MODES]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert (one - other).abs().max() > 1e-3


def test_only_global_attention_without_positions_ignores_order():
    x, speech, windows = torch.randn(1, 4, 2, 16), torch.randn(1, 16, 16), uniform_windows(4)
    for mode in MODES:
        attention = speaking(mode)
        with torch.no_grad():
            change = attention(x, speech.flip(1), windows) - attention(x, speech, windows)
        assert (change.abs().max() < 1e-5) == (mode == "global")


def test_rotary_positions_of_a_window_are_relative():
    attention, windows = speaking("window+rope"), uniform_windows(4)
    x, speech = torch.randn(1, 4, 2, 16), torch.randn(1, 16, 16)
    later = torch.cat((torch.randn(1, 8, 16), speech), dim=1)
    heard = attention(x, speech, windows)
    torch.testing.assert_close(attention(x, later, windows + 8), heard, atol=1e-5, rtol=1e-5)


def test_output_starts_at_zero_and_still_learns():
    attention = SpeechAttention(16, heads=2, mode="window")
    x, speech = torch.randn(2, 4, 3, 16), torch.randn(2, 16, 16)
    heard = attention(x, speech, uniform_windows(4))
    assert not heard.any()
    (heard * torch.randn_like(heard)).sum().backward()
    assert attention.output.weight.grad.abs().sum() > 0


def test_bfloat16_training_equals_float32_closely():
    attention = speaking("window")
    x, speech, windows = torch.randn(2, 4, 3, 16), torch.randn(2, 16, 16), uniform_windows(4)
    exact = attention(x, speech, windows)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attention(x, speech, windows)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
