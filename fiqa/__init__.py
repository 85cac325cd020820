"""Offline science: teachers, distillation and evaluation. Nothing here is imported at run time."""
