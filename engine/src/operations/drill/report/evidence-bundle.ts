/**
 * Evidence as one file: a tar.gz whose bytes depend on nothing but the repository, the period and the key. And its check,
 * offline, with a public key that was got elsewhere: every file is in the signed list of sums, every record is signed, and
 * no record is missing between two others.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { HelvinoError } from '../../../base/errors.ts';
import { idStamp } from '../../../base/ids.ts';
import { TarReader, type WrittenFile, writeTar } from '../../../tar/index.ts';
import { canonicalJson, sha256 } from '../canonical-json.ts';
import { type SignedReport, verifyReport } from './document.ts';
import { type Evidence, missingLinks } from './evidence.ts';
import { evidenceHtml, evidenceMarkdown } from './evidence-page.ts';
import { reportHtml } from './html.ts';
import { reportMarkdown } from './markdown.ts';
import { isSignedBy, type PublicKey, type SigningKey } from './signing-key.ts';
import { reportFile } from './view.ts';

const sums = 'SHA256SUMS';
const sumsSignature = 'SHA256SUMS.sig';
/** More than any honest bundle; a hostile one must not fill memory. */
const largest = 512 * 2 ** 20;

/** Without an ending. */
export function bundleName({ index }: Evidence): string {
  const { database, period } = index;
  const [from, to] = [period.from, period.to].map((time) => idStamp(new Date(time)));
  return `helvino-evidence-${database}-${from}-${to}`;
}

export function makeBundle(evidence: Evidence, key: SigningKey | undefined): Buffer {
  const { index, drills, keys } = evidence;
  const files = new Map<string, string | Buffer>([['index.json', canonicalJson(index)]]);
  for (const { id, pem } of keys) files.set(`keys/${id}.pem`, pem);
  for (const { signed, retests } of drills) {
    const name = `drills/${reportFile(index.database, signed.document.report.id)}`;
    files.set(`${name}.json`, signed.text);
    if (signed.signature) files.set(`${name}.sig`, signed.signature);
    files.set(`${name}.html`, reportHtml(signed, retests));
    files.set(`${name}.md`, reportMarkdown(signed, retests));
  }
  const listed = new Map([...files.keys(), ...(key ? [sumsSignature] : [])].map((name) => [name, '']));
  files.set('index.html', evidenceHtml(index, listed));
  files.set('index.md', evidenceMarkdown(index, listed));
  const names = [...files.keys()].sort();
  const text = names.map((name) => `${sha256(files.get(name)!)}  ${name}\n`).join('');
  files.set(sums, text);
  if (key) files.set(sumsSignature, key.sign(Buffer.from(text)));
  const folder = bundleName(evidence);
  const written = [...files.keys()]
    .sort()
    .map((name): WrittenFile => ({ path: `${folder}/${name}`, content: Buffer.from(files.get(name)!) }));
  return gzipSync(writeTar(written), { level: 9 });
}

export interface VerifiedBundle {
  readonly key: PublicKey;
  readonly reports: readonly SignedReport[];
  /** Records that no one has signed. */
  readonly unsigned: readonly string[];
  readonly index: Evidence['index'];
}

/** Throws REPOSITORY_DAMAGED with the file that is not as it was signed, KEY_WRONG. */
export function verifyBundle(bytes: Uint8Array, keys: readonly PublicKey[]): VerifiedBundle {
  const files = readBundle(bytes);
  const list = files.get(sums);
  const signature = files.get(sumsSignature);
  if (!list) throw damaged(`it has no ${sums}`);
  if (!signature) throw damaged(`its ${sums} is not signed; check the records in it one by one`);
  const key = keys.find((one) => isSignedBy(one, list, signature));
  if (!key) throw damaged(`${sums} is not what one of the given keys signed`);
  checkSums(files, list.toString('utf8'));
  const reports: SignedReport[] = [];
  const unsigned: string[] = [];
  for (const [name, content] of files) {
    if (!/^drills\/.*\.json$/.test(name)) continue;
    const own = files.get(name.replace(/json$/, 'sig'));
    if (own) reports.push(verifyReport(content, { signature: own, keys }));
    else unsigned.push(name);
  }
  const index = JSON.parse(files.get('index.json')?.toString('utf8') ?? 'null') as Evidence['index'] | null;
  if (index?.format !== 'helvino evidence 1') throw damaged('its index.json is no index of evidence');
  const first = idStamp(new Date(index.period.from));
  const named = reports.filter(({ document }) => (document.previous?.id ?? '') >= first);
  const known = reports.map((signed) => ({ signed }));
  const [missing] = missingLinks(
    named.map((signed) => ({ signed })),
    known,
  ).filter((id) => !unsigned.some((name) => name.includes(id)));
  if (missing !== undefined)
    throw damaged(`the report ${missing}, which another names as the one before it, is not in it`);
  return { key, reports, unsigned, index };
}

function checkSums(files: ReadonlyMap<string, Buffer>, list: string): void {
  const listed = new Map(
    list.split('\n').flatMap((line): [string, string][] => {
      const [, sum, name] = /^([0-9a-f]{64}) {2}(.*)$/.exec(line) ?? [];
      return sum !== undefined && name !== undefined ? [[name, sum]] : [];
    }),
  );
  for (const [name, sum] of listed) {
    const content = files.get(name);
    if (!content) throw damaged(`${name} is missing`);
    if (sha256(content) !== sum) throw damaged(`${name} was changed`);
  }
  for (const name of files.keys())
    if (!listed.has(name) && name !== sums && name !== sumsSignature)
      throw damaged(`${name} is not in the signed list`);
}

/** Files by name below the one folder. */
function readBundle(bytes: Uint8Array): Map<string, Buffer> {
  let tar: Buffer;
  try {
    tar = gunzipSync(bytes, { maxOutputLength: largest });
  } catch (cause) {
    throw damaged(`it cannot be unpacked: ${(cause as Error).message}`);
  }
  const files = new Map<string, Buffer>();
  let open: { name: string; parts: Buffer[] } | undefined;
  const reader = new TarReader({
    entry: ({ path, type }) => {
      const name = path.slice(path.indexOf('/') + 1);
      if (type === 'file') open = { name, parts: [] };
    },
    data: (part) => open?.parts.push(Buffer.from(part)),
    entryEnd: () => {
      if (!open) return;
      if (files.has(open.name)) throw damaged(`${open.name} is in it twice`);
      files.set(open.name, Buffer.concat(open.parts));
      open = undefined;
    },
  });
  try {
    reader.push(tar);
    reader.end();
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'PROTOCOL') throw damaged(thrown.message);
    throw thrown;
  }
  return files;
}

function damaged(why: string): HelvinoError {
  return new HelvinoError('REPOSITORY_DAMAGED', `this bundle of evidence is not valid: ${why}`, {
    hint: 'get it again, byte for byte, or have it made again: `helvino drill evidence`',
  });
}
