"""The app at work: loading, pages, many at once, text while somebody speaks."""
