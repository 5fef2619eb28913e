"""Questions to a language model behind any OpenAI-compatible server (vLLM, llama.cpp, Ollama).

    messages, schema -> cache? -> POST /chat/completions -> finished? valid? -> cache -> answer

Every answer is JSON of a given schema. Servers promise that and do not all keep it, so an answer is
checked here again; one that fails is asked for again with another seed.

    check(endpoint)
    for index, answer in ask_all(endpoint, requests, cache): ...
"""

import base64
import hashlib
import http.client
import json
import os
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openmocha.whole_file import write_text

Messages = list[dict[str, Any]]
Schema = dict[str, Any]

BACKOFF_S = 1.0  # before the first retry; doubles with each, up to LONGEST_WAIT_S
LONGEST_WAIT_S = 60.0
WARMER = 0.7  # temperature once an answer was bad: at 0 another seed changes nothing
TEXT_TOKENS, PICTURE_TOKENS = 700, 350  # of `estimate`
_ADDRESS = re.compile(r"https?://([^\s/:\[\]]+|\[[\da-fA-F:]+\])(:\d+)?(/\S*)?")
_writing = threading.Lock()  # a file's name until it is whole is the same in all threads


@dataclass(frozen=True)
class Endpoint:
    """A server and how to use it.

    url: up to and with its version, such as http://localhost:8000/v1.
    api_key_env: name of the environment variable that holds the key, if the server wants one.
    timeout_s: how long the server may be silent. max_tokens: of one answer.
    images: whether the model sees pictures. Prices are in US dollars, for `estimate` alone.

    Raises ValueError for values that cannot be meant.
    """

    url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    retries: int = 4
    concurrency: int = 4
    max_tokens: int = 600
    images: bool = True
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not _ADDRESS.fullmatch(self.url):
            raise ValueError(
                f"endpoint url {self.url!r} is no web address; expected one such as "
                "http://localhost:8000/v1"
            )
        for name in ("model", "api_key_env"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"endpoint {name} {getattr(self, name)!r} must be a name")
        if not isinstance(self.images, bool):
            raise ValueError(f"endpoint images {self.images!r} must be true or false")
        for name, least in (("retries", 0), ("concurrency", 1), ("max_tokens", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"endpoint {name} {value!r} must be a whole number >= {least}")
        for name in ("timeout_s", "usd_per_million_input", "usd_per_million_output"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < float("inf"):
                raise ValueError(f"endpoint {name} {value!r} must be a number >= 0")
        if self.timeout_s == 0:
            raise ValueError("endpoint timeout_s 0 leaves no time to answer; give seconds")


class EndpointError(Exception):
    """No answer was had. `reason` is short; `kind` says whose fault it is:

    "down": nobody answers, or the server has no time (429, 502-504): later it may.
    "answer": what came was no valid answer, or the server failed at this request (500).
    "refused": the request, key, model or address is wrong (other 4xx): asking again is no use.
    """

    def __init__(self, reason: str, kind: str = "down", wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.wait_s = wait_s  # how long the server asked to be left alone


# --- asking --------------------------------------------------------------------------------------


def ask(
    endpoint: Endpoint, messages: Messages, schema: Schema, name: str, cache: Path | None
) -> dict[str, Any]:
    """The answer to one question: an object that is valid by `schema`.

    `cache` is a folder with one file per answer; an answer that is there costs nothing. Raises
    EndpointError when all tries are used up or the server refuses.
    """
    path = cache / f"{content_key(endpoint.model, messages, schema)}.json" if cache else None
    known = _cached(path)
    if known is not None:
        return known

    def attempt(seed: int) -> dict[str, Any]:
        return valid_answer(post(endpoint, _body(endpoint, messages, schema, name, seed)), schema)

    answer = _patiently(endpoint, attempt)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing:
            write_text(path, json.dumps(answer, indent=1) + "\n")
    return answer


def ask_all(
    endpoint: Endpoint, requests: Iterable[tuple[Messages, Schema]], cache: Path | None
) -> Iterator[tuple[int, dict[str, Any] | EndpointError]]:
    """(index, answer or error) of every request, in the order in which they finish.

    `endpoint.concurrency` are asked at once; requests are taken from the iterable only as they are
    needed, since each holds its pictures. Once that many times two in a row found the server down,
    the rest is given up at once.
    """
    in_flight = 2 * endpoint.concurrency
    running: dict[Future[dict[str, Any] | EndpointError], int] = {}
    down = 0
    with ThreadPoolExecutor(endpoint.concurrency) as pool:
        try:
            for index, (messages, schema) in enumerate(requests):
                if down >= in_flight:
                    yield index, EndpointError("the endpoint was down for the requests before")
                    continue
                running[pool.submit(_ask_or_error, endpoint, messages, schema, cache)] = index
                if len(running) >= in_flight:
                    for number, answer in _finished(running):
                        down = down + 1 if _is_down(answer) else 0
                        yield number, answer
            while running:
                yield from _finished(running)
        finally:
            for future in running:
                future.cancel()


def _is_down(answer: dict[str, Any] | EndpointError) -> bool:
    return isinstance(answer, EndpointError) and answer.kind == "down"


def _ask_or_error(
    endpoint: Endpoint, messages: Messages, schema: Schema, cache: Path | None
) -> dict[str, Any] | EndpointError:
    try:
        return ask(endpoint, messages, schema, schema.get("title", "answer"), cache)
    except EndpointError as error:
        return error


def _finished(
    running: dict[Future[dict[str, Any] | EndpointError], int],
) -> list[tuple[int, dict[str, Any] | EndpointError]]:
    """Take out those that are done, waiting for one."""
    done = wait(running, return_when=FIRST_COMPLETED).done
    return sorted(((running.pop(future), future.result()) for future in done), key=lambda d: d[0])


def content_key(model: str, messages: Messages, schema: Schema) -> str:
    """What an answer is filed under: the same question to the same model has the same key. The
    order of a schema's properties counts, as it is the order in which the model answers."""
    return hashlib.sha256(json.dumps([model, messages, schema]).encode()).hexdigest()


def _cached(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.is_file():
        return None
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # damaged: it is asked for again and replaced
    return answer if isinstance(answer, dict) else None


def _patiently(endpoint: Endpoint, attempt: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """attempt(seed), again after a while where that can help; the last EndpointError otherwise."""
    seed = 0  # only bad answers change it: a busy hour changes no answers
    for number in range(endpoint.retries + 1):
        try:
            return attempt(seed)
        except EndpointError as error:
            if error.kind == "refused" or number == endpoint.retries:
                raise
            seed += error.kind == "answer"
            backoff_s = BACKOFF_S * 2**number * random.uniform(0.5, 1.0)
            time.sleep(min(max(backoff_s, error.wait_s), LONGEST_WAIT_S))
    raise AssertionError("the last try returns or raises")


def _body(
    endpoint: Endpoint, messages: Messages, schema: Schema, name: str, seed: int
) -> dict[str, Any]:
    form = {"name": name, "strict": True, "schema": schema}
    return {
        "model": endpoint.model,
        "messages": messages,
        "temperature": WARMER if seed else 0.0,
        "seed": seed,
        "max_tokens": endpoint.max_tokens,
        "response_format": {"type": "json_schema", "json_schema": form},
    }


def valid_answer(completion: Any, schema: Schema) -> dict[str, Any]:
    """The object inside a chat completion. Raises EndpointError of kind "answer" unless the model
    came to its end and the object is valid JSON of the schema."""
    import jsonschema  # type: ignore[import-untyped]

    try:
        choice = completion["choices"][0]
        ending, content = choice.get("finish_reason"), choice["message"]["content"]
        if ending != "stop":
            raise EndpointError(f"the answer did not come to its end ({ending})", "answer")
        answer = json.loads(content)
        jsonschema.validate(answer, schema)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise EndpointError("what came is no chat completion with text", "answer") from error
    except (ValueError, RecursionError) as error:
        raise EndpointError(f"the answer is not JSON ({error})", "answer") from error
    except jsonschema.ValidationError as error:
        reason = f"the answer does not follow the schema ({error.message[:120]})"
        raise EndpointError(reason, "answer") from error
    if not isinstance(answer, dict):
        raise EndpointError("the answer is no object", "answer")
    return answer


# --- one request ---------------------------------------------------------------------------------


def post(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    """One chat completion as it came. Raises EndpointError."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(endpoint.api_key_env):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        f"{endpoint.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=endpoint.timeout_s) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            raise _status_error(endpoint, error) from error
    except ValueError as error:
        raise EndpointError(f"what came is not JSON ({error})", "answer") from error
    except TimeoutError as error:
        raise EndpointError(f"no answer within {endpoint.timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise EndpointError(f"no connection to {endpoint.url} ({reason})") from error


def _status_error(endpoint: Endpoint, error: urllib.error.HTTPError) -> EndpointError:
    try:
        said = " ".join(error.read(2000).decode(errors="replace").split())[:200]
    except (OSError, http.client.HTTPException):
        said = ""
    reason = f"HTTP {error.code}: {said or error.reason}"
    if error.code == 404:
        reason += f" (is {endpoint.url} right, with /v1 at its end, and the model's name?)"
    if error.code in (401, 403):
        reason += f" (the key is read from the environment variable {endpoint.api_key_env})"
    if error.code in (408, 429, 502, 503, 504):
        asked = error.headers.get("Retry-After") or ""
        return EndpointError(reason, "down", float(asked) if asked.isdecimal() else 0.0)
    return EndpointError(reason, "answer" if error.code >= 500 else "refused")


# --- before the start ----------------------------------------------------------------------------


def check(endpoint: Endpoint) -> None:
    """Ask the server one thing, and one with a picture if it is to see pictures.

    Raises ValueError, in one sentence, if it does not hold to the schema, takes no pictures, or
    refuses the key, the model or the address; EndpointError if it is down.
    """
    # told nothing of these words, only a server that holds to the schema answers with one
    words = ["amber", "basalt", "cobalt"]
    schema = object_of({"word": {"type": "string", "enum": words}})
    messages = [{"role": "user", "content": "Describe a cat in one sentence."}]
    try:
        ask(endpoint, messages, schema, "probe", None)
    except EndpointError as error:
        if error.kind == "down":
            raise
        problem = "refuses requests" if error.kind == "refused" else "ignores JSON schemas"
        raise ValueError(
            f"the endpoint {endpoint.url} with model {endpoint.model} {problem}: {error}"
        ) from error
    if endpoint.images:
        _check_picture(endpoint, schema)


def _check_picture(endpoint: Endpoint, schema: Schema) -> None:
    """Some servers without eyes paste the picture's base64 into the prompt as text, without a word
    (CURATION.md 3): noise, which no encoder shortens, makes that prompt absurdly long."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    picture = image_part(noise)
    size = len(picture["image_url"]["url"])
    content = [{"type": "text", "text": "Describe this picture."}, picture]
    messages = [{"role": "user", "content": content}]
    problem = f"the endpoint {endpoint.url} with model {endpoint.model} takes no pictures"
    advice = "choose a model that does, or set images: false"

    def attempt(seed: int) -> dict[str, Any]:
        completion = post(endpoint, _body(endpoint, messages, schema, "probe", seed))
        valid_answer(completion, schema)
        return dict(completion)

    try:
        usage = _patiently(replace(endpoint, retries=1), attempt).get("usage") or {}
    except EndpointError as error:
        if error.kind == "down":
            raise
        raise ValueError(f"{problem} ({error}); {advice}") from error
    if usage.get("prompt_tokens", 0) > size / 8:
        raise ValueError(f"{problem} but reads them as text; {advice}")


def estimate(num_requests: int, frames_per_request: int, endpoint: Endpoint) -> dict[str, Any]:
    """What `num_requests` will cost at most, if nothing is asked twice and nothing is cached.

    Assumes 700 tokens of instructions, description and schema per request, 350 per picture of 512
    pixels on its longest side (vision models make 200 to 350 of one), and answers of max_tokens.
    How long it takes depends on the server: seconds is None.
    """
    frames = frames_per_request if endpoint.images else 0
    tokens_in = num_requests * (TEXT_TOKENS + PICTURE_TOKENS * frames)
    tokens_out = num_requests * endpoint.max_tokens
    usd = tokens_in * endpoint.usd_per_million_input + tokens_out * endpoint.usd_per_million_output
    return {
        "requests": num_requests,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "usd": round(usd / 1e6, 4),
        "seconds": None,
    }


# --- parts of a request --------------------------------------------------------------------------


def object_of(properties: dict[str, Any], title: str = "answer") -> Schema:
    """The schema of an object with exactly these properties, answered in this order."""
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def image_part(frame: NDArray[np.uint8], longest_side: int = 512) -> dict[str, Any]:
    """A picture, uint8 RGB (H, W, 3), as a message part: a JPEG no larger than `longest_side`.

    Raises ValueError for anything but such a picture.
    """
    import av

    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(
            f"a picture of shape {frame.shape} and type {frame.dtype} cannot be sent; expected "
            "uint8 (H, W, 3)"
        )
    height, width = frame.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height = max(1, round(width * scale)), max(1, round(height * scale))
    codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, 1)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
    picture = picture.reformat(codec.width, codec.height, "yuvj420p", interpolation="AREA")
    jpeg = b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
