"""Who may publish to the hub, whose a stream is, and who takes it over."""

import hashlib

import pytest

from penstock.hub import access
from penstock.media.plan import Plan, Sink, Source
from penstock.tasks.model import Desired, State, Task
from penstock.tasks.publishing import TICKET, Directory, Ticket, with_tickets
from tests.rtmp_client import Client
from tests.unit.house import CLIP, GONE, SECRET, house

pytestmark = pytest.mark.looptime(noop_cycles=12)

KEY = "5d8a21d5c9"
#: Account 1 is the first; 2 has a domain of its own.
TWO = Directory(first=1, domains={"second.example.com": 2}, push_keys={1: KEY, 2: "other"})


def signed(stream: str, expires: int, key: str = KEY) -> str:
    """A stream name as an encoder's URL carries it (Tencent Cloud CSS)."""
    time = f"{expires:X}"
    return f"{stream}?txSecret={hashlib.md5(f'{key}{stream}{time}'.encode()).hexdigest()}&txTime={time}"


def ticket(epoch: int, *, task: int = 7, account: int = 1, stream: str = "test", secret: bytes = SECRET) -> str:
    """A stream name as a worker publishes it."""
    made = Ticket(account_id=account, task_key=task, epoch=epoch).write(secret, "live", stream)
    return f"{stream}?{TICKET}={made}"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody comes from another machine."""
    monkeypatch.setattr(access, "is_loopback", lambda _: False)


async def reason(client: Client) -> str:
    """Why a publisher was refused; it is closed, too."""
    assert client.codes[-1] == "NetStream.Publish.Denied"
    await client.until_ended()
    return client.descriptions[-1]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test", "txSecret and txTime are needed"),
        ("test?txTime=7FFFFFFF", "txSecret and txTime are needed"),
        (signed("test", 1000, "wrong"), "txSecret is wrong"),
        (signed("other", 1000).replace("other", "test"), "txSecret is wrong"),
        (signed("test", 1000).replace("txTime=3E8", "txTime=3E9"), "txSecret is wrong"),
        (signed("test", 99), "txTime has passed"),
        (f"test?txSecret={hashlib.md5(f'{KEY}testsoon'.encode()).hexdigest()}&txTime=soon", "txTime is no hexadecimal"),
        (ticket(1), "txSecret and txTime are needed"),
    ],
)
async def test_a_stranger_without_a_valid_signature_is_refused(name: str, why: str) -> None:
    """And told why; a worker's ticket is good on loopback only."""
    async with house(now=100) as there:
        there.access.directory = TWO
        assert why in await reason(await there.publish(name))
        assert not there.hub.status().streams


@pytest.mark.usefixtures("elsewhere")
async def test_a_signed_url_publishes_until_its_time() -> None:
    """By the account's key, whose host it is; playing needs no key."""
    async with house(now=100) as there:
        there.access.directory = TWO
        publisher = await there.publish(signed("test", 101))
        assert publisher.codes == ["NetStream.Publish.Start"]
        publisher.send(CLIP.messages())
        player = await there.play()
        await player.until(lambda: player.media)
        assert "txSecret is wrong" in await reason(await there.publish(signed("b", 200), host="second.example.com"))
        second = await there.publish(signed("b", 200, "other"), host="second.example.com")
        assert second.codes == ["NetStream.Publish.Start"]
        assert [(info.account_id, info.stream) for info in there.hub.status().streams] == [(1, "test"), (2, "b")]


@pytest.mark.usefixtures("elsewhere")
async def test_without_a_push_key_nobody_publishes_from_elsewhere() -> None:
    """There is nothing to sign with."""
    async with house() as there:
        assert "no push key" in await reason(await there.publish(signed("test", 1000)))


async def test_streams_of_two_accounts_never_meet() -> None:
    """The same name under two accounts' hosts is two streams, for publishers and players alike."""
    async with house() as there:
        there.access.directory = TWO
        first, second = await there.publish(), await there.publish(host="Second.Example.com.:1935")
        assert first.codes == second.codes == ["NetStream.Publish.Start"]
        first.send(CLIP.messages())
        mine = await there.play()
        await mine.until(lambda: mine.media)
        theirs = await there.play(host="second.example.com")
        second.send(CLIP.messages()[:3])
        await there.until(lambda: [len(info.players) for info in there.hub.status().streams] == [1, 1])
        assert theirs.media == []
        assert (await there.ask(b"HEAD /live/test.flv HTTP/1.1\r\nHost: second.example.com:8081\r\n\r\n")).status == 200
        await second.close()
        await theirs.until_ended()
        gone = await there.ask(b"HEAD /live/test.flv HTTP/1.1\r\nHost: second.example.com:8081\r\n\r\n")
        assert gone.status == 404


