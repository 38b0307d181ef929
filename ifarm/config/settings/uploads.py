"""How much one request may send: an import's file (`exchange/reading.py`), and what is around it."""

DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 2**20
