"""THE table of settings: name, type, default and meaning of each. A section is a class, a setting a field."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `field` does

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from penstock.config.values import (
    Listen,
    Network,
    choice,
    factor,
    listen,
    listen_or_off,
    names,
    networks,
    optional,
    port_range,
    seconds,
    text,
    whole,
)

T = TypeVar("T")


def setting(read: Callable[[str], T], default: str, meaning: str, *, secret: bool = False, served: bool = True) -> T:
    """A row of the table. `served` is False where nothing in this version follows the setting yet."""
    row = {"read": read, "default": default, "meaning": meaning, "secret": secret, "served": served}
    return field(default_factory=lambda: read(default), metadata=row)


def _workers() -> str:
    return str(min(4, len(os.sched_getaffinity(0))))


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    http: Listen = setting(listen, "127.0.0.1:8080", "Where the APIs are served over HTTP")
    https: Listen | None = setting(listen_or_off, "", "Where the APIs are served over HTTPS; empty: nowhere")
    media: Listen = setting(listen, "127.0.0.1:8081", "Where the hub plays streams over HTTP")
    rtmp: Listen = setting(listen, "127.0.0.1:1935", "Where the hub takes and plays streams over RTMP")
    srt: Listen | None = setting(
        listen_or_off, "127.0.0.1:10080", "Where the hub takes and plays streams over SRT", served=False
    )
    workers: int = setting(
        whole(1, 256), _workers(), "How many worker processes run the tasks; one for each core, 4 at most"
    )
    watchdog: float = setting(
        seconds(1, 3600), "10", "A process that is silent for this long is killed and replaced; seconds"
    )


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    rate_limit: float = setting(
        factor, "1", "A factor on how often an account may call each action, as the vendors document it; 0: no limit"
    )
    lists: str = setting(
        choice("nested", "flat"), "nested", "Alibaba Cloud's lists in JSON: nested as its SDKs read them, or flat"
    )


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    allow: tuple[Network, ...] = setting(
        networks, "", "What callers' URLs may reach besides public addresses: networks, separated by commas"
    )


@dataclass(frozen=True, kw_only=True)
class PublicSettings:
    host: str | None = setting(
        optional, "", "This server's name in the addresses it returns; empty: the address it listens on"
    )


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    url: str = setting(
        text,
        "",
        "The database: postgresql://USER:PASSWORD@HOST/NAME or sqlite:///PATH; empty: SQLite in DATA/penstock.db",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class NatsSettings:
    url: str | None = setting(
        optional,
        "",
        "The NATS servers that join machines; empty: none",
        secret=True,
        served=False,
    )


@dataclass(frozen=True, kw_only=True)
class SecuritySettings:
    key: str | None = setting(
        optional,
        "",
        "The key that seals secrets in the database: 32 bytes in base64 or hex; empty: DATA/secret.key",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    certificate: str | None = setting(
        optional, "", "File of the certificate chain for HTTPS, in PEM; empty: one is made in DATA/tls"
    )
    key: str | None = setting(optional, "", "File of the certificate's private key, in PEM, without a passphrase")
    insecure_hosts: tuple[str, ...] = setting(
        names, "", "Hosts whose certificates are not verified over RTMPS and HTTPS, separated by commas"
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    level: str = setting(choice("debug", "info", "warning", "error"), "info", "The least level logged")
    format: str = setting(choice("text", "json"), "text", "How log lines look: text (key=value) or json")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    tick: int = setting(whole(1, 1000), "40", "How often a worker serves its sockets; milliseconds")
    capacity: int = setting(
        whole(1, 100_000),
        "200",
        "How many cost units of tasks one worker runs; a live source costs 1, so do 40 holds, each FFmpeg child 10",
    )


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    tick: int = setting(whole(1, 1000), "10", "How often the hub serves its sockets; milliseconds")
    domains: tuple[str, ...] = setting(
        names, "localhost,hub.penstock", "DomainNames that mean this hub, separated by commas"
    )


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    stall: float = setting(
        seconds(0, 3600),
        "0",
        "A source that is silent for this long is connected anew; seconds, 0: as its own rhythm says, 0.5 to 3",
    )
    return_after: float = setting(
        seconds(0, 86_400),
        "10",
        "How long a source must be healthy before it takes its place from its backup again; seconds",
    )


@dataclass(frozen=True, kw_only=True)
class SinkSettings:
    hold: float = setting(
        seconds(0, 86_400), "30", "How long a destination is held on silent audio without a source; seconds"
    )


@dataclass(frozen=True, kw_only=True)
class SlateSettings:
    mode: str = setting(
        choice("off", "picture", "last"),
        "off",
        "What is shown while a task has no source: off, picture, or last (the last picture that was sent)",
    )
    picture: str | None = setting(
        optional, "", "The file of that picture: PNG, JPEG or what else FFmpeg reads; empty: a pause sign"
    )


@dataclass(frozen=True, kw_only=True)
class MediaSettings:
    ffmpeg: str | None = setting(optional, "", "The FFmpeg program; empty: the one that came with Penstock")


@dataclass(frozen=True, kw_only=True)
class FilesSettings:
    cache: int = setting(
        whole(0, 1_000_000), "10", "How much DATA/cache/files holds of the MP4 files that are played locally; GiB"
    )
    transcode: str = setting(
        choice("on", "off"), "on", "Whether a file is encoded anew whose codec is not that of the first in its list"
    )


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    port_range: range = setting(
        port_range, "20000-20999", "Ports that flows' inputs and outputs listen on", served=False
    )


@dataclass(frozen=True, kw_only=True)
class PreloadSettings:
    rate: int = setting(
        whole(1, 10_000), "100", "How many streams a worker begins to warm on edges each second, at most"
    )
    pulls: int = setting(
        whole(1, 10_000), "20", "How many edges a worker makes fetch streams from one origin at once, at most"
    )
    hls: str = setting(choice("on", "off"), "on", "Whether HLS may be preloaded, which the vendor does not do")


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    max_task_days: int = setting(whole(0, 36_500), "30", "The longest span of a live pull task; days, 0: no limit")
    task_limit: int = setting(
        whole(0, 10_000_000), "20", "Live pull tasks that a new account may have at once (LimitTaskNum)"
    )
