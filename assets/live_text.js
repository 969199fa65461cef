// Text under the recorder while somebody speaks. Runs once, in the component of that text:
// `element` is its HTML, `server` calls the app. The recorder's events call start and stop.
const PIECE_SECONDS = 0.25;  // sound sent at a time, at least: the text is as old as this
const MOST_SECONDS = 4;      // sound sent at a time, at most
const LONGEST_SECONDS = 125; // a recording nobody stops; the app previews 120 s
const STATES = {
  loading: "Getting the model ready. You can speak already.",
  listening: "What is heard while you speak:",
  full: "This is as far as text is shown while you speak; the recording goes on.",
  ended: "Heard while you spoke. The complete recording is compared next.",
};
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
});`;
const part = (name, side) => element.querySelector(`${side ? `.ws-live-${side} ` : ""}.ws-live-${name}`);
let current = null;
let recording = false;
const kept = {}; // what a side showed last: a message about it never takes its text away

function show(state, found) {
  part("state").textContent = state;
  showSide("slim", found);
  showSide("dense", found?.dense);
  element.querySelector(".ws-live").classList.toggle("ws-live-on", Boolean(state));
}

function showSide(side, found) {
  const text = part("text", side), said = part("note", side);
  if (!found) delete kept[side];
  else if (found.kept || found.now) kept[side] = found;
  part("kept", side).textContent = kept[side]?.kept || "";
  part("now", side).textContent = kept[side]?.now || "";
  said.textContent = found?.note || "";
  text.hidden = !kept[side];
  element.querySelector(`.ws-live-side.ws-live-${side}`).hidden = !found || (side === "slim" && text.hidden);
}

function take(run, block) {
  let loudest = 0;
  for (const value of block) loudest = Math.max(loudest, Math.abs(value));
  run.level.hear(loudest);
  if (!run.wanted) return; // only the meter looks at it
  run.blocks.push(block);
  run.samples += block.length;
}

async function listen(run) {
  run.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  run.context = new AudioContext();
  const module = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
  await run.context.audioWorklet.addModule(module);
  URL.revokeObjectURL(module);
  const tap = new AudioWorkletNode(run.context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  tap.port.onmessage = (event) => {
    if (!run.stopped) take(run, event.data);
  };
  if (run.stopped) return; // while the microphone was asked for
  run.level = window.whisperSlimLevel(element.querySelector(".ws-level"));
  run.context.createMediaStreamSource(run.stream).connect(tap);
}

function release(run) {
  run.stopped = true;
  run.level?.stop();
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
  if (run.wanted) show("Starting…");
  await listen(run);
  if (!run.wanted) return;
  const rate = run.context.sampleRate;
  run.key = answered(await server.begin({ ...asked, rate })).key;
  while (!run.stopped) {
    if (run.samples < PIECE_SECONDS * rate) { await pause(30); continue; }
    if (run.sent > LONGEST_SECONDS * rate) break;
    const found = answered(await server.feed({ key: run.key, pcm: takeSound(run) }));
    if (run === current) show(STATES[found.state], found);
  }
  const found = answered(await server.end({ key: run.key }));
  if (run === current) show(STATES[found.state], found);
}

// `asked`: the form by the names of its fields.
async function start({ live: wanted, blind, slim_engine: engine, ...models }) {
  stop();
  const run = {
    stopped: false, blocks: [], samples: 0, sent: 0, key: null,
    wanted: wanted && !blind,
  };
  current = run;
  recording = true;
  show(wanted && blind ? "Blind: no text while you speak, since it would tell A from B." : "");
  try {
    await follow(run, { engine, ...models });
  } catch (error) {
    // The recording itself does not depend on any of this.
    if (run === current) show(run.wanted ? `No text while you speak: ${error.message}` : "");
  } finally {
    if (run.wanted || run.stopped) release(run);
  }
}

function stop() {
  recording = false;
  if (current) release(current);
}

function clear() {
  stop();
  current = null;
  show("");
}

// A recording that is not finished is nowhere but in this page, with or without text beside it.
window.addEventListener("beforeunload", (event) => {
  if (recording) event.preventDefault();
});

window.whisperSlimLive = { start, stop, clear };
