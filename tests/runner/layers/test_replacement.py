"""Which layers of whole networks are replaced."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from runner.layers import fit_gpu, replace_layers
from tests.runner.tiny_models import tiny_demucs, tiny_hdemucs, tiny_htdemucs

OF_DEMUCS = ("HEncLayer", "HDecLayer", "DConv", "MyTransformerEncoderLayer", "CrossTransformerEncoderLayer")
STAND_INS = ("TiledEncoder", "TiledDecoder", "FoldedResiduals", "LeanTransformerLayer")


@pytest.mark.parametrize(
    ("build", "replaced", "kept"),
    [
        (
            lambda: tiny_htdemucs(dconv_mode=3, t_layers=3),
            {"TiledEncoder": 4, "TiledDecoder": 4, "FoldedResiduals": 8, "LeanTransformerLayer": 6},
            {},
        ),
        # Its branches merge, and the innermost residual branches have attention and an LSTM.
        (tiny_hdemucs, {"FoldedResiduals": 8}, {"HEncLayer": 11, "HDecLayer": 11, "DConv": 2}),
        (tiny_demucs, {"FoldedResiduals": 3}, {}),
    ],
)
def test_all_that_can_be_are_replaced_and_only_once(
    build: Callable[[], nn.Module], replaced: dict[str, int], kept: dict[str, int]
) -> None:
    network = build()
    replace_layers(network, torch.float32, functional.scaled_dot_product_attention)
    once = list(network.modules())
    replace_layers(network, torch.float32, functional.scaled_dot_product_attention)
    assert list(map(id, network.modules())) == list(map(id, once))
    names = Counter(type(module).__name__ for module in network.modules())
    assert {name: names[name] for name in STAND_INS if names[name]} == replaced
    assert {name: names[name] for name in OF_DEMUCS if names[name]} == kept


@pytest.mark.parametrize("build", [lambda: tiny_htdemucs(t_layers=3), tiny_hdemucs, tiny_demucs])
def test_fit_for_a_gpu_a_network_is_close_to_itself_and_can_still_be_fit_for_a_cpu(
    build: Callable[[], nn.Module],
) -> None:
    network, mix = build().eval(), torch.randn(2, 2, 11_025)
    with torch.no_grad():
        expected = network(mix)
        fit_gpu(network)
        result = network(mix)
        replace_layers(network, torch.float32, functional.scaled_dot_product_attention)
        on_cpu = network(mix)
    assert 0 < float((result - expected).norm() / expected.norm()) < 1e-3
    assert float((on_cpu - expected).norm() / expected.norm()) < 1e-5
    names = Counter(type(module).__name__ for module in network.modules())
    assert any(names[name] for name in STAND_INS)
