"""Pre- and post-processing of detectors and students; knows no engine."""
