// The level of a microphone, drawn into a `.ws-level` of the page.
(() => {
  const SILENT_FROM_THE_START = 5000; // milliseconds
  const QUIET = 0.006, CLIPPED = 0.985; // of full scale; speech at arm's length is above the first
  const REDRAWN = 50; // milliseconds; no faster: the models need the processor

  // `hear` takes the loudest sample since it was called last; `stop` hides the meter.
  window.whisperSlimLevel = (box) => {
    const bar = box.querySelector(".ws-level-bar"), begun = performance.now();
    let loudest = 0, shown = 0, heard = false, clippedUntil = 0, on = true;
    const draw = () => {
      if (!on) return;
      shown = Math.max(loudest, shown * 0.75); // falls slowly, so that a short sound can be seen
      heard ||= loudest > QUIET;
      const decibels = 20 * Math.log10(Math.max(shown, 1e-4)); // -60 dB is the left end
      const share = Math.round(Math.min(100, Math.max(0, 100 * (1 + decibels / 60))));
      bar.firstElementChild.style.width = `${share}%`;
      bar.setAttribute("aria-valuenow", share);
      if (loudest >= CLIPPED) clippedUntil = performance.now() + 1500;
      const clipped = performance.now() < clippedUntil;
      // A pause is no fault; a microphone of which nothing at all has come may be off.
      const silent = !heard && performance.now() - begun > SILENT_FROM_THE_START;
      bar.classList.toggle("ws-level-high", clipped);
      box.querySelector(".ws-level-word").textContent =
        clipped ? "Too loud: move back a little" : silent ? "Nothing is heard: is the microphone on?" : "";
      loudest = 0;
      setTimeout(draw, REDRAWN);
    };
    box.classList.add("ws-level-on");
    draw();
    return {
      hear(value) { loudest = Math.max(loudest, value); },
      stop() {
        if (on) box.classList.remove("ws-level-on");
        on = false;
      },
    };
  };

  // Beside a recorder that needs nothing of the sound but its level.
  let reading = null;
  window.whisperSlimReading = {
    async start(selector) {
      this.stop();
      const box = document.querySelector(selector);
      const run = reading = { level: window.whisperSlimLevel(box) };
      try {
        run.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      } catch {
        return run.level.stop(); // the recorder says what is wrong
      }
      run.context = new AudioContext();
      const analyser = run.context.createAnalyser();
      run.context.createMediaStreamSource(run.stream).connect(analyser);
      const samples = new Float32Array(analyser.fftSize);
      run.timer = setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        run.level.hear(samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
      }, REDRAWN);
      if (reading !== run) end(run); // it was stopped while the microphone was asked for
    },
    stop() {
      if (reading) end(reading);
      reading = null;
    },
  };

  function end(run) {
    run.level.stop();
    clearInterval(run.timer);
    run.stream?.getTracks().forEach((track) => track.stop());
    if (run.context && run.context.state !== "closed") run.context.close();
  }
})();
