"""The README's tables, from benchmarks/results alone.

python -m benchmarks.readme_tables
"""

import json
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.toon_stories import REQUIRED

TARGETS = {
    "opening r": "0.85",
    "gain over loudness": "0.1",
    "opening R2, close-up": "judge 0.95",
    "lips closed on p, b, m": "0.80",
    "gestures on stressed words, r": "reported",
    "the same, less that with words moved": "above 0",
    "opening r, medium": "0.70",
    "opening r, wide": "reported",
    "facing": "0.80",
    "emotion": "0.80",
    "camera": "0.80",
    "action": "0.80",
    "position": "0.90",
    "cut within 1 frame": "0.90",
    "right one of two talks": "0.95",
    "right one in each clip": "0.95",
} | dict.fromkeys(REQUIRED, "0.90; judge 0.99")


def main() -> None:
    """Print both tables, with the machines that the numbers come from."""
    stories = read("toon_stories")
    print(stories_table(stories["figures"]), "\n")
    print("| | measured | target |\n|---|---|---|")
    parts = (
        real_speech, long_films, scenes, two_in_a_shot, speech_scale, told_apart, speed, video_vae,
        speech_encoder, speech_attention,
    )  # fmt: skip
    for row in (row for part in parts for row in part()):
        print("| " + " | ".join(row) + " |")
    print()
    for path in sorted(RESULTS.glob("*.json")):
        about = json.loads(path.read_text())["machine"]
        print(path.stem, "-", about["processor"], f"{about['cores']} cores")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def stories_table(figures: dict[str, Any]) -> str:
    """Figures of toon_stories: generated films, reconstructions, true films, target."""
    sets = ("generated", "reconstructed", "true")
    lines = [
        "| | generated | VAE reconstructions | true films (the judge itself) | target |",
        "|---|---|---|---|---|",
    ]
    for name in figures["true"]:
        cells = [interval(figures[s][name]) for s in sets]
        target = TARGETS.get(name, "")
        lines.append(" | ".join(("| " + name.replace("_", " "), *cells, target)) + " |")
    return "\n".join(lines)


def interval(figure: dict[str, Any] | list[float]) -> str:
    """Value and 95% interval, two decimals."""
    if isinstance(figure, dict):
        if figure.get("n") == 0:
            return "none"
        figure = [figure[k] for k in ("value", "low", "high") if k in figure]
    value, *around = figure
    return f"{value:.2f}" + (f" [{around[0]:.2f}, {around[1]:.2f}]" if around else "")


def real_speech() -> list[tuple[str, str, str]]:
    figures = read("real_speech")["figures"]["generated"]
    passed = figures["closed in pauses and moving in speech"]
    lags = [
        interval(figures[f"r with loudness, {lag}"]) for lag in ("lag 0", "shifted half a second")
    ]
    return [
        (f"real recordings ({passed['n']}): closed in pauses and moving in speech",
         interval(passed), "0.90"),
        ("closed in pauses; moving in speech",
         "; ".join(interval(figures[name]) for name in
                   ("closed in pauses (films that have any)", "moving in speech")), ""),
        ("lips closed on what two recognisers hear as p, b or m; more than at any moment of speech",
         "; ".join(interval(figures[name]) for name in
                   ("lips closed on p, b, m", "the former less the latter")), "0.70; above 0"),
        ("lips and sound within 2 frames, by Toon-Sync",
         interval(figures["offset within 2 frames"]), "0.90"),
        ("r of opening with loudness at lag 0; shifted by half a second", "; ".join(lags), ""),
    ]  # fmt: skip


def long_films() -> list[tuple[str, str, str]]:
    result = read("long_films")
    names = (
        "character the same",
        "dE of the last two seconds to the first",
        "dE of true films, last two seconds to the first",
    )
    what = (
        f"films of {result['seconds'] / 60:g} minutes ({result['films']}): looks the same at the "
        "end; colour drift in dE; of true films, where people and camera move"
    )
    return [(what, "; ".join(interval(result["figures"][name]) for name in names), "0.95; 3")]


