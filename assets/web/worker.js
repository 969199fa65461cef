// One model in a thread of its own: the page stays awake while it computes.

import * as ort from './ort/ort.wasm.bundle.min.mjs';
import { framesFor, isSilent, logMel, RATE } from './mel.js';

ort.env.wasm.wasmPaths = { wasm: new URL('./ort/ort-wasm-simd-threaded.wasm', import.meta.url).href };
// More threads need headers that a plain file server does not send.
ort.env.wasm.numThreads = self.crossOriginIsolated ? 0 : 1;
ort.env.logLevel = 'error';

let facts, encoder, decoder;

async function session(name) {
  const answer = await fetch(new URL(name, facts.base));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()));
}

async function open(base) {
  const answer = await fetch(new URL('model.json', base));
  if (!answer.ok) throw new Error(`model.json: ${answer.status} ${answer.statusText}`);
  facts = { ...(await answer.json()), base };
  encoder = await session('encoder.onnx');
  decoder = await session('decoder.onnx');
  return facts;
}

const int64 = (values, shape) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), shape);

function best(logits, first) {
  for (const id of facts.suppress) logits[id] = -Infinity;
  if (first) for (const id of facts.suppress_at_start) logits[id] = -Infinity;
  let found = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[found]) found = id;
  return found;
}

// Byte-level BPE writes each byte as one character.
const bytes = new Map();
{
  let shifted = 256;
  for (let byte = 0; byte < 256; byte++) {
    const plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCodePoint(plain ? byte : shifted++), byte);
  }
}

function decode(ids) {
  const raw = [];
  for (const id of ids) {
    if (facts.control.includes(id)) continue;
    for (const character of facts.tokens[id]) raw.push(bytes.get(character));
  }
  return new TextDecoder().decode(Uint8Array.from(raw)).trim();
}

async function hear(audio, language) {
  const started = performance.now(), seconds = audio.length / RATE;
  if (isSilent(audio)) return { text: '', note: 'no speech', seconds: 0, tokens: 0 };
  const frames = framesFor(seconds, facts.window);
  const mel = new ort.Tensor('float32', logMel(audio, frames, facts.bands), [1, facts.bands, frames]);
  const wanted = encoder.outputNames.filter((name) => name !== 'states');
  const heard = await encoder.run({ features: mel }, wanted);
  const prompt = facts.prompts[language];
  const limit = Math.min(
    facts.tokens_always + Math.floor(seconds * facts.tokens_per_second),
    facts.positions - prompt.length,
  );
  let caches = Object.fromEntries(Object.entries(facts.caches).map(
    ([name, shape]) => [name, new ort.Tensor('float32', new Float32Array(0), shape)],
  ));
  const outputs = decoder.outputNames.filter((name) => !name.startsWith('cross_queries'));
  const written = [];
  let ids = prompt, position = 0;
  for (let step = 0; step < limit; step++) {
    const places = ids.map((_, i) => position + i);
    const given = { tokens: int64(ids, [1, ids.length]), positions: int64(places, [ids.length]) };
    const { logits, ...present } = await decoder.run({ ...given, ...heard, ...caches }, outputs);
    caches = Object.fromEntries(Object.entries(present).map(
      ([name, value]) => [name.replace('present', 'past'), value],
    ));
    position += ids.length;
    const next = best(logits.data, step === 0);
    if (next === facts.end) break;
    written.push(next);
    ids = [next];
    self.postMessage({ kind: 'partial', text: decode(written) });
  }
  const note = written.length >= limit ? 'the longest text allowed was reached' : '';
  return { text: decode(written), note, seconds: (performance.now() - started) / 1000, tokens: written.length };
}

self.onmessage = async ({ data }) => {
  try {
    const result = data.kind === 'open' ? await open(data.base) : await hear(data.audio, data.language);
    self.postMessage({ kind: data.kind === 'open' ? 'ready' : 'heard', result });
  } catch (error) {
    self.postMessage({ kind: 'failed', message: String(error?.message ?? error) });
  }
};
