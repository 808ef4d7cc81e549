import pytest
import torch
from torch.nn import functional

from runner.layers.attention import attend_in_blocks


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (672, 5), (1_500, 700)])
def test_attention_in_blocks_is_that_of_torch(queries: int, keys: int) -> None:
    torch.manual_seed(0)
    q, (k, v) = torch.randn(2, 4, queries, 8), torch.randn(2, 2, 4, keys, 8)
    expected = functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend_in_blocks(q, k, v), expected, rtol=0, atol=2e-6)
