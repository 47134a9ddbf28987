/** A server that answers as a test wants, awaited as the application of a drill. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../src/base/clock.ts';
import type { Application } from '../src/operations/drill/exercise.ts';
import { awaitReady } from '../src/operations/drill/run-application.ts';
import { Command } from '../src/operations/drill/run-command.ts';

export async function ready(answer: RequestListener, readyTimeoutMs: number): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const command = new Command({
    command: 'sleep 1000',
    directory: '/',
    env: {},
    outer: { PATH: process.env.PATH },
    clock: systemClock,
  });
  try {
    const input = {
      options: { clock: systemClock, signal: new AbortController().signal },
      recorder: { answered: () => undefined },
    };
    const application = { readyPath: '/health', readyTimeoutMs } as Application;
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { state, detail } = await awaitReady(input, { application, command, base });
    return `${state}: ${detail}`;
  } finally {
    await command.stop();
    server.closeAllConnections();
    server.close();
  }
}
