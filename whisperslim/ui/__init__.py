"""The browser app: a remote control over the recipes and commands that the terminal has, too."""

from whisperslim.ui.app import gradio_stubs

gradio_stubs.leave_alone()
