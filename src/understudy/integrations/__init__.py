"""Understudy inside the frameworks that applications are written in; each is imported only where it is used."""
