/**
 * The table of verbs, in the order that the help shows them: the first word of each, and where it is. A command loads its own
 * verbs only; all of them, with everything that they need, would take it several times as long to start.
 */
import type { Verb } from '../verb.ts';

type Loader = () => Promise<readonly Verb[]>;

const table: readonly (readonly [word: string, load: Loader])[] = [
  ['demo', async () => [(await import('./demo.ts')).demoVerb]],
  ['init', async () => [(await import('./init.ts')).initVerb]],
  ['doctor', async () => [(await import('./doctor.ts')).doctorVerb]],
  ['status', async () => [(await import('./health.ts')).statusVerb]],
  ['health', async () => [(await import('./health.ts')).healthVerb]],
  ['backup', async () => [(await import('./backup.ts')).backupVerb]],
  ['wal', async () => (await import('./wal.ts')).walVerbs],
  ['wal', async () => (await import('./wal-receive.ts')).walReceiveVerbs],
  ['list', async () => [(await import('./list.ts')).listVerb]],
  ['show', async () => [(await import('./show.ts')).showVerb]],
  ['drill', async () => [(await import('./drill.ts')).drillVerb]],
  ['drill', async () => (await import('./drill-report.ts')).drillReportVerbs],
  ['drill', async () => (await import('./drill-evidence.ts')).drillEvidenceVerbs],
  ['drill', async () => [(await import('./drill.ts')).drillPlansVerb]],
  ['restore', async () => [(await import('./restore.ts')).restoreVerb]],
  ['swap', async () => (await import('./swap.ts')).swapVerbs],
  ['open', async () => [(await import('./open.ts')).openVerb]],
  ['find', async () => [(await import('./find.ts')).findVerb]],
  ['rescue', async () => (await import('./rescue.ts')).rescueVerbs],
  ['export', async () => [(await import('./export.ts')).exportVerb]],
  ['import', async () => [(await import('./import.ts')).importVerb]],
  ['verify', async () => [(await import('./verify.ts')).verifyVerb]],
  ['retention', async () => (await import('./retention.ts')).retentionVerbs],
  ['hold', async () => (await import('./hold.ts')).holdVerbs],
  ['copy', async () => [(await import('./copy.ts')).copyVerb]],
  ['heal', async () => [(await import('./heal.ts')).healVerb]],
  ['lock', async () => [(await import('./lock.ts')).lockVerb]],
  ['lifecycle', async () => (await import('./lifecycle.ts')).lifecycleVerbs],
  ['collect', async () => [(await import('./collect.ts')).collectVerb]],
  ['remove', async () => [(await import('./remove.ts')).removeVerb]],
  ['key', async () => (await import('./key.ts')).keyVerbs],
  ['config', async () => (await import('./config.ts')).configVerbs],
  ['completion', async () => [(await import('./completion.ts')).completionVerb(loadVerbs)]],
  ['version', async () => [(await import('./version.ts')).versionVerb]],
];

/** The verbs that begin with a word; all when there is none, or no such verb. */
export async function loadVerbs(word?: string): Promise<readonly Verb[]> {
  const own = table.filter(([first]) => first === word);
  const loaded = await Promise.all((own.length > 0 ? own : table).map(([, load]) => load()));
  return loaded.flat();
}

/** For the test of the table. */
export const verbWords: readonly string[] = table.map(([word]) => word);
