/** Do the backups restore, as far as drills have shown, and does that still hold? One finding a kind, and the signing key. */
import { type BackupMethod, methodOf } from '../../catalog/index.ts';
import type { LoadedConfig } from '../../config/index.ts';
import type { Repository } from '../../repository/index.ts';
import { CurrentFacts, proofState, proofText } from '../drill/proof/index.ts';
import { readSigningKey, signingKeyFile } from '../drill/report/index.ts';
import type { DrillReport } from '../drill/report.ts';
import { listBackups } from '../list.ts';
import type { Finding } from './check-server.ts';

export interface ProofCheckOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly loaded: LoadedConfig;
  readonly now: Date;
}

export async function checkProofs(options: ProofCheckOptions): Promise<Finding[]> {
  const { repository, database, loaded } = options;
  const newest = new Map<BackupMethod, DrillReport | undefined>();
  for (const { manifest, proof } of await listBackups(repository, database)) {
    if (!manifest) continue;
    const kind = methodOf(manifest);
    newest.set(kind, laterOf(newest.get(kind), proof));
  }
  const current = new CurrentFacts(options);
  const findings: Finding[] = [];
  for (const [kind, report] of newest) {
    const state = proofState(report, await current.of(kind));
    findings.push({
      name: `${kind} drill`,
      state: state.state === 'proven' ? 'good' : 'advice',
      detail: report ? `backup ${report.backup}: ${proofText(state)}` : proofText(state),
      hint: 'prove the newest backup: helvino drill',
    });
  }
  return [...findings, await keyFinding(loaded)];
}

function laterOf(one: DrillReport | undefined, other: DrillReport | undefined): DrillReport | undefined {
  return one && other ? (one.finished > other.finished ? one : other) : (one ?? other);
}

async function keyFinding({ file }: LoadedConfig): Promise<Finding> {
  const name = 'signing key';
  const hint = 'make it: helvino drill key; give its public half to whoever will read the reports';
  try {
    const key = await readSigningKey(signingKeyFile(file));
    return key
      ? { name, state: 'good', detail: `reports of drills are signed with ${key.id.slice(0, 16)}…` }
      : { name, state: 'advice', detail: 'there is none: reports of drills are not signed', hint };
  } catch (thrown) {
    return { name, state: 'advice', detail: (thrown as Error).message, hint };
  }
}
