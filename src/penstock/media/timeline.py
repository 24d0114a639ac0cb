"""Timestamps of one output whose sources come, go and jump: the Timeline.

All times are milliseconds on the output's own clock, unwrapped (an int that only grows; the writer takes it
modulo 2^32). The rules, measured on real receivers:

* One offset serves both kinds, so a source's own A/V relation is kept. It is fixed at the source's first
  keyframe K: K's PTS lands where the last picture ended; if the old sound runs more than 1 s past that, where
  the sound ended. A stream without pictures is fixed on its first sound.
* DTS rises strictly per kind. A frame that would not is sent 1 ms after its predecessor and its composition
  time grows by as much, so that its PTS stays ("squeeze").
* Sound older than K, or overlapping sound already sent, is dropped; a hole is filled with silence.
* Both tracks are there from the first packet: a source without sound gets a silent AAC track.
* Codec headers and metadata are sent when they differ from those last sent.
* A clock that steps by less than -1 s or more than +2 s inside a source goes on as if it had not; its relation to
  the other kind's clock is kept where there is one.
"""

from collections.abc import Callable

from penstock.media.clocks import MAX_FILL, MAX_STEP_BACK, MAX_STEP_FORWARD, Clocks
from penstock.media.headers import Emit, Headers
from penstock.media.packet import (
    AUDIO,
    DATA,
    DEFAULT_AUDIO_HEADER,
    VIDEO,
    Kind,
    composition_time,
    track_of,
    with_composition_time,
)
from penstock.media.steady import Steady

#: How far the sound may lag behind the picture before silence takes its place, if the source announced sound.
SOUND_PATIENCE = 1000
#: Sound that arrives before the first keyframe is kept, up to this many messages.
MAX_EARLY = 200
#: … and bytes.
MAX_EARLY_BYTES = 16 << 20
#: How long the first keyframe of a new output may wait for the source's audio header.
HEADER_PATIENCE = 500


