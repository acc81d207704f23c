"""The errors this library raises, split by what the caller should do.

    AriaDataError
    ├── UsageError                the command or the configuration is wrong: show it, exit 2
    │   └── ConfigInvalid
    ├── TemporaryError            trying again can mend it: the item stays not-done
    │   ├── NetworkError
    │   └── AudioUnreachable      the file is away, or may not be read: a fault of the surroundings, not of the file
    ├── PermanentError            trying again cannot mend it: recorded once, never retried by itself
    │   ├── AudioUnreadable
    │   ├── MidiUnreadable
    │   └── TranscriptionFailed
    └── DatasetError              the dataset folder cannot be used: the build stops
        ├── DatasetCorrupt
        ├── DatasetLocked
        ├── DatasetNotWritable
        ├── LocksMissing
        └── DatasetNotFound

A message is one line that names the file, what is wrong, and what to do. `error.reason` is the short name that is
stored in the tables; it stays the same for the same fault. Some rooms derive errors of their own from these.
"""

from __future__ import annotations


class AriaDataError(Exception):
    """The base of all errors of this project that a person can act on."""

    reason = "error"


class UsageError(AriaDataError):
    """The command line is wrong."""

    reason = "usage"


class ConfigInvalid(UsageError):
    """A configuration file or value is wrong."""

    reason = "config_invalid"


class TemporaryError(AriaDataError):
    """Trying again can mend it."""

    reason = "temporary"


class NetworkError(TemporaryError):
    """A server did not answer, or not properly."""

    reason = "network"


class AudioUnreachable(TemporaryError):
    """Audio cannot be read now: it is missing, may not be read, its disk is away or fails, or it changes meanwhile.

    `reason` is `file_missing`, `unreadable`, `io_error` or `audio_changed`.
    """

    reason = "audio_unreachable"

    def __init__(self, message: str, reason: str | None = None):
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class PermanentError(AriaDataError):
    """Trying again cannot mend it. `reason` names the fault for the tables, `measured` is the number that decided."""

    reason = "permanent"

    def __init__(self, message: str, reason: str | None = None, measured: float | None = None):
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.measured = measured


class AudioUnreadable(PermanentError):
    """The file is not audio, is empty, is cut short, or is damaged."""

    reason = "audio_unreadable"


class MidiUnreadable(PermanentError):
    """The file is not a MIDI file that can be read."""

    reason = "midi_unreadable"


class TranscriptionFailed(PermanentError):
    """One span of audio could not be transcribed."""

    reason = "transcription_failed"


class DatasetError(AriaDataError):
    """The dataset folder cannot be used; the build stops and changes nothing more."""

    reason = "dataset"


class DatasetCorrupt(DatasetError):
    """A table of the dataset cannot be read."""

    reason = "dataset_corrupt"


class DatasetNotReadable(DatasetError):
    """A file of the dataset may not be read, or its disk does not give it. Nothing is known to be damaged."""

    reason = "dataset_not_readable"


class DatasetLocked(DatasetError):
    """Another build is working in this folder."""

    reason = "dataset_locked"


class DatasetNotWritable(DatasetError):
    """No permission, or no space left."""

    reason = "dataset_not_writable"


class LocksMissing(DatasetError):
    """The file system has no locks, so nothing would keep two builds apart."""

    reason = "locks_missing"


class DatasetNotFound(DatasetError):
    """There is no dataset, or no such version, where one was named."""

    reason = "dataset_not_found"
