/**
 * A proxy before a real S3 server that does to requests what networks and stores do: cuts, delays, refuses. What passes is
 * passed on as it is, so that signatures stay true.
 */
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProxiedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
}

export type Fate =
  | { readonly kind: 'pass' }
  /** The connection ends before the store has seen the request. */
  | { readonly kind: 'cut' }
  /** The store does it; the connection ends before the caller hears of it. */
  | { readonly kind: 'cut answer' }
  /** The connection ends within the body of the answer. */
  | { readonly kind: 'cut body'; readonly afterBytes: number }
  | { readonly kind: 'delay'; readonly ms: number }
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  /** Passed on, with these headers added to the answer. */
  | { readonly kind: 'add'; readonly headers: Record<string, string> };

/** `<Error>` as stores write it. */
export function s3Refusal(status: number, code: string): Fate {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>on purpose</Message></Error>`;
  return { kind: 'answer', status, body, headers: { 'content-type': 'application/xml' } };
}

export class S3Proxy {
  /** What happens to the next requests. */
  fate: (request: ProxiedRequest) => Fate = () => ({ kind: 'pass' });
  readonly #server: Server;
  readonly #target: URL;

  private constructor(endpoint: string) {
    this.#target = new URL(endpoint);
    this.#server = createServer((incoming, outgoing) => {
      void this.#handle(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
  }

  static async start(endpoint: string): Promise<S3Proxy> {
    const proxy = new S3Proxy(endpoint);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const fate = this.fate({ method: incoming.method ?? '', url: incoming.url ?? '' });
    if (fate.kind === 'cut') {
      incoming.socket.destroy();
      return;
    }
    if (fate.kind === 'answer') {
      incoming.resume();
      outgoing.writeHead(fate.status, { ...fate.headers, 'content-length': Buffer.byteLength(fate.body) });
      outgoing.end(fate.body);
      return;
    }
    if (fate.kind === 'delay') await sleep(fate.ms);
    const answer = await this.#forward(incoming);
    if (fate.kind === 'cut answer') {
      answer.resume();
      incoming.socket.destroy();
      return;
    }
    const added = fate.kind === 'add' ? fate.headers : {};
    outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...added });
    let sent = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      if (fate.kind === 'cut body' && sent + chunk.length > fate.afterBytes) {
        outgoing.write(chunk.subarray(0, fate.afterBytes - sent), () => incoming.socket.destroy());
        answer.destroy();
        return;
      }
      sent += chunk.length;
      if (!outgoing.write(chunk)) await new Promise((resolve) => outgoing.once('drain', resolve));
    }
    outgoing.end();
  }

  #forward(incoming: IncomingMessage): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = this.#target;
      // Its promise to go on was given by this server.
      const { expect: _, ...headers } = incoming.headers;
      const forward = httpRequest({ hostname, port, method: incoming.method, path: incoming.url, headers });
      forward.on('response', resolve);
      forward.on('error', reject);
      incoming.on('error', reject);
      incoming.pipe(forward);
    });
  }
}
