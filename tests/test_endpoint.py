"""Questions to a language model: what is asked again, what is not, what is never asked twice."""

import json
import os
import socket
import subprocess
import time

import jsonschema
import numpy as np
import pytest

from openmocha.curation import endpoint as module
from openmocha.curation.caption import (
    CLIP,
    PROMINENCE,
    TWO_CLIPS,
    caption_of_answer,
    caption_request,
    prominence_request,
    template_caption,
)
from openmocha.curation.endpoint import (
    Endpoint,
    EndpointError,
    ask,
    ask_all,
    check,
    estimate,
    image_part,
)
from openmocha.enrich import enrich, missing
from openmocha.prompt import parse_prompt
from tests.stand_in_endpoint import stand_in

SCHEMA = module.object_of({"word": {"enum": ["yes", "no"]}})
MESSAGES = [{"role": "user", "content": "?"}]
PERSON = {"position": "left", "facing": "camera", "speaking": True, "motion": "calm",
          "clothes_colour": "red"}  # fmt: skip
DESCRIBED = {"shot": "close-up", "camera": "static", "people": [PERSON],
             "background_colour": "blue", "brightness": "normal"}  # fmt: skip


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_S", 0.001)


@pytest.mark.parametrize("fault", [500, 503, 429, "rubbish", "wrong", "cut", "slow"])
def test_what_the_server_gets_wrong_is_asked_again(fault):
    with stand_in() as server:
        server.faults = [fault]
        answer = ask(Endpoint(server.url, "m", timeout_s=0.3), MESSAGES, SCHEMA, "word", None)
        assert answer["word"] in ("yes", "no")
        first, second = server.requests
        assert first["temperature"] == 0 and first["seed"] == 0
        another = fault in (500, "rubbish", "wrong", "cut")  # not where it was merely busy
        assert (second["seed"] == 1 and second["temperature"] > 0) == another


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_the_question_gets_wrong_is_not(status):
    with stand_in() as server:
        server.faults = [status] * 9
        with pytest.raises(EndpointError, match=f"HTTP {status}"):
            ask(Endpoint(server.url, "m"), MESSAGES, SCHEMA, "word", None)
        assert len(server.requests) == 1


def test_after_all_tries_the_last_reason_is_given():
    with stand_in() as server:
        server.faults = [500] * 9
        with pytest.raises(EndpointError, match="HTTP 500"):
            ask(Endpoint(server.url, "m", retries=2), MESSAGES, SCHEMA, "word", None)
        assert len(server.requests) == 3


def test_an_answer_is_never_asked_for_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with stand_in() as server:
        endpoint = Endpoint(server.url, "m", api_key_env="MY_KEY")
        first = ask(endpoint, MESSAGES, SCHEMA, "word", tmp_path)
        assert ask(endpoint, MESSAGES, SCHEMA, "word", tmp_path) == first
        assert len(server.requests) == 1 and server.requests[0]["key"] == "Bearer secret"
        ask(Endpoint(server.url, "other model"), MESSAGES, SCHEMA, "word", tmp_path)
        ask(endpoint, [{"role": "user", "content": "??"}], SCHEMA, "word", tmp_path)
        assert len(server.requests) == 3
        for file in tmp_path.iterdir():
            file.write_text("{ damaged")
        assert ask(endpoint, MESSAGES, SCHEMA, "word", tmp_path) == first
        assert "secret" not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_many_questions_are_answered_each_and_taken_as_needed():
    with stand_in() as server:
        taken = []

        def questions():
            for number in range(20):
                taken.append(number)
                yield [{"role": "user", "content": str(number)}], SCHEMA

        server.faults = [400]
        endpoint = Endpoint(server.url, "m", concurrency=2)
        answers = ask_all(endpoint, questions(), None)
        next(answers)
        assert len(taken) <= 5
        rest = list(answers)
        assert len(rest) == 19 and len({number for number, _ in rest}) == 19
        failed = [a for _, a in rest if isinstance(a, EndpointError)]
        assert len(failed) <= 1


def test_a_server_that_is_down_is_said_to_be():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match="no connection"):
        check(Endpoint(url, "m", retries=1))


def test_servers_that_cannot_be_used_are_found_out_before_the_work():
    with stand_in() as server:
        check(Endpoint(server.url, "m"))
        server.blind = True
        with pytest.raises(ValueError, match="images: false"):
            check(Endpoint(server.url, "m", retries=0))
        check(Endpoint(server.url, "m", images=False))
        server.ignores_schemas = True
        with pytest.raises(ValueError, match="ignores JSON schemas"):
            check(Endpoint(server.url, "m", images=False, retries=0))


def test_costs_are_counted_before_the_start():
    priced = Endpoint("http://localhost/v1", "m", max_tokens=100, usd_per_million_input=1.0,
                      usd_per_million_output=10.0)  # fmt: skip
    cost = estimate(1000, 2, priced)
    assert cost["input_tokens"] == 1000 * (700 + 2 * 350) and cost["output_tokens"] == 100_000
    assert cost["usd"] == pytest.approx(1.4 + 1.0)


@pytest.mark.parametrize(
    "change", [{"url": "localhost:8000"}, {"model": ""}, {"timeout_s": 0}, {"retries": -1}]
)
def test_endpoints_that_cannot_be_meant_are_refused(change):
    with pytest.raises(ValueError, match="endpoint"):
        Endpoint(**({"url": "http://localhost/v1", "model": "m"} | change))


