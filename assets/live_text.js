// Text under the recorder while somebody speaks. Runs once, in the component of that text:
// `element` is its HTML, `server` calls the app. The recorder's events call start and stop.
const PIECE_SECONDS = 0.25;  // sound sent at a time, at least: the text is as old as this
const MOST_SECONDS = 4;      // sound sent at a time, at most
const LONGEST_SECONDS = 125; // a recording nobody stops; the app previews 120 s
const STATES = {
  loading: "Getting the model ready. You can speak already.",
  listening: "Slim model, while you speak:",
  full: "This is as far as text is shown while you speak; the recording goes on.",
  ended: "Heard while you spoke. Press Compare for the complete recording.",
};
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
});`;
const part = (name) => element.querySelector(`.ws-live-${name}`);
let current = null;

function show(state, kept, now) {
  part("state").textContent = state;
  part("kept").textContent = kept || "";
  part("now").textContent = now || "";
  part("text").hidden = !kept && !now;
  element.querySelector(".ws-live").classList.toggle("ws-live-on", Boolean(state));
}

async function listen(run) {
  run.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  run.context = new AudioContext();
  const module = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
  await run.context.audioWorklet.addModule(module);
  URL.revokeObjectURL(module);
  const tap = new AudioWorkletNode(run.context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  tap.port.onmessage = (event) => {
    if (!run.stopped) { run.blocks.push(event.data); run.samples += event.data.length; }
  };
  run.context.createMediaStreamSource(run.stream).connect(tap);
}

function release(run) {
  run.stopped = true;
  run.stream?.getTracks().forEach((track) => track.stop());
  if (run.context && run.context.state !== "closed") run.context.close();
}

function takeSound(run) {
  const most = Math.round(MOST_SECONDS * run.context.sampleRate);
  const sound = new Int16Array(Math.min(run.samples, most + 4096));
  let filled = 0;
  while (run.blocks.length && filled + run.blocks[0].length <= sound.length) {
    for (const value of run.blocks.shift()) {
      sound[filled++] = Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
    }
  }
  run.samples -= filled;
  run.sent += filled;
  const bytes = new Uint8Array(sound.buffer, 0, 2 * filled);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
}

const answered = (found) => {
  if (!found || found.error) throw new Error(found ? found.error : "the app does not answer");
  return found;
};
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function follow(run, asked) {
  show("Starting…");
  await listen(run);
  const rate = run.context.sampleRate;
  run.key = answered(await server.begin({ ...asked, rate })).key;
  while (!run.stopped) {
    if (run.samples < PIECE_SECONDS * rate) { await pause(30); continue; }
    if (run.sent > LONGEST_SECONDS * rate) break;
    const found = answered(await server.feed({ key: run.key, pcm: takeSound(run) }));
    if (run === current) show(STATES[found.state], found.kept, found.now);
  }
  const found = answered(await server.end({ key: run.key }));
  if (run === current) show(STATES[found.state], found.kept, found.now);
}

async function start(wanted, slim, engine, language) {
  stop();
  const run = { stopped: false, blocks: [], samples: 0, sent: 0, key: null };
  current = run;
  show("");
  if (!wanted) return;
  try {
    await follow(run, { slim, engine, language });
  } catch (error) {
    // The recording itself does not depend on any of this.
    if (run === current) show(`No text while you speak: ${error.message}`);
  } finally {
    release(run);
  }
}

function stop() {
  if (current) release(current);
}

function clear() {
  stop();
  current = null;
  show("");
}

window.whisperSlimLive = { start, stop, clear };