def scenes() -> list[tuple[str, str, str]]:
    result = read("scenes")
    what = f"scripts of six clips, four people ({result['count']}): the right one; cut in the pause"
    return [(what, "; ".join(interval(f) for f in result["figures"].values()), "0.95; 0.90")]


def two_in_a_shot() -> list[tuple[str, str, str]]:
    result = read("two_in_a_shot")
    figures = result["figures"]
    names = ("right one talks", "no cut", "two people")
    moves = [figures[f"motion of the {who}'s mouth"] for who in ("speaker", "listener")]
    what = (
        f"two people in one shot who take turns ({result['count']}): the right one talks; no cut; "
        "two are seen; motion of mouths, speaker and listener"
    )
    measured = [interval(figures[name]) for name in names]
    measured.append(" and ".join(f"{move['value']:.3f}" for move in moves))
    return [(what, "; ".join(measured), "0.95")]


def speech_scale() -> list[tuple[str, str, str]]:
    figures = read("speech_scale")["figures"]
    rows = ("speech guidance 1", "speech guidance 6", "speech guidance 12", "true films")
    measured = "; ".join(
        " and ".join(f"{figures[row][name]['value']:.2f}" for name in ("spread", "beats"))
        for row in rows
    )
    what = "deviation of mouths and of gestures at speech guidance 1; 6; 12; of true films"
    return [(what, measured, "true films'")]


def told_apart() -> list[tuple[str, str, str]]:
    result = read("told_apart")
    names = ("generated from true", "generated from true through the VAE")
    what = "a small network tells our films from true ones; from true ones through the VAE"
    return [(what, "; ".join(interval(result[name]) for name in names), "0.5 is the limit")]


def speed() -> list[tuple[str, str, str]]:
    result = read("generation_speed")
    medians = result["medians"]
    measured = (
        f"{medians['warm_s']:.1f} s; {medians['cold_s']:.1f} s; {medians['peak_memory_gb']:.2f} GB"
        f"; {medians['evaluations']:.0f}"
    )
    what = (
        f"128 frames at 128x128, {result['threads']} threads: warm; with start; peak memory; "
        "evaluations of a network"
    )
    return [(what, measured, "8 s; 15 s; 2 GB; 6")]


def video_vae() -> list[tuple[str, str, str]]:
    result = read("video_vae")
    figures = result["figures"]
    names = ("psnr_all", "mouth_psnr_all", "opening_r2", "mouth_motion_missed_all")
    what = (
        f"VAE on {result['films']} unseen films: dB; dB of mouths; R2 of opening read from them; "
        "share of their motion within latents that is missed"
    )
    return [(what, "; ".join(interval(figures[n]) for n in names), "30; 28; 0.95")]


def speech_encoder() -> list[tuple[str, str, str]]:
    voices = read("speech_encoder")["figures"]["unseen voices"]
    measured = "; ".join(interval(voices[f"{kind}/r open"]) for kind in ("clean", "augmented"))
    what = "speech encoder, linear probe of opening on unseen voices, r: clean; noisy, coded"
    return [(what, measured, "")]


def speech_attention() -> list[tuple[str, str, str]]:
    result = read("speech_attention")
    faster = " and ".join(
        f"{row['speedup']:.1f}x at {row['speech_tokens']}" for row in result["against_dense"]
    )
    error = max(row["max_abs_error"] for row in result["against_dense"])
    first, *_, last = result["linearity"]
    growth = last["per_frame_s"] / first["per_frame_s"]
    measured = (
        f"{faster} speech tokens; largest difference {error:.1e}; cost per latent frame at "
        f"{last['latent_frames']} of them over that at {first['latent_frames']}: {growth:.2f}"
    )
    return [("windowed speech attention against a dense mask", measured, "2x, 6x; 1e-5; linear")]


if __name__ == "__main__":
    main()
