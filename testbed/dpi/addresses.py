"""Address lists as censors keep them: tens of thousands of prefixes, and tables that say whose a prefix is.

A prefix is written `198.18.128.0/20`, `2001:db8:19::/48`, or as one address; host bits are ignored. A list file has
one prefix a line; `#` starts a comment. Of several prefixes that hold an address the longest counts, as in a router.

A geography table is CSV in one of these forms, told apart by its header; `#` starts a comment line:

    prefix,country,asn,name                        ours: `198.18.224.0/20,RU,13238,Yandex`; country or asn may be empty
    network,geoname_id,registered_country_…        MaxMind GeoLite2 Country-Blocks, with its Country-Locations file
    network,autonomous_system_number,…             MaxMind GeoLite2 ASN-Blocks

Where the emulated addresses "are" says `policies/lists/geo-emulated.csv`; no real table knows them.

Theory of operation: one dictionary per prefix length, longest first, from the address's leading bits to the prefix. A
look-up costs one probe per length that occurs, whatever the number of prefixes.
"""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from testbed.dpi.names import read_list
from testbed.errors import InputError, Problem

T = TypeVar("T")
_Key = tuple[int, int, int]
"""A prefix as numbers: address bits (32 or 128), leading bits, their count."""


def check_prefix(text: str) -> str:
    """Return a prefix with its host bits off, `198.18.0.7/32` for one address; `ValueError` with a mend."""
    bits, leading, length = _parse(text)
    return _write(bits, leading, length)


def _parse(text: str) -> _Key:
    """Read a prefix; IPv4 by hand, since a country table has half a million of them."""
    address, slash, size = text.strip().partition("/")
    parts = address.split(".")
    if len(parts) == 4 and text.isascii() and all(part.isdigit() and len(part) < 4 for part in parts):
        a, b, c, d = map(int, parts)
        length = int(size) if size.isdigit() else -1 if slash else 32
        if max(a, b, c, d) < 256 and 0 <= length <= 32:
            return 32, (a << 24 | b << 16 | c << 8 | d) >> (32 - length), length
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or prefix; write it like `198.18.128.0/20`") from None
    return (
        network.max_prefixlen,
        int(network.network_address) >> network.max_prefixlen - network.prefixlen,
        (network.prefixlen),
    )


def _write(bits: int, leading: int, length: int) -> str:
    number = leading << (bits - length)
    address = ipaddress.IPv4Address(number) if bits == 32 else ipaddress.IPv6Address(number)
    return f"{address}/{length}"


class _LongestMatch(Generic[T]):
    """From prefixes to values; of two values for one prefix the first is kept."""

    def __init__(self, entries: Iterable[tuple[_Key, T]]) -> None:
        found: dict[int, dict[int, dict[int, T]]] = {32: {}, 128: {}}
        for (bits, leading, length), value in entries:
            found[bits].setdefault(length, {}).setdefault(leading, value)
        self._tables = {
            bits // 8: tuple((bits - length, lengths[length]) for length in sorted(lengths, reverse=True))
            for bits, lengths in found.items()
        }

    def find(self, address: bytes) -> tuple[int, T] | None:
        """Return the length and the value of the longest prefix that holds an address of 4 or 16 bytes."""
        number = int.from_bytes(address, "big")
        for shift, table in self._tables.get(len(address), ()):
            value = table.get(number >> shift)
            if value is not None:
                return len(address) * 8 - shift, value
        return None

    def entries(self) -> Iterator[tuple[_Key, T]]:
        """Yield every prefix with its value, the order of addresses, wider prefixes first."""
        for size, tables in sorted(self._tables.items()):
            bits = size * 8
            keys = [
                (leading << shift, bits - shift, value) for shift, table in tables for leading, value in table.items()
            ]
            for start, length, value in sorted(keys, key=lambda key: key[:2]):
                yield (bits, start >> (bits - length), length), value

    def __len__(self) -> int:
        return sum(len(table) for tables in self._tables.values() for _, table in tables)


