"""`make demo`: a real relay, driven by the official Tencent Cloud SDK, that survives its source and its worker.

Starts Penstock on its embedded defaults (ports chosen by the system, a temporary DATA), publishes a moving test
picture, creates a pull task, breaks things, and saves a picture decoded at the destination. On a terminal it goes
on until Ctrl-C; otherwise it ends by itself. Exit code 1 and one line if anything is not as promised.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import imageio_ffmpeg
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import live_client, models

PENSTOCK = Path(sys.executable).with_name("penstock")
PICTURE = Path("penstock-demo.png")
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
#: How long a step may take on the slowest machine, in seconds.
PATIENCE = 60

console = Console()


class DemoFailed(Exception):
    """Something was not as promised."""


class Server:
    """A Penstock of our own, as a user would start it."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._ready_file = folder / "ready.json"
        self._log = (folder / "penstock.log").open("wb")
        ports = ("--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--srt", "127.0.0.1:0")
        self._process = subprocess.Popen(
            [PENSTOCK, "serve", "--data", self._data, "--ready-file", self._ready_file, "--workers", "2", *ports],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        until(self._is_ready, "Penstock is ready")

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            log = Path(self._log.name).read_text(errors="replace").strip().splitlines()
            raise DemoFailed(f"Penstock did not start: {log[-1] if log else 'it said nothing'}")
        return self._ready_file.exists()

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file: where everything is, and the process ids."""
        found: dict[str, Any] = json.loads(self._ready_file.read_text())
        return found

    def command(self, *words: str) -> Any:
        """What `penstock WORDS --json` prints."""
        done = subprocess.run(
            [PENSTOCK, *words, "--data", self._data, "--json"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DemoFailed(done.stderr.strip() or f"penstock {words[0]} failed")
        return json.loads(done.stdout)

    def process_of(self, incarnation: str) -> int:
        """The process id of a worker: its lock file holds it."""
        return int((self._data / "run" / f"{incarnation}.lock").read_text())

    def stop(self) -> None:
        """Let it drain."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Camera:
    """A live source: FFmpeg publishes a moving test picture with a tone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to publish."""
        picture = ["-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
        sound = ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"]
        video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-b:v", "1M"]
        encode = [*video, "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", "-f", "flv", self._url]
        self._process = subprocess.Popen([*FFMPEG, *picture, *sound, *encode], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Show:
    """What goes on, on the screen: a live table on a terminal, else a line per step."""

    def __init__(self, server: Server, task_id: str, where: dict[str, str]) -> None:
        self._server = server
        self._task_id = task_id
        self._where = where
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.task: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, step: str) -> None:
        """Name what happens now."""
        tell(f"[bold]»[/] {step}")
        self.refresh()

    def refresh(self) -> None:
        """Ask how the task does, and show it."""
        self.task = self._server.command("task", "show", self._task_id)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def wait(self, condition: Callable[[dict[str, Any]], bool], promise: str) -> None:
        """Show how the task does until `condition` holds of it."""

        def holds() -> bool:
            self.refresh()
            return condition(self.task)

        until(holds, promise)
        if self._live is None:
            tell("  " + ", ".join(f"{name} {value}" for name, value in self._facts() if value))

    def _facts(self) -> list[tuple[str, str]]:
        task = self.task
        return [
            ("state", task["state"]),
            ("media time", f"{task['media_ms'] / 1000:.1f} s"),
            ("bitrate", f"{task['bitrate'] / 1e6:.2f} Mbit/s"),
            ("uptime", f"{task['uptime_s']} s"),
            ("epoch", str(task["epoch"])),
            ("error", task["error"]),
        ]

    def _table(self) -> Table:
        table = Table(show_header=False, min_width=80)
        colour = {"active": "green", "inactive": "red"}.get(self.task["state"], "yellow")
        for name, value in [("task", self._task_id), *self._facts(), *self._where.items()]:
            table.add_row(name, f"[{colour}]{value}[/]" if name == "state" else value or "-")
        return table


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder, running(Server(Path(folder))) as server:
            demonstrate(server)
    except DemoFailed as error:
        tell(f"[red]demo: {escape(str(error))}[/]")
        return 1
    except TencentCloudSDKException as error:
        tell(f"[red]demo: the API answered {escape(f'{error.get_code()}: {error.get_message()}')}[/]")
        return 1
    except KeyboardInterrupt:
        tell("stopped")
    return 0


def demonstrate(server: Server) -> None:
    """A relay from creation to the picture at its end."""
    ready = server.ready
    keys = server.command("account", "create", "demo")
    client = live_client.LiveClient(
        credential.Credential(keys["secret_id"], keys["secret_key"]),
        "ap-singapore",
        ClientProfile(httpProfile=HttpProfile(endpoint=ready["http"].removeprefix("http://"), protocol="http")),
    )
    source, watch = f"{ready['rtmp']}/live/camera", f"{ready['media']}/live/relayed.flv"
    where = {"source": source, "watch (RTMP)": f"{ready['rtmp']}/live/relayed", "watch (HTTP-FLV)": watch}
    camera = Camera(source)
    camera.start()
    try:
        task_id = create_task(client, source)
        with Show(server, task_id, where) as show:
            break_things(server, camera, show)
            save_picture(watch)
            show.say(f"a picture from the destination is in {PICTURE}")
            ask(client, task_id)
            if console.is_terminal:
                tell(f"The demo goes on until Ctrl-C. Watch it: ffplay {where['watch (RTMP)']}")
                while True:
                    show.refresh()
                    time.sleep(1)
    finally:
        camera.kill()
    what_next()


def create_task(client: live_client.LiveClient, source: str) -> str:
    """What a user's own code does: nothing here knows of Penstock but the endpoint."""
    now = time.time()
    request = models.CreateLivePullStreamTaskRequest()
    request.SourceType = "PullLivePushLive"
    request.SourceUrls = [source]
    request.DomainName, request.AppName, request.StreamName = "localhost", "live", "relayed"
    request.StartTime = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    request.EndTime = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 7 * 86400))
    request.Operator = "demo"
    task_id: str = client.CreateLivePullStreamTask(request).TaskId
    tell(f"[bold]»[/] CreateLivePullStreamTask through the official SDK: TaskId {task_id}")
    return task_id


