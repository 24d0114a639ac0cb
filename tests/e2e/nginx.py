"""A real nginx with its RTMP module, on ports that the system chooses."""

import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.e2e.running import until
from tests.parts import nginx_rtmp

_CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
rtmp {{ server {{ listen 127.0.0.1:{port}; {rtmp} application live {{ live on; {more} }} }} }}
http {{
  access_log {folder}/access.log;
  {all_http}
  types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
  server {{ listen 127.0.0.1:{http_port}; root {folder}/www; {http} }}
}}
"""


class Nginx:
    """Runs while the block lasts; its application is ``live``, with `more` in its configuration.

    It serves `www` over HTTP, with `http` in that server's configuration; `rtmp` stands in that of the RTMP server,
    `all_http` in what holds for all servers of HTTP.
    """

    def __init__(self, folder: Path, more: str = "", http: str = "", *, rtmp: str = "", all_http: str = "") -> None:
        self._program, self._module = nginx_rtmp()
        self._folder, self._more, self._http = folder, more, http
        self._rtmp, self._all_http = rtmp, all_http
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self.http_port = 0
        self.www = folder / "www"

    @property
    def pid(self) -> int:
        """Its one process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is, without an application."""
        return f"rtmp://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Where `www` is."""
        return f"http://127.0.0.1:{self.http_port}"

    def __enter__(self) -> Self:
        self.www.mkdir(parents=True, exist_ok=True)
        # Another process may take the port between the choice and nginx's bind: then a new one is chosen.
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as probe, socket.create_server(("127.0.0.1", 0)) as other:
                self.port, self.http_port = probe.getsockname()[1], other.getsockname()[1]
            if self._start():
                return self
        raise AssertionError((self._folder / "error.log").read_text())

    def _start(self) -> bool:
        configuration = self._folder / "nginx.conf"
        values = {"module": self._module, "folder": self._folder, "port": self.port, "more": self._more}
        values |= {"http_port": self.http_port, "http": self._http, "rtmp": self._rtmp, "all_http": self._all_http}
        configuration.write_text(_CONFIGURATION.format(**values), encoding="utf-8")
        process = self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", self._program, "-p", self._folder, "-c", configuration],
            stderr=subprocess.DEVNULL,
        )
        return until(lambda: self._answers() or process.poll() is not None) and process.poll() is None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
