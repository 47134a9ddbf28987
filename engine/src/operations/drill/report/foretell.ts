/** What is known before a drill runs: how long it should take by those before it, and what its proof will rest on. */
import { HelvinoError } from '../../../base/errors.ts';
import { methodOf } from '../../../catalog/index.ts';
import type { Manifest, Repository } from '../../../repository/index.ts';
import { type Configured, fingerprintOf } from '../proof/fingerprint.ts';
import type { DrillReport } from '../report.ts';
import { keptReports } from './keep-report.ts';
import { measureOf, predictRecovery } from './prediction.ts';

export interface ForetellOptions {
  readonly repository: Repository;
  readonly manifest: Manifest;
  readonly configured?: Configured;
  /** Bytes of WAL that recovery will replay. */
  readonly walBytes?: number;
}

/** So many reports are read at most: the prediction looks at no more. */
const most = 30;

export async function foretell(
  options: ForetellOptions,
): Promise<Pick<DrillReport, 'prediction' | 'fingerprint'>> {
  const known = await fingerprintOf(options);
  const fingerprint = { config: '', keys: '', schema: '', server: '', ...known };
  const prediction = await predictionFor(options).catch((thrown: unknown) => {
    if (thrown instanceof HelvinoError && thrown.code !== 'INTERNAL') return undefined;
    throw thrown;
  });
  return { fingerprint, prediction };
}

/** A damaged report of an earlier drill keeps none from running, nor from being predicted from the others. */
const leftOut = () => undefined;

/** From drills of the same kind of backup. */
async function predictionFor({
  repository,
  manifest,
  walBytes,
}: ForetellOptions): Promise<DrillReport['prediction']> {
  const kind = methodOf(manifest);
  const physical = (name: string) => name === 'full' || name === 'incremental';
  const drills = (
    await keptReports(repository, manifest.database, { newest: most, onDamaged: leftOut })
  ).flatMap(({ document }) => {
    const same = physical(document.backup.kind) ? kind === 'physical' : document.backup.kind === kind;
    return same ? (measureOf(document.report) ?? []) : [];
  });
  const made = predictRecovery(drills, { bytes: manifest.totals.bytes, walBytes });
  return made && { rtoSeconds: made.rtoSeconds, basis: made.basis, drills: made.drills };
}
