"""The streaming side: decoding, selection, sinks and the frame loop."""
