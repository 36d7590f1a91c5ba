"""A W&B backend in memory on loopback: enough for the real client to log, resume, sync and read back.

It does not parse GraphQL: it takes the operation's name and answers with every field a client may select. It
shows that our code matches the client library, not how wandb.ai behaves. Standard library only.

    @pytest.fixture
    def server(tmp_path, monkeypatch):
        yield from serving(tmp_path, monkeypatch)
"""

import base64
import contextlib
import gzip
import json
import operator
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
API_KEY = "fake" * 10
ENTITY = "tester"
_NO_PAGE = {"hasNextPage": False, "endCursor": None}

# --- runs ------------------------------------------------------------------------------------------------


@dataclass
class StoredRun:
    """One run as the server knows it."""

    entity: str
    project: str
    name: str
    """The run id."""
    display_name: str = ""
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    state: str = "running"
    is_preempting: bool = False
    config: Json = field(default_factory=dict)
    """As it travels: each value wrapped into `{"value": ...}`."""
    summary: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    created: str = field(default_factory=lambda: _now())
    heartbeat: str = field(default_factory=lambda: _now())

    @property
    def id(self) -> str:
        """The opaque id of the GraphQL node."""
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    @property
    def plain_config(self) -> Json:
        """The config as the user gave it."""
        return {key: _unwrapped(value) for key, value in self.config.items() if key != "_wandb"}

    def take_stream(self, request: Json) -> None:
        """A chunk of the file stream. Lines go to their offset: a chunk that comes twice changes nothing."""
        for name, chunk in (request.get("files") or {}).items():
            lines, offset = chunk.get("content") or [], chunk.get("offset", 0)
            if name == "wandb-history.jsonl":
                self.history[offset : offset + len(lines)] = [json.loads(line) for line in lines]
            elif name == "wandb-events.jsonl":
                self.events[offset : offset + len(lines)] = [json.loads(line) for line in lines]
            elif name == "wandb-summary.json":
                self.summary = json.loads(lines[-1])
            else:
                self.output[offset : offset + len(lines)] = lines
        self.heartbeat = _now()
        self.is_preempting = self.is_preempting or bool(request.get("preempting"))
        if request.get("complete"):
            failed_state = "preempted" if self.is_preempting else "failed"
            self.state = failed_state if request.get("exitcode") else "finished"

    def to_graphql(self) -> Json:
        keys = {key: {"typeCounts": [{"type": "number", "count": 1}]} for row in self.history for key in row}
        last_step = max((row.get("_step", 0) for row in self.history), default=-1)
        return {
            "id": self.id,
            "name": self.name,
            "displayName": self.display_name or self.name,
            "group": self.group,
            "jobType": self.job_type,
            "notes": self.notes,
            "description": None,
            "tags": self.tags,
            "state": self.state,
            "sweep": self.sweep,
            "sweepName": self.sweep,
            "host": None,
            "program": None,
            "commit": None,
            "projectId": "1",
            "config": json.dumps(self.config),
            "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}",
            "readOnly": False,
            "stopped": False,
            "createdAt": self.created,
            "heartbeatAt": self.heartbeat,
            "user": {"name": ENTITY, "username": ENTITY},
            "historyLineCount": len(self.history),
            "eventsLineCount": len(self.events),
            "logLineCount": len(self.output),
            "historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in self.events[-1:]]),
            "historyKeys": {"lastStep": last_step, "keys": keys, "sets": []},
            # `t` tells the client that the run had been started, hence that it can be resumed
            "wandbConfig": json.dumps({"t": 1} if "_wandb" in self.config else {}),
            "project": {"id": "1", "internalId": "1", "name": self.project, "entity": {"id": "e", "name": self.entity}},
            "fileCount": len(self.files),
        }

    def sampled(self, spec: Json) -> list[Json]:
        """Rows that have all the asked keys, thinned to the asked number."""
        keys, low, high = spec.get("keys") or [], spec.get("minStep") or 0, spec.get("maxStep")
        rows = [
            {key: row[key] for key in keys}
            for row in self.history
            if all(key in row for key in keys)
            and row.get("_step", 0) >= low
            and (high is None or row.get("_step", 0) <= high)
        ]
        return _thinned(rows, int(spec.get("samples") or 500))


