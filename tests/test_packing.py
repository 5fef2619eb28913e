"""Packed weights: the promised error, and nothing else changed."""

import torch

from openmocha.models.packing import pack_rows, unpack_rows


def test_no_weight_is_off_by_more_than_half_a_step_of_its_row() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(128, 200, generator=generator) * torch.logspace(-4, 2, 128)[:, None]
    rows[5] = 0
    packed = pack_rows({"weight": rows})
    assert packed["weight"].dtype == torch.int8
    error = (unpack_rows(packed)["weight"] - rows).abs().amax(1)
    # Half a step is 1/254; the scale is rounded up by a thousandth and float16's smallest step.
    assert (error <= rows.abs().amax(1) / 254 * 1.003 + 2**-24 * 64).all()


def test_vectors_and_small_tables_are_kept_in_float16() -> None:
    weights = {"bias": torch.randn(7), "table": torch.randn(6, 256), "kernel": torch.randn(2, 3, 4)}
    packed = pack_rows(weights)
    assert packed.keys() == weights.keys()
    assert all(torch.equal(packed[name], weights[name].half()) for name in weights)


def test_weights_that_are_not_packed_pass() -> None:
    weights = {"matrix": torch.randn(200, 200, dtype=torch.float32)}
    assert torch.equal(unpack_rows(weights)["matrix"], weights["matrix"])
