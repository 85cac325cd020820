"""Offline evaluation: published data sets, recognisers as judges, figures, plots and one page."""
