"""What differs per database. `base.py` is the contract; one folder per engine beneath."""
