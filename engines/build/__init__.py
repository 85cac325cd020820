"""Precisions as graphs, offline: fp16 and int8 made from an fp32 ONNX, and the gate that lets them in.

Needs `pip install 'facesieve[build]'`; nothing here is imported when a pipeline runs.
"""
