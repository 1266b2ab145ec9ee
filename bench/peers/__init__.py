"""What Stopline is measured beside; `bench/__main__.py` says how."""
