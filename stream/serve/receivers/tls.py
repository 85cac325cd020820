"""Whom receivers' certificates are checked against."""

from __future__ import annotations

import ssl

from ...errors import ConfigError


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's authorities, and those of a PEM file besides. Raises ConfigError."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError as error:
            raise ConfigError(f"ca_file: expected certificates in PEM, {ca_file!r} holds none") from error
        except OSError as error:
            raise ConfigError(f"ca_file: {ca_file!r} cannot be read: {error.strerror}") from error
    return context
