"""NVIDIA's measured operator times: the parquet tables that the package aiconfigurator-core holds.

    systems/GPU.yaml                                                memory bandwidth and capacity
    systems/data/GPU/gemm/BACKEND/VERSION/gemm_perf.parquet         gemm_dtype, m, n, k
    systems/data/GPU/attention/BACKEND/VERSION/
        context_attention_perf.parquet                              batch_size, isl, heads, head_dim, dtypes
        generation_attention_perf.parquet                           batch_size, step (tokens stored), likewise
    systems/data/GPU/comm/BACKEND/VERSION/custom_allreduce_perf.parquet   num_gpus, message_size (numbers, not bytes)

Every row has latency, in milliseconds. Of each table the newest version counts, unless one is asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.interpolate import RegularGridInterpolator

from serving.errors import BlockedError, MeasurementError
from serving.names import hint

PACKAGE = "aiconfigurator_core"


@dataclass(frozen=True)
class OperatorTables:
    """systems: the package's folder of that name, or a copy. version: None: the newest of each table."""

    systems: Path
    gpu: str
    backend: str
    version: str | None

    def __post_init__(self) -> None:
        known = [path.name for path in (self.systems / "data").glob("*") if path.is_dir()]
        if not known:
            raise MeasurementError(f"{self.systems}: no folder data with operator times; give the package's 'systems'")
        if self.gpu not in known:
            raise MeasurementError(f"no operator times of system {self.gpu!r}; {hint(self.gpu, known)}")

    @cached_property
    def memory(self) -> Mapping[str, float]:
        """Of one GPU: mem_bw [bytes/s], mem_capacity [bytes], and the share and latency [s] that reading reaches."""
        text = (self.systems / f"{self.gpu}.yaml").read_text(encoding="utf-8")
        found = re.findall(r"^\s+(mem_\w+): *([\d.eE+-]+)", text, flags=re.MULTILINE)
        return {name: float(value) for name, value in found}

    @property
    def device(self) -> str:
        return str(self._table("gemm", "gemm_perf")["device"].iloc[0])

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Of the backend, by table."""
        return {what: self._folder(what).name for what in ("gemm", "attention")}

    def gemm(self, precision: str, columns: int, rows: int) -> pd.DataFrame:
        """m, latency_ms: of [m, rows] times [rows, columns].

        Between measured sizes interpolated in logarithms, beyond the widest in proportion.
        """
        table = self._of(self._table("gemm", "gemm_perf"), {"gemm_dtype": precision})
        n_grid, k_grid = (np.array(sorted(table[size].unique()), dtype=float) for size in ("n", "k"))
        n, k = float(np.clip(columns, n_grid[0], n_grid[-1])), float(np.clip(rows, k_grid[0], k_grid[-1]))
        sizes, latencies = [], []
        for m, measured in table.groupby("m"):
            cube = measured.pivot_table(index="n", columns="k", values="latency").reindex(index=n_grid, columns=k_grid)
            logarithm = RegularGridInterpolator((np.log(n_grid), np.log(k_grid)), np.log(cube.to_numpy()))
            sizes.append(m)
            latencies.append(float(np.exp(logarithm((np.log(n), np.log(k))))))
        found = pd.DataFrame({"m": sizes, "latency_ms": np.array(latencies) * (columns / n) * (rows / k)}).dropna()
        if found.empty:
            raise MeasurementError(f"nothing was measured near a matrix of {columns} x {rows} in {precision}")
        return found

    def prefill(self, heads: int, kv_heads: int, head_dim: int) -> pd.DataFrame:
        """batch_size, tokens (of each prompt), latency_ms."""
        table = self._attention("context_attention_perf", heads, kv_heads, head_dim)
        return table.rename(columns={"isl": "tokens"})[["batch_size", "tokens", "latency_ms"]]

    def decode(self, heads: int, kv_heads: int, head_dim: int) -> pd.DataFrame:
        """batch_size, context (that each reads, its own new token included), latency_ms."""
        table = self._attention("generation_attention_perf", heads, kv_heads, head_dim)
        return table.assign(context=table["step"] + 1)[["batch_size", "context", "latency_ms"]]

    def all_reduce(self, count: int) -> pd.DataFrame:
        """numbers, latency_ms; within a CUDA graph."""
        table = self._table("comm", "custom_allreduce_perf")
        graph = table["backend"].str.contains("graph")
        table = self._of(table[graph] if graph.any() else table, {"num_gpus": count})
        table = table.rename(columns={"message_size": "numbers", "latency": "latency_ms"})
        return table[["numbers", "latency_ms"]].groupby("numbers", as_index=False).median()

    def _attention(self, name: str, heads: int, kv_heads: int, head_dim: int) -> pd.DataFrame:
        table = self._table("attention", name)
        table = self._of(table, {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0})
        shapes = {"num_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}
        table = self._of(table, shapes)
        table = table.rename(columns={"latency": "latency_ms"})
        return table.groupby(["batch_size", "isl", "step"], as_index=False)[["latency_ms"]].min()

    @staticmethod
    def _of(table: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
        """The rows with these values. Errors: MeasurementError with what was measured instead."""
        for column, value in values.items():
            chosen = table[table[column] == value]
            if chosen.empty:
                measured = ", ".join(str(v) for v in sorted(table[column].unique()))
                wanted = ", ".join(f"{name} {v}" for name, v in values.items())
                raise MeasurementError(f"nothing was measured with {wanted}; {column} was {measured}")
            table = chosen
        return table

    def _table(self, what: str, name: str) -> pd.DataFrame:
        path = self._folder(what) / f"{name}.parquet"
        if not path.exists():
            raise MeasurementError(f"{path}: no such table; take another version of {self.backend}")
        table: pd.DataFrame = pq.read_table(path).to_pandas()
        return table

    def _folder(self, what: str) -> Path:
        backends = self.systems / "data" / self.gpu / what
        folder = backends / self.backend
        versions = {path.name: path for path in folder.glob("*") if any(path.glob("*.parquet"))}
        if not versions:
            known = ", ".join(sorted(path.name for path in backends.glob("*")))
            raise MeasurementError(
                f"{self.gpu} has no {what} times of backend {self.backend!r}; it has {known or 'none'}"
            )
        if self.version is None:
            return versions[max(versions, key=_order)]
        if self.version not in versions and what != "comm":
            raise MeasurementError(
                f"{self.gpu} has no {what} times of {self.backend} {self.version}; {hint(self.version, versions)}"
            )
        return versions.get(self.version, versions[max(versions, key=_order)])


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def installed() -> Path:
    """Where the package has its tables. Errors: BlockedError where it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BlockedError(
            "NVIDIA's operator times are in the extra 'aiconfigurator': pip install 'servetwin[aiconfigurator]', or "
            "unpack the package aiconfigurator-core and name its folder 'systems' in the file (data)"
        )
    return Path(next(iter(found.submodule_search_locations))) / "systems"
