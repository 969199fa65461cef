"""The models on this computer: what there is, what they know, fetching and deleting them."""
