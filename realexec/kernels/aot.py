"""Compile every shipped kernel for GPUs that need not be here, and report what it uses of one.

    python -m realexec.kernels.aot [--json]

A launch is specialized exactly as Triton's JIT would do it (types, and pointers and strides that 16 divides), so
what is counted here is what runs. Registers of NVIDIA kernels are read by the cuobjdump that Triton carries, those of
AMD kernels from the metadata in their assembly. Nothing may spill, and shared memory must fit.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from realexec.compute import name_of
from realexec.kernels.launch import Launch
from realexec.kernels.shipped import Variant, variants
from serving.errors import BlockedError, InvariantError


@dataclass(frozen=True, slots=True)
class Architecture:
    """shared_bytes: what one block (of threads; a workgroup) may use."""

    name: str
    target: GPUTarget
    shared_bytes: int


# NVIDIA: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability". AMD: CDNA 3 ISA guide, LDS.
ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("sm_80", GPUTarget("cuda", 80, 32), 163 * 1024),
        Architecture("sm_90", GPUTarget("cuda", 90, 32), 227 * 1024),
        Architecture("gfx942", GPUTarget("hip", "gfx942", 64), 64 * 1024),
    )
}


@dataclass(frozen=True, slots=True)
class Usage:
    """registers: of a thread. spilled: bytes of a thread's stack, registers that did not fit or otherwise. shared:
    bytes a program.
    """

    kernel: str
    dtype: str
    size: int
    architecture: str
    warps: int
    stages: int
    registers: int
    spilled: int
    shared: int

    @property
    def fits(self) -> bool:
        return not self.spilled and self.shared <= ARCHITECTURES[self.architecture].shared_bytes


def measure(variant: Variant, architecture: Architecture) -> Usage:
    """Compile one kernel. Errors: BlockedError where kernels are interpreted."""
    launch = variant.launch
    compiled = compile_launch(launch, architecture.target)
    count = _count_amd if architecture.target.backend == "hip" else _count_nvidia
    registers, spilled = count(compiled.asm)
    return Usage(
        variant.kernel,
        name_of(variant.dtype),
        variant.size,
        architecture.name,
        launch.warps,
        launch.stages,
        registers,
        spilled,
        compiled.metadata.shared,
    )


def compile_launch(launch: Launch, target: GPUTarget) -> Any:
    """What the JIT would compile for this launch on such a device; .asm by kind, .metadata."""
    if triton.knobs.runtime.interpret:
        raise BlockedError("kernels are interpreted in this process: unset TRITON_INTERPRET to compile them")
    kernel, backend = launch.kernel, make_backend(target)
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    settings = {"num_warps": launch.warps_of(target.warp_size), "num_stages": launch.stages}
    bound, specialization, _ = bind(**launch.arguments)
    options, signature, constants, attributes = kernel._pack_args(backend, settings, bound, specialization, {})
    return triton.compile(ASTSource(kernel, signature, constants, attributes), target=target, options=options.__dict__)


def _count_nvidia(asm: dict[str, Any]) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        tool = triton.knobs.nvidia.cuobjdump.path
        report = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    return _number(r"REG:(\d+)", report), _number(r"STACK:(\d+)", report) + _number(r"LOCAL:(\d+)", report)


def _count_amd(asm: dict[str, Any]) -> tuple[int, int]:
    report = asm["amdgcn"]
    return _number(r"\.vgpr_count:\s+(\d+)", report), _number(r"\.private_segment_fixed_size:\s+(\d+)", report)


def _number(pattern: str, report: str) -> int:
    found = re.search(pattern, report)
    if found is None:
        raise InvariantError(f"the compiler's report has no {pattern}")
    return int(found[1])


def measure_all() -> Iterator[Usage]:
    for variant in variants():
        for architecture in ARCHITECTURES.values():
            yield measure(variant, architecture)


def table(usages: Iterable[Usage]) -> str:
    """Markdown: one row a kernel, dtype and size; registers, and KiB of shared memory, on each architecture."""
    rows: dict[tuple[str, str, int], dict[str, Usage]] = {}
    for usage in usages:
        rows.setdefault((usage.kernel, usage.dtype, usage.size), {})[usage.architecture] = usage
    lines = [
        "| kernel | dtype | size | warps | stages | " + " | ".join(ARCHITECTURES) + " |",
        "| --- | --- | ---: | ---: | ---: | " + " | ".join("---:" for _ in ARCHITECTURES) + " |",
    ]
    for (kernel, dtype, size), by_name in sorted(rows.items()):
        one = next(iter(by_name.values()))
        cells = [_cell(by_name[name]) for name in ARCHITECTURES]
        lines.append(f"| {kernel} | {dtype} | {size} | {one.warps} | {one.stages} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(usage: Usage) -> str:
    text = f"{usage.registers} / {usage.shared / 1024:.1f}"
    return text if usage.fits else f"**{text}, {usage.spilled} B on the stack**"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m realexec.kernels.aot", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="a JSON list instead of a markdown table")
    options = parser.parse_args(arguments)
    usages = list(measure_all())
    print(json.dumps([asdict(usage) for usage in usages], indent=1) if options.json else table(usages))
    misfits = sum(not usage.fits for usage in usages)
    if misfits:
        print(f"{misfits} of {len(usages)} kernels spill registers or need too much shared memory", file=sys.stderr)
    return 1 if misfits else 0


if __name__ == "__main__":
    sys.exit(main())
