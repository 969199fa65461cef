// The page: what is recorded or chosen goes to each model in turn, so that times do not mix.

import { RATE } from './mel.js';

const $ = (id) => document.getElementById(id);
const status = (text) => { $('status').textContent = text; };
const models = [];
let longest = Infinity, recording = null, busy = false;

class Model {
  constructor(folder) {
    this.base = new URL(folder, document.baseURI).href;
    this.worker = new Worker(new URL('worker.js', document.baseURI), { type: 'module' });
  }

  ask(message, transfer = []) {
    return new Promise((resolve, reject) => {
      this.worker.onerror = (event) => reject(new Error(event.message || 'the worker stopped'));
      this.worker.onmessage = ({ data }) => {
        if (data.kind === 'partial') this.show(data.text);
        else if (data.kind === 'failed') reject(new Error(data.message));
        else resolve(data.result);
      };
      this.worker.postMessage(message, transfer);
    });
  }

  async open() {
    const started = performance.now();
    this.facts = await this.ask({ kind: 'open', base: this.base });
    this.loading = (performance.now() - started) / 1000;
    this.node = $('model').content.cloneNode(true).firstElementChild;
    this.node.querySelector('h2').textContent = `${this.facts.name} · ${(this.facts.bytes / 1e6).toFixed(1)} MB`;
    $('models').append(this.node);
    this.tell(`opened in ${this.loading.toFixed(1)} s`);
    return this;
  }

  show(text) { this.node.querySelector('.text').textContent = text; }

  tell(text) { this.node.querySelector('.facts').textContent = text; }

  async hear(audio, language) {
    this.show('');
    this.tell('computing…');
    const copy = audio.slice();
    const heard = await this.ask({ kind: 'hear', audio: copy, language }, [copy.buffer]);
    this.show(heard.text);
    const speech = audio.length / RATE;
    const time = heard.seconds ? `${heard.seconds.toFixed(2)} s for ${speech.toFixed(1)} s of sound` : '';
    this.tell([time, heard.note].filter(Boolean).join(' · '));
    return heard;
  }
}

// Words of both that are in no longest common sequence are marked.
function markDifferences(texts) {
  if (texts.length !== 2) return;
  const [first, second] = texts.map((text) => text.split(/\s+/).filter(Boolean));
  const common = Array.from({ length: first.length + 1 }, () => new Uint16Array(second.length + 1));
  for (let i = first.length - 1; i >= 0; i--) {
    for (let j = second.length - 1; j >= 0; j--) {
      common[i][j] = first[i] === second[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const same = [new Set(), new Set()];
  for (let i = 0, j = 0; i < first.length && j < second.length;) {
    if (first[i] === second[j]) { same[0].add(i++); same[1].add(j++); }
    else if (common[i + 1][j] >= common[i][j + 1]) i++;
    else j++;
  }
  [first, second].forEach((words, side) => {
    const place = models[side].node.querySelector('.text');
    place.replaceChildren(...words.flatMap((word, i) => {
      if (same[side].has(i)) return [document.createTextNode(`${word} `)];
      const mark = document.createElement('mark');
      mark.textContent = word;
      return [mark, document.createTextNode(' ')];
    }));
  });
}

async function hear(audio, sound) {
  if (audio.length > longest * RATE) {
    status(`The recording has ${(audio.length / RATE).toFixed(0)} s; this page takes up to ${longest} s. Choose a shorter one.`);
    return;
  }
  busy = true;
  enable();
  $('playback').hidden = false;
  if ($('playback').src) URL.revokeObjectURL($('playback').src);
  $('playback').src = URL.createObjectURL(sound);
  status('Transcribing…');
  try {
    const texts = [];
    for (const model of models) texts.push((await model.hear(audio, $('language').value)).text);
    markDifferences(texts);
    status('Done.');
  } catch (error) {
    status(`It failed: ${error.message}`);
  }
  busy = false;
  enable();
}

function enable() {
  $('record').disabled = busy || !models.length;
  $('file').disabled = busy || !models.length || Boolean(recording);
  $('record').textContent = recording ? 'Stop' : 'Record';
}

async function start() {
  if (!navigator.mediaDevices) {
    status('A microphone needs https or localhost. You can still choose a recording.');
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    status(`No microphone: ${error.message}. Allow it for this page, or choose a recording.`);
    return;
  }
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule('recorder.js');
  const node = new AudioWorkletNode(context, 'samples', { numberOfOutputs: 0 });
  const parts = [];
  let count = 0;
  node.port.onmessage = ({ data }) => {
    parts.push(data);
    count += data.length;
    $('level').value = Math.sqrt(Math.max(...data.map(Math.abs)));
    if (count >= longest * RATE) stop();
  };
  context.createMediaStreamSource(stream).connect(node);
  recording = { stream, context, parts };
  status('Recording. Press Stop, or the space bar, when you are done.');
  enable();
}

async function stop() {
  if (!recording) return;
  const { stream, context, parts } = recording;
  recording = null;
  stream.getTracks().forEach((track) => track.stop());
  await context.close();
  $('level').value = 0;
  const audio = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { audio.set(part, at); at += part.length; }
  if (!audio.length) { status('Nothing was recorded.'); enable(); return; }
  await hear(audio.subarray(0, Math.floor(longest * RATE)), wav(audio));
}

function wav(audio) {
  const view = new DataView(new ArrayBuffer(44 + 2 * audio.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF'); view.setUint32(4, 36 + 2 * audio.length, true); text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, 'data'); view.setUint32(40, 2 * audio.length, true);
  audio.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: 'audio/wav' });
}

async function choose() {
  const [file] = $('file').files;
  $('file').value = '';
  if (!file) return;
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    status(`${file.name} is not a recording that this browser can read.`);
    return;
  }
  const audio = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded.getChannelData(channel).forEach((value, i) => { audio[i] += value / decoded.numberOfChannels; });
  }
  await hear(audio, file);
}

async function begin() {
  if ('serviceWorker' in navigator) navigator.serviceWorker.register('sw.js').catch(() => {});
  try {
    models.push(await new Model('./').open());
    // A model to compare with is another export, in the folder `dense`.
    if ((await fetch('dense/model.json').catch(() => ({}))).ok) models.push(await new Model('dense/').open());
  } catch (error) {
    status(`The model could not be opened: ${error.message}. Serve this folder with a web server; a page opened as a file cannot read it.`);
    return;
  }
  longest = Math.min(...models.map((model) => Math.floor(model.facts.window.max_frames / 100) - 2));
  const known = models.map((model) => Object.keys(model.facts.prompts));
  const languages = known[0].filter((code) => known.every((codes) => codes.includes(code)));
  const names = new Intl.DisplayNames('en', { type: 'language' });
  $('language').replaceChildren(...languages.map((code) => new Option(`${names.of(code)} (${code})`, code)));
  $('language').value = languages.includes(models[0].facts.language) ? models[0].facts.language : languages[0];
  $('language-field').hidden = languages.length < 2;
  $('title').textContent = models[0].facts.name;
  status('Ready. Press Record, or the space bar, and speak.');
  enable();
}

$('record').onclick = () => (recording ? stop() : start());
$('file').onchange = choose;
document.addEventListener('keydown', (event) => {
  if (event.code !== 'Space' || event.target.closest('button, input, select, audio')) return;
  event.preventDefault();
  $('record').click();
});
begin();
