// BullMQ (Node). `node peer_bullmq.js` speaks the lines of serve.py; `node peer_bullmq.js worker` is the worker process.
const root = process.env.PEERS_DIR;
const { createRequire } = require('module');
const fs = require('fs');
const req = createRequire(root + '/bullmq/package.json');
const { Queue, Worker } = req('bullmq');
const url = new URL(process.env.BENCH_REDIS_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const now = () => Number(process.hrtime.bigint()) / 1e9; // CLOCK_MONOTONIC, as Python's time.monotonic
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

if (process.argv[2] === 'worker') {
  const nap = Number(process.env.BENCH_NAP_MS) || 0;
  const fd = fs.openSync(process.env.BENCH_LOG, 'a');
  const buf = Buffer.alloc(24);
  buf.writeInt32LE(Number(process.env.BENCH_WORKER || 0), 0);
  const worker = new Worker('bench', async (job) => {
    const t = now();
    buf.writeInt32LE(job.data.i, 4);
    buf.writeDoubleLE(job.data.t, 8);
    buf.writeDoubleLE(t, 16);
    fs.writeSync(fd, buf);
    if (nap) await sleep(nap);
  }, { connection, concurrency: Number(process.env.BENCH_CONCURRENCY) || 200 });
  worker.on('error', (e) => console.error(e));
  process.on('SIGTERM', () => process.exit(0));
} else {
  let queue;
  const size = (p) => (fs.existsSync(p) ? fs.statSync(p).size : 0);
  const commands = {
    info: async () => ({
      broker: 'redis',
      delivery: 'at least once',
      guarantee: 'lock 30 s renewed by the worker, stalled jobs moved back to wait; completed by script after the handler',
      results: 'stored (job hash and completed set kept for ever, the default)',
      worker_note: 'concurrency 200, Node ' + process.version,
      bulk_note: 'Queue.addBulk, 1000 a call',
      n: 60000,
      slots: [100, 500],
      samples: 1000000,
      recovers_after: 60,
      versions: { bullmq: req('bullmq/package.json').version, ioredis: req('ioredis/package.json').version },
      workers: [0, 1].map(() => [process.execPath, __filename, 'worker']),
    }),
    open: async () => { queue = new Queue('bench', { connection }); await queue.waitUntilReady(); return {}; },
    prepare: async () => ({}),
    loaded: async () => ({}),
    rows: async () => ({ rows: null }),
    one: async ({ i }) => { await queue.add('noop', { i, t: now() }); return {}; },
    bulk: async ({ n }) => {
      const cpu = process.cpuUsage(), s = now();
      for (let a = 0; a < n; a += 1000) {
        const jobs = [];
        for (let i = a; i < Math.min(n, a + 1000); i++) jobs.push({ name: 'noop', data: { i, t: 0 } });
        await queue.addBulk(jobs);
      }
      const c = process.cpuUsage(cpu);
      return { n, s: now() - s, cpu: (c.user + c.system) / 1e6 };
    },
    fill: async ({ n, p }) => {
      for (let a = 0; a < n; a += 1000) {
        const jobs = [];
        for (let i = a; i < Math.min(n, a + 1000); i++) jobs.push({ name: 'noop', data: { i, p } });
        await queue.addBulk(jobs);
      }
      return {};
    },
    seq: async ({ n }) => {
      const cpu = process.cpuUsage(), s = now();
      for (let i = 0; i < n; i++) await queue.add('noop', { i, t: 0 });
      const c = process.cpuUsage(cpu);
      return { n, s: now() - s, cpu: (c.user + c.system) / 1e6 };
    },
    lat: async ({ n, log }) => {
      let want = size(log);
      for (let i = 0; i < n; i++) {
        await sleep(20 + Math.random() * 60);
        await queue.add('noop', { i, t: now() });
        want += 24;
        const deadline = now() + 20;
        while (size(log) < want) {
          if (now() > deadline) return { n: i, error: 'job not seen in 20 s' };
          await sleep(2);
        }
      }
      return { n };
    },
    drained: async ({ timeout }) => {
      const deadline = now() + timeout;
      for (;;) {
        const c = await queue.getJobCounts('wait', 'active', 'prioritized', 'delayed');
        const left = Object.values(c).reduce((a, b) => a + b, 0);
        if (!left || now() > deadline) return { left, t: now() };
        await sleep(5);
      }
    },
  };
  const rl = require('readline').createInterface({ input: process.stdin });
  let chain = Promise.resolve();
  rl.on('line', (line) => {
    chain = chain.then(async () => {
      const r = JSON.parse(line);
      let a;
      try { a = await commands[r.cmd](r); } catch (e) { a = { error: String(e), trace: e.stack }; }
      process.stdout.write('@@' + JSON.stringify(a) + '\n');
    });
  });
  rl.on('close', () => process.exit(0));
}
