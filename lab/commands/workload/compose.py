"""servetwin workload compose"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.commands.workload.options import Out
from lab.options import Json


def compose(
    spec: Annotated[Path, Parameter(help="TOML file: a horizon, and a [[client]] table for each entry.")],
    /,
    *,
    out: Out,
    seed: Annotated[int, Parameter(help="Same spec and seed, same file.")] = 0,
    json: Json = False,
) -> None:
    """Draw a workload from populations of clients: chats, RAG, agents, closed-loop users, tenants (docs/workloads.md).

    Example: servetwin workload compose docs/examples/mixed-tenants.toml --seed 1 --out w.jsonl
    """
    from lab.console import print_json, say
    from workloads.jsonl import write_jsonl
    from workloads.population.compose import compose as draw
    from workloads.population.entry import OpenEntry
    from workloads.population.spec import read_spec

    read = read_spec(spec)
    workload, parts, notes = draw(read, seed, out.stem)
    write_jsonl(out, workload)
    for note in notes:
        say(note)
    told = [
        {
            "client": part.entry.name,
            "kind": part.entry.kind,
            "count": part.entry.count,
            "begun": part.begun,
            "begun_per_s": part.begun / read.horizon if isinstance(part.entry, OpenEntry) else None,
            "requests": part.requests,
            "mean_prompt_tokens": part.prompt_tokens / max(1, part.requests),
            "mean_output_tokens": part.output_tokens / max(1, part.requests),
            "shared_prompt_tokens": part.shared_tokens / max(1, part.prompt_tokens),
        }
        for part in parts
    ]
    if json:
        whole = {"out": str(out), "horizon_s": read.horizon, "requests": len(workload.requests)}
        print_json({**whole, "clients": told, "notes": notes, "sha256": workload.sha256})
        return
    row = "{:<16} {:<9} {:>6} {:>7} {:>8} {:>9} {:>7} {:>7} {:>7}"
    print(row.format("client", "kind", "count", "begun", "per s", "requests", "prompt", "output", "shared"))
    for client, kind, count, begun, rate, requests, prompt, output, shared in (entry.values() for entry in told):
        pace = "-" if rate is None else f"{rate:.3g}"
        print(row.format(client, kind, count, begun, pace, requests, f"{prompt:.0f}", f"{output:.0f}", f"{shared:.0%}"))
    print(f"{out}: {len(workload.requests)} requests, {sum(part.begun for part in parts)} of which wait for no other")
