"""Every error that crosses a room's border.

::

    PenstockError
    ├── ConfigError                a setting, a flag or DATA itself cannot be used
    ├── StoreError                 the database cannot answer now
    │   ├── SchemaTooNew           DATA was written by a newer Penstock
    │   └── DatabaseDamaged        its file is not as SQLite left it
    ├── Refused                    a caller asked for what cannot be; families and services raise these
    │   ├── InvalidSourceUrl
    │   ├── InvalidToUrl
    │   ├── InvalidBackupToUrl
    │   ├── ToUrlForbidden         the destination belongs to another account
    │   ├── InvalidCallbackUrl
    │   ├── InvalidTaskTime
    │   ├── InvalidTaskId          SpecifyTaskId taken by another task, or malformed
    │   ├── InvalidField           a value outside its documented set or range
    │   ├── Unsupported            a documented feature that this build does not serve yet
    │   ├── AccountNotFound
    │   ├── DomainNotFound         the account has no such domain
    │   ├── ServiceNotActive       the account may not use the service now
    │   ├── TaskNotFound
    │   ├── TooManyTasks
    │   └── Conflict               the task's state does not allow it now
    ├── AddressRefused             the network policy forbids an address
    └── MediaError                 a source or a sink failed; the supervisor decides what follows
        ├── SourceError
        │   └── Finished           it has delivered all there was
        └── SinkError

The docstring of a class is its message when none is given. Which vendor code a ``Refused`` becomes
is known to that vendor's API room alone.
"""


class PenstockError(Exception):
    """Something failed inside Penstock."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (self.__doc__ or "").split("\n")[0])

    @property
    def message(self) -> str:
        return str(self)


class ConfigError(PenstockError):
    """The configuration cannot be used."""


class StoreError(PenstockError):
    """The database cannot answer now."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of Penstock."""


class DatabaseDamaged(StoreError):
    """The database is damaged."""


class Refused(PenstockError):
    """The request cannot be carried out."""


class InvalidSourceUrl(Refused):
    """The source URL is invalid."""


class InvalidToUrl(Refused):
    """The destination URL is invalid."""


class InvalidBackupToUrl(Refused):
    """The second destination's URL is invalid."""


class ToUrlForbidden(Refused):
    """The destination belongs to another account."""


class InvalidCallbackUrl(Refused):
    """The callback URL is invalid."""


class InvalidTaskTime(Refused):
    """The task's time span is invalid."""


class InvalidTaskId(Refused):
    """The task ID is invalid."""


class InvalidField(Refused):
    """A value lies outside its documented set or range."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Unsupported(Refused):
    """This feature is not served yet."""


class AccountNotFound(Refused):
    """The account does not exist."""


class DomainNotFound(Refused):
    """The domain does not belong to the account."""


class ServiceNotActive(Refused):
    """The account may not use the service now."""

    def __init__(self, service: str, state: str) -> None:
        super().__init__(f"The account's service {service} is {state}.")
        self.state = state


class StreamNotFound(Refused):
    """The stream is not live."""


class TaskNotFound(Refused):
    """The task does not exist."""


class TooManyTasks(Refused):
    """The number of tasks has reached the account's limit."""


class Conflict(Refused):
    """The task's state does not allow this now."""


class AddressRefused(PenstockError):
    """The network policy forbids this address."""


class MediaError(PenstockError):
    """A source or a sink failed."""

    #: Whose fault it is, as ErrorInfo names it.
    side = "task"


class SourceError(MediaError):
    """The source failed."""

    side = "source"


class Finished(SourceError):
    """The source has delivered all there was."""


class SinkError(MediaError):
    """The destination failed."""

    side = "sink"
