"""The KV cache: one allocation, cut into blocks that plans hand out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from realexec.shapes import ModelShape
from serving.errors import ConfigError
from serving.state.host_tier import Copy


class KVCache:
    """data [layers, 2 (keys, values), num_blocks, block_size, num_kv_heads, head_dim], float32; host likewise.

    Slot s is token s % block_size of block s // block_size; a token's heads lie together, so that storing a
    token writes one run and reading a block in order reads memory in order.
    """

    def __init__(self, shape: ModelShape, num_blocks: int, block_size: int, num_host_blocks: int = 0) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ConfigError(f"a KV cache of {num_blocks} blocks of {block_size} tokens; at least 1 of each")
        self.num_blocks = num_blocks
        self.block_size = block_size
        size = (shape.num_layers, 2, num_blocks, block_size, shape.num_kv_heads, shape.head_dim)
        self.data = torch.empty(size)
        # Written, and not with zeros: untouched pages all map to one page of zeros, which stays in L1, so a
        # calibration that reads KV nobody computed would time a memory that does not exist.
        self.data[0, 0].uniform_(-1.0, 1.0, generator=torch.Generator().manual_seed(0))
        for layer in range(shape.num_layers):
            for part in range(2):
                self.data[layer, part].copy_(self.data[0, 0])

        self.host = torch.zeros((shape.num_layers, 2, num_host_blocks, *size[3:]))

    def copy(self, copies: Sequence[Copy]) -> None:
        """Move blocks between device and host, one after another: a later copy may overwrite what an earlier read."""
        for copy in copies:
            if copy.to_host:
                self.host[:, :, copy.host_block_id] = self.data[:, :, copy.block_id]
            else:
                self.data[:, :, copy.block_id] = self.host[:, :, copy.host_block_id]

    def slots(self, layer: int, part: int) -> Tensor:
        """A layer's keys (part 0) or values (1) as [slots, num_kv_heads, head_dim]; a view."""
        return self.data[layer, part].flatten(0, 1)
