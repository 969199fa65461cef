"""A transcription server that speaks OpenAI's API, bounded in all that it takes.

It needs the extra `serve`, and neither Gradio nor torch for exports.
"""