class RunStore:
    """All runs, by entity, project and run id."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str, str], StoredRun] = {}

    def get(self, entity: str, project: str, name: str) -> StoredRun | None:
        return self._runs.get((entity, project, name))

    def get_or_create(self, entity: str, project: str, name: str) -> StoredRun:
        return self._runs.setdefault((entity, project, name), StoredRun(entity, project, name))

    def by_id(self, node_id: str) -> StoredRun | None:
        return next((run for run in self.all() if node_id in (run.id, run.name)), None)

    def of_project(self, entity: str, project: str) -> list[StoredRun]:
        return [run for run in self.all() if (run.entity, run.project) == (entity, project)]

    def all(self) -> list[StoredRun]:
        return list(self._runs.values())

    def delete(self, run: StoredRun) -> None:
        del self._runs[run.entity, run.project, run.name]


# --- filters and order of Api.runs -----------------------------------------------------------------------

_ATTRIBUTES: dict[str, Callable[[StoredRun], Any]] = {
    "name": lambda run: run.name,
    "display_name": lambda run: run.display_name,
    "displayName": lambda run: run.display_name,
    "group": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "jobType": lambda run: run.job_type,
    "state": lambda run: run.state,
    "tags": lambda run: run.tags,
    "sweep": lambda run: run.sweep,
    "created_at": lambda run: run.created,
    "createdAt": lambda run: run.created,
    "heartbeat_at": lambda run: run.heartbeat,
    "username": lambda run: ENTITY,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def field_of(run: StoredRun, key: str) -> Any:
    """The value a filter or an order names: an attribute, `config.a.b` or `summary_metrics.a.b`."""
    if key in _ATTRIBUTES:
        return _ATTRIBUTES[key](run)
    section, _, path = key.partition(".")
    if section == "config":
        return _at_path(run.plain_config, path.removesuffix(".value"))
    return _at_path(run.summary, path) if section in ("summary_metrics", "summaryMetrics", "summary") else None


def matches(run: StoredRun, filters: Json | None) -> bool:
    """The MongoDB-like filters of `Api.runs`."""
    for key, wanted in (filters or {}).items():
        if key == "$and":
            fits = all(matches(run, part) for part in wanted)
        elif key == "$or":
            fits = any(matches(run, part) for part in wanted)
        elif key == "$not":
            fits = not matches(run, wanted)
        elif isinstance(wanted, dict) and wanted and all(name.startswith("$") for name in wanted):
            fits = all(_compares(field_of(run, key), name, value) for name, value in wanted.items())
        else:
            fits = _compares(field_of(run, key), "$eq", wanted)
        if not fits:
            return False
    return True


def ordered(runs: list[StoredRun], order: str | None) -> list[StoredRun]:
    """Sorted by `+key` or `-key`, the first key first; runs without the key come last."""
    for part in reversed(re.findall(r"[^ ,]+", order or "+created_at")):
        key = part.lstrip("+-")
        known = [run for run in runs if field_of(run, key) is not None]
        unknown = [run for run in runs if field_of(run, key) is None]
        runs = sorted(known, key=lambda run: field_of(run, key), reverse=part[0] == "-") + unknown
    return runs


def _compares(value: Any, name: str, wanted: Any) -> bool:
    held = value if isinstance(value, list) else [value]
    if name == "$eq":
        return wanted in held
    if name == "$ne":
        return wanted not in held
    if name == "$in":
        return any(item in wanted for item in held)
    if name == "$nin":
        return not any(item in wanted for item in held)
    if name == "$exists":
        return (value is not None) == bool(wanted)
    if name == "$regex":
        return re.search(wanted, str(value)) is not None
    try:
        return value is not None and _COMPARISONS[name](value, wanted)
    except TypeError:
        return False


def _at_path(values: Json, path: str) -> Any:
    if path in values:
        return values[path]
    node: Any = values
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


# --- artifacts -------------------------------------------------------------------------------------------


@dataclass
class StoredArtifact:
    """One version of an artifact."""

    id: str
    entity: str
    project: str
    collection: str
    type: str
    version: int
    digest: str
    client_id: str | None
    run_name: str | None
    state: str = "PENDING"
    aliases: set[str] = field(default_factory=set)
    used_by: set[str] = field(default_factory=set)
    """Ids of runs that have it as input."""
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b"{}"

    @property
    def _sequence(self) -> Json:
        project = {"id": "1", "internalId": "1", "name": self.project, "entity": {"name": self.entity}}
        return {
            "__typename": "ArtifactSequence",
            "name": self.collection,
            "project": project,
            "latestArtifact": None,
        }

    @property
    def _aliases(self) -> list[Json]:
        return [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": self._sequence}
            for alias in sorted(self.aliases)
        ]

    def to_graphql(self) -> Json:
        return {
            "__typename": "Artifact",
            "id": self.id,
            "artifactSequence": self._sequence,
            "versionIndex": self.version,
            "artifactType": {"name": self.type},
            "description": None,
            "metadata": None,
            "ttlDurationSeconds": 0,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": self.state,
            "size": sum(map(len, self.files.values())),
            "digest": self.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": f"c{self.id}",
            "fileCount": len(self.files),
            "createdAt": _now(),
            "updatedAt": _now(),
            "aliases": self._aliases,
        }

    def membership(self) -> Json:
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"m{self.id}",
            "versionIndex": self.version,
            "createdAt": _now(),
            "aliases": self._aliases,
            "artifactCollection": self._sequence,
            "artifact": self.to_graphql(),
        }

    def file_urls(self, base: str) -> Json:
        nodes = [
            {"__typename": "File", "name": name, "directUrl": f"{base}/artifact/{self.id}/files/{name}"}
            for name in self.files
        ]
        return {
            "edges": [{"node": node} for node in nodes],
            "pageInfo": {"__typename": "PageInfo", **_NO_PAGE},
        }


class ArtifactStore:
    """All versions of all artifacts."""

    def __init__(self) -> None:
        self.by_id: dict[str, StoredArtifact] = {}

    def versions(self, entity: str, project: str, collection: str) -> list[StoredArtifact]:
        place = (entity, project, collection)
        return [item for item in self.by_id.values() if (item.entity, item.project, item.collection) == place]

    def find(self, entity: str, project: str, name: str) -> StoredArtifact | None:
        """By `collection:alias` or `collection:v0`; without either the latest."""
        collection, _, alias = name.partition(":")
        versions = self.versions(entity, project, collection)
        return next((item for item in versions if (alias or "latest") in item.aliases | {f"v{item.version}"}), None)

    def create(self, values: Json) -> StoredArtifact:
        collection = values.get("artifactCollectionName") or values["artifactCollectionNames"][0]
        # an offline run does not know its entity: the server takes the user's own
        place = (values["entityName"] or ENTITY, values["projectName"], collection)
        versions = self.versions(*place)
        same = [item for item in versions if item.digest == values["digest"] and item.state == "COMMITTED"]
        artifact = (
            same[0]
            if same
            else StoredArtifact(
                f"art{len(self.by_id)}",
                *place,
                type=values["artifactTypeName"],
                version=len(versions),
                digest=values["digest"],
                client_id=values.get("clientID"),
                run_name=values.get("runName"),
            )
        )
        self.by_id[artifact.id] = artifact
        for alias in {item["alias"] for item in values.get("aliases") or []} | {"latest"}:
            for other in versions:
                other.aliases.discard(alias)
            artifact.aliases.add(alias)
        return artifact


# --- views: workspaces and reports -----------------------------------------------------------------------


@dataclass
class StoredView:
    """A saved workspace or report."""

    id: str
    entity: str
    project: str
    type: str
    """`project-view` is a workspace, `runs` a report."""
    name: str
    display_name: str
    description: str
    spec: str
    """JSON."""

    def to_graphql(self) -> Json:
        return {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "displayName": self.display_name,
            "description": self.description,
            "spec": self.spec,
            "project": {"id": "1", "name": self.project, "entityName": self.entity},
            "user": {"username": ENTITY, "photoUrl": None, "email": "tester@example.invalid"},
            "createdAt": _now(),
            "updatedAt": _now(),
        }


# --- operations ------------------------------------------------------------------------------------------


class Operations:
    """GraphQL operation -> answer. A method of the operation's name, in snake case, answers it."""

    def __init__(self, runs: RunStore, artifacts: ArtifactStore) -> None:
        self._runs = runs
        self._artifacts = artifacts
        self.views: dict[str, StoredView] = {}
        """Saved workspaces and reports by id."""
        self.asked: list[str] = []
        """Names of the operations so far."""
        self.sweeps: dict[str, Json] = {}
        """Config of each sweep by its id."""
        self.unknown: list[str] = []
        """Those that had no answer; wandb 0.31 lives without."""

    def answer(self, request: Json, base: str) -> Json:
        query = request["query"]
        found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
        name = request.get("operationName") or (found.group(1) if found else "")
        values = request.get("variables") or {}
        if isinstance(values.get("input"), dict):
            values = {**values["input"], **values}
        self.asked.append(name)
        method = getattr(self, re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower(), None)
        if method is None or name.startswith("_"):
            self.unknown.append(name)
            return {"data": None, "errors": [{"message": f"the fake has no operation `{name}`"}]}
        return {"data": method({**values, "_query": query, "_base": base})}

    # the server and its user

    def viewer(self, values: Json) -> Json:
        teams = _connection([{"name": ENTITY}])
        names = {"entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": "tester@example.invalid"}
        rest = {"admin": False, "flags": "{}", "deletedAt": None, "apiKeys": _connection([]), "teams": teams}
        return {"viewer": {"id": "u1", **names, **rest}}

    get_viewer = get_default_entity = viewer

    def server_features_query(self, values: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def project_internal_id(self, values: Json) -> Json:
        return {"project": {"internalId": "1", "id": "1"}}

    def get_projects(self, values: Json) -> Json:
        names = dict.fromkeys(run.project for run in self._runs.all() if run.entity == values["entity"])
        rest = {"__typename": "Project", "entityName": values["entity"], "isBenchmark": False, "user": None}
        nodes = [{"id": name, "name": name, "createdAt": _now(), **rest} for name in names]
        connection = _connection(nodes)
        return {"models": connection | {"pageInfo": {"__typename": "PageInfo", **_NO_PAGE}}}

    def get_sweep(self, values: Json) -> Json:
        config = self.sweeps.get(values["name"])
        if config is None:
            return {"project": {"sweep": None}}
        facts = {"id": values["name"], "name": values["name"], "state": "FINISHED", "config": json.dumps(config)}
        return {"project": {"sweep": {"__typename": "Sweep", "bestLoss": None, "runCount": 0, **facts}}}

    # writing runs

    def upsert_bucket(self, values: Json) -> Json:
        run = self._runs.by_id(values["id"]) if values.get("id") else None
        is_new = run is None and self._run(values) is None
        run = run or self._runs.get_or_create(*_place(values))
        names = {"displayName": "display_name", "groupName": "group", "jobType": "job_type", "state": "state"}
        for key, attribute in {**names, "notes": "notes", "sweep": "sweep", "tags": "tags"}.items():
            if values.get(key) is not None:
                setattr(run, attribute, values[key])
        if values.get("config"):
            _merge(run.config, json.loads(values["config"]))
        if values.get("summaryMetrics"):
            run.summary = json.loads(values["summaryMetrics"])
        settings = {"serverMessages": []}
        return {"upsertBucket": {"bucket": run.to_graphql(), "inserted": is_new, "serverSettings": settings}}

    def run_resume_status(self, values: Json) -> Json:
        entity, project, _ = _place(values)
        bucket = self._run_json(values)
        if bucket is not None:
            # a resumed run is running again
            self._runs.get_or_create(*_place(values)).is_preempting = False
        return {"model": {"id": "1", "name": project, "entity": {"id": "e", "name": entity}, "bucket": bucket}}

    def run_stopped_status(self, values: Json) -> Json:
        return {"project": {"run": {"stopped": False}}}

    def create_run_files(self, values: Json) -> Json:
        run = self._runs.get_or_create(*_place(values))
        files = _file_nodes(run, values["files"], values["_base"])
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def delete_run(self, values: Json) -> Json:
        run = self._runs.by_id(values["id"])
        if run is not None:
            self._runs.delete(run)
        return {"deleteRun": {"clientMutationId": None}}

    # reading runs

    def run(self, values: Json) -> Json:
        return {"project": {"run": self._run_json(values)}}

    run_state = query_run_info = run_history_keys = run

    def runs(self, values: Json) -> Json:
        entity, project, _ = _place(values)
        known = self._runs.of_project(entity, project)
        if not known:
            return {"project": None}
        filters = json.loads(values.get("filters") or "{}")
        found = ordered([run for run in known if matches(run, filters)], values.get("order"))
        start = int(values["cursor"]) + 1 if values.get("cursor") else 0
        size = int(values.get("perPage") or 50)
        nodes = [run.to_graphql() for run in found[start : start + size]]
        if "fragment RunFragment" not in values["_query"]:  # a lazy query asks for no values
            nodes = [
                {key: value for key, value in node.items() if key not in ("config", "summaryMetrics", "systemMetrics")}
                for node in nodes
            ]
        edges = [{"node": node, "cursor": str(start + index)} for index, node in enumerate(nodes)]
        page = {"endCursor": str(start + len(nodes) - 1), "hasNextPage": start + size < len(found)}
        runs = {"edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def run_full_history(self, values: Json) -> Json:
        run = self._known(values)
        kind = "history" if "history(" in values["_query"] else "events"
        rows = _thinned(run.history if kind == "history" else run.events, int(values.get("samples") or 500))
        return {"project": {"run": {kind: [json.dumps(row) for row in rows]}}}

    def run_sampled_history(self, values: Json) -> Json:
        run = self._known(values)
        return {"project": {"run": {"sampledHistory": [run.sampled(json.loads(s)) for s in values["specs"]]}}}

    def sampled_history_page(self, values: Json) -> Json:
        rows = self._known(values).sampled(json.loads(values["spec"]))
        return {"project": {"run": {"sampledHistory": [rows]}}}

    def history_page(self, values: Json) -> Json:
        low, high = values["minStep"], values["maxStep"]
        rows = [row for row in self._known(values).history if low <= row.get("_step", 0) < high]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows]}}}

    def run_parquet_history(self, values: Json) -> Json:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}

    def run_files(self, values: Json) -> Json:
        run = self._known(values)
        wanted = values.get("fileNames") or values.get("files") or list(run.files)
        files = _connection(_file_nodes(run, [name for name in wanted if name in run.files], values["_base"]))
        bucket = {"id": run.id, "fileCount": len(run.files), "files": files}
        return {"project": {"internalId": "1", "run": bucket}, "model": {"bucket": bucket}}

    get_run_files = run_upload_urls = run_files

    # views

    def upsert_view(self, values: Json) -> Json:
        """With an id that view, without one a new one: a name alone does not find it again."""
        is_new = not values.get("id")
        view_id = values.get("id") or base64.b64encode(f"View:{len(self.views)}".encode()).decode()
        entity, project = values["entityName"], values["projectName"]
        assert is_new or view_id in self.views, f"there is no view {view_id}"
        view = StoredView(
            view_id,
            entity,
            project,
            type=values["type"],
            name=values["name"],
            display_name=values["displayName"],
            description=values.get("description") or "",
            spec=values["spec"],
        )
        self.views[view_id] = view
        return {"upsertView": {"view": view.to_graphql(), "inserted": is_new}}

    upsert_view2 = upsert_view

    def delete_view(self, values: Json) -> Json:
        gone = self.views.pop(values["id"], None)
        return {"deleteView": {"success": gone is not None, "pendingDrafts": []}}

    def project_views(self, values: Json) -> Json:
        entity, project = values.get("entityName") or values.get("entity"), values.get("project") or values.get("name")
        kind, name = values.get("viewType") or "runs", values.get("viewName")
        nodes = [
            view.to_graphql()
            for view in self.views.values()
            if (view.entity, view.project, view.type) == (entity, project, kind) and name in (None, view.name)
        ]
        return {"project": {"allViews": _connection(nodes)}}

    view = project_views

    def specific_report(self, values: Json) -> Json:
        found = self.views.get(values["reportId"])
        return {"view": found.to_graphql() if found else None}

    # artifacts

    def create_artifact(self, values: Json) -> Json:
        artifact = self._artifacts.create(values)
        return {"createArtifact": {"artifact": artifact.to_graphql()}}

    def create_artifact_manifest(self, values: Json) -> Json:
        artifact_id = values["artifactID"]
        url = f"{values['_base']}/artifact/{artifact_id}/manifest"
        manifest = {"id": f"mf-{artifact_id}", "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def create_artifact_files(self, values: Json) -> Json:
        nodes = [
            {
                "storagePath": item["name"],
                "uploadUrl": f"{values['_base']}/artifact/{item['artifactID']}/files/{item['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": item["artifactID"]},
            }
            for item in values["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": _connection(nodes)}}

    def commit_artifact(self, values: Json) -> Json:
        artifact = self._artifacts.by_id[values["artifactID"]]
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def client_id_mapping(self, values: Json) -> Json:
        wanted = values["clientID"]
        found = [item for item in self._artifacts.by_id.values() if item.client_id == wanted]
        return {"clientIDMapping": {"serverID": found[0].id} if found else None}

    def artifact_membership_by_name(self, values: Json) -> Json:
        entity, project, _ = _place(values)
        found = self._artifacts.find(entity, project, values["name"])
        return {"project": {"artifactCollectionMembership": found.membership() if found else None}}

    def artifact_used_by(self, values: Json) -> Json:
        found = self._artifacts.by_id[values["id"]]
        runs = [run.to_graphql() for run in self._runs.all() if run.name in found.used_by]
        return {"artifact": {"usedBy": _connection(runs)}}

    def artifact_created_by(self, values: Json) -> Json:
        found = self._artifacts.by_id[values["id"]]
        (run,) = [run for run in self._runs.all() if run.name == found.run_name]
        return {"artifact": {"createdBy": {"__typename": "Run", **run.to_graphql()}}}

    def artifact_by_id(self, values: Json) -> Json:
        found = self._artifacts.by_id.get(values["id"])
        return {"artifact": found.to_graphql() if found else None}

    def use_artifact(self, values: Json) -> Json:
        artifact = self._artifacts.by_id[values["artifactID"]]
        artifact.used_by.add(values["runName"])
        return {"useArtifact": {"artifact": artifact.to_graphql()}}

    def fetch_artifact_manifest(self, values: Json) -> Json:
        artifact_id = values.get("id") or values.get("artifact_id")
        url = f"{values['_base']}/artifact/{artifact_id}/manifest"
        return {"artifact": {"currentManifest": {"file": {"directUrl": url}}}}

    artifact_manifest = fetch_artifact_manifest

    def artifact_file_urls(self, values: Json) -> Json:
        return {"artifact": {"files": self._artifacts.by_id[values["id"]].file_urls(values["_base"])}}

    def get_artifact_membership_file_urls(self, values: Json) -> Json:
        entity, project, _ = _place(values)
        found = self._artifacts.find(entity, project, f"{values['collection']}:{values['alias']}")
        assert found is not None
        membership = {"artifact": {"id": found.id}, "files": found.file_urls(values["_base"])}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": membership}
        return {"project": {"artifactCollection": collection}}

    def run_output_artifacts(self, values: Json) -> Json:
        name = values.get("run_id") or values.get("runName") or values.get("run")
        nodes = [item.to_graphql() for item in self._artifacts.by_id.values() if item.run_name == name]
        return {"project": {"run": {"outputArtifacts": {"totalCount": len(nodes), **_connection(nodes)}}}}

    def _run(self, values: Json) -> StoredRun | None:
        return self._runs.get(*_place(values))

    def _run_json(self, values: Json) -> Json | None:
        run = self._run(values)
        return run.to_graphql() if run else None

    def _known(self, values: Json) -> StoredRun:
        run = self._run(values)
        assert run is not None, f"no run {_place(values)}"
        return run


