/**
 * The end of a worker thread. `Worker.terminate()` stops it wherever it is, and a stream of `node:zlib` that is just being made
 * then ends the whole process (Node.js 26: "close before init", src/node_zlib.cc). So a worker is asked, and goes between two
 * messages. Workers take their messages with `onMessage`; who made them ends them with `endWorker`.
 */
import { parentPort, type Worker } from 'node:worker_threads';

const endMessage = 'end of the worker';
/** How long a worker may need for what it was given before, in milliseconds. Only one that hangs is stopped wherever it is. */
const patience = 30_000;

/** In a worker: each message but the one that ends it. */
export function onMessage<Message>(take: (message: Message) => void): void {
  parentPort!.on('message', (message: Message | typeof endMessage) => {
    // biome-ignore lint/plugin: it ends this thread alone
    if (message === endMessage) process.exit();
    take(message);
  });
}

/** Resolves when it is gone, after the messages that it was sent before; at once when it has ended already. */
export async function endWorker(worker: Worker): Promise<void> {
  // The thread that has ended has no number.
  if (worker.threadId === -1) return;
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.postMessage(endMessage);
  const hangs = setTimeout(() => void worker.terminate(), patience);
  await gone;
  clearTimeout(hangs);
}
