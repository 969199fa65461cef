"""The app in use: loading, pages, many users at once, text while somebody speaks."""
