"""Groups of rows that must share a split, found over numbers instead of names: 1,000,000 rows take some 200 MB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.release.split_history import COMPOSITION, GivenToWorks
from aria_data.release.splits import STRICTNESS
from aria_data.repertoire import work_labels
from aria_data.storage.relations import Relations

CLUSTERS = ("recording_id", "audio_cluster", "recording_cluster", "notes_cluster")  # and composition_id


def put_groups(relations: Relations) -> None:
    """Number the groups of the relation `grouped`, which has `place` (0, 1, 2 ...), `CLUSTERS` and composition_id.

    Gives the relations `groups` (place, grp), and `given_to_works` (composition_id, strictness) of what the relation
    `given` says of compositions of the same work.
    """
    compositions = compositions_of(relations, "grouped")
    works = work_labels(compositions)
    number = components(relations, "grouped", compositions, works)
    relations.put("groups", pa.table({"place": np.arange(len(number), dtype=np.int64), "grp": number}))
    earlier = relations.rows(f"SELECT label, strictness FROM given WHERE starts_with(label, '{COMPOSITION}')")
    of_works = GivenToWorks({label: STRICTNESS[place] for label, place in earlier}, works)
    strictest = {one: max(map(STRICTNESS.index, of_works.splits(one)), default=None) for one in compositions}
    values: dict[str, Iterable[Any]] = {"composition_id": strictest.keys(), "strictness": strictest.values()}
    relations.put_values("given_to_works", values, {"composition_id": pa.string(), "strictness": pa.int32()})


def compositions_of(relations: Relations, name: str) -> list[str]:
    """The compositions that the rows of a relation have, sorted."""
    found = f"SELECT DISTINCT composition_id FROM {name} WHERE composition_id <> '' ORDER BY composition_id"
    return list(relations.table(found)["composition_id"].to_pylist())


def components(
    relations: Relations,
    of: str,
    compositions: list[str],
    works: Mapping[str, tuple[str, ...]],
    also: Sequence[str] = (),
) -> np.ndarray:
    """The number of the group of each row of a relation that has `place`, `CLUSTERS` and composition_id, by place.

    Rows and names are nodes of a graph, joined where a row has a name; `also` are columns of other names.
    """
    num_rows = relations.value(f"SELECT count(*) FROM {of}")
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    size = num_rows
    for name in (*CLUSTERS, *also):
        rows, codes, num_names = _coded(relations, of, name)
        ends.append((rows, codes + size))
        size += num_names
    of_composition = {composition_id: size + place for place, composition_id in enumerate(compositions)}
    rows, codes, _ = _coded(relations, of, "composition_id", compositions)
    ends.append((rows, codes + size))
    size += len(compositions)
    labels = sorted({label for composition_id in compositions for label in works.get(composition_id, ())})
    of_label = {label: size + place for place, label in enumerate(labels)}
    pairs = [(of_composition[one], of_label[label]) for one in compositions for label in works.get(one, ())]
    ends.append(tuple(np.array(pairs, np.int32).reshape(-1, 2).T))  # type: ignore[arg-type]
    size += len(labels)
    one, other = (np.concatenate(side) for side in zip(*ends, strict=True))
    return connected(one, other, size)[:num_rows]


def connected(one: np.ndarray, other: np.ndarray, size: int) -> np.ndarray:
    """The number of the component of each of `size` nodes; those at one place of both arrays are joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
    return connected_components(graph, directed=False)[1] if size else np.zeros(0, np.int32)


def _coded(
    relations: Relations, of: str, name: str, names_given: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """The rows that have a name in this column, by place, each with the number of that name; and how many there are.

    Names have the numbers of their places among those given, if any are.
    """
    table = relations.table(f"SELECT place, {name} AS name FROM {of} WHERE {name} <> ''")
    if names_given is not None:
        codes = pc.index_in(table["name"], value_set=pa.array(names_given, pa.string())).to_numpy()
        return table["place"].to_numpy().astype(np.int32), codes.astype(np.int32), len(names_given)
    names = table["name"].combine_chunks().dictionary_encode()
    codes = names.indices if isinstance(names, pa.DictionaryArray) else names.combine_chunks().indices
    return table["place"].to_numpy().astype(np.int32), codes.to_numpy(), len(names.dictionary)
