"""Who may reach the app, and what it accepts from them."""
