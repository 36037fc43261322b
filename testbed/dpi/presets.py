"""Named sets of flaws: how a given censor follows connections and reads bytes. A policy takes one by `preset: NAME`.

`tm-2021`, `tm-2022`  facts/turkmenistan.md §1 and its evasion table (Nourin et al. 2023)
`gfw`                 full reassembly, nothing verified, torn down by any RST (Wang et al. 2017, Bock et al. 2019; G)
`strict`              verifies and reassembles all it can: the censor that no published trick should fool
`geneva-1` … `-11`    the mock censors of Bock et al. 2019, from the behaviour of their published code, flaws included;
                      with `geneva-0`, which looks at nothing twice and follows nothing (their dummy), thirteen
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Preset = Mapping[str, Mapping[str, Any]]

_TM_2022: Preset = {
    "parser": {
        "dns_max_count": 25, "reassembly": "none", "http_leading_newline": False, "http_space_after_version": False,
        "http_space_before_host": False, "http_longest_host": 256, "verify_checksum": False,
        "tls_loose_lengths": True,  # I: so are the hellos by which ART measured names, all but those of 11 letters
    },
    "tracking": {"teardown": {"flags": ("R", "RA"), "checks": "4-tuple", "effect": "blind", "before_entry": True}},
}  # fmt: skip
_TOLERANT: Mapping[str, Any] = {
    "http_leading_newline": True, "http_space_after_version": True, "http_space_before_host": True,
    "http_longest_host": 8192, "http_leading_space": True, "http_several_spaces": True,
    "http_lower_case_method": True, "http_any_method": True, "http_any_version": True, "http_space_before_colon": True,
    "http_space_before_name": True, "http_folded_headers": True, "http_target_host": True, "http_pipelined": True,
    "http_bare_cr": True,
}  # fmt: skip
_CARELESS: Mapping[str, Any] = {
    "verify_data_offset": False, "fragments": "first-alone", "packets_inspected": 1_000_000,
}  # fmt: skip
_MINDS_LOW: Mapping[str, Any] = {**_CARELESS, "verify_data_offset": "low"}
_ONE_SYN: dict[str, Any] = {
    "literal": True, "entries": "one", "opens": ("syn",), "renews": ("syn",), "without_entry": "ignore",
    "sequence": "exact", "teardown": {"flags": (), "checks": "nothing"},
}  # fmt: skip
_ONE_TORN: dict[str, Any] = {"literal": True, "entries": "one", "without_entry": "inspect", "inspects_syn": True}
_MANY_EXACT: dict[str, Any] = {
    "literal": True, "entries": "many", "opens": ("syn",), "renews": ("syn",), "without_entry": "ignore",
    "sequence": "exact",
}  # fmt: skip
_CAREFUL_RESYNC: dict[str, Any] = {
    "sender": "client", "checks": "sequence", "before_entry": False, "effect": "resync",
}  # fmt: skip

PRESETS: Mapping[str, Preset] = {
    "tm-2021": _TM_2022,
    "tm-2022": _TM_2022,
    "gfw": {
        "parser": {
            "reassembly": "first-wins", "fragments": "first-wins", "inspects": "client", "verify_data_offset": False,
            "tls_join_records": False, "packets_inspected": 32, **_TOLERANT,
        },
        "tracking": {
            "opens": ("syn", "syn-ack"), "without_entry": "ignore", "server_confirms": True,
            "teardown": {"flags": ("R", "RA"), "checks": "4-tuple", "effect": "blind", "before_entry": False},
        },
    },
    "strict": {
        "parser": {
            "reassembly": "either", "fragments": "last-wins", "tls_join_records": True,
            "tls_skip_records": True, "http_duplicate_host": "any", "http_whole_line": True, "verify_checksum": True,
            "verify_ttl": True, "verify_ack": True, "verify_md5": True, "packets_inspected": 1000,
            "bytes_inspected": "64 KiB", "dns_over_tcp": True, **_TOLERANT,
        },
        "tracking": {
            "without_entry": "inspect", "server_confirms": True, "inspects_syn": True,
            "teardown": {"checks": "sequence", "checksum": True, "before_entry": False, "effect": "forget"},
        },
    },
    "geneva-0": {"parser": {}, "tracking": {"opens": (), "without_entry": "ignore"}},
    "geneva-1": {"parser": _CARELESS, "tracking": _ONE_SYN},
    "geneva-2": {"parser": _CARELESS, "tracking": _ONE_SYN},
    "geneva-3": {"parser": _CARELESS, "tracking": _ONE_SYN},
    "geneva-4": {"parser": _CARELESS, "tracking": {**_ONE_SYN, "opens": ("syn", "ack"), "renews": ("syn", "ack")}},
    "geneva-5": {"parser": _CARELESS, "tracking": _ONE_SYN},
    "geneva-6": {
        "parser": _CARELESS,
        "tracking": {**_ONE_TORN, "teardown": {"flags": ("R", "RA", "F"), "checks": "nothing"}},
    },
    "geneva-7": {
        "parser": _CARELESS,
        "tracking": {**_ONE_TORN, "teardown": {"flags": ("R", "RA", "F"), "checks": "4-tuple", "before_entry": False}},
    },
    "geneva-8": {
        "parser": _CARELESS,
        "tracking": {
            **_ONE_TORN, "opens": ("syn",), "inspects_syn": False,
            "teardown": {"flags": ("R", "F"), "checks": "sequence", "before_entry": False},
        },
    },
    "geneva-8b": {
        "parser": _MINDS_LOW,
        "tracking": {
            **_MANY_EXACT, "renews_takes": "one-more",
            "teardown": {**_CAREFUL_RESYNC, "flags": ("R", "RA"), "effect": "forget"},
        },
    },
    "geneva-9": {
        "parser": _CARELESS,
        "tracking": {
            **_MANY_EXACT, "entries": "one", "renews": (), "without_entry": "inspect",
            "inspects_syn": True,
            "teardown": {**_CAREFUL_RESYNC, "flags": ("R", "F"), "before_entry": True},
        },
    },
    "geneva-10": {
        "parser": {**_CARELESS, "verify_checksum": True},
        "tracking": {
            **_MANY_EXACT, "resync_inspects": False, "resync_takes": "expected",
            "teardown": {**_CAREFUL_RESYNC, "flags": ("R", "F")},
        },
    },
    "geneva-11": {
        "parser": {**_MINDS_LOW, "verify_checksum": True},
        "tracking": {
            **_MANY_EXACT, "opens": ("syn", "ack"), "renews": ("syn", "ack"), "resync_inspects": False,
            "resync_takes": "expected", "teardown": {**_CAREFUL_RESYNC, "flags": ("R", "RA", "F", "FA")},
        },
    },
}  # fmt: skip
