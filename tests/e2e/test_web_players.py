"""What the audience sees in its browser while a task's sources come and go."""

from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import PenstockServer, ServerFactory, until
from tests.e2e.nginx import Nginx
from tests.e2e.web_player import WebPlayer
from tests.media import clip
from tests.rtmp_peer import OriginThread

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture
def server(penstock_server: ServerFactory) -> PenstockServer:
    """A Penstock that may reach loopback."""
    return penstock_server(workers=1)


def assert_plays_on(player: WebPlayer, cloud: Cloud, task_id: str) -> None:
    """The player goes on through a source of another size, and back."""
    until(lambda: player.time > 2, within=30, what="it plays")
    first = cloud.describe(task_id).SourceUrls[0]
    with OriginThread(clip("small")) as other:
        cloud.modify(task_id, SourceUrls=[other.url])
        until(lambda: player.seen["sizes"] == ["640x360", "320x180"], within=20, what="the other size is seen")
        cloud.modify(task_id, SourceUrls=[first])
        until(lambda: len(player.seen["sizes"]) == 3, within=20, what="the first size is seen again")
    seen = player.seen
    until(lambda: player.seen["frames"] > seen["frames"] + 50, what="it plays on")
    assert player.seen["errors"] == []
    assert player.time > seen["time"] + 1


def test_mpegts_js_plays_on_through_a_change_of_source(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, tmp_path: Path
) -> None:
    """HTTP-FLV from the hub, by a page of another site."""
    task_id = cloud.create(origin.url, "", DomainName="localhost", AppName="live", StreamName="web")
    with WebPlayer("mpegts", f"{server.media}/live/web.flv", tmp_path / "page.png") as player:
        assert_plays_on(player, cloud, task_id)


def test_hls_js_plays_on_through_a_change_of_source(
    server: PenstockServer, cloud: Cloud, origin: OriginThread, tmp_path: Path
) -> None:
    """HLS that nginx-rtmp makes of what the task pushes to it."""
    folder = tmp_path / "nginx"
    hls = f"hls on; hls_path {folder}/www; hls_fragment 1s; hls_playlist_length 10s;"
    with Nginx(folder, hls, "add_header Access-Control-Allow-Origin *;") as nginx:
        task_id = cloud.create(origin.url, f"{nginx.url}/live/web")
        until((nginx.www / "web.m3u8").exists, within=20)
        with WebPlayer("hls", f"{nginx.http_url}/web.m3u8", tmp_path / "page.png") as player:
            assert_plays_on(player, cloud, task_id)
