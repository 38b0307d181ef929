"""What a phone in the field needs: deltas without a gap, and a queue of changes that may be sent twice."""
