"""What the agent answers over HTTP: load balancers, health, clusters, orders, metrics, and the page."""
