"""`prometheus`: a page that Prometheus scrapes."""
