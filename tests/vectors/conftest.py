"""These tests read recorded data; where it is absent they are not collected."""

from tests.conftest import shared_dir

collect_ignore_glob = [] if shared_dir() else ["test_*.py"]
