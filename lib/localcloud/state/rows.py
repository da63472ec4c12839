"""State: rows by kind and id, kept in memory and written through to a sqlite file."""

import json
import random
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from .dialects import Dialect

Row = dict[str, Any]
FORMAT = 6  # of the rows; increases with each change


class OtherFormat(Exception):
    """The file was written by another version of this program, or is damaged."""


class State:
    """All rows of one cloud: `tables[kind][id]` to work with, a file for the next start.

    A row's `n` is its internal number. Each change of a row needs a `save`; `commit` writes all
    saved rows at once.
    """

    def __init__(self, path: Path, dialect: Dialect, seed: str = "local cloud"):
        self.dialect = dialect
        self.tables: dict[str, dict[Any, Row]] = {}
        self.version = 0
        self.file = sqlite3.connect(path, check_same_thread=False)
        self._changed: dict[tuple[str, Any], Row | None] = {}
        try:
            self._read(path)
        except sqlite3.OperationalError:  # of the disk, not of the file
            self.file.close()
            raise
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            self.file.close()
            raise OtherFormat(f"{path} is damaged ({error}). `reset` deletes it.") from None
        self.seed = self.setting("seed", {"value": seed})["value"]

    def _read(self, path: Path) -> None:
        # A crash of the machine may lose the last moments; a crash of the process loses nothing.
        self.file.execute("PRAGMA journal_mode = WAL")
        self.file.execute("PRAGMA synchronous = OFF")
        self.file.execute(
            "CREATE TABLE IF NOT EXISTS rows "
            "(kind TEXT, id TEXT, n INTEGER, body TEXT, PRIMARY KEY (kind, id))"
        )
        for kind, body in self.file.execute("SELECT kind, body FROM rows ORDER BY n, rowid"):
            row = json.loads(body)
            self.table(kind)[row["id"]] = row
        found = self.setting("format", {"value": 0 if self.tables else FORMAT})["value"]
        if found != FORMAT:
            self.file.close()
            raise OtherFormat(f"{path}: wanted format {FORMAT}, found {found}. `reset` deletes it.")

    def table(self, kind: str) -> dict[Any, Row]:
        """Return the rows of a kind by id, oldest first."""
        return self.tables.setdefault(kind, {})

    def get(self, kind: str, id: Any) -> Row | None:
        """Return the row with that id, which may be text."""
        rows = self.table(kind)
        found = rows.get(id)
        if found is None and self.dialect.numeric_ids and str(id).isdecimal():
            return rows.get(int(id))
        return found

    def by_number(self, kind: str, number: int) -> Row | None:
        """Return the row with that internal number."""
        return next((r for r in self.table(kind).values() if r["n"] == number), None)

    def add(self, kind: str, **row: Any) -> Row:
        """Create a row with the next id of its kind; ids are the same in every rehearsal.

        With `id`, the row gets that one and nothing is counted.
        """
        return self.save(kind, self.new(kind, **row))

    def new(self, kind: str, **row: Any) -> Row:
        """Return a new row with the next id of its kind, without adding it."""
        if "id" in row:
            return {"n": row["id"]} | row
        counter = self.setting("counters", {})
        n = counter.get(kind, self.dialect.first_ids.get(kind, 1))
        counter[kind] = n + 1
        self.save("setting", counter)
        return {"id": self._id(kind, n), "n": n} | row

    def _id(self, kind: str, n: int) -> Any:
        if self.dialect.numeric_ids:
            return n
        bits = random.Random(f"{self.seed}/{kind}/{n}").getrandbits(128)
        return str(uuid.UUID(int=bits, version=4))

    def save(self, kind: str, row: Row) -> Row:
        """Mark a row as new or changed."""
        self.table(kind)[row["id"]] = row
        self._changed[kind, row["id"]] = row
        self.version += 1
        return row

    def change(self, kind: str, row: Row, **fields: Any) -> Row:
        """Change fields of a row."""
        row.update(fields)
        return self.save(kind, row)

    def remove(self, kind: str, row: Row, *, trace: bool = True) -> None:
        """Remove a row; its id stays known as removed, unless `trace` is off."""
        self.table(kind).pop(row["id"], None)
        self._changed[kind, row["id"]] = None
        self.version += 1
        if trace:
            self.save("removed", {"id": str(row["id"]), "n": 0, "kind": kind, "was": row["n"],
                                  "name": row.get("name")})  # fmt: skip

    def was_removed(self, kind: str, id: Any) -> bool:
        """Return whether there was a row of that kind and id."""
        found = self.table("removed").get(str(id))
        return bool(found and found["kind"] == kind)

    def trace_of(self, kind: str, id: Any) -> Row:
        """Return the internal number `was` and the name of a removed row."""
        return self.table("removed")[str(id)] if self.was_removed(kind, id) else {}

    def setting(self, name: str, default: Row) -> Row:
        """Return the row of a setting, made from `default` the first time."""
        found = self.table("setting").get(name)
        return found or self.save("setting", {"id": name, "n": 0} | default)

    def commit(self) -> None:
        """Write what has changed since the last time that this succeeded.

        Raises sqlite3.Error where it cannot be written; it is kept for the next commit then.
        """
        if not self._changed:
            return
        changed = self._changed
        gone = [(kind, str(id)) for (kind, id), row in changed.items() if row is None]
        kept = [
            (kind, str(id), row["n"], json.dumps(row))
            for (kind, id), row in changed.items()
            if row is not None
        ]
        with self.file:
            self.file.executemany("DELETE FROM rows WHERE kind = ? AND id = ?", gone)
            self.file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", kept)
        self._changed = {}

    def close(self) -> None:
        """Write the rest and let go of the file."""
        try:
            self.commit()
        finally:
            self.file.close()
