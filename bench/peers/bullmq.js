// Submits and works off tasks that do nothing, so many in flight; prints how long each took.
// The worker takes half of what is in flight: where it could take all, it would look for more in vain after each, and be
// three times as slow.
// usage: node bullmq.js MODULES PORT SECONDS IN-FLIGHT WARM
'use strict';
const [modules, port, seconds, inFlight, warm] = process.argv.slice(2);
const { createRequire } = require('module');
const load = createRequire(modules + '/');
const { Queue, Worker } = load('bullmq');

const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const queue = new Queue('noop', { connection });
const worker = new Worker('noop', async () => null, { connection, concurrency: 32 });
const waiting = new Map();
const taken = [];
let errors = 0;

worker.on('completed', (job) => {
  const resolve = waiting.get(job.id);
  waiting.delete(job.id);
  if (resolve) resolve();
  else waiting.set(job.id, null); // it was quicker than the answer to add()
});
worker.on('failed', () => { errors++; });

function completed(id) {
  if (waiting.has(id)) {
    waiting.delete(id);
    return Promise.resolve();
  }
  return new Promise((resolve) => waiting.set(id, resolve));
}

async function submitter(window, end) {
  while (performance.now() < end) {
    const begun = performance.now();
    const job = await queue.add('noop', { n: 1 }, { removeOnComplete: 1000 });
    await completed(job.id);
    const now = performance.now();
    if (now >= window && now < end) taken.push((now - begun) / 1000);
  }
}

async function main() {
  await queue.waitUntilReady();
  await worker.waitUntilReady();
  const window = performance.now() + Number(warm) * 1000;
  const end = window + Number(seconds) * 1000;
  await Promise.all(Array.from({ length: Number(inFlight) }, () => submitter(window, end)));
  const version = load('bullmq/package.json').version;
  process.stdout.write(JSON.stringify({ version, taken, errors }) + '\n', () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
