// Submits and works off tasks that do nothing, so many in flight; prints how long each took.
// usage: node graphile-worker.js MODULES URL SECONDS IN-FLIGHT WARM
'use strict';
const [modules, url, seconds, inFlight, warm] = process.argv.slice(2);
const { createRequire } = require('module');
const load = createRequire(modules + '/');
const { run, Logger } = load('graphile-worker');

const waiting = new Map();
const taken = [];
let errors = 0;

// A job is over when it has been taken out of the database.
function onComplete({ job, error }) {
  if (error) errors++;
  const resolve = waiting.get(job.id);
  waiting.delete(job.id);
  if (resolve) resolve();
  else waiting.set(job.id, null);
}

function completed(id) {
  if (waiting.has(id)) {
    waiting.delete(id);
    return Promise.resolve();
  }
  return new Promise((resolve) => waiting.set(id, resolve));
}

async function submitter(runner, window, end) {
  while (performance.now() < end) {
    const begun = performance.now();
    const job = await runner.addJob('noop', { n: 1 });
    await completed(job.id);
    const now = performance.now();
    if (now >= window && now < end) taken.push((now - begun) / 1000);
  }
}

async function main() {
  const runner = await run({
    connectionString: url,
    concurrency: 24,
    maxPoolSize: 32,
    noHandleSignals: true,
    logger: new Logger(() => () => {}),
    taskList: { noop: async () => {} },
  });
  runner.events.on('job:complete', onComplete);
  const window = performance.now() + Number(warm) * 1000;
  const end = window + Number(seconds) * 1000;
  await Promise.all(Array.from({ length: Number(inFlight) }, () => submitter(runner, window, end)));
  const version = load('graphile-worker/package.json').version;
  process.stdout.write(JSON.stringify({ version, taken, errors }) + '\n', () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
