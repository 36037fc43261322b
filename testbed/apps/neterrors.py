"""Browsers' network errors in OONI's words, and what each is about. Pure.

Names: Chromium's net/base/net_error_list.h and components/error_page/common/net_error_info.h, which a person reads in
the last line of an error page; Firefox's xpcom/base/ErrorList.py and NSS's sslerr.h and secerr.h, which it keeps to
itself. Words: github.com/ooni/spec, data-formats/df-007-errors.
"""

from __future__ import annotations

from collections.abc import Mapping

_RESOLVE, _CONNECT, _TLS, _HTTP = "resolve", "connect", "tls_handshake", "http_round_trip"
#: error → OONI's word, the operation that failed
ERRORS: Mapping[str, tuple[str, str]] = {
    "ERR_NAME_NOT_RESOLVED": ("dns_nxdomain_error", _RESOLVE),
    "DNS_PROBE_FINISHED_NXDOMAIN": ("dns_nxdomain_error", _RESOLVE),
    "DNS_PROBE_STARTED": ("dns_nxdomain_error", _RESOLVE),
    "DNS_PROBE_POSSIBLE": ("dns_nxdomain_error", _RESOLVE),
    "DNS_PROBE_FINISHED_NO_INTERNET": ("generic_timeout_error", _RESOLVE),
    "DNS_PROBE_FINISHED_BAD_CONFIG": ("generic_timeout_error", _RESOLVE),
    "DNS_PROBE_BAD_SECURE_CONFIG": ("dns_non_recoverable_failure", _RESOLVE),
    "ERR_DNS_TIMED_OUT": ("generic_timeout_error", _RESOLVE),
    "ERR_DNS_MALFORMED_RESPONSE": ("dns_server_misbehaving", _RESOLVE),
    "ERR_DNS_SERVER_FAILED": ("dns_servfail_error", _RESOLVE),
    "ERR_NAME_RESOLUTION_FAILED": ("dns_non_recoverable_failure", _RESOLVE),
    "ERR_CONNECTION_REFUSED": ("connection_refused", _CONNECT),
    "ERR_CONNECTION_FAILED": ("host_unreachable", _CONNECT),
    "ERR_CONNECTION_TIMED_OUT": ("generic_timeout_error", _CONNECT),
    "ERR_ADDRESS_UNREACHABLE": ("host_unreachable", _CONNECT),
    "ERR_ADDRESS_INVALID": ("host_unreachable", _CONNECT),
    "ERR_NETWORK_CHANGED": ("network_unreachable", _CONNECT),
    "ERR_INTERNET_DISCONNECTED": ("network_unreachable", _CONNECT),
    "ERR_NETWORK_ACCESS_DENIED": ("network_unreachable", _CONNECT),
    "ERR_PROXY_CONNECTION_FAILED": ("connection_refused", "connect through the tool"),
    "ERR_SOCKS_CONNECTION_FAILED": ("connection_refused", "connect through the tool"),
    "ERR_SOCKS_CONNECTION_HOST_UNREACHABLE": ("host_unreachable", "connect through the tool"),
    "ERR_TUNNEL_CONNECTION_FAILED": ("connection_refused", "connect through the tool"),
    "ERR_CERT_AUTHORITY_INVALID": ("ssl_unknown_authority", _TLS),
    "ERR_CERT_COMMON_NAME_INVALID": ("ssl_invalid_hostname", _TLS),
    "ERR_CERT_DATE_INVALID": ("ssl_invalid_certificate", _TLS),
    "ERR_CERT_INVALID": ("ssl_invalid_certificate", _TLS),
    "ERR_CERT_REVOKED": ("ssl_invalid_certificate", _TLS),
    "ERR_CERT_WEAK_KEY": ("ssl_invalid_certificate", _TLS),
    "ERR_CERT_WEAK_SIGNATURE_ALGORITHM": ("ssl_invalid_certificate", _TLS),
    "ERR_CERT_VALIDITY_TOO_LONG": ("ssl_invalid_certificate", _TLS),
    "ERR_SSL_PROTOCOL_ERROR": ("ssl_failed_handshake", _TLS),
    "ERR_SSL_VERSION_OR_CIPHER_MISMATCH": ("ssl_failed_handshake", _TLS),
    "ERR_SSL_UNRECOGNIZED_NAME_ALERT": ("ssl_failed_handshake", _TLS),
    "ERR_BAD_SSL_CLIENT_AUTH_CERT": ("ssl_failed_handshake", _TLS),
    "ERR_ECH_NOT_NEGOTIATED": ("ssl_failed_handshake", _TLS),
    # QUIC says nothing more than that the other end fell silent or closed
    "ERR_QUIC_PROTOCOL_ERROR": ("generic_timeout_error", "quic_handshake"),
    "ERR_QUIC_HANDSHAKE_FAILED": ("generic_timeout_error", "quic_handshake"),
    "ERR_CONNECTION_RESET": ("connection_reset", _HTTP),
    "ERR_CONNECTION_ABORTED": ("connection_aborted", _HTTP),
    "ERR_CONNECTION_CLOSED": ("eof_error", _HTTP),
    "ERR_EMPTY_RESPONSE": ("eof_error", _HTTP),
    "ERR_CONTENT_LENGTH_MISMATCH": ("eof_error", _HTTP),
    "ERR_INCOMPLETE_CHUNKED_ENCODING": ("eof_error", _HTTP),
    "ERR_INVALID_HTTP_RESPONSE": ("unknown_failure: not an HTTP response", _HTTP),
    "ERR_TIMED_OUT": ("generic_timeout_error", _HTTP),
    "NS_ERROR_UNKNOWN_HOST": ("dns_nxdomain_error", _RESOLVE),
    "NS_ERROR_DNS_LOOKUP_QUEUE_FULL": ("dns_temporary_failure", _RESOLVE),
    "NS_ERROR_CONNECTION_REFUSED": ("connection_refused", _CONNECT),
    "NS_ERROR_NET_TIMEOUT": ("generic_timeout_error", _CONNECT),
    "NS_ERROR_OFFLINE": ("network_unreachable", _CONNECT),
    "NS_ERROR_PROXY_CONNECTION_REFUSED": ("connection_refused", "connect through the tool"),
    "NS_ERROR_UNKNOWN_PROXY_HOST": ("dns_nxdomain_error", "connect through the tool"),
    "SEC_ERROR_UNKNOWN_ISSUER": ("ssl_unknown_authority", _TLS),
    "SEC_ERROR_UNTRUSTED_ISSUER": ("ssl_unknown_authority", _TLS),
    "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT": ("ssl_unknown_authority", _TLS),
    "MOZILLA_PKIX_ERROR_MITM_DETECTED": ("ssl_unknown_authority", _TLS),
    "SSL_ERROR_BAD_CERT_DOMAIN": ("ssl_invalid_hostname", _TLS),
    "SEC_ERROR_EXPIRED_CERTIFICATE": ("ssl_invalid_certificate", _TLS),
    "SSL_ERROR_UNSUPPORTED_VERSION": ("ssl_failed_handshake", _TLS),
    "SSL_ERROR_NO_CYPHER_OVERLAP": ("ssl_failed_handshake", _TLS),
    "NS_ERROR_NET_RESET": ("connection_reset", _HTTP),
    "PR_CONNECT_RESET_ERROR": ("connection_reset", _HTTP),
    "NS_ERROR_NET_INTERRUPT": ("eof_error", _HTTP),
    "NS_ERROR_NET_EMPTY_RESPONSE": ("eof_error", _HTTP),
    "NS_ERROR_NET_PARTIAL_TRANSFER": ("eof_error", _HTTP),
    "PR_END_OF_FILE_ERROR": ("eof_error", _HTTP),
}  # fmt: skip
_BLOCKING: Mapping[str, str] = {
    _RESOLVE: "dns", _CONNECT: "tcp_ip", _TLS: "http-failure", _HTTP: "http-failure", "quic_handshake": "http-failure",
}  # fmt: skip


def meaning(error: str) -> tuple[str, str, str | None]:
    """Return an error's word, its operation and OONI's kind of blocking.

    An error that no censor causes is an `unknown_failure` and no kind of blocking.
    """
    word, operation = ERRORS.get(error, (f"unknown_failure: {error}", _HTTP))
    return word, operation, None if word.startswith("unknown_failure") else _BLOCKING.get(operation)
