"""An engine of offline_throughput.py: engines.py NAME MODEL FOLDER THREADS DTYPE. Serves each line of requests."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Requests = list[dict[str, Any]]
Serve = Callable[[Requests], int]
"""Serves requests to their ends and returns the number of output tokens."""


def servetwin(model: str, folder: Path, threads: int, dtype: str) -> Serve:
    from realexec.llm import LLM, SamplingParams

    llm = LLM(model, preset="vllm", num_threads=threads, dtype=dtype, max_num_seqs=64, max_num_batched_tokens=2048)

    def serve(requests: Requests) -> int:
        params = [SamplingParams(temperature=0.0, max_tokens=r["max_tokens"], ignore_eos=True) for r in requests]
        outputs = llm.generate([r["prompt"] for r in requests], params, use_tqdm=False)
        return sum(len(output["token_ids"]) for output in outputs)

    return serve


def vllm(model: str, folder: Path, threads: int, dtype: str) -> Serve:
    from vllm import LLM, SamplingParams

    llm = LLM(
        str(folder),
        skip_tokenizer_init=True,
        dtype=dtype,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        max_model_len=4096,
        enable_prefix_caching=False,
    )

    def serve(requests: Requests) -> int:
        params = [
            SamplingParams(temperature=0.0, max_tokens=r["max_tokens"], ignore_eos=True, detokenize=False)
            for r in requests
        ]
        outputs = llm.generate([{"prompt_token_ids": r["prompt"]} for r in requests], params, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return serve


def transformers(model: str, folder: Path, threads: int, dtype: str) -> Serve:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    llm = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def serve(requests: Requests) -> int:
        widest = max(len(r["prompt"]) for r in requests)
        ids = torch.tensor([[0] * (widest - len(r["prompt"])) + r["prompt"] for r in requests])
        mask = torch.tensor([[0] * (widest - len(r["prompt"])) + [1] * len(r["prompt"]) for r in requests])
        longest = max(r["max_tokens"] for r in requests)
        with torch.inference_mode():
            llm.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=longest,
                min_new_tokens=longest,
                pad_token_id=0,
            )
        return sum(r["max_tokens"] for r in requests)

    return serve


def llama_cpp(model: str, folder: Path, threads: int, dtype: str) -> Serve:
    from llama_cpp import Llama

    llm = Llama(
        str(folder / "model.gguf"), n_ctx=512, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def serve(requests: Requests) -> int:
        count = 0
        for request in requests:
            llm.reset()
            for _, token in zip(range(request["max_tokens"]), llm.generate(request["prompt"], temp=0.0), strict=False):
                count += token >= 0
        return count

    return serve


def products(model: str, folder: Path, threads: int, dtype: str) -> Serve:
    """No engine: what no engine can leave out. Every token's matrix products, ROWS tokens at a time, as if outputs
    were known beforehand; no attention, norm, sampling or scheduling.
    """
    import torch

    from realexec.shapes import shape as named_shape

    torch.set_num_threads(threads)
    shape, kind = named_shape(model), getattr(torch, dtype)
    query, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    hidden, inner = shape.hidden_size, shape.intermediate_size
    layer = [(hidden, query + 2 * kv), (query, hidden), (hidden, 2 * inner), (inner, hidden)]
    weights = [[torch.randn(n, k, dtype=kind) for k, n in layer] for _ in range(shape.num_layers)]
    head = torch.randn(shape.vocab_size, hidden, dtype=kind)
    rows = {k: torch.randn(ROWS, k, dtype=kind) for k in {hidden, query, inner}}

    def multiply(weight: Any, count: int) -> None:
        for first in range(0, count, ROWS):
            torch.nn.functional.linear(rows[weight.shape[1]][: min(ROWS, count - first)], weight)

    @torch.inference_mode()
    def serve(requests: Requests) -> int:
        outputs = sum(r["max_tokens"] for r in requests)
        computed = sum(len(r["prompt"]) - 1 for r in requests) + outputs  # the last output token is not computed
        for weight in (w for ws in weights for w in ws):
            multiply(weight, computed)
        multiply(head, outputs)
        return outputs

    return serve


ROWS = 1024
ENGINES = {
    "servetwin": servetwin,
    "vllm": vllm,
    "transformers": transformers,
    "llama.cpp": llama_cpp,
    "products": products,
}


def main() -> None:
    name, model, folder, threads, dtype = sys.argv[1:]
    serve = ENGINES[name](model, Path(folder), int(threads), dtype)
    print(json.dumps({"loaded": True}), flush=True)
    for line in sys.stdin:
        requests: Requests = json.loads(line)
        began = time.perf_counter()
        tokens = serve(requests)
        print(json.dumps({"output_tokens": tokens, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
