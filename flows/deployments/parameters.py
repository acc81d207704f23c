"""What a deployment's run is asked for, with a title and a description for Prefect's page, which checks the values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

FILLED_IN = "^[^{}]*$"  # `prefect deploy` leaves {{ $NAME }} as it is where the environment lacks NAME


def titled(title: str, description: str, **limits: Any) -> Any:
    """A parameter's title and description. Prefect keeps them where they are extra values of the schema."""
    return Field(json_schema_extra={"title": title, "description": description}, **limits)


Dataset = Annotated[
    str,
    titled(
        "Dataset",
        "Its folder as the worker sees it, or its place in an object store, such as s3://bucket/dataset.",
        min_length=1,
        pattern=FILLED_IN,
    ),
]
Source = Annotated[
    str,
    titled(
        "Recordings",
        "A folder of audio as the worker sees it, an address, or a list of addresses. Empty: what is known already.",
        pattern=FILLED_IN,
    ),
]
Settings = Annotated[
    tuple[str, ...],
    titled(
        "Settings",
        "Each as STAGE.KEY=VALUE, such as segment.min_segment_s=20. What is not named stays as the dataset has it.",
    ),
]
Name = Annotated[str, titled("Name of the version", "Such as spring-2027. Empty: a number is enough.")]
DryRun = Annotated[bool, titled("Only a plan", "Say what would be done, on the run's page, and change nothing.")]
Device = Annotated[
    str, titled("Device", "Where the transcriber runs: auto (every GPU, else the processor), cpu, cuda, cuda:1.")
]
BatchSize = Annotated[int, titled("Batch size", "Windows in a forward pass. 0: chosen by device.", ge=0)]
EngineName = Annotated[
    Literal["local", "ray"],
    titled("Engine", "Who does the work on sound: local, the worker's machine; ray, a cluster."),
]
Address = Annotated[
    str, titled("Ray cluster", "auto, or ray://HOST:10001. Empty: one is started on the worker's machine.")
]
Workers = Annotated[int, titled("Ray workers", "Those without a GPU. 0: one a core of the cluster.", ge=0)]
GpusPerWorker = Annotated[
    float, titled("GPUs a Ray worker", "0.5: two workers share one.", gt=0, le=64, allow_inf_nan=False)
]
PricePerHour = Annotated[
    float, titled("Price an hour", "Dollars that all machines cost. 0: not known.", ge=0, allow_inf_nan=False)
]
WaitMinutes = Annotated[
    float,
    titled(
        "Wait at most",
        "Minutes to wait while another run or command works in the dataset. 0: fail at once.",
        ge=0,
        allow_inf_nan=False,
    ),
]
ReportAddress = Annotated[
    str,
    titled(
        "Address of the dataset's files",
        "Where a browser finds them, such as https://files.example.org/dataset/: the page then links to the report "
        "there. Empty: it names the report's place.",
    ),
]
Seeds = Annotated[
    tuple[str, ...],
    titled(
        "Seeds",
        "Where the crawl begins: addresses, or SOURCE:TARGET such as search:chopin nocturne. None: the dataset's own.",
    ),
]
Subset = Annotated[
    str,
    titled(
        "Name of the subset",
        "It becomes the columns in_NAME and weight_NAME.",
        pattern="^[a-z][a-z0-9_]*$",
    ),
]
Method = Annotated[
    Literal[
        "random",
        "group_random",
        "longest",
        "shortest",
        "top",
        "bottom",
        "window",
        "middle",
        "stratified",
        "score_proportional",
        "ht_proportional",
        "calibrated",
    ],
    titled("Method", "How files are chosen. All but the first four go by a score. docs/pruning.md compares them."),
]
Score = Annotated[
    str,
    titled("Score", "That the method goes by: el2n, loss, vog ... Empty for random, group_random, longest, shortest."),
]
Unit = Annotated[
    Literal["fraction", "files", "minutes", "notes"],
    titled("Kept: unit", "What the amount counts. A fraction is 0 to 1."),
]
Amount = Annotated[
    float | None, titled("Kept: amount", "The most that is kept. None: no limit.", ge=0, allow_inf_nan=False)
]
MaxPerGroup = Annotated[int, titled("Most of a composition", "Recordings of each. 0: no limit.", ge=0)]
Seed = Annotated[int, titled("Seed", "Another one draws other files.", ge=0)]
Table = Annotated[str, titled("Score table", "Its name. Empty: the newest.")]
ScoreFirst = Annotated[
    bool, titled("Score first", "Score the files before: about ten minutes for 1,000 files on two cores.")
]
