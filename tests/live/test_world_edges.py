"""Whatever name and request a program comes up with, the world has an answer; checked in one shared country."""

from __future__ import annotations

import pytest

from testbed.world.names import addresses_for
from tests.live.conftest import SharedCountry

pytestmark = pytest.mark.live
LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 53, "example"])
STATUS = "curl -sS -m 20 -o /dev/null -w '%{http_code}\\n'"


@pytest.mark.parametrize(
    "name",
    ["a_b.example", "localhost2", "123.456.example", "x.y.z.any.example", "ANY.Example", "пример.example", LONG],
)
def test_any_name_has_a_page_and_a_right_certificate(country: SharedCountry, name: str) -> None:
    (line,) = country.shell(f"curl -4 -sS -o /dev/null -w '%{{http_code}} %{{remote_ip}}' https://{name}/")
    assert line == f"200 {addresses_for(name.encode('idna').decode() if len(name) < 60 else name, {})[0]}"


def test_many_first_visitors_at_once_are_all_served(country: SharedCountry) -> None:
    one = f"seq 30 | xargs -P30 -I{{}} {STATUS} https://new.example/"
    many = f"seq 60 | xargs -P30 -I{{}} {STATUS} https://new{{}}.example/"
    assert country.shell(f"({one}; {many}) | sort | uniq -c | tr -s ' '") == [" 90 200"]


def test_requests_of_every_method_and_form(country: SharedCountry) -> None:
    lines = country.shell(
        f"{STATUS} -I https://any.example/bytes/100; {STATUS} -X PUT -d abc https://any.example/;"
        f"{STATUS} -X DELETE https://any.example/; head -c 3000000 /dev/zero | {STATUS} --data-binary @- https://any.example/;"
        f"head -c 90000 /dev/zero | {STATUS} -H 'Transfer-Encoding: chunked' --data-binary @- http://any.example/;"
        "curl -sS -d x=1 -H 'X-Mine: yes' https://any.example/headers | grep -c '\"x-mine\": \"yes\"';"
        f"{STATUS} https://any.example/status/503; {STATUS} https://any.example/status/999;"
        f"{STATUS} https://198.19.1.2/; {STATUS} http://198.19.1.2/"
    )
    assert lines == ["200", "200", "200", "200", "200", "1", "503", "400", "200", "200"]


def test_a_big_download_is_whole_and_a_late_answer_late(country: SharedCountry) -> None:
    lines = country.shell(
        "curl -sS https://any.example/bytes/200000000 | wc -c;"
        "curl -sS -o /dev/null -w '%{time_total}' https://any.example/delay/0.7"
    )
    assert lines[0] == "200000000"
    assert 0.7 <= float(lines[1]) < 3


def test_tls_versions(country: SharedCountry) -> None:
    lines = country.shell(
        f"{STATUS} --tls-max 1.2 https://any.example/; {STATUS} --tlsv1.3 https://any.example/;"
        f"{STATUS} --tlsv1.0 --tls-max 1.1 https://any.example/ 2>/dev/null; echo $?"
    )
    assert lines == ["200", "200", "000", "35"]


def test_the_resolvers_speak_every_transport_with_a_right_certificate(country: SharedCountry) -> None:
    four = addresses_for("any.example", {})[0]
    ca = "+tls-ca=/etc/ssl/certs/ca-certificates.crt"
    lines = country.shell(
        "dig +short @100.64.0.53 any.example; dig +short +tcp @100.64.0.53 any.example;"
        "dig +short @198.18.0.53 any.example; dig +short +tcp @198.18.0.53 any.example;"
        f"kdig +short {ca} +tls-hostname=dns.google @198.18.0.53 any.example;"
        f"kdig +short {ca} +tls-hostname=wrong.example @198.18.0.53 any.example 2>&1 | grep -c certificate;"
        f"kdig +short {ca} +https +tls-hostname=cloudflare-dns.com @198.18.0.53 any.example;"
        "curl -4 -sS -o /dev/null -w '%{remote_ip}\\n' --doh-url https://dns.google/dns-query https://any.example/"
    )
    assert lines == [four] * 5 + ["1"] + [four] * 2


def test_other_record_types_exist_and_are_empty(country: SharedCountry) -> None:
    kinds = "TXT MX NS CNAME HTTPS SRV"
    lines = country.shell(f"for k in {kinds}; do dig any.example $k | grep -c 'NOERROR\\|ANSWER: 0'; done")
    assert lines == ["2"] * 6
