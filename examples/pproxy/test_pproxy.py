"""pproxy's transports behind a state's censor: which get through, which don't, and what stops those."""

import pytest

SITE = "https://twitter.com/"  # every policy here keeps it from people
PROXY = "socks5://127.0.0.1:1080"


@pytest.fixture
def pproxy(censored_net):
    """Start a server abroad and a client at home that speak a transport; return how pages are fetched through them."""

    def through(transport, **fetch):
        far = transport.format(host=censored_net.address("tools"))
        censored_net.start("pproxy", "-l", far, node="tools", listens="tcp/8388")
        censored_net.start("pproxy", "-l", PROXY, "-r", far, listens="tcp/1080")
        return censored_net.fetch(SITE, proxy=PROXY, **fetch)

    return through


@pytest.mark.behind("tm-2022", "tm-2023-08")
def test_without_a_tool_the_site_is_blocked(censored_net):
    page = censored_net.fetch(SITE, address=censored_net.address("web"))  # its name was looked up elsewhere
    assert page.failure == "connection_reset"
    assert "tls-sni" in page.why


@pytest.mark.behind("tm-2022", "tm-2023-08")
def test_shadowsocks_gets_through(pproxy):
    page = pproxy("ss://aes-256-cfb:secret@{host}:8388")
    assert page.ok, page.why


@pytest.mark.behind("tm-2022")
def test_a_plain_http_proxy_does_not(pproxy):
    page = pproxy("http://{host}:8388")
    assert page.failure == "connection_reset"
    assert "twitter.com" in page.why  # the name stands in the hello behind CONNECT, for all to read


@pytest.mark.behind("allow-list")
def test_where_only_known_protocols_pass_shadowsocks_does_not(pproxy):
    page = pproxy("ss://aes-256-cfb:secret@{host}:8388", timeout_s=2)
    assert page.failure == "generic_timeout_error"
    assert "tcp-first-packet" in page.why


@pytest.mark.behind("tm-2022", link="national-2021")
def test_it_works_over_half_a_megabit(pproxy, record_property):
    page = pproxy("ss://aes-256-cfb:secret@{host}:8388")
    assert page.ok, page.why
    record_property("first_byte_s", page.first_byte_s)  # a figure to watch; a busy CI makes a bound on it flaky


def test_it_survives_a_censor_that_comes_while_it_runs(behind):
    with behind("open") as net:
        far = f"ss://aes-256-cfb:secret@{net.address('tools')}:8388"
        net.start("pproxy", "-l", far, node="tools", listens="tcp/8388")
        net.start("pproxy", "-l", PROXY, "-r", far, listens="tcp/1080")
        assert net.fetch(SITE, proxy=PROXY).ok
        with behind("tm-2022"):
            assert net.fetch(SITE, proxy=PROXY).ok
