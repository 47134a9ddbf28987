/**
 * Which backups to keep, with the reasons of each. Pure: backups of one kind, the policy and the store's time in, decisions
 * out. What makes it safe against a broken source and against someone who can only add backups:
 * - nothing is removed while backups fail (see KindSituation.trouble);
 * - ages are by the store's clock, and a period is kept by the first good backup in it, so that a later one, whatever it
 *   calls itself, never takes the place of an earlier one (one that a drill has proven does);
 * - never removed: the last that a drill has proven, the newest `minimum`, what the recovery window begins with, what is held.
 */
import { formatBytes } from '../base/format.ts';
import { NumberList } from '../base/number-list.ts';
import { type PeriodKind, type Periods, periodKinds, periodsIn } from './periods.ts';
import type { Decision, KindSituation, Reason, RetentionBackup, Rule } from './retention-types.ts';

/** Rules that give way to the size limit. */
const soft: ReadonlySet<Rule> = new Set<Rule>(['within', 'last', ...periodKinds]);
/** Clocks may differ by so much. */
const skewMs = 10 * 60_000;
const hourMs = 3_600_000;

const zones = new Map<string, (time: Date) => Periods>();

function zone(name: string): (time: Date) => Periods {
  const known = zones.get(name) ?? periodsIn(name);
  zones.set(name, known);
  return known;
}

/** Of backups of one kind, in any order. Decisions are in order of age, oldest first. */
export function planRetention(backups: readonly RetentionBackup[], situation: KindSituation): Decision[] {
  const sorted = [...backups].sort(byAge);
  const reasons = new Map<string, Reason[]>(sorted.map(({ id }) => [id, []]));
  const keep = (backup: RetentionBackup | undefined, rule: Rule, detail: string) => {
    if (backup) reasons.get(backup.id)!.push({ rule, detail });
  };
  const good = sorted.filter(({ state }) => state === 'good');
  protect(sorted, good, { ...situation, keep });
  const keepers = keepByRules(sorted, good, { ...situation, keep });
  const dropped = overLimit(sorted, reasons, situation.policy.maxBytes);
  return sorted.map((backup) => {
    const found = reasons.get(backup.id)!;
    const { id, kind } = backup;
    const limit = dropped.get(id);
    if (limit !== undefined)
      return { id, kind, action: 'remove', reasons: [{ rule: 'size limit', detail: limit }] };
    if (found.length > 0) return { id, kind, action: 'keep', reasons: found };
    const detail = whyNot(backup, situation, keepers);
    return { id, kind, action: 'remove', reasons: [{ rule: 'no rule', detail }] };
  });
}

type Keep = (backup: RetentionBackup | undefined, rule: Rule, detail: string) => void;
type Situation = KindSituation & { readonly keep: Keep };

/** What no rule and no limit removes. */
function protect(
  sorted: readonly RetentionBackup[],
  good: readonly RetentionBackup[],
  { policy, now, trouble, logOf, keep }: Situation,
): void {
  for (const backup of sorted) {
    if (backup.state === 'unreadable')
      keep(
        backup,
        'unreadable',
        'its manifest or a result of a drill cannot be read: look at it with `helvino verify`',
      );
    for (const hold of backup.holds) keep(backup, 'hold', hold);
    if (trouble.length > 0) keep(backup, 'backups fail', `nothing is removed while ${trouble.join('; ')}`);
    if (backup.committed.getTime() > now.getTime() + skewMs)
      keep(backup, 'future', 'the store says that it was written in the future: its clock is wrong');
    if (backup.state === 'failed' && good.length < policy.minimum)
      keep(backup, 'too few good', `there are only ${good.length} good ones`);
  }
  for (const backup of good.slice(-policy.minimum))
    keep(backup, 'minimum', `one of the newest ${policy.minimum} good ones`);
  const proven = newest(good, ({ proof }) => proof === 'proven');
  if (proven) keep(proven, 'last proven', 'the newest that a drill has proven');
  else
    keep(
      newest(good, ({ proof }) => proof !== undefined),
      'last proven',
      'the newest that a drill has partly proven',
    );
  const { deployments = 0 } = policy.keep;
  const labelled = good.filter(({ label }) => isDeployment(label, policy.deployLabel));
  if (deployments > 0)
    for (const backup of labelled.slice(-deployments))
      keep(
        backup,
        'deployment',
        `made before a deployment, until ${deployments === 1 ? 'the next' : `${deployments} more`}`,
      );
  for (const anchor of anchors(good, { policy, now, logOf }))
    keep(
      anchor,
      'recovery window',
      `the last ${days(policy.pitrMs)} stay recoverable to any moment from here on`,
    );
}

