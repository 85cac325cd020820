"""The shipped student: quality and embedding of a face in one pass, and how it is trained."""
