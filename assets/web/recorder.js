// Samples as the microphone gives them, without a codec between.
registerProcessor('samples', class extends AudioWorkletProcessor {
  process([input]) {
    if (input[0]) this.port.postMessage(input[0].slice());
    return true;
  }
});
