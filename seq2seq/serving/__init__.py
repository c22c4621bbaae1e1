"""Models behind an HTTP interface: requests that wait together are answered together."""
