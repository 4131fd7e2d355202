import pytest

pytest.register_assert_rewrite(
    *(f"tests.metastore.{name}" for name in ("transactions", "watches", "leases", "scenario"))
)