def break_things(server: Server, camera: Camera, show: Show) -> None:
    """Kill the source, then the worker; the task must recover from both."""
    show.say("the relay starts")
    show.wait(lambda task: task["state"] == "active" and task["media_ms"] > 2000, "media flows to the destination")
    show.say("the source is killed; its destination stays connected, on silence")
    camera.kill()
    show.wait(lambda task: "source" in task["error"], "the task says that its source is gone")
    show.say("the source comes back")
    camera.start()
    before = show.task["media_ms"]
    show.wait(lambda task: not task["error"] and task["media_ms"] > before + 1500, "the relay goes on")
    show.say("the worker that runs the task is killed with SIGKILL")
    epoch = show.task["epoch"]
    os.kill(server.process_of(show.task["owner"]), signal.SIGKILL)
    show.wait(
        lambda task: task["epoch"] > epoch and task["state"] == "active" and task["media_ms"] > 1000,
        "another worker takes the task over",
    )


def save_picture(url: str) -> None:
    """Decode one frame of what viewers get."""
    command = [*FFMPEG, "-y", "-i", url, "-frames:v", "1", "-update", "1", str(PICTURE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode or not PICTURE.exists():
        raise DemoFailed(f"no picture could be decoded at the destination: {done.stderr.strip()[-200:]}")


def ask(client: live_client.LiveClient, task_id: str) -> None:
    """Have the API tell how the task does."""
    request = models.DescribeLivePullStreamTasksRequest()
    request.TaskId = task_id
    [info] = client.DescribeLivePullStreamTasks(request).TaskInfos
    pulled = info.RecentPullInfo
    if info.ErrorInfo or not pulled or not pulled.FileUrl:
        raise DemoFailed(f"DescribeLivePullStreamTasks does not say that the task is well: {info.ErrorInfo!r}")
    tell(
        f"[bold]»[/] DescribeLivePullStreamTasks: Status {info.Status}, pulling {pulled.FileUrl}, "
        f"{pulled.OffsetTime} s of media since the new worker began, reported at {pulled.ReportTime}"
    )


def what_next() -> None:
    """Say what to try."""
    tell(
        "\nTry next:\n"
        "  .venv/bin/penstock serve                  your own server, its DATA in ./penstock-data\n"
        "  .venv/bin/penstock account create NAME    keys for your code; change its endpoint, nothing else\n"
        "  .venv/bin/penstock task list              how the tasks do\n"
        "  less README.md                            the same with your own streams"
    )


def tell(text: str) -> None:
    """Print a line as it is, however narrow the terminal."""
    console.print(text, soft_wrap=True, highlight=False)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Stop the server at the end."""
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], bool], promise: str) -> None:
    """Wait until `condition` holds, or fail."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"not within {PATIENCE} s: {promise}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
