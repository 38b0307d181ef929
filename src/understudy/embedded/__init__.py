"""Real servers started from wheels, and a TCP proxy that breaks the way networks do: for the demo and the tests."""