function keepByRules(
  sorted: readonly RetentionBackup[],
  good: readonly RetentionBackup[],
  { policy, now, keep }: Situation,
): Map<string, RetentionBackup> {
  const rules = policy.keep;
  if (rules.withinMs !== undefined)
    for (const backup of sorted)
      if (now.getTime() - backup.committed.getTime() < rules.withinMs)
        keep(backup, 'within', `stored in the last ${days(rules.withinMs)}`);
  if (rules.last !== undefined && rules.last > 0)
    for (const backup of good.slice(-rules.last)) keep(backup, 'last', `one of the newest ${rules.last}`);
  const keepers = new Map<string, RetentionBackup>();
  const periods = zone(policy.timeZone);
  const today = periods(now);
  for (const kind of periodKinds) {
    const count = rules[kind] ?? 0;
    if (count === 0) continue;
    const candidates = good.filter(({ made }) => periods(made)[kind].number >= today[kind].number - count);
    // The first by the store's clock, a proven one before others.
    for (const backup of [...candidates].sort(byStore)) {
      const { name } = periods(backup.made)[kind];
      const rival = keepers.get(`${kind} ${name}`);
      if (rival === undefined || (rival.proof !== 'proven' && backup.proof === 'proven'))
        keepers.set(`${kind} ${name}`, backup);
    }
  }
  for (const [period, backup] of keepers) {
    const [kind, name] = period.split(' ') as [PeriodKind, string];
    keep(backup, kind, `${name} of ${rules[kind]} ${units[kind]}`);
  }
  return keepers;
}

const units: Readonly<Record<PeriodKind, string>> = {
  daily: 'days',
  weekly: 'weeks',
  monthly: 'months',
  yearly: 'years',
};

export function isDeployment(label: string | undefined, wanted: string): boolean {
  return label === wanted || label?.startsWith(`${wanted}-`) === true;
}

/**
 * With which backups recovery to the beginning of the window starts: the newest that was made before it; of each timeline
 * of which WAL was stored in the window. While the window is not full yet, the oldest that there is.
 */
export function anchors(
  good: readonly RetentionBackup[],
  { policy, now, logOf }: Pick<KindSituation, 'policy' | 'now' | 'logOf'>,
): RetentionBackup[] {
  if (policy.pitrMs === 0 || logOf.size === 0) return [];
  const start = now.getTime() - policy.pitrMs;
  const before = good.filter(({ made, timeline }) => timeline !== undefined && made.getTime() <= start);
  if (before.length === 0) return good.slice(0, 1);
  const found = new Set([before.at(-1)!]);
  for (const [timeline, stored] of logOf) {
    if (stored.getTime() < start) continue;
    const own = newest(before, (backup) => backup.timeline === timeline);
    if (own) found.add(own);
  }
  return [...found];
}

/** Oldest first until the rest fits: ids and why. What is protected stays, so that it may not fit even then. */
function overLimit(
  sorted: readonly RetentionBackup[],
  reasons: ReadonlyMap<string, readonly Reason[]>,
  maxBytes: number | undefined,
): Map<string, string> {
  const dropped = new Map<string, string>();
  if (maxBytes === undefined) return dropped;
  const users = new Counts();
  let total = 0;
  const kept = sorted.filter(({ id }) => reasons.get(id)!.length > 0);
  for (const { packs } of kept)
    for (const { id, size } of packs) {
      if (users.add(id, 1) === 1) total += size;
    }
  for (const backup of kept) {
    if (total <= maxBytes) break;
    if (!reasons.get(backup.id)!.every(({ rule }) => soft.has(rule))) continue;
    dropped.set(backup.id, `what is kept takes ${formatBytes(total)}, the limit is ${formatBytes(maxBytes)}`);
    for (const { id, size } of backup.packs) {
      if (users.add(id, -1) === 0) total -= size;
    }
  }
  return dropped;
}

/** How often there is what: numbers are from 0 on, and there may be a million. */
class Counts {
  readonly #numbers = new NumberList();
  readonly #texts = new Map<string, number>();

  /** Gives how often then. */
  add(what: string | number, times: number): number {
    if (typeof what === 'string') {
      const count = (this.#texts.get(what) ?? 0) + times;
      this.#texts.set(what, count);
      return count;
    }
    const count = this.#numbers.at(what) + times;
    this.#numbers.set(what, count);
    return count;
  }
}

/** For each rule about periods: too old for it, or who has the place. */
function whyNot(
  backup: RetentionBackup,
  { policy, now }: KindSituation,
  keepers: ReadonlyMap<string, RetentionBackup>,
): string {
  if (backup.state === 'failed') return 'its newest drill failed, so it takes no place';
  const periods = zone(policy.timeZone);
  const said: string[] = [];
  for (const kind of periodKinds) {
    const count = policy.keep[kind] ?? 0;
    if (count === 0) continue;
    const { number, name } = periods(backup.made)[kind];
    const keeper = keepers.get(`${kind} ${name}`);
    if (number < periods(now)[kind].number - count)
      said.push(`${name} is more than ${count} ${units[kind]} ago`);
    else if (keeper) said.push(`${name} has ${keeper.id}`);
  }
  if (said.length > 0) return said.join('; ');
  return policy.keep.last === undefined
    ? 'no rule keeps it'
    : `it is not one of the newest ${policy.keep.last}`;
}

function newest(
  sorted: readonly RetentionBackup[],
  fits: (backup: RetentionBackup) => boolean,
): RetentionBackup | undefined {
  return sorted.findLast(fits);
}

function byAge(a: RetentionBackup, b: RetentionBackup): number {
  return a.made.getTime() - b.made.getTime() || (a.id < b.id ? -1 : 1);
}

function byStore(a: RetentionBackup, b: RetentionBackup): number {
  return a.committed.getTime() - b.committed.getTime() || (a.id < b.id ? -1 : 1);
}

function days(ms: number): string {
  const hours = Math.round((ms / hourMs) * 10) / 10;
  return hours % 24 === 0 && hours > 24 ? `${hours / 24} days` : `${hours} hours`;
}
