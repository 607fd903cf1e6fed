"""A W&B server on loopback, as much of it as wandb-core needs to take runs. It remembers what it was told."""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StoredRun:
    upsert: dict[str, Any] = field(default_factory=dict)
    """The merged variables of every UpsertBucket."""
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By line."""
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]

    @property
    def config(self) -> dict[str, Any]:
        return {k: v["value"] for k, v in json.loads(self.upsert["config"]).items() if k != "_wandb"}


class WandbStub:
    """``with WandbStub() as server``: ``server.url``, ``server.requests``, ``server.runs``."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.runs: dict[str, StoredRun] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                reply = json.dumps(stub.answer(self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = do_PUT = do_any  # noqa: N815

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> "WandbStub":
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.startswith("/graphql"):
            query = json.loads(body)
            name = query.get("operationName") or query["query"].split("(")[0].split("{")[0].split()[-1]
            self.requests.append(name)
            data = self.operation(name, query.get("variables") or {})
            return {"data": data} if data is not None else {"errors": [{"message": f"the stub has no {name}"}]}
        self.requests.append(path)
        if path.endswith("/file_stream"):
            self.stream(self.run(path.split("/")[-2]), json.loads(body))
        return {"exitcode": None, "limits": {}}

    def run(self, name: str) -> StoredRun:
        return self.runs.setdefault(name, StoredRun())

    def operation(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        if "iewer" in name:
            flags = {"flags": "{}", "teams": {"edges": []}, "admin": False}
            who = {"id": "u", "entity": "team", "username": "user", "name": "user", "email": "user@example.org"}
            return {"viewer": {**who, **flags}, "serverInfo": {"features": []}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "OrganizationCoreWeaveOrganizationID":
            return {"entity": {"organization": None}}
        if name == "RunResumeStatus":
            return self.resume_status(given["name"])
        if name == "UpsertBucket":
            run = self.run(given["name"])
            run.upsert.update({k: v for k, v in given.items() if v is not None})
            return {"upsertBucket": {"bucket": self.bucket(given["name"]), "inserted": not run.history}}
        if name == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{self.url}/put/{f}"} for f in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        return None

    def bucket(self, name: str) -> dict[str, Any]:
        project = {"id": "p", "name": "crossover", "entity": {"id": "e", "name": "team"}}
        shown = self.run(name).upsert.get("displayName")
        lines = len(self.run(name).history)
        return {"id": name, "name": name, "displayName": shown, "project": project, "historyLineCount": lines}

    def resume_status(self, name: str) -> dict[str, Any]:
        run = self.runs.get(name)
        if run is None:
            return {"model": None}
        tail = json.dumps([json.dumps(run.rows[-1])] if run.rows else [])
        counts = {"historyLineCount": len(run.history), "eventsLineCount": 0, "logLineCount": 0}
        texts = {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": json.dumps(run.summary)}
        bucket = {**self.bucket(name), **counts, **texts, "config": run.upsert.get("config", "{}")}
        bucket |= {"tags": run.upsert.get("tags", []), "wandbConfig": '{"t": 1}'}
        return {"model": {"id": "p", "name": "crossover", "entity": {"id": "e", "name": "team"}, "bucket": bucket}}

    def stream(self, run: StoredRun, body: dict[str, Any]) -> None:
        files = body.get("files") or {}
        chunk = files.get("wandb-history.jsonl", {"content": [], "offset": 0})
        for line, row in enumerate(chunk["content"], chunk["offset"]):
            run.history[line] = json.loads(row)
        for text in files.get("wandb-summary.json", {"content": []})["content"]:
            run.summary = json.loads(text)
        if body.get("complete"):
            run.exit_code = body.get("exitcode")
