"""The espeak-ng process: text requests in on stdin, speech and phoneme times out on stdout.

espeak-ng is GPL-3, so it runs here, in a program of its own that the package never imports:
`voices.py` starts this file as a script and talks to it over pipes. Each request is served by a
fork of a synthesiser that has never spoken, so an answer depends on its request alone (a running
espeak carries phase and noise from one utterance to the next).

Messages both ways: a 4-byte little-endian length and UTF-8 JSON. An answer that holds
`num_bytes` is followed by that many bytes of 16-bit mono sound.
"""

import ctypes
import json
import os
import struct
import sys
from typing import Any, BinaryIO

EVENT_WORD, EVENT_PHONEME = 1, 7
PARAMETERS = {"speed": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
SYNCHRONOUS_OUTPUT = 2
PHONEME_EVENTS_IPA_AND_NO_EXIT = 0x0001 | 0x0002 | 0x8000
UTF8_TEXT = 1


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def write_message(pipe: BinaryIO, message: dict[str, Any], sound: bytes = b"") -> None:
    text = json.dumps(message).encode()
    pipe.write(struct.pack("<I", len(text)) + text + sound)
    pipe.flush()


def read_message(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next message, or None at the end of the stream."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    message: dict[str, Any] = json.loads(pipe.read(struct.unpack("<I", head)[0]))
    return message


def load_espeak() -> tuple[ctypes.CDLL, int]:
    """The library, initialised, and its sample rate in Hz."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    rate = library.espeak_Initialize(SYNCHRONOUS_OUTPUT, 0, data, PHONEME_EVENTS_IPA_AND_NO_EXIT)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng could not read its data in {data.decode()}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else the clock seeds the noise of breath
    return library, rate


def synthesise(library: ctypes.CDLL, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Speak `request["text"]` with its voice and parameters.

    Returns the answer (`phones` as [sample, ipa], "" being a pause; `words` as [sample, first
    character, number of characters]) and 16-bit sound.
    """
    phones: list[tuple[int, str]] = []
    words: list[tuple[int, int, int]] = []
    sound: list[bytes] = []

    def collect(wave: Any, num_samples: int, events: Any) -> int:
        if wave and num_samples > 0:
            sound.append(ctypes.string_at(wave, 2 * num_samples))
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == EVENT_PHONEME:
                phones.append((event.sample, bytes(event.id.string).decode(errors="ignore")))
            elif event.type == EVENT_WORD:
                words.append((event.sample, event.text_position - 1, event.length))
            index += 1
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return {"error": f"espeak-ng has no voice {request['voice']!r}"}, b""
    for name, number in PARAMETERS.items():
        library.espeak_SetParameter(number, int(request[name]), 0)
    text = request["text"].encode()
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8_TEXT, None, None)
    pcm = b"".join(sound)
    return {"phones": phones, "words": words, "num_bytes": len(pcm)}, pcm


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the other end closes the pipe."""
    library, rate = load_espeak()
    write_message(answers, {"sample_rate_hz": rate})
    while (request := read_message(requests)) is not None:
        pid = os.fork()
        if pid == 0:
            answer, pcm = synthesise(library, request)
            write_message(answers, answer, pcm)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        if status != 0:
            write_message(answers, {"error": f"espeak-ng ended with status {status}"})


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
