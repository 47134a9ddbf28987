/** Until when all stays as good as it is if nothing more happens: the first of the objectives that time alone breaks. */
import { formatAge } from '../../catalog/index.ts';
import type { DatabaseConfig } from '../../config/index.ts';
import type { VerificationRecord } from '../verify/record.ts';
import type { KindHealth, KindProof } from './health.ts';

export interface SafeUntil {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly why: string;
}

/** Undefined when nothing is good that could become bad. */
export function safeUntil(
  {
    kinds,
    proofs,
    verification,
  }: {
    readonly kinds: readonly KindHealth[];
    readonly proofs: readonly KindProof[];
    readonly verification: VerificationRecord | undefined;
  },
  { verifyEvery, drillEvery }: Pick<DatabaseConfig['health'], 'verifyEvery' | 'drillEvery'>,
  now: Date,
): SafeUntil | undefined {
  const after = (time: string, seconds: number) => Date.parse(time) + seconds * 1000;
  const ends = kinds.map(({ kind, made, maxAgeSeconds }) => ({
    at: after(made, maxAgeSeconds),
    why: `then the newest ${kind} backup is ${formatAge(maxAgeSeconds)} old`,
  }));
  if (verification?.verdict === 'passed')
    ends.push({
      at: after(verification.finished, verifyEvery),
      why: `then the last verification is ${formatAge(verifyEvery)} ago`,
    });
  for (const { kind, state, on } of proofs)
    if (state === 'proven' && on !== undefined)
      ends.push({
        at: after(on, drillEvery),
        why: `then the last proof of a ${kind} backup is ${formatAge(drillEvery)} ago`,
      });
  const [first] = ends.filter(({ at }) => at > now.getTime()).sort((a, b) => a.at - b.at);
  return first && { at: new Date(first.at).toISOString(), why: first.why };
}
