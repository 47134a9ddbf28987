/** Keeps the report of a drill as evidence: signed where the host has the key, in a row with those before it. */
import { asHelvinoError } from '../../../base/errors.ts';
import type { Progress } from '../../../base/progress.ts';
import {
  listReports,
  type Manifest,
  putPublicKey,
  putReport,
  type ReportQuery,
  type Repository,
  type StoredReport,
} from '../../../repository/index.ts';
import type { Configured } from '../proof/fingerprint.ts';
import type { DrillReport } from '../report.ts';
import { makeSignedReport, openReport, type SignedReport } from './document.ts';
import type { SigningKey } from './signing-key.ts';

/** What the one who runs a drill signs with and is measured by. */
export interface EvidenceOptions {
  readonly key?: SigningKey;
  /** How often drills are to prove a backup; seconds. */
  readonly cadenceSeconds?: number;
  /** What is compared later with what there is then. */
  readonly configured?: Configured;
}

/** A store that cannot be written, or lacks room, takes nothing from what the drill found: it is only said. */
export async function keepReport(
  report: DrillReport,
  options: EvidenceOptions & { repository: Repository; manifest: Manifest; progress: Progress },
): Promise<void> {
  const { repository, progress, key } = options;
  try {
    const { text, signature } = await makeSignedReport(report, options);
    if (key) await putPublicKey(repository, key);
    await putReport(repository, report.database, {
      id: report.id,
      document: text,
      signature: signature?.toString('base64'),
    });
  } catch (thrown) {
    const error = asHelvinoError(thrown);
    if (error.code === 'INTERNAL') throw error;
    progress.note('warn', `the report is not kept as evidence: ${error.message}`);
  }
}

/** Oldest first. */
export async function keptReports(
  repository: Repository,
  database: string,
  query: ReportQuery = {},
): Promise<SignedReport[]> {
  return (await listReports(repository, database, query)).map(openStored);
}

function openStored({ document, signature }: StoredReport): SignedReport {
  return {
    ...openReport(document),
    signature: signature === undefined ? undefined : Buffer.from(signature, 'base64'),
  };
}
