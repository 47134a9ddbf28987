/** What drills have found, as evidence: list, report, verification, the key. */
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { cannotWrite, HelvinoError } from '../../base/errors.ts';
import { formatDuration, formatTime } from '../../base/format.ts';
import { recoveryTime } from '../../operations/drill/index.ts';
import {
  chooseDrill,
  createSigningKey,
  type KnownDrill,
  knownDrills,
  type PublicKey,
  predictionError,
  type ReportFormat,
  readPublicKey,
  readSigningKey,
  reportFormats,
  signingKeyFile,
  verifyBundle,
  verifyReport,
  writeReport,
} from '../../operations/drill/report/index.ts';
import { putPublicKey } from '../../repository/index.ts';
import type { CliContext } from '../context.ts';
import {
  copyOption,
  databaseOption,
  identityOption,
  neededDatabase,
  openAsHost,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { table } from '../output/table.ts';
import { listOption, type OptionValues, textOption, type Verb, type VerbResult } from '../verb.ts';

const readOptions = [databaseOption, copyOption, identityOption, repositoryOption];
const keyOption = {
  flags: '--key <file...>',
  description: 'the public key, PEM; several where it was changed',
};

const list: Verb = {
  name: 'drill list',
  summary: 'list the drills with what they measured',
  options: readOptions,
  examples: ['helvino drill list', 'helvino drill list --json'],
  exits: [{ status: 1, meaning: 'a report cannot be read; the others are listed' }],
  async run(context, options) {
    const access = await openToRead(context, options);
    const { drills, damaged } = await knownDrills(access.repository, neededDatabase(access));
    const data = drills.map(({ signed, signature, retests }) => {
      const { report, previous } = signed.document;
      return { ...report, sha256: signed.sha256, signature, previous, retests };
    });
    return {
      data: { drills: data, damaged },
      text: [...listText(drills), ...damaged.map((what) => `CANNOT BE READ: ${what}`)],
      exit: damaged.length > 0 ? 1 : 0,
    };
  },
};

function listText(drills: readonly KnownDrill[]): string[] {
  if (drills.length === 0) return ['no drill yet: prove a backup with `helvino drill`'];
  const rows = drills.map(({ signed, signature, retests }) => {
    const { report } = signed.document;
    const rto = recoveryTime(report);
    const { prediction } = report;
    const off = prediction && rto ? `${Math.round(predictionError(prediction.rtoSeconds, rto) * 100)} %` : '';
    return [
      report.id,
      formatTime(new Date(report.finished)),
      report.verdict,
      rto === undefined ? '' : formatDuration(rto),
      off,
      { good: 'signed', none: 'not signed', wrong: 'SIGNATURE WRONG' }[signature],
      [
        `backup ${report.backup}`,
        report.plan && `plan ${report.plan}`,
        ...retests.map(({ id, verdict }) => `repeated by ${id}: ${verdict}`),
      ]
        .filter(Boolean)
        .join(', '),
    ];
  });
  return table(
    [
      { title: 'drill' },
      { title: 'finished' },
      { title: 'verdict' },
      { title: 'RTO', align: 'right' },
      { title: 'prediction off', align: 'right' },
      { title: 'report' },
      { title: '' },
    ],
    rows,
  );
}

const report: Verb = {
  name: 'drill report',
  summary: 'write the report of a drill: HTML, PDF, Markdown, and the signed record',
  details: [
    'The record (JSON) is what was signed when the drill ended; the signature is beside it (.sig). HTML, PDF and Markdown are made from it',
    'and carry its SHA-256. A PDF needs Chromium; without it, print the HTML from any browser.',
  ],
  arguments: [{ name: '[drill]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    ...readOptions,
    { flags: '-o, --output <folder>', description: 'where the files are written', default: '.' },
    { flags: '--format <format...>', description: `only these: ${reportFormats.join(', ')} (default: all)` },
  ],
  examples: [
    'helvino drill report',
    'helvino drill report 20261125T120302Z --output evidence/',
    'helvino drill report latest --format html pdf',
  ],
  async run(context, options, [wanted]) {
    const formats = formatsOf(options);
    const access = await openToRead(context, options);
    const { drills, damaged } = await knownDrills(access.repository, neededDatabase(access));
    for (const what of damaged) context.progress.note('warn', `a report cannot be read: ${what}`);
    const drill = chooseDrill(drills, wanted);
    const directory = resolve(context.cwd, textOption(options, 'output') ?? '.');
    context.progress.phase('writing the report');
    const written = await writeReport(drill, {
      directory,
      formats,
      env: context.env,
      signal: context.signal,
    });
    const { id, verdict } = drill.signed.document.report;
    const { sha256 } = drill.signed;
    return {
      data: { id, verdict, sha256, signature: drill.signature, ...written },
      text: [
        ...written.files.map((file) => `wrote ${file}`),
        ...(written.noPdf ? [`no PDF: ${written.noPdf}; print the HTML file from any browser`] : []),
        `record SHA-256 ${sha256}`,
        ...unsignedLines(drill),
      ],
      exit: drill.signature === 'wrong' ? 1 : 0,
    };
  },
};

function unsignedLines({ signature }: KnownDrill): string[] {
  if (signature === 'none')
    return ['not signed: when this drill ran, the host had no signing key (`helvino drill key`)'];
  if (signature === 'wrong')
    return [
      'THE SIGNATURE IS WRONG: the stored report is not what was signed, or its key is not in the repository',
    ];
  return [];
}

function formatsOf(options: OptionValues): ReportFormat[] | undefined {
  const given = listOption(options, 'format');
  if (given.length === 0) return undefined;
  return given.map((name) => {
    const format = reportFormats.find((one) => one === name);
    if (format) return format;
    throw new HelvinoError('USAGE', `"${name}" is no format of reports`, { hint: reportFormats.join(' | ') });
  });
}

const verify: Verb = {
  name: 'drill verify-report',
  summary: 'check the record of a drill, offline',
  details: [
    'Needs only files: the record and its signature, and the public key, which has to come from whom you trust and not together with the',
    'record. With OpenSSL 3 alone: openssl pkeyutl -verify -pubin -inkey KEY -rawin -in FILE.json -sigfile FILE.sig',
  ],
  arguments: [{ name: '<file>', description: 'the record (.json)' }],
  options: [
    keyOption,
    { flags: '--signature <file>', description: 'its signature (default: the same name with .sig)' },
  ],
  examples: [
    'helvino drill verify-report drill-main-20261125T120302Z-1f4a01bc.json --key drill-key.pem',
    'helvino drill verify-report q4.tar.gz --key drill-key.pem',
  ],
  exits: [{ status: 65, meaning: 'the record or its signature was changed' }],
  async run(context, options, [file = '']) {
    const keys = await publicKeys(context, options);
    if (/\.(html|md|pdf)$/.test(file))
      throw new HelvinoError('USAGE', `${file} is made from the record; the record is what is signed`, {
        hint: 'give the .json file; pages carry its SHA-256',
      });
    if (/\.(tar\.gz|tgz)$/.test(file)) return bundleResult(file, await readInput(context, file), keys);
    const signatureFile = textOption(options, 'signature') ?? file.replace(/(\.json)?$/, '.sig');
    const bytes = await readInput(context, file);
    const { document, sha256, key } = verifyReport(bytes, {
      signature: await readInput(context, signatureFile),
      keys,
    });
    const { report: record, backup } = document;
    return {
      data: { valid: true, sha256, key: key.id, report: record, backup },
      text: [
        `valid      ${file} is what was signed, by the key ${key.id}`,
        `SHA-256    ${sha256}`,
        `drill      ${record.id} of ${record.database}, ${formatTime(new Date(record.finished))}`,
        `backup     ${record.backup}`,
        `verdict    ${record.verdict}`,
      ],
    };
  },
};

/** Throws REPOSITORY_DAMAGED, KEY_WRONG. */
function bundleResult(file: string, bytes: Buffer, keys: readonly PublicKey[]): VerbResult {
  const { key, reports, unsigned, index } = verifyBundle(bytes, keys);
  const { from, to } = index.period;
  const records = reports.map(({ document }) => `  ${document.report.id}  ${document.report.verdict}`);
  return {
    data: {
      valid: true,
      key: key.id,
      period: index.period,
      reports: reports.map(({ sha256 }) => sha256),
      unsigned,
      index,
    },
    text: [
      `valid      ${file} is what was signed, by the key ${key.id}`,
      `period     ${formatTime(new Date(from))} to ${formatTime(new Date(to))}, database ${index.database}`,
      `records    ${reports.length} signed${unsigned.length > 0 ? `, ${unsigned.length} NOT SIGNED: ${unsigned.join(', ')}` : ''}`,
      ...records,
    ],
  };
}

async function publicKeys(context: CliContext, options: OptionValues): Promise<PublicKey[]> {
  const files = listOption(options, 'key');
  if (files.length === 0)
    throw new HelvinoError('USAGE', 'the public key is needed: a record cannot vouch for itself', {
      hint: '--key FILE; `helvino drill key` prints it on the host that ran the drill',
    });
  const keys: PublicKey[] = [];
  for (const file of files) keys.push(readPublicKey((await readInput(context, file)).toString('utf8'), file));
  return keys;
}

async function readInput({ cwd }: CliContext, file: string): Promise<Buffer> {
  try {
    return await readFile(resolve(cwd, file));
  } catch (cause) {
    throw new HelvinoError('USAGE', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

const key: Verb = {
  name: 'drill key',
  summary: 'make the key that signs reports, or print its public half',
  details: [
    'The private half is helvino.drill.key beside helvino.yaml, mode 0600; it never leaves this host. The public half is kept in the',
    'repository and printed: give it to auditors now, not together with the reports.',
  ],
  options: [databaseOption, { flags: '-o, --output <file>', description: 'write the public key there, too' }],
  examples: ['helvino drill key', 'helvino drill key --output drill-key.pem'],
  async run(context, options) {
    const host = await openAsHost(context, options, { everywhere: true });
    const file = signingKeyFile(host.loaded.file);
    const there = await readSigningKey(file);
    const made = there ?? (await createSigningKey(file));
    await putPublicKey(host.repositoryHandle, made);
    const output = textOption(options, 'output');
    if (output !== undefined) await writeInput(context, output, made.pem);
    return {
      data: { file, created: there === undefined, id: made.id, publicKey: made.pem, output },
      text: [
        there ? `private    ${file}` : `wrote ${file}: the private key; it stays on this host`,
        ...(output === undefined ? [] : [`wrote ${output}`]),
        `id         ${made.id}`,
        made.pem.trimEnd(),
      ],
    };
  },
};

async function writeInput({ cwd }: CliContext, file: string, text: string): Promise<void> {
  try {
    await writeFile(resolve(cwd, file), text);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

export const drillReportVerbs: readonly Verb[] = [list, report, verify, key];
