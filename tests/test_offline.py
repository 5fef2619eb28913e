"""What is carried to a machine without internet does there what it does here."""

import pytest
import torch

from openmocha.models.text_encoder import TextEncoder, package_folder
from openmocha.toon.captions import caption_of
from openmocha.toon.stories import make_story
from openmocha.training.offline import (
    captions,
    pack_text_encoder,
    unpack_text_encoder,
    used_tokens,
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> tuple[TextEncoder, TextEncoder]:
    """The packaged text encoder, and the same packed and unpacked."""
    folder = tmp_path_factory.mktemp("kit")
    packaged = TextEncoder.from_pretrained()
    rows = used_tokens(captions(300), packaged.tokenizer)
    pack_text_encoder(package_folder(), folder / "packed", rows)
    assert (folder / "packed" / "model.safetensors").stat().st_size < 23_000_000
    unpack_text_encoder(folder / "packed", folder / "unpacked")
    return packaged, TextEncoder.from_pretrained(folder / "unpacked")


def test_captions_never_seen_mean_the_same(encoders) -> None:
    packaged, carried = encoders
    unseen = [caption_of(make_story(90_000 + i, "dialogue", "test")) for i in range(4)] + [""]
    (states, mask), (same, same_mask) = packaged.encode(unseen), carried.encode(unseen)
    assert torch.equal(mask, same_mask)
    torch.testing.assert_close(same[mask], states[mask], atol=0.01, rtol=0)


def test_a_word_that_was_left_behind_does_not_pass_for_another(encoders) -> None:
    states, _ = encoders[1].encode(["a photosynthesis"])
    assert states.isnan().all()
