"""Backups that are proven: made from the present primary, sealed, stored in several places, restored and compared."""
