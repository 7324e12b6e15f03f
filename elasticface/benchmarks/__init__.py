"""The nine benchmarks of the paper, as the field runs them: a model in, figures out."""
