/** The index of evidence as a page and as a text. Pure. */
import { formatBytes, formatDuration, plural } from '../../../base/format.ts';
import { formatAge } from '../../../catalog/index.ts';
import type { EvidenceFailure, EvidenceIndex, Gap } from './evidence.ts';
import { escapeHtml, figureRow, htmlPage } from './html.ts';
import { markdownOf } from './markdown.ts';
import { type Block, type Cell, type ReportView, type Section, utc } from './view.ts';

const cell = (text: string, tone?: Cell['tone']): Cell => ({ text, tone });
const code = (text: string): Cell => ({ text, code: true });
const tones = { proven: 'good', 'partly proven': 'open', failed: 'bad' } as const;

export function evidenceHtml(index: EvidenceIndex, files: ReadonlyMap<string, string>): string {
  const { title, subtitle, sentence, figures } = summary(index);
  return htmlPage({
    title: `${title}, ${index.database}`,
    head: `<header>
<p class="brand">Helvino</p>
<div class="top"><div><h1>${title}</h1>
<p class="sub">${escapeHtml(subtitle)}</p></div></div>
<p class="lead">${escapeHtml(sentence)}</p>
${figureRow(figures)}
</header>`,
    sections: sections(index, files),
    tail: '',
    foot: `Helvino evidence ${index.database} ${day(index.period.from)} to ${day(index.period.to)}`,
  });
}

export function evidenceMarkdown(index: EvidenceIndex, files: ReadonlyMap<string, string>): string {
  const { title, subtitle, sentence } = summary(index);
  return markdownOf({ title, lines: [subtitle, sentence], sections: sections(index, files) });
}

const day = (iso: string) => iso.slice(0, 10);

/** Whether something in the period asks for an explanation. */
export function openPoints({ drills, backups }: EvidenceIndex): string[] {
  const points = [
    ...drills.gaps.map(
      (gap) => `no proven restore for ${formatAge(gap.seconds)}, from ${utc(gap.from)} to ${utc(gap.to)}`,
    ),
    ...drills.failures
      .filter(({ verdict, provenBy }) => verdict === 'failed' && provenBy === undefined)
      .map(({ id }) => `drill ${id} failed, and none since has proved a backup`),
    ...drills.missing.map((id) => `the report ${id} is named by another and is not there as it was`),
    ...drills.damaged.map((what) => `a report of a drill cannot be read: ${what}`),
    ...drills.list
      .filter(({ signature }) => signature !== 'good')
      .map(({ id, signature }) =>
        signature === 'wrong' ? `the signature of drill ${id} is wrong` : `drill ${id} is not signed`,
      ),
    ...backups.kinds.flatMap(({ kind, gaps }) =>
      gaps.map(
        (gap) => `no ${kind} backup for ${formatAge(gap.seconds)}, from ${utc(gap.from)} to ${utc(gap.to)}`,
      ),
    ),
    ...backups.list
      .filter(({ damaged }) => damaged !== undefined)
      .map(({ id, damaged }) => `backup ${id}: ${damaged}`),
  ];
  if (drills.list.length === 0) points.push('there was no drill');
  if (backups.list.length === 0) points.push('there was no backup');
  return points;
}

function summary(
  index: EvidenceIndex,
): Pick<ReportView, 'title' | 'subtitle' | 'figures'> & { sentence: string } {
  const { drills, backups, period, database } = index;
  const proven = drills.list.filter(({ verdict }) => verdict === 'proven').length;
  const gaps = drills.gaps.length + backups.kinds.reduce((sum, kind) => sum + kind.gaps.length, 0);
  const failed = drills.failures.filter(({ verdict }) => verdict === 'failed');
  const open = openPoints(index).length;
  return {
    title: 'Evidence of backup and restore',
    subtitle: `Database ${database} · ${utc(period.from)} to ${utc(period.to)} · repository ${index.repository}`,
    sentence: `In this period ${plural(backups.list.length, 'backup')} ${backups.list.length === 1 ? 'was' : 'were'} made and ${plural(drills.list.length, 'restore drill')} run, of which ${proven} proved a backup. ${open === 0 ? 'Nothing is open.' : `${plural(open, 'point')} ${open === 1 ? 'asks' : 'ask'} for an explanation: see section 1.`}`,
    figures: [
      {
        label: 'Backups',
        value: String(backups.list.length),
        note: backups.kinds.map(({ kind, count }) => `${count} ${kind}`).join(', ') || 'none',
        tone: backups.list.length > 0 ? 'plain' : 'bad',
      },
      {
        label: 'Drills',
        value: String(drills.list.length),
        note: `${proven} proved a backup`,
        tone: proven > 0 ? 'plain' : 'bad',
      },
      {
        label: 'Failed drills',
        value: String(failed.length),
        note:
          failed.length === 0
            ? 'none'
            : `${failed.filter(({ provenBy }) => provenBy).length} proven again later`,
        tone: failed.every(({ provenBy }) => provenBy) ? 'good' : 'bad',
      },
      {
        label: 'Gaps',
        value: String(gaps),
        note: 'longer than the objective',
        tone: gaps === 0 ? 'good' : 'bad',
      },
    ],
  };
}

