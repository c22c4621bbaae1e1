"""Text or Parquet files translated by the workers of a Ray cluster, into a folder of files.

    python scripts/translate_ray.py --model runs/de-en --input news.parquet --column de --output back/ --format parquet

The folder is that of `seq2seq translate --output FOLDER/`: the same names, the same content, and a file that is there
is not made again, so the same command goes on where it was stopped. Ray Data deals the parts of the input to workers;
each holds one model, reads its parts itself and writes their files, whole or not at all. Nothing but the places of
parts travels, so input, models and output must be found under the same names on all machines. Needs the extra `ray`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.app.models import Models, load_translator
from seq2seq.app.shards import Shard, begin, check_size, shard_path, summary
from seq2seq.app.streams import DeviceArguments, progress, whole_file
from seq2seq.app.translate import TranslateArguments, shard_ending, shards_origin, write_shard
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError, UserError

if TYPE_CHECKING:
    from seq2seq.text.parts import Part

LOCAL_OBJECT_STORE = 1 << 27
"""Bytes that a cluster of our own sets aside for what travels: next to nothing does."""
KNOCK_SECONDS = 10.0
"""How long a cluster's address may take to answer."""


@dataclass(frozen=True)
class RayArguments:
    """Arguments of `scripts/translate_ray.py`."""

    model: Models = ()
    """Model directory; given several times, the models translate together (they must share a tokenizer)."""
    input: str = ""
    """Text file (.gz too), a sentence a line, Parquet file, or folder of .txt or .parquet files, in order of names."""
    output: str = ""
    """Folder to write, of one file for each --shard-lines lines."""
    column: str = "source"
    """Column of a Parquet file to translate."""
    format: Literal["text", "jsonl", "parquet"] = "text"
    """text and jsonl: as `seq2seq translate`; parquet: what there is of columns, and translations with their scores."""
    output_column: str = "translation"
    """Of --format parquet: column of the translations (lists of them with --n-best); _score is added for the scores."""
    shard_lines: int = 10_000
    """Lines of each file."""
    workers: int = 0
    """Models at work at a time, each in a process of its own; 0: as many as the cluster has CPUs or GPUs for."""
    threads: int = 1
    """CPUs of each worker."""
    gpus: float = 0.0
    """GPUs of each worker, such as 0.5 where two share one; 0: it translates on CPUs."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Matrix products; `auto`: the fastest by a short timed product on one worker, for all of them."""
    address: str = field(default_factory=lambda: os.environ.get("RAY_ADDRESS") or "local")
    """Cluster: HOST:PORT, `auto` for one that this machine is part of, `local` for one of this job's own."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    search: SearchConfig = field(default_factory=SearchConfig)

    def for_worker(self) -> TranslateArguments:
        """What a worker needs to know, in the words of `seq2seq translate`; names do not depend on where it runs."""
        models = tuple(str(Path(model).absolute()) if Path(model).exists() else model for model in self.model)
        return TranslateArguments(
            model=models,
            output=str(Path(self.output).absolute()),
            shard_lines=self.shard_lines,
            format="jsonl" if self.format == "jsonl" else "text",
            encoding_errors=self.encoding_errors,
            search=self.search,
            run=DeviceArguments(self.threads, "cuda" if self.gpus > 0 else "cpu", self.precision),
        )


class Worker:
    """One model in a process of its own, which Ray calls with one part of the input after the other."""

    def __init__(self, job: RayArguments, arguments: TranslateArguments) -> None:
        self.job, self.arguments = job, arguments
        self.translator = load_translator(arguments.model, arguments.run, "translate_ray")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Makes the file of one part; what is wrong with the part comes back as text, for Ray would repeat the work."""
        from seq2seq.text.parts import Part, Span

        number, spans = json.loads(batch["part"][0])
        problem = ""
        try:
            self._make(Part(number, tuple(Span(*span) for span in spans)))
        except UserError as error:
            problem = str(error)
        return {"problem": [problem]}

    def _make(self, part: Part) -> None:
        from seq2seq.text.parts import read_texts

        lines = read_texts(part, self.job.column, self.arguments.encoding_errors)
        path = shard_path(Path(str(self.arguments.output)), part.number, _ending(self.job))
        shard = Shard(part.number * self.arguments.shard_lines, lines, path)
        if self.job.format == "parquet":
            self._write_table(part, shard)
        else:
            write_shard(self.translator, shard, self.arguments)

    def _write_table(self, part: Part, shard: Shard) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from seq2seq.text.parts import is_parquet, read_table

        job = self.job
        from_table = is_parquet(part.spans[0].path)
        table = read_table(part) if from_table else pa.table({job.column: pa.array(shard.lines, pa.string())})
        options = asdict(job.search)
        found = list(self.translator.translate_stream(shard.lines, first=shard.first, **options))
        texts: list[Any] = [[t.text for t in best] for best in found]
        scores: list[Any] = [[t.score for t in best] for best in found]
        kinds = [pa.list_(pa.string()), pa.list_(pa.float64())]
        if job.search.n_best == 1:
            texts, scores, kinds = [t[0] for t in texts], [s[0] for s in scores], [pa.string(), pa.float64()]
        for name, values, kind in zip(_new_columns(job), (texts, scores), kinds, strict=True):
            table = table.append_column(name, pa.array(values, kind))
        with whole_file(shard.path) as path:
            pq.write_table(table, path)


