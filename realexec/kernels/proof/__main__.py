"""python -m realexec.kernels.proof: run every check, print a table or JSON; exit code 1 if one fails."""

import argparse
import json
import sys
from dataclasses import asdict

import triton

from realexec.kernels.checks import DTYPES
from realexec.kernels.proof.checks import CHECKS, prove
from serving.errors import BlockedError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m realexec.kernels.proof", description="kernels against float64")
    parser.add_argument("--device", default="cpu", help="cpu, with TRITON_INTERPRET=1, or cuda")
    parser.add_argument("--rounds", type=int, default=1, help="random cases; a GPU has time for 20")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    options = parser.parse_args()
    if (options.device == "cpu") != triton.knobs.runtime.interpret:
        error = BlockedError("on the CPU kernels are interpreted: set TRITON_INTERPRET=1; on a GPU leave it unset")
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    failed = 0
    for check in CHECKS:
        for dtype in DTYPES:
            verdict = prove(check, options.device, dtype, options.rounds)
            failed += not verdict.passed
            if options.json:
                print(json.dumps(asdict(verdict)), flush=True)
            else:
                mark = "ok" if verdict.passed else f"FAILED: {verdict.worst_case}"
                print(f"{check:12} {verdict.dtype:9} {verdict.cases:4} cases, worst {verdict.error:.3f}  {mark}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
