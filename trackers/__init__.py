"""Multi-object tracking in real time units: ByteTrack and OC-SORT."""
