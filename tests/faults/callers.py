"""Users of the API while things fail: one sees whether it says what is, one changes tasks and remembers the answers."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Self

from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests.e2e.cloud import Cloud, utc
from tests.faults.fleet import Fleet, Relay

#: A task is active if its destination has got a picture within so many seconds.
ACTIVE = 3.0
#: What a picture may need to get there, and its news to be said, in seconds.
GRACE = 0.5
#: An API that has answered after so many seconds only did not answer before.
SLOW = 0.5
#: Seconds between two calls of a caller.
PAUSE = 0.05


class Caller:
    """Does one `call` to the API after the other on a thread of its own, in a `with` block."""

    def __init__(self, cloud: Cloud, call: Callable[[], None]) -> None:
        self._cloud = cloud
        self._call = call
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call_on)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _call_on(self) -> None:
        try:
            while not self._over.wait(PAUSE):
                self._call()
        except Exception as failure:  # noqa: BLE001 - the test shall have it
            self._failure = failure


class Asker(Caller):
    """Asks whether tasks run, and compares the answers with what arrives."""

    def __init__(self, fleet: Fleet, relays: Sequence[Relay]) -> None:
        super().__init__(fleet.client(), self._ask)
        self._fleet, self._relays = fleet, relays
        self._turns = count()
        #: So many answers have been right, without one that was not; and since when (s).
        self.right = 0
        self.right_since = 0.0
        #: The last answer, in words; and those that said of a task that is still that it runs.
        self.last = ""
        self.lies: list[str] = []

    def _ask(self) -> None:
        relay = self._relays[next(self._turns) % len(self._relays)]
        asked = time.monotonic()
        try:
            answer = self._cloud.run_status(relay.task_id)
        except TencentCloudSDKException as error:
            answer = error.get_code()
        answered = time.monotonic()
        still = asked - self._fleet.last(relay, before=answered)
        self.last = f"{answer}, {still:.1f} s after a picture of {relay.name}"
        if answer == "active" and still > ACTIVE + GRACE:
            self.lies.append(self.last)
        elif answer == "active" or (answer == "inactive" and still > GRACE):
            if self.right == 0 or answered - asked > SLOW:
                self.right_since = answered
            self.right += 1
            return
        self.right = 0


class Changer(Caller):
    """Changes, makes and deletes tasks, and remembers what was acknowledged."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.client(), self._change_one)
        self._ids = [relay.task_id for relay in fleet.relays]
        self._turns = count(1)
        #: The comment that each task must have; None: it must be gone.
        self._acknowledged: dict[str, str | None] = {}
        #: What may have been carried out though nobody said so.
        self._doubtful: defaultdict[str, set[str | None]] = defaultdict(set)
        self._made: list[str] = []
        self.acknowledged = 0
        #: The other answers.
        self.codes: set[str] = set()

    def _change_one(self) -> None:
        self._turn(next(self._turns))

    def _turn(self, turn: int) -> None:
        if turn % 5 == 0:
            self._make(str(turn))
        elif turn % 5 == 1 and self._made:
            task_id = self._made.pop()
            self._change(task_id, None, lambda: self._cloud.delete(task_id))
        else:
            task_id = self._ids[turn % len(self._ids)]
            self._change(task_id, str(turn), lambda: self._cloud.modify(task_id, Comment=str(turn)))

    def _make(self, comment: str) -> None:
        try:
            task_id = self._cloud.create(
                "rtmp://127.0.0.1/live/a", "rtmp://127.0.0.1/live/b", StartTime=utc(40000), Comment=comment
            )
        except TencentCloudSDKException as error:
            self.codes.add(error.get_code())
            return
        self._made.append(task_id)
        self._acknowledged[task_id] = comment
        self.acknowledged += 1

    def _change(self, task_id: str, to: str | None, change: Callable[[], None]) -> None:
        try:
            change()
        except TencentCloudSDKException as error:
            self.codes.add(error.get_code())
            self._doubtful[task_id].add(to)
        else:
            self._acknowledged[task_id] = to
            self.acknowledged += 1

    def lost(self) -> dict[str, Any]:
        """The tasks that are not as the API acknowledged: what they are. Asked when all is over."""
        found = comments(self._cloud)
        return {
            task_id: found.get(task_id)
            for task_id, comment in self._acknowledged.items()
            if found.get(task_id) not in {comment, *self._doubtful[task_id]}
        }


def comments(cloud: Cloud) -> dict[str, str]:
    """The comment of every task."""
    found: dict[str, str] = {}
    for page in count(1):
        answer = cloud.call("DescribeLivePullStreamTasks", PageNum=page, PageSize=20)
        found.update((info.TaskId, info.Comment) for info in answer.TaskInfos)
        if page >= answer.TotalPage:
            break
    return found
