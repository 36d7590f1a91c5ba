"""`tunesmith`: the commands, and what their errors look like. Imports nothing heavy: `--help` answers at once."""

import os
import sys

import typer

from search.cli import (
    cache,
    cluster,
    comparing,
    control,
    going_on,
    jobs,
    machine,
    presets,
    queue,
    rehearsing,
    results,
    running,
    specs,
)
from spaces.errors import SpecError

app = typer.Typer(
    name="tunesmith",
    help="Hyperparameter search for language-model pretraining and fine-tuning.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(specs.init)
app.command("check")(specs.check)
app.command("run")(running.run)
app.command("trial")(running.trial)
app.command("rehearse")(rehearsing.rehearse)
app.command("resume")(running.resume)
app.command("retry")(going_on.retry)
app.command("extend")(going_on.extend)
app.command("fork")(going_on.fork)
app.command("status")(control.status)
app.command("stop")(control.stop)
app.command("pause")(control.pause)
app.command("scale")(control.scale)
app.command("submit")(jobs.submit)
app.add_typer(jobs.app, name="jobs")
app.add_typer(queue.app, name="queue")
app.add_typer(cluster.app, name="cluster")
app.command("leaderboard")(results.leaderboard)
app.command("compare")(comparing.compare)
app.command("presets")(presets.presets)
app.command("schema")(specs.schema)
app.command("doctor")(machine.doctor)
app.add_typer(cache.app, name="cache")

EXIT_BAD_INPUT, EXIT_NO_CLUSTER, EXIT_INTERRUPTED = 2, 4, 130


def main() -> None:
    """Entry point of the console script."""
    # A `trainable` of the user's lies in the folder they start from; an installed script does not look there.
    if "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  # a text, as sys.path wants it
    try:
        app()
    except SpecError as error:
        _show(error)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except RuntimeError as error:
        from cluster.connect import ClusterError

        if not isinstance(error, ClusterError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_NO_CLUSTER)


def _show(error: SpecError) -> None:
    for single in getattr(error, "errors", (error,)):
        where = f"line {single.line}: " if single.line else ""
        print(f"error: {where}{single}", file=sys.stderr)


if __name__ == "__main__":
    main()
