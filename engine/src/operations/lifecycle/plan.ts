/**
 * `helvino lifecycle`: which packs may go to an archive class. A rule by age alone would move what the newest backup builds on,
 * since it shares packs with the oldest. So packs are marked one by one, when only backups need them that are old and that
 * retention keeps for long; the rule of the bucket moves what is marked. Never marked: what a backup of the last weeks, the
 * newest of a kind, the last proven one or the recovery window needs, and all structure, which every look at a backup reads.
 */
import { NumberSet } from '../../base/number-set.ts';
import { PackList, packName, type Repository } from '../../repository/index.ts';
import type { S3Archive, Transition } from '../../storage/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { planRetentionOf, type RetentionPlan, type RetentionSettings } from '../retention/plan.ts';

const dayMs = 86_400_000;
/** Archive classes bill at least so many days: what goes sooner is not moved. */
const worthwhileMs = 90 * dayMs;
const newestOfKind = 3;
const atOnce = 8;

export const transitions: readonly Transition[] = [
  { days: 30, storageClass: 'GLACIER' },
  { days: 365, storageClass: 'DEEP_ARCHIVE' },
];

export interface LifecyclePlan {
  readonly rules: readonly string[];
  /** Newest last. */
  readonly backups: readonly { readonly id: string; readonly archive: boolean; readonly why: string }[];
  /** Packs that only backups to be archived need. */
  readonly packs: PackList;
}

export async function planLifecycle(
  repository: Repository,
  { database, settings }: { database: string; settings: RetentionSettings },
): Promise<LifecyclePlan> {
  const judged = judge(await planRetentionOf(repository, database, settings), settings);
  const all = new PackList();
  const hot = new NumberSet();
  for (const { id, archive, readable } of judged) {
    if (!readable) continue;
    await repository.summary(database, id, (pack) => {
      const number = all.add(pack);
      if (!archive || pack.structure) hot.add(number);
    });
  }
  const rules = [
    ...transitions.map(({ days, storageClass }) => `marked packs go to ${storageClass} at ${days} days`),
    'what an unfinished upload left goes after 7 days',
  ];
  return {
    rules,
    backups: judged.map(({ id, archive, why }) => ({ id, archive, why })),
    packs: all.select((number) => !hot.has(number)),
  };
}

interface Judged {
  readonly id: string;
  readonly archive: boolean;
  readonly why: string;
  readonly readable: boolean;
}

function judge(plan: RetentionPlan, { retention }: RetentionSettings): Judged[] {
  const recentMs = Math.max(transitions[0]!.days * dayMs, retention.pitr * 1000);
  const judged: Judged[] = [];
  for (const { decisions } of plan.kinds) {
    const newest = new Set(decisions.slice(-newestOfKind).map(({ id }) => id));
    for (const { id, made, until, action, reasons } of decisions) {
      const rules = reasons.map(({ rule }) => rule);
      const readable = !rules.includes('unreadable');
      const stays = (why: string) => judged.push({ id, archive: false, why, readable });
      if (!readable) stays('it cannot be read');
      else if (action === 'remove') stays('retention removes it');
      else if (plan.now.getTime() - made.getTime() < recentMs) stays('it is recent');
      else if (newest.has(id)) stays(`it is one of the newest ${newestOfKind} of its kind`);
      else if (rules.includes('last proven')) stays('it is the last proven one');
      else if (rules.includes('recovery window')) stays('the recovery window begins with it');
      else if (until !== undefined && until.getTime() - plan.now.getTime() < worthwhileMs)
        stays('retention lets it go soon');
      else judged.push({ id, archive: true, why: 'it is old, and kept for long', readable });
    }
  }
  return judged.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Marks the packs and sets the rules. Returns how many packs were marked now, and whether the rules are new. */
export async function applyLifecycle(
  archive: S3Archive,
  plan: LifecyclePlan,
): Promise<{ marked: number; rulesChanged: boolean }> {
  // The rule first: without it marks mean nothing.
  const rulesChanged = await archive.putRules(transitions);
  let marked = 0;
  for await (const done of mapParallel(plan.packs, atOnce, async ({ id }) => {
    if ((await archive.stateOf(packName(id))).state !== 'readable') return false;
    await archive.mark(packName(id));
    return true;
  }))
    if (done) marked++;
  return { marked, rulesChanged };
}
