"""CTranslate2: what it can hold, export and engine."""
