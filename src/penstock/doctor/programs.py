"""Programs and libraries that Penstock uses."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

from penstock.doctor.finding import Finding

#: Seconds that a program may take to say what it is.
PATIENCE = 10.0
#: What conversions ask of FFmpeg, by the option that lists it.
ABILITIES = {
    "-protocols": ("https", "httpproxy", "crypto", "srt", "rist", "rtp"),
    "-demuxers": ("hls", "rtsp", "mov", "mpegts", "flv"),
    "-muxers": ("flv", "mpegts", "rtsp", "whip"),
    "-encoders": ("libx264", "aac", "libopus"),
}
#: Debian's two builds of libsrt; both speak the same.
LIBSRT = ("libsrt.so.1.5", "libsrt-gnutls.so.1.5")
LIBSRT_VERSIONS = range(0x010500, 0x010600)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def ffmpeg(program: Path) -> Finding:
    """Whether it runs, and can do what conversions need."""
    advice = "leave media.ffmpeg empty: Penstock brings an FFmpeg that can"
    try:
        version = re.search(r"ffmpeg version (\S+)", _run(program, "-version"))
        listed = {option: set(re.split(r"[\s,]+", _run(program, "-hide_banner", option))) for option in ABILITIES}
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Finding.fail("ffmpeg", f"{program} does not run: {reason}", advice)
    if version is None:
        return Finding.fail("ffmpeg", f"{program} is not FFmpeg", advice)
    lacking = dict.fromkeys(name for option, names in ABILITIES.items() for name in names if name not in listed[option])
    if lacking:
        return Finding.warn("ffmpeg", f"{program}, version {version[1]}, lacks {', '.join(lacking)}", advice)
    return Finding.ok("ffmpeg", f"{program}, version {version[1]}")


def libsrt() -> Finding:
    """Whether there is one that we know."""
    advice = "for SRT: apt-get install libsrt1.5-openssl"
    for name in (*filter(None, [os.environ.get("SRT_LIBRARY")]), *LIBSRT):
        try:
            version = ctypes.CDLL(name).srt_getversion()
        except (OSError, AttributeError):
            continue
        words = ".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0))
        if version in LIBSRT_VERSIONS:
            return Finding.ok("libsrt", f"{name}, version {words}")
        return Finding.warn("libsrt", f"{name} has version {words}, and 1.5 is needed", advice)
    return Finding.warn("libsrt", "is not there", advice)


def chromium() -> Finding:
    """Whether there is one, and runs."""
    advice = "for whiteboards: apt-get install chromium"
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        return Finding.warn("chromium", "is not there", advice)
    try:
        version = _run(Path(program), "--version").strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding.warn("chromium", f"{program} does not run: {error}", advice)
    return Finding.ok("chromium", f"{program}, {version}")


def _run(program: Path, *arguments: str) -> str:
    """What it prints. Raise `OSError` or `subprocess.SubprocessError` unless it ends well, in time."""
    done = subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=True
    )
    return done.stdout.decode(errors="replace")
