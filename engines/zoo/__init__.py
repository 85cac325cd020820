"""Where weights come from: a manifest of sources, hashes and licences, and the store that fetches them."""
