"""The eye head: how far the lids are apart, distilled from MediaPipe's iris network."""