class PrefixTable:
    """A set of IPv4 and IPv6 prefixes; `ValueError` if one of them can't be read."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._match = _LongestMatch((key := _parse(text), _write(*key)) for text in prefixes)

    def find(self, address: bytes) -> str | None:
        """Return the longest prefix that holds an address of 4 or 16 bytes, as `check_prefix` writes it."""
        found = self._match.find(address)
        return found[1] if found else None

    def __len__(self) -> int:
        return len(self._match)


def read_prefixes(path: Path) -> tuple[str, ...]:
    """Read a list file; `InputError` names every line that is not a prefix."""
    return parse_prefixes(_read(path), str(path))


def parse_prefixes(text: str, place: str) -> tuple[str, ...]:
    """Read a list file's text; `place` is its name in errors."""
    prefixes: list[str] = []
    problems: list[Problem] = []
    for number, line in read_list(text.splitlines()):
        try:
            prefixes.append(check_prefix(line))
        except ValueError as error:
            problems.append(_problem(place, number, error))
    if problems:
        raise InputError(problems)
    return tuple(prefixes)


class Place(NamedTuple):
    """Whose a prefix is: ISO 3166 country, number and name of the network; None and empty where it isn't known."""

    country: str | None
    asn: int | None
    name: str


@dataclass(frozen=True, slots=True)
class GeoTable:
    """Who holds which addresses."""

    _countries: _LongestMatch[Place]
    _networks: _LongestMatch[Place]

    @classmethod
    def read(cls, path: Path, locations: Path | None = None) -> GeoTable:
        """Read a table from a file; `InputError` as `load`."""
        return cls.load(_read(path), place=str(path), locations=_read(locations) if locations else "")

    @classmethod
    def load(cls, text: str, *, place: str = "geography", locations: str = "") -> GeoTable:
        """Read a table; `InputError` names every wrong line. `locations`: the text of MaxMind's Country-Locations."""
        rows = csv.reader(line for line in _blanked(text))
        header = next((row for row in rows if row), [])
        number = rows.line_num
        reader = _reader(header, locations)
        if reader is None:
            first = ",".join(header[:3])
            raise InputError([Problem(f"{place}:{number or 1}", f"unknown columns `{first}`", _HEADER_MEND)])
        entries: list[tuple[_Key, Place]] = []
        problems: list[Problem] = []
        kept: dict[Place, Place] = {}
        for row in rows:
            if not row:
                continue
            try:
                owner = reader(row)
                entries.append((_parse(row[0]), kept.setdefault(owner, owner)))
            except ValueError as error:
                problems.append(_problem(place, rows.line_num, error))
        if problems:
            raise InputError(problems)
        return cls._of(entries)

    @classmethod
    def _of(cls, entries: Collection[tuple[_Key, Place]]) -> GeoTable:
        return cls(
            _LongestMatch(entry for entry in entries if entry[1].country is not None),
            _LongestMatch(entry for entry in entries if entry[1].asn is not None),
        )

    def __or__(self, other: GeoTable) -> GeoTable:
        """Return both tables as one; where both know a prefix, this one counts."""
        return GeoTable(
            _LongestMatch([*self._countries.entries(), *other._countries.entries()]),
            _LongestMatch([*self._networks.entries(), *other._networks.entries()]),
        )

    def country(self, address: bytes) -> str | None:
        """Return the country of an address of 4 or 16 bytes."""
        found = self._countries.find(address)
        return found[1].country if found else None

    def asn(self, address: bytes) -> int | None:
        """Return the number of the network that an address belongs to."""
        found = self._networks.find(address)
        return found[1].asn if found else None

    def network(self, address: bytes) -> str:
        """Return the name of the network that an address belongs to, empty if it isn't known."""
        found = self._networks.find(address)
        return found[1].name if found else ""

    def prefixes(self, *, countries: Collection[str] = (), asns: Collection[int] = ()) -> tuple[str, ...]:
        """Return the prefixes for which `country` or `asn` gives one of these; what a kernel's set can hold.

        A hole that a longer prefix of another country makes in a wide one is cut out.
        """
        found = [
            *_holding(self._countries, lambda place: place.country in countries),
            *_holding(self._networks, lambda place: place.asn in asns),
        ]
        four = [network for network in found if isinstance(network, ipaddress.IPv4Network)]
        six = [network for network in found if isinstance(network, ipaddress.IPv6Network)]
        return tuple(map(str, (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))))

    def __len__(self) -> int:
        return len(self._countries) + len(self._networks)


