"""The recorded data is read where it lies; where it is absent its tests are not collected."""

from tests.conftest import shared_dir

collect_ignore = [] if shared_dir() else ["test_inferno_data.py"]
