"""SyncNet scores of finished films: how well lips follow a speech (Sync-C up, Sync-D down).

    scorer = load_scorer(Path("weights/syncnet"))
    score_film(Path("film.mp4"), Path("speech.wav"), scorer).sync_c

frames -> faces, scenes -> tracks -> crops of 224x224 ─┐
speech -> MFCC ────────────────────────────────────────┴-> two embeddings -> distances -> scores

Two `variant`s of the public scripts differ in tracker, shortest track and sound ("original",
"mochabench"); two `path`s through the same stages: "fast" decodes to frames and stays there,
"compatible" takes the scripts' way through AVI and JPEG files.
"""

from openmocha.evaluation.syncnet.scoring import FilmSync, SyncScorer, load_scorer, score_film

__all__ = ["FilmSync", "SyncScorer", "load_scorer", "score_film"]
