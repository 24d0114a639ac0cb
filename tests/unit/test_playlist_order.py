"""Which file of a playlist comes when: rounds, where it begins, and what a change does."""

from msgspec.structs import replace

from penstock.media.files.order import Order, Place
from penstock.media.plan import Playlist, Position

LIST = Playlist(id="source", urls=("a", "b", "c"))
OTHER = replace(LIST, urls=("x", "y"))


def played(order: Order, most: int = 10) -> str:
    """The URLs that are played from here on, one after another."""
    urls: list[str] = []
    while order.place is not None and len(urls) < most:
        urls.append(order.url)
        order.advance()
    return "".join(urls)


def test_a_list_is_played_round_by_round() -> None:
    """For ever, or so many times; not at all is possible, too."""
    assert played(Order(LIST)) == "abcabcabca"
    assert played(Order(replace(LIST, rounds=2))) == "abcabc"
    assert played(Order(replace(LIST, rounds=0))) == ""


def test_the_first_round_begins_where_the_list_says() -> None:
    """The others at its beginning; the first one counts as a whole. A file that is not there means the last."""
    order = Order(replace(LIST, rounds=2, start=Position(item=1, offset_ms=7000)))
    assert order.place == Place(0, 1, 7000)
    assert played(order) == "bcabc"
    assert Order(replace(LIST, start=Position(item=9))).place == Place(0, 2)


def test_what_follows_is_known_before_it_begins() -> None:
    """With every file of the list once, in case that some cannot be played, but none behind the last round."""
    order = Order(replace(LIST, rounds=2))
    order.settle(Place(0, 1))
    assert order.from_next() == [(Place(0, 2), "c"), (Place(1, 0), "a"), (Place(1, 1), "b")]
    order.settle(Place(1, 1))
    assert order.from_here() == [(Place(1, 1), "b"), (Place(1, 2), "c")]
    order.settle(Place(1, 2))
    assert order.from_next() == []


def test_another_list_is_taken_up_at_once_and_from_its_beginning() -> None:
    """Unless it is to wait."""
    order = Order(LIST)
    order.advance()
    assert order.change(OTHER)
    assert order.place == Place(0, 0)
    assert played(order, 3) == "xyx"


def test_another_list_may_wait_until_the_current_file_has_ended() -> None:
    """The rest of the old list is dropped."""
    order = Order(LIST)
    assert not order.change(replace(OTHER, finish=True))
    assert (order.url, order.from_next()[0]) == ("a", (Place(0, 0), "x"))
    assert played(order, 4) == "axyx"


def test_a_list_that_waits_may_be_replaced_by_one_that_does_not() -> None:
    """The last word counts."""
    order = Order(LIST)
    order.change(replace(OTHER, finish=True))
    assert order.change(replace(OTHER, urls=("z",)))
    assert played(order, 2) == "zz"


def test_a_new_place_is_gone_to_at_once() -> None:
    """Also in a list that may wait; its rounds begin anew. The same place a second time counts."""
    order = Order(replace(LIST, rounds=2))
    order.settle(Place(1, 0))
    there = replace(LIST, rounds=2, start=Position(item=2, offset_ms=500), moved=1, finish=True)
    assert order.change(there)
    assert order.place == Place(0, 2, 500)
    assert not order.change(there)
    assert order.change(replace(there, moved=2))


def test_more_rounds_wake_a_list_that_was_over_and_fewer_end_it_after_the_round() -> None:
    """While it plays nothing is interrupted."""
    order = Order(replace(LIST, rounds=1))
    assert played(order) == "abc"
    assert order.change(replace(LIST, rounds=2))
    assert played(order) == "abc"
    order = Order(LIST)
    order.advance()
    assert not order.change(replace(LIST, rounds=1))
    assert played(order) == "bc"
