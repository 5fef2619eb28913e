"""A benchmark of four items with speech, and runs of small films in its layout."""

from pathlib import Path

import numpy as np
from test_media import tone, write_wav

from openmocha.evaluation.mochabench import film_path, read_benchmark
from openmocha.evaluation.score_table import Score, append_score, content_hash, write_run
from openmocha.media import write_film

TEMPLATE = (
    "Two video clips.\\n\\nCharacters: A woman (Person1) with red hair. A man (Person2) in a suit."
    "\\n\\nFirst clip: Person1 speaks.\\n\\nSecond clip: Person2 answers."
)
ROWS = (
    ("1p_emotion", "1_woman", "A woman with red hair speaks to the camera."),
    ("1p_emotion", "2_man", "A man in a green coat laughs while he speaks."),
    ("1p_protrait", "1_robot", "A robot speaks."),
    ("2p_2clip_2talk", "1_talk", TEMPLATE),
    ("1p_closeup_facingcamera", "1_nobody", "Its speech is not on this disk."),
)


def make_benchmark(folder: Path, seconds: float = 0.6) -> Path:
    """Items 1 and 2 share a speech."""
    lines = ["idx_in_category,category,context_id,prompt"]
    for category, name, prompt in ROWS:
        lines.append(f'{name[0]},{category},{name},"""{prompt}"""')
        if name != "1_nobody":
            hz = {"1_robot": 330.0, "1_talk": 250.0}.get(name, 440.0)
            (folder / "speeches" / category).mkdir(parents=True, exist_ok=True)
            path = folder / "speeches" / category / f"{name}_speech.wav"
            write_wav(path, [tone(seconds, hz=hz)])
    (folder / "benchmark.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_run(folder: Path, seed: int, but: tuple[str, ...] = ()) -> Path:
    """Films of 12 frames of all items with speech, except those of `but`."""
    rng = np.random.default_rng(seed)
    for category, name, _ in ROWS[:4]:
        if name not in but:
            (folder / category).mkdir(parents=True, exist_ok=True)
            flat = rng.integers(40, 200, (12, 1, 1, 3), dtype=np.uint8)
            frames = np.broadcast_to(flat, (12, 48, 64, 3))
            write_film(folder / category / f"{name}.mp4", frames)
    return folder


def scored_runs(folder: Path) -> Path:
    """Two runs of a benchmark, the second without its second film and without a face in the third;
    their scores are made up."""
    (folder / "benchmark").mkdir()
    items = read_benchmark(make_benchmark(folder / "benchmark"))
    for number, name in enumerate(("first", "second & <third>")):
        but = ("2_man",) if number else ()
        run = make_run(folder / "runs" / name, number, but)
        write_run(run, {"benchmark": str(folder / "benchmark")})
        for index, item in enumerate(items[:4]):
            film = content_hash(film_path(run, item))
            if film is None:
                continue
            values = {"sync_c": 4.0 + index + number, "sync_d": 9.0 - index - number}
            note = ""
            if number and index == 2:
                values, note = {}, "no face that could be followed"
            speech = content_hash(item.speech)
            append_score(run, Score(item.name, "sync", "SyncNet X", film, speech, values, note))
            measured = {"flow": 0.25 * (index + 1), "sharpness": 1234.5}
            append_score(run, Score(item.name, "free", "free 1", film, speech, measured))
            judged = {"judge_text": 3.0}
            told = {"lip_advice": "mouth open in 6 of 6 loud"}
            append_score(run, Score(item.name, "judge", "eye", film, speech, judged, "", told))
    return folder
