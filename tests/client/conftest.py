"""What reads recorded data is collected where it is."""

from tests.conftest import shared_dir

collect_ignore = [] if shared_dir() else ["test_recorded.py"]
