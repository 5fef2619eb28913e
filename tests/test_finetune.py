"""The embedded model trains further on shards of other films than toon's recipe."""

import json

import numpy as np
import pytest
import torch

from openmocha.models import store
from openmocha.training.encoders import encoder_checksums, load_encoders
from openmocha.training.finetune import Finetuning, data_folder, finetune, stage_of
from openmocha.training.samples import Records
from openmocha.training.shards import (
    TrainingClip,
    bind_to_networks,
    write_empty_prompt,
    write_shard,
)
from openmocha.training.stages import paper_stages, with_sources


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two clips of noise, encoded by the embedded model."""
    folder = tmp_path_factory.mktemp("dataset")
    rng, encoders = np.random.default_rng(0), load_encoders("toon")
    clips = [
        TrainingClip(
            source=source,
            seed=number,
            caption="A close-up shot of a person.",
            num_frames=32,
            crops=rng.integers(0, 255, (1, 32, 64, 64, 3), np.uint8),
            starts=[0],
            speech=(0.1 * rng.standard_normal(32 * 2000 // 3)).astype(np.float32),
            mouth_cells=np.zeros((1, 8, 4, 4), np.uint8),
        )
        for number, source in enumerate(("close-up", "medium"))
    ]
    bind_to_networks(folder / "shards", encoder_checksums("toon"))
    write_empty_prompt(folder / "shards", encoders.text)
    write_shard(folder / "shards" / "clips-0", clips, encoders)
    return folder


def test_a_dataset_is_known_by_its_shards(dataset, tmp_path):
    assert data_folder(dataset) == dataset / "shards" == data_folder(dataset / "shards")
    with pytest.raises(ValueError, match="no training shards"):
        data_folder(tmp_path)


def test_the_stage_holds_what_the_data_holds(dataset):
    stage = stage_of(Records(dataset / "shards"), Finetuning(steps=20, batch_size=2))
    assert stage.shares == {"close-up": 1.0, "medium": 1.0}
    assert [(c.latent_frames, c.height, c.width) for c in stage.crops] == [(8, 64, 64)]


@pytest.mark.end_to_end
def test_a_few_steps_change_the_transformer_and_nothing_else(dataset, tmp_path):
    given = Finetuning(steps=2, batch_size=2)
    made = finetune("toon", tmp_path, dataset / "shards", given)
    store.verify(made)
    source = store.model_folder("toon")
    assert encoder_checksums(made) == encoder_checksums(source)
    from openmocha.pipeline import MoChaPipeline

    old, new = (MoChaPipeline.from_pretrained(folder) for folder in (source, made))
    assert old.sampling.fast_steps and old.backbone.guided_transformer is not None
    assert not new.sampling.fast_steps and new.backbone.guided_transformer is None
    before, after = (one.backbone.transformer.state_dict() for one in (old, new))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > len(before) / 2


def test_shards_of_other_encoders_are_refused(dataset, tmp_path):
    other = tmp_path / "shards"
    other.mkdir()
    (other / "encoders.json").write_text(json.dumps({"vae/model.safetensors": "0"}))
    with pytest.raises(ValueError, match="not written by the encoders"):
        finetune("toon", tmp_path / "run", other, Finetuning(steps=1))


def test_stages_do_without_what_the_data_lacks():
    stages = with_sources(paper_stages(), {"close-up", "medium"})
    assert stages and all(set(stage.shares) <= {"close-up", "medium"} for stage in stages)
    whole = {source for stage in paper_stages() for source in stage.shares}
    assert with_sources(paper_stages(), whole) == paper_stages()
    with pytest.raises(ValueError, match="the data holds"):
        with_sources(paper_stages(), {"landscape"})
