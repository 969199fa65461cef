"""Files and folders on disk: written whole, and checked when somebody else wrote them."""
