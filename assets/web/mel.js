// Whisper's input features, as whisperslim/speech/audio/log_mel.py has them, and the window.

export const RATE = 16000;
const HOP = 160, SIZE = 400, BINS = SIZE / 2 + 1, FRAMES_PER_SECOND = RATE / HOP;
const SILENCE_DBFS = -50, LOUD_FRAMES = 10;

const hann = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
// The size is no power of two; tables of all angles make the plain transform fast enough.
const cosines = Float64Array.from({ length: SIZE }, (_, i) => Math.cos((2 * Math.PI * i) / SIZE));
const sines = Float64Array.from({ length: SIZE }, (_, i) => Math.sin((2 * Math.PI * i) / SIZE));

const filters = new Map();

// Slaney's mel scale: linear up to 1 kHz, above it 27 mels for each factor of 6.4 in frequency.
function triangles(bands) {
  if (filters.has(bands)) return filters.get(bands);
  const step = Math.log(6.4) / 27, perMel = 200 / 3;
  const top = 15 + Math.log(RATE / 2 / 1000) / step;
  const edges = Array.from({ length: bands + 2 }, (_, i) => {
    const mel = (top * i) / (bands + 1);
    return mel < 15 ? perMel * mel : 1000 * Math.exp(step * (mel - 15));
  });
  const rows = [];
  for (let band = 0; band < bands; band++) {
    const [low, mid, high] = edges.slice(band, band + 3);
    const weights = [];
    for (let bin = 0; bin < BINS; bin++) {
      const hertz = (bin * RATE) / SIZE;
      const height = Math.max(0, Math.min((hertz - low) / (mid - low), (high - hertz) / (high - mid)));
      if (height > 0) weights.push([bin, Math.fround((height * 2) / (high - low))]);
    }
    rows.push(weights);
  }
  filters.set(bands, rows);
  return rows;
}

function reflected(index, length) {
  if (index < 0) return -index;
  return index < length ? index : 2 * length - 2 - index;
}

export function framesFor(seconds, window) {
  const step = Math.round(window.step_seconds * FRAMES_PER_SECOND);
  const needed = Math.round(Math.max(1, seconds + window.margin_seconds) * RATE);
  return Math.min(window.max_frames, Math.ceil(needed / (step * HOP)) * step);
}

// Float32Array of bands * frames, band by band.
export function logMel(audio, frames, bands) {
  const length = frames * HOP, rows = triangles(bands);
  const found = new Float32Array(bands * frames);
  const piece = new Float64Array(SIZE), power = new Float64Array(BINS);
  let most = -Infinity;
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < SIZE; i++) {
      const at = reflected(frame * HOP + i - SIZE / 2, length);
      piece[i] = (at < audio.length ? audio[at] : 0) * hann[i];
    }
    for (let bin = 0; bin < BINS; bin++) {
      let real = 0, imaginary = 0;
      for (let i = 0, angle = 0; i < SIZE; i++) {
        real += piece[i] * cosines[angle];
        imaginary += piece[i] * sines[angle];
        angle += bin;
        if (angle >= SIZE) angle -= SIZE;
      }
      power[bin] = real * real + imaginary * imaginary;
    }
    for (let band = 0; band < bands; band++) {
      let sum = 0;
      for (const [bin, weight] of rows[band]) sum += weight * power[bin];
      const level = Math.log10(Math.max(sum, 1e-10));
      found[band * frames + frame] = level;
      most = Math.max(most, level);
    }
  }
  for (let i = 0; i < found.length; i++) found[i] = (Math.max(found[i], most - 8) + 4) / 4;
  return found;
}

// No speech can be there; Whisper invents text for silence.
export function isSilent(audio) {
  let loud = 0;
  for (let start = 0; start + HOP <= audio.length; start += HOP) {
    let sum = 0, squares = 0;
    for (let i = start; i < start + HOP; i++) {
      sum += audio[i];
      squares += audio[i] * audio[i];
    }
    const power = squares / HOP - (sum / HOP) ** 2;
    if (10 * Math.log10(Math.max(power, 1e-10)) >= SILENCE_DBFS) loud++;
  }
  return loud < LOUD_FRAMES;
}
