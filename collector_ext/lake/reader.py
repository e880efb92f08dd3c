"""Questions to the lake: the only place where DuckDB is opened.

Each table of `schema.TABLES` is a view of that name over the files that count, and an empty one where there are none.
A question sees the files that counted when the lake was opened; `refresh` looks again, and so does a question whose
files were compacted or deleted meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from collector_ext.lake import files
from collector_ext.lake.schema import TABLES, Table
from edgesync.wire.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import pandas as pd

MEMORY = "400MB"
"""What DuckDB may hold: ten million points are answered in less, and a notebook's own frames still fit beside it."""
THREADS = 2


class Lake:
    """A lake that is read. Several may be open at once, also while it is written. Use it as a context manager."""

    def __init__(
        self, directory: Path | str, *, memory: str = MEMORY, threads: int = THREADS, spill: Path | None = None
    ) -> None:
        """`spill` is a directory for what does not fit into `memory`. Raises ConfigError where there is no lake."""
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise ConfigError(f"{directory}: no such directory, expected a lake (`parquet` exporter, key `directory`)")
        config: dict[str, Any] = {"memory_limit": memory, "threads": threads, "preserve_insertion_order": False}
        self._paths: list[Path] = []
        self._duckdb = duckdb.connect(config=config | ({"temp_directory": str(spill)} if spill else {}))
        self.refresh()

    def __enter__(self) -> Lake:  # noqa: PYI034 - Self is younger than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._duckdb.close()

    def refresh(self) -> None:
        """See what was written since."""
        self._paths = []
        for table in TABLES.values():
            paths = [file.path for file in files.counting(files.found(self.directory, table.name))]
            self._paths += paths
            self.view(table.name, table, paths)

    def view(self, name: str, table: Table, paths: Sequence[Path]) -> None:
        """A view of this name over some files of a table."""
        self._run(f"CREATE OR REPLACE VIEW {name} AS {_select(table, [str(path) for path in paths])}", None)

    def rows(self, question: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The answer as tuples. Raises ConfigError for a question that is none, StorageError for files that fail."""
        found: list[tuple[Any, ...]] = self._run(question, parameters).fetchall()
        return found

    def frame(self, question: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The answer as a pandas frame; times are naive UTC. Raises as `rows` does."""
        return self._run(question, parameters).df()

    def batches(self, question: str, size: int) -> Iterator[Any]:
        """The answer as Arrow record batches of `size` rows, one after the other. Raises as `rows` does."""
        with self._named_errors():
            yield from self._duckdb.sql(question).to_arrow_reader(size)

    def _run(self, question: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> duckdb.DuckDBPyConnection:
        with self._named_errors():
            try:
                return self._duckdb.execute(question, parameters)
            except duckdb.IOException:
                if all(Path(path).exists() for path in self._paths):
                    raise
            self.refresh()
            return self._duckdb.execute(question, parameters)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.OutOfMemoryException) as error:
            raise StorageError(f"{self.directory}: {error}") from error
        except duckdb.Error as error:
            raise ConfigError(f"{self.directory}: {error}") from error


def _select(table: Table, paths: Sequence[str]) -> str:
    if not paths:
        columns = ", ".join(f"NULL::{_sql(field.type)} AS {_quoted(field.name)}" for field in table.schema)
        return f"SELECT {columns} LIMIT 0"
    columns = ", ".join(_quoted(field.name) for field in table.schema)
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"SELECT {columns} FROM read_parquet([{listed}])"  # noqa: S608 - names of ours, paths quoted


def _quoted(name: str) -> str:
    return f'"{name}"'


def _sql(kind: Any) -> str:
    """DuckDB's name of an Arrow type of the schema."""
    names = {
        "string": "VARCHAR",
        "double": "DOUBLE",
        "int64": "BIGINT",
        "int32": "INTEGER",
        "timestamp[us]": "TIMESTAMP",
    }
    text = str(kind)
    if text.startswith("list"):
        return f"{_sql(kind.value_type)}[]"
    return names[text]
