"""What models of the tests are given of a recording."""

from whisperslim.inputs import InputSpec

WHISPERS = InputSpec("log_mel", bands=80, max_frames=3000)
