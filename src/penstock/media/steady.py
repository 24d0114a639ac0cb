"""The state of a Timeline that only adds a constant to each timestamp."""


class Steady:
    """What it takes to send on messages that need no decision.

    While frames and sounds follow each other as expected, `Timeline` does nothing but add the shifts. Times in ms,
    unwrapped; `last` is input time, `dts` and `end` are the output's; see `penstock.media.lane`.
    """

    __slots__ = (
        *("audio_dts", "audio_end", "audio_last", "audio_shift", "frame", "sound"),
        *("video_dts", "video_end", "video_last", "video_shift"),
    )
    video_shift: int
    video_last: int
    video_dts: int
    video_end: float
    frame: float
    audio_shift: int
    audio_last: int
    audio_dts: int
    audio_end: float
    sound: float