def _holding(
    match: _LongestMatch[Place], wanted: Callable[[Place], bool]
) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Yield networks that make up exactly the addresses whose longest prefix is wanted."""
    open_: list[tuple[int, int, Place]] = []  # (bits, last address, place) of the prefixes around the current position
    position = 0
    for (bits, leading, length), place in (*match.entries(), ((0, 0, 0), Place(None, None, ""))):
        start = leading << (bits - length)
        while open_ and (open_[-1][0] != bits or open_[-1][1] < start):
            width, last, owner = open_.pop()
            if wanted(owner) and position <= last:
                yield from _range(width, position, last)
            position = max(position, last + 1)
        if open_ and wanted(open_[-1][2]) and position < start:
            yield from _range(bits, position, start - 1)
        if bits:
            position = start
            open_.append((bits, start + (1 << (bits - length)) - 1, place))


def _range(bits: int, first: int, last: int) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    if bits == 32:
        return ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last))
    return ipaddress.summarize_address_range(ipaddress.IPv6Address(first), ipaddress.IPv6Address(last))


_HEADER_MEND = "begin with `prefix,country,asn,name`, or give a GeoLite2 Blocks file (and its Locations)"


def _reader(header: list[str], locations: str) -> Callable[[list[str]], Place] | None:
    columns = [column.strip().lower() for column in header]
    if columns[:4] == ["prefix", "country", "asn", "name"]:
        return _own_row
    if columns[:3] == ["network", "autonomous_system_number", "autonomous_system_organization"]:
        return lambda row: Place(None, _number(row, 1), row[2] if len(row) > 2 else "")
    if columns[:3] == ["network", "geoname_id", "registered_country_geoname_id"]:
        known = _countries_by_id(locations)
        return lambda row: Place(_located(row, known), None, "")
    return None


def _own_row(row: list[str]) -> Place:
    if len(row) != 4:
        raise ValueError(f"{len(row)} columns; write `prefix,country,asn,name`, a name with commas in quotes")
    country = row[1].strip().upper()
    if country and not (len(country) == 2 and country.isalpha() and country.isascii()):
        raise ValueError(f"{row[1]!r} is not a country; write its two letters, like `TM`")
    asn = _number(row, 2)
    if not country and asn is None:
        raise ValueError("neither country nor network; give one of them")
    return Place(country or None, asn, row[3].strip())


def _number(row: list[str], column: int) -> int | None:
    text = row[column].strip() if column < len(row) else ""
    digits = text.upper().removeprefix("AS")
    if text and not (digits.isascii() and digits.isdigit() and int(digits) < 1 << 32):
        raise ValueError(f"{text!r} is not the number of a network; write it like `13335`")
    return int(digits) if text else None


def _located(row: list[str], known: Mapping[str, str]) -> str | None:
    """Return the country by the first of a row's ids: where it is used, else where it is registered."""
    ids = [value for value in row[1:3] if value]
    if ids and not any(value in known for value in ids):
        raise ValueError(f"unknown geoname id {ids[0]}; give the Country-Locations file of the same release")
    return next((known[value] for value in ids if value in known), None) or None


def _countries_by_id(locations: str) -> dict[str, str]:
    return {row["geoname_id"]: row.get("country_iso_code") or "" for row in csv.DictReader(locations.splitlines())}


def _blanked(text: str) -> Iterator[str]:
    """Yield a text's lines, comments emptied, so that the reader's line numbers are the file's."""
    for line in text.splitlines(keepends=True):
        yield "\n" if line.lstrip().startswith("#") else line


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(f"{path}:1", f"can't be read: {error}", "give a text file in UTF-8")]) from None


def _problem(place: str, line: int, error: ValueError) -> Problem:
    what, _, mend = str(error).partition("; ")
    return Problem(f"{place}:{line}", what, mend)
