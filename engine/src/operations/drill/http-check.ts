/** One request to the application, and what must come. */
import { createHash } from 'node:crypto';
import { formatBytes, plural } from '../../base/format.ts';
import type { HttpCheck } from './exercise.ts';
import { type Check, findings, shownQueries } from './report.ts';

const timeoutMs = 60_000;
const mostBytes = 8 << 20;

/** Never throws but when it is interrupted. What the answer holds is not kept, only its size and hash. */
export async function askHttp(
  base: string,
  { path, headers, status, json }: HttpCheck,
  signal: AbortSignal,
): Promise<Omit<Check, 'name' | 'seconds'>> {
  const url = new URL(path, base);
  const shown = `GET ${path}`;
  let body: Buffer;
  let answered: number;
  try {
    const answer = await fetch(url, {
      headers,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    answered = answer.status;
    body = await bodyOf(answer);
  } catch (thrown) {
    signal.throwIfAborted();
    return { state: 'failed', detail: `no answer: ${networkReason(thrown)}` };
  }
  const hash = createHash('sha256').update(body).digest('hex').slice(0, 16);
  const result = `status ${answered}, ${formatBytes(body.length)}, SHA-256 ${hash}…`;
  const queries = shownQueries([{ sql: shown, result }]);
  const wrong =
    answered === status ? jsonProblems(body, json) : [`the status is ${answered}, expected was ${status}`];
  if (wrong.length > 0) return { state: 'failed', detail: wrong[0]!, findings: findings(wrong), queries };
  const count = Object.keys(json).length;
  return {
    state: 'passed',
    detail: `status ${answered}${count > 0 ? `, ${plural(count, 'value')} as expected` : ''}`,
    queries,
  };
}

async function bodyOf(answer: Response): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of answer.body ?? []) {
    pieces.push(piece);
    length += piece.length;
    if (length > mostBytes) throw new Error(`the answer is longer than ${formatBytes(mostBytes)}`);
  }
  return Buffer.concat(pieces);
}

/** What the network says, not that "fetch failed". */
export function networkReason(thrown: unknown): string {
  const { cause, message } = thrown as Error;
  const inner = cause as (Error & { code?: string }) | undefined;
  return inner?.message || inner?.code || message;
}

/** One line for each value that is not as expected. */
export function jsonProblems(body: Uint8Array, expected: HttpCheck['json']): string[] {
  const paths = Object.entries(expected);
  if (paths.length === 0) return [];
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    return ['the answer is no JSON'];
  }
  return paths.flatMap(([path, wanted]) => {
    const found = at(value, path);
    if (found === wanted) return [];
    const shown = found === undefined ? 'not there' : JSON.stringify(found).slice(0, 80);
    return [`${path} is ${shown}, expected was ${JSON.stringify(wanted)}`];
  });
}

function at(value: unknown, path: string): unknown {
  let here = value;
  for (const part of path.split('.')) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, part)) return undefined;
    here = (here as Record<string, unknown>)[part];
  }
  return here;
}
