"""Tracks of one person become one identity, within a video and across sources and runs."""

from .database import SqliteDatabase
from .linker import Appearance, Linker, Visit
from .sql import SqlStore
from .store import IdentityStore
from .templates import Template, track_template
from .thresholds import LinkThresholds, VerificationTable

__all__ = [
    "Appearance",
    "IdentityStore",
    "LinkThresholds",
    "Linker",
    "SqlStore",
    "SqliteDatabase",
    "Template",
    "VerificationTable",
    "Visit",
    "track_template",
]
