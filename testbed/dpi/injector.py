"""The fingerprint of the censor's own packets, by which measurements tell its boxes apart."""

from __future__ import annotations

from pydantic import Field

from testbed.documents import Strict


class Injector(Strict):
    """IP header fields of injected packets."""

    ip_id: int = Field(default=0, ge=0, le=65535)
    ttl: int = Field(default=64, ge=1, le=255)
    df: bool = False
    tos: int = Field(default=0, ge=0, le=255)
