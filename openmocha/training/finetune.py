"""Train the embedded model (or one like it) further on data of one's own: curated films, say.

model folder + shards by its encoders -> one stage over all that the shards hold -> model folder

openmocha train toon runs/mine --data dataset/ --steps 2000
"""

import json
import math
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from openmocha.backbones.assemble import share_other_parts
from openmocha.backbones.folder import GUIDED
from openmocha.models import store
from openmocha.models.transformer import MoChaTransformer3DModel
from openmocha.sampling import SETTINGS_FILE, Sampling
from openmocha.training.encoders import encoder_checksums
from openmocha.training.objective import TOON_OBJECTIVE
from openmocha.training.parallel import local_device
from openmocha.training.samples import Records
from openmocha.training.stages import Crop, Stage
from openmocha.training.train import TrainConfig, export_model, newest_of, train

CROPS = (8, 16, 32)  # latent frames; as many of them as the data has


@dataclass(frozen=True)
class Finetuning:
    """How long, and how fast: a tenth of the rate of the first training, so that what was learnt
    is not lost before the new films are understood."""

    steps: int = 1000
    minutes: float = math.inf
    batch_size: int = 4
    learning_rate: float = 1e-4
    seed: int = 0


def data_folder(data: Path) -> Path:
    """The shards of a dataset folder, or the folder itself where it holds shards.

    Raises ValueError for a folder without any.
    """
    for folder in (data / "shards", data):
        if any(folder.glob("*.array_record")):
            return folder
    raise ValueError(f"{data} holds no training shards; give a dataset of `openmocha curate`")


def finetune(model: str | Path, folder: Path, shards: Path, given: Finetuning) -> Path:
    """Train a model folder of the embedded kind on `shards` and return the new one,
    `folder`/model. Goes on where it stopped.

    Raises ValueError for shards that other encoders have written.
    """
    source = store.model_folder(model)
    check_encoders(source, shards)
    network = MoChaTransformer3DModel.from_pretrained(source / "transformer")
    # As the embedded model was made, but for the optimizer: AdamW moves little.
    config = TrainConfig(seed=given.seed, objective=TOON_OBJECTIVE)
    stage = stage_of(Records(shards), given)
    train(network.to(local_device()), shards, folder / "transformer", (stage,), config)
    return export(source, newest_of(folder / "transformer"), folder / "model")


def check_encoders(source: Path, shards: Path) -> None:
    """Raise ValueError where shards were not written by this model's encoders."""
    written = json.loads((shards / "encoders.json").read_text())
    if written != encoder_checksums(source):
        raise ValueError(
            f"the shards in {shards} were not written by the encoders of {source}; name the model "
            "in the settings of the curation (shards: {model: ...}) and curate again"
        )


def stage_of(records: Records, given: Finetuning) -> Stage:
    """One stage: sources by how many clips there are of each, crops of every length there is."""
    shares = {source: float(n) for source, n in Counter(records.rows["source"]).items()}
    sizes = Counter(zip(records.rows["height"], records.rows["width"], strict=True))
    (height, width), _ = sizes.most_common(1)[0]
    shortest = int(records.rows["latent_frames"].min())
    lengths = [length for length in CROPS if length <= shortest] or [1]
    crops = tuple(Crop(n, given.batch_size, 1.0, int(height), int(width)) for n in lengths)
    return Stage(
        "finetune", given.steps, shares, crops, given.learning_rate,
        warmup_steps=min(100, given.steps // 10), time_budget_s=60 * given.minutes,
    )  # fmt: skip


def export(source: Path, newest: Path, output: Path) -> Path:
    """The checkpoint's moving average with the other parts of the model that was trained, but for
    the student of its few steps, which is one of the model before."""
    shutil.rmtree(output, ignore_errors=True)
    export_model(newest, output / "transformer")
    others = [part.name for part in source.iterdir() if part.is_dir()]
    share_other_parts(source, output, [n for n in others if n not in ("scheduler", GUIDED)])
    settings = Sampling.from_file(source / "scheduler" / SETTINGS_FILE)
    settings = replace(settings, fast_steps=())
    store.write_json(output / "scheduler" / SETTINGS_FILE, asdict(settings))
    index = store.read_json(source / store.INDEX)
    index.pop(GUIDED, None)
    store.write_json(output / store.INDEX, index)
    store.write_checksums(output)
    return output