def _ending(job: RayArguments) -> str:
    return ".parquet" if job.format == "parquet" else shard_ending(job.for_worker())


def _new_columns(job: RayArguments) -> tuple[str, str]:
    return job.output_column, f"{job.output_column}_score"


def translate(job: RayArguments) -> int:
    """Makes the files of the folder that are not there yet.

    Returns:
        How many were made.

    Raises:
        UserError: Ray is not installed or not reached, no such model or file, options that contradict each other, a
            folder that is the output of other work, or that cannot be written.
    """
    _check(job)
    ray = _import_ray()
    from seq2seq.text.parts import cut, find_files

    files = [str(Path(file).absolute()) for file in find_files(job.input)]
    _check_columns(job, files)
    arguments = job.for_worker()
    folder, ending = Path(str(arguments.output)), _ending(job)
    with _cluster(ray, job):
        workers = _workers(ray.cluster_resources(), job)
        chosen = replace(arguments, run=_run_of_all(ray, job, arguments))
        begin(folder, _origin(job, arguments, files))
        parts = [part for part in cut(files, job.shard_lines) if not shard_path(folder, part.number, ending).exists()]
        for row in progress(_rows(ray, parts, workers, job, chosen), job.output, len(parts), " files"):
            if row["problem"]:
                raise UserError(row["problem"])
    return len(parts)


def _check(job: RayArguments) -> None:
    from seq2seq.inference.rules import check_search

    for name, given, expected in (
        ("input", job.input, "a text or Parquet file, or a folder of them"),
        ("output", job.output, "a folder to write, such as back/"),
    ):
        if not given:
            raise ConfigError(f"--{name} is missing: {expected}")
    check_size(job.shard_lines)
    check_search(job.search)
    for name, value, least in (("workers", job.workers, 0), ("threads", job.threads, 1), ("gpus", job.gpus, 0)):
        if value < least:
            raise ConfigError(f"--{name} is {value:g}, expected {least} or more")


def _check_columns(job: RayArguments, files: Sequence[str]) -> None:
    """Before any work: the column to translate is there, those to write are not."""
    from seq2seq.text.parts import is_parquet, parquet_schema
    from seq2seq.text.tables import column_texts

    if not is_parquet(files[0]):
        return
    schema = parquet_schema(files[0])
    column_texts(schema.empty_table(), job.column, files[0], job.encoding_errors)
    taken = [name for name in _new_columns(job) if job.format == "parquet" and name in schema.names]
    if taken:
        raise ConfigError(f"{files[0]} has a column {taken[0]!r} already; name another with --output-column")


