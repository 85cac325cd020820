"""Live cameras: ingest, delivery of events and the service around the pipeline."""
