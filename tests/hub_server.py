"""A dataset repository on loopback that speaks as much of the Hugging Face hub's protocol as its client asks for."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0" * 40


@dataclass
class Hub:
    """One repository.

    Attributes:
        repository: `owner/name`.
        files: Content by name.
        drop_after: Bytes after which the next transfers break off, in turn; taken from the front.
        ranges: The Range header of each file transfer, None for a whole one.
        endpoint: The address.
    """

    repository: str
    files: dict[str, bytes]
    drop_after: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` from a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            name = path.removeprefix(f"/datasets/{hub.repository}/resolve/").partition("/")[2]
            if path.startswith(f"/datasets/{hub.repository}/resolve/") and name in hub.files:
                self.send_file(hub.files[name], body)
            elif re.fullmatch(f"/api/datasets/{hub.repository}(/revision/[^/]+)?", path):
                siblings = [{"rfilename": name} for name in hub.files]
                self.send_json({"id": hub.repository, "sha": COMMIT, "siblings": siblings})
            elif path.startswith(f"/api/datasets/{hub.repository}/tree/"):
                self.send_json([entry(name, content) for name, content in hub.files.items()])
            else:
                self.send_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

        def send_json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            for key, value in {
                "Content-Type": "application/json",
                "Content-Length": len(text),
                **(headers or {}),
            }.items():
                self.send_header(key, str(value))
            self.end_headers()
            self.wfile.write(text)

        def send_file(self, content: bytes, body: bool) -> None:
            asked = self.headers.get("Range")
            first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            part = content[first:]
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            checksum = hashlib.sha256(content).hexdigest()
            for key, value in {
                "Accept-Ranges": "bytes",
                "Content-Length": len(part),
                "ETag": f'"{checksum}"',
                "X-Linked-Etag": f'"{checksum}"',
                "X-Linked-Size": len(content),
                "X-Repo-Commit": COMMIT,
            }.items():
                self.send_header(key, str(value))
            self.end_headers()
            if not body:
                return
            hub.ranges.append(asked)
            if hub.drop_after:
                self.wfile.write(part[: hub.drop_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(part)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def entry(name: str, content: bytes) -> dict[str, object]:
    return {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
        "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130},
    }
