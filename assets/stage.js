// The Compare stage: one button and the space bar record, P fills the screen and Esc leaves it, and
// words are highlighted while a recording plays. Gradio's recorder does the recording.
(() => {
  const TYPING = 'input, textarea, select, [contenteditable="true"]';
  const PRESSED = 'button:not([role="tab"]), a, summary, audio, [role="slider"], [role="option"]';
  const STEPS = 40, STEP_MS = 100; // the recorder draws itself anew after each press
  const root = document.documentElement;
  const seen = (element) => Boolean(element && element.offsetParent);
  const bar = () => document.querySelector(".ws-stage-bar");
  const onStage = () => seen(bar());
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  let recording = false, starting = false;

  function show() {
    root.classList.toggle("ws-hearing", recording);
    const button = bar()?.querySelector(".ws-record");
    if (!button) return;
    button.classList.toggle("ws-recording", recording);
    button.querySelector("span").textContent = recording ? "Stop" : "Record";
    button.disabled = root.classList.contains("no-microphone");
  }

  // A recording that is there must be cleared first, and an upload field be a recorder again.
  async function record() {
    if (starting) return;
    starting = true;
    try {
      for (let step = 0; step < STEPS; step++) {
        const box = document.querySelector("#recording");
        const button = box?.querySelector("button.record");
        if (button) return button.click();
        const next = box?.querySelector('button[aria-label="Clear"]')
          || box?.querySelector('button[aria-label="Record audio"]');
        next?.click();
        await pause(STEP_MS);
      }
    } finally {
      starting = false;
    }
  }

  function press() {
    if (recording) document.querySelector("#recording button.stop-button")?.click();
    else if (!root.classList.contains("no-microphone")) record();
  }

  async function project(on) {
    root.classList.toggle("ws-projected", on);
    const button = bar()?.querySelector(".ws-project");
    button?.setAttribute("aria-pressed", String(on));
    if (button) button.querySelector("span").textContent = on ? "Leave" : "Projector";
    if (button) button.querySelector("kbd").textContent = on ? "Esc" : "P";
    try {
      if (on) await root.requestFullscreen();
      else if (document.fullscreenElement) await document.exitFullscreen();
    } catch {
      // A browser may refuse to fill the screen; the page is large all the same.
    }
  }

  const projected = () => root.classList.contains("ws-projected");

  document.addEventListener("fullscreenchange", () => {
    if (!document.fullscreenElement && projected()) project(false);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !onStage()) return;
    if (event.key === "Escape" && projected()) return void project(false);
    if (event.target.closest?.(TYPING)) return;
    if (event.key === " " && !event.target.closest?.(PRESSED)) {
      event.preventDefault(); // the page must not scroll
      press();
    } else if (event.key === "p" || event.key === "P") {
      project(!projected());
    }
  });

  // The button can be seen before all of the page is there.
  function pressSample(tries = 50) {
    const sample = document.querySelector("#sample");
    if (sample) sample.click();
    else if (tries) setTimeout(pressSample, 100, tries - 1);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".ws-record, .ws-project, .ws-again, .ws-sample");
    if (!button) return;
    if (button.matches(".ws-record")) press();
    else if (button.matches(".ws-sample")) pressSample();
    else if (button.matches(".ws-project")) project(!projected());
    else for (const bar of document.querySelectorAll(".ws-race i")) {
      for (const race of bar.getAnimations()) { race.cancel(); race.play(); }
    }
  });

  // --- the word at the time that is played ---

  function highlight(player) {
    const stage = player.closest(".ws-stage"), found = document.querySelector(".ws-times");
    if (!stage || !found || found.dataset.key !== stage.dataset.key) return;
    const times = JSON.parse(found.dataset.times), at = player.currentTime;
    for (const [role, spans] of Object.entries(times)) {
      const words = stage.querySelectorAll(`[data-role="${role}"] .ws-word`);
      words.forEach((word, index) => {
        const [start, end] = spans[index] ?? [0, 0];
        word.classList.toggle("ws-at", at > 0 && start <= at && at < end);
      });
    }
  }

  function follow(player) {
    if (!player.isConnected) return;
    highlight(player);
    if (!player.paused && !player.ended) requestAnimationFrame(() => follow(player));
  }

  // These do not bubble, but are seen on the way down.
  for (const name of ["play", "seeked", "pause", "ended"]) {
    document.addEventListener(name, (event) => {
      if (event.target.matches?.(".ws-player")) follow(event.target);
    }, true);
  }

  window.whisperSlimStage = {
    recording(now) { recording = now; show(); },
    show,
  };
})();