# --- the server ------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, backend: "FakeWandb") -> None:
        self.backend = backend
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients vanish and connections are cut here: that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self._body()
        backend = self.server.backend
        if self.path == "/graphql":
            with backend.lock:
                answer = backend.operations.answer(json.loads(body), f"http://{self.headers['host']}")
            self._send(200, json.dumps(answer).encode())
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path):
            with backend.lock:
                backend.store.get_or_create(found[1], found[2], found[3]).take_stream(json.loads(body))
            self._send(200, b'{"limits": {}}')
        else:
            self._send(404)

    def do_PUT(self) -> None:
        body = self._body()
        backend, path = self.server.backend, self.path.partition("?")[0]
        if found := re.fullmatch(r"/artifact/([^/]+)/(?:manifest|files/(.+))", path):
            artifact = backend.artifacts.by_id[found[1]]
            if found[2] is None:
                artifact.manifest = body
            else:
                artifact.files[found[2]] = body
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/(.+)", path):
            backend.store.get_or_create(found[1], found[2], found[3]).files[found[4]] = body
        self._send(200 if found else 404)

    def do_GET(self) -> None:
        backend, path = self.server.backend, self.path.partition("?")[0]
        body: bytes | None = None
        if found := re.fullmatch(r"/artifact/([^/]+)/(?:manifest|files/(.+))", path):
            artifact = backend.artifacts.by_id[found[1]]
            body = artifact.manifest if found[2] is None else artifact.files.get(found[2])
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/(.+)", path):
            run = backend.store.get(found[1], found[2], found[3])
            body = run.files.get(found[4]) if run else None
        self._send(404 if body is None else 200, body or b"", kind="application/octet-stream")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not printed."""

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _send(self, status: int, body: bytes = b"{}", *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class FakeWandb:
    """The backend on a free port of loopback. What it holds survives `stop_answering`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.store = RunStore()
        self.artifacts = ArtifactStore()
        self.operations = Operations(self.store, self.artifacts)
        self._server: _Server | None = None
        self._port = 0
        self.answer_again()

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def runs(self) -> dict[str, StoredRun]:
        """Every run by its id."""
        return {run.name: run for run in self.store.all()}

    def answer_again(self) -> None:
        """Listen on the same port as before."""
        if self._server is None:
            self._server = _Server(self._port, self)
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake-wandb", daemon=True).start()

    def stop_answering(self) -> None:
        """Refuse connections and cut the open ones, as a server that died."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for connection in list(self._server.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None

    close = stop_answering


def serving(folder: Path, environment: Any) -> Iterator[FakeWandb]:
    """The body of a fixture: a backend and an environment in which wandb sees it and nothing of the user's.

    Args:
        folder: takes everything that wandb writes outside of run directories.
        environment: pytest's `monkeypatch`.
    """
    server = FakeWandb()
    for name, value in isolated_environment(folder, server.url).items():
        environment.setenv(name, value)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_SERVICE", "WANDB_RUN_ID", "NETRC"):
        environment.delenv(name, raising=False)
    yield server
    server.close()


def isolated_environment(folder: Path, url: str) -> dict[str, str]:
    """Environment variables that keep wandb inside `folder` and send it to `url`."""
    names = ("HOME", "WANDB_ARTIFACT_DIR", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
    places = {name: folder / name.lower() for name in names}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    settings = {"WANDB_BASE_URL": url, "WANDB_API_KEY": API_KEY, "WANDB_ERROR_REPORTING": "false"}
    return {name: str(place) for name, place in places.items()} | settings


# --- details ---------------------------------------------------------------------------------------------


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _unwrapped(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value else value


def _place(values: Json) -> tuple[str, str, str]:
    """Entity, project and run id, which each operation calls differently."""
    entity = values.get("entity") or values.get("entityName") or ENTITY
    project = values.get("project") or values.get("projectName") or "uncategorized"
    names = ("name", "run", "runName", "runId", "run_id")
    return entity, project, next((values[key] for key in names if values.get(key)), "")


def _merge(into: Json, update: Json) -> None:
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _thinned(rows: list[Json], most: int) -> list[Json]:
    return rows if len(rows) <= most else [rows[index * len(rows) // most] for index in range(most)]


def _connection(nodes: list[Json]) -> Json:
    edges = [{"node": node, "cursor": str(index)} for index, node in enumerate(nodes)]
    return {"edges": edges, "pageInfo": _NO_PAGE}


def _file_nodes(run: StoredRun, names: list[str], base: str) -> list[Json]:
    nodes = []
    for name in names:
        url = f"{base}/files/{run.entity}/{run.project}/{run.name}/{name}"
        node = {
            "id": name,
            "name": name,
            "url": url,
            "directUrl": url,
            "uploadUrl": url,
            "mimetype": "",
            "md5": "",
        }
        nodes.append(node | {"sizeBytes": str(len(run.files.get(name, b""))), "updatedAt": _now()})
    return nodes