def _origin(job: RayArguments, arguments: TranslateArguments, files: Sequence[str]) -> dict[str, Any]:
    """As that of `seq2seq translate`, which may begin or end the same work, where that can read the input."""
    from seq2seq.text.parts import is_parquet

    origin = {**shards_origin(arguments, [Path(file) for file in files]), "format": job.format}
    if is_parquet(files[0]):
        origin["column"] = job.column
    if job.format == "parquet":
        origin["output_column"] = job.output_column
    return origin


def _import_ray() -> Any:
    """Ray, told to keep quiet.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported: no report to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f'this needs Ray Data ({error}): pip install "seq2seq[ray]"') from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


@contextlib.contextmanager
def _cluster(ray: Any, job: RayArguments) -> Iterator[None]:
    """Connected to the cluster; one of our own is ended with the job.

    Raises:
        ConfigError: There is none at that address, or work on it failed.
    """
    options: dict[str, Any] = {"address": job.address, "logging_level": logging.ERROR, "log_to_driver": False}
    if job.address == "local":
        cpus = max(os.cpu_count() or 1, job.workers * job.threads)
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE}
    ours = not ray.is_initialized()
    try:
        if ours:
            _knock(job.address)
            ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {job.address}: {_last_line(error)}; --address local starts one") from None
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ConfigError(f"the Ray cluster at {job.address} failed: {_last_line(error)}") from error
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Finds out in seconds whether somebody listens at HOST:PORT; Ray would try for many minutes.

    Raises:
        OSError: Nobody does.
        ValueError: The port is no number.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _probe(arguments: TranslateArguments) -> tuple[Any, str]:
    """Precision that a worker chooses, or why it can have no translator."""
    from seq2seq.nn.hardware import precision_name

    try:
        return precision_name(load_translator(arguments.model, arguments.run, "translate_ray").precision), ""
    except UserError as error:
        return "", str(error)


def _run_of_all(ray: Any, job: RayArguments, arguments: TranslateArguments) -> DeviceArguments:
    """Device and precision of all workers; the precision is chosen by one, for each might time another as the fastest.

    Raises:
        ConfigError: The model cannot be loaded there.
    """
    probe = ray.remote(num_cpus=job.threads, num_gpus=job.gpus)(_probe)
    precision, problem = ray.get(probe.remote(arguments))
    if problem:
        raise ConfigError(problem)
    return replace(arguments.run, precision=precision)


def _workers(resources: dict[str, float], job: RayArguments) -> int:
    """How many workers the cluster shall have.

    Raises:
        ConfigError: It has no room for so many, or for one; they would wait for ever.
    """
    most = resources.get("CPU", 0) // job.threads
    if job.gpus > 0:
        most = min(most, resources.get("GPU", 0) // job.gpus)
    wanted = job.workers or max(int(most), 1)
    if wanted > most:
        has = " and ".join(f"{resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
        each = f"{job.threads} CPUs" + (f" and {job.gpus:g} GPUs" if job.gpus > 0 else "")
        raise ConfigError(f"the Ray cluster has {has}, too little for {wanted} workers of {each} each")
    return wanted


def _rows(
    ray: Any, parts: Sequence[Part], workers: int, job: RayArguments, arguments: TranslateArguments
) -> Iterator[dict[str, str]]:
    """What the workers say of each part, as they finish them, in no certain order."""
    if not parts:
        return
    items = [{"part": json.dumps([part.number, part.spans])} for part in parts]
    made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
        num_cpus=job.threads,
        num_gpus=job.gpus,
        fn_constructor_kwargs={"job": job, "arguments": arguments},
    )
    yield from made.iter_rows()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, translates, says what was made; exit code, 2 for a mistake in what was given."""
    import tyro

    from seq2seq.app.cli import registry

    job = tyro.cli(
        RayArguments, prog="translate_ray.py", description=__doc__, args=argv, config=(tyro.conf.OmitArgPrefixes,),
        registry=registry(),
    )  # fmt: skip
    try:
        made = translate(job)
    except UserError as error:
        if os.environ.get("SEQ2SEQ_TRACEBACK", "0") not in ("", "0"):
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    sys.stderr.write(summary(made, job.shard_lines, Path(job.output)))
    return 0
