"""The KV cache: one allocation, cut into blocks that plans hand out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from realexec.shapes import ModelShape
from serving.errors import ConfigError
from serving.state.host_tier import Copy


class KVCache:
    """data [layers, 2 (keys, values), num_blocks, num_kv_heads * head_dim * slots]; host likewise, on the CPU.

    How a block lies inside is its attention backend's own. slots: room for so many tokens; block_size, or up to
    `slots_multiple` more.
    """

    def __init__(
        self,
        shape: ModelShape,
        num_blocks: int,
        block_size: int,
        num_host_blocks: int = 0,
        *,
        slots_multiple: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ConfigError(f"a KV cache of {num_blocks} blocks of {block_size} tokens; at least 1 of each")
        self.shape = shape
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.num_host_blocks = num_host_blocks
        self.slots = -(-block_size // slots_multiple) * slots_multiple
        of_block = self.slots * shape.num_kv_heads * shape.head_dim
        self.data = torch.empty((shape.num_layers, 2, num_blocks, of_block), dtype=dtype, device=device)
        # Written, and not with zeros: untouched pages all map to one page of zeros, which stays in L1, so a
        # calibration that reads KV nobody computed would time a memory that does not exist.
        self.data[0, 0].uniform_(-1.0, 1.0, generator=torch.Generator(device).manual_seed(0))
        for layer in range(shape.num_layers):
            for part in range(2):
                self.data[layer, part].copy_(self.data[0, 0])
        host_size = (shape.num_layers, 2, num_host_blocks, of_block)
        self.host = torch.zeros(host_size, dtype=dtype, pin_memory=self.data.is_cuda)  # pinned: the link's full speed

    def copy(self, copies: Sequence[Copy]) -> None:
        """Move blocks between device and host, one after another: a later copy may overwrite what an earlier read."""
        for copy in copies:
            if copy.to_host:
                self.host[:, :, copy.host_block_id].copy_(self.data[:, :, copy.block_id], non_blocking=True)
            else:
                self.data[:, :, copy.block_id].copy_(self.host[:, :, copy.host_block_id], non_blocking=True)

    def by_token(self, layer: int) -> Tensor:
        """[2, num_blocks, slots, num_kv_heads, head_dim]: a token's heads together."""
        return self.data[layer].unflatten(2, (self.slots, self.shape.num_kv_heads, self.shape.head_dim))
