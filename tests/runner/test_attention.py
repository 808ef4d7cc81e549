import pytest
import torch
from torch import nn

from runner.attention import BlockedAttention, attend_in_blocks
from tests.runner.tiny_models import tiny_htdemucs


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (672, 5), (1_500, 700)])
def test_attention_in_blocks_is_that_of_torch(queries: int, keys: int) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    nn.init.normal_(attention.in_proj_bias)
    q, k = torch.randn(2, queries, 32), torch.randn(2, keys, 32)
    with torch.no_grad():
        expected, _ = attention(q, k, k, need_weights=False)
        result, weights = BlockedAttention(attention)(q, k, k, need_weights=False)
    assert weights is None
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)


def test_all_attention_of_a_network_is_replaced_and_only_once() -> None:
    network = tiny_htdemucs(t_layers=2)
    attend_in_blocks(network)
    attend_in_blocks(network)
    layers = [*network.crosstransformer.layers, *network.crosstransformer.layers_t]
    replaced = [layer.cross_attn if hasattr(layer, "cross_attn") else layer.self_attn for layer in layers]
    assert len(replaced) == 4
    assert all(isinstance(attention, BlockedAttention) for attention in replaced)
    assert all(type(attention._attention) is nn.MultiheadAttention for attention in replaced)
