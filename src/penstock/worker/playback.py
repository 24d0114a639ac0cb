"""Where a playlist is, from the media's words to the model's, and back when a run goes on where another was."""

from penstock.log import mask_url
from penstock.media.files.order import Place
from penstock.media.plan import Plan, Playlist
from penstock.media.relay import Relay
from penstock.tasks.model import Playback


def playback_of(plan: Plan, relay: Relay) -> Playback | None:
    """Where the first playlist is; after its last round: where another one would begin. None: there is none."""
    playlist = _playlist(plan)
    if playlist is None:
        return None
    if relay.finished:
        return Playback(
            item=0,
            url=mask_url(playlist.url),
            offset_ms=0,
            duration_ms=None,
            rounds=playlist.rounds or 0,
            next_url="",
            moved=playlist.moved,
        )
    progress = relay.progress
    if progress is None:
        return None
    return Playback(
        item=progress.place.item,
        url=mask_url(progress.url),
        offset_ms=progress.place.offset_ms,
        duration_ms=progress.duration_ms,
        rounds=progress.place.rounds,
        next_url=mask_url(progress.next_url),
        moved=progress.moved,
    )


def resumption(plan: Plan, playback: Playback | None) -> Place | None:
    """Where a playlist goes on after an earlier run; None: where the list says."""
    playlist = _playlist(plan)
    if playlist is None or playback is None or playback.moved != playlist.moved:
        return None
    if playback.item >= len(playlist.urls) or mask_url(playlist.urls[playback.item]) != playback.url:
        return None
    return Place(playback.rounds, playback.item, playback.offset_ms)


def _playlist(plan: Plan) -> Playlist | None:
    return next((source for source in plan.sources if isinstance(source, Playlist)), None)