def test_pictures_are_shrunk_and_still_the_same():
    import base64
    import io

    import av

    frame = np.zeros((300, 1000, 3), np.uint8)
    frame[:, 500:] = (250, 10, 10)
    url = image_part(frame, 200)["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    with av.open(io.BytesIO(data)) as jpeg:
        seen = next(jpeg.decode(video=0)).to_ndarray(format="rgb24")
    assert seen.shape == (60, 200, 3)
    assert seen[30, 20].max() < 30 and seen[30, 180, 0] > 220


# --- captions ------------------------------------------------------------------------------------


def test_the_template_tells_what_was_measured_in_the_papers_order():
    caption = template_caption(DESCRIBED)
    order = ["close-up shot", "red clothes", "on the left", "faces the camera", "is speaking",
             "background is blue", "camera is static"]  # fmt: skip
    places = [caption.index(words) for words in order]
    assert places == sorted(places)
    silent = template_caption(DESCRIBED | {"people": [PERSON | {"speaking": False}]})
    assert "is not speaking" in silent


def test_a_conversation_is_written_with_tags_that_the_prompt_reader_understands():
    other = DESCRIBED | {"people": [PERSON | {"clothes_colour": None, "position": "right"}]}
    script = parse_prompt(template_caption({"clips": [DESCRIBED, other]}))
    assert [c.tag for c in script.characters] == ["Person1", "Person2"]
    assert "red clothes" in script.characters[0].description
    assert "Person2" in script.clips[1].text and "Person1" not in script.clips[1].text


@pytest.mark.parametrize("described", [DESCRIBED, {"clips": [DESCRIBED, DESCRIBED]}])
def test_answers_of_a_model_become_prompts(described):
    frames = [np.zeros((90, 160, 3), np.uint8)] * 3
    messages, schema = caption_request(described, frames, 5.0)
    assert schema == (TWO_CLIPS if "clips" in described else CLIP)
    kinds = [part["type"] for part in messages[0]["content"]]
    assert kinds == ["image_url"] * 3 + ["text"]
    with stand_in() as server:
        answer = ask(Endpoint(server.url, "m"), messages, schema, "caption", None)
    script = parse_prompt(caption_of_answer(answer))
    assert len(script.clips) == (2 if "clips" in described else 1)
    assert "speaking" in script.clips[0].text


def test_prominence_gives_its_reason_before_its_decision():
    messages, schema = prominence_request(DESCRIBED, [])
    assert schema is PROMINENCE and list(schema["properties"]) == ["reason", "decision"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"reason": "two\nlines", "decision": "keep"}, schema)


# --- enrichment ----------------------------------------------------------------------------------


def test_what_a_prompt_leaves_out_is_said():
    full = "A close-up shot of a woman who speaks, facing the camera."
    assert missing(full) == []
    assert ["wide shot" in note for note in missing("A woman speaks, facing the camera.")] == [True]
    assert len(missing("A dog in a park.")) == 3
    notes = missing("A close-up of a woman with her back to us, silent.")
    assert any("who speaks" in note for note in notes)


def test_a_short_prompt_becomes_a_full_one_and_a_template_stays_one():
    with stand_in() as server:
        endpoint = Endpoint(server.url, "m", images=False)
        prompt = enrich("a cook", endpoint)
        assert "speaking" in prompt and len(prompt) > len("a cook")
        assert "a cook" in json.dumps(server.requests[0]["messages"])
        two = template_caption({"clips": [DESCRIBED, DESCRIBED]})
        assert len(parse_prompt(enrich(two, endpoint)).clips) == 2
    with pytest.raises(ValueError, match="empty"):
        enrich("  ", endpoint)


def test_the_enrich_command_warns_without_an_endpoint():
    from typer.testing import CliRunner

    from openmocha.cli import app

    told = CliRunner().invoke(app, ["enrich", "a cook"])
    assert told.exit_code == 0 and told.stdout.strip() == "a cook"
    assert "no shot size" in told.stderr
    assert CliRunner().invoke(app, ["enrich", "a cook", "--llm", "m"]).exit_code == 2


# --- a real server -------------------------------------------------------------------------------

LLAMA_SERVER = os.environ.get("OPENMOCHA_LLAMA_SERVER")


@pytest.mark.skipif(not LLAMA_SERVER, reason="OPENMOCHA_LLAMA_SERVER names no llama-server")
def test_a_real_server_that_enforces_the_schema(tmp_path):
    from tests.random_gguf import write_random_model

    write_random_model(tmp_path / "random.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LLAMA_SERVER, "-m", str(tmp_path / "random.gguf"), "--port", str(port), "-c", "8192",
               "--threads", "1"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            endpoint = Endpoint(url, "random", images=False, retries=8, max_tokens=6000)
            for _ in range(100):
                try:
                    check(endpoint)
                    break
                except EndpointError:
                    time.sleep(0.1)
            messages, schema = caption_request(DESCRIBED, [], 5.0)
            answer = ask(endpoint, messages, schema, "caption", None)
            jsonschema.validate(answer, schema)
            assert parse_prompt(caption_of_answer(answer)).clips
            with pytest.raises(ValueError, match="images: false"):
                check(Endpoint(endpoint.url, "random", images=True, retries=0))
        finally:
            server.terminate()
