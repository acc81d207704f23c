"""Files cut into windows of a fixed number of tokens, on disk. No models."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from aria_data.errors import MidiUnreadable, UsageError
from aria_data.storage import is_remote, not_writable
from aria_data.surrogate.scorable import NOT_COUNTED, Examples
from aria_data.surrogate.tokens import KINDS, TokenConfig, TokenFile, Vocabulary, tokenize, vocabulary

Midi = bytes | str | Path


@dataclass(frozen=True)
class Windows:
    """The windows of all files that could be read, in the order of their ids. Row i is of file number `owners[i]`."""

    tokens: np.ndarray  # (windows, context) uint16, memory-mapped; padded at the end
    owners: np.ndarray  # (windows,) file numbers, ascending
    ids: tuple[str, ...]  # one a file
    groups: tuple[str, ...]  # one a file: its composition or cluster
    num_notes: np.ndarray  # (files,)
    minutes: np.ndarray  # (files,)
    config: TokenConfig
    left_out: Mapping[str, str]  # id of a file that could not be read -> the reason, one line

    @property
    def vocabulary(self) -> Vocabulary:
        return vocabulary(self.config)

    @property
    def sha256(self) -> str:
        """Hash what determines a training run: vocabulary, ids, groups, owners and tokens."""
        digest = hashlib.sha256(self.vocabulary.sha256.encode())
        digest.update("\n".join((*self.ids, *self.groups)).encode())
        digest.update(self.owners.astype(np.int64).tobytes())
        for first in range(0, len(self.tokens), 4096):
            digest.update(np.ascontiguousarray(self.tokens[first : first + 4096]).tobytes())
        return digest.hexdigest()

    def examples(self, files: Sequence[int] | None = None) -> Examples:
        """Give the windows of all files, or of the files of these numbers in ascending order, as `Examples`; no copy.

        The first `warm_up_tokens` of each window are not counted.
        """
        if files is None:
            return Examples(self._take, self.owners, len(self.ids))
        chosen = np.unique(np.asarray(files, dtype=np.int64))
        rows = np.flatnonzero(np.isin(self.owners, chosen))
        owners = np.searchsorted(chosen, self.owners[rows])
        return Examples(lambda indices: self._take(rows[indices]), owners, len(chosen))

    def of_files(self, numbers: Sequence[int] | np.ndarray) -> Windows:
        """Give the windows of these files only, renumbered from 0 in ascending order; the tokens are copied."""
        chosen = np.unique(np.asarray(numbers, dtype=np.int64))
        rows = np.flatnonzero(np.isin(self.owners, chosen))
        return replace(
            self,
            tokens=np.array(self.tokens[rows]),
            owners=np.searchsorted(chosen, self.owners[rows]),
            ids=tuple(self.ids[number] for number in chosen),
            groups=tuple(self.groups[number] for number in chosen),
            num_notes=self.num_notes[chosen],
            minutes=self.minutes[chosen],
        )

    def _take(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = np.asarray(self.tokens[indices])
        inputs, targets = inputs_and_targets(rows, self.vocabulary)
        targets[:, : self.config.warm_up_tokens] = NOT_COUNTED
        return inputs, targets


def inputs_and_targets(rows: np.ndarray, words: Vocabulary) -> tuple[Tensor, Tensor]:
    """Give inputs and targets of token rows: inputs are the rows shifted by one, after BOS. Padding is not counted."""
    targets = torch.from_numpy(rows.astype(np.int64))
    inputs = torch.cat([torch.full((len(rows), 1), words.bos), targets[:, :-1]], dim=1)
    return inputs, targets.masked_fill(targets == words.pad, NOT_COUNTED)


def transpose(rows: np.ndarray, semitones: np.ndarray, words: Vocabulary) -> np.ndarray:
    """Move the pitches of each row by its number of semitones, or as far as the keyboard allows. Gives a copy."""
    lowest, highest = words.pitch_ids
    moved = rows.astype(np.int64)
    is_pitch = words.kinds[moved] == KINDS.index("pitch")
    down = lowest - np.where(is_pitch, moved, highest).min(axis=1)
    up = highest - np.where(is_pitch, moved, lowest).max(axis=1)
    shift = np.clip(semitones, down, up)
    return moved + is_pitch * shift[:, None]


def cut(file: TokenFile, config: TokenConfig) -> np.ndarray:
    """Cut a file into evenly spaced windows that begin with a note's pitch: shape (windows, context).

    There are as many as fit without overlap, at least 1 and at most `windows_per_file`. A short window is padded.
    """
    words = vocabulary(config)
    length = config.context_tokens
    num_windows = min(config.windows_per_file, max(1, len(file.ids) // length))
    note_starts = np.flatnonzero(words.kinds[file.ids] == KINDS.index("pitch"))
    wanted = np.linspace(0, max(0, len(file.ids) - length), num_windows)
    first = np.unique(note_starts[np.maximum(np.searchsorted(note_starts, wanted, side="right") - 1, 0)])
    rows = np.full((len(first), length), words.pad, dtype=np.uint16)
    for row, start in zip(rows, first, strict=True):
        piece = file.ids[start : start + length]
        row[: len(piece)] = piece
    return rows


def make_windows(
    files: Mapping[str, Midi],
    config: TokenConfig | None = None,
    groups: Mapping[str, str] | None = None,
    folder: Path | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Windows:
    """Tokenize and cut all files, in the order of their ids, into a temporary file in `folder`.

    `folder` defaults to the system's folder for temporary files. A file that cannot be read is left out, with the
    reason in `left_out`. A file without a group is its own group. The windows stay on disk, so memory grows by some
    bytes a file. Raises `UsageError` when no file can be read, and `DatasetNotWritable`.
    """
    config = config or TokenConfig()
    order = sorted(files)
    found: list[tuple[str, TokenFile, int]] = []
    left_out: dict[str, str] = {}
    with _store(folder) as store:
        for done, (file_id, outcome) in enumerate(_all_cut(files, order, config, processes), start=1):
            if isinstance(outcome, str):
                left_out[file_id] = outcome
            else:
                store.write(outcome[1].tobytes())
                found.append((file_id, replace(outcome[0], ids=_NO_IDS), len(outcome[1])))
            if progress:
                progress(done, len(order))
        store.flush()
        if not found:
            reasons = "; ".join(sorted(set(left_out.values()))[:3])
            raise UsageError(f"None of {len(order)} files can be scored ({reasons}). Give MIDI files of piano music.")
        shape = (sum(count for *_, count in found), config.context_tokens)
        tokens = np.memmap(store, dtype=np.uint16, mode="r", shape=shape)
    return Windows(
        tokens=tokens,
        owners=np.repeat(np.arange(len(found)), [count for *_, count in found]),
        ids=tuple(file_id for file_id, *_ in found),
        groups=tuple((groups or {}).get(file_id) or file_id for file_id, *_ in found),
        num_notes=np.array([file.num_notes for _, file, _ in found]),
        minutes=np.array([file.minutes for _, file, _ in found]),
        config=config,
        left_out=left_out,
    )


def _store(folder: Path | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=None if is_remote(folder) else folder)
    except OSError as error:
        raise not_writable(folder or tempfile.gettempdir(), error) from error


_NO_IDS = np.zeros(0, dtype=np.uint16)
_Outcome = tuple[TokenFile, np.ndarray] | str


def _all_cut(
    files: Mapping[str, Midi], ids: Sequence[str], config: TokenConfig, processes: int
) -> Iterator[tuple[str, _Outcome]]:
    if processes <= 1:
        yield from ((file_id, _cut_one(files[file_id], file_id, config)) for file_id in ids)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        contents = (files[file_id] for file_id in ids)
        yield from zip(ids, pool.map(_cut_one, contents, ids, repeat(config), chunksize=32), strict=True)


def _cut_one(midi: Midi, file_id: str, config: TokenConfig) -> _Outcome:
    try:
        file = tokenize(midi, config, name=file_id)
    except MidiUnreadable as error:
        return str(error)
    return file, cut(file, config)