function sections(index: EvidenceIndex, files: ReadonlyMap<string, string>): Section[] {
  const points = openPoints(index);
  return [
    {
      title: 'Open points',
      blocks: [points.length === 0 ? { kind: 'text', text: 'None.' } : { kind: 'list', items: points }],
    },
    { title: 'Drills', blocks: drillBlocks(index) },
    { title: 'Drills that failed or left something unproven', blocks: failureBlocks(index.drills.failures) },
    { title: 'Backups', blocks: [...backupBlocks(index), ...failedRunBlocks(index.backups.failedRuns)] },
    { title: 'Verifications of stored bytes', blocks: verificationBlocks(index) },
    { title: 'What is not in here', blocks: [{ kind: 'list', items: notHere }] },
    { title: 'How to check this bundle', blocks: howToCheck(files) },
  ];
}

const notHere = [
  'Backup runs of versions before runs were recorded, and runs that never began (a schedule that did not fire): they show as gaps where they mattered.',
  'The backup policy, the list of who may delete backups, and the immutability settings of the store: see the configuration (helvino.yaml) and the bucket.',
  'Drills that people did without Helvino.',
];

function gapTable(gaps: readonly Gap[]): Block {
  return {
    kind: 'table',
    head: [{ title: 'Gap from' }, { title: 'to' }, { title: 'Length', right: true }],
    rows: gaps.map(({ from, to, seconds }) => [cell(utc(from)), cell(utc(to)), cell(formatAge(seconds))]),
  };
}

/** A duration that is not broken over two lines. */
function whole(seconds: number): string {
  return formatDuration(Math.max(0, seconds)).replaceAll(' ', '\u00a0');
}

function drillBlocks({ drills }: EvidenceIndex): Block[] {
  const { list, gaps, objectiveSeconds, missing } = drills;
  const against = (measured: number | undefined, objective: number | undefined): Cell =>
    measured === undefined
      ? cell('–')
      : cell(
          `${whole(measured)}${objective === undefined ? '' : ` of ${whole(objective)}`}`,
          objective === undefined ? undefined : measured <= objective ? 'good' : 'bad',
        );
  const blocks: Block[] = [
    { kind: 'text', text: `Objective: a proven restore at least every ${formatAge(objectiveSeconds)}.` },
    list.length === 0
      ? { kind: 'text', text: 'There was none.' }
      : {
          kind: 'table',
          head: [
            { title: 'Started', width: 16 },
            { title: 'Result', width: 14 },
            { title: 'RTO', width: 17 },
            { title: 'RPO', width: 17 },
            { title: 'Operator, approver', width: 18 },
            { title: 'Report', width: 18 },
          ],
          rows: list.map(({ id, started, verdict, measured, objectives, operator, approver, signature }) => [
            cell(utc(started)),
            cell(verdict, tones[verdict]),
            against(measured?.rtoSeconds, objectives?.rtoSeconds),
            against(measured?.rpoSeconds, objectives?.rpoSeconds),
            cell([operator ?? '–', approver ?? '–'].join(', ')),
            signature === 'good'
              ? code(id)
              : cell(`${id}: ${signature === 'none' ? 'not signed' : 'WRONG SIGNATURE'}`, 'bad'),
          ]),
        },
    gaps.length === 0 ? { kind: 'text', text: 'No gap was longer than the objective.' } : gapTable(gaps),
  ];
  if (missing.length > 0)
    blocks.push({
      kind: 'text',
      text: `Reports that others name and that are not there as they were: ${missing.join(', ')}.`,
    });
  return blocks;
}

