/**
 * What retention will do if backups go on as they did: plans for each coming day, each applied in thought. Pure. Drills are
 * not foreseen: what is proven last stays so.
 */
import { NumberSet } from '../base/number-set.ts';
import { periodsIn } from './periods.ts';
import { planRetention } from './retention.ts';
import type { RetentionBackup, RetentionPolicy } from './retention-types.ts';

export interface ForecastMonth {
  /** `2026-12`, in the time zone of the policy. */
  readonly month: string;
  /** Backups at its end. */
  readonly kept: number;
  /** Bytes of what is kept at its end. */
  readonly bytes: number;
  /** Backups that are there today and that are removed in this month, oldest first. */
  readonly removed: readonly { readonly id: string; readonly on: Date }[];
  /** How many of those that are still to be made are removed in it. */
  readonly others: number;
}

export interface ForecastOptions {
  readonly policy: RetentionPolicy;
  readonly now: Date;
  readonly until: Date;
  readonly logOf: ReadonlyMap<number, Date>;
}

const dayMs = 86_400_000;

/** `kept`: backups of one kind that are there once the plan of today is done. */
export function forecast(kept: readonly RetentionBackup[], options: ForecastOptions): ForecastMonth[] {
  const { policy, now, until } = options;
  const periods = periodsIn(policy.timeZone);
  const source = new Source(kept);
  let present = [...kept];
  const months: OpenMonth[] = [];
  for (let time = now.getTime() + dayMs; time <= until.getTime(); time += dayMs) {
    const on = new Date(time);
    const { name } = periods(on).monthly;
    if (months.at(-1)?.month !== name) {
      close(months.at(-1), present);
      months.push({ month: name, kept: 0, bytes: 0, removed: [], others: 0 });
    }
    const month = months.at(-1)!;
    present.push(...source.madeUntil(time));
    const logOf = new Map([...options.logOf.keys()].map((timeline) => [timeline, on]));
    const plan = planRetention(present, { policy, now: on, trouble: [], logOf });
    const gone = new Set(plan.filter(({ action }) => action === 'remove').map(({ id }) => id));
    present = present.filter(({ id }) => !gone.has(id));
    for (const id of gone) {
      if (source.made(id)) month.others++;
      else month.removed.push({ id, on });
    }
  }
  close(months.at(-1), present);
  return months;
}

interface OpenMonth extends ForecastMonth {
  kept: number;
  bytes: number;
  readonly removed: { id: string; on: Date }[];
  others: number;
}

function close(month: OpenMonth | undefined, present: readonly RetentionBackup[]): void {
  if (!month) return;
  month.kept = present.length;
  month.bytes = bytesOf(present);
}

/** Bytes of packs that several share count once. */
export function bytesOf(backups: readonly Pick<RetentionBackup, 'packs'>[]): number {
  return bytesBeside([], backups);
}

/** Bytes of what these have and the others have not. */
function bytesBeside(
  others: readonly Pick<RetentionBackup, 'packs'>[],
  backups: readonly Pick<RetentionBackup, 'packs'>[],
): number {
  const numbers = new NumberSet();
  const texts = new Set<string>();
  const isNew = (id: string | number) => {
    if (typeof id === 'number') return numbers.add(id);
    const known = texts.has(id);
    texts.add(id);
    return !known;
  };
  for (const { packs } of others) for (const { id } of packs) isNew(id);
  let sum = 0;
  for (const { packs } of backups) for (const { id, size } of packs) if (isNew(id)) sum += size;
  return sum;
}

const prefix = 'future-';

/** Backups to come: as often as the newest ten on average, each with what the newest ones added. */
class Source {
  readonly #like: RetentionBackup | undefined;
  readonly #everyMs: number;
  readonly #adds: number;
  #next: number;

  constructor(kept: readonly RetentionBackup[]) {
    const good = kept
      .filter(({ state }) => state === 'good')
      .sort((a, b) => a.made.getTime() - b.made.getTime())
      .slice(-10);
    this.#like = good.at(-1);
    const span = (good.at(-1)?.made.getTime() ?? 0) - (good[0]?.made.getTime() ?? 0);
    this.#everyMs = good.length < 2 ? dayMs : Math.max(span / (good.length - 1), 3_600_000);
    const [first, ...later] = good;
    this.#adds =
      first === undefined || later.length === 0 ? bytesOf(good) : bytesBeside([first], later) / later.length;
    this.#next = (this.#like?.made.getTime() ?? 0) + this.#everyMs;
  }

  made(id: string): boolean {
    return id.startsWith(prefix);
  }

  *madeUntil(time: number): Generator<RetentionBackup> {
    const like = this.#like;
    if (!like) return;
    for (; this.#next <= time; this.#next += this.#everyMs) {
      const made = new Date(this.#next);
      const id = `${prefix}${made.toISOString()}`;
      yield {
        id,
        kind: like.kind,
        made,
        committed: made,
        state: 'good',
        holds: [],
        timeline: like.timeline,
        packs: [{ id, size: this.#adds }],
      };
    }
  }
}
