"""How ready a cluster is for its worst day: the journals of drills, and one traffic light made of what was measured."""
