"""`tunesmith`: the commands, and what their errors look like. Imports nothing heavy: `--help` answers at once."""

import os
import sys

import typer

from search.cli import (
    cache,
    cluster,
    comparing,
    confirming,
    control,
    exporting,
    going_on,
    jobs,
    machine,
    presets,
    rehearsing,
    reporting,
    results,
    running,
    serving,
    specs,
    tracking,
)
from spaces.errors import OutOfReach, SpecError

app = typer.Typer(
    name="tunesmith",
    help="Hyperparameter search for language-model pretraining and fine-tuning.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init", rich_help_panel="A search")(specs.init)
app.command("check", rich_help_panel="A search")(specs.check)
app.command("run", rich_help_panel="A search")(running.run)
app.command("trial", rich_help_panel="A search")(running.trial)
app.command("rehearse", rich_help_panel="A search")(rehearsing.rehearse)
app.command("resume", rich_help_panel="A search")(running.resume)
app.command("retry", rich_help_panel="A search")(going_on.retry)
app.command("extend", rich_help_panel="A search")(going_on.extend)
app.command("fork", rich_help_panel="A search")(going_on.fork)
app.command("status", rich_help_panel="A search")(control.status)
app.command("stop", rich_help_panel="A search")(control.stop)
app.command("pause", rich_help_panel="A search")(control.pause)
app.command("scale", rich_help_panel="A search")(control.scale)
app.command("submit", rich_help_panel="Clusters")(jobs.submit)
app.add_typer(jobs.app, name="jobs", rich_help_panel="Clusters")
app.add_typer(cluster.app, name="cluster", rich_help_panel="Clusters")
app.command("leaderboard", rich_help_panel="Its results")(results.leaderboard)
app.command("compare", rich_help_panel="Its results")(comparing.compare)
app.command("report", rich_help_panel="Its results")(reporting.report)
app.command("sync", rich_help_panel="Its results")(tracking.sync)
app.command("publish", rich_help_panel="Its results")(tracking.publish)
app.command("confirm", rich_help_panel="Its results")(confirming.confirm)
app.command("export", rich_help_panel="Its results")(exporting.export)
app.command("serve", rich_help_panel="Its results")(serving.serve)
app.command("presets", rich_help_panel="Here")(presets.presets)
app.command("schema", rich_help_panel="Here")(specs.schema)
app.command("doctor", rich_help_panel="Here")(machine.doctor)
app.add_typer(cache.app, name="cache", rich_help_panel="Here")

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

        if not isinstance(error, ClusterError | OutOfReach):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_NO_CLUSTER)


def _show(error: SpecError) -> None:
    for single in getattr(error, "errors", (error,)):
        where = f"line {single.line}: " if single.line else ""
        print(f"error: {where}{single}", file=sys.stderr)


if __name__ == "__main__":
    main()
