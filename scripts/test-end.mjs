// Loaded before each test file. One that does not end although its tests are over would keep the run waiting until its time
// limit, and nobody would know why: it fails, and says what it waits for.
import { isMainThread } from 'node:worker_threads';

/** What files do at their own end is in it. */
const longestMs = 180_000;

if (isMainThread && /\.test\.(ts|mjs)$/.test(process.argv[1] ?? '')) {
  const { after } = await import('node:test');
  after(() => {
    setTimeout(() => {
      const waitsFor = process.getActiveResourcesInfo().join(', ');
      console.error(`${process.argv[1]}: the tests are over, and the process does not end: ${waitsFor}`);
      process.exit(1);
    }, longestMs).unref();
  });
}
