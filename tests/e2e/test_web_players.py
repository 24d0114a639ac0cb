"""What the audience sees in its browser while a task's sources come and go, and from file to file of a channel."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.web_player import WebPlayer
from tests.media import clip, file
from tests.rtmp_peer import OriginThread

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock that may reach loopback."""
    return penstock_server(workers=1)


def assert_plays_on(player: WebPlayer) -> None:
    """Three seconds more, without an error."""
    began = player.time
    until(lambda: player.time > began + 3, what="it plays on")
    assert player.seen["errors"] == []


def test_mpegts_js_plays_on_through_a_change_of_source(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, tmp_path: Path
) -> None:
    """HTTP-FLV from the hub, by a page of another site."""
    task_id = cloud.create(origin.url, f"{server.rtmp}/live/web")
    until(lambda: cloud.run_status(task_id) == "active")
    with WebPlayer("mpegts", f"{server.media}/live/web.flv", tmp_path / "page.png") as player:
        until(lambda: player.time > 1, what="it plays")
        with OriginThread(clip("av"), start=7_000_000) as other:
            cloud.modify(task_id, SourceUrls=[other.url])
            other.until(lambda: other.connections)
            assert_plays_on(player)
        cloud.modify(task_id, SourceUrls=[origin.url])
        assert_plays_on(player)


def test_hls_js_plays_on_through_a_change_of_source(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, tmp_path: Path
) -> None:
    """HLS that nginx-rtmp makes of what the task pushes to it; the other source has another size and rate."""
    folder = tmp_path / "nginx"
    hls = f"hls on; hls_path {folder}/www; hls_fragment 1s; hls_playlist_length 30s;"
    with Nginx(folder, hls, "add_header Access-Control-Allow-Origin *;") as nginx:
        task_id = cloud.create(origin.url, f"{nginx.url}/live/web")
        until((nginx.www / "web.m3u8").exists)
        with WebPlayer("hls", f"{nginx.http_url}/web.m3u8", tmp_path / "page.png") as player:
            until(lambda: player.time > 1, what="it plays")
            with OriginThread(clip("small")) as other:
                cloud.modify(task_id, SourceUrls=[other.url])
                until(lambda: player.seen["sizes"] == ["640x360", "320x180"], what="the other size is seen")
                cloud.modify(task_id, SourceUrls=[origin.url])
                until(lambda: len(player.seen["sizes"]) == 3, what="the first size is seen again")
            assert_plays_on(player)


@pytest.mark.parametrize(
    ("player", "names"),
    [("mpegts", ("av", "mono", "44k")), ("hls", ("plain", "small", "silent", "mono"))],
)
def test_a_channel_plays_on_from_file_to_file(
    server: PenstockServer, cloud: Cloud, tmp_path: Path, player: Literal["mpegts", "hls"], names: Sequence[str]
) -> None:
    """Files whose sound differs, and for HLS also of other sizes and rates and without sound, round after round.

    mpegts.js 1.8.2 takes up to two pictures before a new header for some behind it; a keyframe among them stops it.
    """
    folder = tmp_path / "nginx"
    hls = f"hls on; hls_path {folder}/www; hls_fragment 1s; hls_playlist_length 30s;"
    with Nginx(folder, hls, "add_header Access-Control-Allow-Origin *;") as nginx:
        for name in names:
            shutil.copy(file(name, "mp4", 3), nginx.www / f"{name}.mp4")
        if player == "mpegts":
            to_url, url = f"{server.rtmp}/live/web", f"{server.media}/live/web.flv"
        else:
            to_url, url = f"{nginx.url}/live/web", f"{nginx.http_url}/web.m3u8"
        urls = [f"{nginx.http_url}/{name}.mp4" for name in names]
        task_id = cloud.create("", to_url, SourceType="PullVodPushLive", SourceUrls=urls)
        until(lambda: cloud.run_status(task_id) == "active")
        if player == "hls":
            until((nginx.www / "web.m3u8").exists)
        with WebPlayer(player, url, tmp_path / "page.png") as audience:
            until(lambda: audience.time > 1, what="it plays")
            began = audience.seen
            # More than a round, whichever file it began with.
            until(lambda: audience.time > began["time"] + 15, what="it plays on through all files")
            assert audience.seen["errors"] == []
            assert audience.seen["frames"] - began["frames"] > 15 * 25 * 0.8
            if "small" in names:
                assert {"640x360", "320x180"} <= set(audience.seen["sizes"])
