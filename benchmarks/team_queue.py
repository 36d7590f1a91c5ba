"""Three people share a cluster of four CPUs through the queue, and the keeper is killed in the middle: who had how many
lanes when, and whether the rules held. What the trials themselves wrote down is the evidence, not what the keeper says.

    python benchmarks/team_queue.py [--folder DIR]

Takes some minutes: six searches are real processes on a real Ray.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from ray_cluster import RayHead, running_head  # noqa: E402  # beside the tests, which need it, too

CPUS = 4
QUOTAS = {"ann": {"cpus": 2}}
TRAINABLE = """
import fcntl, json, time

def _note(config, event):
    with open(config["log"], "a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.write(json.dumps({"at": time.time(), "event": event, "who": config["who"], "x": config["x"]}) + "\\n")

def train(config, report):
    _note(config, "begin")
    time.sleep(config["seconds"])
    _note(config, "end")
    report({"loss": config["x"]}, step=1, is_final=True)
"""
SPEC = """
name: {name}
trainable: working:train
config: {{x: 0.0, who: {name}, log: {log}, seconds: {seconds}}}
space: {{config.x: {{uniform: [0, 1]}}}}
search: {{algorithm: random, metric: loss, trials: {trials}}}
tracking: {{wandb: {{mode: disabled}}}}
checkpoints: {{save: false}}
storage: {storage}
"""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A search that somebody hands in."""

    after: float
    """Seconds from the start."""
    name: str
    user: str
    trials: int
    seconds: float
    priority: int = 0


WISHES = (
    Wish(after=0, name="ann-1", user="ann", trials=40, seconds=2.0),
    Wish(after=0, name="ann-2", user="ann", trials=10, seconds=2.0),
    Wish(after=0, name="ann-3", user="ann", trials=6, seconds=2.0),
    Wish(after=0, name="bob-1", user="bob", trials=50, seconds=2.0),
    Wish(after=60, name="cem-1", user="cem", trials=12, seconds=2.0),
    Wish(after=60, name="cem-urgent", user="cem", trials=12, seconds=2.0, priority=5),
)
KILLS_AFTER = (30.0, 75.0)


class Team:
    """The people: hand in, look, kill the keeper."""

    def __init__(self, head: RayHead, folder: Path, port: int) -> None:
        self.head, self.folder = head, folder
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "trials.jsonl"
        self._headers = {"Authorization": f"Bearer {head.token}"}

    def keep(self) -> int:
        """Start the keeper. Gives its process."""
        command = [
            sys.executable, "-m", "search.cli.main", "queue", "start", "--address", self.head.url, "--database",
            str(self.folder / "queue.db"), "--port", self.url.rpartition(":")[2], "--json",
        ]  # fmt: skip
        for _ in range(10):
            done = subprocess.run(
                command, env=self.head.environment, cwd=self.folder, capture_output=True, text=True, check=False
            )
            if "takes jobs now" not in done.stderr:
                break
            time.sleep(5)  # on a busy machine the head's agent takes its time
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["process"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request, repeated while the keeper comes back."""
        for _ in range(600):
            try:
                answer = requests.request(method, self.url + path, json=body, headers=self._headers, timeout=30)
            except requests.exceptions.ConnectionError:
                time.sleep(0.2)
                continue
            assert answer.ok or path == "/health", answer.text
            return answer.json()
        raise AssertionError("the queue's API did not come back")

    def hand_in(self, wish: Wish) -> None:
        spec = SPEC.format(
            name=wish.name, log=self.log, seconds=wish.seconds, trials=wish.trials, storage=self.folder / "searches"
        )
        import base64

        code = base64.b64encode(TRAINABLE.encode()).decode()
        self.ask(
            "POST", "/searches",
            {"spec": spec, "files": {"working.py": code}, "user": wish.user, "priority": wish.priority},
        )  # fmt: skip


def main() -> None:
    """Run it, print the time line, check the rules."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None)
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="tunesmith-team-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty: an earlier queue would go on")
    with running_head(folder, cpus=CPUS) as head:
        team = Team(head, folder, port=_free_port())
        process = team.keep()
        for user, quota in QUOTAS.items():
            team.ask("PUT", f"/quotas/{user}", quota)
        kept, began = [process], time.monotonic()
        open_wishes, kills = sorted(WISHES, key=lambda wish: wish.after), list(KILLS_AFTER)
        seen = ""
        while True:
            now = time.monotonic() - began
            while open_wishes and open_wishes[0].after <= now:
                team.hand_in(open_wishes.pop(0))
            if kills and kills[0] <= now:
                kills.pop(0)
                os.kill(kept[-1], signal.SIGKILL)
                print(f"{now:6.1f} s  kill -9 of the keeper, process {kept[-1]}", flush=True)
                kept.append(_next_process(team, kept[-1]))
                print(f"{time.monotonic() - began:6.1f} s  it is back, as process {kept[-1]}", flush=True)
            searches = team.ask("GET", "/searches")
            line = _line(searches)
            if line != seen:
                print(f"{now:6.1f} s  {line}", flush=True)
                seen = line
            if not open_wishes and all(each["ended_at"] for each in searches):
                break
            time.sleep(0.5)
        took = time.monotonic() - began
        events = {each["name"]: team.ask("GET", f"/searches/{each['number']}/events") for each in searches}
    _check(folder, searches, events, took)


def _line(searches: list[dict[str, Any]]) -> str:
    words = {"QUEUED": "waits", "STARTING": "starts", "ENDED": "-", "FAILED": "FAILED", "CANCELLED": "cancelled"}
    return "  ".join(
        f"{each['name']} {each['lanes'] if each['state'] == 'RUNNING' else words[each['state']]}" for each in searches
    )


def _check(
    folder: Path, searches: list[dict[str, Any]], events: dict[str, list[dict[str, Any]]], took: float
) -> None:  # fmt: skip
    notes = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    users = {wish.name: wish.user for wish in WISHES}
    running: dict[str, int] = dict.fromkeys(users, 0)
    most, most_of_user, busy, last = 0, dict.fromkeys(set(users.values()), 0), 0.0, notes[0]["at"]
    for note in sorted(notes, key=lambda note: note["at"]):
        busy += sum(running.values()) * (note["at"] - last)
        last = note["at"]
        running[note["who"]] += 1 if note["event"] == "begin" else -1
        most = max(most, sum(running.values()))
        for user in most_of_user:
            most_of_user[user] = max(most_of_user[user], sum(n for who, n in running.items() if users[who] == user))
    trials = {name: [n["x"] for n in notes if n["who"] == name and n["event"] == "begin"] for name in users}
    print(f"\nin {took:.0f} s: at most {most} trials at once of {CPUS} CPUs; " + ", ".join(
        f"{user} at most {count}" for user, count in sorted(most_of_user.items())
    ))  # fmt: skip
    starts = {name: sum(each["event"] == "STARTING" for each in told) for name, told in events.items()}
    first = {each["name"]: each["started_at"] - each["submitted_at"] for each in searches}
    print("waited: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in first.items()))
    span = max(n["at"] for n in notes) - min(n["at"] for n in notes)
    print(f"trials kept {busy / span / CPUS:.0%} of the CPUs busy from the first to the last of them")
    assert all(each["state"] == "ENDED" for each in searches), [(e["name"], e["state"], e["message"]) for e in searches]
    assert most <= CPUS, "overcommitted"
    assert most_of_user["ann"] <= QUOTAS["ann"]["cpus"], "the quota of ann did not hold"
    assert set(starts.values()) == {1}, f"started more than once: {starts}"
    assert all(len(set(trials[wish.name])) == len(trials[wish.name]) == wish.trials for wish in WISHES), (
        "a trial ran twice"
    )
    print("held: no overcommitment, the quota of ann, every search started once, every trial run once, all ended")


def _next_process(team: Team, killed: int) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        health = team.ask("GET", "/health")
        if health["process"] != killed and health["status"] == "ok":
            return int(health["process"])
        time.sleep(0.2)
    raise AssertionError("the keeper did not come back")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
