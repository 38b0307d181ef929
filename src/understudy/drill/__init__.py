"""Drills: faults made on purpose, measured by writers with ledgers of their own, with a journal as the evidence."""
