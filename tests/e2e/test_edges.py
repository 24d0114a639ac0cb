"""Edge nodes in the configuration file, as an operator meets them."""

import json
import signal

from tests.e2e.conftest import PenstockServer, ServerFactory, until

NORTH = '[[edge]]\nname = "north"\narea = "domestic"\nrtmp = "10.0.0.1"\nquery = "token=s3cret"\n'
SOUTH = '[[edge]]\nname = "south"\narea = "overseas"\nhttp = "10.0.0.2:8080"\n'


def origins(server: PenstockServer) -> dict[str, str]:
    """Who registered each edge."""
    return {edge["name"]: edge["origin"] for edge in json.loads(server.command("edge", "list", "--json").stdout)}


def test_edges_of_the_file_are_read_at_the_start_and_at_sighup(penstock_server: ServerFactory) -> None:
    server = penstock_server(workers=1, start=False)
    file = server.data / "penstock.toml"
    file.write_text(NORTH)
    server.start()
    server.command("edge", "add", "east", "--area", "global", "--rtmp", "10.0.0.3")
    assert origins(server) == {"east": "command", "north": "file"}
    assert "s3cret" not in server.command("edge", "list").stdout
    refused = server.command("edge", "remove", "north", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("penstock: The edge 'north' is in the configuration file: take it out there")

    file.write_text(SOUTH)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: origins(server) == {"east": "command", "south": "file"}, what="SIGHUP reads the file")
    # What cannot be used is said, and what was there stays; nothing dies of it.
    file.write_text(SOUTH + NORTH.replace("10.0.0.1", "h:x"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: f"edge 'north' (from {file}): rtmp: " in server.log, what="the bad edge is told")
    assert origins(server) == {"east": "command", "south": "file"}
    assert server.get("/readyz")[0] == 200
    server.stop()

    refusal = server.command("serve", "--http", "127.0.0.1:0", check=False)
    assert refusal.returncode == 1
    assert f"penstock: edge 'north' (from {file}): rtmp: 'h:x' cannot be used" in refusal.stderr
