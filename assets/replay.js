// Plays the moments of a training in the table that the server drew. `element` is the component.
let playing = null;

const parts = () => {
  const card = element.querySelector(".ws-replay");
  return card && {
    card,
    frames: JSON.parse(card.dataset.frames),
    time: card.querySelector(".ws-replay-time"),
    shown: card.querySelector(".ws-replay-shown"),
    play: card.querySelector(".ws-replay-play"),
    at: card.querySelector(".ws-replay-at"),
  };
};

// The same words as the server's `percent_words`.
const words = (share) => {
  if (share <= 0) return "0";
  const whole = Math.round(100 * share);
  return whole === 0 ? "<1" : whole === 100 && share < 1 ? ">99" : String(whole);
};

const draw = (seen) => {
  const at = Number(seen.time.value);
  const values = seen.frames[seen.shown.value][at];
  const name = seen.frames.names[at];
  seen.at.textContent = name;
  seen.time.setAttribute("aria-valuetext", name);
  const byKey = new Map(seen.frames.keys.map((key, index) => [key, values[index]]));
  for (const cell of seen.card.querySelectorAll("[data-key]")) {
    const share = byKey.get(cell.dataset.key);
    cell.style.setProperty("--share", share.toFixed(3));
    cell.textContent = words(share);
  }
};

const stop = () => {
  clearInterval(playing);
  playing = null;
  const seen = parts();
  if (seen) seen.play.textContent = "Play";
};

const start = (seen) => {
  if (seen.time.value === seen.time.max) seen.time.value = "0";
  seen.play.textContent = "Pause";
  draw(seen);
  playing = setInterval(() => {
    const now = parts();
    if (!now || !element.isConnected || now.time.value === now.time.max) return stop();
    now.time.value = String(Number(now.time.value) + 1);
    draw(now);
  }, 450);
};

element.addEventListener("click", (event) => {
  if (!event.target.closest(".ws-replay-play")) return;
  if (playing) stop(); else start(parts());
});
element.addEventListener("input", (event) => {
  if (event.target.closest(".ws-replay-time")) stop();
  if (event.target.closest(".ws-replay-time, .ws-replay-shown")) draw(parts());
});
watch("value", stop);
