"""Side-by-side measurements: Stopline beside what a user would otherwise write, on the same work in the same run."""
