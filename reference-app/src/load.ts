/** `npm run load -- --rate 50 --seconds 30`: reads and writes of one organization over HTTP, and a summary of how they went. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { describe } from './errors.ts';
import { run, say } from './script.ts';

interface LoadOptions {
  readonly url: string;
  readonly key: string;
  /** Requests a second. They start on time whether or not those before are answered, as those of real callers do. */
  readonly rate: number;
  readonly seconds: number;
  /** The part of the requests that write, 0 to 1. */
  readonly writes: number;
}

interface Outcome {
  readonly kind: 'read' | 'write';
  /** The status, or why there was none. */
  readonly answer: string;
  readonly ms: number;
}

/** More would say more about this program than about the server. */
const mostAtOnce = 200;

await run(async () => {
  const options = readOptions();
  const conversations = await findConversations(options);
  const outcomes: Outcome[] = [];
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const seconds = await drive(options, { conversations, outcomes, signal: stop.signal });
  for (const line of summary(outcomes, seconds)) say(line);
  if (!outcomes.some(({ answer }) => answer.startsWith('2'))) throw new Error('no request succeeded');
});

function readOptions(): LoadOptions {
  const { values } = parseArgs({
    options: {
      url: { type: 'string', default: 'http://localhost:4000' },
      key: { type: 'string', default: 'demo' },
      rate: { type: 'string', default: '50' },
      seconds: { type: 'string', default: '10' },
      writes: { type: 'string', default: '0.3' },
    },
  });
  const number = (name: 'rate' | 'seconds' | 'writes', most: number) => {
    const value = Number(values[name]);
    if (!(value >= 0 && value <= most))
      throw new Error(`--${name} is "${values[name]}": a number from 0 to ${most}`);
    return value;
  };
  return {
    url: values.url,
    key: values.key,
    rate: Math.max(number('rate', 10_000), 0.1),
    seconds: number('seconds', 604_800),
    writes: number('writes', 1),
  };
}

async function findConversations({ url, key }: LoadOptions): Promise<string[]> {
  const answer = await fetch(`${url}/conversations?limit=200`, { headers: { 'x-org-key': key } });
  if (!answer.ok) throw new Error(`${url}/conversations answers ${answer.status}: ${await answer.text()}`);
  const { conversations } = (await answer.json()) as { conversations: { id: string }[] };
  return conversations.map(({ id }) => id);
}

async function drive(
  options: LoadOptions,
  { conversations, outcomes, signal }: { conversations: string[]; outcomes: Outcome[]; signal: AbortSignal },
): Promise<number> {
  const begun = performance.now();
  const passed = () => (performance.now() - begun) / 1000;
  const running = new Set<Promise<void>>();
  for (let sent = 0; passed() < options.seconds && !signal.aborted; sent++) {
    await sleep(Math.max(0, (sent / options.rate - passed()) * 1000), undefined, { signal }).catch(
      () => undefined,
    );
    if (running.size >= mostAtOnce) await Promise.race(running);
    const write = Math.floor((sent + 1) * options.writes) > Math.floor(sent * options.writes);
    const one = (write ? writeOne : readOne)(options, conversations, sent).then((outcome) => {
      outcomes.push(outcome);
      running.delete(one);
    });
    running.add(one);
  }
  await Promise.all(running);
  return passed();
}

function readOne(options: LoadOptions, conversations: string[], sent: number): Promise<Outcome> {
  const id = conversations[sent % Math.max(conversations.length, 1)];
  return ask(
    options,
    id === undefined || sent % 4 === 0 ? '/conversations' : `/conversations/${id}/messages`,
  );
}

/** One in ten opens a conversation, the others write into those that are there. */
function writeOne(options: LoadOptions, conversations: string[], sent: number): Promise<Outcome> {
  const id = conversations[sent % Math.max(conversations.length, 1)];
  if (id === undefined || sent % 10 === 0)
    return ask(options, '/conversations', { subject: `load ${sent}`, tags: ['load'] });
  return ask(options, `/conversations/${id}/messages`, {
    author: 'load@example.com',
    body: `message ${sent}`,
  });
}

async function ask({ url, key }: LoadOptions, path: string, body?: object): Promise<Outcome> {
  const kind = body ? 'write' : 'read';
  const begun = performance.now();
  const done = (answer: string): Outcome => ({ kind, answer, ms: performance.now() - begun });
  try {
    const answer = await fetch(`${url}${path}`, {
      method: body ? 'POST' : 'GET',
      headers: { 'x-org-key': key, ...(body ? { 'content-type': 'application/json' } : {}) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    await answer.arrayBuffer();
    return done(String(answer.status));
  } catch (thrown) {
    return done(describe(thrown));
  }
}

function summary(outcomes: readonly Outcome[], seconds: number): string[] {
  return (['read', 'write'] as const).map((kind) => {
    const mine = outcomes.filter((outcome) => outcome.kind === kind);
    const times = mine.map(({ ms }) => ms).sort((a, b) => a - b);
    const at = (part: number) => `${Math.round(times[Math.floor(part * (times.length - 1))] ?? 0)} ms`;
    const answers = Map.groupBy(mine, ({ answer }) => answer);
    const counts = [...answers].map(([answer, all]) => `${answer}: ${all.length}`).sort();
    const rate = (mine.length / seconds).toFixed(1);
    return `${kind}s ${mine.length} (${rate}/s), median ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)}; ${counts.join(', ') || 'none'}`;
  });
}