# -- workers


async def test_a_later_run_of_a_task_takes_its_stream_over() -> None:
    """At once, from a worker that still holds the connection; players are told, and the old one cannot come back."""
    async with house() as there:
        there.access.directory = TWO
        zombie = await there.publish(ticket(4))
        zombie.send(CLIP.messages())
        player = await there.play()
        await player.until(lambda: player.media)
        heir = await there.publish(ticket(5))
        assert heir.codes == ["NetStream.Publish.Start"]
        await zombie.until_ended()
        await player.until_ended()
        assert player.codes[-2:] == GONE
        heir.send(CLIP.messages())
        again = await there.play()
        await again.until(lambda: again.media)
        assert (await there.publish(ticket(4))).codes == ["NetStream.Publish.BadName"]
        (info,) = there.hub.status().streams
        assert (info.task_key, info.account_id) == (7, 1)


@pytest.mark.parametrize("name", ["test", ticket(4), ticket(5), ticket(6, task=8)])
async def test_nobody_else_takes_a_task_s_stream(name: str) -> None:
    """Not an encoder, not an earlier run, not this run again, not another task."""
    async with house() as there:
        there.access.directory = TWO
        publisher = await there.publish(ticket(5))
        other = await there.publish(name)
        assert other.codes == ["NetStream.Publish.BadName"]
        await other.until_ended()
        publisher.send(CLIP.messages())
        await there.until(lambda: there.hub.status().streams[0].video == 75)


@pytest.mark.parametrize(
    "name",
    [
        ticket(9, secret=b"guessed"),
        ticket(9, stream="mine").replace("mine", "test"),
        ticket(9).replace("1.7.9.", "1.7.10."),
        f"test?{TICKET}=",
        f"test?{TICKET}=1.7.9",
        f"test?{TICKET}=ü.ü",
    ],
)
async def test_a_forged_ticket_is_refused(name: str) -> None:
    """Made without the secret, for another stream, of another epoch, or none at all."""
    async with house() as there:
        publisher = await there.publish(ticket(5))
        assert "the ticket is not one of ours" in await reason(await there.publish(name))
        publisher.send(CLIP.messages())
        await there.until(lambda: there.hub.status().streams[0].video == 75)


async def test_workers_carry_tickets_to_the_hub_alone() -> None:
    """Each sink that is the hub gets one that is good for its stream; others are told nothing."""
    task = Task(
        key=7,
        account_id=3,
        family="pull",
        id="10001",
        spec=b"",
        desired=Desired.ENABLE,
        state=State.STARTING,
        state_at=0,
        revision=1,
        start_at=0,
        end_at=None,
        region="",
        created_at=0,
        created_by="",
        updated_at=0,
        updated_by="",
        owner="w1",
        epoch=2,
        observed=None,
    )
    urls = ("rtmp://localhost/live/test", "rtmp://localhost/a/b/x?k=v", "rtmp://example.com/live/test")
    sinks = tuple(Sink(id=url, url=url) for url in urls)
    plan = Plan(sources=(Source(id="source", url="rtmp://localhost/live/s"),), sinks=sinks)
    admitted = with_tickets(plan, task, SECRET, lambda host, _: host == "localhost")
    plain, deep, outside = (sink.target for sink in admitted.sinks)
    assert [sink.url for sink in admitted.sinks] == list(urls)
    assert (admitted.sources, outside) == (plan.sources, urls[2])
    assert plain.startswith(f"{urls[0]}?{TICKET}=")
    assert deep.startswith(f"{urls[1]}&{TICKET}=")
    expected = Ticket(account_id=3, task_key=7, epoch=2)
    assert Ticket.read(SECRET, plain.rpartition("=")[2], "live", "test") == expected
    assert Ticket.read(SECRET, deep.rpartition("=")[2], "a/b", "x") == expected