class Timeline:
    """Splices the messages of one source after another into one continuous stream.

    `emit` receives the output. `on_break` is called with a reason when the next header cannot follow on this
    connection (another codec, another AAC configuration), before it is emitted: receivers must connect anew. A step
    of a source's clock by more than `longest_step` is a jump, unless nothing came for as long before it: `pause`, in ms
    of the wall clock.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        on_break: Callable[[str], None] = lambda _: None,
        longest_step: int = MAX_STEP_FORWARD,
        pause: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._longest_step = longest_step
        self._emit = emit
        self._pause = pause
        self._headers = Headers(emit, on_break)
        # The output.
        self._video_dts: int | None = None
        self._video_end: float | None = None
        self._audio_dts: int | None = None
        self._audio_end: float | None = None
        #: Newest DTS of other tracks than the first, by `track_of`.
        self._extra_dts: dict[tuple[int, int], int] = {}
        self.squeezed = 0
        self.silent = 0
        self.dropped = 0
        self._steady: Steady | None = None
        self.switch()

    def switch(self, clocks: Clocks | None = None) -> None:
        """Begin a new source: what comes next is spliced to what was sent.

        `clocks` are its own, if it has been followed before; they go on to be.
        """
        self._settle()
        self._headers.switch()
        self._offset: int | None = None
        self._key_pts: int | None = None
        self._early: list[tuple[int, int, bytes, Kind]] = []
        self._clocks = Clocks(self._longest_step) if clocks is None else clocks
        self._has_own_sound = False

    @property
    def end(self) -> float | None:
        """Where the output ends now, in ms; None before the first message."""
        self._settle()
        ends = [end for end in (self._video_end, self._audio_end) if end is not None]
        return max(ends) if ends else None

    @property
    def jumps(self) -> int:
        """How often clocks of the source on air have jumped."""
        return self._clocks.jumps

    @property
    def picture_end(self) -> float | None:
        """Where the output's pictures end now, in ms; None before the first."""
        self._settle()
        return self._video_end

    @property
    def delay(self) -> int:
        """How much later than decoded a picture is shown that follows the newest by one frame, in ms."""
        self._settle()
        if self._video_end is None or self._video_dts is None:
            return 0
        return max(0, round(self._video_end - self.frame) - self._video_dts)

    @property
    def frame(self) -> float:
        """How long a picture is shown, in ms."""
        self._settle()
        return self._clocks[VIDEO].step

    @property
    def can_be_silent(self) -> bool:
        """Whether silence can follow the sound that was sent, over the same connection."""
        self._settle()
        return self._audio_end is None or self._headers.silence is not None

    @property
    def on_air(self) -> bool:
        """Whether the current source has begun to flow out."""
        return self._offset is not None

    def push(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        """Take one message of the source on air; `timestamp` is modulo 2^32."""
        self._settle()
        if not (kind is Kind.FRAME or kind is Kind.SOUND or kind is Kind.KEYFRAME):
            self._take_other(type_, timestamp, payload, kind)
            return
        time = self._clocks.take(type_, timestamp, self._pause)
        if self._offset is not None:
            self._send(type_, time, payload, kind)
        elif self._may_begin(type_, time, kind):
            self._begin(type_, time, payload, kind)
        else:
            self._keep(type_, time, payload, kind)

    def _take_other(self, type_: int, timestamp: int, payload: bytes, kind: Kind) -> None:
        """Take what is no picture or sound of the first track."""
        if kind is Kind.HEADER:
            if self._headers.announced.get(type_, payload) != payload:
                self._early = [message for message in self._early if message[0] != type_]  # they want the one before
            self._headers.announced[type_] = payload
            if type_ == AUDIO:
                self._clocks.announce(payload)
        elif kind is Kind.METADATA:
            self._headers.metadata = payload
        elif kind is Kind.EXTRA_HEADER:
            self._headers.announce_extra(type_, payload)
        elif kind is Kind.EXTRA:
            self._take_extra(type_, timestamp, payload)
        elif kind is Kind.SCRIPT and self._offset is not None and (end := self.end) is not None:
            self._emit(DATA, int(end), payload, kind)

    def hold(self, until: float) -> None:
        """Let the output go on up to `until` (ms), while no source is on air: in silence, if its codec has any."""
        self._settle()
        if self._audio_end is None:
            return
        self._fill(until)
        if self._headers.silence is None:
            self._audio_end = max(self._audio_end, until)

    def stand(self, until: float) -> None:
        """Let the last picture stand until then (ms on the output's clock), if it would end sooner."""
        self._settle()
        if self._video_end is not None:
            self._video_end = max(self._video_end, until)

    def rewind(self) -> None:
        """Let the output's clock begin again at 0; what follows is meant for receivers that connect anew."""
        self._settle()
        back = min((dts for dts in (self._video_dts, self._audio_dts) if dts is not None), default=0)
        self._video_dts = None if self._video_dts is None else self._video_dts - back
        self._video_end = None if self._video_end is None else self._video_end - back
        self._audio_dts = None if self._audio_dts is None else self._audio_dts - back
        self._audio_end = None if self._audio_end is None else self._audio_end - back
        self._offset = None if self._offset is None else self._offset - back
        self._extra_dts.clear()

    # -- for the shortcut

    def steady(self) -> Steady | None:
        """Return where things stand if both kinds flow and nothing is pending; else None.

        Whoever gets it may move it on until anything else is asked of this Timeline.
        """
        if self._steady is not None:
            return self._steady
        video, audio = self._clocks[VIDEO], self._clocks[AUDIO]
        if (
            self._offset is None
            or not self._clocks.settled
            or video.last is None
            or audio.last is None
            or not video.known
            or self._video_dts is None
            or self._video_end is None
            or self._audio_dts is None
            or self._audio_end is None
            or self._early
            or not self._has_own_sound
            or not self._headers.settled
            or (self._key_pts is not None and audio.last < self._key_pts)
        ):
            return None
        now = self._steady = Steady()
        now.video_shift = self._offset + video.skip
        now.audio_shift = self._offset + audio.skip
        now.video_last, now.video_dts, now.video_end = video.last - video.skip, self._video_dts, self._video_end
        now.audio_last, now.audio_dts, now.audio_end = audio.last - audio.skip, self._audio_dts, self._audio_end
        now.frame, now.sound = video.step, self._headers.sound
        return now

    def _settle(self) -> None:
        """Take over from whoever moved the steady state on."""
        now, self._steady = self._steady, None
        if now is None:
            return
        video, audio = self._clocks[VIDEO], self._clocks[AUDIO]
        video.last, audio.last = now.video_last + video.skip, now.audio_last + audio.skip
        self._video_dts, self._video_end = now.video_dts, now.video_end
        self._audio_dts, self._audio_end = now.audio_dts, now.audio_end
        video.step = now.frame

    # -- the splice

    def _may_begin(self, type_: int, time: int, kind: Kind) -> bool:
        if kind is Kind.KEYFRAME:
            first_output = not self._headers.sent
            return not first_output or AUDIO in self._headers.announced or not self._sound_expected(time)
        return kind is Kind.SOUND and not self._picture_expected()

    def _sound_expected(self, time: int) -> bool:
        """Whether a new output should wait for the source's sound before it begins."""
        told = self._headers.metadata
        if told is not None and b"videocodecid" in told and b"audiocodecid" not in told:
            return False
        first = next((t for type_, t, _, kind in self._early if kind is Kind.KEYFRAME), time)
        return time - first < HEADER_PATIENCE

    def _picture_expected(self) -> bool:
        if VIDEO in self._headers.announced or self._clocks[VIDEO].last is not None:
            return True
        told = self._headers.metadata
        if told is not None and b"audiocodecid" in told:
            return b"videocodecid" in told or b"width" in told
        return len(self._early) < MAX_EARLY

    def _keep(self, type_: int, time: int, payload: bytes, kind: Kind) -> None:
        """Hold what comes before the source may begin: sound, and pictures since a keyframe that waits."""
        waiting = any(kind is Kind.KEYFRAME for _, _, _, kind in self._early)
        if kind is Kind.FRAME and not waiting:
            self.dropped += 1
            return
        self._early.append((type_, time, payload, kind))
        complete = type_ == VIDEO and (AUDIO in self._headers.announced or not self._sound_expected(time))
        if waiting and (complete or self._too_early):
            self._begin_early()
        while self._too_early:
            del self._early[0]
            self.dropped += 1

    @property
    def _too_early(self) -> bool:
        """Whether more is held than may be."""
        return len(self._early) > MAX_EARLY or sum(len(early[2]) for early in self._early) > MAX_EARLY_BYTES

    def _begin_early(self) -> None:
        """Begin with the keyframe that was kept waiting, then what came with it."""
        early, self._early = self._early, []
        at = next(i for i, (_, _, _, kind) in enumerate(early) if kind is Kind.KEYFRAME)
        type_, time, payload, kind = early.pop(at)
        self._early = early[:at]
        self._begin(type_, time, payload, kind)
        for message in early[at:]:
            self._send(*message)

    def _begin(self, type_: int, time: int, payload: bytes, kind: Kind) -> None:
        """Fix the offset on this message and send it, then the sound that was kept."""
        pts = time + (composition_time(payload) if type_ == VIDEO else 0)
        self._key_pts = pts
        self._has_own_sound = AUDIO in self._headers.announced
        if self._video_end is None and self._audio_end is None:
            self._offset = -min(time, pts)
        elif type_ == VIDEO:
            end = self._video_end if self._video_end is not None else self._audio_end
            if self._audio_end is not None and (end is None or self._audio_end > end + 1000):
                end = self._audio_end
            assert end is not None
            self._offset = round(end) - pts
            if self._video_dts is not None:
                self._offset = max(self._offset, self._video_dts + 1 - pts)
        else:
            self._offset = round(self.end or 0) - pts
        early, self._early = self._early, []
        self._send(type_, time, payload, kind)
        for message in early:
            self._send(*message)

    def _take_extra(self, type_: int, timestamp: int, payload: bytes) -> None:
        """Let a message of another track go along with the first track of its kind, once that is on air."""
        time = self._clocks.extend(type_, timestamp)
        if self._offset is not None:
            self._send_extra(type_, time, payload)
        elif any(kind is Kind.KEYFRAME for _, _, _, kind in self._early):
            self._keep(type_, time, payload, Kind.EXTRA)

    def _send_extra(self, type_: int, time: int, payload: bytes) -> None:
        assert self._offset is not None
        clock, track = self._clocks[type_], track_of(type_, payload)
        dts = time + self._offset
        begun = clock.last is not None and -MAX_STEP_BACK <= time - clock.last <= MAX_STEP_FORWARD
        if not begun or dts <= self._extra_dts.get(track, -1):
            self.dropped += 1
            return
        self._headers.send(type_, dts)
        self._emit(type_, dts, payload, Kind.EXTRA)
        self._extra_dts[track] = dts

    def _send(self, type_: int, time: int, payload: bytes, kind: Kind) -> None:
        if kind is Kind.SOUND:
            self._send_audio(time, payload)
        elif kind is Kind.EXTRA:
            self._send_extra(type_, time, payload)
        else:
            self._send_video(time, payload, kind)

    def _send_video(self, time: int, payload: bytes, kind: Kind) -> None:
        assert self._offset is not None
        dts = time + self._offset
        pts = dts + composition_time(payload)
        least = 0 if self._video_dts is None else self._video_dts + 1
        if dts < least:
            dts = least
            payload = with_composition_time(payload, max(0, pts - dts))
            self.squeezed += 1
        self._headers.send(VIDEO, dts, payload)
        self._keep_sound_going(dts)
        self._emit(VIDEO, dts, payload, kind)
        self._video_dts = dts
        self._video_end = max(self._video_end or 0.0, pts + self._clocks[VIDEO].step)

    def _keep_sound_going(self, dts: int) -> None:
        """Fill the sound in step with the picture: at once if the source has none, else 1 s behind."""
        has_sound = self._clocks[AUDIO].last is not None
        if self._audio_end is None:
            if AUDIO not in self._headers.announced and has_sound:
                return  # its sound has no header, as MP3 and G.711
            self._announce_silence(dts)
            if self._headers.silence is None:
                return
            self._audio_end = float(dts)
        elif self._headers.silence is None and not has_sound and dts - self._audio_end > SOUND_PATIENCE:
            self._announce_silence(dts)  # after sound of a kind that has no silence
        self._fill(dts - SOUND_PATIENCE if self._has_own_sound else dts)

    def _announce_silence(self, dts: int) -> None:
        self._headers.announced.setdefault(AUDIO, DEFAULT_AUDIO_HEADER)
        self._headers.send(AUDIO, dts)

    def _send_audio(self, time: int, payload: bytes) -> None:
        assert self._offset is not None
        if self._key_pts is not None and time < self._key_pts - self._headers.sound / 2:
            self.dropped += 1
            return
        due = time + self._offset
        if self._audio_end is not None:
            if due < self._audio_end - self._headers.sound / 2:
                self.dropped += 1
                return
            if self._headers.sound * 1.5 < due - self._audio_end < MAX_FILL:
                self._fill(due)
        dts = due if self._audio_dts is None or due > self._audio_dts else self._audio_dts + 1
        self._has_own_sound = True
        self._headers.send(AUDIO, dts, payload)
        self._emit(AUDIO, dts, payload, Kind.SOUND)
        self._audio_dts = dts
        self._audio_end = due + self._headers.sound

    def _fill(self, until: float) -> None:
        assert self._audio_end is not None
        silence = self._headers.silence
        if silence is None or self._audio_end + silence.duration / 2 > until:
            return
        self._audio_end = max(self._audio_end, until - MAX_FILL)
        while self._audio_end + silence.duration / 2 <= until:
            dts = round(self._audio_end)
            if self._audio_dts is not None and dts <= self._audio_dts:
                dts = self._audio_dts + 1
            self._emit(AUDIO, dts, silence.message, Kind.SOUND)
            self._audio_dts = dts
            self._audio_end += silence.duration
            self.silent += 1
