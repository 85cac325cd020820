"""Where results go: files on disk and the HTML report."""