function failureBlocks(failures: readonly EvidenceFailure[]): Block[] {
  if (failures.length === 0) return [{ kind: 'text', text: 'There was none.' }];
  return [
    {
      kind: 'table',
      head: [
        { title: 'Drill', width: 18 },
        { title: 'Result', width: 14 },
        { title: 'Why', width: 38 },
        { title: 'Remediation', width: 15 },
        { title: 'Re-test', width: 15 },
      ],
      rows: failures.map(({ id, verdict, reasons, remediation, retest, provenBy }) => [
        code(id),
        cell(verdict, tones[verdict]),
        cell(reasons.join('; ')),
        remediation ? cell(remediation) : verdict === 'failed' ? cell('not recorded', 'open') : cell('–'),
        retest
          ? cell(`${retest.verdict}: ${retest.id}`, tones[retest.verdict])
          : provenBy
            ? cell(`none; a backup was proven by ${provenBy}`)
            : verdict === 'failed'
              ? cell('none yet', 'bad')
              : cell('–'),
      ]),
    },
  ];
}

function backupBlocks({ backups }: EvidenceIndex): Block[] {
  const kinds: Block = {
    kind: 'table',
    head: [
      { title: 'Kind' },
      { title: 'Backups', right: true },
      { title: 'Objective', right: true },
      { title: 'Longest between two', right: true },
      { title: 'Gaps' },
    ],
    rows: backups.kinds.map(({ kind, count, objectiveSeconds, longestSeconds, gaps }) => [
      cell(kind),
      cell(String(count)),
      cell(`every ${formatAge(objectiveSeconds)}`),
      cell(formatAge(longestSeconds)),
      cell(gaps.length === 0 ? 'none' : String(gaps.length), gaps.length === 0 ? 'good' : 'bad'),
    ]),
  };
  if (backups.list.length === 0) return [{ kind: 'text', text: 'There was none.' }];
  return [
    kinds,
    ...backups.kinds.flatMap(({ gaps }) => (gaps.length > 0 ? [gapTable(gaps)] : [])),
    {
      kind: 'table',
      head: [
        { title: 'Backup' },
        { title: 'Kind' },
        { title: 'Finished' },
        { title: 'Size', right: true },
        { title: 'Now' },
      ],
      rows: backups.list.map(({ id, kind, finished, bytes, removed, damaged }) => [
        code(id),
        cell(kind),
        cell(finished ? utc(finished) : '–'),
        cell(bytes === undefined ? '–' : formatBytes(bytes)),
        damaged ? cell('damaged', 'bad') : cell(removed ? `removed by retention ${utc(removed)}` : 'kept'),
      ]),
    },
  ];
}

function failedRunBlocks(runs: EvidenceIndex['backups']['failedRuns']): Block[] {
  if (runs.length === 0) return [{ kind: 'text', text: 'No backup run failed.' }];
  return [
    {
      kind: 'table',
      head: [{ title: 'Failed run' }, { title: 'Kind' }, { title: 'When' }, { title: 'Why' }],
      rows: runs.map(({ run, kind, at, code: error, message }) => [
        code(run),
        cell(kind),
        cell(at ? utc(at) : '–'),
        cell(error ? `${error}: ${message}` : 'its note is damaged'),
      ]),
    },
  ];
}

function verificationBlocks({ verifications }: EvidenceIndex): Block[] {
  if (verifications.length === 0) return [{ kind: 'text', text: 'There was none.' }];
  return [
    {
      kind: 'table',
      head: [
        { title: 'Finished' },
        { title: 'Result' },
        { title: 'Depth' },
        { title: 'Backups', right: true },
      ],
      rows: verifications.map(({ finished, verdict, depth, backups }) => [
        cell(utc(finished)),
        cell(verdict, verdict === 'passed' ? 'good' : 'bad'),
        cell(depth),
        cell(String(backups)),
      ]),
    },
  ];
}

function howToCheck(files: ReadonlyMap<string, string>): Block[] {
  const signed = files.has('SHA256SUMS.sig');
  return [
    {
      kind: 'text',
      text: signed
        ? 'SHA256SUMS names every file with its SHA-256 and is signed; each record of a drill is signed, too. Take the public key from where you were given it, not from here.'
        : 'SHA256SUMS names every file with its SHA-256. It is not signed: the host that wrote it had no signing key. Records of drills that are signed can be checked one by one.',
    },
    {
      kind: 'code',
      text: [
        'helvino drill verify-report EVIDENCE.tar.gz --key drill-key.pem',
        '',
        ...(signed
          ? [
              'openssl pkeyutl -verify -pubin -inkey drill-key.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig',
            ]
          : []),
        'sha256sum --check SHA256SUMS',
        'openssl pkeyutl -verify -pubin -inkey drill-key.pem -rawin -in drills/NAME.json -sigfile drills/NAME.sig',
      ].join('\n'),
    },
  ];
}
