"""A server that speaks the protocol of vLLM and llama.cpp: it answers with whatever the schema it
is sent allows, and misbehaves as it is told."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """`faults` are used up one per request: an HTTP status, "slow", "rubbish", "cut", "wrong"."""

    url: str = ""
    faults: list[Any] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    ignores_schemas: bool = False
    blind: bool = False


@contextmanager
def stand_in() -> Iterator[StandIn]:
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body | {"key": self.headers.get("Authorization")})
            fault = state.faults.pop(0) if state.faults else None
            if fault == "slow":
                time.sleep(0.6)
            if state.blind and "image_url" in json.dumps(body["messages"]):
                fault = 500
            status, reply = (fault, {"error": "told to"}) if isinstance(fault, int) else (200, None)
            content = json.dumps(reply or completion(body, fault, state)).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # the asker has given up

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(body: dict[str, Any], fault: Any, state: StandIn) -> dict[str, Any]:
    schema = body["response_format"]["json_schema"]["schema"]
    seed = json.dumps(body["messages"])[:500] + str(body["seed"])
    content = json.dumps(example(schema, random.Random(seed)))
    if fault == "rubbish" or state.ignores_schemas:
        content = "A cat is a small animal."
    if fault == "wrong":
        content = json.dumps({"another": "answer"})
    if fault == "cut":
        content = content[: len(content) // 2]
    message = {"role": "assistant", "content": content}
    ending = "length" if fault == "cut" else "stop"
    return {
        "choices": [{"message": message, "finish_reason": ending}],
        "usage": {"prompt_tokens": 50},
    }


def example(schema: dict[str, Any], rng: random.Random) -> Any:
    """A random value that is valid by the schema."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema["type"] == "object":
        return {name: example(part, rng) for name, part in schema["properties"].items()}
    if schema["type"] == "array":
        num = rng.randint(schema["minItems"], schema["maxItems"])
        return [example(schema["items"], rng) for _ in range(num)]
    words = ["a", "red", "quiet", "room", "with", "light", "moving", "slowly"]
    return " ".join(rng.choices(words, k=rng.randint(1, 8)))[: schema["maxLength"]]
