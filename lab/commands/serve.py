"""servetwin serve"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lab.options import ComputeOptions, EngineOptions, Force

ENGINE = EngineOptions()
COMPUTE = ComputeOptions()


def serve(
    *,
    engine: Annotated[
        Literal["real", "sim"],
        Parameter(help="real: a transformer. sim: no model; each step takes what the profile says, in real time."),
    ] = "real",
    model: Annotated[
        str | None,
        Parameter(
            help="15m, 110m or 600m, a model that servetwin model got, or a folder. Default 15m; sim: the profile's."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        Parameter(
            help="Profile, a file or a shipped name, that times the simulated engine, or by which a policy predicts."
        ),
    ] = None,
    options: EngineOptions = ENGINE,
    host: Annotated[str, Parameter(help="Address to listen on; whoever reaches it can use the server.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="0: any free one.")] = 8000,
    api_key: Annotated[
        str | None,
        Parameter(
            env_var="SERVETWIN_API_KEY",
            help="Clients must send it: Authorization: Bearer KEY. Others on this machine can see it in the command.",
        ),
    ] = None,
    api_key_file: Annotated[Path | None, Parameter(help="File whose first line is the API key.")] = None,
    served_model_name: Annotated[
        str | None, Parameter(help="What clients call the model. Default: its own name.")
    ] = None,
    compute: ComputeOptions = COMPUTE,
    seed: Annotated[
        int | None, Parameter(help="Of random weights, and of the noise of requests that state no seed. Default 0.")
    ] = None,
    drain: Annotated[float, Parameter(help="Seconds to finish what runs, once it is told to end.")] = 10.0,
    record: Annotated[
        Path | None, Parameter(help="Folder of a run record to write at the end. Memory grows with the run until then.")
    ] = None,
    force: Force = False,
) -> None:
    """Serve the OpenAI API over HTTP, until SIGTERM or Ctrl-C: both engines from the same code, for any client.

    Prints one line with the URL when it takes requests. Paths and fields: docs/server.md. Exit code 3 where the extra
    'real' is absent; the simulated engine needs no torch.

    Example: servetwin serve --model 15m

    Example: servetwin serve --engine sim --profile profile.json --preset vllm --port 8001
    """
    from lab.server import Serving, run_server

    run_server(
        Serving(
            engine=engine,
            model=model,
            profile=profile,
            options=options,
            host=host,
            port=port,
            api_key=api_key,
            api_key_file=api_key_file,
            served_model_name=served_model_name,
            compute=compute,
            seed=seed,
            drain_s=drain,
            record=record,
            force=force,
        )
    )
