"""The service's page and API: what is seen and steered over HTTP."""
