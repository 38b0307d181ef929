"""A database backend of Django: one alias that always leads to the present primary of a cluster."""
