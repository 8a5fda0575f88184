"""The ledger: every cycle in an SQLite file, rotated, so that each can be looked at and decided again.

Memory is kept with every `CHECKPOINT`th cycle only; the others are reached from there by deciding anew.
A fleet is kept once and named by its fingerprint, a plan with the cycle that made it and with each memory.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec

from flyball.loop.record import Cycle
from flyball.spec.decision import Order
from flyball.spec.fleet import Fleet
from flyball.spec.power import PowerSeen
from flyball.spec.snapshot import Scrape, Snapshot

CHECKPOINT = 20
KEEP = 40_000
"""Cycles: a week at 15 s, some 200 MB for ten servers."""
PLAN = (
    "(SELECT p.plan FROM cycles AS p WHERE p.id <= cycles.id AND p.plan IS NOT NULL"
    " ORDER BY p.id DESC LIMIT 1)"
)
COLUMNS = f"time, law, settings, scrape, rest, {PLAN}, fleet"
SCHEMA = """
CREATE TABLE IF NOT EXISTS fleets (digest INTEGER PRIMARY KEY, fleet BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cycles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, law TEXT NOT NULL, settings BLOB NOT NULL,
    version TEXT NOT NULL, digest INTEGER NOT NULL, changed INTEGER NOT NULL,
    scrape BLOB NOT NULL, rest BLOB NOT NULL, plan BLOB, memory BLOB
);
"""


class LedgerError(ValueError):
    """A ledger that cannot be used, or a cycle that is not in it."""


class Ledger:
    """One SQLite file. Safe to use from several threads; a second process may read beside it."""

    def __init__(
        self, path: Path | str, version: str, *, keep: int = KEEP, checkpoint: int = CHECKPOINT
    ) -> None:
        """`keep`: so many cycles, and up to a tenth more; `version`: of Flyball."""
        self.path, self.version, self.keep, self.checkpoint = path, version, keep, checkpoint
        self._lock = threading.Lock()
        self._since = checkpoint
        try:
            self._db = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise LedgerError(f"{path}: cannot be used as a ledger ({error}). Name another file") from error

    def record(self, cycle: Cycle, before: Any, gap: bool = False) -> int:
        """Keep one cycle, and every so often the memory that it was decided from; returns its number."""
        fleet = msgspec.msgpack.encode(cycle.snapshot.fleet)
        digest = zlib.crc32(fleet)
        decision = cycle.decision
        bare = msgspec.structs.replace(decision, plan=None) if decision else None
        has_plan = decision is not None and decision.plan is not None
        more = (cycle.snapshot.advice, cycle.snapshot.power)
        rest = msgspec.msgpack.encode((bare, cycle.refused, cycle.errors, cycle.seconds, has_plan, *more))
        changed = sum(step.changed for step in decision.steps) if decision else 0
        with self._lock:
            self._since += 1
            keep_memory = gap or (self._since >= self.checkpoint and decision is not None)
            memory = zlib.compress(msgspec.msgpack.encode(before), 1) if keep_memory else None
            plan = decision.plan if decision and (keep_memory or decision.planned) else None
            self._db.execute("BEGIN")
            try:
                self._db.execute(
                    "INSERT OR IGNORE INTO fleets VALUES (?, ?)", (digest, zlib.compress(fleet, 1))
                )
                at = self._db.execute(
                    "INSERT INTO cycles (time, law, settings, version, digest, changed, scrape, rest, plan,"
                    " memory) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        cycle.time,
                        cycle.law,
                        cycle.settings,
                        self.version,
                        digest,
                        changed,
                        zlib.compress(msgspec.msgpack.encode(cycle.snapshot.seen), 1),
                        zlib.compress(rest, 1),
                        plan and zlib.compress(msgspec.msgpack.encode(plan), 1),
                        memory,
                    ),
                ).lastrowid
                self._rotate(int(at or 0))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            if keep_memory:
                self._since = 0
            return int(at or 0)

    def _rotate(self, newest: int) -> None:
        """Drop the oldest, back to a cycle with its memory, once a tenth too many are there."""
        (oldest,) = self._db.execute("SELECT COALESCE(MIN(id), 0) FROM cycles").fetchone()
        if newest - oldest + 1 <= self.keep + max(self.keep // 10, self.checkpoint):
            return
        (first,) = self._db.execute(
            "SELECT COALESCE(MAX(id), 0) FROM cycles WHERE id <= ? AND memory IS NOT NULL",
            (newest - self.keep + 1,),
        ).fetchone()
        self._db.execute("DELETE FROM cycles WHERE id < ?", (first,))
        self._db.execute("DELETE FROM fleets WHERE digest NOT IN (SELECT digest FROM cycles)")

    def cycle(self, number: int) -> Cycle:
        """One cycle by number; LedgerError where it is not there."""
        row = self._one(
            f"SELECT {COLUMNS} FROM cycles JOIN fleets USING (digest) WHERE id = ?",
            number,
        )
        if row is None:
            raise LedgerError(f"{self.path}: there is no cycle {number}; {self._range()}")
        return _cycle(row)

    def newest(
        self, count: int = 50, *, changed: bool = False, before: int | None = None
    ) -> list[tuple[int, Cycle]]:
        """The newest cycles (with `changed`: that changed anything), newest first."""
        rows = self._all(
            f"SELECT id, {COLUMNS} FROM cycles JOIN fleets USING (digest)"
            " WHERE changed >= ? AND id < ? ORDER BY id DESC LIMIT ?",
            int(changed),
            before if before is not None else 2**62,
            count,
        )
        return [(int(row[0]), _cycle(row[1:])) for row in rows]

    def start_of(self, number: int) -> tuple[int, bytes, str]:
        """Where to begin to decide a cycle anew: number, memory before it as msgpack, version of Flyball."""
        self.cycle(number)
        row = self._one(
            "SELECT id, memory, version FROM cycles WHERE id <= ? AND memory IS NOT NULL"
            " ORDER BY id DESC LIMIT 1",
            number,
        )
        if row is None:
            raise LedgerError(f"{self.path}: nothing before cycle {number} says what was remembered then")
        return int(row[0]), zlib.decompress(row[1]), str(row[2])

    def numbers(self, first: int, last: int) -> list[int]:
        """Numbers of the cycles from first to last that are there."""
        return [
            int(n)
            for (n,) in self._all("SELECT id FROM cycles WHERE id BETWEEN ? AND ? ORDER BY id", first, last)
        ]

    def _one(self, query: str, *values: object) -> Any:
        return next(iter(self._all(query, *values)), None)

    def _all(self, query: str, *values: object) -> list[Any]:
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise LedgerError(f"{self.path}: cannot be read as a ledger ({error})") from error

    def _range(self) -> str:
        first, last = self._one("SELECT MIN(id), MAX(id) FROM cycles")
        return "it is empty" if first is None else f"it has {first} to {last}"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _cycle(row: Any) -> Cycle:
    try:
        return _unpacked(row)
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError) as error:
        raise LedgerError(f"a cycle in it is damaged, or of another version ({error})") from error


def _unpacked(row: Any) -> Cycle:
    time, law, settings, scrape, rest, plan, fleet = row
    # One from before these were kept has neither.
    decision, refused, errors, seconds, has_plan, *more = msgspec.msgpack.decode(zlib.decompress(rest))
    advice, power = more or (None, None)
    if has_plan and plan is not None:
        decision["plan"] = msgspec.msgpack.decode(zlib.decompress(plan))
    return msgspec.convert(
        {
            "time": time,
            "law": law,
            "settings": settings,
            "decision": decision,
            "refused": refused,
            "errors": errors,
            "seconds": seconds,
            "snapshot": Snapshot(
                msgspec.msgpack.decode(zlib.decompress(fleet), type=Fleet),
                msgspec.msgpack.decode(zlib.decompress(scrape), type=Scrape),
                msgspec.convert(advice, tuple[Order, ...] | None),
                msgspec.convert(power, PowerSeen | None),
            ),
        },
        Cycle,
    )
