"""Offline check of a run: does the teacher agree with its choice, and does a recogniser gain by it?"""
