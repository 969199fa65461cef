"""The browser app: a remote control for the same recipes and commands as in the terminal."""

from whisperslim.ui.app import gradio_stubs

gradio_stubs.leave_alone()
