"""Address lists and geography tables, held against `ipaddress` and against look-ups one by one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import shipped
from testbed.dpi.addresses import GeoTable, PrefixTable, check_prefix, parse_prefixes, read_prefixes
from testbed.errors import InputError
from testbed.scenario.topology import GROUPS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
GEO = "prefix,country,asn,name\n"
#: GeoLite2's columns as MaxMind documents them; the addresses are reserved ones
BLOCKS = (
    "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,"
    "is_satellite_provider,is_anycast\n198.18.0.0/24,1218197,1218197,,0,0,\n198.18.1.0/24,,2017370,,0,0,\n"
    "198.18.2.0/24,,,,0,1,\n"
)
LOCATIONS = (
    "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,is_in_european_union\n"
    '1218197,en,AS,Asia,TM,Turkmenistan,0\n2017370,en,EU,Europe,RU,"Russia, Federation of",0\n'
)


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Prefixes crowded into 198.18.0.0/24 and 2001:db8::/120, so that they nest and meet."""
    low = draw(st.integers(0, 255))
    if draw(st.booleans()):
        return ipaddress.ip_network((0xC6120000 + low, draw(st.integers(22, 32))), strict=False)
    return ipaddress.ip_network(((0x20010DB8 << 96) + low, draw(st.integers(118, 128))), strict=False)


EVERY = [ipaddress.ip_address(0xC6120000 + low) for low in range(256)] + [
    ipaddress.ip_address((0x20010DB8 << 96) + low) for low in range(256)
]


@given(st.lists(networks(), max_size=12), st.sampled_from(EVERY))
def test_the_longest_prefix_is_found(prefixes: list[Network], address: ipaddress.IPv4Address) -> None:
    holding = [network for network in prefixes if address in network]
    expected = str(max(holding, key=lambda network: network.prefixlen)) if holding else None
    assert PrefixTable(map(str, prefixes)).find(address.packed) == expected


@given(st.dictionaries(networks(), st.sampled_from(["TM", "RU", "DE"]), max_size=12))
def test_the_prefixes_of_a_country_are_exactly_its_addresses(owners: dict[Network, str]) -> None:
    table = GeoTable.load(GEO + "".join(f"{network},{country},,\n" for network, country in owners.items()))
    cut = PrefixTable(table.prefixes(countries=["RU", "DE"]))
    for address in EVERY:
        assert (cut.find(address.packed) is not None) == (table.country(address.packed) in ("RU", "DE"))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("198.18.1.7", "198.18.1.7/32"),
        ("198.18.1.7/15", "198.18.0.0/15"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8:1::/33", "2001:db8::/33"),
        ("::/0", "::/0"),
        ("198.18.0.0/255.255.0.0", "198.18.0.0/16"),
    ],
)
def test_prefixes_are_written_one_way(text: str, written: str) -> None:
    assert check_prefix(text) == written
    assert PrefixTable([text]).find(ipaddress.ip_network(written).network_address.packed) == written


@pytest.mark.parametrize("text", ["", "198.18.0", "198.18.0.256", "198.18.0.0/33", "198.18.0.0/", "198.18.0.0/-1",
                                  "2001:db8::/129", "١.1.1.1", "cloudflare"])  # fmt: skip
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        check_prefix(text)


def test_a_list_file_tells_every_wrong_line(tmp_path: Path) -> None:
    path = tmp_path / "hosting.txt"
    path.write_text("# hosting\n198.18.144.0/20  # all of it\n\nhetzner\n2001:db8:2494::/48\n300.1.1.1\n")
    with pytest.raises(InputError) as caught:
        read_prefixes(path)
    assert [problem.place for problem in caught.value.problems] == [f"{path}:4", f"{path}:6"]
    assert parse_prefixes("198.18.144.1 # one\n", "x") == ("198.18.144.1/32",)


def test_everything_and_no_cross_talk_between_families() -> None:
    table = PrefixTable(["0.0.0.0/0", "::/1"])
    assert table.find(packed("198.18.0.1")) == "0.0.0.0/0"
    assert table.find(packed("2001:db8::1")) == "::/1"
    assert PrefixTable(["::/0"]).find(packed("198.18.0.1")) is None
    assert PrefixTable([]).find(packed("198.18.0.1")) is None


def test_the_shipped_table_knows_the_emulated_world() -> None:
    table = GeoTable.read(shipped.folder("policies") / "lists" / "geo-emulated.csv")
    assert (table.country(packed("100.64.1.1")), table.asn(packed("100.64.1.1"))) == ("TM", 20661)
    assert table.asn(packed("100.65.1.1")) == 51495
    for group, asn in (("cloudflare", 13335), ("hosting", 24940)):
        for prefix in GROUPS[group]:
            assert {table.asn(address.packed) for address in ipaddress.ip_network(prefix)} == {asn}
    assert table.network(packed("2001:db8:1323::1")) == "Yandex"
    assert table.country(packed("192.0.2.1")) is None
    assert table.network(packed("192.0.2.1")) == ""
    assert table.prefixes(asns=[13335]) == ("198.18.128.0/20", "2001:db8:1333::/48")
    for country in ("TM", "RU", "US"):
        for prefix in table.prefixes(countries=[country]):
            network = ipaddress.ip_network(prefix)
            emulated = ("100.64.0.0/10", "198.18.0.0/15") if network.version == 4 else ("2001:db8::/32",)
            assert any(network.subnet_of(ipaddress.ip_network(known)) for known in emulated)  # type: ignore[arg-type]


def test_maxmind_tables_are_read_with_their_locations() -> None:
    table = GeoTable.load(BLOCKS, locations=LOCATIONS)
    assert [table.country(packed(f"198.18.{third}.1")) for third in range(4)] == ["TM", "RU", None, None]
    networks = "network,autonomous_system_number,autonomous_system_organization\n198.18.0.0/25,20661,State Company\n"
    both = table | GeoTable.load(networks)
    address = packed("198.18.0.1")
    assert (both.country(address), both.asn(address), both.network(address)) == ("TM", 20661, "State Company")
    assert both.asn(packed("198.18.0.129")) is None


@pytest.mark.parametrize(
    ("text", "line", "mend"),
    [
        ("address,land\n", 1, "begin with"),
        ("", 1, "begin with"),
        ("# c\n" + GEO + "198.18.0.0/99,TM,,\n", 3, "write it like"),
        (GEO + "198.18.0.0/24,Turkmenistan,,\n", 2, "two letters"),
        (GEO + "198.18.0.0/24,TM,20661x,\n", 2, "like `13335`"),
        (GEO + "\n198.18.0.0/24,TM\n", 3, "in quotes"),
        (GEO + "198.18.0.0/24,,,nobody\n", 2, "give one"),
        (BLOCKS, 2, "Country-Locations"),
    ],
)
def test_wrong_tables_are_told_with_their_line(text: str, line: int, mend: str) -> None:
    with pytest.raises(InputError) as caught:
        GeoTable.load(text, place="geo.csv")
    assert any(p.place == f"geo.csv:{line}" and mend in p.mend for p in caught.value.problems), caught.value.problems
