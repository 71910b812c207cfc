"""A stand-in for a hub of models, on the loopback address: as much of its protocol as is needed here."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Models by ``owner/name``, each a dict of files, and the requests that came."""

    def __init__(self, models: dict[str, dict[str, bytes]], token: str | None = None) -> None:
        self.models, self.token, self.asked = models, token, list[str]()
        self.address = ""

    @contextmanager
    def open(self) -> Iterator["Hub"]:
        """Serve until the block ends."""
        hub = self

        class Handler(_Handler):
            served = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, what: str) -> None:
        self.answer(b"", 404, X_Error_Code=f"{what}NotFound", X_Error_Message=f"{what} not found")

    def do_GET(self) -> None:
        self.served.asked.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in self.path.partition("?")[0].strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            files = self.served.models.get("/".join(parts[2:4]))
            if files is None:
                return self.missing("Repo")
            if parts[4:5] == ["tree"]:
                rows = [
                    {"type": "file", "path": name, "size": len(data), "oid": _hash(data)}
                    for name, data in files.items()
                ]
                return self.answer(json.dumps(rows).encode(), Content_Type="application/json")
            found = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            return self.answer(json.dumps(found).encode(), Content_Type="application/json")
        files = self.served.models.get("/".join(parts[:2]), {})
        if (data := files.get("/".join(parts[4:]))) is None:
            return self.missing("Entry")
        return self.answer(data, ETag=f'"{_hash(data)}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.served.asked.append(f"{self.command} {self.path}")
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.served.token and self.headers.get("Authorization") != f"Bearer {self.served.token}":
            return self.answer(b'{"error": "Invalid credentials"}', 401, X_Error_Message="Invalid credentials")
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        if parts == ["api", "repos", "create"]:
            asked = json.loads(sent)
            name = f"{asked['organization']}/{asked['name']}"
            self.served.models.setdefault(name, {})
            body: dict[str, object] = {"url": f"{self.served.address}/{name}", "id": name}
        elif parts == ["api", "validate-yaml"]:
            body = {"errors": [], "warnings": []}
        elif parts[4] == "preupload":
            files = [
                {"path": row["path"], "uploadMode": "regular", "shouldIgnore": False}
                for row in json.loads(sent)["files"]
            ]
            body = {"files": files}
        else:
            for row in map(json.loads, sent.splitlines()):
                if row["key"] == "file":
                    data = base64.b64decode(row["value"]["content"])
                    self.served.models["/".join(parts[2:4])][row["value"]["path"]] = data
            address = f"{self.served.address}/{'/'.join(parts[2:4])}/commit/{COMMIT}"
            body = {"success": True, "commitOid": COMMIT, "commitUrl": address}
        return self.answer(json.dumps(body).encode(), Content_Type="application/json")


def _hash(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
