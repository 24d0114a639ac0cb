"""PostgreSQL goes away, or hangs, under a running server: streams go on, the API says so, and nothing is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.postgres import serve_on
from tests.media import clip
from tests.postgresql import PostgresServer
from tests.rtmp_peer import OriginThread, SinkThread

#: Seconds within which a call is answered, whatever the database does; and without a picture: less than an outage
#: would hold up a worker that waited for the database, more than a busy machine does.
PATIENCE, GAP = 10.0, 3.0


@pytest.fixture
def server(penstock_server: ServerFactory, postgres_server: PostgresServer) -> Iterator[PenstockServer]:
    with postgres_server.database() as name:
        yield serve_on(penstock_server, postgres_server, name)


def client(server: PenstockServer) -> Cloud:
    keys = server.account("first")
    return Cloud(server.http, keys["secret_id"], keys["secret_key"])


def code(call: Callable[[], object]) -> str:
    """The error code of a call; empty: it was carried out."""
    try:
        call()
    except TencentCloudSDKException as error:
        return str(error.get_code())
    return ""


class Changer:
    """Changes a task's comment again and again, and knows which it may have now."""

    def __init__(self, cloud: Cloud, task_id: str) -> None:
        self._cloud, self._task_id = cloud, task_id
        self.possible = {""}
        self.acknowledged = 0

    def change(self, comment: str) -> None:
        if code(lambda: self._cloud.modify(self._task_id, Comment=comment)):
            self.possible.add(comment)
        else:
            self.possible = {comment}
            self.acknowledged += 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        over = threading.Event()

        def work() -> None:
            for number in count(1):
                self.change(str(number))
                if over.wait(0.1):
                    return

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(("how", "seconds"), [("stop", 20), ("freeze", 10)])
def test_an_outage_stops_no_stream_and_loses_nothing_acknowledged(
    server: PenstockServer, postgres_server: PostgresServer, how: str, seconds: float
) -> None:
    fail, mend = {
        "stop": (postgres_server.stop, postgres_server.start),
        "freeze": (postgres_server.freeze, postgres_server.thaw),
    }[how]
    cloud, answers = client(server), set[str]()
    with OriginThread(clip("av")) as origin, SinkThread() as sink:
        task_id = cloud.create(origin.url, f"{sink.url}?key=hush")
        sink.until(lambda: len(sink.connections) == 1 and len(sink.connections[0].frames) > 50)
        owner = server.task(task_id, "first")["owner"]
        changer = Changer(client(server), task_id)
        with changer.at_work():
            until(lambda: changer.acknowledged > 5, what="changes are made")
            went = time.monotonic()
            fail()
            try:
                idle = next(path for path in (server.data / "run").glob("w-*.lock") if path.stem != owner)
                dead = int(idle.read_text())
                server.kill("worker", server.pids["workers"].index(dead))
                until(lambda: server.get("/readyz")[0] == 503, what="the server says that it is not ready")
                while time.monotonic() < went + seconds:
                    answers.add(code(lambda: cloud.describe(task_id)))
                    answers.add(code(lambda: cloud.create(origin.url, "rtmp://127.0.0.1:1/live/never")))
                    time.sleep(0.2)
                assert server.get("/healthz")[0] == 200
            finally:
                mend()
            before = changer.acknowledged
            until(lambda: changer.acknowledged > before + 5, what="changes are made again")

        until(lambda: server.get("/readyz")[0] == 200, what="the server is ready again")
        server.until_replaced(dead)
        assert answers == {"InternalError"}
        assert server.slowest_call() < PATIENCE
        assert cloud.describe(task_id).Comment in changer.possible
        task: Any = server.task(task_id, "first")
        assert (task["owner"], task["epoch"]) == (owner, 1)
        frames = [frame.at for frame in sink.connections[0].frames]
        assert len(sink.connections) == 1
        assert max(after - one for one, after in pairwise(frames)) < GAP
        later = cloud.create(origin.url, f"{sink.url}-later")
        sink.until(lambda: len(sink.connections) == 2 and len(sink.connections[1].frames) > 25)
        until(lambda: not cloud.describe(later).ErrorInfo)
    assert "Traceback" not in server.log
