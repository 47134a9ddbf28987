/**
 * What is signed: the record of a drill, with what identifies the backup and its data, and the report before it, so that
 * none can be taken out of a row without notice. The text is canonical JSON; the signature is over its bytes.
 */
import { HelvinoError } from '../../../base/errors.ts';
import { kindOf } from '../../../catalog/index.ts';
import { type Manifest, newestReport, type Repository } from '../../../repository/index.ts';
import { canonicalJson, sha256 } from '../canonical-json.ts';
import type { DrillReport } from '../report.ts';
import { isSignedBy, type PublicKey, type SigningKey } from './signing-key.ts';

export const documentFormat = 'helvino drill report 1';

/** What was restored. */
export interface BackupIdentity {
  readonly id: string;
  readonly repository: string;
  /** `full`, `incremental`, `logical`, `volume`. */
  readonly kind: string;
  readonly label?: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly finished: string;
  /** Bytes of the content. */
  readonly bytes: number;
  readonly files: number;
  /** SHA-256 over the manifest's ids of packs and hashes of blocks: these name every stored byte of it. */
  readonly contentSha256: string;
  /** The server that it was taken from. */
  readonly source?: string;
  readonly sourceVersion?: string;
  readonly systemId?: string;
  readonly timeline?: number;
  readonly stopLsn?: string;
  readonly program: string;
}

/** The data that the backup recorded of the source. */
export interface Dataset {
  readonly databases: readonly { readonly name: string; readonly tables: number; readonly rows: string }[];
  /** Tables that have a content hash. */
  readonly hashed: number;
  /** Why what was recorded could not be read. */
  readonly problem?: string;
}

export interface ReportDocument {
  readonly format: typeof documentFormat;
  readonly report: DrillReport;
  readonly backup: BackupIdentity;
  readonly dataset: Dataset;
  /** How often drills are to prove a backup; seconds. */
  readonly cadenceSeconds?: number;
  /** The newest report of this database before this one; SHA-256 of its text. */
  readonly previous?: { readonly id: string; readonly sha256: string };
  /** Id of the public key; undefined where the host has none. */
  readonly key?: string;
}

export interface SignedReport {
  readonly document: ReportDocument;
  /** The bytes that are signed. */
  readonly text: string;
  readonly sha256: string;
  /** 64 bytes. */
  readonly signature?: Buffer;
}

export async function makeSignedReport(
  report: DrillReport,
  {
    repository,
    manifest,
    cadenceSeconds,
    key,
  }: {
    repository: Repository;
    manifest: Manifest;
    cadenceSeconds?: number;
    key?: SigningKey;
  },
): Promise<SignedReport> {
  const previous = await newestReport(repository, report.database, (id) => id < report.id);
  const document: ReportDocument = {
    format: documentFormat,
    report,
    backup: identityOf(repository, manifest),
    dataset: await datasetOf(repository, manifest).catch(unreadable),
    cadenceSeconds,
    previous: previous && {
      id: previous.id,
      sha256: previous.report ? sha256(previous.report.document) : 'it is damaged',
    },
    key: key?.id,
  };
  const text = canonicalJson(document);
  return { ...openReport(text), signature: key?.sign(Buffer.from(text)) };
}

/** Throws REPOSITORY_DAMAGED when the text is no report, or not in the one form that a report has. */
export function openReport(text: string): SignedReport {
  let document: ReportDocument;
  try {
    document = JSON.parse(text) as ReportDocument;
  } catch (cause) {
    throw notAReport(`it is no JSON: ${(cause as Error).message}`);
  }
  if (document?.format !== documentFormat)
    throw notAReport(`its format is ${JSON.stringify(document?.format)}, not "${documentFormat}"`);
  if (canonicalJson(document) !== text) throw notAReport('it is not in canonical form, so it was changed');
  return { document, text, sha256: sha256(text) };
}

/**
 * Opens a report that must be signed by one of the keys. Throws REPOSITORY_DAMAGED when it was changed, KEY_WRONG when it
 * names another key.
 */
export function verifyReport(
  bytes: Uint8Array,
  { signature, keys }: { signature: Uint8Array; keys: readonly PublicKey[] },
): SignedReport & { key: PublicKey } {
  const key = keys.find((one) => isSignedBy(one, bytes, signature));
  const text = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(bytes);
  if (!key) {
    const named = /"key":"([0-9a-f]{64})"/.exec(text)?.[1];
    if (named !== undefined && !keys.some(({ id }) => id === named))
      throw new HelvinoError(
        'KEY_WRONG',
        `the report says that the key ${named.slice(0, 16)}… signed it, and that is not the key that was given`,
        { hint: 'ask for the public key with this id, and from whom you trust' },
      );
    throw notAReport('the signature is not that of these bytes: the file or the signature was changed');
  }
  const report = openReport(text);
  if (report.document.key !== key.id) throw notAReport('it names another key than the one that signed it');
  return { ...report, signature: Buffer.from(signature), key };
}

function notAReport(why: string): HelvinoError {
  return new HelvinoError('REPOSITORY_DAMAGED', `this is no valid report of a drill: ${why}`, {
    hint: 'get the file again, byte for byte: `helvino drill report ID` writes it from the repository',
  });
}

function identityOf(repository: Repository, manifest: Manifest): BackupIdentity {
  const { id, label, started, finished, totals, program, facts, packs, blocks } = manifest;
  const text = (name: string) => (typeof facts[name] === 'string' ? facts[name] : undefined);
  return {
    id,
    repository: repository.id,
    kind: kindOf(manifest),
    label,
    started,
    finished,
    bytes: totals.bytes,
    files: totals.files,
    contentSha256: sha256(
      canonicalJson({ packs: Array.from(packs, ({ id }) => id), blocks: blocks.map((b) => b.hash) }),
    ),
    source: text('server') ?? text('volume'),
    sourceVersion: text('serverVersionText'),
    systemId: text('systemId'),
    timeline: typeof facts.timeline === 'number' ? facts.timeline : undefined,
    stopLsn: text('stopLsn'),
    program,
  };
}

/** A backup that is damaged is drilled, too, and that it failed must be kept. */
function unreadable(thrown: unknown): Dataset {
  if (!(thrown instanceof HelvinoError) || thrown.code === 'INTERNAL') throw thrown;
  return { databases: [], hashed: 0, problem: thrown.message };
}

async function datasetOf(repository: Repository, manifest: Manifest): Promise<Dataset> {
  const databases = new Map<string, { tables: number; rows: bigint }>();
  let hashed = 0;
  for await (const value of repository.section(manifest, 'tables')) {
    const { database, rows, hash } = value as { database: string; rows: string | null; hash: string | null };
    const known = databases.get(database) ?? { tables: 0, rows: 0n };
    databases.set(database, { tables: known.tables + 1, rows: known.rows + BigInt(rows ?? 0) });
    if (hash !== null) hashed++;
  }
  return {
    databases: [...databases].map(([name, { tables, rows }]) => ({ name, tables, rows: String(rows) })),
    hashed,
  };
}
