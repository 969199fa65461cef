"""Recording a corpus: sentences, microphone, session and the check of a take."""
