"""One process per host: probes, decides, acts, renews the lease."""
