"""Puts this folder on the path, wherever a session begins; the assertions of shared helpers say what they compared."""

import pytest

pytest.register_assert_rewrite("interrupting", "watching")
